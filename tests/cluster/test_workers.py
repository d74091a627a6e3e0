"""Worker processes: each GPU worker sees one GPU, and workers of an ending job leave in an orderly way."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client, Scheduler, SpecCluster

from lls_decode.cluster.addresses import own_address, tunnel
from lls_decode.cluster.security import make_security
from lls_decode.cluster.site import connect
from lls_decode.cluster.slurm.rendezvous import Rendezvous, read_rendezvous
from lls_decode.cluster.slurm.worker import START_S
from lls_decode.cluster.slurm.worker import main as worker_main
from lls_decode.errors import SiteError

PATIENCE_S = 200
"""Timeout for expected events: a worker process can take a minute to start on a busy machine."""
SLURM = pytest.mark.posix("workers of SLURM jobs handle signals of POSIX")
SMI = '#!/bin/bash\nfor number in 0 1; do echo "GPU $number: NVIDIA H100 (UUID: GPU-$number)"; done\n'


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a fake nvidia-smi on the path that lists two GPUs."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("two_gpus")
def test_each_worker_sees_its_gpu() -> None:
    with connect("cuda", dashboard_address="127.0.0.1:0", memory_limit="1 GiB") as client:
        seen = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
        assert sorted(seen.values()) == ["0", "1"]
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
        assert all("127.0.0.1" in address for address in seen)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("visible", "workers", "words"),
    [("", None, "needs an NVIDIA GPU"), ("1", 2, "2 workers were requested, but there are 1 GPUs")],
)
def test_missing_gpus_are_reported(
    visible: str, workers: int | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(SiteError, match=words), connect("cuda", workers=workers):
        pass


@pytest.mark.gpu
def test_worker_on_a_real_gpu_sees_one_device() -> None:
    def name() -> str:
        import torch

        return str(torch.cuda.get_device_name(0)) if torch.cuda.device_count() == 1 else "not one device"

    with connect("cuda", workers=1, dashboard_address="127.0.0.1:0") as client:
        assert "NVIDIA" in client.submit(name).result(timeout=PATIENCE_S)


# --- workers of a job -------------------------------------------------------------------------------------------------


@contextmanager
def driver(folder: Path, *, encrypt: bool = False) -> Iterator[Client]:
    """Emulate a driver job: run a scheduler in this process, and write the file that tells workers its address."""
    security = make_security() if encrypt else None
    protocol = "tls://" if security else "tcp://"
    options = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0", "security": security}
    scheduler = {"cls": Scheduler, "options": {**options, "protocol": protocol}}
    with SpecCluster(scheduler=scheduler, workers={}, security=security) as cluster, Client(cluster) as client:
        meeting = Rendezvous.of(cluster.scheduler_address, security, 0)
        meeting.write(folder)
        yield client
        meeting.remove(folder)


@contextmanager
def worker(folder: Path, *, grace_s: float = 20) -> "Iterator[subprocess.Popen[bytes]]":
    """Start the program of a worker job."""
    words = ["-P", "-m", "lls_decode.cluster.slurm.worker", str(folder), "--name", "lls-test", "--interface", "lo"]
    process = subprocess.Popen(
        [sys.executable, *words, "--memory", str(2**30), "--grace", str(grace_s)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=20)


def command(folder: Path, seconds: float) -> list[str]:
    """Return a command that creates the file ``began`` and then sleeps; workers run it with `subprocess.call`."""
    return ["bash", "-c", f"touch {folder}/began; sleep {seconds}"]


def wait_for(path: Path) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < limit
        time.sleep(0.05)


@SLURM
@pytest.mark.parametrize(
    ("number", "grace_s", "finishes"),
    [(signal.SIGTERM, 30, True), (signal.SIGUSR1, 1, False)],
    ids=["SIGTERM, finished", "SIGUSR1, dropped"],
)
def test_leaving_worker_finishes_short_tasks_and_drops_long_ones(
    number: signal.Signals, grace_s: float, finishes: bool, tmp_path: Path
) -> None:
    """A leaving worker starts no new tasks; they are left to another worker."""
    with driver(tmp_path) as client, worker(tmp_path, grace_s=grace_s) as process:
        client.wait_for_workers(1, timeout=PATIENCE_S)
        first = client.submit(subprocess.call, command(tmp_path, 3 if finishes else 100), pure=False)
        wait_for(tmp_path / "began")
        process.send_signal(number)
        if finishes:
            assert first.result(timeout=PATIENCE_S) == 0
        late = client.submit(subprocess.call, command(tmp_path, 0), pure=False)
        assert process.wait(timeout=PATIENCE_S) == 0
        assert not late.done()
        assert finishes or not first.done()
        with worker(tmp_path):
            assert late.result(timeout=PATIENCE_S) == 0


SILENT = """
import asyncio
from distributed.comm.core import listen
async def wait(comm):
    print("somebody", flush=True)
    await asyncio.sleep(1000)
