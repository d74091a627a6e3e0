"""Program of a worker job: find the driver, work for it, and find it again after the driver was restarted.

Started as ``python -m lls_decode.cluster.slurm.worker FOLDER ...`` by the job script (`scripts.worker_script`).
"""

import argparse
import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask
import psutil
from distributed import Nanny
from distributed.comm.core import connect
from distributed.system import MEMORY_LIMIT

from lls_decode.cluster.settings import DASK_SETTINGS, THREADS_PER_WORKER
from lls_decode.errors import LlsDecodeError, SiteError
from lls_decode.system import LEAVE_SIGNALS

from .commands import SlurmError
from .graceful_exit import GRACE_VARIABLE
from .profile import usable
from .queued_jobs import list_jobs
from .rendezvous import Rendezvous, read_rendezvous
from .scripts import PRELOAD

POLL_S = 1.0
ASK_S = 30.0
"""Interval in seconds at which SLURM is asked whether the driver job still exists."""
START_S = 300.0
"""Time in seconds that a worker process may take to start; environments on file servers load slowly."""
ANSWER_S = 5.0
"""Time in seconds that a driver may take to accept a connection."""
CLOSE_S = 15.0
ALONE_S = 600.0
"""Time in seconds that a worker waits for a driver if SLURM cannot be asked."""

