"""Misfortunes of a run and its folder, each a function that is listed by name."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from .starts import Round, Start, started

FOREIGN = ("notes.txt", "b000000 (copy).parquet", "Thumbs.db")
"""Files that do not belong to the run; the run must neither use nor delete them."""


def _named(start: Start, *words: str) -> list[psutil.Process]:
    found = []
    for process in start.round.processes():
        with suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if process.pid != start.client.pid and all(word in line for word in words):
                found.append(process)
    return found


def _workers(start: Start) -> list[psutil.Process]:
    return _named(start, "multiprocessing", "spawn_main")


def _signal(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)


def kill_client(start: Start) -> None:
    """Kill the command that the user started with SIGKILL."""
    start.client.send_signal(signal.SIGKILL)


def interrupt_client(start: Start) -> None:
    """Send SIGINT, like Ctrl-C, or SIGTERM, like a batch system."""
    start.client.send_signal(start.round.random.choice((signal.SIGINT, signal.SIGTERM)))


def kill_worker(start: Start) -> None:
    """Kill one worker with SIGKILL; its nanny starts a new worker."""
    workers = _workers(start)
    _signal([start.round.random.choice(workers)] if workers else [], signal.SIGKILL)


def kill_workers(start: Start) -> None:
    """Kill all workers at once with SIGKILL."""
    _signal(_workers(start), signal.SIGKILL)


def kill_nanny(start: Start) -> None:
    """Kill the workers of a running cluster and their nannies with SIGKILL."""
    _signal([*_named(start, "worker", "--scheduler-file"), *_workers(start)], signal.SIGKILL)


def kill_scheduler(start: Start) -> None:
    """Kill the scheduler of a running cluster with SIGKILL."""
    _signal(_named(start, "scheduler", "--no-dashboard", "--port"), signal.SIGKILL)


def stop_and_continue(start: Start) -> None:
    """Stop a random process for a few seconds, as when a laptop is closed."""
    process = start.round.random.choice(start.round.processes() or [psutil.Process(start.client.pid)])
    _signal([process], signal.SIGSTOP)
    time.sleep(start.round.random.uniform(0.5, 6.0))
    _signal([process], signal.SIGCONT)


def run_twice(start: Start) -> None:
    """Start the same command a second time while the first is running: the second is refused, the first continues."""
    if start.client.poll() is None:
        with started(start.round) as second:
            second.wait()


def fill_disk(start: Start) -> None:
    """Fill the disk with a file that does not belong to the run."""
    ballast = start.round.folder / "disk" / "ballast"
    with suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(b"\0" * 4096)
            file.flush()


def nothing(start: Start) -> None:
    """Do not disturb the run."""


DURING: dict[str, Callable[[Start], None]] = {
    "kill client": kill_client,
    "interrupt client": interrupt_client,
    "kill worker": kill_worker,
    "kill workers": kill_workers,
    "kill nanny": kill_nanny,
    "kill scheduler": kill_scheduler,
    "stop, continue": stop_and_continue,
    "second run": run_twice,
    "full disk": fill_disk,
    "nothing": nothing,
}
"""Misfortunes that happen while a run is running."""


def _victim(round: Round, pattern: str) -> Path | None:
    found = sorted(path for path in round.out.glob(pattern) if path.is_file() and path.stat().st_size)
    return round.random.choice(found) if found else None


def _flip(round: Round, pattern: str) -> None:
    path = _victim(round, pattern)
    if path is not None:
        data = bytearray(path.read_bytes())
        data[round.random.randrange(len(data))] ^= 1 << round.random.randrange(8)
        path.write_bytes(data)


def _truncate(round: Round, pattern: str) -> None:
    path = _victim(round, pattern)
    if path is not None:
        os.truncate(path, round.random.randrange(path.stat().st_size))


def _delete(round: Round, pattern: str) -> None:
    path = _victim(round, pattern)
    if path is not None:
        path.unlink()


def _foreign_files(round: Round, pattern: str) -> None:
    for folder in (round.out, round.out / "shards"):
        if folder.is_dir():
            (folder / round.random.choice(FOREIGN)).write_text("mine")


_FILES = {
    "shard": "shards/b*.parquet",
    "ledger": "ledger.jsonl",
    "events": "events.jsonl",
    "run.json": "run.json",
    "table": "localizations.parquet",
}
AT_REST: dict[str, tuple[Callable[[Round, str], None], str]] = {
    f"{verb} {name}": (harm, pattern)
    for verb, harm in (("flip", _flip), ("truncate", _truncate), ("delete", _delete))
    for name, pattern in _FILES.items()
} | {"foreign files": (_foreign_files, "")}
"""Damage to the folder while no run is running: a function and the files it may damage."""


def mount(round: Round) -> bool:
    """Mount a small disk for the round, which can be full or read-only, and return whether mounting succeeded.

    Mounting needs root.
    """
    disk = round.folder / "disk"
    disk.mkdir(parents=True)
    words = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk)]
    return shutil.which("mount") is not None and subprocess.run(words, capture_output=True, check=False).returncode == 0


def remount(round: Round, option: str) -> None:
    """Make the disk read-only (``ro``) or writable again (``rw``)."""
    subprocess.run(["mount", "-o", f"remount,{option}", str(round.folder / "disk")], check=True)


def unmount(round: Round) -> None:
    """Unmount the disk of the round."""
    subprocess.run(["umount", "--lazy", str(round.folder / "disk")], check=True)
