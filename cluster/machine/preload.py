"""Dask preload module: setup that each worker process on this machine runs first."""

import logging
import signal

from distributed import Worker

from lls_decode.system import SHARED_SIGNALS


def dask_setup(worker: Worker) -> None:
    """Ignore signals that are sent to all processes at once; the client handles them and closes its workers in order.

    Such signals are Ctrl-C in a terminal, the SIGUSR1 that SLURM sends on request before the wall time of a job, and
    the closing of a console window on Windows.
    """
    for number in SHARED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # silence a message for each cancelled task
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
    logging.getLogger("distributed.worker").addFilter(shorten_heartbeat)
    logging.getLogger("distributed.worker").addFilter(leave_failures_to_client)


def shorten_heartbeat(record: logging.LogRecord) -> bool:
    """Remove the traceback from the message that a heartbeat could not reach the scheduler, which may be closing."""
    if str(record.msg).startswith("Failed to communicate with scheduler during heartbeat"):
        record.exc_info = None
    return True


def leave_failures_to_client(record: logging.LogRecord) -> bool:
    """Drop the long message that a worker logs for each failed task; the client receives the error itself."""
    return not str(record.msg).startswith("Compute Failed")
