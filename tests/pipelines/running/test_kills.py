"""SIGKILL for any process of a run, at any moment: the table is, row for row, that of a run that nobody disturbed."""

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
"""A block takes tenths of a second, so that a kill meets it half done."""


def plan_in(world: World, out: Path) -> Plan:
    """120 blocks of a frame."""
    return world.plan(out, block_frames=1)


@pytest.fixture(scope="module")
def undisturbed(world: World, company: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run to which nothing happened."""
    plan = plan_in(world, tmp_path_factory.mktemp("undisturbed") / "out")
    return run_undisturbed(company, plan, workers=WORKERS)


def assert_nothing_happened(plan: Plan, undisturbed: Path) -> None:
    """Every shard and every row as if there had been no kill, each once; the ledger knows all blocks."""
    assert_same_table(plan.out, undisturbed)
    for shard in sorted((undisturbed / "shards").glob("b*.parquet")):
        assert (plan.out / "shards" / shard.name).read_bytes() == shard.read_bytes(), shard.name
    records = ledger(plan)
    assert {record["block"] for record in records} == set(range(len(plan.blocks)))
    assert {record["event"] for record in records} == {"BlockDone"}
    status, rows = read_status(plan.out), pq.read_metadata(plan.out / "localizations.parquet").num_rows
    assert (status.state, status.blocks_done, status.rows) == ("done", len(plan.blocks), rows)


class Stage:
    """A run that goes on whatever is killed: who has died is started again, the client with the same command."""

    def __init__(self, cast: RunProcesses, plan: Plan) -> None:
        self.cast, self.plan = cast, plan
        cast.start_scheduler()
        cast.start_workers(WORKERS)
        self.client = cast.start_client(plan)

    def wait_for_blocks(self, number: int) -> None:
        """Until so many more shards are there."""
        before = self._shards()

        def enough() -> bool:
            status = self.cast.poll(self.client)
            assert status is None, f"the client has ended with {status}: {self.cast.words[-2000:]}"
            return self._shards() >= before + number

        wait_for(enough, f"{number} more shards", PATIENCE_S)

    def kill(self, victim: str) -> None:
        cast = self.cast
        if victim == "a worker":
            cast.kill(cast.workers.pop(0))
            cast.start_workers(1)
        elif victim == "all workers":
            while cast.workers:
                cast.kill(cast.workers.pop())
            cast.start_workers(WORKERS)
        elif victim == "the client":
            cast.kill(self.client)
            self.client = cast.start_client(self.plan)
        else:
            cast.kill(cast.scheduler)
            assert cast.wait(self.client) == 2
            assert "Error: The connection to the scheduler is lost" in cast.words
            assert self._owner() != self.client  # one that was killed before may have left its lock
            while cast.workers:
                cast.wait(cast.workers.pop())  # by itself
            cast.start_scheduler()
            cast.start_workers(WORKERS)
            self.client = cast.start_client(self.plan)

    def _owner(self) -> int | None:
        """Process that has taken the folder, or had when it was killed."""
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
        pytest.param(ALL, 8, 0, id="each once"),
        pytest.param((*ALL * 5, "a worker"), 3, 1, id="21 kills", marks=SLOW),
        pytest.param(("a worker", *ALL * 5), 2, 2, id="21 kills, quicker", marks=SLOW),
    ],
)
def test_run_survives_kills(
    victims: tuple[str, ...],
    blocks_between: int,
    seed: int,
    world: World,
    company: ForkServer,
    undisturbed: Path,
    tmp_path: Path,
) -> None:
    plan = plan_in(world, tmp_path / "out")
    chance = random.Random(seed)
    with open_processes(company, tmp_path, read_s=READ_S) as cast:
        stage = Stage(cast, plan)
        for victim in chance.sample(victims, len(victims)):
            stage.wait_for_blocks(blocks_between)
            time.sleep(chance.uniform(0, READ_S))  # a moment that no event marks
            stage.kill(victim)
        assert cast.wait(stage.client) == 0
        assert "Traceback" not in cast.words
    assert_nothing_happened(plan, undisturbed)


MOMENTS = {
    "RunStarted": "before the first block is submitted",
    "BlockDone": "when a shard is there and no line of the ledger",
    "MergeStarted": "between the last block and the merge",
    "half a table": "when all rows are in a temporary file",
    "Merged": "when the table is there and no line says so",
    "RunFinished": "at the end",
}


def test_client_killed_at_chosen_moments(world: World, company: ForkServer, undisturbed: Path, tmp_path: Path) -> None:
    """One folder, one run: the same command, killed six times, and then left alone."""
    plan = plan_in(world, tmp_path / "out")
    with open_processes(company, tmp_path) as cast:
        cast.start_scheduler()
        cast.start_workers(1)
        for moment, words in MOMENTS.items():
            assert cast.wait(cast.start_client(plan, dies_at=moment)) == -9, words
            assert read_status(plan.out).owner is None
        assert (plan.out / "localizations.parquet").exists()
        assert not list(plan.out.glob(".tmp-localizations-*")), "what a killed merge left is removed by the next start"
        assert cast.wait(cast.start_client(plan)) == 0
    assert_nothing_happened(plan, undisturbed)
    events = [json.loads(line)["event"] for line in (plan.out / "events.jsonl").read_text().splitlines()]
    assert events[-1] == "RunFinished"
