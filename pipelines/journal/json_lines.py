"""Event files with one JSON line per event, which are read back as the types that were written.

A line is parsed and checked in one step, into the dataclass of its kind. This takes half the time of `json.loads`
alone, which matters when the status of a run of 100 000 blocks is read from these lines.
"""

import json
import logging
import math
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lls_decode.documents import open_regular_file, parse_json
from lls_decode.system import BINARY
from lls_decode.table.files import output_error

from .events import Event

_KIND = re.compile(rb'\{"event":"(\w+)"')
"""Beginning of a line as `format_event` writes it."""
_TIME = b'"at":'

logger = logging.getLogger(__name__)


class EventWriter:
    """Listener that appends one JSON line per event to a file, and flushes the file to the disk every ``sync_s``.

    If a killed process left an unfinished line, a line end is added first, so that the next line remains readable.
    """

    def __init__(self, path: Path, kinds: Collection[type[Event]] | None = None, *, sync_s: float = 1.0) -> None:
        self._path = path
        self._kinds = tuple(kinds) if kinds is not None else (Event,)
        self._sync_s = sync_s
        self._synced = 0.0
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY, 0o666)
            size = os.fstat(self._file).st_size
            os.lseek(self._file, max(size - 1, 0), os.SEEK_SET)
            if size and os.read(self._file, 1) != b"\n":
                os.write(self._file, b"\n")
        except OSError as error:
            raise output_error(path, error) from error

    def __call__(self, event: Event) -> None:
        """Append the event if it is of one of the chosen kinds."""
        if not isinstance(event, self._kinds):
            return
        try:
            self._write(format_event(event))
            if event.at - self._synced > self._sync_s:
                os.fsync(self._file)
                self._synced = event.at
        except OSError as error:
            raise output_error(self._path, error) from error

    def close(self) -> None:
        """Flush and close the file."""
        try:
            os.fsync(self._file)
        except OSError as error:  # no exception here: it could hide a more important one of the caller
            logger.warning("%s", output_error(self._path, error))
        finally:
            os.close(self._file)

    def _write(self, line: bytes) -> None:
        """Write a whole line, since the system may write only part of it, without an error, on a nearly full disk."""
        written = os.write(self._file, line)
        while written < len(line):
            written += os.write(self._file, line[written:])


@dataclass
class EventReader:
    """Reader of a file that is still being written: it reads each line once, as soon as the line is complete.

    Each call of `read` processes only what was added to the file since the previous call.
    """

    path: Path
    position: int = 0
    """Number of bytes read so far."""
    broken: int = 0
    """Number of lines that hold no complete event: a process was killed while writing."""
    unfinished: bool = False
    """Whether the file ends within a line: a process is writing it, or was killed."""

    def read(self, *, without: Collection[type[Event]] = ()) -> Iterator[Event]:
        """Yield the events that were added since the previous call; events of unknown kinds are skipped.

        Parameters
        ----------
        without
            Kinds of events to skip without parsing them; most lines of ``events.jsonl`` are also in the ledger.
        """
        skipped = {kind.__name__.encode() for kind in without}
        for line in self._lines():
            if skipped and (found := _KIND.match(line)) and found[1] in skipped:
                continue
            event = self.parse(line)
            if event is not None:
                yield event

    def parse(self, line: bytes) -> Event | None:
        """Return the event in a line; None if its kind is unknown or the line is broken. Broken lines are counted."""
        try:
            return parse_event(line)
        except ValueError:
            self.broken += bool(line.strip())
            return None

    def _lines(self) -> list[bytes]:
        try:
            with open_regular_file(self.path) as file:
                if self.path.stat().st_size < self.position:  # the folder was cleared for a new run
                    self.position = self.broken = 0
                file.seek(self.position)
                content = file.read()
        except OSError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self.position += len(whole)
        self.unfinished = len(whole) < len(content)
        return whole.splitlines()


def read_events(path: Path) -> tuple[list[Event], int]:
    """Return the events in a file that is no longer being written, and the number of lines without a complete event.

    Unlike `EventReader`, this also reads a last line without a line end.
    """
    try:
        with open_regular_file(path) as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return [], 0
    reader = EventReader(path)
    events = [event for event in map(reader.parse, lines) if event is not None]
    return events, reader.broken


def find_latest(path: Path, kind: type[Event]) -> int:
    """Return the position in a file at which its latest event of a kind begins; 0 if there is none."""
    try:
        with open_regular_file(path) as file:
            content = file.read()
    except OSError:
        return 0
    return max(content.rfind(f'{{"event":"{kind.__name__}"'.encode()), 0)


def format_event(event: Event) -> bytes:
    """Return the line of an event."""
    return json.dumps(event.to_dict(), separators=(",", ":")).encode() + b"\n"


def parse_event(line: bytes) -> Event | None:
    """Return the event in a line; None if this version does not know its kind. Unknown fields are ignored.

    Raises
    ------
    ValueError
        The line is not a JSON object, or lacks fields of its kind, because a process was killed while writing.
    """
    found = _KIND.match(line)
    kind = found[1].decode() if found else _name_of_kind(line)
    adapter = _adapters().get(kind)
    if adapter is None:
        _name_of_kind(line)  # raises ValueError if the line is incomplete
        return None
    if _TIME not in line:  # otherwise the default would be the time of reading
        raise ValueError("the event has no time")
    try:
        event = adapter.validate_json(line)
    except ValidationError:  # invalid, or with lone surrogates, by which Python represents file names not in UTF-8
        event = adapter.validate_python(parse_json(line))
    if not all(map(_is_countable, vars(event).values())):
        raise ValueError("the event has a number that cannot be counted with")
    return event


def _is_countable(value: Any) -> bool:
    """Return whether a value has no number that is NaN, infinite, or an integer of more than 64 bits."""
    if isinstance(value, tuple):
        return all(map(_is_countable, value))
    return math.isfinite(value) if isinstance(value, float) else not isinstance(value, int) or -(2**63) <= value < 2**63


def _name_of_kind(line: bytes) -> str:
    values = parse_json(line)
    if not isinstance(values, dict):
        raise ValueError("the line is not a JSON object")
    return str(values.get("event"))


@cache
def _adapters() -> dict[str, TypeAdapter[Event]]:
    return {kind.__name__: TypeAdapter(kind) for kind in Event.__subclasses__()}
