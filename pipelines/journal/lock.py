"""One program at a time in a run folder, or at a share of its work: a lock file with host, process and heartbeat.

The heartbeat is the file's modification time, and is compared with the clock of the file system, since the clocks of
two machines differ. Where that clock was set meanwhile it tells nothing: then the heartbeat is watched.
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
"""A heartbeat further than this from now is that of a dead program, or a clock was set."""
WATCH_S = 2.5 * HEARTBEAT_S
"""How long such a lock is watched before it is taken over."""
WATCH_POLL_S = 0.5
_MOST_LOCK_BYTES = 4096
"""Twenty times what is written into a lock."""

logger = logging.getLogger(__name__)


class FolderLock:
    """A lock file. That of a dead process is taken over."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="run-lock", daemon=True)
        self.lost = threading.Event()
        """Set when another program has taken the folder over (this one slept for long): nothing more may be written."""

    def acquire(self) -> None:
        """Take the lock, and keep it alive in a thread.

        Raises
        ------
        RunConflictError
            A program that is alive holds it.
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
        """Give the lock back, when it is still ours."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            sight = _look(self._path)
            if sight is not None and sight.token == self._token:
                remove(self._path)
        except OSError as error:  # the next program sees that this process is dead
            logger.warning("%s", output_error(self._path, error))

    def holder(self) -> str | None:
        """The living program that holds the lock, in words; None: there is none. Takes `WATCH_S` when clocks lie."""
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
            except OSError:  # a full disk; an empty lock would keep everybody out for a while
                self._path.unlink(missing_ok=True)
                raise
            return
        raise RunConflictError(f"{self._path} comes and goes: several runs want this folder; give each its own --out.")

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            with suppress(OSError):  # a file server that is away for a moment; the next beat tries again
                sight = _look(self._path)
                if sight is None or sight.token != self._token:
                    self.lost.set()
                    return
                os.utime(self._path)

    def remove_stale(self) -> None:
        """Remove the lock of a dead process; refuse when its owner is alive."""
        before, owner = _look(self._path), self.holder()
        if owner is not None:
            raise RunConflictError(
                f"Folder {self._path.parent} is in use by {owner}; wait for it, or give another --out."
            )
        # Rename, then look: of two machines that remove the same stale lock, one must not remove the other's new one.
        aside = self._path.with_name(f"{TEMPORARY_PREFIX}lock-{self._token}")
        with suppress(FileNotFoundError):
            replace(self._path, aside)
            now = _look(aside)
            if now is not None and before is not None and now.token != before.token:
                publish(aside, self._path)
            else:
                remove(aside)


def owner_of(path: Path) -> str | None:
    """Who seems to hold a lock, in words, by the clock of this machine; None when nobody does. Writes nothing."""
    sight = _look(path)
    return sight.owner if sight is not None and sight.is_fresh(time.time()) and not sight.is_dead() else None


@dataclass(frozen=True)
class _Sight:
    """What a lock file says at one moment."""

    host: str
    pid: int
    token: str
    beat: float
    """Modification time of the file, by the clock of its file system."""

    @property
    def owner(self) -> str:
        return f"process {self.pid or '(unknown)'} on {self.host or '(unknown)'}"

    def is_dead(self) -> bool:
        """Whether its process is known not to be alive."""
        return self.host == socket.gethostname() and not is_alive(self.pid)

    def is_fresh(self, now: float) -> bool:
        return abs(now - self.beat) < STALE_S


def _look(path: Path) -> _Sight | None:
    """None when there is no lock; one without an owner was left by a process that died while it wrote it."""
    content: Any = None
    try:
        beat = path.stat().st_mtime
        with suppress(DocumentError):  # damaged: as one without an owner
            content = patiently(lambda: read_json(path, most=_MOST_LOCK_BYTES))
    except FileNotFoundError:
        return None
    if not isinstance(content, dict):
        content = {}
    pid = content.get("pid")
    return _Sight(str(content.get("host", "")), pid if isinstance(pid, int) else 0, str(content.get("token", "")), beat)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep programs of this machine (of all, on most file systems) from looking at the lock at the same time."""
    with ExitStack() as stack:
        with suppress(OSError):  # a file system without locks: the lock that is made next decides alone
            stack.enter_context(locked_file(folder / f"{TEMPORARY_PREFIX}guard", wait_s=STALE_S))
        yield
