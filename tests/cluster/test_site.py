"""Sites open a working client, or say what to do if they cannot, and close everything that they opened."""

import contextlib
import logging
import operator
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest

from lls_decode.cluster.machine.local import default_workers
from lls_decode.cluster.settings import DASK_SETTINGS
from lls_decode.cluster.site import connect
from lls_decode.errors import SiteError


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(*arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [str(Path(sys.executable).parent / "dask"), *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Start a scheduler without workers, like another user would, and return its address."""
    port = free_port()
    process = start("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    limit = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert time.monotonic() < limit
        time.sleep(0.05)
    yield f"tcp://127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=20)


REFUSED = {
    "unknown": ("slurn", "Unknown site 'slurn' (did you mean 'slurm'?); expected cuda, local, "),
    "an address without scheme": ("node17:8786", "for a running scheduler, tcp://node17:8786"),
    "an address without port": ("tcp://node17", "give tcp://HOST:PORT"),
    "an impossible port": ("tcp://node17:99999", "give tcp://HOST:PORT"),
    "a host with a space": ("tcp://node 17:8786", "give tcp://HOST:PORT"),
    "an address without a scheduler": (f"tcp://127.0.0.1:{free_port()}", "start one with 'dask scheduler"),
    "encryption without keys": (f"tls://127.0.0.1:{free_port()}", "Dask has no keys; set distributed.comm.tls"),
}


@pytest.mark.parametrize(("site", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_site_that_cannot_be_used_is_refused(site: str, words: str) -> None:
    with pytest.raises(SiteError, match=re.escape(words)), connect(site, timeout_s=1):
        pass


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100, b"\x01" + bytes(7) + b"\xff" * 64, b""])
def test_a_port_of_another_program_is_refused(answer: bytes) -> None:
    """A user often gives the port of the dashboard."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with (
            pytest.raises(SiteError, match=r"not as a Dask scheduler|No scheduler answers"),
            connect(address, timeout_s=2),
        ):
            pass


def test_zero_workers_are_refused() -> None:
    with pytest.raises(SiteError, match="--workers is 0"), connect("local", workers=0):
        pass


def test_scheduler_without_workers_is_refused_after_the_timeout(scheduler: str) -> None:
    with (
        pytest.raises(SiteError, match=f"has 0 of 1 workers after 1 s; start some with 'dask worker .* {scheduler}'"),
        connect(scheduler, timeout_s=1),
    ):
        pass


def test_running_scheduler_is_used_and_left_running(scheduler: str) -> None:
    worker = start("worker", scheduler, "--nthreads", "2", "--no-nanny", "--no-dashboard")
    try:
        for _ in range(2):
            with connect(scheduler, timeout_s=60) as client:
                assert client.submit(operator.add, 1, 2).result(timeout=30) == 3
            assert client.status == "closed"
    finally:
        worker.terminate()
        worker.wait(timeout=20)


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("zarr", None),
        ("lls-decode", r"lls-decode is 0\.0\.9 \(here .*\) for worker tcp://.*; start the scheduler and"),
    ],
    ids=["another package", "another lls-decode"],
)
def test_worker_with_another_version_is_reported_or_refused(
    package: str, words: str | None, scheduler: str, log: "Lines", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of a library is logged; another lls-decode is refused, since its tables may differ."""
    metadata = tmp_path / f"{package.replace('-', '_')}-0.0.9.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.0.9\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    worker = start("worker", scheduler, "--nthreads", "2", "--no-nanny", "--no-dashboard")
    try:
        if words is None:
            with connect(scheduler, timeout_s=60):
                assert any("has other versions: zarr 0.0.9 (here 3." in line for line in log.lines), log.lines
        else:
            with pytest.raises(SiteError, match=words), connect(scheduler, timeout_s=60):
                pass
    finally:
        worker.terminate()
        worker.wait(timeout=20)


def loopback_only(pid: int) -> bool:
    """Return whether a process listens on 127.0.0.1 only, according to the kernel's table of its sockets."""
    inodes = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(os.readlink(handle))
        except OSError:
            continue
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                listening.append(fields[1].partition(":")[0])
    assert listening
    return set(listening) == {"0100007F"}


class Lines(logging.Handler):
    """A logging handler that keeps all messages."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def log() -> Iterator[Lines]:
    """Record what sites log, independently of the state of the root logger."""
    logger, lines = logging.getLogger("lls_decode.cluster"), Lines()
    level = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield lines
    logger.propagate = True
    logger.setLevel(level)
    logger.removeHandler(lines)


def test_local_site_computes_listens_on_loopback_only_and_stops_its_workers(
    log: Lines, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with connect("local", workers=1, memory_limit="1 GiB", dashboard_address=address) as client:
            link = client.dashboard_link
            assert client.submit(operator.add, 1, 2).result(timeout=30) == 3
            (worker,) = client.scheduler_info()["workers"].values()
            pids = [*client.run(os.getpid).values(), os.getpid()]
            assert all(loopback_only(pid) for pid in pids)
            settings = client.run(lambda: dask.config.get("distributed.worker.memory.spill"))
        assert (worker["nthreads"], worker["memory_limit"]) == (2, 2**30)
        assert list(settings.values()) == [False]
    assert link is not None
    assert link.startswith("http://127.0.0.1:")
    assert address not in link
    assert f"dashboard: {link}" in log.lines
    assert not Path(f"/proc/{pids[0]}").exists()
    assert "Traceback" not in capfd.readouterr().err


def test_dask_settings_of_a_site_are_restored_when_it_closes(scheduler: str) -> None:
    name = "distributed.scheduler.worker-ttl"
    with dask.config.set({name: "77 s"}):
        with pytest.raises(SiteError), connect(scheduler, timeout_s=0.2):
            pass
        assert dask.config.get(name) == "77 s" != DASK_SETTINGS[name]


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (8, 2), (64, 16)])
def test_default_number_of_workers_follows_from_the_cores(cores: int, workers: int) -> None:
    assert default_workers(cores) == workers


def test_dask_knows_the_names_of_all_settings() -> None:
    unknown = [key for key in DASK_SETTINGS if dask.config.get(key, default="unknown") == "unknown"]
    assert unknown == []