async def main():
    listener = await listen("tcp://127.0.0.1:0", wait)
    print(listener.contact_address, flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""


@SLURM
def test_worker_leaves_while_its_driver_hangs(tmp_path: Path) -> None:
    """A driver that accepts connections but never answers must not keep a worker until the end of its wall time."""
    hanging = subprocess.Popen([sys.executable, "-c", SILENT], stdout=subprocess.PIPE, text=True)
    assert hanging.stdout is not None
    try:
        Rendezvous(hanging.stdout.readline().strip(), "host", "7", 0, "", "").write(tmp_path)
        with worker(tmp_path) as process:
            assert [hanging.stdout.readline() for _ in range(2)] == [
                "somebody\n"
            ] * 2  # a check, and the start of a worker
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=START_S / 2) == 0
    finally:
        hanging.kill()
        hanging.wait()


@SLURM
def test_worker_connects_to_the_next_driver(tmp_path: Path) -> None:
    with worker(tmp_path) as process:
        for _ in range(2):
            with driver(tmp_path) as client:
                client.wait_for_workers(1, timeout=PATIENCE_S)
                assert client.submit(os.getppid).result(timeout=30) == process.pid
        (tmp_path / "over").touch()
        assert process.wait(timeout=PATIENCE_S) == 0


@SLURM
def test_worker_ends_when_there_is_no_driver_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed driver leaves its address behind, but SLURM's queue shows that no driver job exists."""
    program = tmp_path / "squeue"
    program.write_text("#!/bin/sh\necho '9_0|RUNNING|None|n1'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("lls_decode.cluster.slurm.worker.ASK_S", 0.0)
    Rendezvous("tcp://127.0.0.1:1", "host", "8", 0, "", "").write(tmp_path)
    assert worker_main([str(tmp_path), "--name", "lls-test", "--memory", "1000000", "--grace", "1"]) == 0


@SLURM
def test_worker_of_an_encrypted_driver_uses_private_keys(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    with driver(tmp_path, encrypt=True) as client, worker(tmp_path):
        client.wait_for_workers(1, timeout=PATIENCE_S)
        assert all(address.startswith("tls://127.0.0.1") for address in client.nthreads())
        file = tmp_path / "scheduler.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        plain = client.scheduler.address.replace("tls://", "tcp://")
        with pytest.raises(OSError, match=r"127\.0\.0\.1"), Client(plain, timeout=2):
            pass
    assert read_rendezvous(tmp_path) is None


def test_driver_does_not_remove_the_rendezvous_of_the_next_driver(tmp_path: Path) -> None:
    old, new = (Rendezvous(f"tcp://10.0.0.{n}:1", "host", "7", 0, "", "") for n in (1, 2))
    old.write(tmp_path)
    new.write(tmp_path)
    old.remove(tmp_path)
    assert read_rendezvous(tmp_path) == new
    (tmp_path / "scheduler.json").write_text('{"address": "tcp')
    assert read_rendezvous(tmp_path) is None


def test_own_address_and_tunnel_command() -> None:
    assert own_address("lo") == "127.0.0.1"
    with pytest.raises(SiteError, match=r"interface is 'ib9', but .* has .*lo"):
        own_address("ib9")
    command = tunnel(8787, host="c17", login="login1")
    assert "-L 8787:127.0.0.1:8787" in command
    assert "@login1 " in command
    assert "-J" not in tunnel(8787, host="c17", login="c17")
