"""What each worker process of the local site does first (a Dask preload module)."""

import logging
import signal

from distributed import Worker


def dask_setup(worker: Worker) -> None:
    """Leave Ctrl-C, which a terminal sends to all processes at once, to the client: it closes its workers in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)  # tells of each task we cancelled
