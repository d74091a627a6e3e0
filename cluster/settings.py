"""What is asked of Dask, and why; in force while a site of ours is opened, and handed on to its workers."""

from typing import Any

DASK_SETTINGS: dict[str, Any] = {
    # A task is counted as suspect when its worker dies, also when the machine was taken away: that one block meets six
    # such deaths is less likely than that it causes them. The run loop then tries it again alone, so that a block that
    # takes too much memory has killed twelve workers when it is given up.
    "distributed.scheduler.allowed-failures": 5,
    # A machine that loses power closes no socket: forget a worker that has been silent for this long (Dask: 5 min).
    "distributed.scheduler.worker-ttl": "60 s",
    # Longer than a nanny needs to restart a worker that imports torch and loads a model.
    "distributed.deploy.lost-worker-timeout": "30 s",
    # Workers hold receipts of 1 kB and nothing else: there is nothing to spill, and scratch disks are left alone.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    # A stolen task would be read twice, by the worker that prefetched it and by the thief.
    "distributed.scheduler.work-stealing": False,
    # A hundred looks a second at what each thread does cost a worker 3 % of its time, and their history grows for an
    # hour.
    "distributed.worker.profile.enabled": False,
    # A forward pass in several threads starves an event loop for a while; only minutes are worth a warning.
    "distributed.admin.tick.limit": "60 s",
    "distributed.comm.timeouts.connect": "30 s",
}
"""Set with ``dask.config.set``. A scheduler that somebody else started keeps its own settings."""

LOOPBACK = "127.0.0.1"
DASHBOARD = f"{LOOPBACK}:8787"
"""Where Dask's dashboard listens, unless told otherwise; another port when this one is taken."""
THREADS_PER_WORKER = 2
"""Dask threads of one worker process: one computes a block while the other reads the next."""
