"""Servers that the tests of remote stores ask."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from lls_decode.frames.storage import client as clients
from lls_decode.frames.storage.remote import forget_remote
from tests.remote_servers import Served, folder_handler, gate_handler, serve

BUCKET = "lab-data"
SECRET = "hush-SECRET-hush"


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """An S3 server with an empty bucket; its address."""
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("obstore")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket=BUCKET)
    yield address
    server.stop()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials in the environment, and nowhere else."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    clients.connect.cache_clear()
    forget_remote()


@pytest.fixture
def s3(moto: str, credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A gate before the S3 server, which the environment names as the endpoint."""
    with serve(gate_handler(moto)) as gate:
        monkeypatch.setenv("AWS_ENDPOINT_URL", gate.address)
        yield gate


@pytest.fixture
def web(tmp_path: Path, credentials: None) -> Iterator[Served]:
    """A web server of the test's folder."""
    with serve(folder_handler(tmp_path)) as server:
        yield server
