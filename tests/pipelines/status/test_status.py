"""Status of a run: reading its files incrementally gives the same status as reading them from the beginning."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lls_decode.errors import InputError
from lls_decode.pipelines.journal.events import BlockDone
from lls_decode.pipelines.journal.json_lines import format_event, parse_event
from lls_decode.pipelines.status.reader import DONE, FAILED, LEFT, RETRIED, RunReader, read_status
from tests.pipelines.run_folders import Folder, make_folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a run folder with six blocks, one for each volume of four planes."""
    return make_folder(tmp_path / "out")


def test_incremental_reading_equals_reading_from_the_beginning(folder: Folder) -> None:
    reader = RunReader(folder.out)
    steps = [
        lambda: folder.event("WorkersChanged", 1, workers=2),
        lambda: folder.done(0, 10),
        lambda: folder.event("BlockRetried", 11, block=2, block_id="b000002", attempts=1, reason="so", alone=False),
        lambda: folder.done(3, 12, worker="tcp://w:2", gpu_bytes=5_000_000_000),
        lambda: folder.failed(2, 14),
        lambda: folder.write("ledger.jsonl"),
        lambda: folder.done(5, 20),
        lambda: folder.done(2, 30),  # the failed block succeeds after a rerun
    ]
    for step in steps:
        step()
        assert reader.read() == read_status(folder.out)
    status = reader.read()
    assert (status.blocks_done, status.blocks_failed, status.blocks_left, status.rows) == (4, 0, 2, 40)
    assert (status.frames_per_s, status.rows_per_s) == (16 / 30, 40 / 30)
    assert {item.worker: (item.blocks, item.gpu_bytes) for item in status.workers} == {
        "tcp://w:1": (3, None),
        "tcp://w:2": (1, 5_000_000_000),
    }


def test_lines_that_were_read_are_not_read_again(folder: Folder) -> None:
    folder.done(0, 10)
    reader = RunReader(folder.out)
    before = reader.read()
    ledger = folder.out / "ledger.jsonl"
    with ledger.open("r+b") as file:
        file.write(b"#" * (ledger.stat().st_size - 1))
    assert reader.read() == before
    folder.done(1, 20)
    assert (reader.read().blocks_done, reader.read().broken_lines) == (2, 0)
    assert read_status(folder.out).broken_lines == 1


def test_states_of_blocks_are_shown_by_volume(folder: Folder) -> None:
    folder.done(0, 10)
    folder.done(1, 11)
    folder.failed(3, 12)
    folder.event("BlockRetried", 13, block=4, block_id="b000004", attempts=1, reason="so", alone=False)
    reader = RunReader(folder.out)
    status = reader.read()
    assert reader.states.tolist() == [DONE, DONE, LEFT, FAILED, RETRIED, LEFT]
    found = [(item.start, item.stop, item.state) for item in status.volumes]
    assert found == [(0, 2, "done"), (2, 3, "left"), (3, 4, "failed"), (4, 6, "left")]
    text = "\n".join(status.describe())
    assert "0 [##.!..] 5" in text
    assert "lost       b000003, 4 frames (volume 3, planes 0 to 3): Chunk c/3 is truncated." in text


@pytest.mark.parametrize("block_frames", [3, 7, 10, 25, 1000])
def test_states_of_volumes_agree_with_the_states_of_their_frames(tmp_path: Path, block_frames: int) -> None:
    folder = make_folder(tmp_path / "out", volumes=23, planes=10, block_frames=block_frames)
    random = np.random.default_rng(block_frames)
    fate = random.choice(["done", "failed", "left"], len(folder.blocks), p=[0.6, 0.1, 0.3])
    frames = np.full((23, 10), "left", dtype=object)
    for block, what in zip(folder.blocks, fate, strict=True):
        frames[block.volume_start : block.volume_stop, block.plane_start : block.plane_stop] = what
        if what != "left":
            (folder.done if what == "done" else folder.failed)(block.index, 1.0 + block.index)
    expected = [
        "failed" if "failed" in row else "done" if set(row) == {"done"} else "partial" if "done" in row else "left"
        for row in frames
    ]
    status = read_status(folder.out)
    assert [item.state for item in status.volumes for _ in range(item.start, item.stop)] == expected
    assert all(a.state != b.state for a, b in zip(status.volumes, status.volumes[1:], strict=False))
    assert sum(item.stop - item.start for item in status.volumes) == 23


