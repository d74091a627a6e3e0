"""Whatever SLURM does to the jobs of a run, the table is that of a local run to which nothing happened."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lls_decode.table import read_table
from tests.pipelines.conftest import assert_same_rows

from .conftest import FREE_BLOCKS, Run, World
from .virtual import SCAVENGE, VirtualSlurm, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(600)]
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
    wait_for(lambda: run.jobs() == [], "the end of all jobs", 200)
    assert "the run is over" in run.logs("worker")


def test_workers_lost_for_good_are_replaced(runs: Runs, world: World, nodes: VirtualSlurm) -> None:
    """One is cancelled, the other one takes more memory than it asked for: SLURM requeues neither."""
    run = runs()
    run.close()
    run.start().wait_until_held()
    first, second = run.workers()
    nodes.say("scancel", first.id)
    (run.store / "eat-1").touch()
    wait_for(lambda: not {first.id, second.id} & {job.id for job in run.workers()}, "the end of both jobs", 200)
    wait_for(lambda: "worker jobs were lost for good" in run.logs("driver"), "their replacement", 200)
    run.open()
    check(run, world)


def test_nodes_that_die_or_are_cut_off(runs: Runs, world: World, nodes: VirtualSlurm) -> None:
    """SLURM starts their jobs elsewhere; those on the node that was cut off live on, and do the same blocks."""
    run = runs(worker={"cpus": 3, "extra": ["--exclude=n1,n4"]}, driver={"extra": ["--nodelist=n1"]})
    run.close()
    run.start().wait_until_held()
    assert {job.node for job in run.workers()} == {"n2", "n3"}
    nodes.crash("n2")
    assert nodes.processes_of("n2") == []
    nodes.cut("n3")
    survivors = set(nodes.processes_of("n3"))
    assert survivors
    wait_for(lambda: {job.state for job in run.jobs() if job.in_array} == {"PENDING"}, "requeued jobs", 200)
    nodes.mend("n2")
    wait_for(lambda: run.logs("worker").count("at work for the driver") >= 3, "a worker that is back", 200)
    assert survivors & set(nodes.processes_of("n3"))
    run.open()
    check(run, world)
    nodes.mend("n3")


def test_preempted_worker_comes_back(runs: Runs, world: World, nodes: VirtualSlurm) -> None:
    run = runs(workers_max=1, worker={"partition": SCAVENGE, "extra": ["--nodelist=n2"]}, driver={"partition": "main"})
    run.close()
    run.start().wait_until_held(1)
    nodes.say("sbatch", "--job-name=urgent", "--nodelist=n2", "--cpus-per-task=4", "--mem=1000", "--wrap=sleep 3")
    wait_for(lambda: "urgent" in nodes.job_names() and run.workers() == [], "preemption", 200)
    wait_for(lambda: "worker: job" in run.logs("worker") and ", start 1" in run.logs("worker"), "the requeued job", 200)
    run.open()
    check(run, world)
    assert "lost for good" not in run.logs("driver")


def test_worker_leaves_before_its_wall_time(runs: Runs, world: World, nodes: VirtualSlurm) -> None:
    """It drops what would not end in time, and goes back to the queue by itself."""
    run = runs(workers_max=1, worker={"hours": 1 / 60}, notice_s=10)
    run.close()
    run.start()
    wait_for(lambda: "worker: back to the queue" in run.logs("worker"), "the wall time", 200)
    (job,) = [job for job in run.jobs() if job.in_array]
    nodes.say("scontrol", "update", f"jobid={job.id}", "timelimit=60")  # one minute may be short on a busy machine
    wait_for(lambda: ", start 1" in run.logs("worker"), "the next start", 200)
    run.open()
    check(run, world)
    assert "lost for good" not in run.logs("driver")


def test_driver_goes_on_by_itself(runs: Runs, world: World, nodes: VirtualSlurm) -> None:
    """Its jobs do not need the terminal, its workers find it again, and the same command follows it again."""
    run = runs()
    run.close()
    run.start().wait_until_held()
    assert run.process is not None
    run.process.send_signal(signal.SIGINT)
    status, _, err = run.end()
    assert (status, "The jobs go on without this terminal" in err) == (130, True)
    driver = run.driver()
    assert driver is not None
    nodes.say("scancel", "--batch", "--signal=USR1", driver.id)  # what SLURM does before the wall time
    wait_for(lambda: ", start 1" in run.logs("driver"), "the next start of the driver", 200)
    run.start()
    wait_for(lambda: run.logs("worker").count("at work for the driver") >= 4, "workers that are back", 200)
    run.open()
    check(run, world)
    assert ", start 1" not in run.logs("worker")
    assert f"{FREE_BLOCKS} of them done before" in run.logs("driver")
    kept = (run.out / "site" / "scheduler.json").exists()
    assert (kept, (run.out / "site").stat().st_mode & 0o077) == (False, 0)


def test_interactive_jobs_are_kept(runs: Runs, world: World, nodes: VirtualSlurm) -> None:
    """dask-jobqueue alone would not replace the job that is cancelled."""
    run = runs(mode="interactive", workers_max=1)
    run.close()
    run.start()
    wait_for(lambda: run.shards() >= FREE_BLOCKS, "the first blocks", 200)
    (job,) = run.jobs()
    nodes.say("scancel", job.id)
    wait_for(lambda: [item.id for item in run.jobs() if item.state == "RUNNING"] not in ([], [job.id]), "another", 200)
    run.open()
    check(run, world)
    assert run.jobs() == []
