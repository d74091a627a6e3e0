"""The output folder of a run: where things lie in it, what it says of its run, and that one program writes at a time.

OUT/run.json  run.lock  ledger.jsonl  events.jsonl  localizations.parquet  shards/<block>.parquet  logs/

Jobs that each do a share of the blocks write at the same time, and know of each other from these files alone: each has
a lock, ledger and events of its own (``ledger.2-of-8.jsonl``), since lines that several machines append to one file get
lost on network file systems. A program that does all blocks and one that does a share exclude each other.
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
from lls_decode.errors import InputError, OutputError
from lls_decode.system import publish, remove
from lls_decode.table.files import TEMPORARY_PREFIX, output_error, written_aside

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
"""Programs that are named when many work in a folder."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """Paths in an output folder, and its record."""

    out: Path
    share: str = ""
    """Of a job that does a share of the blocks, its name: ``2-of-8``."""

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
        return self.out / f"ledger{self._suffix}.jsonl"

    @property
    def events(self) -> Path:
        """One JSON line per event."""
        return self.out / f"events{self._suffix}.jsonl"

    @property
    def table(self) -> Path:
        """The merged table."""
        return self.out / "localizations.parquet"

    @property
    def stop(self) -> Path:
        """Made by a user to say that the acquisition which the run follows is over."""
        return self.out / "STOP"

    @property
    def lock(self) -> Path:
        """Who writes into the folder."""
        return self.out / f"run{self._suffix}.lock"

    @property
    def _suffix(self) -> str:
        return f".{self.share}" if self.share else ""

    def files_of(self, kind: Literal["ledger", "events"]) -> list[Path]:
        """The files of one kind that are there; several programs that share a run write one each."""
        return sorted(self.out.glob(f"{kind}*.jsonl"))

    def read_ledger(self) -> tuple[list[SettledBlock], int]:
        """Return the events in all ledgers, ordered by time, and the number of lines that hold no complete event."""
        events, broken = self._read_all("ledger")
        return [event for event in events if isinstance(event, SettledBlock)], broken

    def read_events(self) -> list[Event]:
        """Return the events of all programs that have worked in the folder, ordered by time."""
        return self._read_all("events")[0]

    def _read_all(self, kind: Literal["ledger", "events"]) -> tuple[list[Event], int]:
        found = [read_events(path) for path in self.files_of(kind)]
        events = sorted((event for part, _ in found for event in part), key=lambda event: event.at)
        return events, sum(broken for _, broken in found)

    def create(self) -> None:
        """Make the folder and those inside it."""
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
            The file is there and is no JSON object.
        InputError
            It is a record of another version.
        """
        try:
            values = read_json(self.record)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.record} cannot be read ({error}); restore it, or use another folder.") from error
        if not isinstance(values, dict):
            raise OutputError(f"{self.record} holds no JSON object; restore it, or use another folder.")
        return RunRecord.from_dict(values, source=str(self.record))

    def read_run(self) -> RunRecord:
        """Return the record of the run that the folder is expected to hold.

        Raises
        ------
        InputError
            The folder holds no run, or its record cannot be read, or is one of another version.
        """
        try:
            record = self.read_record()
        except OutputError as error:
            raise InputError(
                f"{str(error).partition('; ')[0]}; restore it, or give the same 'lls-decode run' again, which writes "
                "it anew where all shards are of its run."
            ) from error
        if record is None:
            raise InputError(f"{self.out} holds no run (no run.json in it); give the folder that was given as --out.")
        return record

    def note_layout(self, layout: Layout) -> None:
        """Write down how far the dataset of the run reaches by now."""
        record = self.read_record()
        if record is not None:
            self.write_record(record.with_layout(layout))

    def write_record(self, record: RunRecord) -> None:
        """Write ``run.json`` aside and rename it.

        Raises
        ------
        OutputError
            Full disk, read-only folder.
        """
        with written_aside(self.record, own_folder=True) as temporary:
            temporary.write_text(_text(record), encoding="utf-8")

    def write_first_record(self, record: RunRecord) -> bool:
        """Write ``run.json`` unless there is one already, also where several programs try; says whether it did.

        Raises
        ------
        OutputError
            As `write_record`.
        """
        whole = self.record.with_name(f"{TEMPORARY_PREFIX}record-{uuid.uuid4().hex}")
        with written_aside(whole, own_folder=True) as temporary:
            temporary.write_text(_text(record), encoding="utf-8")
        try:
            return publish(whole, self.record)
        except OSError as error:
            raise output_error(self.record, error) from error

    def list_shards(self) -> set[str]:
        """Block ids that have a shard, by name only: a shard gets its name when it is complete."""
        try:
            names = os.listdir(self.shards)
        except OSError:
            return set()
        return {name.removesuffix(".parquet") for name in names if name[:1] == "b" and name.endswith(".parquet")}

    def owner(self) -> str | None:
        """Who works in the folder at the moment, in words; None when nobody does. Writes nothing."""
        found = _owners(self.out.glob("run*.lock"))
        if not found:
            return None
        more = f" and {len(found) - _MOST_OWNERS} more" if len(found) > _MOST_OWNERS else ""
        return ", ".join(found[:_MOST_OWNERS]) + more

    def has_others(self) -> bool:
        """Whether other jobs work at their shares at the moment."""
        return bool(_owners(path for path in self.out.glob("run.*.lock") if path != self.lock))

    def wait_until_free(self) -> None:
        """Wait for whoever works in the folder: the driver on a lost node lives on until SLURM reaches the node."""
        said, lock = "", FolderLock(self.lock)
        while (owner := lock.holder()) is not None:
            if owner != said:
                logger.info("waiting for %s to let go of %s", owner, self.out)
                said = owner
            time.sleep(FREE_POLL_S)

    def remove_unfinished_table(self) -> None:
        """Remove what a killed merge has left, which may be as large as the table. For whoever holds the lock.

        Nothing is removed while other jobs work at their shares, one of which may be merging.
        """
        if not self.has_others():
            for path in self.out.glob(f"{TEMPORARY_PREFIX}{self.table.stem}-*{self.table.suffix}"):
                with suppress(OSError):
                    path.unlink()

    def clear(self) -> None:
        """Remove what a run has written, and nothing else."""
        for pattern in _OF_A_RUN:
            for path in self.out.glob(pattern):
                remove(path)
        for shard in self.shards.glob("b*.parquet"):
            remove(shard)

    @contextmanager
    def locked(self) -> Iterator[FolderLock]:
        """Hold the folder, or a share of its work: a second program that wants the same is refused.

        Raises
        ------
        RunConflictError
            Another program that is alive holds it.
        OutputError
            The folder cannot be written.
        """
        lock = FolderLock(self.lock)
        lock.acquire()
        try:
            # Looked at after our own lock is there: of two that come at once at least one sees the other.
            for path in [self.out / "run.lock"] if self.share else self.out.glob("run.*.lock"):
                FolderLock(path).remove_stale()
            yield lock
        finally:
            lock.release()


def _text(record: RunRecord) -> str:
    return json.dumps(record.to_dict(), indent=1)


def _owners(locks: Iterable[Path]) -> list[str]:
    """Who holds these locks, in words."""
    found: list[str] = []
    for path in sorted(locks):
        with suppress(OSError):
            owner = owner_of(path)
            found += [] if owner is None else [owner]
    return found
