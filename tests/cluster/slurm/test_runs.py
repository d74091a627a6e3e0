"""Whatever SLURM does to the jobs of a run, the table is that of a local run to which nothing happened."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lls_decode.table import read_table
from tests.pipelines.conftest import assert_same_rows

from .conftest import FREE_BLOCKS, Run, World
from .virtual import SCAVENGE, VirtualSlurm, wait_for

pytestmark = pytest.mark.slurm
Runs = Callable[..., Run]


def check(run: Run, world: World) -> None:
    """The run ends well, and with the rows of the undisturbed one, each block computed into one shard."""
    found = run.summary()
    assert Path(found["table"]) == run.out / "localizations.parquet"
    assert found["rows"] == read_table(world.table)[0].num_rows
    assert_same_rows(run.out / "localizations.parquet", world.table)


def test_gpus_are_those_that_slurm_gave(runs: Runs, world: World) -> None:
    """Two jobs on one node, one with two GPUs: each worker process has a device of its own."""
    run = runs(workers_max=1, worker={"gres": "gpu:2", "extra": ["--nodelist=n2"]}).start()
    check(run, world)
    assert "GPUs: 0, 1" in run.logs("worker")
    assert run.logs("worker").count("Registered to: ") == 2
    assert "tls://" in run.logs("worker")
    wait_for(lambda: run.jobs() == [], "the end of all jobs", 60)
    assert "the run is over" in run.logs("worker")
