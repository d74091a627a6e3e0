"""Dask scheduler of a run on SLURM, with worker jobs that find it, for a client in the same process.

The process is either the driver job of an unattended run or the user's own process (interactive). The worker jobs are
the same in both cases.
"""

import itertools
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Scheduler, SpecCluster
from distributed.diagnostics.plugin import SchedulerPlugin

from lls_decode.cluster.addresses import dashboard_port, free_address, own_address, tunnel
from lls_decode.cluster.profile import Request
from lls_decode.cluster.security import PROTOCOL, make_security
from lls_decode.cluster.settings import DASHBOARD, DASK_SETTINGS
from lls_decode.cluster.workers import check_versions, quiet
from lls_decode.errors import SiteError
from lls_decode.system import real_path

from .commands import SlurmError, cancel, submit
from .feasibility import check_site
from .profile import SlurmProfile
from .queued_jobs import explain, is_hopeless, list_jobs
from .rendezvous import Rendezvous
from .scripts import JobFolder, worker_script
from .supervision import Shortage, Speaker, supervise

POLL_S = 1.0

logger = logging.getLogger(__name__)


class CountWorkers(SchedulerPlugin):
    """Scheduler plugin that counts all workers that have ever connected."""

    name = "count-workers"

    def __init__(self) -> None:
        self.seen = 0

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Count a new worker."""
        self.seen += 1


@contextmanager
def drive(
    site: SlurmProfile, out: Path, *, workers: int | None = None, dashboard_address: str = DASHBOARD
) -> Iterator[Client]:
    """Drive the run in ``out``: publish the scheduler's address, wait for the first workers, replace lost ones.

    Raises
    ------
    SiteError
        Too few workers have connected within ``wait_hours``.
    """
    folder, wanted = JobFolder(real_path(out)), workers or site.workers_max
    folder.make()
    login = os.environ.get("SLURM_SUBMIT_HOST")
    with (
        dask.config.set(DASK_SETTINGS),
        _listen(site, folder, dashboard_address, login=login) as (client, counter),
        _supervised(folder, wanted, counter),
    ):
        _wait_for_workers(client, min(site.workers_min, wanted), site.patience_s)
        yield client


@contextmanager
def open_interactive(site: SlurmProfile, request: Request) -> Iterator[Client]:
    """Submit worker jobs for a client in this process, wait for the first workers, and cancel the jobs at the end.

    Raises
    ------
    SiteError
        Jobs cannot be submitted, can never start, or too few workers have connected within ``wait_hours``.
    """
    check_site(site)
    folder, wanted = JobFolder(request.folder, session=uuid.uuid4().hex[:8]), request.workers or site.workers_max
    try:
        folder.make()
        script = folder.site / "worker.sh"
        script.write_text(worker_script(site, folder), encoding="utf-8")
    except OSError as error:
        raise SiteError(
            f"{request.folder} cannot be written ({error.strerror}), but jobs find this process through files in it."
        ) from error
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder.site, ignore_errors=True)
        client, counter = stack.enter_context(_listen(site, folder, request.dashboard_address, login=None))
        stack.callback(_cancel_all, folder.name)
        logger.info("submitted worker jobs %s: %s", submit(script, f"--array=0-{wanted - 1}"), folder.name)
        stack.enter_context(_supervised(folder, wanted, counter))
        refuse = partial(_refuse_hopeless, folder.name)
        _wait_for_workers(client, min(site.workers_min, wanted), site.patience_s, look=refuse)
        check_versions(client, request.site)
        yield client


@contextmanager
def _listen(
    site: SlurmProfile, folder: JobFolder, dashboard_address: str, *, login: str | None
) -> Iterator[tuple[Client, CountWorkers]]:
    """Start a scheduler in this process, and publish its address to the workers."""
    security = make_security() if site.encrypt else None
    options = {
        "host": own_address(site.interface),
        "port": 0,
        "protocol": PROTOCOL if security else "tcp://",
        "security": security,
        "dashboard": True,
        "dashboard_address": free_address(dashboard_address),
    }
    scheduler = {"cls": Scheduler, "options": options}
    with ExitStack() as stack:
        cluster = SpecCluster(scheduler=scheduler, workers={}, security=security, silence_logs=logging.WARNING)
        stack.callback(_close, cluster)
        client = stack.enter_context(Client(cluster))
        counter = CountWorkers()
        scheduler_here: Any = cluster.scheduler
        scheduler_here.add_plugin(counter)
        meeting = Rendezvous.of(cluster.scheduler_address, security, dashboard_port(client))
        meeting.write(folder.site)
        stack.callback(meeting.remove, folder.site)
        logger.info("dashboard, from a laptop: %s", describe_dashboard(meeting, login=login))
        yield client, counter


def describe_dashboard(meeting: Rendezvous, *, login: str | None) -> str:
    """Return how to open, through a login node, a dashboard that listens only on the loopback of its machine."""
    return tunnel(meeting.dashboard_port, host=meeting.host, login=login)


def _close(cluster: SpecCluster) -> None:
    with quiet():
        cluster.close(timeout=20)


def _cancel_all(name: str) -> None:
    """Cancel all jobs with a name."""
    try:
        cancel(*{job.array for job in list_jobs(name)})
    except SlurmError as error:
        logger.warning("could not cancel the worker jobs (%s); they end by themselves within a minute", error)


def _refuse_hopeless(name: str) -> None:
    """Raise if none of the jobs can ever start."""
    try:
        jobs = list_jobs(name)
    except SlurmError:  # the supervision reports it
        return
    if jobs and all(is_hopeless(job) for job in jobs):
        raise SiteError(f"No worker job can start: {'; '.join(explain(jobs))}.")


@contextmanager
def _supervised(folder: JobFolder, wanted: int, counter: CountWorkers) -> Iterator[None]:
    if shutil.which("squeue") is None or shutil.which("sbatch") is None:
        logger.info("SLURM's commands are not found here; lost workers will not be replaced")
        yield
        return
    name, speaker, shortage = folder.name, Speaker(), Shortage(wanted)

    def look(now: float) -> None:
        jobs = [job for job in list_jobs(name) if job.in_array]
        for line in explain(jobs):
            speaker.say(line)
        missing = shortage.count(len(jobs), counter.seen, now)
        if missing:
            job = submit(folder.site / "worker.sh", f"--array=0-{missing - 1}")
            logger.warning(
                "%d worker jobs were lost and replaced by new ones (job %s); their logs in %s may show why",
                missing,
                job,
                folder.logs,
            )

    with supervise(look):
        yield


def _wait_for_workers(
    client: Client, workers: int, patience_s: float, *, look: Callable[[], None] = lambda: None
) -> None:
    """Wait for the first workers; call ``look`` regularly, which may raise to end the wait."""
    began = time.monotonic()
    for number in itertools.count():
        found = len(client.nthreads())
        if found >= workers:
            logger.info("%d workers are connected", found)
            return
        if time.monotonic() - began > patience_s:
            raise SiteError(
                f"{found} of {workers} workers have connected in {patience_s / 3600:g} h (wait_hours); see the log "
                "above for the reason, and rerun the same command."
            )
        if number % 5 == 0:
            look()
        if number % 60 == 0:
            logger.info("waiting for %d workers, %d are connected", workers, found)
        time.sleep(POLL_S)
