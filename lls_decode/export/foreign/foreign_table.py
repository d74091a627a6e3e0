"""What a reader of another program's file gives, and the first look by which a file is recognized."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from lls_decode.config import PixelSize
from lls_decode.errors import TableError
from lls_decode.export.field import DatasetSize
from lls_decode.export.hdf5 import is_hdf5, opened
from lls_decode.outputs import note_read
from lls_decode.table.csv_layouts import CsvLayout

_HEAD_BYTES = 65_536

Columns = Mapping[str, npt.NDArray[Any]]
"""Some rows of a file; equally long columns by name."""


@dataclass(frozen=True)
class ForeignTable:
    """A file of another program, whose head was read and found good."""

    names: tuple[str, ...]
    """Names of its columns."""
    read: Callable[[Sequence[str], Collection[str], int], Iterator[Columns]]
    """Columns of these names, those of the second list as text, about so many rows at a time; one piece at least."""
    layout: CsvLayout | None = None
    """Which column is which of ours; None: to be found by the names."""
    pixel_size: PixelSize | None = None
    """Size of a pixel that the file states."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Of columns, where the file states them beside their names."""
    size: DatasetSize = field(default_factory=DatasetSize)
    """Of the frames of the movie, as the file states it."""
    moved_px: tuple[float, float] = (0.0, 0.0)
    """By how many pixels x and y were moved, as the file states."""
    channel_names: tuple[str, ...] = ()
    """Names of its channels by their numbers, as the file states."""
    notes: tuple[str, ...] = ()
    """What was changed or assumed, a short sentence each."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the file says of itself; JSON values."""


@dataclass(frozen=True)
class FileHead:
    """The beginning of a file."""

    start: bytes
    """The first bytes."""
    hdf5_names: tuple[str, ...] = ()
    """Groups and datasets at the root; empty for other files."""

    @classmethod
    def of(cls, path: Path) -> "FileHead":
        """Look into a file.

        Raises
        ------
        TableError
            There is no such file, or it cannot be read.
        """
        note_read(path)
        try:
            with path.open("rb") as file:
                start = file.read(_HEAD_BYTES)
        except OSError as error:
            raise TableError(f"{path} cannot be read ({error.strerror}); give a table of another program.") from error
        if not is_hdf5(start):
            return cls(start)
        with opened(path) as hdf5:
            return cls(start, tuple(hdf5))

    @property
    def encoding(self) -> str:
        """How its text is encoded: a spreadsheet's Unicode text is UTF-16, a text that is not UTF-8 is Latin-1."""
        if self.start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
        try:
            self.start[: len(self.start) if len(self.start) < _HEAD_BYTES else -4].decode("utf-8")
        except UnicodeDecodeError:
            return "latin-1"
        return "utf-8-sig"

    @property
    def lines(self) -> list[str]:
        """The first lines as text; none when it does not begin like text."""
        encoding = self.encoding
        if encoding != "utf-16" and b"\0" in self.start.partition(b"\n")[0]:
            return []
        return self.start.decode(encoding, errors="replace").splitlines()


def slices(num_rows: int, rows_at_once: int) -> Iterator[slice]:
    """Of all rows in their order; an empty one when there are none."""
    for start in range(0, max(num_rows, 1), rows_at_once):
        yield slice(start, min(start + rows_at_once, num_rows))
