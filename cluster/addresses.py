"""Network addresses: where a site listens, and how its dashboard is reached from other computers."""

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
    """Return the address, or, if its port is in use, an address that means any free port of the same interface.

    Another program may still take the port before the scheduler opens it. The scheduler then takes any free port, too.
    Its warning is suppressed, because the address of the dashboard is logged in any case.
    """
    warnings.filterwarnings("ignore", message=r"Port \d+ is already in use", module="distributed.node")
    host, _, port = address.rpartition(":")
    host = host or LOOPBACK
    if not port.isdigit():
        raise SiteError(f"{address!r} is not a valid dashboard address; give HOST:PORT, for example {DASHBOARD}.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            logger.info("port %s is in use, the dashboard uses another one", port)
            return f"{host}:0"
    return f"{host}:{port}"


def own_address(interface: str | None) -> str:
    """Return the address of this machine on a network interface, or on the default route if None.

    Raises
    ------
    SiteError
        The machine has no such interface.
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
            f"interface is {interface!r}, but {socket.gethostname()} has {known}; correct it in the site profile."
        ) from error


def dashboard_port(client: Client) -> int:
    """Return the port of the scheduler's dashboard; 0 if it has none."""
    return int(client.scheduler_info().get("services", {}).get("dashboard", 0))


def tunnel(port: int, *, host: str, login: str | None, page: str = "status") -> str:
    """Return the ssh command and URL that show a dashboard, listening only on the loopback of ``host``, on a laptop."""
    import getpass

    user = getpass.getuser()
    jump = f"-J {user}@{login} " if login and login != host else ""
    return f"ssh -N {jump}-L {port}:{LOOPBACK}:{port} {user}@{host}, then http://{LOOPBACK}:{port}/{page}"


def tunnel_to(link: str) -> str | None:
    """Return how to open a local page from the laptop of a user who is logged in by ssh.

    None if the page is on another machine, or if the user is not logged in by ssh.
    """
    place = urlsplit(link)
    if not os.environ.get("SSH_CONNECTION") or place.hostname not in (LOOPBACK, "localhost") or not place.port:
        return None
    return tunnel(place.port, host=socket.gethostname(), login=None, page=place.path.lstrip("/"))


def hub_path(link: str) -> str | None:
    """Return the path under which JupyterHub serves a local page; None without a hub, or for a page elsewhere.

    The hub needs the extension jupyter-server-proxy.
    """
    prefix, place = os.environ.get("JUPYTERHUB_SERVICE_PREFIX"), urlsplit(link)
    if not prefix or place.hostname not in (LOOPBACK, "localhost") or not place.port:
        return None
    return f"{prefix.rstrip('/')}/proxy/{place.port}/{place.path.lstrip('/')}"


def hub_host() -> str | None:
    """Return the public host (and port) of the JupyterHub that this process runs in; None if the hub does not tell."""
    return urlsplit(os.environ.get("JUPYTERHUB_PUBLIC_URL", "")).netloc or None


def log_dashboard(client: Client) -> None:
    """Log the address of a scheduler's dashboard, and how to reach it from other computers."""
    if client.dashboard_link:
        logger.info("dashboard: %s", client.dashboard_link)
        if (way := tunnel_to(client.dashboard_link)) is not None:
            logger.info("dashboard, from a laptop: %s", way)
        if (path := hub_path(client.dashboard_link)) is not None:
            logger.info("dashboard, through JupyterHub: %s", path)
