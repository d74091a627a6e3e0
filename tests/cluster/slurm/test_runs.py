"""Whatever SLURM does to the jobs of a run, the table equals the table of an undisturbed local run."""

import re
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from lls_decode.cluster.site import connect
from lls_decode.config import ComputeConfig, ExecutionConfig, RunConfig
from lls_decode.pipelines.planning.plan import make_plan
from lls_decode.pipelines.running.run import run as run_plan
from lls_decode.table import read_table
from tests.pipelines.conftest import assert_same_rows

from .conftest import AT_WORK, FREE_BLOCKS, Run, World
from .virtual import PATIENCE_S, SCAVENGE, VirtualSlurm, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]
Runs = Callable[..., Run]


def check(run: Run, world: World) -> None:
    """Check that a run succeeds and that its table has the same rows as the table of the undisturbed run."""
    found = run.summary()
    assert Path(found["table"]) == run.out / "localizations.parquet"
    assert found["rows"] == read_table(world.table)[0].num_rows
    assert_same_rows(run.out / "localizations.parquet", world.table)


def watched(run: Run, state: str) -> int:
    """Return the number of blocks in a state according to the web page that the driver's log names.

    The number is 0 until the page has read the run folder for the first time.
    """
    (page,) = re.findall(r"this run: (http://127\.0\.0\.1:\d+/lls-decode)", run.logs("driver"))
    with urlopen(page, timeout=60) as answer:
        assert "<title>" in answer.read().decode()
    with urlopen(f"{page}/metrics", timeout=60) as answer:
        found = re.search(rf'^lls_decode_blocks{{.*state="{state}".*}} (\d+)', answer.read().decode(), re.MULTILINE)
    return int(found[1]) if found else 0


def test_workers_use_the_gpus_that_slurm_allocated(runs: Runs, world: World) -> None:
    """A job with two GPUs starts two worker processes, each of which uses its own device."""
    run = runs(workers_max=1, worker={"gres": "gpu:2", "extra": ["--nodelist=n2"]}).start()
    check(run, world)
    assert "GPUs: 0, 1" in run.logs("worker")
    assert run.logs("worker").count("Registered to: ") == 2
    assert "tls://" in run.logs("worker")
    wait_for(lambda: run.jobs() == [], "the end of all jobs")
    assert "the run is over" in run.logs("worker")


def test_permanently_lost_workers_are_replaced(runs: Runs, world: World, nodes: VirtualSlurm) -> None:
    """One job is cancelled, the other uses more memory than it requested; SLURM requeues neither of them."""
    run = runs()
    run.close()
    run.start().wait_until_held()
    first, second = run.workers()
    nodes.say("scancel", first.id)
    (run.store / f"eat-{second.id}").touch()
    wait_for(lambda: not {first.id, second.id} & {job.id for job in run.jobs()}, "the end of both jobs")
    run.wait_for_log("driver", "worker jobs were lost and replaced")
    run.open()
    check(run, world)


def test_run_survives_nodes_that_crash_or_lose_their_network(runs: Runs, world: World, nodes: VirtualSlurm) -> None:
    """SLURM restarts the jobs of both nodes elsewhere, while workers on the node without network keep running.

    These workers may process the same blocks as their replacements.
    """
    run = runs(worker={"cpus": 3, "extra": ["--exclude=n1,n4"]}, driver={"extra": ["--nodelist=n1"]})
    run.close()
    run.start().wait_until_held()
    assert {job.node for job in run.workers()} == {"n2", "n3"}
    nodes.crash("n2")
    assert nodes.processes_of("n2") == []
    nodes.cut("n3")
    survivors = set(nodes.processes_of("n3"))
    assert survivors
    wait_for(lambda: {job.state for job in run.jobs() if job.in_array} == {"PENDING"}, "requeued jobs")
    nodes.mend("n2")
    run.wait_for_log("worker", AT_WORK, 3)
    assert survivors & set(nodes.processes_of("n3"))
    run.open()
    check(run, world)


