"""Common interface of the readers of other programs' files, and the head by which files are recognized."""

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
"""Some rows of a file: columns of equal length, by name."""


@dataclass(frozen=True)
class ForeignTable:
    """A file of another program whose head was read and found valid."""

    names: tuple[str, ...]
    """Column names."""
    read: Callable[[Sequence[str], Collection[str], int], Iterator[Columns]]
    """Function of the wanted columns, those of them to return as text, and a number of rows; gives pieces of about that
    many rows, at least one."""
    layout: CsvLayout | None = None
    """Mapping from its columns to ours; None: to be found by the column names."""
    pixel_size: PixelSize | None = None
    """Pixel size, if the file states it."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Units of columns, if the file states them separately from the names."""
    size: DatasetSize = field(default_factory=DatasetSize)
    """Size and number of the movie's frames, as far as the file states them."""
    moved_px: tuple[float, float] = (0.0, 0.0)
    """Shift of x and y in pixels that the file states."""
    channel_names: tuple[str, ...] = ()
    """Names of the channels by number, as far as the file states them."""
    notes: tuple[str, ...] = ()
    """What was changed or assumed, in words."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further statements of the file, as JSON values."""


@dataclass(frozen=True)
class FileHead:
    """The beginning of a file."""

    start: bytes
    """The first bytes."""
    hdf5_names: tuple[str, ...] = ()
    """Groups and datasets at the root; empty for other files."""

    @classmethod
    def of(cls, path: Path) -> "FileHead":
        """Read the beginning of a file.

        Raises
        ------
        TableError
            The file does not exist, or cannot be read.
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
        """Text encoding: UTF-16 (Unicode text of a spreadsheet), UTF-8, or Latin-1 for anything else."""
        if self.start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return "utf-16"
        try:
            self.start[: len(self.start) if len(self.start) < _HEAD_BYTES else -4].decode("utf-8")
        except UnicodeDecodeError:
            return "latin-1"
        return "utf-8-sig"

    @property
    def lines(self) -> list[str]:
        """First lines as text; empty if the file does not begin like text."""
        encoding = self.encoding
        if encoding != "utf-16" and b"\0" in self.start.partition(b"\n")[0]:
            return []
        return self.start.decode(encoding, errors="replace").splitlines()


def slices(num_rows: int, rows_at_once: int) -> Iterator[slice]:
    """Give slices that cover all rows in order; one empty slice if there are none."""
    for start in range(0, max(num_rows, 1), rows_at_once):
        yield slice(start, min(start + rows_at_once, num_rows))
