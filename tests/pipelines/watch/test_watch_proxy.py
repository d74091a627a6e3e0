"""The page of a run behind a reverse proxy that serves it under a path, like JupyterHub and Open OnDemand."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen

import pytest
from bokeh.server.util import bind_sockets
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClientConnection, WebSocketHandler, websocket_connect

from lls_decode.cluster.addresses import hub_host, hub_path
from lls_decode.pipelines.watch.serving import serve
from tests.pipelines.browser import FIGURES, Page, browser, find_browser
from tests.pipelines.run_folders import make_folder

from .conftest import served_by_a_thread

PATH = "/node/gpu17/8788/"
_OWN = re.compile(r'(?:src|href)="([^"]*)"')


class Forward(RequestHandler):
    """Handler that forwards a request without the path prefix of the proxy."""

    async def get(self, place: str) -> None:
        query = f"?{self.request.query}" if self.request.query else ""
        request = HTTPRequest(f"{self.settings['to']}{place}{query}", headers={"Host": self.request.host})
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        self.set_status(answer.code)
        self.set_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
        self.write(answer.body)


class ForwardSocket(WebSocketHandler):
    """Handler that forwards the messages of a websocket in both directions, with the origin of the browser."""

    other: WebSocketClientConnection | None = None

    def check_origin(self, origin: str) -> bool:
        return True  # the server behind the proxy checks the origin

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return "bokeh" if "bokeh" in subprotocols else None

    async def get(self, *args: Any, **kwargs: Any) -> None:
        to = f"{self.settings['to'].replace('http', 'ws', 1)}ws"
        names = [name.strip() for name in self.request.headers["Sec-WebSocket-Protocol"].split(",")]
        request = HTTPRequest(to, headers={"Origin": self.request.headers["Origin"]})
        try:
            self.other = await websocket_connect(request, subprotocols=names, max_message_size=2**27)
        except HTTPClientError as error:
            self.set_status(error.code)
            return
        await super().get(*args, **kwargs)

    async def open(self) -> None:
        asyncio.get_running_loop().create_task(self._back())

    async def _back(self) -> None:
        assert self.other is not None
        while (message := await self.other.read_message()) is not None:
            await self.write_message(message, binary=isinstance(message, bytes))
        self.close()

    def on_message(self, message: str | bytes) -> Awaitable[None] | None:
        assert self.other is not None
        return self.other.write_message(message, binary=isinstance(message, bytes))

    def on_close(self) -> None:
        if self.other is not None:
            self.other.close()


@contextmanager
def behind_a_proxy(out: Path, *, named: bool = True) -> Iterator[str]:
    """Serve the page of a folder behind a proxy, both in a thread, and yield the page's address at the proxy.

    If ``named`` is true, the server is told the origin of the proxy.
    """

    @asynccontextmanager
    async def page() -> AsyncIterator[str]:
        sockets, port = bind_sockets("127.0.0.1", 0)
        with serve(out, port=0, origins=[f"localhost:{port}"] if named else []) as server:
            routes = [(rf"{PATH}ws", ForwardSocket), (rf"{PATH}(.*)", Forward)]
            proxy = HTTPServer(Application(routes, to=server.link))
            proxy.add_sockets(sockets)
            yield f"http://localhost:{port}{PATH}"
            proxy.stop()
            await proxy.close_all_connections()

    with served_by_a_thread(page) as link:
        yield link


def get(link: str) -> str:
    with urlopen(link, timeout=60) as answer:
        return str(answer.read().decode())


async def first_message(link: str, token: str) -> dict[str, Any]:
    """Return the server's first message after connecting like the script of the page.

    The script derives the address of the websocket from the address of the page.
    """
    place = urlsplit(link)
    request = HTTPRequest(
        f"ws://{place.netloc}{place.path.rstrip('/')}/ws", headers={"Origin": f"{place.scheme}://{place.netloc}"}
    )
    socket = await websocket_connect(request, subprotocols=["bokeh", token])
    message = await asyncio.wait_for(socket.read_message(), 60)
    socket.close()
    assert isinstance(message, str)
    return dict(json.loads(message))


def test_page_scripts_and_events_work_under_a_path_of_a_proxy(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "out")
    folder.done(0, 10)
    with behind_a_proxy(folder.out) as link:
        page = get(link)
        own = [place for place in _OWN.findall(page) if not place.startswith("data:")]
        assert own
        for place in own:
            assert not place.startswith(("/", "http:", "https:")), place
            assert len(get(urljoin(link, place))) > 1000
        with pytest.raises(HTTPError):
            get(urljoin(link, f"/{own[0]}"))  # a page with absolute paths would request this address
        assert "lls_decode_blocks" in get(urljoin(link, "metrics"))
        token = re.search(r'"token":"([^"]+)"', page)
        assert token is not None
        assert asyncio.run(first_message(link, token[1]))["msgtype"] == "ACK"


def test_a_browser_follows_the_run_through_the_proxy(tmp_path: Path) -> None:
    executable = find_browser()
    if executable is None:
        pytest.skip("no Chromium is installed here (Debian: apt install chromium), so that the page was not tested")
    folder = make_folder(tmp_path / "out")
    folder.done(0, 10)

    async def look(port: int, link: str) -> list[str]:
        page = Page(port)
        await page.open(link)
        await page.wait_for(f"({FIGURES.strip()}).blocks_done == 1")
        folder.done(1, 20)
        await page.wait_for(f"({FIGURES.strip()}).blocks_done == 2")  # events also pass the proxy
        return page.complaints

    with browser(executable, tmp_path / "profile") as port, behind_a_proxy(folder.out) as link:
        assert asyncio.run(look(port, link)) == []


def test_an_unknown_proxy_is_refused_with_the_option_that_allows_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_folder(tmp_path / "out")
    with behind_a_proxy(folder.out, named=False) as link, caplog.at_level(logging.ERROR):
        token = re.search(r'"token":"([^"]+)"', get(link))
        assert token is not None
        with pytest.raises(HTTPClientError, match="403"):
            asyncio.run(first_message(link, token[1]))
    assert f"--origin {urlsplit(link).netloc}" in caplog.text
    assert "allow-websocket-origin" not in caplog.text


def test_path_and_host_of_a_page_behind_jupyterhub(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JUPYTERHUB_SERVICE_PREFIX", "JUPYTERHUB_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    assert hub_path("http://127.0.0.1:8788/") is None
    assert hub_host() is None
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ada/")
    monkeypatch.setenv("JUPYTERHUB_PUBLIC_URL", "https://hub.example.org/user/ada/")
    assert hub_path("http://127.0.0.1:8788/") == "/user/ada/proxy/8788/"
    assert hub_path("http://127.0.0.1:8787/status") == "/user/ada/proxy/8787/status"
    assert hub_path("http://node17:8787/status") is None
    assert hub_host() == "hub.example.org"
