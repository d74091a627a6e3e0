"""How a worker leaves a job that is about to end: a Dask preload module of each worker process.

On SIGTERM, and on the SIGUSR1 that SLURM can send before the wall time, it takes no more tasks, finishes those that run
if they end soon, tells the scheduler, and is gone. What it could not finish is done elsewhere.
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
"""How long a result may take to the client."""

logger = logging.getLogger(__name__)


def dask_setup(worker: Worker) -> None:
    """Listen to SIGTERM and SIGUSR1; leave Ctrl-C to the client."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)  # tells of each task we cancelled
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
    worker.status = Status.closing_gracefully  # the scheduler sends no more, what has not begun is not begun
    while (running := len(worker.state.executing)) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    logger.info("leaving with %d unfinished tasks", running)
    taken = time.monotonic() + RESULTS_S
    while worker.data and time.monotonic() < taken:  # results go when the client has taken them
        await asyncio.sleep(0.1)
    try:
        stimulus = f"leaving-{time.time()}"
        retired = worker.scheduler.retire_workers(
            workers=[worker.address], close_workers=False, remove=True, stimulus_id=stimulus
        )
        await asyncio.wait_for(retired, timeout=10)
    except Exception as error:  # whatever is wrong with the scheduler, the worker leaves
        logger.info("the scheduler did not hear of it: %s", error)
    await worker.close(nanny=True, executor_wait=False, timeout=5, reason="the job ends")
