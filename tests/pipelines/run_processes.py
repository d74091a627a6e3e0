"""Processes of a run that tests can kill: a scheduler, workers, and the command that the user starts."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lls_decode.pipelines.planning.plan import Plan

from .conftest import wait_for

PATIENCE_S = 240.0
"""Timeout for expected events, which can take minutes instead of seconds on a busy machine."""


class ForkServer:
    """The process that forks all actors (see `actors`)."""

    def __init__(self, folder: Path) -> None:
        self.words = folder / "client"
        """File with the output of all clients."""
        self.words.touch()
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("actors.py")), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def ask(self, *request: Any) -> Any:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def close(self) -> None:
        self._server.communicate()


class RunProcesses:
    """The actors of one test, identified by their process ids."""

    def __init__(self, fork_server: ForkServer, folder: Path, habits: dict[str, Any]) -> None:
        self.workers: list[int] = []
        self.scheduler = 0
        self.address = ""
        self._fork_server = fork_server
        self._said = fork_server.words.stat().st_size
        self._folder = folder
        self._habits = habits
        self._ended: dict[int, int] = {}
        self._running: set[int] = set()

    @property
    def words(self) -> str:
        """Output of the clients of this test."""
        return self._fork_server.words.read_bytes()[self._said :].decode()

    def start_scheduler(self) -> None:
        file = self._folder / "address"
        file.unlink(missing_ok=True)
        self.scheduler = self._start("scheduler", str(file))
        wait_for(lambda: file.exists() and bool(file.read_text()), "the address of the scheduler", PATIENCE_S)
        self.address = file.read_text()

    def start_workers(self, number: int, **habits: Any) -> None:
        """Start a number of additional workers."""
        self.workers += [self._start("worker", self.address, {**self._habits, **habits}) for _ in range(number)]

    def start_client(self, plan: Plan, *, dies_at: str | None = None, by: int = signal.SIGKILL) -> int:
        """Start ``lls-decode run`` for a plan; the process gets a signal at the first event of a kind."""
        config = self._folder / "run.yaml"
        config.write_text(plan.config.to_yaml())
        words = ["run", plan.dataset, "--model", plan.bundle_path, "--out", str(plan.out), "--config", str(config)]
        return self._start("client", [*words, "--site", self.address, "--no-report"], dies_at, by)

    def poll(self, pid: int) -> int | None:
        """Return the exit status of an actor, or None while it is running."""
        if pid not in self._ended:
            status = self._fork_server.ask("poll", pid)
            if status is None:
                return None
            self._ended[pid] = status
            self._running.discard(pid)
        return self._ended[pid]

    def wait(self, pid: int, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the end of an actor and return its exit status."""
        wait_for(lambda: self.poll(pid) is not None, "the end of an actor", timeout_s)
        return self._ended[pid]

    def kill(self, pid: int) -> None:
        """Kill an actor with SIGKILL and wait for its end."""
        os.kill(pid, signal.SIGKILL)
        assert self.wait(pid) == -signal.SIGKILL

    def close(self) -> None:
        for pid in list(self._running):
            if self.poll(pid) is None:
                os.kill(pid, signal.SIGKILL)
                self.wait(pid)

    def _start(self, *request: Any) -> int:
        pid = int(self._fork_server.ask("start", *request))
        self._running.add(pid)
        return pid


def run_undisturbed(fork_server: ForkServer, plan: Plan, *, workers: int = 1) -> Path:
    """Run a plan without disturbance and return its run folder."""
    with open_processes(fork_server, plan.out.parent) as processes:
        processes.start_scheduler()
        processes.start_workers(workers)
        assert processes.wait(processes.start_client(plan)) == 0, processes.words
    return plan.out


@contextmanager
def open_processes(fork_server: ForkServer, folder: Path, **habits: Any) -> Iterator[RunProcesses]:
    """Open the processes of a run and kill them at the end; ``habits`` are the habits of its workers."""
    processes = RunProcesses(fork_server, folder, habits)
    try:
        yield processes
    finally:
        processes.close()