def test_waiting_time_of_a_worker_counts_as_idle(folder: Folder) -> None:
    """Two blocks end at 10 s and 14 s, after 0.5 s of reading and 1 s of computing each: 2 of 5.5 s are computing."""
    folder.done(0, 10)
    folder.done(1, 14)
    (worker,) = read_status(folder.out).workers
    assert worker.frames_per_s == pytest.approx(8 / 5.5)
    assert worker.idle == pytest.approx(1 - 2 / 5.5)


def test_block_without_its_shard_does_not_count_as_done(folder: Folder) -> None:
    folder.done(0, 10)
    (folder.out / "shards" / "b000000.parquet").unlink()
    assert (read_status(folder.out).blocks_done, read_status(folder.out).rows) == (0, 0)


def test_block_of_a_damaged_shard_counts_as_done_after_its_repetition(folder: Folder) -> None:
    reader = RunReader(folder.out)
    folder.done(0, 10)
    folder.event("MergeStarted", 11, blocks=1, rows=10)
    assert (reader.read().blocks_done, reader.read().merging) == (1, True)
    (folder.out / "shards" / "b000000.parquet").unlink()
    folder.event("ShardDamaged", 12, block=0, block_id="b000000", frames=4, rows=10, reason="so")
    assert (reader.read().blocks_done, reader.read().rows, reader.read().merging) == (0, 0, False)
    folder.done(0, 13)
    assert (reader.read().blocks_done, reader.read().rows) == (1, 10)


def test_status_combines_the_ledgers_of_several_programs(folder: Folder) -> None:
    folder.done(0, 10)
    folder.failed(2, 14)
    os.rename(folder.out / "ledger.jsonl", folder.out / "ledger.2-of-2.jsonl")
    folder.done(1, 12)
    folder.failed(0, 5)
    folder.failed(2, 13, "an earlier reason")
    status = read_status(folder.out)
    assert (status.blocks_done, status.blocks_failed, status.rows) == (2, 1, 20)
    assert status.failed[0].reason == "Chunk c/3 is truncated."


def test_speed_and_workers_count_from_the_latest_start(folder: Folder) -> None:
    folder.done(0, 10)
    reader = RunReader(folder.out)
    assert reader.read().frames_per_s is not None
    record = json.loads((folder.out / "run.json").read_text())
    aside = folder.out / "aside.json"
    aside.write_text(json.dumps({**record, "started_at": record["started_at"] + 500}))
    aside.replace(folder.out / "run.json")
    status = reader.read()
    assert (status.blocks_done, status.frames_per_s, status.workers) == (1, None, ())
    (folder.out / "run.json").unlink()
    with pytest.raises(InputError, match="contains no run"):
        reader.read()


def test_gpu_memory_is_recorded_only_with_a_gpu() -> None:
    event = BlockDone(
        block=0, block_id="b000000", frames=1, rows=1, bytes=1, attempts=1, read_s=0.0, start_s=0.0, compute_s=0.0,
        write_s=0.0, worker="w", pid=1,
    )  # fmt: skip
    assert "gpu_bytes" not in event.to_dict()
    assert parse_event(format_event(event)) == event
    on_gpu = replace(event, gpu_bytes=3)
    assert parse_event(format_event(on_gpu)) == on_gpu


def test_status_of_a_part_of_a_dataset_counts_its_blocks_only(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "out", volumes=9)
    record = json.loads((folder.out / "run.json").read_text())
    record["config"]["part"]["volumes"] = [3, 7]
    (folder.out / "run.json").write_text(json.dumps(record))
    reader = RunReader(folder.out)
    folder.done(reader.blocks[1].index, 10)
    status = reader.read()
    assert (status.blocks, status.blocks_done, status.frames) == (4, 1, 16)
    assert [(item.start, item.stop, item.state) for item in status.volumes] == [
        (3, 4, "left"),
        (4, 5, "done"),
        (5, 7, "left"),
    ]
    assert "3 [.#..] 6" in "\n".join(status.describe())
