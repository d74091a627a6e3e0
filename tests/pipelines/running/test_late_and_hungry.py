"""Workers that come back late, with what others have done meanwhile, and blocks that do not fit into memory."""

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
"""Of 8 frames each."""


def plan_in(world: World, folder: Path) -> Plan:
    return world.plan(folder / "out", block_frames=8)


@pytest.fixture(scope="module")
def undisturbed(world: World, company: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run to which nothing happened."""
    return run_undisturbed(company, plan_in(world, tmp_path_factory.mktemp("undisturbed")))


def test_worker_that_comes_back_late(world: World, company: ForkServer, undisturbed: Path, tmp_path: Path) -> None:
    """Its machine sleeps when a shard is written and has no name yet; others do its blocks; then it goes on."""
    plan, charge = plan_in(world, tmp_path), tmp_path / "charge"
    charge.touch()
    shard = plan.out / "shards" / LATE
    with open_processes(company, tmp_path, stop=LATE, charge=str(charge)) as cast:
        cast.start_scheduler()
        cast.start_workers(1)
        client = cast.start_client(plan)
        wait_for(lambda: not charge.exists(), "the sleep of the worker", PATIENCE_S)
        (sleeper,) = cast.workers
        wait_for(lambda: "State:\tT" in Path(f"/proc/{sleeper}/status").read_text(), "its sleep", PATIENCE_S)
        assert not shard.exists()
        cast.kill(cast.scheduler)
        assert cast.wait(client) == 2, cast.words
        cast.start_scheduler()
        cast.start_workers(1)
        assert cast.wait(cast.start_client(plan)) == 0, cast.words
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
        assert cast.wait(cast.start_client(plan)) == 0, cast.words
    assert_same_table(plan.out, undisturbed)
    assert read_status(plan.out).blocks_done == BLOCKS


def test_block_without_memory(world: World, company: ForkServer, undisturbed: Path, tmp_path: Path) -> None:
    """The system refuses memory to its reader: it is tried again alone, then put aside; the others are done."""
    plan = plan_in(world, tmp_path)
    with open_processes(company, tmp_path) as cast:
        cast.start_scheduler()
        cast.start_workers(1, hungry=5)
        assert cast.wait(cast.start_client(plan)) == 1, cast.words
        status = read_status(plan.out)
        assert (status.blocks_done, status.blocks_failed) == (BLOCKS - 1, 1)
        assert [(item.block_id, item.cause) for item in status.failed] == [("b000005", "MemoryError")]
        assert "It was the only block in flight." in status.failed[0].reason
        events = [json.loads(line) for line in (plan.out / "events.jsonl").read_text().splitlines()]
        alone = [event["block"] for event in events if event["event"] == "BlockRetried" and event["alone"]]
        assert alone == [5]
        done = [number for number, event in enumerate(events) if event["event"] == "BlockDone"]
        assert events[done[-1] + 1]["event"] == "BlockFailed"
        cast.kill(cast.workers.pop())
        cast.start_workers(1)
        assert cast.wait(cast.start_client(plan)) == 0, cast.words
    assert_same_table(plan.out, undisturbed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_worker_killed_for_its_memory(
    world: World, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask's nannies kill what takes more than its share: six workers, and six more when the block is alone."""
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
