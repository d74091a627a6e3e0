"""The run folder: the paths of its files, the record of its run, and the lock that admits one program at a time.

OUT/run.json  run.lock  ledger.jsonl  events.jsonl  localizations.parquet  shards/<block>.parquet  logs/

Several jobs can each process a share of the blocks at the same time. They know of each other only through these files.
Each job has its own lock, ledger and events (``ledger.2-of-8.jsonl``), because lines that several machines append to
one file get lost on network file systems. A program that processes all blocks excludes jobs that process a share.
"""

import json
import logging
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lls_decode.axes import Layout
from lls_decode.documents import read_json
from lls_decode.errors import InputError, OutputError, ShardError
from lls_decode.system import publish, remove
from lls_decode.table.files import TEMPORARY_PREFIX, output_error, written_aside
from lls_decode.table.shards import SUFFIX, read_receipt

from .events import Event, SettledBlock
from .json_lines import read_events
from .lock import FolderLock, owner_of
from .record import RunRecord

FREE_POLL_S = 2.0

_OF_A_RUN = (
    "run.json",
    "ledger*.jsonl",
    "events*.jsonl",
    "localizations.parquet",
    "molecules.parquet",
    "report.html",
    "STOP",
)
_MOST_OWNERS = 3
"""Largest number of programs that a message names when many use a folder."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """Run folder: the paths of its files, and access to its record, events and lock."""

    out: Path
    share: str = ""
    """Name of the share, such as ``2-of-8``, if the program processes a share of the blocks; else empty."""

    @property
    def shards(self) -> Path:
        """Folder of the shards."""
        return self.out / "shards"

    @property
    def record(self) -> Path:
        """Record of the run: everything that is needed to repeat it."""
        return self.out / "run.json"

    @property
    def ledger(self) -> Path:
        """Ledger: one JSON line per finished block."""
        return self.out / f"ledger{self._suffix}.jsonl"

    @property
    def events(self) -> Path:
        """Events of the run, one JSON line each."""
        return self.out / f"events{self._suffix}.jsonl"

    @property
    def table(self) -> Path:
        """The merged table."""
        return self.out / "localizations.parquet"

    @property
    def stop(self) -> Path:
        """File that a user creates to say that the acquisition which the run follows has ended."""
        return self.out / "STOP"

    @property
    def lock(self) -> Path:
        """Lock file of the program that writes into the folder."""
        return self.out / f"run{self._suffix}.lock"

    @property
    def _suffix(self) -> str:
        return f".{self.share}" if self.share else ""

    def files_of(self, kind: Literal["ledger", "events"]) -> list[Path]:
        """Return the existing files of one kind; each program that processes a share writes its own file."""
        return sorted(self.out.glob(f"{kind}*.jsonl"))

    def read_ledger(self) -> tuple[list[SettledBlock], int]:
        """Return the events in all ledgers, ordered by time, and the number of lines that hold no complete event."""
        events, broken = self._read_all("ledger")
        return [event for event in events if isinstance(event, SettledBlock)], broken

    def read_events(self) -> list[Event]:
        """Return the events of all programs that have written into the folder, ordered by time."""
        return self._read_all("events")[0]

    def _read_all(self, kind: Literal["ledger", "events"]) -> tuple[list[Event], int]:
        found = [read_events(path) for path in self.files_of(kind)]
        events = sorted((event for part, _ in found for event in part), key=lambda event: event.at)
        return events, sum(broken for _, broken in found)

    def create(self) -> None:
        """Create the run folder and its subfolders."""
        try:
            for folder in (self.shards, self.out / "logs"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(self.out, error) from error

    def read_record(self) -> RunRecord | None:
        """Return the record of the run in the folder; None if there is no ``run.json``.

        Raises
        ------
        OutputError
            The file cannot be read, or is not a JSON object.
        InputError
            The record was written by another version.
        """
        try:
            values = read_json(self.record)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.record} cannot be read ({error}); restore it, or use another folder.") from error
        if not isinstance(values, dict):
            raise OutputError(f"{self.record} is not a JSON object; restore it, or use another folder.")
        return RunRecord.from_dict(values, source=str(self.record))

    def read_run(self) -> RunRecord:
        """Return the record of the run that the folder is expected to hold.

        Raises
        ------
        InputError
            The folder contains no run, or its record cannot be read or was written by another version.
        """
        try:
            record = self.read_record()
        except OutputError as error:
            raise InputError(
                f"{str(error).partition('; ')[0]}; restore it, or repeat the same 'lls-decode run', which rewrites it "
                "if all shards belong to that run."
            ) from error
        if record is None:
            raise InputError(f"{self.out} contains no run (no run.json in it); give the --out folder of a run.")
        return record

    def note_layout(self, layout: Layout) -> None:
        """Update the record with the current size of a growing dataset."""
        record = self.read_record()
        if record is not None:
            self.write_record(record.with_layout(layout))

    def write_record(self, record: RunRecord) -> None:
        """Write ``run.json`` to a temporary file and rename it.

        Raises
        ------
        OutputError
            The file cannot be written, for example because the disk is full or the folder read-only.
        """
        with written_aside(self.record, own_folder=True) as temporary:
            temporary.write_text(_text(record), encoding="utf-8")

    def write_first_record(self, record: RunRecord) -> bool:
        """Write ``run.json`` if it does not exist, and return whether it was written.

        If several programs call this at the same time, exactly one of them writes the file.

        Raises
        ------
        OutputError
            As for `write_record`.
        """
        whole = self.record.with_name(f"{TEMPORARY_PREFIX}record-{uuid.uuid4().hex}")
        with written_aside(whole, own_folder=True) as temporary:
            temporary.write_text(_text(record), encoding="utf-8")
        try:
            return publish(whole, self.record)
        except OSError as error:
            raise output_error(self.record, error) from error

    def list_shards(self) -> set[str]:
        """Return the ids of the blocks that have a shard.

        The names of the files suffice, because a shard is renamed to its final name only when it is complete.
        """
        try:
            names = os.listdir(self.shards)
        except OSError:
            return set()
        return {name.removesuffix(".parquet") for name in names if name[:1] == "b" and name.endswith(".parquet")}

    def shard_digests(self) -> set[str]:
        """Return the digests of the runs to which the readable shards belong."""
        found = set()
        for name in self.list_shards():
            with suppress(ShardError):
                found.add(read_receipt(self.shards / f"{name}{SUFFIX}").run_digest)
        return found

    def owner(self) -> str | None:
        """Return a description of the programs that use the folder now; None if there are none. Writes nothing."""
        found = _owners(self.out.glob("run*.lock"))
        if not found:
            return None
        more = f" and {len(found) - _MOST_OWNERS} more" if len(found) > _MOST_OWNERS else ""
        return ", ".join(found[:_MOST_OWNERS]) + more

    def has_others(self) -> bool:
        """Whether other jobs are processing their shares at present."""
        return bool(_owners(path for path in self.out.glob("run.*.lock") if path != self.lock))

    def wait_until_free(self) -> None:
        """Wait until no other program holds the lock.

        The driver on a node that SLURM has lost keeps running until SLURM reaches the node again.
        """
        said, lock = "", FolderLock(self.lock)
        while (owner := lock.holder()) is not None:
            if owner != said:
                logger.info("waiting for %s to release %s", owner, self.out)
                said = owner
            time.sleep(FREE_POLL_S)

    def remove_unfinished_table(self) -> None:
        """Remove the temporary file of a killed merge, which may be as large as the table.

        Only the program that holds the lock may call this. Nothing is removed while other jobs are processing their
        shares, because one of them may be merging.
        """
        if not self.has_others():
            for path in self.out.glob(f"{TEMPORARY_PREFIX}{self.table.stem}-*{self.table.suffix}"):
                with suppress(OSError):
                    path.unlink()

    def clear(self) -> None:
        """Remove all files that a run has written, and no others."""
        for pattern in _OF_A_RUN:
            for path in self.out.glob(pattern):
                remove(path)
        for shard in self.shards.glob("b*.parquet"):
            remove(shard)

    @contextmanager
    def locked(self) -> Iterator[FolderLock]:
        """Hold the lock of the folder, or of one share of its blocks, against other programs.

        Raises
        ------
        RunConflictError
            Another live program holds the lock.
        OutputError
            The folder cannot be written.
        """
        lock = FolderLock(self.lock)
        lock.acquire()
        try:
            # Check the other locks after creating our own: of two programs that start together, at least one sees the
            # other.
            for path in [self.out / "run.lock"] if self.share else self.out.glob("run.*.lock"):
                FolderLock(path).remove_stale()
            yield lock
        finally:
            lock.release()


def _text(record: RunRecord) -> str:
    return json.dumps(record.to_dict(), indent=1)


def _owners(locks: Iterable[Path]) -> list[str]:
    """Return descriptions of the programs that hold these locks."""
    found: list[str] = []
    for path in sorted(locks):
        with suppress(OSError):
            owner = owner_of(path)
            found += [] if owner is None else [owner]
    return found
