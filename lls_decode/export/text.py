"""Tables as text: csv written piece by piece, and csv of other programs read by a description of its columns."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.export.foreign import Foreign
from lls_decode.export.rows import ExportTable, Rows
from lls_decode.table import written_aside

MAX_ROWS: Final = 50_000_000
"""A text of more rows (about 6 GB) opens nowhere; written only when it is asked for."""

Columns = Mapping[str, npt.NDArray[Any] | None]
"""Columns of a piece by the other program's names; None for an empty column."""


def write_csv(table: ExportTable, out: Path, header: Sequence[str], columns: Callable[[Rows, int], Columns]) -> None:
    """Write ``header`` lines, then all rows; NaN and unknown values are empty cells.

    Parameters
    ----------
    columns
        The columns of a piece, in the order in which they are written; the number is that of its first row.
    """
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    with written_aside(out) as temporary, temporary.open("wb") as file:
        file.write("".join(f"{line}\n" for line in header).encode())
        first_row = 0
        for rows in table.pieces():
            piece = _arrow(columns(rows, first_row))
            pyarrow.csv.write_csv(piece, file, options)
            first_row += piece.num_rows


def _arrow(columns: Columns) -> pa.Table:
    """Integers as they are, all else as float32 with NaN for null: the shortest text that reads back equal."""
    length = next(len(values) for values in columns.values() if values is not None)
    arrays = []
    for values in columns.values():
        if values is None:
            arrays.append(pa.nulls(length, pa.float32()))
        elif np.issubdtype(values.dtype, np.integer):
            arrays.append(pa.array(values))
        else:
            arrays.append(pa.array(values.astype(np.float32), from_pandas=True))
    return pa.table(arrays, names=list(columns))


@dataclass(frozen=True)
class CsvLayout:
    """A csv of another program: which of its columns is which of ours, in nm and photons."""

    name: str
    required: Mapping[str, str]
    """Ours by theirs; a file with all of these is of this layout."""
    optional: Mapping[str, str]
    first_frame: int
    origin_px: float | None
    """Where this program has the centre of the first pixel; None where that is not documented: kept as in the file."""
    notes: tuple[str, ...] = ()

    def fits(self, header: Sequence[str]) -> bool:
        """Whether a header is of this layout."""
        return all(name in header for name in self.required)


def read_header(lines: Sequence[str]) -> tuple[list[str], int, tuple[str, ...]]:
    """Names of the columns without quotes and blanks, the number of lines up to them, and what had to be repaired.

    Lines that begin with ``#`` are passed over. A spreadsheet that took a quoted header for one cell quotes it again;
    such a header is unpacked.
    """
    for number, line in enumerate(lines):
        if not line.strip() or line.startswith("#"):
            continue
        names = _split(line)
        notes: tuple[str, ...] = ()
        if len(names) == 1 and "," in names[0]:
            names = _split(names[0])
            notes = ("the header was one quoted cell, as a spreadsheet leaves it; it was unpacked",)
        return [name.strip() for name in names], number + 1, notes
    return [], 0, ()


def read_csv(path: Path, lines: Sequence[str], layout: CsvLayout, pixel_size: PixelSize | None) -> Foreign:
    """Read a csv of a known layout.

    Raises
    ------
    ConfigError
        The pixel size is needed, to move the origin, and was not given.
    TableError
        Cells that are no numbers, rows of another length.
    """
    header, skip, notes = read_header(lines)
    wanted = {name: ours for name, ours in {**layout.required, **layout.optional}.items() if name in header}
    columns: dict[str, npt.NDArray[Any]] = _numbers(path, header, wanted, skip=skip)
    columns["frame"] = columns["frame"] - layout.first_frame
    notes += layout.notes
    if layout.first_frame:
        notes += (f"frames counted from 0 instead of {layout.first_frame}",)
    if layout.origin_px is None:
        notes += ("where the origin lies in the first pixel is not documented; x and y as in the file",)
    elif layout.origin_px:
        if pixel_size is None:
            raise ConfigError(
                f"{path} is a {layout.name} table, which has the centre of the first pixel at {layout.origin_px:g} px; "
                "give pixel_size (--pixel-nm), so that x and y can be moved."
            )
        columns["x_nm"] = columns["x_nm"] - layout.origin_px * pixel_size.x_nm
        columns["y_nm"] = columns["y_nm"] - layout.origin_px * pixel_size.y_nm
        notes += (f"x and y moved by {layout.origin_px:g} px",)
    return Foreign(columns, pixel_size=pixel_size, notes=notes, details={"header": header})


def _split(line: str) -> list[str]:
    return next(csv.reader([line], skipinitialspace=True), [])


def _numbers(path: Path, header: Sequence[str], wanted: Mapping[str, str], *, skip: int) -> dict[str, npt.NDArray[Any]]:
    """Columns by our names; empty cells are NaN."""
    unique = [f"{number}:{name}" for number, name in enumerate(header)]
    place = {name: unique[header.index(name)] for name in wanted}
    types = dict.fromkeys(place.values(), pa.float64())
    try:
        table = pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(column_names=unique, skip_rows=skip, use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(include_columns=list(types), column_types=types),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return {ours: np.empty(0) for ours in wanted.values()}
        reason = " ".join(str(error).split())
        raise TableError(
            f"{path} cannot be read as a table of numbers ({reason}); repair or remove that line."
        ) from error
    return {ours: np.asarray(table[place[name]].to_numpy()) for name, ours in wanted.items()}
