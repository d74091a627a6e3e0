"""Starts of ``lls-decode run`` in one folder, with workers of their own or on a cluster that is already running."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MARK = "LLS_TORTURE"
"""Environment variable that every process of a round inherits; its value identifies the round's processes."""
PATIENCE_S = 600.0
"""Time limit of one start. A start that takes seconds can take minutes on a busy machine."""


BATCHES_PX = (10_000, 20_000, 100_000)
"""Batch sizes of at least 5 frames. A batch of one small frame is summed in another order, which changes sigmas."""


@dataclass
class Round:
    """One folder, and the choices and results of all starts in it."""

    folder: Path
    movie: Path
    model: Path
    random: random.Random
    mark: str
    told: list[str] = field(default_factory=list)
    """Log of the misfortunes and of the exit status of each start."""
    tracebacks: int = 0

    @property
    def out(self) -> Path:
        """Folder of the run."""
        return self.folder / "disk" / "out"

    def environment(self) -> dict[str, str]:
        """Return the environment of the round's processes, with the mark of the round and its own temporary folder."""
        scratch = self.folder / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        threads = str(self.random.choice((1, 2, 3)))
        return os.environ | {MARK: self.mark, "TMPDIR": str(scratch), "OMP_NUM_THREADS": threads}

    def processes(self) -> list[psutil.Process]:
        """Return all running processes of the round."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


@dataclass
class Start:
    """One ``lls-decode run`` that is running."""

    client: "subprocess.Popen[bytes]"
    words: Path
    """File with the output of the command."""
    round: Round

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the command to end, count tracebacks in its output, and return its exit status."""
        try:
            status = self.client.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.client.kill()
            self.client.wait()
            status = 999  # the command did not end in time
        said = self.words.read_text(errors="replace")
        if "Traceback (most recent call last)" in said:
            self.round.tracebacks += 1
        lines = [line for line in said.splitlines() if line.strip()]
        self.round.told.append(f"exit {status}: {lines[-1][:200] if lines else ''}")
        return status

    def shards(self) -> int:
        """Return the number of finished blocks."""
        return len(list((self.round.out / "shards").glob("b*.parquet")))

    def wait_for_work(self, timeout_s: float = 120.0) -> None:
        """Wait until a random moment: during startup, at the first shard, or a few shards later."""
        if self.round.random.random() < 0.25:
            time.sleep(self.round.random.uniform(0.0, 8.0))
            return
        wanted = self.shards() + self.round.random.randint(0, 6)
        limit = time.monotonic() + timeout_s
        while self.client.poll() is None and self.shards() < wanted and time.monotonic() < limit:
            time.sleep(0.02)
        time.sleep(self.round.random.uniform(0.0, 0.5))


def command(round: Round) -> list[str]:
    """Return the command line of the run with random settings, none of which may change the table."""
    words = [sys.executable, "-m", "lls_decode", "run", str(round.movie), "--model", str(round.model)]
    words += ["--out", str(round.out), "--block-frames", "8", "--device", "cpu", "--no-report"]
    words += ["--set", f"compute.threads={round.random.choice((1, 2, 3))}"]
    if round.random.random() < 0.5:
        words += ["--set", f"compute.batch_px={round.random.choice(BATCHES_PX)}"]
    return words


@contextmanager
def started(round: Round, *more: str, limit_bytes: int | None = None) -> Iterator[Start]:
    """Start the run with workers of its own or on a running cluster, and kill it if it is still running at the end."""
    workers = round.random.choice((1, 1, 2))
    if limit_bytes is None and round.random.random() < 0.4:
        with _cluster(round, workers) as address, _client(round, [*command(round), "--site", address, *more]) as start:
            yield start
    else:
        with _client(round, [*command(round), "--workers", str(workers), *more], limit_bytes) as start:
            yield start


@contextmanager
def _client(round: Round, words: list[str], limit_bytes: int | None = None) -> Iterator[Start]:
    said = round.folder / f"start{len(round.told):03}.txt"
    if limit_bytes is not None:
        words = ["bash", "-c", f'ulimit -f {limit_bytes // 1024}; exec "$@"', "bash", *words]
    with said.open("wb") as file:
        client = subprocess.Popen(
            words, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=round.environment(), start_new_session=True
        )
    try:
        yield Start(client, said, round)
    finally:
        if client.poll() is None:
            client.send_signal(signal.SIGKILL)
            client.wait()


@contextmanager
def _cluster(round: Round, workers: int) -> Iterator[str]:
    """Start a scheduler and workers as separate processes, with ``dask scheduler`` and ``dask worker``."""
    file = round.folder / f"scheduler{len(round.told)}.json"
    log = (round.folder / "cluster.txt").open("ab")
    base = [sys.executable, "-m", "dask"]
    options = {"stdout": log, "stderr": log, "stdin": subprocess.DEVNULL, "env": round.environment()}
    begun = [
        subprocess.Popen(
            [*base, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
            **options,  # type: ignore[call-overload]
        )
    ]
    try:
        limit = time.monotonic() + PATIENCE_S
        while not file.exists() or not file.read_text().strip():
            if time.monotonic() > limit:
                raise TimeoutError("no scheduler has started")
            time.sleep(0.1)
        words = ["worker", "--scheduler-file", str(file), "--nworkers", str(workers), "--nthreads", "2"]
        begun.append(
            subprocess.Popen([*base, *words, "--no-dashboard", "--death-timeout", "60"], **options)  # type: ignore[call-overload]
        )
        yield str(json.loads(file.read_text())["address"])
    finally:
        for process in reversed(begun):
            process.terminate()
        for process in begun:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        log.close()
