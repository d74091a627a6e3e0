"""Killing any process of a run at any moment (SIGKILL) leaves the table equal to the table of an undisturbed run."""

import json
import random
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lls_decode.pipelines.planning.plan import Plan
from lls_decode.pipelines.status.reader import read_status
from tests.pipelines.conftest import World, assert_same_table, ledger, wait_for
from tests.pipelines.run_processes import PATIENCE_S, ForkServer, RunProcesses, open_processes, run_undisturbed

WORKERS = 2
READ_S = 0.2
"""Time to read a block, long enough for a kill to hit blocks that are being processed."""


def plan_in(world: World, out: Path) -> Plan:
    """Return a plan of 120 blocks of one frame."""
    return world.plan(out, block_frames=1)


@pytest.fixture(scope="module")
def undisturbed(world: World, fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an undisturbed run."""
    plan = plan_in(world, tmp_path_factory.mktemp("undisturbed") / "out")
    return run_undisturbed(fork_server, plan, workers=WORKERS)


def assert_as_undisturbed(plan: Plan, undisturbed: Path) -> None:
    """Check that shards and table equal those of the undisturbed run, and that the ledger lists all blocks."""
    assert_same_table(plan.out, undisturbed)
    for shard in sorted((undisturbed / "shards").glob("b*.parquet")):
        assert (plan.out / "shards" / shard.name).read_bytes() == shard.read_bytes(), shard.name
    records = ledger(plan)
    assert {record["block"] for record in records} == set(range(len(plan.blocks)))
    assert {record["event"] for record in records} == {"BlockDone"}
    status, rows = read_status(plan.out), pq.read_metadata(plan.out / "localizations.parquet").num_rows
    assert (status.state, status.blocks_done, status.rows) == ("done", len(plan.blocks), rows)


class Stage:
    """A run whose killed processes are restarted; the client is restarted with the same command."""

    def __init__(self, processes: RunProcesses, plan: Plan) -> None:
        self.processes, self.plan = processes, plan
        processes.start_scheduler()
        processes.start_workers(WORKERS)
        self.client = processes.start_client(plan)

    def wait_for_blocks(self, number: int) -> None:
        """Wait until a given number of additional shards exist."""
        before = self._shards()

        def enough() -> bool:
            status = self.processes.poll(self.client)
            assert status is None, f"the client has ended with {status}: {self.processes.words[-2000:]}"
            return self._shards() >= before + number

        wait_for(enough, f"{number} more shards", PATIENCE_S)

    def kill(self, victim: str) -> None:
        processes = self.processes
        if victim == "a worker":
            processes.kill(processes.workers.pop(0))
            processes.start_workers(1)
        elif victim == "all workers":
            while processes.workers:
                processes.kill(processes.workers.pop())
            processes.start_workers(WORKERS)
        elif victim == "the client":
            processes.kill(self.client)
            self.client = processes.start_client(self.plan)
        else:
            processes.kill(processes.scheduler)
            assert processes.wait(self.client) == 2
            assert "Error: The connection to the scheduler is lost" in processes.words
            assert self._owner() != self.client  # the lock of a client that was killed before may exist
            while processes.workers:
                processes.wait(processes.workers.pop())  # workers end by themselves
            processes.start_scheduler()
            processes.start_workers(WORKERS)
            self.client = processes.start_client(self.plan)

    def _owner(self) -> int | None:
        """Return the process in the lock of the folder, which may have been killed."""
        lock = self.plan.out / "run.lock"
        pid: int | None = json.loads(lock.read_text())["pid"] if lock.exists() else None
        return pid

    def _shards(self) -> int:
        return len(list((self.plan.out / "shards").glob("b*.parquet")))


SLOW = (pytest.mark.slow, pytest.mark.timeout(1800))
ALL = ("a worker", "all workers", "the scheduler", "the client")


@pytest.mark.parametrize(
    ("victims", "blocks_between", "seed"),
    [
        pytest.param(ALL, 8, 0, id="one kill of each kind"),
        pytest.param((*ALL * 5, "a worker"), 3, 1, id="21 kills", marks=SLOW),
        pytest.param(("a worker", *ALL * 5), 2, 2, id="21 kills in quick succession", marks=SLOW),
    ],
)
def test_run_survives_kills(
    victims: tuple[str, ...],
    blocks_between: int,
    seed: int,
    world: World,
    fork_server: ForkServer,
    undisturbed: Path,
    tmp_path: Path,
) -> None:
    plan = plan_in(world, tmp_path / "out")
    chance = random.Random(seed)
    with open_processes(fork_server, tmp_path, read_s=READ_S) as processes:
        stage = Stage(processes, plan)
        for victim in chance.sample(victims, len(victims)):
            stage.wait_for_blocks(blocks_between)
            time.sleep(chance.uniform(0, READ_S))  # a moment unrelated to any event
            stage.kill(victim)
        assert processes.wait(stage.client) == 0
        assert "Traceback" not in processes.words
    assert_as_undisturbed(plan, undisturbed)


MOMENTS = {
    "RunStarted": "before the first block is submitted",
    "BlockDone": "after a shard is written, before its line in the ledger",
    "MergeStarted": "between the last block and the merge",
    "half a table": "when all rows are in a temporary file",
    "Merged": "after the table is written, before its event",
    "RunFinished": "at the end",
}


def test_run_survives_kills_of_the_client_at_critical_moments(
    world: World, fork_server: ForkServer, undisturbed: Path, tmp_path: Path
) -> None:
    """The same command is killed six times at different moments, and then completes the run."""
    plan = plan_in(world, tmp_path / "out")
    with open_processes(fork_server, tmp_path) as processes:
        processes.start_scheduler()
        processes.start_workers(1)
        for moment, words in MOMENTS.items():
            assert processes.wait(processes.start_client(plan, dies_at=moment)) == -9, words
            assert read_status(plan.out).owner is None
        assert (plan.out / "localizations.parquet").exists()
        assert not list(plan.out.glob(".tmp-localizations-*")), "the next start removes the temporary table"
        assert processes.wait(processes.start_client(plan)) == 0
    assert_as_undisturbed(plan, undisturbed)
    events = [json.loads(line)["event"] for line in (plan.out / "events.jsonl").read_text().splitlines()]
    assert events[-1] == "RunFinished"
