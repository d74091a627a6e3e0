"""What each worker process of the local site does first (a Dask preload module)."""

import logging
import signal

from distributed import Worker

from lls_decode.system import SHARED_SIGNALS


def dask_setup(worker: Worker) -> None:
    """Leave signals that are sent to all processes at once to the client: it closes its workers in order.

    A terminal does so with Ctrl-C, SLURM with the SIGUSR1 that a job may ask for before its wall time, Windows when the
    console window is closed.
    """
    for number in SHARED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)  # tells of each task we cancelled
    logging.getLogger("distributed.worker").addFilter(shorten_heartbeat)
    logging.getLogger("distributed.worker").addFilter(leave_failures_to_client)


def shorten_heartbeat(record: logging.LogRecord) -> bool:
    """Say in one line, without a traceback, that a heartbeat has met a scheduler that is closing."""
    if str(record.msg).startswith("Failed to communicate with scheduler during heartbeat"):
        record.exc_info = None
    return True


def leave_failures_to_client(record: logging.LogRecord) -> bool:
    """Drop the thirty lines that a worker writes of a task that failed: its client gets the error itself."""
    return not str(record.msg).startswith("Compute Failed")
