"""Real servers on this machine: a web server of a folder (with range requests), and a gate in front of any server.

The gate forwards requests to a server (moto's S3) and counts the bytes of the answers. It also reproduces accidents:
it answers with an error status, cuts the connection in the middle of an answer, or disappears for a while.
"""

import re
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

BUCKET = "labdata"  # no hyphen: Google's client encodes hyphens, and the tests' server does not decode them
SECRET = "hush-SECRET-hush"
"""A secret that must not appear in any record."""
_DATED = {"Last-Modified": "Tue, 01 Jan 2030 00:00:00 GMT", "ETag": '"1"'}


@dataclass
class Accident:
    """A fault that the server applies to requests whose path matches a pattern."""

    pattern: str
    kind: int | str
    """HTTP status of the answer, or ``cut`` to cut the connection in the middle of the answer."""
    times: int = 10**9
    """Number of requests that the fault still applies to."""


@dataclass(frozen=True)
class Answer:
    """A request and the server's answer to it."""

    method: str
    path: str
    range: str | None
    status: int
    num_bytes: int


class Served:
    """A server that can be stopped and started again at the same port."""

    def __init__(self, handler: type["_Handler"], context: ssl.SSLContext | None = None) -> None:
        self.accidents: list[Accident] = []
        self.answers: list[Answer] = []
        self._context = context
        self._handler, self._port = handler, 0
        self.start()

    @property
    def address(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self._port}"

    @property
    def num_bytes(self) -> int:
        return sum(answer.num_bytes for answer in self.answers)

    @property
    def upstream(self) -> str:
        """Address of the server behind the gate."""
        return self._handler.upstream

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", self._port), self._handler)
        self._server.owner = self
        if self._context is not None:
            self._server.socket = self._context.wrap_socket(self._server.socket, server_side=True)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Stop listening, and cut all connections."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._server.connections):
            connection.close_connection = True
            with suppress(OSError):
                connection.connection.shutdown(2)

    def accident(self, path: str) -> Accident | None:
        for accident in self.accidents:
            if accident.times > 0 and re.search(accident.pattern, path):
                accident.times -= 1
                return accident
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:
        self.owner: Served
        self.connections: set[_Handler] = set()
        super().__init__(*arguments)

    def handle_error(self, *_: Any) -> None:
        """Ignore errors: tests expect clients to disconnect."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    upstream = ""

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self)

    def finish(self) -> None:
        self.server.connections.discard(self)
        super().finish()

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._do()

    def do_GET(self) -> None:
        self._do()

    def _do(self) -> None:
        owner = self.server.owner
        accident = owner.accident(unquote(self.path))
        if accident is not None and isinstance(accident.kind, int):
            self._send(accident.kind, {}, b"<Error><Code>Accident</Code></Error>")
            return
        status, headers, body = self.answer()
        self._send(status, headers, body, cut=accident is not None)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        raise NotImplementedError

    def _send(self, status: int, headers: dict[str, str], body: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        if "Content-Length" not in headers:
            headers = {**headers, "Content-Length": str(len(body))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        body = b"" if self.command == "HEAD" else body[: len(body) // 2] if cut else body
        self.server.owner.answers.append(
            Answer(self.command, unquote(self.path), self.headers.get("Range"), status, len(body))
        )
        self.wfile.write(body)
        if cut:
            self.wfile.flush()
            self.close_connection = True


def folder_handler(folder: Path, *, ranges: bool = True) -> type[_Handler]:
    """Return a handler that serves the files of a folder like a web server, with or without range requests."""

    class Handler(_Handler):
        def answer(self) -> tuple[int, dict[str, str], bytes]:
            path = folder / unquote(urlsplit(self.path).path).strip("/")
            if not path.is_file():
                return 404, {}, b"no such file"
            size = path.stat().st_size
            wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range") or "")
            start, stop = 0, size
            if wanted and ranges:
                first, last = wanted.groups()
                start = int(first) if first else max(0, size - int(last))
                stop = min(size, int(last) + 1) if first and last else size
            with path.open("rb") as file:
                file.seek(start)
                body = file.read(stop - start)
            headers = {"Content-Length": str(len(body)), **_DATED}
            if wanted and ranges:
                return 206, {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}, body
            return 200, headers, body

    return Handler


def gate_handler(address: str) -> type[_Handler]:
    """Return a handler that forwards requests to another server unchanged, including their signatures."""

    class Handler(_Handler):
        upstream = address

        def answer(self) -> tuple[int, dict[str, str], bytes]:
            request = urllib.request.Request(address + self.path, method=self.command, headers=dict(self.headers))
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            try:
                with opener.open(request, timeout=30) as reply:
                    return reply.status, _end_to_end(reply.headers), reply.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, _end_to_end(error.headers), error.read()

    return Handler


def _end_to_end(headers: Any) -> dict[str, str]:
    kept = {name.title(): value for name, value in headers.items()}
    return {n: v for n, v in kept.items() if n not in ("Connection", "Transfer-Encoding", "Date", "Server")}


@contextmanager
def serve(handler: type[_Handler], **options: Any) -> Iterator[Served]:
    """Run a server until the context ends."""
    served = Served(handler, **options)
    try:
        yield served
    finally:
        served.stop()


def upload(endpoint: str, bucket: str, folder: Path, prefix: str, *, acl: str = "private") -> None:
    """Copy a file, or the files below a folder, into a bucket."""
    import boto3

    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **keys)
    for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
        if path.is_file():
            name = path.relative_to(folder).as_posix() if folder.is_dir() else ""
            key = "/".join(part for part in (prefix, name) if part)
            client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes(), ACL=acl)


def zip_store(folder: Path, path: Path, *, compressed: bool = False) -> Path:
    """Write a store to a zip file, by default without compression."""
    import zipfile

    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
    return path
