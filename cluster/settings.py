"""Dask settings and their reasons; they apply while a site is open, and are passed on to its workers."""

from typing import Any

DASK_SETTINGS: dict[str, Any] = {
    # Dask suspects a task each time its worker dies, even if only the machine was taken away. After six such deaths it
    # is likely that the block causes them. The run loop then retries the block alone, so a block that needs too much
    # memory kills twelve workers before it is abandoned.
    "distributed.scheduler.allowed-failures": 5,
    # A machine that loses power closes no sockets: drop a worker that is silent for this long (Dask's default: 5 min).
    "distributed.scheduler.worker-ttl": "60 s",
    # Longer than a nanny needs to restart a worker, which imports torch and loads a model.
    "distributed.deploy.lost-worker-timeout": "30 s",
    # Workers hold only receipts of 1 kB: there is nothing to spill to disk.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    # The frames of a stolen task would be read twice: by the worker that prefetched them and by the one that stole it.
    "distributed.scheduler.work-stealing": False,
    # Dask's profiler samples each thread a hundred times a second. That costs a worker 3 % of its time, and the history
    # grows for an hour.
    "distributed.worker.profile.enabled": False,
    # A multi-threaded forward pass blocks the event loop for a while; warn only if this takes about a minute or more.
    "distributed.admin.tick.limit": "60 s",
    "distributed.comm.timeouts.connect": "30 s",
}
"""Settings for ``dask.config.set``. A scheduler that lls-decode did not start keeps its own settings."""

LOOPBACK = "127.0.0.1"
DASHBOARD = f"{LOOPBACK}:8787"
"""Default address of Dask's dashboard; if the port is in use, the dashboard takes another one."""
THREADS_PER_WORKER = 2
"""Number of Dask threads per worker process: one computes a block while the other reads the next."""
