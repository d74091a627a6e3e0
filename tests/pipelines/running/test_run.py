"""Whatever happens to a run, its table equals the table of an undisturbed run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from distributed import Client

from lls_decode.blocks import plan_blocks
from lls_decode.cluster.site import connect
from lls_decode.config import PaperRule
from lls_decode.errors import OutputError, RunConflictError, SiteError
from lls_decode.localize import build_localizer
from lls_decode.pipelines.journal.events import (
    BlockDone,
    BlockFailed,
    BlockRetried,
    Event,
    MergeStarted,
    RunInterrupted,
)
from lls_decode.pipelines.planning.plan import Plan
from lls_decode.pipelines.running.run import run
from lls_decode.pipelines.status.reader import read_status
from lls_decode.table import read_metadata
from tests.pipelines.conftest import (
    HEIGHT,
    WIDTH,
    Recorder,
    World,
    assert_same_rows,
    harmful,
    ledger,
    shard_identities,
    start_program,
    wait_for,
    write_movie,
)

ALL_BLOCKS = 15
"""Number of blocks, of 8 frames each."""


@pytest.fixture(scope="module")
def undisturbed(world: World, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the table of an undisturbed run."""
    result = run(world.plan(tmp_path_factory.mktemp("undisturbed"), block_frames=64), client)
    assert (result.done, result.failed, result.exit_status) == (2, (), 0)
    assert result.merged is not None
    return result.merged


def test_table_equals_that_of_one_localizer_over_all_frames(world: World, undisturbed: Path, tmp_path: Path) -> None:
    plan = world.plan(tmp_path)
    (whole,) = plan_blocks(plan.layout, "time", 1000)
    localizer = build_localizer(plan.bundle_path, plan.config, plan.layout)
    assert_same_rows(undisturbed, localizer.run(plan.source.read(whole)))


def test_block_size_does_not_change_the_table(world: World, client: Client, undisturbed: Path, tmp_path: Path) -> None:
    result = run(world.plan(tmp_path, block_frames=7), client)
    assert (result.done, result.exit_status) == (18, 0)
    assert result.merged is not None
    assert_same_rows(result.merged, undisturbed)


def test_scheduler_keeps_no_records_of_finished_blocks(world: World, client: Client, tmp_path: Path) -> None:
    """With one block in flight, the scheduler is sometimes without tasks, and Dask would keep a record each time."""

    def records(dask_scheduler: Any = None) -> int:
        return len(dask_scheduler.extensions["spans"].spans)

    before = client.run_on_scheduler(records)
    run(world.plan(tmp_path, block_frames=8, execution={"in_flight_per_worker": 1}), client)
    assert client.run_on_scheduler(records) - before <= 1


def test_table_records_run_model_dataset_and_configuration(world: World, undisturbed: Path) -> None:
    metadata = read_metadata(undisturbed)
    record = json.loads((undisturbed.parent / "run.json").read_text())
    assert metadata.run_digest == record["run_digest"]
    assert metadata.model_digest == record["model"]["digest"]
    assert metadata.input["path"] == record["dataset"] == str(world.movie)
    assert metadata.configuration == record["config"]
    assert (metadata.num_frames, metadata.height, metadata.width) == zarr.open_array(str(world.movie), mode="r").shape
    assert "torch" in metadata.software
    assert metadata.missing_blocks == ()


def test_rerun_of_a_finished_run_changes_no_file(world: World, client: Client, tmp_path: Path) -> None:
    plan = world.plan(tmp_path, block_frames=64)
    first = run(plan, client)
    before, table = shard_identities(plan), (tmp_path / "localizations.parquet").stat().st_mtime_ns
    second = run(plan, client)
    assert (second.done, second.rows, second.exit_status) == (first.done, first.rows, 0)
    assert shard_identities(plan) == before
    assert (tmp_path / "localizations.parquet").stat().st_mtime_ns == table


def test_killed_worker_does_not_change_the_table(
    world: World, client: Client, undisturbed: Path, tmp_path: Path
) -> None:
    victim = next(iter(client.run(os.getpid).values()))
    recorder = Recorder(3, lambda: os.kill(victim, signal.SIGKILL))
    result = run(world.plan(tmp_path, block_frames=4), client, listeners=[recorder])
    assert (result.done, result.failed, result.exit_status) == (30, (), 0)
    assert result.merged is not None
    assert_same_rows(result.merged, undisturbed)
    assert len(recorder.of(BlockDone)) == 30
    client.wait_for_workers(2, timeout=60)
    assert victim not in client.run(os.getpid).values()