logger = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Work until the run is over (exit status 0), or until SIGTERM or SIGUSR1 asks the job to leave."""
    options = _parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%F %T")
    try:
        devices = given_devices(os.environ.get("CUDA_VISIBLE_DEVICES", ""), wanted=options.gpus)
    except SiteError as error:
        logger.error("%s", error)
        return error.exit_status
    logger.info("GPUs: %s", ", ".join(devices) if devices != [""] else "none, the network runs on the CPU")
    os.environ[GRACE_VARIABLE] = str(options.grace)
    with dask.config.set(DASK_SETTINGS):
        return asyncio.run(_Worker(options, devices).work())


def given_devices(visible: str, *, wanted: int) -> list[str]:
    """Return ``CUDA_VISIBLE_DEVICES`` for each worker process: one device each, or one process without devices.

    Raises
    ------
    SiteError
        The job requested GPUs, but SLURM assigned none.
    """
    devices = [item.strip() for item in visible.split(",") if item.strip() not in ("", "-1", "NoDevFiles")]
    if wanted and not devices:
        raise SiteError(
            f"This job requested {wanted} GPUs (gres), but SLURM assigned none (CUDA_VISIBLE_DEVICES is {visible!r}); "
            "its GPUs are not set up in gres.conf, or gres was not passed on."
        )
    return devices or [""]


def given_memory(job: Mapping[str, str]) -> int:
    """Return the memory in bytes that the worker processes of a job may use, if the profile does not set it.

    The limits that SLURM sets in the environment of the job take precedence. Without them, the memory that Dask finds
    is used if a cgroup limits it; otherwise the job gets a share of the machine's memory in proportion to its CPUs, so
    that jobs that share a node fit into it.
    """
    cpus, of_job, of_cpu = (
        int(job.get(f"SLURM_{name}", 0)) for name in ("CPUS_ON_NODE", "MEM_PER_NODE", "MEM_PER_CPU")
    )
    if mebibytes := of_job or of_cpu * cpus:
        return usable(mebibytes << 20)
    machine = psutil.virtual_memory().total
    if machine > MEMORY_LIMIT or not cpus:
        return usable(MEMORY_LIMIT)
    everywhere = os.cpu_count() or cpus  # including the CPUs of other jobs
    return usable(machine * min(cpus, everywhere) // everywhere)


class _Worker:
    """Worker processes of one job, one for each of its GPUs."""

    def __init__(self, options: argparse.Namespace, devices: list[str]) -> None:
        self._options = options
        self._devices = devices
        self._memory: int = options.memory or given_memory(os.environ)
        self._folder: Path = options.folder
        self._asked = asyncio.Event()
        """Set when the job has been asked to leave."""
        self._contact = self._looked = time.monotonic()
        """Times of the last contact with a driver, and of the last query to SLURM about the driver job."""

    async def work(self) -> int:
        for number in LEAVE_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._asked.set)
        silent = ""
        while not self._asked.is_set():
            driver = await self._find()
            if driver is None:
                break
            if not await _answers(driver):  # a killed driver leaves its address behind
                if driver.address != silent:
                    logger.info("no driver answers at %s; waiting for the next driver", driver.address)
                silent = driver.address
                await self._sleep(POLL_S)
                continue
            try:
                await self._serve(driver)
            except (OSError, TimeoutError, RuntimeError, LlsDecodeError) as error:
                logger.info("driver at %s cannot be reached: %s", driver.address, error)
            await self._sleep(POLL_S)
        return 0

    async def _find(self) -> Rendezvous | None:
        """Wait for a driver and return its address; None if there will be none, or if the job is asked to leave.

        The driver at the returned address may already have ended.
        """
        while not self._asked.is_set():
            if (self._folder / "over").exists():
                logger.info("the run is over")
                return None
            if not self._driver_exists(time.monotonic()):
                logger.info("the driver job no longer exists")
                return None
            driver = read_rendezvous(self._folder)
            if driver is not None:
                return driver
            await self._sleep(POLL_S)
        return None

    def _driver_exists(self, now: float) -> bool:
        """Return whether a driver exists or may come, asking SLURM every `ASK_S` seconds."""
        if now - max(self._contact, self._looked) < ASK_S:
            return True
        self._looked = now
        if shutil.which("squeue") is None:  # inside a container
            return now - self._contact < ALONE_S
        try:
            return any(not job.in_array for job in list_jobs(self._options.name))
        except SlurmError as error:
            logger.info("%s", error)
            return True

    async def _serve(self, driver: Rendezvous) -> None:
        """Work for a driver until the driver ends or the job is asked to leave."""
        nannies = [Nanny(driver.address, **self._nanny_options(driver, number)) for number in range(len(self._devices))]
        asked: asyncio.Future[Any] = asyncio.ensure_future(self._asked.wait())
        started: asyncio.Future[Any] = asyncio.gather(*(nanny.start() for nanny in nannies))
        try:
            await asyncio.wait({asked, started}, return_when=asyncio.FIRST_COMPLETED)
            if not started.done():  # the driver is slow or has ended; no task has started yet
                started.cancel()
                return
            started.result()
            logger.info("working for the driver at %s", driver.address)
            over: asyncio.Future[Any] = asyncio.gather(*(nanny.finished() for nanny in nannies))
            await asyncio.wait({asked, over}, return_when=asyncio.FIRST_COMPLETED)
            if self._asked.is_set():
                _leave(nannies)
                await asyncio.wait({over}, timeout=self._options.grace + 15)
        finally:
            asked.cancel()
            await _close(nannies)
        self._contact = time.monotonic()

    def _nanny_options(self, driver: Rendezvous, number: int) -> dict[str, Any]:
        job, start = os.environ.get("SLURM_JOB_ID", str(os.getpid())), os.environ.get("SLURM_RESTART_COUNT", "0")
        return {
            "name": f"{job}-{start}-{number}-{int(time.time())}",
            "nthreads": THREADS_PER_WORKER,
            "memory_limit": self._memory // len(self._devices),
            "local_directory": os.environ.get("SLURM_TMPDIR") or os.environ.get("TMPDIR") or "/tmp",
            "interface": self._options.interface,
            "security": driver.security,
            "env": {"CUDA_VISIBLE_DEVICES": self._devices[number]},
            "preload": [PRELOAD, *dask.config.get("distributed.worker.preload")],
            "death_timeout": START_S,
            "dashboard_address": "127.0.0.1:0",
        }

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but wake up early if the job is asked to leave."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._asked.wait(), timeout=seconds)


async def _answers(driver: Rendezvous) -> bool:
    """Return whether a driver accepts connections, within seconds; a worker process would try for a minute."""
    options = driver.security.get_connection_args("worker") if driver.security else {}
    try:
        comm = await connect(driver.address, timeout=ANSWER_S, **options)
    except (OSError, TimeoutError):
        return False
    await comm.close()
    return True


def _leave(nannies: list[Nanny]) -> None:
    """Ask the worker processes to leave; SLURM may already have asked them."""
    for nanny in nannies:
        nanny.close_gracefully(reason="the job ends")
        if nanny.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(nanny.pid, signal.SIGTERM)


async def _close(nannies: list[Nanny]) -> None:
    """End the worker processes, and kill those that take too long, e.g. because they are still starting."""
    closing = asyncio.gather(*(nanny.close(timeout=5) for nanny in nannies), return_exceptions=True)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(closing, timeout=CLOSE_S)
    for nanny in nannies:
        if nanny.pid:
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(nanny.pid).kill()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}" if __spec__ else None)
    parser.add_argument("folder", type=Path, help="folder in which the driver publishes its address")
    parser.add_argument("--name", required=True, help="name of the run's jobs")
    parser.add_argument("--gpus", type=int, default=0, help="number of GPUs that the job has requested")
    parser.add_argument(
        "--memory", type=int, help="memory of all processes in bytes; default: what SLURM gives the job"
    )
    parser.add_argument("--grace", type=float, required=True, help="seconds that a running block may take to finish")
    parser.add_argument("--interface", help="network interface to use")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