def test_preempted_worker_is_requeued(runs: Runs, world: World, nodes: VirtualSlurm) -> None:
    run = runs(workers_max=1, worker={"partition": SCAVENGE, "extra": ["--nodelist=n2"]}, driver={"partition": "main"})
    run.close()
    run.start().wait_until_held(1)
    room = ("--nodelist=n2", "--cpus-per-task=4", "--mem=1000")
    nodes.say("sbatch", "--output=/dev/null", "--job-name=urgent", *room, "--wrap=:")
    run.wait_for_log("worker", ", start 1")
    assert "urgent" not in nodes.job_names()
    run.open()
    check(run, world)
    assert "were lost and replaced" not in run.logs("driver")


def test_jobs_requeue_themselves_before_their_wall_time_ends(runs: Runs, world: World, nodes: VirtualSlurm) -> None:
    """Worker and driver drop the work that would not finish in time, and requeue their own jobs."""
    run = runs(workers_max=1, worker={"hours": 1 / 60}, driver={"hours": 1 / 60}, notice_s=10)
    run.close()
    run.start()
    for kind in ("worker", "driver"):
        run.wait_for_log(kind, f"{kind}: back to the queue")
    for job in run.jobs():  # on a busy machine one minute may be too short for the second start
        nodes.say("scontrol", "update", f"jobid={job.id}", "timelimit=60")
    run.open()
    check(run, world)
    assert ", start 1" in run.logs("worker")
    assert ", start 1" in run.logs("driver")
    assert "were lost and replaced" not in run.logs("driver")


def test_driver_survives_its_terminal_and_its_node(runs: Runs, world: World, nodes: VirtualSlurm) -> None:
    """The driver job continues after Ctrl-C at the terminal, and is restarted after its node crashes.

    Its workers find the restarted driver, and rerunning the same command follows the run again.
    """
    run = runs(worker={"extra": ["--nodelist=n3"]}, driver={"extra": ["--exclude=n3"]})
    run.close()
    run.start().wait_until_held()
    assert run.process is not None
    run.process.send_signal(signal.SIGINT)
    status, _, err = run.end()
    assert (status, "The jobs continue without this terminal" in err) == (130, True)
    driver = run.driver()
    assert driver is not None
    wait_for(lambda: watched(run, "done") >= FREE_BLOCKS, "blocks on the page")
    nodes.crash(driver.node)
    run.wait_for_log("driver", ", start 1")
    run.start()
    run.wait_for_log("worker", AT_WORK, 4)
    run.open()
    check(run, world)
    assert ", start 1" not in run.logs("worker")
    assert f"{FREE_BLOCKS} of them already done" in run.logs("driver")
    kept = (run.out / "site" / "scheduler.json").exists()
    assert (kept, (run.out / "site").stat().st_mode & 0o077) == (False, 0)


MEMORY: dict[str, tuple[dict[str, Any], str]] = {
    "memory per cpu": ({"cpus": 2, "memory_gib": None, "memory_per_cpu_gib": 0.75}, "1.35 GiB"),
    "no memory requested": ({"memory_gib": None}, "7.03 GiB"),
}


@pytest.mark.parametrize(("worker", "limit"), MEMORY.values(), ids=MEMORY.keys())
def test_workers_use_nine_tenths_of_the_memory_of_their_job(
    worker: dict[str, Any], limit: str, runs: Runs, world: World
) -> None:
    """A job that requests no memory gets all memory of the node, 7.8 GiB."""
    run = runs(workers_max=1, worker={**worker, "extra": ["--exclude=n1"]}, driver={"extra": ["--nodelist=n1"]}).start()
    check(run, world)
    assert f"Memory: {limit}" in re.sub(r"Memory: +", "Memory: ", run.logs("worker"))
    assert ("--mem" in (run.out / "site" / "worker.sh").read_text()) == ("memory_per_cpu_gib" in worker)


