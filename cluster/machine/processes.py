"""Worker processes on this machine for the sites local and cuda; only their own client can reach them.

The workers listen on the loopback interface, to which other users of the machine can connect as well. Therefore they
use TLS with keys that only the client and its workers hold. The dashboard, which runs no code, is not protected.

Python's ``multiprocessing`` imports the user's script again in each process that it spawns, which is why scripts
usually need an ``if __name__ == "__main__"`` guard. Workers do not need the script (Dask sends its functions by value),
so this module prevents its import. The alternative, ``distributed.deploy.subprocess``, needs two interpreters per
worker and ends them with SIGKILL.
"""

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import spawn
from typing import Any

from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.system import MEMORY_LIMIT

from lls_decode.cluster.addresses import free_address, log_dashboard
from lls_decode.cluster.profile import Request
from lls_decode.cluster.security import PROTOCOL, make_security
from lls_decode.cluster.settings import LOOPBACK, THREADS_PER_WORKER
from lls_decode.cluster.workers import quiet, wait_for_workers
from lls_decode.errors import SiteError

logger = logging.getLogger(__name__)

_STARTS = 2
_WORKER_PROCESS = "Dask Worker process (from Nanny)"
"""Name that `distributed.Nanny` gives to the processes that it spawns."""


@contextmanager
def open_processes(
    environments: Sequence[Mapping[str, str]], request: Request, memory_limit: int | None
) -> Iterator[Client]:
    """Start one worker process for each mapping of environment variables, and yield the client of these workers.

    ``memory_limit`` is the memory of one worker in bytes; the limit of the request takes precedence. None: an equal
    share of the machine's memory.

    Raises
    ------
    SiteError
        The workers cannot be started.
    """
    keep_script_out_of_workers()
    if request.memory_limit is not None:
        memory = request.memory_limit
    else:
        memory = memory_limit or MEMORY_LIMIT // len(environments)
    security = make_security()
    private = {"protocol": PROTOCOL, "security": security}
    options = {
        **private,
        "host": LOOPBACK,
        "nthreads": THREADS_PER_WORKER,
        "memory_limit": memory,
        "preload": ["lls_decode.cluster.machine.preload"],
        "dashboard_address": f"{LOOPBACK}:0",
        "silence_logs": logging.WARNING,
    }
    workers = {
        number: {"cls": Nanny, "options": {**options, "env": dict(environment)}}
        for number, environment in enumerate(environments)
    }
    listening = {**private, "host": LOOPBACK, "port": 0, "dashboard": True}
    scheduler = {
        "cls": Scheduler,
        "options": {**listening, "dashboard_address": free_address(request.dashboard_address)},
    }
    cluster = _start(workers, scheduler, security)
    try:
        with Client(cluster) as client:
            wait_for_workers(client, len(workers), request, advice="lower --workers")
            log_dashboard(client)
            yield client
    finally:
        with quiet():
            cluster.close(timeout=20)


def _start(workers: Mapping[int, Any], scheduler: Mapping[str, Any], security: Any) -> SpecCluster:
    """Start the scheduler and the workers; retry once if a worker fails or is killed during startup."""
    for attempt in range(_STARTS):
        try:
            return SpecCluster(
                workers=dict(workers), scheduler=dict(scheduler), security=security, silence_logs=logging.WARNING
            )
        except (OSError, RuntimeError, ValueError, EOFError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if attempt + 1 == _STARTS:
                raise SiteError(
                    f"{len(workers)} workers cannot be started on this machine ({reason}); rerun the same command, "
                    "or lower --workers."
                ) from error
            logger.warning("the workers could not be started (%s); retrying", reason)
    raise AssertionError("the loop returns or raises")


@functools.cache
def keep_script_out_of_workers() -> None:
    """From now on, spawn Dask's worker processes without importing the program's main module.

    The change is permanent, because nannies restart workers at any time from their own threads. Other processes that
    the program spawns are not affected.
    """
    prepare: Any = spawn.get_preparation_data

    def prepare_without_script(name: str) -> dict[str, Any]:
        data: dict[str, Any] = prepare(name)
        if name == _WORKER_PROCESS:
            data.pop("init_main_from_name", None)
            data.pop("init_main_from_path", None)
        return data

    spawn.get_preparation_data = prepare_without_script
