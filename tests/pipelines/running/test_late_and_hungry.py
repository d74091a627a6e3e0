"""Workers that return late, after other workers have processed their blocks, and blocks that do not fit into memory."""

import json
import os
import signal
from pathlib import Path

import pytest

from lls_decode.cluster.site import connect
from lls_decode.pipelines.journal.events import BlockRetried
from lls_decode.pipelines.planning.plan import Plan
from lls_decode.pipelines.running.run import run
from lls_decode.pipelines.status.reader import read_status
from lls_decode.table import scan_shards, verify_shard
from tests.pipelines.conftest import Recorder, World, assert_same_table, harmful, shard_identities, wait_for
from tests.pipelines.run_processes import PATIENCE_S, ForkServer, open_processes, run_undisturbed

LATE = "b000005.parquet"
BLOCKS = 15
"""Number of blocks, of 8 frames each."""


def plan_in(world: World, folder: Path) -> Plan:
    return world.plan(folder / "out", block_frames=8)


@pytest.fixture(scope="module")
def undisturbed(world: World, fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an undisturbed run."""
    return run_undisturbed(fork_server, plan_in(world, tmp_path_factory.mktemp("undisturbed")))


def test_late_worker_does_no_harm(world: World, fork_server: ForkServer, undisturbed: Path, tmp_path: Path) -> None:
    """A worker is suspended before it renames a shard, other workers process its blocks, and then it continues."""
    plan, charge = plan_in(world, tmp_path), tmp_path / "charge"
    charge.touch()
    shard = plan.out / "shards" / LATE
    with open_processes(fork_server, tmp_path, stop=LATE, charge=str(charge)) as processes:
        processes.start_scheduler()
        processes.start_workers(1)
        client = processes.start_client(plan)
        wait_for(lambda: not charge.exists(), "the suspension of the worker", PATIENCE_S)
        (sleeper,) = processes.workers
        wait_for(lambda: "State:\tT" in Path(f"/proc/{sleeper}/status").read_text(), "the stopped state", PATIENCE_S)
        assert not shard.exists()
        processes.kill(processes.scheduler)
        assert processes.wait(client) == 2, processes.words
        processes.start_scheduler()
        processes.start_workers(1)
        assert processes.wait(processes.start_client(plan)) == 0, processes.words
        assert_same_table(plan.out, undisturbed)
        assert len(list(shard.parent.glob(".tmp-*"))) == 1
        before = shard_identities(plan)
        content = shard.read_bytes()
        os.kill(sleeper, signal.SIGCONT)
        wait_for(lambda: shard_identities(plan)[LATE] != before[LATE], "the late shard", PATIENCE_S)
        wait_for(lambda: not list(shard.parent.glob(".tmp-*")), "the end of the temporary file", PATIENCE_S)
        assert shard.read_bytes() == content
        verify_shard(shard)
        receipts, reasons = scan_shards(shard.parent, plan.blocks, run_digest=plan.run_digest)
        assert (len(receipts), reasons) == (BLOCKS, [])
        (plan.out / "localizations.parquet").unlink()
        assert processes.wait(processes.start_client(plan)) == 0, processes.words
    assert_same_table(plan.out, undisturbed)
    assert read_status(plan.out).blocks_done == BLOCKS


def test_block_that_needs_too_much_memory_fails_alone(
    world: World, fork_server: ForkServer, undisturbed: Path, tmp_path: Path
) -> None:
    """The block is retried alone after all others and then fails; all other blocks are finished."""
    plan = plan_in(world, tmp_path)
    with open_processes(fork_server, tmp_path) as processes:
        processes.start_scheduler()
        processes.start_workers(1, hungry=5)
        assert processes.wait(processes.start_client(plan)) == 1, processes.words
        status = read_status(plan.out)
        assert (status.blocks_done, status.blocks_failed) == (BLOCKS - 1, 1)
        assert [(item.block_id, item.cause) for item in status.failed] == [("b000005", "MemoryError")]
        assert "It was the only block in flight." in status.failed[0].reason
        events = [json.loads(line) for line in (plan.out / "events.jsonl").read_text().splitlines()]
        alone = [event["block"] for event in events if event["event"] == "BlockRetried" and event["alone"]]
        assert alone == [5]
        done = [number for number, event in enumerate(events) if event["event"] == "BlockDone"]
        assert events[done[-1] + 1]["event"] == "BlockFailed"
        processes.kill(processes.workers.pop())
        processes.start_workers(1)
        assert processes.wait(processes.start_client(plan)) == 0, processes.words
    assert_same_table(plan.out, undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_block_whose_workers_are_killed_for_their_memory_fails_alone(
    world: World, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask's nannies kill workers that exceed their memory: six workers, and six more while the block runs alone."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))  # for harmful_source.py
    plan = plan_in(world, tmp_path)
    recorder = Recorder()
    with connect("local", workers=1, memory_limit="1 GiB", dashboard_address="127.0.0.1:0") as client:
        first = run(harmful(plan, tmp_path / "charges", 100, eats=True), client, listeners=[recorder])
    assert [(item.block_id, item.cause) for item in first.failed] == [("b000005", "KilledWorker")]
    assert (first.done, first.exit_status) == (BLOCKS - 1, 1)
    assert 5 in {event.to_dict()["block"] for event in recorder.of(BlockRetried) if event.to_dict()["alone"]}
    with connect("local", workers=1, dashboard_address="127.0.0.1:0") as client:
        assert run(plan, client).exit_status == 0
    assert_same_table(plan.out, undisturbed)
