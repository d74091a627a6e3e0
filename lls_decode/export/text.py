"""Text files: csv is written piece by piece; csv of other programs is read by column names."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from lls_decode.export.foreign.foreign_table import Columns as ForeignColumns
from lls_decode.export.foreign.foreign_table import ForeignTable
from lls_decode.export.rows import ExportTable, Rows
from lls_decode.table import written_aside
from lls_decode.table.csv_layouts import CsvHead, iter_numbers

MAX_ROWS: Final = 50_000_000
"""Rows (about 6 GB of text) above which hardly any program opens a csv; more are written only if forced."""

Columns = Mapping[str, npt.NDArray[Any] | None]
"""Columns of a piece by the other program's names; None: an empty column."""


def write_csv(
    table: ExportTable,
    out: Path,
    header: Sequence[str],
    columns: Callable[[Rows, int], Columns],
    *,
    by_frame: bool = True,
) -> None:
    """Write ``header`` lines, then all rows; NaN and unknown values become empty cells.

    Parameters
    ----------
    columns
        Function of a piece and the number of its first row that returns the columns in the order of writing.
    by_frame
        Sort rows by frame; False: keep the order of the table.
    """
    options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="none")
    in_order = table.by_frame(out) if by_frame else nullcontext(table.pieces())
    with written_aside(out) as temporary, in_order as pieces, temporary.open("wb") as file:
        file.write("".join(f"{line}\n" for line in header).encode())
        first_row = 0
        for rows in pieces:
            piece = _arrow(columns(rows, first_row))
            pyarrow.csv.write_csv(piece, file, options)
            first_row += piece.num_rows


def _arrow(columns: Columns) -> pa.Table:
    """Return integers unchanged, others as float32 with null for NaN: the shortest text that reads back equal."""
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


def read_text(path: Path, head: CsvHead, *, footer: str = "") -> ForeignTable:
    """Read a csv by the column names in its header.

    Parameters
    ----------
    footer
        Lines after the rows that match this pattern are skipped.
    """

    def read(wanted: Sequence[str], texts: Collection[str], rows_at_once: int) -> Iterator[ForeignColumns]:
        names = {name: name for name in wanted}
        return iter_numbers(path, head, names, rows_at_once=rows_at_once, texts=texts, footer=footer)

    return ForeignTable(tuple(head.names), read, notes=head.notes)
