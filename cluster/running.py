"""Site for a Dask scheduler that was started, and will be stopped, elsewhere; it keeps its own settings."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from lls_decode.errors import SiteError

from .profile import Request, SiteProfile, State
from .settings import THREADS_PER_WORKER

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from distributed import Client

_LARGEST_PORT = 65_535
CONNECT_S = 20.0
"""Time in seconds that 'lls-decode doctor' waits for the scheduler."""


class RunningScheduler(SiteProfile):
    """Dask scheduler that is already running, with its own workers."""

    kind: Literal["scheduler"] = "scheduler"
    address: str
    """Address of the scheduler: ``tcp://HOST:PORT``, or ``tls://HOST:PORT`` with keys in Dask's configuration."""

    @property
    def name(self) -> str:
        """Address of the scheduler, used as the site's name in messages."""
        return self.address

    def open(self, request: Request) -> "AbstractContextManager[Client]":
        """Connect to the scheduler, and wait for the requested workers."""
        return _open(self.address, request)

    def examine(self) -> Iterator[tuple[State, str]]:
        """Connect to the scheduler, and compare versions."""
        with self.open(Request(self.address, timeout_s=CONNECT_S)) as client:
            yield "ok", f"{len(client.nthreads())} workers at {self.address}, in an environment like this one"


@contextmanager
def _open(address: str, request: Request) -> "Iterator[Client]":
    from distributed import Client
    from distributed.comm.core import CommClosedError
    from distributed.security import Security
    from distributed.versions import VersionMismatchWarning

    from .addresses import log_dashboard
    from .workers import check_versions, quiet, wait_for_workers

    _, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    if not re.fullmatch(r"[^\s/]+", host) or not port.isdigit() or int(port) > _LARGEST_PORT:
        raise SiteError(
            f"{address!r} is not the address of a scheduler; give tcp://HOST:PORT, for example tcp://node17:8786."
        )
    if address.startswith("tls://") and Security().get_connection_args("client").get("ssl_context") is None:
        raise SiteError(
            f"{address} is encrypted, but Dask has no keys; set distributed.comm.tls.ca-file and "
            "distributed.comm.tls.client in Dask's configuration (~/.config/dask/*.yaml)."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VersionMismatchWarning)  # check_versions reports mismatches
            client = Client(address, timeout=request.timeout_s, set_as_default=False)
    except (OSError, CommClosedError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SiteError(
            f"No scheduler answers at {address} within {request.timeout_s:g} s ({reason}); start one with "
            f"'dask scheduler --host {host} --port {port}', or give another --site."
        ) from error
    except Exception as error:  # bytes of another protocol; as a length, for example, they need too much memory
        raise SiteError(
            f"{address} answers, but not as a Dask scheduler does ({type(error).__name__}); give the port of the "
            "scheduler, not that of its dashboard, or another --site."
        ) from error
    advice = f"start some with 'dask worker --nworkers N --nthreads {THREADS_PER_WORKER} {address}'"
    try:
        wait_for_workers(client, request.workers or 1, request, advice=advice)
        check_versions(client, address)
        log_dashboard(client)
        yield client
    finally:
        with quiet():
            client.close(timeout=10)