def test_run_of_a_killed_client_is_resumed_by_the_same_command(
    world: World, client: Client, undisturbed: Path, tmp_path: Path
) -> None:
    plan = world.plan(tmp_path, block_frames=2)
    program = start_program(world, plan)
    wait_for(lambda: len(ledger(plan)) >= 4, "four finished blocks")
    program.kill()
    program.wait()
    wait_for(lambda: not processes_of_group(program.pid), "the end of the orphaned worker")
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write('{"event":"BlockDone","blo')  # as if the client had been killed while writing
    before = shard_identities(plan)
    assert 4 <= len(before) < 60
    assert read_status(tmp_path).state == "incomplete"
    assert read_status(tmp_path).broken_lines == 1
    recorder = Recorder()
    result = run(plan, client, listeners=[recorder])
    assert (result.done, result.exit_status) == (60, 0)
    assert result.merged is not None
    assert_same_rows(result.merged, undisturbed)
    assert {name: shard_identities(plan)[name] for name in before} == before
    computed = [event for event in recorder.of(BlockDone) if isinstance(event, BlockDone) and not event.found]
    assert len(computed) == 60 - len(before)
    status = read_status(tmp_path)
    assert (status.state, status.blocks_done, status.frames_done, status.rows) == ("done", 60, 120, result.rows)


def processes_of_group(group: int) -> list[int]:
    """Return the running processes of a process group."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, pgrp = entry.joinpath("stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state != "Z":
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize(
    ("number", "to_group", "status"),
    [
        (signal.SIGINT, True, 130),
        (signal.SIGTERM, False, 143),
        pytest.param(signal.SIGUSR1, True, 143, marks=pytest.mark.posix("there is no SIGUSR1")),
    ],
    ids=["Ctrl-C in a terminal", "SIGTERM to the client", "SIGUSR1 to all processes, as SLURM sends it"],
)
def test_interrupted_run_is_resumable(
    number: signal.Signals,
    to_group: bool,
    status: int,
    world: World,
    client: Client,
    undisturbed: Path,
    tmp_path: Path,
) -> None:
    plan = world.plan(tmp_path, block_frames=2)
    program = start_program(world, plan)
    wait_for(lambda: len(ledger(plan)) >= 3, "three finished blocks")
    owner = read_status(tmp_path).owner
    assert owner is not None
    assert str(program.pid) in owner
    with pytest.raises(RunConflictError, match=f"in use by process {program.pid}"):
        run(plan, client)
    (os.killpg if to_group else os.kill)(program.pid, number)
    assert program.stderr is not None
    words = program.stderr.read().decode()
    assert program.wait(timeout=30) == status
    assert "Traceback" not in words
    assert not (tmp_path / "run.lock").exists()
    before = shard_identities(plan)
    assert len(before) < 60
    result = run(plan, client)
    assert (result.done, result.exit_status) == (60, 0)
    assert {name: shard_identities(plan)[name] for name in before} == before
    assert result.merged is not None
    assert_same_rows(result.merged, undisturbed)


def test_interrupted_run_in_this_process_returns_a_result(world: World, client: Client, tmp_path: Path) -> None:
    recorder = Recorder(2, lambda: os.kill(os.getpid(), signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    result = run(world.plan(tmp_path, block_frames=4), client, listeners=[recorder])
    assert result.exit_status == 130
    assert result.merged is None
    assert 2 <= result.done < 30
    assert [event.to_dict()["signal"] for event in recorder.of(RunInterrupted)] == ["SIGINT"]
    assert signal.getsignal(signal.SIGINT) is before


class _SignalsWhenDeleted:
    """Object whose destructor raises a signal; Python ignores exceptions that are raised in destructors."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


def test_signal_whose_exception_python_ignores_stops_the_run(world: World, client: Client, tmp_path: Path) -> None:
    def delete_one() -> None:
        _SignalsWhenDeleted()

    recorder = Recorder(2, delete_one)
    result = run(world.plan(tmp_path, block_frames=4), client, listeners=[recorder])
    assert result.exit_status == 143
    assert 2 <= result.done < 30


