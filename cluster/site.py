"""Sites: machines one can ask for. `connect` gives a ``distributed.Client``, whatever stands behind it.

Whoever runs blocks is given the client and does not know the site. A new kind of site is one kind of profile, and one
function that yields a client.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import dask
from dask.system import CPU_COUNT
from distributed import Client
from distributed.comm.core import CommClosedError
from distributed.security import Security
from distributed.system import MEMORY_LIMIT
from distributed.versions import VersionMismatchWarning

from lls_decode.errors import SiteError

from .processes import open_processes
from .profile import GIB, CudaSite, LocalSite, SiteProfile, SlurmSite, find_profile
from .request import Request, check_versions, quiet, tunnel_to, wait_for_workers
from .settings import DASHBOARD, DASK_SETTINGS, THREADS_PER_WORKER

logger = logging.getLogger(__name__)


def find_site(site: str) -> SiteProfile | str:
    """The profile that a site's name, or the path of a YAML file, stands for; the address of a scheduler as it is.

    Raises
    ------
    SiteError
        The site is unknown.
    ConfigError
        The profile holds unknown keys or impossible values.
    """
    return site if site.startswith(("tcp://", "tls://")) else find_profile(site)


@contextmanager
def connect(
    site: str | SiteProfile,
    *,
    workers: int | None = None,
    memory_limit: int | str | None = None,
    dashboard_address: str = DASHBOARD,
    timeout_s: float = 60.0,
    folder: Path | None = None,
) -> Iterator[Client]:
    """Open a site and yield a client; closes on exit what it has opened, and only that.

    Parameters
    ----------
    site
        A profile, its name (``local``, ``cuda``, ``slurm``, ``slurm-gpu``) or path (.yaml), or the address of a running
        scheduler (``tcp://HOST:PORT``, ``tls://HOST:PORT``). SLURM's jobs end with the client (interactive), whatever
        the profile's mode.
    workers
        Worker processes; None: as the profile says. A running scheduler must have this many within ``timeout_s``
        (None: one).
    memory_limit
        Memory of one worker, bytes or ``"4 GiB"``; None: as the profile says.
    dashboard_address
        Where Dask's dashboard listens; another free port is taken when this one is in use. Not used for a running
        scheduler.
    timeout_s
        How long to wait for a scheduler and its workers.
    folder
        Where jobs leave their logs and scripts; None: the current folder.

    Raises
    ------
    SiteError
        The site is unknown, unreachable, or gives no workers.
    ConfigError
        Its profile is no valid one.
    """
    if workers is not None and workers < 1:
        raise SiteError(f"--workers is {workers}, expected at least 1.")
    profile = find_site(site) if isinstance(site, str) else site
    name = site if isinstance(site, str) else site.kind
    request = Request(name, workers, memory_limit, dashboard_address, timeout_s, (folder or Path()).resolve())
    with dask.config.set(DASK_SETTINGS), _open(profile, request) as client:
        if client.dashboard_link and not isinstance(profile, SlurmSite):  # which says how to reach it
            logger.info("dashboard: %s", client.dashboard_link)
            if (way := tunnel_to(client.dashboard_link)) is not None:
                logger.info("dashboard, from a laptop: %s", way)
        yield client


def default_workers(cores: int = CPU_COUNT) -> int:
    """Worker processes of the local site: one for each four cores, since the network itself uses threads."""
    return max(1, cores // 4)


def _open(profile: SiteProfile | str, request: Request) -> AbstractContextManager[Client]:
    if isinstance(profile, LocalSite):
        return _local(profile, request)
    if isinstance(profile, CudaSite):
        from .cuda import open_cuda

        return open_cuda(profile, request)
    if isinstance(profile, SlurmSite):
        from .slurm.check import check_site
        from .slurm.interactive import open_interactive

        refuse_memory_limit(request.memory_limit)
        interactive = profile.replace(mode="interactive")
        check_site(interactive)
        return open_interactive(interactive, request)
    return _running(request)


def refuse_memory_limit(memory_limit: int | str | None) -> None:
    """A job's memory is asked of SLURM.

    Raises
    ------
    SiteError
        It was given as an option.
    """
    if memory_limit is not None:
        raise SiteError(
            "--memory-limit does not go with SLURM, which gives what a job asks for; set worker.memory_gib."
        )


def _local(profile: LocalSite, request: Request) -> AbstractContextManager[Client]:
    workers = request.workers or profile.workers or default_workers()
    memory = int(profile.memory_gib * GIB) if profile.memory_gib else MEMORY_LIMIT // workers
    return open_processes([{}] * workers, request, memory if request.memory_limit is None else request.memory_limit)


@contextmanager
def _running(request: Request) -> Iterator[Client]:
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
            warnings.simplefilter("ignore", VersionMismatchWarning)  # check_versions says it in our words
            client = Client(request.site, timeout=request.timeout_s, set_as_default=False)
    except (OSError, CommClosedError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SiteError(
            f"No scheduler answers at {request.site} within {request.timeout_s:g} s ({reason}); start one with "
            f"'dask scheduler --host {host} --port {port}', or give another --site."
        ) from error
    advice = f"start some with 'dask worker --nworkers N --nthreads {THREADS_PER_WORKER} {request.site}'"
    try:
        wait_for_workers(client, request.workers or 1, request, advice=advice)
        check_versions(client, request.site)
        yield client
    finally:
        with quiet():
            client.close(timeout=10)
