"""SLURM with the client in this process: dask-jobqueue's `SLURMCluster`, and a supervisor that closes its holes.

dask-jobqueue alone replaces no lost job under ``scale``, never tries a failed ``sbatch`` again, and waits for ever for
a partition that does not exist.
"""

import itertools
import logging
import shlex
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dask
from distributed import Client

from lls_decode.cluster.profile import SlurmSite
from lls_decode.cluster.request import Request, check_versions, dashboard_port, free_address, own_address, quiet, tunnel
from lls_decode.cluster.settings import THREADS_PER_WORKER
from lls_decode.errors import SiteError

from .check import explain, is_hopeless
from .commands import SlurmError, list_jobs
from .leaving import GRACE_VARIABLE
from .rendezvous import make_security
from .scripts import PRELOAD, JobFolder, gpu_line, interpreter, job_name, wall_time
from .supervision import Losses, Speaker, supervise

POLL_S = 1.0
SAY_S = 60.0
FIRST_SUBMISSION_S = 30.0

_NO_SECOND_OPINION = {"distributed.deploy.lost-worker-timeout": "3650 days"}
"""Dask cancels the job of a worker that has gone and has not come back in time; by then that is the job which was
submitted in its place, and still waits in the queue."""

logger = logging.getLogger(__name__)


@contextmanager
def open_interactive(site: SlurmSite, request: Request) -> Iterator[Client]:
    """Submit worker jobs, wait for the first, keep their number, and cancel them at the end.

    Raises
    ------
    SiteError
        Jobs cannot be submitted, or none has begun for ``wait_hours``.
    """
    if site.worker.gpus > 1:
        raise SiteError(
            f"worker.gres is {site.worker.gres!r}, but interactive jobs hold one worker process each; use gpu:1 and "
            "more workers, or mode: unattended."
        )
    wanted = request.workers or site.workers_max
    with dask.config.set(_NO_SECOND_OPINION), ExitStack() as stack:
        cluster = make_cluster(site, request)
        stack.callback(_close, cluster)
        client = stack.enter_context(Client(cluster))
        cluster.scale(jobs=wanted)
        _wait_for_submission(cluster)
        port, host = dashboard_port(client), socket.gethostname()
        logger.info("dashboard, from a laptop: %s", tunnel(port, host=host, login=None))
        stack.enter_context(_supervised(cluster, client, wanted))
        _wait_for_workers(cluster, client, min(site.workers_min, wanted), site.wait_hours * 3600)
        check_versions(client, request.site)
        yield client


