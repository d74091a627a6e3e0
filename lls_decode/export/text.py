"""Tables as text: csv written piece by piece, and csv of other programs read by a description of its columns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.export.foreign_table import Columns as ForeignColumns
from lls_decode.export.foreign_table import ForeignTable
from lls_decode.export.rows import ExportTable, Rows
from lls_decode.table import written_aside
from lls_decode.table.csv_layouts import CsvHead, CsvLayout, iter_numbers

MAX_ROWS: Final = 50_000_000
"""A text of more rows (about 6 GB) opens nowhere; written only when it is asked for."""

Columns = Mapping[str, npt.NDArray[Any] | None]
"""Columns of a piece by the other program's names; None for an empty column."""


def write_csv(
    table: ExportTable,
    out: Path,
    header: Sequence[str],
    columns: Callable[[Rows, int], Columns],
    *,
    by_frame: bool = True,
) -> None:
    """Write ``header`` lines, then all rows; NaN and unknown values are empty cells.

    Parameters
    ----------
    columns
        The columns of a piece, in the order in which they are written; the number is that of its first row.
    by_frame
        Write rows by frame, else in the order of the table.
    """
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    in_order = table.by_frame(out) if by_frame else nullcontext(table.pieces())
    with in_order as pieces, written_aside(out) as temporary, temporary.open("wb") as file:
        file.write("".join(f"{line}\n" for line in header).encode())
        first_row = 0
        for rows in pieces:
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


def read_csv(path: Path, head: CsvHead, layout: CsvLayout, pixel_size: PixelSize | None) -> ForeignTable:
    """Read a csv of a known layout.

    Raises
    ------
    ConfigError
        The pixel size is needed, to move the origin, and was not given.
    TableError
        A column that the layout has to have is missing; cells that are no numbers, rows of another length.
    """

    def numbers(wanted: Mapping[str, str], rows_at_once: int) -> Iterator[dict[str, npt.NDArray[Any]]]:
        return iter_numbers(path, head, wanted, rows_at_once=rows_at_once)

    found = read_layout(path, head.names, layout, pixel_size, numbers)
    return replace(found, notes=(*head.notes, *found.notes))


def read_layout(
    path: Path,
    header: Sequence[str],
    layout: CsvLayout,
    pixel_size: PixelSize | None,
    numbers: Callable[[Mapping[str, str], int], Iterator[dict[str, npt.NDArray[Any]]]],
) -> ForeignTable:
    """Read columns of a known layout, whatever kind of file they are in.

    Parameters
    ----------
    numbers
        Columns, given which of theirs are which of ours and the number of rows at once.

    Raises
    ------
    ConfigError, TableError
        As `read_csv`.
    """
    for name in layout.required:
        if name not in header:
            raise TableError(f"{path} has no column {name!r}; expected a csv of {layout.name}.")
    wanted = {name: ours for name, ours in {**layout.required, **layout.optional}.items() if name in header}
    notes = layout.notes
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
        notes += (f"x and y moved by {layout.origin_px:g} px",)

    def pieces(rows_at_once: int) -> Iterator[ForeignColumns]:
        for columns in numbers(wanted, rows_at_once):
            columns["frame"] = columns["frame"] - layout.first_frame
            if layout.origin_px and pixel_size is not None:
                columns["x_nm"] = columns["x_nm"] - layout.origin_px * pixel_size.x_nm
                columns["y_nm"] = columns["y_nm"] - layout.origin_px * pixel_size.y_nm
            yield columns

    return ForeignTable(pieces, pixel_size=pixel_size, notes=notes, details={"header": header})
