"""Serve the page, in the dashboard of a Dask scheduler or with a small server of its own."""

import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.resources import Resources
from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from bokeh.server.util import bind_sockets
from bokeh.server.views.ws import WSHandler
from distributed import Client, Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import RequestHandler

from lls_decode.errors import SiteError
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.status.run_status import RunStatus
from lls_decode.system import real_path

from .content_policy import restrict_scripts
from .metrics import CONTENT_TYPE, Collector, exposition
from .page import show_run
from .watcher import Watcher

PAGE = "lls-decode"
"""Name of the page in Dask's dashboard, and its path there."""
LOOPBACK = "127.0.0.1"

logger = logging.getLogger(__name__)


class MetricsHandler(RequestHandler):
    """Handler that serves the metrics to Prometheus."""

    def initialize(self, runs: Callable[[], Iterable[RunStatus]]) -> None:
        """``runs`` returns the current status of each run."""
        self._runs = runs

    def get(self) -> None:
        """Write the metrics of all runs in the text format of Prometheus."""
        self.set_header("Content-Type", CONTENT_TYPE)
        self.write(exposition(self._runs()))


@dataclass(frozen=True)
class PageServer:
    """A page that is being served."""

    link: str
    loop: IOLoop
    """Event loop; the page is served as long as it runs."""


@contextmanager
def serve(
    out: str | Path, *, port: int = 8788, address: str = LOOPBACK, origins: Sequence[str] = ()
) -> Iterator[PageServer]:
    """Serve the page of a run at ``/`` and its metrics at ``/metrics``, as long as the caller runs the event loop.

    Parameters
    ----------
    out
        Run folder; nothing is written into it.
    port
        Port to listen on; 0: any free port.
    address
        Address to listen on. With an address other than the loopback, everyone who can reach it sees the run.
    origins
        Hosts (``HOST`` or ``HOST:PORT``) of proxies through which the page may be opened, in addition to the names of
        this machine. A proxy may show the page under any path, because all addresses in the page are relative.

    Raises
    ------
    InputError
        The folder contains no run.
    SiteError
        The port is in use, or the address does not belong to this machine.
    """
    RunFolder(Path(out)).read_run()
    try:
        sockets, port = bind_sockets(address, port)
    except OSError as error:
        raise SiteError(
            f"The page cannot be served at {address}:{port} ({error.strerror or error}); give another --port."
        ) from error
    watcher = Watcher(out)
    names = {LOOPBACK, "localhost", address, socket.gethostname()}
    application = _RelativeTornado(
        {"/": Application(FunctionHandler(partial(show_run, watcher=watcher)))},
        extra_websocket_origins=[*(f"{name}:{port}" for name in names), *origins],
        extra_patterns=[("/metrics", MetricsHandler, {"runs": lambda: _statuses([watcher])})],
    )
    restrict_scripts(application)
    http_server = HTTPServer(application)
    http_server.add_sockets(sockets)
    server = BaseServer(IOLoop.current(), application, http_server)
    server.start()
    watcher.start()
    refusals = logging.getLogger(WSHandler.__module__)
    refusals.addFilter(_say_origin)
    try:
        yield PageServer(f"http://{address}:{port}/", server.io_loop)
    finally:
        refusals.removeFilter(_say_origin)
        http_server.stop()
        server.stop()
        watcher.close()


class _RelativeTornado(BokehTornado):
    """Application whose pages use relative addresses, so that a proxy can show them under any path."""

    def resources(self, absolute_url: str | bool | None = None) -> Resources:
        """Return the resources of the page, with addresses of scripts relative to the page."""
        return super().resources("" if absolute_url is None else absolute_url)


def _say_origin(record: logging.LogRecord) -> bool:
    """Replace Bokeh's message about a refused connection, which names an option of Bokeh, by one that names ours."""
    if str(record.msg).startswith("Refusing websocket connection") and isinstance(record.args, tuple):
        record.msg = (
            "the page was opened at %s, which is not a name of this machine, and stays empty; if that is your proxy, "
            "restart with --origin %s"
        )
        record.args = record.args[:2]
    return True


def attach(client: Client, out: str | Path) -> str | None:
    """Add the page of a run to the dashboard of a client's scheduler, and return its address; None if impossible.

    The scheduler may be another process, or another machine that sees the folder under the same path. The page replaces
    that of an earlier run.
    """
    folder = str(real_path(out))
    try:
        there = client.run_on_scheduler(_attach, folder)
    except Exception as error:  # a scheduler without a dashboard, with another version of Bokeh, or of somebody else
        logger.info("the dashboard has no page for this run (%s: %s)", type(error).__name__, error)
        return None
    link = str(client.dashboard_link or "")
    return link.removesuffix("status") + PAGE if there and link else None


class RunPage(SchedulerPlugin):
    """Plugin that adds the page to a scheduler. The page is created once, and shows one run after the other."""

    name = "lls-decode-page"

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self._collector = Collector(self.runs)
        self._registry = _registry()
        if self._registry is not None:
            self._registry.register(self._collector)

    def runs(self) -> list[RunStatus]:
        """Return the status of the current run as a list; empty before the first snapshot."""
        return _statuses([self.watcher])

    async def close(self) -> None:
        """Close the watcher when the scheduler ends."""
        self.watcher.close()
        if self._registry is not None:
            self._registry.unregister(self._collector)


def _attach(out: str, dask_scheduler: Scheduler | None = None) -> bool:
    """Show a run on the existing page, or on a new one; this function runs inside of the scheduler."""
    scheduler: Any = dask_scheduler
    page = scheduler.plugins.get(RunPage.name)
    if page is None:
        page = RunPage(Watcher(out))
        scheduler.add_plugin(page)
        _add_route(scheduler, page)
        page.watcher.start()
    page.watcher.watch(out)
    return True


def _add_route(scheduler: Any, page: RunPage) -> None:
    """Add the page to the dashboard, and to its bar of links."""
    from distributed.dashboard.components.scheduler import env
    from distributed.dashboard.core import BokehApplication
    from distributed.dashboard.scheduler import template_variables

    def document(server: object, extra: dict[str, Any], document: Document) -> None:
        show_run(document, page.watcher)
        document.template = env.get_template("simple.html")
        document.template_variables.update(extra)

    variables = template_variables(scheduler)  # one dictionary for all pages of a scheduler
    variables["pages"].append(PAGE)
    application = BokehApplication({f"/{PAGE}": document}, scheduler, template_variables=variables)
    restrict_scripts(application)
    application.add_handlers(r".*", [(f"/{PAGE}/metrics", MetricsHandler, {"runs": page.runs})])
    scheduler.http_application.add_application(application)
    application.initialize(IOLoop.current())
    application.start()


def _registry() -> Any:
    """Return the registry behind the ``/metrics`` of a scheduler; None if prometheus_client is not installed."""
    try:
        from prometheus_client import REGISTRY
    except ImportError:
        return None
    return REGISTRY


def _statuses(watchers: Iterable[Watcher]) -> list[RunStatus]:
    snapshots = (watcher.latest for watcher in watchers)
    return [snapshot.status for snapshot in snapshots if snapshot is not None]