def make_cluster(site: SlurmSite, request: Request) -> Any:
    """A `SLURMCluster` without jobs yet."""
    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as error:
        raise SiteError(
            "mode is interactive, but the package dask-jobqueue is not installed; pip install 'lls-decode[slurm]', or "
            "use mode: unattended."
        ) from error
    folder = JobFolder(request.folder)
    for path in (folder.logs, folder.site):
        path.mkdir(parents=True, exist_ok=True)
    folder.site.chmod(0o700)
    host = own_address(site.interface)
    options = {"host": host, "port": 0, "dashboard_address": free_address(request.dashboard_address)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own use of what is deprecated is not the user's
        return SLURMCluster(
            security=make_security(site.encrypt),
            shared_temp_directory=str(folder.site),
            scheduler_options=options,
            silence_logs=logging.WARNING,
            **job_options(site, folder),
        )


def interactive_script(site: SlurmSite, folder: JobFolder) -> str:
    """The job script that dask-jobqueue would submit. Makes the folder of the logs, as dask-jobqueue does."""
    from dask_jobqueue.slurm import SLURMJob

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {**job_options(site, folder), "log_directory": None}
        return str(SLURMJob("tcp://SCHEDULER", name="WORKER", config_name="slurm", **options).job_script())


def job_options(site: SlurmSite, folder: JobFolder) -> dict[str, Any]:
    """What one worker job is, in dask-jobqueue's words."""
    job = site.worker
    python = shlex.join(interpreter(site))
    extra = [f"--qos={job.qos}"] if job.qos else []
    extra += [f"--gres={job.gres}"] if job.gres else []
    preloads = [PRELOAD, *dask.config.get("distributed.worker.preload")]  # the option hides those of the configuration
    return {
        "queue": job.partition,
        "account": job.account,
        "walltime": wall_time(job.hours),
        "job_name": job_name(folder.out),
        "cores": THREADS_PER_WORKER,
        "processes": 1,
        "memory": f"{site.worker_bytes}B",
        "job_cpu": job.cpus,
        "job_mem": f"{-(-job.memory_bytes // 2**20)}M",
        "job_extra_directives": [*extra, "--no-requeue", *job.extra],
        "job_script_prologue": [gpu_line(job), f"export {GRACE_VARIABLE}=20", *site.setup],
        "worker_extra_args": [*(w for item in preloads for w in ("--preload", item)), "--no-dashboard"],
        "python": f"{site.container} {python}" if site.container else python,
        "interface": site.interface,
        "log_directory": str(folder.logs),
        "local_directory": "/tmp",
        "death_timeout": 120,
    }


def _close(cluster: Any) -> None:
    with quiet():
        try:
            cluster.close(timeout=20)
        except (AssertionError, RuntimeError, TimeoutError) as error:  # dask-jobqueue's, after a failed sbatch
            logger.debug("closing the cluster: %s", error)


def _jobs(cluster: Any) -> dict[str, str | None]:
    """Ids of the jobs that dask-jobqueue believes in, by worker name."""
    return {str(name): job.job_id for name, job in list(cluster.workers.items())}


def _wait_for_submission(cluster: Any) -> None:
    """Give sbatch a moment; when not one job could be submitted, that will not change."""
    deadline = time.monotonic() + FIRST_SUBMISSION_S
    while time.monotonic() < deadline:
        if any(job is not None for job in _jobs(cluster).values()):
            return
        time.sleep(0.2)
    raise SiteError("No worker job could be submitted; the log above says what sbatch has answered.")


@contextmanager
def _supervised(cluster: Any, client: Client, wanted: int) -> Iterator[None]:
    losses = Losses()

    def look(now: float) -> None:
        queued = {job.id for job in list_jobs()}
        live = {str(worker["name"]) for worker in client.scheduler_info()["workers"].values()}
        jobs = _jobs(cluster)
        gone = losses.find(jobs, queued=queued, live=live, now=now)
        for name in [name for name in list(cluster.workers) if str(name) in gone]:
            logger.warning("worker job %s is gone; another one is submitted", jobs[str(name)] or "(never submitted)")
            cluster.workers.pop(name, None)
        if len(cluster.workers) < wanted:
            cluster.scale(jobs=wanted)

    with supervise(look):
        yield


def _wait_for_workers(cluster: Any, client: Client, workers: int, patience_s: float) -> None:
    began, speaker = time.monotonic(), Speaker(SAY_S)
    for number in itertools.count():
        found = len(client.nthreads())
        if found >= workers:
            return
        if number % 5 == 0:
            _say_why(cluster, speaker)
        if time.monotonic() - began > patience_s:
            raise SiteError(f"{found} of {workers} workers have come in {patience_s / 3600:g} h (wait_hours).")
        time.sleep(POLL_S)


def _say_why(cluster: Any, speaker: Speaker) -> None:
    """Say why jobs wait; give up when none of them can ever begin."""
    try:
        ours = set(_jobs(cluster).values())
        jobs = [job for job in list_jobs() if job.id in ours]
    except SlurmError as error:
        speaker.say(str(error))
        return
    for line in explain(jobs):
        speaker.say(line)
    if jobs and all(is_hopeless(job) for job in jobs):
        raise SiteError(f"No worker can begin: {'; '.join(explain(jobs))}.")
