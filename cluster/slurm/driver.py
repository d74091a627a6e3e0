"""Inside of the driver job: the scheduler, and the workers that find it, for a client in the same process."""

import itertools
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Scheduler, SpecCluster
from distributed.diagnostics.plugin import SchedulerPlugin

from lls_decode.cluster.profile import SlurmSite
from lls_decode.cluster.request import dashboard_port, free_address, own_address, quiet, tunnel
from lls_decode.cluster.settings import DASHBOARD, DASK_SETTINGS
from lls_decode.errors import SiteError

from .check import explain
from .commands import list_jobs, submit
from .rendezvous import Rendezvous, make_security
from .scripts import JobFolder, job_name
from .supervision import Shortage, Speaker, supervise

POLL_S = 1.0

logger = logging.getLogger(__name__)


class CountWorkers(SchedulerPlugin):
    """Counts workers that have ever come."""

    name = "count-workers"

    def __init__(self) -> None:
        self.seen = 0

    def add_worker(self, scheduler: Scheduler, worker: str) -> None:
        """Count one."""
        self.seen += 1


@contextmanager
def drive(
    site: SlurmSite, out: Path, *, workers: int | None = None, dashboard_address: str = DASHBOARD
) -> Iterator[Client]:
    """Be the driver of the run in ``out``: tell workers where it is, wait for the first, replace those that are lost.

    Raises
    ------
    SiteError
        No worker has come for ``wait_hours``.
    """
    wanted, folder = workers or site.workers_max, JobFolder(out.resolve())
    security = make_security(site.encrypt)
    options = {
        "host": own_address(site.interface),
        "port": 0,
        "protocol": "tls://" if security else "tcp://",
        "security": security,
        "dashboard": True,
        "dashboard_address": free_address(dashboard_address),
    }
    scheduler = {"cls": Scheduler, "options": options}
    with dask.config.set(DASK_SETTINGS), ExitStack() as stack:
        cluster = SpecCluster(scheduler=scheduler, workers={}, security=security, silence_logs=logging.WARNING)
        stack.callback(_close, cluster)
        client = stack.enter_context(Client(cluster))
        counter = CountWorkers()
        scheduler_here: Any = cluster.scheduler
        scheduler_here.add_plugin(counter)
        meeting = Rendezvous.of(cluster.scheduler_address, security, dashboard_port(client))
        folder.site.mkdir(parents=True, exist_ok=True)
        meeting.write(folder.site)
        stack.callback(meeting.remove, folder.site)
        logger.info("dashboard, from a laptop: %s", describe_dashboard(meeting))
        stack.enter_context(_supervised(folder, wanted, counter))
        _wait_for_workers(client, min(site.workers_min, wanted), site.wait_hours * 3600)
        yield client


def describe_dashboard(meeting: Rendezvous) -> str:
    """How a dashboard is seen that listens on the loopback of its own machine only."""
    return tunnel(meeting.dashboard_port, host=meeting.host, login=os.environ.get("SLURM_SUBMIT_HOST"))


def _close(cluster: SpecCluster) -> None:
    with quiet():
        cluster.close(timeout=20)


@contextmanager
def _supervised(folder: JobFolder, wanted: int, counter: CountWorkers) -> Iterator[None]:
    if shutil.which("squeue") is None or shutil.which("sbatch") is None:
        logger.info("SLURM's commands are not found here; workers that are lost for good are not replaced")
        yield
        return
    name, speaker, shortage = job_name(folder.out), Speaker(), Shortage(wanted)

    def look(now: float) -> None:
        jobs = [job for job in list_jobs(name) if job.in_array]
        for line in explain(jobs):
            speaker.say(line)
        missing = shortage.count(len(jobs), counter.seen, now)
        if missing:
            job = submit(folder.site / "worker.sh", f"--array=0-{missing - 1}")
            logger.warning(
                "%d worker jobs were lost for good; as many are submitted anew (job %s); their logs in %s may say why",
                missing,
                job,
                folder.logs,
            )

    with supervise(look):
        yield


def _wait_for_workers(client: Client, workers: int, patience_s: float) -> None:
    began = time.monotonic()
    for number in itertools.count():
        found = len(client.nthreads())
        if found >= workers:
            logger.info("%d workers are there", found)
            return
        if time.monotonic() - began > patience_s:
            raise SiteError(
                f"{found} of {workers} workers have come in {patience_s / 3600:g} h (wait_hours); see why in the log "
                "above, and give the same command again."
            )
        if number % 60 == 0:
            logger.info("waiting for %d workers, %d are there", workers, found)
        time.sleep(POLL_S)