def test_folder_of_another_run_is_refused_or_discarded_with_force(world: World, client: Client, tmp_path: Path) -> None:
    first = run(world.plan(tmp_path, block_frames=64), client)
    other = world.plan(tmp_path, block_frames=64, detection=PaperRule(accept=0.9))
    with pytest.raises(RunConflictError, match=r"detection\.accept: 0\.7 -> 0\.9.*--force"):
        run(other, client)
    assert "detection.accept: 0.7 -> 0.9" in "\n".join(other.describe())
    (tmp_path / "mine.txt").write_text("not of a run")
    second = run(other, client, force=True)
    assert 0 < second.rows < first.rows
    assert read_status(tmp_path).rows == second.rows
    assert (tmp_path / "mine.txt").exists()


def test_table_without_a_record_is_not_overwritten(world: World, client: Client, tmp_path: Path) -> None:
    (tmp_path / "localizations.parquet").write_text("somebody's")
    with pytest.raises(RunConflictError, match=r"run\.json does not"):
        run(world.plan(tmp_path), client)
    assert (tmp_path / "localizations.parquet").read_text() == "somebody's"


@pytest.mark.parametrize("chunks", [[0], [0, 15, 29]], ids=["the first chunk", "all sampled chunks"])
def test_dataset_with_repaired_chunks_counts_as_the_same(
    chunks: list[int], world: World, client: Client, undisturbed: Path, tmp_path: Path
) -> None:
    movie = write_movie(tmp_path / "movie.zarr", (120, HEIGHT, WIDTH))
    paths = [movie / "c" / str(number) / "0" / "0" for number in chunks]
    whole = [path.read_bytes() for path in paths]
    for path, content in zip(paths, whole, strict=True):
        path.write_bytes(content[: len(content) // 2])

    def plan() -> Plan:
        return world.plan(tmp_path / "out", dataset=movie, block_frames=20, execution={"retries": 0})

    first = run(plan(), client)
    assert (first.done, first.exit_status) == (6 - len(first.failed), 1)
    for path, content in zip(paths, whole, strict=True):
        path.write_bytes(content)
    second = run(plan(), client)
    assert (second.done, second.exit_status) == (6, 0)
    assert second.merged is not None
    assert_same_rows(second.merged, undisturbed)


def test_another_movie_of_the_same_shape_at_the_same_path_is_noticed(
    world: World, client: Client, tmp_path: Path
) -> None:
    movie = write_movie(tmp_path / "movie.zarr", (24, HEIGHT, WIDTH))
    out = tmp_path / "out"
    first = run(world.plan(out, dataset=movie, block_frames=24), client)
    shutil.rmtree(movie)
    write_movie(movie, (24, HEIGHT, WIDTH), seed=1)
    plan = world.plan(out, dataset=movie, block_frames=24)
    with pytest.raises(RunConflictError, match="all sampled chunks differ"):
        run(plan, client)
    second = run(plan, client, force=True)
    assert second.exit_status == 0
    assert second.rows != first.rows


def test_truncated_chunk_loses_its_frames_until_it_is_repaired(
    world: World, client: Client, undisturbed: Path, tmp_path: Path
) -> None:
    movie = write_movie(tmp_path / "movie.zarr", (120, HEIGHT, WIDTH))
    chunk = movie / "c" / "10" / "0" / "0"  # frames 40 to 43, with context in the blocks before and after
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"

    def plan() -> Plan:
        return world.plan(out, dataset=movie, block_frames=8, execution={"retries": 1})

    recorder = Recorder()
    result = run(plan(), client, listeners=[recorder])
    assert (result.exit_status, result.done, result.failed) == (1, ALL_BLOCKS, ())
    assert (result.lost, result.num_lost) == (((40, 44),), 4)
    done = [event for event in recorder.of(BlockDone) if isinstance(event, BlockDone)]
    short = {event.block_id: event for event in sorted(done, key=lambda event: event.block) if event.lost}
    assert list(short) == ["b000004", "b000005"]  # frame 40 is the context of block 4
    assert all("c/10/0/0" in event.reason for event in short.values())
    assert [(event.attempts, event.lost, event.frames_lost) for event in short.values()] == [
        (2, ((40, 41),), 0),
        (2, ((40, 44),), 4),
    ]
    assert len(recorder.of(BlockRetried)) == 2
    assert result.merged is not None
    metadata = read_metadata(result.merged)
    assert (metadata.missing_blocks, metadata.lost_frames) == ((), ((40, 44),))
    status = read_status(out)
    assert (status.state, status.blocks_failed, status.frames_failed, status.frames_done) == ("incomplete", 0, 4, 116)
    assert [(item.block_id, item.place, item.frames) for item in status.lost] == [("b000005", "frames 40 to 43", 4)]
    assert "c/10/0/0" in "\n".join(status.describe())
    assert json.loads(json.dumps(status.to_dict()))["rows"] == result.rows
    before = shard_identities(plan())

    unchanged = run(plan(), client)
    assert (unchanged.exit_status, unchanged.lost, unchanged.rows) == (1, ((40, 44),), result.rows)
    assert shard_identities(plan()) == before

    chunk.write_bytes(whole)
    again = run(plan(), client)
    assert (again.exit_status, again.done, again.failed, again.lost) == (0, ALL_BLOCKS, (), ())
    after = shard_identities(plan())
    assert {name for name in before if before[name] != after[name]} == {"b000004.parquet", "b000005.parquet"}
    assert again.merged is not None
    assert read_metadata(again.merged).lost_frames == ()
    assert_same_rows(again.merged, undisturbed)
    status = read_status(out)
    assert (status.state, status.lost, status.frames_done) == ("done", (), 120)


@pytest.mark.parametrize("moment", [BlockFailed, MergeStarted])
def test_shard_that_arrives_after_its_block_has_failed_counts(
    moment: type[Event], world: World, client: Client, tmp_path: Path
) -> None:
    """The shard of a slow worker counts if it is written before the merge starts or when the merge starts."""
    movie = write_movie(tmp_path / "movie.zarr", (120, HEIGHT, WIDTH), dtype="float32")
    whole = run(world.plan(tmp_path / "whole", dataset=movie, block_frames=8), client)
    assert whole.merged is not None
    zarr.open_array(str(movie))[47, 3, 4] = np.nan  # last frame of block 5, and context of block 6
    plan = world.plan(tmp_path / "out", dataset=movie, block_frames=8, execution={"retries": 0})

    def come(event: Event) -> None:
        if isinstance(event, moment):
            shutil.copy(tmp_path / "whole" / "shards" / "b000005.parquet", plan.out / "shards")

    recorder = Recorder()
    result = run(plan, client, listeners=[recorder, come])
    assert sorted(event.to_dict()["block_id"] for event in recorder.of(BlockFailed)) == ["b000005", "b000006"]
    assert ([item.block_id for item in result.failed], result.done) == (["b000006"], ALL_BLOCKS - 1)
    assert result.merged is not None
    assert read_metadata(result.merged).missing_blocks == ("b000006",)
    status = read_status(plan.out)
    assert (status.blocks_done, status.blocks_failed, status.rows) == (ALL_BLOCKS - 1, 1, result.rows)


def test_nan_frames_make_only_their_block_fail(world: World, client: Client, undisturbed: Path, tmp_path: Path) -> None:
    movie = write_movie(tmp_path / "movie.zarr", (120, HEIGHT, WIDTH), dtype="float32")
    array = zarr.open_array(str(movie))
    array[64, 3, 4] = np.nan
    plan = world.plan(tmp_path / "out", dataset=movie, block_frames=60, execution={"retries": 0})
    result = run(plan, client)
    assert [(item.block_id, item.cause, item.attempts) for item in result.failed] == [("b000001", "FrameValueError", 1)]
    assert "64" in result.failed[0].reason
    assert (result.done, result.exit_status) == (1, 1)


# --- tasks that harm their workers ------------------------------------------------------------------------------------


@pytest.fixture
def one_death_is_enough(client: Client) -> Iterator[None]:
    """Make the scheduler fail a task after a single worker has died while running it."""

    def allow(dask_scheduler: object, number: int) -> int:
        before: int = dask_scheduler.allowed_failures  # type: ignore[attr-defined]
        dask_scheduler.allowed_failures = number  # type: ignore[attr-defined]
        return before

    before = client.run_on_scheduler(allow, number=0)
    yield
    client.run_on_scheduler(allow, number=before)
    client.wait_for_workers(2, timeout=60)


@pytest.mark.usefixtures("one_death_is_enough")
@pytest.mark.parametrize(("charges", "survives"), [(1, True), (2, False)], ids=["kills once", "kills again when alone"])
def test_block_that_kills_its_worker_is_retried_alone(
    charges: int, survives: bool, world: World, client: Client, undisturbed: Path, tmp_path: Path
) -> None:
    plan = harmful(world.plan(tmp_path / "out", block_frames=8), tmp_path / "charges", charges)
    recorder = Recorder()
    result = run(plan, client, listeners=[recorder])
    alone = {event.to_dict()["block"] for event in recorder.of(BlockRetried) if event.to_dict()["alone"]}
    assert 5 in alone
    if survives:
        assert (result.done, result.exit_status) == (ALL_BLOCKS, 0)
        assert result.merged is not None
        assert_same_rows(result.merged, undisturbed)
    else:
        assert [(item.block_id, item.cause) for item in result.failed] == [("b000005", "KilledWorker")]
        assert (result.done, result.exit_status) == (ALL_BLOCKS - 1, 1)


def test_block_that_hangs_is_retried_after_a_timeout(
    world: World, client: Client, undisturbed: Path, tmp_path: Path
) -> None:
    # on a busy machine a restarted worker may take longer than the limit to start; such attempts are repeated, too
    plan = world.plan(tmp_path / "out", block_frames=8, execution={"block_timeout_s": 10.0, "retries": 10})
    recorder = Recorder()
    result = run(harmful(plan, tmp_path / "charges", 1, hangs=True), client, listeners=[recorder])
    reasons = [event.to_dict()["reason"] for event in recorder.of(BlockRetried)]
    assert any("b000005 took longer than 10 s" in reason for reason in reasons)
    assert recorder.of(BlockFailed) == []
    assert (result.done, result.exit_status) == (ALL_BLOCKS, 0)
    assert result.merged is not None
    assert_same_rows(result.merged, undisturbed)


def test_shards_that_cannot_be_written_stop_the_run(world: World, client: Client, tmp_path: Path) -> None:
    plan = world.plan(tmp_path, block_frames=8, execution={"retries": 0})

    def remove() -> None:
        (tmp_path / "shards").rename(tmp_path / "moved")

    with pytest.raises(OutputError, match="The run stops"):
        run(plan, client, listeners=[Recorder(2, remove)])
    last = (tmp_path / "events.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["event"] == "RunFinished"
    assert json.loads(last)["exit_status"] == 2
    (tmp_path / "moved").rename(tmp_path / "shards")
    assert run(plan, client).exit_status == 0


def test_run_works_outside_the_main_thread(world: World, client: Client, tmp_path: Path) -> None:
    results = []
    plan = world.plan(tmp_path, block_frames=64)
    thread = threading.Thread(target=lambda: results.append(run(plan, client)))
    thread.start()
    thread.join(60)
    assert [result.exit_status for result in results] == [0]


# --- a scheduler that another program has started -------------------------------------------------------------------


@pytest.fixture
def started() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Return a function that starts ``dask`` programs; they are killed after the test."""
    programs = []

    def start(*arguments: str) -> "subprocess.Popen[bytes]":
        dask = str(Path(sys.executable).parent / "dask")
        program = subprocess.Popen([dask, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        programs.append(program)
        return program

    yield start
    for program in programs:
        program.kill()
        program.wait(timeout=20)


def test_run_can_be_resumed_after_its_scheduler_died(
    world: World,
    client: Client,
    undisturbed: Path,
    tmp_path: Path,
    started: Callable[..., "subprocess.Popen[bytes]"],
) -> None:
    file = tmp_path / "scheduler.json"
    scheduler = started(
        "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)
    )
    wait_for(lambda: file.exists() and bool(file.read_text()), "the address of the scheduler")
    address = json.loads(file.read_text())["address"]
    started("worker", address, "--nthreads", "2", "--no-nanny", "--no-dashboard", "--death-timeout", "5")
    plan = world.plan(tmp_path / "out", block_frames=4)
    with (
        pytest.raises(SiteError, match="The connection to the scheduler is lost"),
        connect(address) as running,
    ):
        run(plan, running, listeners=[Recorder(3, scheduler.kill)])
    before = shard_identities(plan)
    assert 3 <= len(before) < 30
    assert read_status(plan.out).owner is None
    result = run(plan, client)
    assert result.exit_status == 0
    assert {name: shard_identities(plan)[name] for name in before} == before
    assert result.merged is not None
    assert_same_rows(result.merged, undisturbed)
