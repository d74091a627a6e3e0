"""What happens during a run, as small records; bars, logs and files are listeners to them.

A listener is a callable that takes one event. The run loop calls listeners in its own thread, in order.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lls_decode.table.files import output_error

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events."""

    at: float = field(default_factory=time.time)
    """Seconds since 1970."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; ``event`` names the kind. What is None is left out."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return {"event": type(self).__name__, **values}


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """The plan is compared with the output folder and the missing blocks are about to be submitted."""

    run_digest: str
    blocks: int
    """Blocks of the plan."""
    blocks_found: int
    """Blocks whose shard was there already."""
    frames: int
    frames_found: int
    rows_found: int


@dataclass(frozen=True, kw_only=True)
class DatasetGrown(Event):
    """The acquisition that the run follows has come further, and more blocks can be done."""

    volumes: int
    """Complete by now."""
    blocks: int
    """That can be done, all so far."""
    frames: int
    """Frames of the blocks that are new."""


@dataclass(frozen=True, kw_only=True)
class WorkersChanged(Event):
    """Workers came or went."""

    workers: int


@dataclass(frozen=True, kw_only=True)
class BlockDone(Event):
    """The shard of a block is committed; also sent for shards of an earlier start that are in no ledger."""

    block: int
    block_id: str
    frames: int
    rows: int
    bytes: int
    """Size of the shard."""
    attempts: int
    """Times that the block was started by this program; 0: the shard was found."""
    read_s: float
    start_s: float
    """Import of torch and loading of the model, for the first block of a worker."""
    compute_s: float
    write_s: float
    worker: str
    pid: int
    gpu_bytes: int | None = None
    """Most GPU memory that the network had during the block; None without a GPU."""

    @property
    def found(self) -> bool:
        """The shard was there already."""
        return self.attempts == 0


@dataclass(frozen=True, kw_only=True)
class BlockRetried(Event):
    """A block failed and is tried again."""

    block: int
    block_id: str
    attempts: int
    reason: str
    alone: bool
    """Its worker died or had no memory left: it is tried again with nothing else in flight."""


@dataclass(frozen=True, kw_only=True)
class BlockFailed(Event):
    """A block failed for good; its frames are missing from the table."""

    block: int
    block_id: str
    frames: int
    volumes: tuple[int, int]
    """First and one-past-last volume."""
    planes: tuple[int, int]
    attempts: int
    cause: str
    """Name of the kind of error."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class ShardDamaged(Event):
    """The shard of a finished block was damaged after it had been written; the block is done again."""

    block: int
    block_id: str
    frames: int
    rows: int
    """That the shard had."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class RunInterrupted(Event):
    """A signal asked the run to stop."""

    signal: str


@dataclass(frozen=True, kw_only=True)
class MergeStarted(Event):
    """Shards are being joined into one table."""

    blocks: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Merged(Event):
    """The table is committed."""

    path: str
    rows: int
    missing_blocks: int
    merge_s: float


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """The run has ended, in whatever way."""

    exit_status: int
    blocks_done: int
    blocks_failed: int
    blocks_left: int
    """Neither done nor failed: the run was interrupted."""
    rows: int
    run_s: float


Listener = Callable[[Event], None]


def read_event(record: Mapping[str, Any]) -> Event | None:
    """The event that `Event.to_dict` has made a record of; None when this version does not know it."""
    kinds = {kind.__name__: kind for kind in Event.__subclasses__()}
    kind = kinds.get(str(record.get("event")))
    if kind is None:
        return None
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
    }
    del values["event"]
    try:
        return kind(**values)
    except TypeError:
        return None


class JsonLines:
    """Listener that appends one JSON line per event to a file, and flushes it to the disk now and then.

    A line that a killed process left unfinished is closed before the next one is added, so that it spoils no other.
    """

    def __init__(self, path: Path, kinds: Collection[type[Event]] | None = None, *, sync_s: float = 1.0) -> None:
        self._path = path
        self._kinds = tuple(kinds) if kinds is not None else (Event,)
        self._sync_s = sync_s
        self._synced = 0.0
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":
                os.write(self._file, b"\n")
        except OSError as error:
            raise output_error(path, error) from error

    def __call__(self, event: Event) -> None:
        """Append the event, when it is one of the chosen kinds."""
        if not isinstance(event, self._kinds):
            return
        try:
            self._write(json.dumps(event.to_dict(), separators=(",", ":")).encode() + b"\n")
            if event.at - self._synced > self._sync_s:
                os.fsync(self._file)
                self._synced = event.at
        except OSError as error:
            raise output_error(self._path, error) from error

    def close(self) -> None:
        """Flush and close the file."""
        try:
            os.fsync(self._file)
        except OSError as error:  # whoever closes has something worse to say, or is done
            logger.warning("%s", output_error(self._path, error))
        finally:
            os.close(self._file)

    def _write(self, line: bytes) -> None:
        """Write a whole line: when a disk is nearly full, the system writes a part of it and calls that a success."""
        written = os.write(self._file, line)
        while written < len(line):
            written += os.write(self._file, line[written:])


def read_json_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Records of a file that `JsonLines` wrote, and how many lines are no JSON (a process was killed while writing)."""
    records: list[dict[str, Any]] = []
    broken = 0
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return records, broken
    for line in text.splitlines():
        record = parse_line(line)
        if record is not None:
            records.append(record)
        elif line.strip():
            broken += 1
    return records, broken


def parse_line(line: str | bytes) -> dict[str, Any] | None:
    """The record in a line; None when it is no JSON object."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