def test_interactive_jobs_are_replaced_and_end_with_the_run(runs: Runs, world: World, nodes: VirtualSlurm) -> None:
    """A cancelled job is replaced, a job whose wall time is over requeues itself, and all jobs end with the run."""
    run = runs(mode="interactive")
    run.close()
    run.start()
    wait_for(lambda: any((run.out / "site").glob("*/scheduler.json")), "the session")
    (session,) = (path for path in (run.out / "site").iterdir() if path.is_dir())
    assert (session.stat().st_mode & 0o077, (session / "scheduler.json").stat().st_mode & 0o077) == (0, 0)
    run.name = f"{run.name}-{session.name}"
    wait_for(lambda: run.shards() >= FREE_BLOCKS and len(run.running()) == 2, "two workers and the first blocks")
    first, second = (job.id for job in run.running())
    assert run.shards() == FREE_BLOCKS
    nodes.say("scancel", first)
    soon = ("scontrol", "update", f"jobid={second}", "EndTime=now+10seconds")
    wait_for(lambda: nodes.say(*soon) is not None, "a shorter wall time")  # SLURM refuses an end time that is past
    wait_for(lambda: first not in {job.id for job in run.jobs()}, "the end of the cancelled job")

    def has_left() -> bool:  # requeued by its own shell, or ended by SLURM if that took too long
        shown = nodes.say("scontrol", "show", "job", second)
        return shown is None or "Restarts=0" not in shown or "TIMEOUT" in shown

    wait_for(has_left, "the end of the job whose wall time was over")
    nodes.say("scontrol", "update", f"jobid={second}", "TimeLimit=60")  # otherwise it would leave again and again
    wait_for(lambda: {job.id for job in run.running()} - {first, second} != set(), "a new job")
    run.open()
    check(run, world)
    wait_for(lambda: run.jobs() == [], "the end of all jobs")
    assert not session.exists()


def test_interactive_jobs_end_when_their_client_is_killed(runs: Runs, nodes: VirtualSlurm) -> None:
    """A killed client cannot cancel its jobs, so that the workers end by themselves."""
    run = runs(mode="interactive")
    run.close()
    run.start()
    wait_for(lambda: run.shards() >= FREE_BLOCKS, "the first blocks")
    (session,) = (path for path in (run.out / "site").iterdir() if path.is_dir())
    run.name = f"{run.name}-{session.name}"
    assert run.jobs() != []
    assert run.process is not None
    run.process.kill()
    run.process.communicate()
    wait_for(lambda: run.jobs() == [], "the end of all jobs")
    assert "the driver job no longer exists" in run.logs("worker")


def test_run_on_a_dask_jobqueue_cluster(nodes: VirtualSlurm, world: World, tmp_path: Path) -> None:
    """A run can use workers that the user has started with dask-jobqueue, as docs/howto/hpc.md shows."""
    jobqueue = pytest.importorskip("dask_jobqueue")
    options = {"cores": 2, "processes": 1, "memory": "2GB", "job_cpu": 1, "walltime": "1:00:00"}
    places = {"interface": "lo", "log_directory": str(tmp_path), "local_directory": "/tmp"}
    config = RunConfig(compute=ComputeConfig(device="cpu", threads=1), execution=ExecutionConfig(block_frames=60))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dask-jobqueue uses deprecated functions
        cluster = jobqueue.SLURMCluster(**options, **places, scheduler_options={"dashboard_address": "127.0.0.1:0"})
    try:
        cluster.scale(jobs=1)
        with connect(cluster.scheduler_address, workers=1, timeout_s=PATIENCE_S) as client:
            result = run_plan(make_plan(world.movie, world.bundle, tmp_path / "out", config), client)
    finally:
        cluster.close()
    assert (result.exit_status, result.done) == (0, 2)
    assert_same_rows(tmp_path / "out" / "localizations.parquet", world.table)
