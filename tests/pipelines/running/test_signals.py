"""Signals that batch systems send before the wall time ends: the run stops with status 143 and can be resumed."""

import os
import signal
from pathlib import Path

import pytest

from lls_decode.pipelines.planning.plan import Plan
from lls_decode.pipelines.status.reader import read_status
from tests.pipelines.conftest import World, assert_same_table, ledger, shard_identities, wait_for
from tests.pipelines.run_processes import PATIENCE_S, ForkServer, open_processes, run_undisturbed

BLOCKS = 30
"""Number of blocks, of 4 frames each."""


def plan_in(world: World, folder: Path) -> Plan:
    return world.plan(folder / "out", block_frames=4)


@pytest.fixture(scope="module")
def undisturbed(world: World, fork_server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an undisturbed run."""
    return run_undisturbed(fork_server, plan_in(world, tmp_path_factory.mktemp("undisturbed")))


USR1 = pytest.param(signal.SIGUSR1, marks=pytest.mark.posix("there is no SIGUSR1"))


def handles(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler for a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (caught,) = (line.split()[1] for line in lines if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, USR1])
def test_signal_stops_a_run_that_waits_for_workers(
    number: signal.Signals, world: World, fork_server: ForkServer, tmp_path: Path
) -> None:
    with open_processes(fork_server, tmp_path) as processes:
        processes.start_scheduler()
        client = processes.start_client(plan_in(world, tmp_path))
        wait_for(lambda: handles(client, number), "the handler of the signal", PATIENCE_S)
        os.kill(client, number)
        assert processes.wait(client) == 143
        assert f"{number.name}: interrupted; rerun the same command to resume." in processes.words
        assert "Traceback" not in processes.words


@pytest.mark.parametrize("number", [signal.SIGTERM, USR1])
def test_signal_stops_a_run_in_its_blocks_and_in_its_merge(
    number: signal.Signals, world: World, fork_server: ForkServer, undisturbed: Path, tmp_path: Path
) -> None:
    plan = plan_in(world, tmp_path)
    with open_processes(fork_server, tmp_path, read_s=0.1) as processes:
        processes.start_scheduler()
        processes.start_workers(2)
        client = processes.start_client(plan)
        wait_for(lambda: len(ledger(plan)) >= 5, "five finished blocks", PATIENCE_S)
        os.kill(client, number)
        os.kill(client, number)  # impatient users send a signal twice
        assert processes.wait(client) == 143
        before = shard_identities(plan)
        assert 5 <= len(before) < BLOCKS
        assert not (plan.out / "run.lock").exists()
        assert read_status(plan.out).state == "incomplete"
        assert processes.wait(processes.start_client(plan, dies_at="half a table", by=number)) == 143
        assert len(shard_identities(plan)) == BLOCKS
        assert sorted(path.name for path in plan.out.iterdir() if path.suffix == ".parquet") == []
        assert processes.wait(processes.start_client(plan)) == 0
        assert "Traceback" not in processes.words
    assert_same_table(plan.out, undisturbed)
    assert {name: shard_identities(plan)[name] for name in before} == before
