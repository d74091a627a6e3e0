"""Only localizations of frames that cannot be read are missing from the table."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from distributed import Client

from lls_decode.errors import AccessError
from lls_decode.pipelines.journal.events import BlockFailed, BlockRetried
from lls_decode.pipelines.planning.plan import Plan, make_plan
from lls_decode.pipelines.running.ownership import table_metadata
from lls_decode.pipelines.running.run import RunResult, run
from lls_decode.pipelines.status.reader import read_status
from lls_decode.table import merge_shards, read_metadata
from tests.pipelines.conftest import (
    HEIGHT,
    WIDTH,
    Recorder,
    World,
    run_config,
    shard_identities,
)

FRAMES, LOST = 100, 44
ONCE = {"retries": 0}


def write(path: Path, frames: "np.ndarray[Any, Any]", *, without: Iterable[int] = (), axes: str = "tyx") -> Path:
    """Write a store with one frame in each chunk, and delete the chunks of the frames in ``without``."""
    chunks = (*(1,) * (frames.ndim - 2), *frames.shape[-2:])
    with zarr.config.set({"codec_pipeline.path": "zarr.core.codec_pipeline.BatchedCodecPipeline"}):
        array = zarr.create_array(
            str(path), shape=frames.shape, chunks=chunks, dtype="uint16", dimension_names=list(axes),
            config={"write_empty_chunks": True},
        )  # fmt: skip
        array[:] = frames  # the zarrs pipeline, which a task may have set in this process, omits chunks of zeros
    for number in without:
        place = np.unravel_index(number, frames.shape[:-2])
        os.unlink(path / "c" / "/".join(map(str, place)) / "0" / "0")
    return path


@pytest.fixture(scope="module")
def frames() -> "np.ndarray[Any, Any]":
    return (np.random.default_rng(4).poisson(20, (FRAMES, HEIGHT, WIDTH)) + 100).astype("uint16")


def assert_same_rows(found: pa.Table, expected: pa.Table) -> None:
    """Check that two tables hold the same localizations up to the rounding of sums in batches of different sizes."""
    assert found.num_rows == expected.num_rows > 100
    assert found.column_names == expected.column_names
    for name in found.column_names:
        one, other = found[name].to_numpy(), expected[name].to_numpy()
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=0.1 if name.endswith("_nm") else 1e-2, err_msg=name)


def rows_of(result: RunResult) -> pa.Table:
    assert result.merged is not None
    return pq.read_table(result.merged)


def of_frames(table: pa.Table, numbers: Iterable[int]) -> pa.Table:
    return table.filter(np.isin(table["frame"].to_numpy(), list(numbers)))


def test_a_lost_frame_changes_only_its_neighbours(
    frames: "np.ndarray[Any, Any]", world: World, client: Client, tmp_path: Path
) -> None:
    """The frames beside a lost frame give the localizations of movies that end there, for any size of blocks."""
    whole = write(tmp_path / "whole.zarr", frames)
    short = write(tmp_path / "short.zarr", frames, without=[LOST])
    pieces = {0: frames[:LOST], LOST + 1: frames[LOST + 1 :]}
    expected = rows_of(run(world.plan(tmp_path / "a", dataset=whole, block_frames=10), client))
    tables = []
    for block_frames in (10, 22, 45):
        out = tmp_path / f"b{block_frames}"
        result = run(world.plan(out, dataset=short, block_frames=block_frames, execution=ONCE), client)
        assert (result.exit_status, result.failed, result.lost) == (1, (), ((LOST, LOST + 1),))
        assert read_metadata(out / "localizations.parquet").lost_frames == ((LOST, LOST + 1),)
        tables.append(rows_of(result))
    assert_same_rows(tables[1], tables[0])
    assert_same_rows(tables[2], tables[0])
    beside = (LOST - 1, LOST, LOST + 1)
    away = [number for number in range(FRAMES) if number not in beside]
    assert_same_rows(of_frames(tables[0], away), of_frames(expected, away))
    assert of_frames(tables[0], [LOST]).num_rows == 0
    assert not of_frames(tables[0], [LOST - 1]).equals(of_frames(expected, [LOST - 1]))
    for first, piece in pieces.items():
        path = write(tmp_path / f"piece{first}.zarr", piece)
        alone = rows_of(run(world.plan(tmp_path / f"c{first}", dataset=path, block_frames=100), client))
        numbers = pa.array(alone["frame"].to_numpy() + first, pa.uint32())
        for name in ("frame", "volume"):
            alone = alone.set_column(alone.schema.get_field_index(name), name, numbers)
        assert_same_rows(of_frames(tables[0], range(first, first + len(piece))), alone)


def test_lost_planes_of_volumes_give_the_same_table_for_any_block_size(
    frames: "np.ndarray[Any, Any]", world: World, client: Client, tmp_path: Path
) -> None:
    sweeps = frames.reshape(10, 10, HEIGHT, WIDTH)
    lost = [0, 25, 39, 40]  # at an end of a volume, in the middle, and on both sides of a border
    short = write(tmp_path / "short.zarr", sweeps, without=lost, axes="tzyx")
    tables = []
    for block_frames in (4, 10, 30):
        plan = make_plan(
            short, world.bundle("plane"), tmp_path / str(block_frames), run_config(block_frames, execution=ONCE)
        )
        result = run(plan, client)
        assert (result.exit_status, result.lost) == (1, ((0, 1), (25, 26), (39, 41)))
        tables.append(rows_of(result))
        status = read_status(plan.out)
        assert (status.frames_failed, status.frames_done) == (4, 96)
        assert sum(item.frames for item in status.lost) == 4
        failed = [item for item in status.volumes if item.state == "failed"]
        assert [(item.start, item.stop) for item in failed] == [(0, 1), (2, 5)]
    assert_same_rows(tables[1], tables[0])
    assert_same_rows(tables[2], tables[0])
    assert set(tables[0]["frame"].to_pylist()).isdisjoint(lost)


def test_blocks_without_any_readable_frame_count_as_done(
    frames: "np.ndarray[Any, Any]", world: World, client: Client, tmp_path: Path
) -> None:
    short = write(tmp_path / "short.zarr", frames[:40], without=range(10, 30))
    recorder = Recorder()
    plan = world.plan(tmp_path / "out", dataset=short, block_frames=10, execution={"retries": 3})
    result = run(plan, client, listeners=[recorder])  # absent chunks are not retried
    assert (result.exit_status, result.done, result.failed, result.num_lost) == (1, 4, (), 20)
    assert not recorder.of(BlockRetried)
    assert read_status(plan.out).frames_done == 20
    found = rows_of(result)
    assert set(np.unique(found["frame"].to_numpy())) <= {*range(10), *range(30, 40)}
    manifest = merge_shards(
        plan.out / "shards", plan.blocks, tmp_path / "again.parquet", run_digest=plan.run_digest,
        metadata=table_metadata(plan),
    )  # fmt: skip
    assert manifest.rows == found.num_rows


# --- a later run ------------------------------------------------------------------------------------------------------


def test_the_advice_to_fill_absent_chunks_works_in_the_same_folder(
    frames: "np.ndarray[Any, Any]", world: World, client: Client, tmp_path: Path
) -> None:
    dark = frames.copy()
    dark[LOST] = 0
    written = write(tmp_path / "written.zarr", dark)
    absent = write(tmp_path / "absent.zarr", dark, without=[LOST])

    def plan(**options: Any) -> Plan:
        return world.plan(tmp_path / "out", dataset=absent, block_frames=10, execution=ONCE, input=options)

    first = run(plan(), client)
    assert first.exit_status == 1
    (reason,) = [item.reason for item in read_status(tmp_path / "out").lost]
    assert "set input.absent=fill" in reason
    before = shard_identities(plan())

    second = run(plan(absent="fill"), client)
    assert (second.exit_status, second.lost) == (0, ())
    after = shard_identities(plan())
    assert {name for name in before if before[name] != after[name]} == {"b000004.parquet"}
    expected = rows_of(run(world.plan(tmp_path / "written", dataset=written, block_frames=10), client))
    assert_same_rows(rows_of(second), expected)
    assert read_metadata(tmp_path / "out" / "localizations.parquet").filled_frames == ((LOST, LOST + 1),)
    status = read_status(tmp_path / "out")
    assert (status.state, status.frames_done, status.frames_filled) == ("done", FRAMES, 1)
    assert run(plan(absent="fill"), client).exit_status == 0

    back = run(plan(), client)  # with this configuration, the table has no rows of filled frames
    assert (back.exit_status, back.lost) == (1, ((LOST, LOST + 1),))
    assert_same_rows(rows_of(back), rows_of(first))


def test_a_rerun_recomputes_blocks_whose_chunks_are_readable_again(
    frames: "np.ndarray[Any, Any]", world: World, client: Client, tmp_path: Path
) -> None:
    """One of two lost chunks is restored: its block is recomputed, and the block of the other one is left as it is."""
    path = write(tmp_path / "a.zarr", frames, without=[14, 75])
    plan = world.plan(tmp_path / "out", dataset=path, block_frames=10, execution=ONCE)
    assert run(plan, client).lost == ((14, 15), (75, 76))
    before = shard_identities(plan)
    zarr.open_array(str(path))[14] = frames[14]
    recorder = Recorder()
    again = run(plan, client, listeners=[recorder])
    assert (again.exit_status, again.lost, len(recorder.of(BlockFailed))) == (1, ((75, 76),), 0)
    after = shard_identities(plan)
    assert {name for name in before if before[name] != after[name]} == {"b000001.parquet"}
    assert again.merged is not None
    assert read_metadata(again.merged).lost_frames == ((75, 76),)


# --- nothing of the dataset can be read -------------------------------------------------------------------------------


def test_a_codec_that_workers_lack_stops_the_run(
    frames: "np.ndarray[Any, Any]", world: World, client: Client, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.zarr", frames)
    plan = world.plan(tmp_path / "out", dataset=path, block_frames=10, execution=ONCE)
    metadata = json.loads((path / "zarr.json").read_text())
    metadata["codecs"].append({"name": "jetraw", "configuration": {}})
    (path / "zarr.json").write_text(json.dumps(metadata))
    recorder = Recorder()
    with pytest.raises(AccessError, match=r"jetraw.* The run stops; finished blocks are kept") as caught:
        run(plan, client, listeners=[recorder])
    assert caught.value.exit_status == 3
    assert not recorder.of(BlockFailed)
