"""Fixtures shared by several folders of tests."""

import logging
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.remote_servers import BUCKET, SECRET, Served, folder_handler, gate_handler, serve

WITHOUT_POSIX = Path(__file__).parent / "without_posix"


def take_posix_away() -> None:
    """Hide POSIX from lls_decode in this process and in processes that tests start.

    Call this function before any module of lls_decode is imported.
    """
    assert not any(name.partition(".")[0] == "lls_decode" for name in sys.modules)
    others = [item for item in os.environ.get("PYTHONPATH", "").split(os.pathsep) if item]
    if str(WITHOUT_POSIX) not in others:  # in workers of pytest-xdist Python has already loaded sitecustomize.py
        os.environ["PYTHONPATH"] = os.pathsep.join([str(WITHOUT_POSIX), *others])
        runpy.run_path(str(WITHOUT_POSIX / "sitecustomize.py"))


if "--without-posix" in sys.argv:  # the conftest.py files imported after this one import lls_decode
    take_posix_away()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--without-posix",
        action="store_true",
        help="hide from lls_decode everything that Windows lacks (see tests/without_posix), also in processes that "
        "tests start",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--without-posix"):
        return
    for item in items:
        marker = item.get_closest_marker("posix")
        if marker is not None:
            item.add_marker(pytest.mark.skip(reason=f"without POSIX: {marker.args[0]}"))


# Networks in tests are tiny: a second thread costs more than it gains, a hundred times as much on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of third-party sample data, which is not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"third-party sample data not found in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Restore the root logger after each test.

    A command that a test calls makes the root logger write to a stream that is closed when the test ends.
    """
    root = logging.getLogger()
    level = root.level
    yield
    for handler in list(root.handlers):
        if type(handler) is logging.StreamHandler:  # handlers of pytest are of subclasses and stay
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a file system in memory and returns its folder.

    The argument of the function holds options of ``mount``, for example ``size=64k`` or ``ro``.
    """
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            reason = done.stderr.strip() if done.returncode else ""
        except OSError as error:
            reason = str(error)
        if reason:
            pytest.skip(f"a file system cannot be mounted here: {reason}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Start an S3 server with an empty bucket that anybody can list, and return the server's address."""
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("obstore")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket=BUCKET, ACL="public-read")
    yield address
    server.stop()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide S3 credentials through environment variables only."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    from lls_decode.frames.source import _open_cached
    from lls_decode.frames.storage.remote import forget_remote

    forget_remote()
    _open_cached.cache_clear()


@pytest.fixture
def s3(moto: str, credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Put a gate in front of the S3 server and make the gate the S3 endpoint in the environment."""
    with serve(gate_handler(moto)) as gate:
        monkeypatch.setenv("AWS_ENDPOINT_URL", gate.address)
        yield gate


@pytest.fixture
def web(tmp_path: Path, credentials: None) -> Iterator[Served]:
    """Serve the test's folder over HTTP."""
    with serve(folder_handler(tmp_path)) as server:
        yield server
