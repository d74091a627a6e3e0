"""Tasks: repeating a task leaves one shard, and its errors keep their cause between processes."""

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from distributed import Client

from lls_decode.errors import BlockError, ChunkError
from lls_decode.frames import FrameStack
from lls_decode.localize import Localizer
from lls_decode.pipelines.planning.plan import Plan
from lls_decode.pipelines.running.tasks import Task, localize_task, resolve_threads
from tests.pipelines.conftest import HEIGHT, WIDTH, World, run_config, write_movie


def task_of(plan: Plan, index: int, shards: Path) -> Task:
    shards.mkdir(exist_ok=True)
    return Task(
        block=plan.blocks[index],
        source=plan.source,
        bundle_path=plan.bundle_path,
        bundle_digest=plan.bundle_digest,
        config=plan.config,
        shards=str(shards),
        run_digest=plan.run_digest,
    )


def test_repeated_task_finds_its_shard(world: World, tmp_path: Path) -> None:
    task = task_of(world.plan(tmp_path / "out", block_frames=16), 2, tmp_path)
    first = localize_task(pickle.loads(pickle.dumps(task)))
    shard = tmp_path / "b000002.parquet"
    inode = shard.stat().st_ino
    second = localize_task(task)
    assert (first.found, second.found) == (False, True)
    assert second.receipt == first.receipt
    assert shard.stat().st_ino == inode
    assert first.frames == 16
    assert first.receipt.rows > 0
    assert first.pid == os.getpid()


def test_damaged_or_foreign_shard_is_overwritten(world: World, tmp_path: Path) -> None:
    task = task_of(world.plan(tmp_path / "out", block_frames=16), 0, tmp_path)
    receipt = localize_task(task).receipt
    shard = tmp_path / "b000000.parquet"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    assert localize_task(task).receipt == receipt
    assert shard.read_bytes() == whole
    other = localize_task(replace(task, run_digest="0123456789abcdef"))
    assert not other.found
    assert other.receipt.run_digest == "0123456789abcdef"


def failing_task(world: World, tmp_path: Path) -> Task:
    movie = write_movie(tmp_path / "movie.zarr", (32, HEIGHT, WIDTH))
    chunk = movie / "c" / "3" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:50])
    return task_of(world.plan(tmp_path / "out", dataset=movie, block_frames=16), 0, tmp_path)


def test_error_names_block_volumes_planes_and_cause(world: World, tmp_path: Path) -> None:
    with pytest.raises(BlockError, match=r"Block b000000 \(volumes 0 to 15, planes 0 to 0\).*c/3/0/0") as caught:
        localize_task(failing_task(world, tmp_path))
    assert isinstance(caught.value.__cause__, ChunkError)
    assert caught.value.cause == "ChunkError"
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again), again.cause) == (BlockError, str(caught.value), "ChunkError")


def test_error_of_a_worker_keeps_its_cause(world: World, client: Client, tmp_path: Path) -> None:
    future = client.submit(localize_task, failing_task(world, tmp_path), pure=False)
    error = future.exception(timeout=30)
    assert isinstance(error, BlockError)
    assert error.cause == "ChunkError"
    assert "c/3/0/0" in str(error)
    assert "failed on tls://" in str(error)


def test_bundle_that_was_replaced_after_planning_is_refused(world: World, tmp_path: Path) -> None:
    task = replace(task_of(world.plan(tmp_path / "out"), 0, tmp_path), bundle_digest="f" * 16, run_digest="e" * 16)
    with pytest.raises(BlockError, match="planned with ffff") as caught:
        localize_task(task)
    assert caught.value.cause == "BundleError"


def test_bundle_that_a_worker_cannot_read_is_an_error(world: World, tmp_path: Path) -> None:
    task = task_of(world.plan(tmp_path / "out"), 0, tmp_path)
    task = replace(task, bundle_path="/nowhere/model.lls", run_digest="d" * 16)
    with pytest.raises(BlockError, match=r"/nowhere/model\.lls cannot be read") as caught:
        localize_task(task)
    assert caught.value.cause == "BundleError"


def test_default_threads_are_the_cores_divided_by_the_workers() -> None:
    silent = run_config(8).replace(compute={"device": "cpu"})
    cores = resolve_threads(silent, 1)
    assert resolve_threads(silent, cores) == 1
    assert resolve_threads(silent, 10 * cores) == 1
    assert resolve_threads(silent.replace(compute={"threads": 7}), 10 * cores) == 7


def test_tasks_of_several_threads_compute_in_one_thread(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second computing thread would make OpenMP start a second set of its own threads."""
    plan, seen, run = world.plan(tmp_path / "out", block_frames=16), [], Localizer.run

    def watch(self: Localizer, stack: FrameStack) -> pa.Table:
        seen.append(threading.current_thread())
        return run(self, stack)

    monkeypatch.setattr(Localizer, "run", watch)
    tasks = [task_of(plan, index, tmp_path) for index in range(4)]
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(localize_task, tasks))
    assert [report.receipt.block_index for report in reports] == [0, 1, 2, 3]
    assert len(seen) == 4
    assert len(set(seen)) == 1


def test_pickled_task_is_small(world: World, tmp_path: Path) -> None:
    plan = world.plan(tmp_path / "out", block_frames=16)
    assert len(pickle.dumps(task_of(plan, 3, tmp_path))) < 10_000
