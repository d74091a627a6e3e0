"""Addresses: where a site listens, and how its dashboard is reached from elsewhere."""

import logging
import os
import socket
import warnings
from urllib.parse import urlsplit

from distributed import Client

from lls_decode.errors import SiteError

from .settings import DASHBOARD, LOOPBACK

logger = logging.getLogger(__name__)


def free_address(address: str) -> str:
    """The address, or any free port on the same interface when it is in use.

    Another program may take the port before the scheduler does. The scheduler takes any free port then, as here, and
    its warning is left out: where the dashboard is, is said in any case.
    """
    warnings.filterwarnings("ignore", message=r"Port \d+ is already in use", module="distributed.node")
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
    return int(client.scheduler_info().get("services", {}).get("dashboard", 0))


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


def hub_path(link: str) -> str | None:
    """Path under which JupyterHub shows a page of this machine; None: there is no hub, or the page is elsewhere.

    Needs the extension jupyter-server-proxy there.
    """
    prefix, place = os.environ.get("JUPYTERHUB_SERVICE_PREFIX"), urlsplit(link)
    if not prefix or place.hostname not in (LOOPBACK, "localhost") or not place.port:
        return None
    return f"{prefix.rstrip('/')}/proxy/{place.port}/{place.path.lstrip('/')}"


def hub_host() -> str | None:
    """Host (and port) at which browsers see the JupyterHub that this process runs in, where the hub says so."""
    return urlsplit(os.environ.get("JUPYTERHUB_PUBLIC_URL", "")).netloc or None


def log_dashboard(client: Client) -> None:
    """Log the address of a scheduler's dashboard, and how to reach it from a laptop."""
    if client.dashboard_link:
        logger.info("dashboard: %s", client.dashboard_link)
        if (way := tunnel_to(client.dashboard_link)) is not None:
            logger.info("dashboard, from a laptop: %s", way)
        if (path := hub_path(client.dashboard_link)) is not None:
            logger.info("dashboard, through JupyterHub: %s", path)
