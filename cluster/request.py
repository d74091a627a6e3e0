"""What every kind of site needs: the request it answers, workers that come, an address for the dashboard."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from distributed import Client

from lls_decode.errors import SiteError

from .settings import DASHBOARD, LOOPBACK
from .versions import OURS, PYTHON, SHARED, differences

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What was asked of a site."""

    site: str
    """As the user named it."""
    workers: int | None
    memory_limit: int | str | None
    dashboard_address: str
    timeout_s: float
    folder: Path
    """Where jobs leave their logs and scripts."""


def wait_for_workers(client: Client, workers: int, request: Request, *, advice: str) -> None:
    """Wait for workers that should be there at once.

    Raises
    ------
    SiteError
        They are not.
    """
    try:
        client.wait_for_workers(workers, timeout=request.timeout_s)
    except TimeoutError as error:
        found = len(client.nthreads())
        raise SiteError(
            f"Site {request.site} has {found} of {workers} workers after {request.timeout_s:g} s; {advice}, "
            "or look at the workers' logs."
        ) from error


def check_versions(client: Client, site: str) -> None:
    """Refuse workers whose lls-decode is another one or none, and say where other versions differ.

    Raises
    ------
    SiteError
        A worker, or the scheduler, would not run the code that runs here.
    """
    modules = [name.replace("-", "_") for name in SHARED]
    found: Any = client.get_versions(packages=modules)
    here = _versions(found["client"])
    elsewhere = {"the scheduler": found["scheduler"], **{f"worker {k}": v for k, v in found["workers"].items()}}
    for place, said in elsewhere.items():
        there = _versions(said)
        if there.get(OURS) != here[OURS]:
            what = f"is {there[OURS]}, here it is {here[OURS]}," if OURS in there else "is not installed"
            raise SiteError(
                f"lls-decode {what} for {place} of {site}; start the scheduler and its workers in the environment that "
                "lls-decode runs in."
            )
        differ = differences(here, there)
        if differ:
            logger.warning("%s of %s has other versions: %s", place, site, ", ".join(differ.values()))


def _versions(said: Any) -> dict[str, str]:
    """One process's answer to `Client.get_versions` as `versions_here` would give it."""
    packages = {name.replace("_", "-"): found for name, found in said["packages"].items() if found is not None}
    return {**packages, PYTHON: str(dict(said["host"])["python"])}


def free_address(address: str) -> str:
    """The address, or any free port on the same interface when it is in use."""
    host, _, port = address.rpartition(":")
    host = host or LOOPBACK
    if not port.isdigit():
        raise SiteError(f"{address!r} is no address for a dashboard; give HOST:PORT, for example {DASHBOARD}.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            logger.info("port %s is in use, the dashboard takes another one", port)
            return f"{host}:0"
    return f"{host}:{port}"


def own_address(interface: str | None) -> str:
    """Address of this machine on an interface, or on the default route.

    Raises
    ------
    SiteError
        There is no such interface.
    """
    import psutil
    from distributed.utils import get_ip, get_ip_interface

    if interface is None:
        return str(get_ip())
    try:
        return str(get_ip_interface(interface))
    except ValueError as error:
        known = ", ".join(sorted(psutil.net_if_addrs()))
        raise SiteError(
            f"interface is {interface!r}, but {socket.gethostname()} has {known}; change it in the site profile."
        ) from error


def dashboard_port(client: Client) -> int:
    """Port of the scheduler's dashboard; 0: it has none."""
    return int(client.scheduler_info()["services"].get("dashboard", 0))


def tunnel(port: int, *, host: str, login: str | None, page: str = "status") -> str:
    """How a dashboard, which listens on the loopback of ``host`` only, is seen in the browser of a laptop."""
    import getpass

    user = getpass.getuser()
    jump = f"-J {user}@{login} " if login and login != host else ""
    return f"ssh -N {jump}-L {port}:{LOOPBACK}:{port} {user}@{host}, then http://{LOOPBACK}:{port}/{page}"


def tunnel_to(link: str) -> str | None:
    """How somebody who is logged in by ssh sees a page of this machine; None: it is elsewhere, or they sit here."""
    place = urlsplit(link)
    if not os.environ.get("SSH_CONNECTION") or place.hostname not in (LOOPBACK, "localhost") or not place.port:
        return None
    return tunnel(place.port, host=socket.gethostname(), login=None, page=place.path.lstrip("/"))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Dask from logging that connections end while we end them."""
    logs = [logging.getLogger(name) for name in ("distributed", "distributed.client")]  # Dask gives each its own level
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
