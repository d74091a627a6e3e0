"""Sites: machines one can ask for. `connect` gives a ``distributed.Client``, whatever stands behind it.

Whoever runs blocks is given the client and does not know the site. A new kind of site is one function that yields a
client, and one line in `_SITES`.
"""

import logging
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster
from distributed.comm.core import CommClosedError
from distributed.security import Security
from distributed.system import MEMORY_LIMIT
from distributed.versions import VersionMismatchWarning

from lls_decode.errors import SiteError

from .settings import DASK_SETTINGS

LOOPBACK = "127.0.0.1"
THREADS_PER_WORKER = 2
"""Dask threads of one worker process: one computes a block while the other reads the next."""

_CHECKED_PACKAGES = ("lls_decode", "distributed", "numpy", "pyarrow", "zarr")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Request:
    """What was asked of a site."""

    site: str
    workers: int | None
    memory_limit: int | str | None
    dashboard_address: str
    timeout_s: float


@contextmanager
def connect(
    site: str,
    *,
    workers: int | None = None,
    memory_limit: int | str | None = None,
    dashboard_address: str = f"{LOOPBACK}:8787",
    timeout_s: float = 60.0,
) -> Iterator[Client]:
    """Open a site and yield a client; closes on exit what it has opened, and only that.

    Parameters
    ----------
    site
        ``local``, or the address of a running scheduler (``tcp://HOST:PORT``, ``tls://HOST:PORT``).
    workers
        Worker processes; None: a quarter of the cores. A running scheduler must have this many within ``timeout_s``
        (None: one).
    memory_limit
        Memory of one worker, bytes or ``"4 GiB"``; None: an equal share of the machine.
    dashboard_address
        Where Dask's dashboard listens; another free port is taken when this one is in use. Not used for a running
        scheduler.
    timeout_s
        How long to wait for a scheduler and its workers.

    Raises
    ------
    SiteError
        The site is unknown, unreachable, or gives no workers.
    """
    if workers is not None and workers < 1:
        raise SiteError(f"--workers is {workers}, expected at least 1.")
    request = _Request(site, workers, memory_limit, dashboard_address, timeout_s)
    with dask.config.set(DASK_SETTINGS), _find(site)(request) as client:
        if client.dashboard_link:
            logger.info("dashboard: %s", client.dashboard_link)
        yield client


def default_workers(cores: int = CPU_COUNT) -> int:
    """Worker processes of the local site: one for each four cores, since the network itself uses threads."""
    return max(1, cores // 4)


def _find(site: str) -> "Callable[[_Request], AbstractContextManager[Client]]":
    if site in _SITES:
        return _SITES[site]
    if site.startswith(("tcp://", "tls://")):
        return _running
    known = ", ".join(_SITES)
    hint = f" (for a running scheduler, tcp://{site})" if ":" in site and "://" not in site else ""
    raise SiteError(f"Unknown site {site!r}{hint}; known are {known}, tcp://HOST:PORT and tls://HOST:PORT.")


@contextmanager
def _local(request: _Request) -> Iterator[Client]:
    """Worker processes on this machine, reachable from this machine only."""
    workers = request.workers or default_workers()
    memory_limit = MEMORY_LIMIT // workers if request.memory_limit is None else request.memory_limit
    try:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=THREADS_PER_WORKER,
            processes=True,
            host=LOOPBACK,
            memory_limit=memory_limit,
            dashboard_address=_free_address(request.dashboard_address),
            worker_dashboard_address=f"{LOOPBACK}:0",
            preload=["lls_decode.cluster.preload"],
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise SiteError(f"{workers} workers cannot be started on this machine: {error}.") from error
    try:
        with Client(cluster) as client:
            _wait_for_workers(client, workers, request)
            yield client
    finally:
        with _quiet():
            cluster.close(timeout=20)


@contextmanager
def _running(request: _Request) -> Iterator[Client]:
    """A scheduler that somebody else has started, and will stop."""
    _, _, place = request.site.partition("://")
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        raise SiteError(
            f"{request.site!r} is no address of a scheduler; give tcp://HOST:PORT, for example tcp://node17:8786."
        )
    if request.site.startswith("tls://") and Security().get_connection_args("client").get("ssl_context") is None:
        raise SiteError(
            f"{request.site} is encrypted, but Dask has no keys; set distributed.comm.tls.ca-file and "
            "distributed.comm.tls.client in Dask's configuration (~/.config/dask/*.yaml)."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VersionMismatchWarning)  # _check_versions says it in our words
            client = Client(request.site, timeout=request.timeout_s, set_as_default=False)
    except (OSError, CommClosedError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SiteError(
            f"No scheduler answers at {request.site} within {request.timeout_s:g} s ({reason}); start one with "
            f"'dask scheduler --host {host} --port {port}', or give another --site."
        ) from error
    try:
        _wait_for_workers(client, request.workers or 1, request)
        _check_versions(client, request)
        yield client
    finally:
        with _quiet():
            client.close(timeout=10)


_SITES: Mapping[str, Callable[[_Request], AbstractContextManager[Client]]] = {"local": _local}


def _wait_for_workers(client: Client, workers: int, request: _Request) -> None:
    try:
        client.wait_for_workers(workers, timeout=request.timeout_s)
    except TimeoutError as error:
        found = len(client.nthreads())
        what = (
            "lower --workers"
            if request.site in _SITES
            else f"start some with 'dask worker --nworkers N --nthreads {THREADS_PER_WORKER} {request.site}'"
        )
        raise SiteError(
            f"Site {request.site} has {found} of {workers} workers after {request.timeout_s:g} s; {what}, "
            "or look at the workers' logs."
        ) from error


def _check_versions(client: Client, request: _Request) -> None:
    """Refuse workers that lack this package, and say where versions differ."""
    found: Any = client.get_versions(packages=list(_CHECKED_PACKAGES))
    here = found["client"]["packages"]
    elsewhere = {"the scheduler": found["scheduler"], **{f"worker {k}": v for k, v in found["workers"].items()}}
    for place, versions in elsewhere.items():
        there = versions["packages"]
        if there.get("lls_decode") is None:
            raise SiteError(
                f"lls_decode is not installed for {place} of {request.site}; start the scheduler and its workers in "
                "the environment that lls-decode runs in."
            )
        differ = [f"{name} {there[name]} (here {here[name]})" for name in here if there.get(name) != here[name]]
        if differ:
            logger.warning("%s of %s has other versions: %s", place, request.site, ", ".join(sorted(differ)))


def _free_address(address: str) -> str:
    """The address, or any free port on the same interface when it is in use."""
    host, _, port = address.rpartition(":")
    host = host or LOOPBACK
    if not port.isdigit():
        raise SiteError(f"{address!r} is no address for a dashboard; give HOST:PORT, for example {LOOPBACK}:8787.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            logger.info("port %s is in use, the dashboard takes another one", port)
            return f"{host}:0"
    return f"{host}:{port}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask from logging that connections end while we end them."""
    log = logging.getLogger("distributed")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
