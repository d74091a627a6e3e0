"""What a reader of another program's file gives, and the first look by which a file is recognized."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from lls_decode.config import PixelSize
from lls_decode.errors import TableError
from lls_decode.export.hdf5 import is_hdf5, opened
from lls_decode.outputs import note_read

_HEAD_BYTES = 65_536

Columns = Mapping[str, npt.NDArray[Any]]
"""Some rows of a file by our names, in our coordinate system and units; columns that the file lacks are absent.

``frame``, ``x_nm``, ``y_nm`` at least; ``xy_sig`` stands for both lateral sigmas.
"""


@dataclass(frozen=True)
class ForeignTable:
    """A file of another program, whose head was read and found good."""

    pieces: Callable[[int], Iterator[Columns]]
    """Its rows in their order, about so many at a time; one piece at least, and the same columns in each."""
    pixel_size: PixelSize | None = None
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
    def lines(self) -> list[str]:
        """The first lines as text; none when it does not begin like text."""
        if b"\0" in self.start.partition(b"\n")[0]:
            return []
        return self.start.decode("utf-8-sig", errors="replace").splitlines()


def slices(num_rows: int, rows_at_once: int) -> Iterator[slice]:
    """Of all rows in their order; an empty one when there are none."""
    for start in range(0, max(num_rows, 1), rows_at_once):
        yield slice(start, min(start + rows_at_once, num_rows))
