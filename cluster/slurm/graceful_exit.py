"""Dask preload module of each worker process: let a worker leave in order when its job is about to end.

On SIGTERM, and on the SIGUSR1 that SLURM can send before the wall time, a worker accepts no more tasks, finishes
running tasks within a grace period, tells the scheduler, and ends. Other workers redo its unfinished tasks.
"""

import asyncio
import logging
import os
import signal
import time

from distributed import Worker
from distributed.core import Status

from lls_decode.system import LEAVE_SIGNALS

GRACE_VARIABLE = "LLS_DECODE_GRACE_S"
DEFAULT_GRACE_S = 20.0
RESULTS_S = 5.0
"""Time in seconds that the client may take to fetch a result."""

logger = logging.getLogger(__name__)


def dask_setup(worker: Worker) -> None:
    """Leave in order on SIGTERM and SIGUSR1; ignore Ctrl-C, which the client handles."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # silence a message for each cancelled task
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
    leaving: list[asyncio.Task[None]] = []

    def leave() -> None:
        if not leaving:
            leaving.append(
                asyncio.ensure_future(_leave(worker, float(os.environ.get(GRACE_VARIABLE, DEFAULT_GRACE_S))))
            )

    for number in LEAVE_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, leave)


async def _leave(worker: Worker, grace_s: float) -> None:
    deadline = time.monotonic() + grace_s
    # no new tasks arrive, and tasks that have not started do not start
    worker.status = Status.closing_gracefully
    while (running := len(worker.state.executing)) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    logger.info("leaving with %d unfinished tasks", running)
    taken = time.monotonic() + RESULTS_S
    while worker.data and time.monotonic() < taken:  # results disappear once the client has fetched them
        await asyncio.sleep(0.1)
    try:
        stimulus = f"leaving-{time.time()}"
        retired = worker.scheduler.retire_workers(
            workers=[worker.address], close_workers=False, remove=True, stimulus_id=stimulus
        )
        await asyncio.wait_for(retired, timeout=10)
    except Exception as error:  # whatever happens to the scheduler, the worker leaves
        logger.info("the scheduler could not be told that this worker leaves: %s", error)
    await worker.close(nanny=True, executor_wait=False, timeout=5, reason="the job ends")
