"""The output folder of a run: where things lie in it, what it says of its run, and that one program writes at a time.

OUT/run.json  run.lock  ledger.jsonl  events.jsonl  localizations.parquet  shards/<block>.parquet  logs/
"""

import fcntl
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lls_decode.axes import Layout
from lls_decode.blocks import Block, plan_blocks
from lls_decode.errors import InputError, OutputError, RunConflictError

HEARTBEAT_S = 10.0
STALE_S = 120.0
"""A lock whose heartbeat is older than this belongs to nobody."""

FREE_POLL_S = 2.0

_OF_A_RUN = ("run.json", "ledger.jsonl", "events.jsonl", "localizations.parquet", "molecules.parquet", "report.html")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """Paths in an output folder, and its record."""

    out: Path

    @property
    def shards(self) -> Path:
        """Folder of the shards."""
        return self.out / "shards"

    @property
    def record(self) -> Path:
        """What is run: everything that is needed to do it again."""
        return self.out / "run.json"

    @property
    def ledger(self) -> Path:
        """One JSON line per finished block."""
        return self.out / "ledger.jsonl"

    @property
    def events(self) -> Path:
        """One JSON line per event."""
        return self.out / "events.jsonl"

    @property
    def table(self) -> Path:
        """The merged table."""
        return self.out / "localizations.parquet"

    @property
    def lock(self) -> Path:
        """Who writes into the folder."""
        return self.out / "run.lock"

    def create(self) -> None:
        """Make the folder and those inside it."""
        try:
            for folder in (self.shards, self.out / "logs"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"Output folder {self.out} cannot be made ({error.strerror}); give a folder that can be written."
            ) from error

    def read_record(self) -> dict[str, Any] | None:
        """The content of ``run.json``; None when there is none.

        Raises
        ------
        OutputError
            The file is there and is no JSON object.
        """
        try:
            record = json.loads(self.record.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.record} cannot be read ({error}); restore it, or use another folder.") from error
        if not isinstance(record, dict):
            raise OutputError(f"{self.record} holds no JSON object; restore it, or use another folder.")
        return record

    def read_run(self) -> tuple[dict[str, Any], tuple[Block, ...]]:
        """The record of the run in the folder, and its blocks.

        Raises
        ------
        InputError
            The folder holds no run, or its record cannot be read.
        """
        try:
            record = self.read_record()
        except OutputError as error:
            raise InputError(str(error)) from error
        if record is None:
            raise InputError(f"{self.out} holds no run (no run.json in it); give the folder that was given as --out.")
        block_frames = int(record["config"]["execution"]["block_frames"])
        return record, plan_blocks(Layout(**record["layout"]), record["context"], block_frames)

    def write_record(self, record: dict[str, Any]) -> None:
        """Write ``run.json`` aside and rename it."""
        aside = self.record.with_name(f".run.json.{uuid.uuid4().hex[:8]}")
        try:
            with aside.open("w") as file:
                json.dump(record, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(self.record)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise OutputError(
                f"{self.record} cannot be written ({error.strerror}); free space or permissions."
            ) from error

    def list_shards(self) -> set[str]:
        """Block ids that have a shard, by name only: a shard gets its name when it is complete."""
        return {path.stem for path in self.shards.glob("b*.parquet")} if self.shards.is_dir() else set()

    def owner(self) -> str | None:
        """Who works in the folder at the moment, in words; None when nobody does. Writes nothing."""
        try:
            age_s = time.time() - self.lock.stat().st_mtime
        except OSError:
            return None
        owner = _read_owner(self.lock)
        here = owner.get("host") == socket.gethostname()
        if age_s > STALE_S or (here and not _is_alive(int(owner.get("pid", 0)))):
            return None
        return f"process {owner.get('pid', '(unknown)')} on {owner.get('host', '(unknown)')}"

    def wait_until_free(self) -> None:
        """Wait for whoever works in the folder: the driver on a lost node lives on until SLURM reaches the node."""
        said = ""
        while (owner := self.owner()) is not None:
            if owner != said:
                logger.info("waiting for %s to let go of %s", owner, self.out)
                said = owner
            time.sleep(FREE_POLL_S)

    def clear(self) -> None:
        """Remove what a run has written, and nothing else."""
        for name in _OF_A_RUN:
            (self.out / name).unlink(missing_ok=True)
        for shard in self.shards.glob("b*.parquet"):
            shard.unlink()

    @contextmanager
    def locked(self) -> Iterator["FolderLock"]:
        """Hold the folder: a second program that wants it is refused.

        Raises
        ------
        RunConflictError
            Another program that is alive holds it.
        """
        lock = FolderLock(self.lock)
        lock.acquire()
        try:
            yield lock
        finally:
            lock.release()


class FolderLock:
    """A lock file with host, process and heartbeat. That of a dead process is taken over.

    The heartbeat is the file's modification time and is compared with the clock of the file system, since the clocks
    of two machines differ.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = uuid.uuid4().hex
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="run-lock", daemon=True)
        self.lost = threading.Event()
        """Set when another program has taken the folder over (this one slept for long): nothing more may be written."""

    def acquire(self) -> None:
        """Take the lock, and keep it alive in a thread."""
        with _one_at_a_time(self._path.parent):
            self._create()
        self._thread.start()

    def release(self) -> None:
        """Give the lock back, when it is still ours."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if _read_owner(self._path).get("token") == self._token:
            self._path.unlink(missing_ok=True)

    def _create(self) -> None:
        content = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "token": self._token})
        for _ in range(10):
            try:
                file = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            except FileExistsError:
                self._remove_stale()
                continue
            except OSError as error:
                raise OutputError(f"{self._path} cannot be written ({error.strerror}); mend permissions.") from error
            with os.fdopen(file, "w") as stream:
                stream.write(content)
            return
        raise RunConflictError(f"{self._path} comes and goes: several runs want this folder; give each its own --out.")

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            if _read_owner(self._path).get("token") != self._token:
                self.lost.set()
                return
            with suppress(OSError):  # a file server that is away for a moment; the next beat tries again
                os.utime(self._path)

    def _remove_stale(self) -> None:
        """Remove the lock of a dead process; refuse when its owner may be alive."""
        owner = _read_owner(self._path)
        try:
            age_s = self._now() - self._path.stat().st_mtime
        except FileNotFoundError:
            return
        here = owner.get("host") == socket.gethostname()
        dead = here and not _is_alive(int(owner.get("pid", 0)))
        if not dead and age_s < STALE_S:
            raise RunConflictError(
                f"Folder {self._path.parent} is in use by process {owner.get('pid', '(unknown)')} on "
                f"{owner.get('host', '(unknown)')} (last sign of life {max(age_s, 0):.0f} s ago); wait for it, or give "
                "another --out."
            )
        # Rename, then look: of two machines that remove the same stale lock, one must not remove the other's new one.
        aside = self._path.with_name(f".{self._path.name}.{self._token}")
        with suppress(FileNotFoundError):
            self._path.rename(aside)
            if _read_owner(aside).get("token") != owner.get("token"):
                with suppress(FileExistsError):
                    os.link(aside, self._path)
            aside.unlink()

    def _now(self) -> float:
        """Time by the clock of the file system."""
        probe = self._path.with_name(f".clock.{self._token}")
        try:
            probe.touch()
            return probe.stat().st_mtime
        except OSError:
            return time.time()
        finally:
            probe.unlink(missing_ok=True)


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep programs of this machine (of all, on most file systems) from looking at the lock at the same time."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system that cannot lock folders
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read_owner(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
