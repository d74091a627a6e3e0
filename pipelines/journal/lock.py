"""Lock file with host, process and heartbeat, which admits one program at a time to a run folder or to a share.

The heartbeat is the modification time of the file. It is compared with the clock of the file system, because the clocks
of two machines differ. If the two are far apart, either the owner is dead or a clock was changed; the heartbeat is then
watched for a while to see whether it advances.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lls_decode.documents import DocumentError, read_json
from lls_decode.errors import RunConflictError
from lls_decode.system import is_alive, locked_file, patiently, publish, remove, replace
from lls_decode.table.files import TEMPORARY_PREFIX, clock_of, output_error

HEARTBEAT_S = 10.0
STALE_S = 120.0
"""Largest difference between the heartbeat of a live program and the clock, unless a clock was changed."""
WATCH_S = 2.5 * HEARTBEAT_S
"""Time for which a lock with an older heartbeat is watched before it is taken over."""
WATCH_POLL_S = 0.5
_MOST_LOCK_BYTES = 4096
"""Largest number of bytes read from a lock file: twenty times its normal content."""

logger = logging.getLogger(__name__)


class FolderLock:
    """Lock file of a run folder. The lock of a dead process is taken over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="run-lock", daemon=True)
        self.lost = threading.Event()
        """Set when another program has taken over the lock, because this one was suspended for long.

        After that, this program must write nothing more into the folder.
        """

    def acquire(self) -> None:
        """Take the lock, and start a thread that keeps its heartbeat.

        Raises
        ------
        RunConflictError
            Another live program holds the lock.
        OutputError
            The folder cannot be written.
        """
        try:
            with _one_at_a_time(self._path.parent):
                self._create()
        except OSError as error:
            raise output_error(self._path, error) from error
        self._thread.start()

    def release(self) -> None:
        """Remove the lock file, if this program still owns it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            sight = _look(self._path)
            if sight is not None and sight.token == self._token:
                remove(self._path)
        except OSError as error:  # harmless: the next program finds that this process is dead
            logger.warning("%s", output_error(self._path, error))

    def holder(self) -> str | None:
        """Return a description of the live program that holds the lock; None if there is none.

        Takes up to `WATCH_S` if the heartbeat does not agree with the clock.
        """
        sight = _look(self._path)
        if sight is None or sight.is_dead():
            return None
        if sight.is_fresh(clock_of(self._path.parent)):
            return sight.owner
        limit = time.monotonic() + WATCH_S
        while time.monotonic() < limit:
            time.sleep(WATCH_POLL_S)
            now = _look(self._path)
            if now != sight:
                return None if now is None else now.owner
        return None

    def _create(self) -> None:
        content = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": self._token})
        for _ in range(10):
            try:
                file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            except FileExistsError:
                self.remove_stale()
                continue
            try:
                with os.fdopen(file, "w", encoding="utf-8") as stream:
                    stream.write(content)
            except OSError:  # full disk; an empty lock file would block other programs for a while
                self._path.unlink(missing_ok=True)
                raise
            return
        raise RunConflictError(
            f"{self._path} repeatedly appears and disappears: several runs use this folder; give each its own --out."
        )

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            with suppress(OSError):  # the file server may be unreachable for a moment; the next beat retries
                sight = _look(self._path)
                if sight is None or sight.token != self._token:
                    self.lost.set()
                    return
                os.utime(self._path)

    def remove_stale(self) -> None:
        """Remove the lock of a dead process; raise RunConflictError if its owner is alive."""
        before, owner = _look(self._path), self.holder()
        if owner is not None:
            raise RunConflictError(
                f"Folder {self._path.parent} is in use by {owner}; wait for it, or give another --out."
            )
        # Rename, then check: of two machines that remove the same stale lock, neither may remove the other's new lock.
        aside = self._path.with_name(f"{TEMPORARY_PREFIX}lock-{self._token}")
        with suppress(FileNotFoundError):
            replace(self._path, aside)
            now = _look(aside)
            if now is not None and before is not None and now.token != before.token:
                publish(aside, self._path)
            else:
                remove(aside)


def owner_of(path: Path) -> str | None:
    """Return a description of the program that seems to hold a lock; None if there is none.

    The heartbeat is compared with the clock of this machine. Nothing is written.
    """
    sight = _look(path)
    return sight.owner if sight is not None and sight.is_fresh(time.time()) and not sight.is_dead() else None


@dataclass(frozen=True)
class _Sight:
    """Content of a lock file at one moment."""

    host: str
    pid: int
    token: str
    beat: float
    """Modification time of the file, by the clock of its file system."""

    @property
    def owner(self) -> str:
        return f"process {self.pid or '(unknown)'} on {self.host or '(unknown)'}"

    def is_dead(self) -> bool:
        """Whether the owner is known to be dead; only processes of this machine can be checked."""
        return self.host == socket.gethostname() and not is_alive(self.pid)

    def is_fresh(self, now: float) -> bool:
        return abs(now - self.beat) < STALE_S


def _look(path: Path) -> _Sight | None:
    """Read a lock file; None if it does not exist.

    A lock without an owner was left by a process that died while writing it.
    """
    content: Any = None
    try:
        beat = path.stat().st_mtime
        with suppress(DocumentError):  # a damaged lock is treated like a lock without an owner
            content = patiently(lambda: read_json(path, most=_MOST_LOCK_BYTES))
    except FileNotFoundError:
        return None
    if not isinstance(content, dict):
        content = {}
    pid = content.get("pid")
    return _Sight(str(content.get("host", "")), pid if isinstance(pid, int) else 0, str(content.get("token", "")), beat)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let only one program of this machine, or of all machines on most file systems, examine the lock at a time."""
    with ExitStack() as stack:
        with suppress(OSError):  # file system without locks: the lock file that is created next must suffice
            stack.enter_context(locked_file(folder / f"{TEMPORARY_PREFIX}guard", wait_s=STALE_S))
        yield
