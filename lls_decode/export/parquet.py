"""Parquet files: our tables rewritten by another program, and other programs' tables with known column names."""

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.export.foreign.foreign_table import FileHead, ForeignTable
from lls_decode.table import SORT_COLUMNS, iter_tables, read_metadata, read_schema, sorted_aside, table_writer
from lls_decode.table.sorting import CANONICAL, molecule_order

_COMPARED: Final = (*SORT_COLUMNS, "z_nm", "photons", "prob", "bg")
"""Columns that determine the order of rows."""
_COMPARED_MOLECULES: Final = ("group", "frame", "last_frame", "y_nm", "x_nm")


def recognizes(head: FileHead) -> bool:
    """Return whether a file starts with Parquet's four bytes."""
    return head.start.startswith(b"PAR1")


def restore(path: Path, out: Path, *, pixel_size: PixelSize | None, planes_per_volume: int | None) -> None:
    """Rewrite a table that has metadata (or those of `described_like`), with its types, row order and own key restored.

    Raises
    ------
    ConfigError
        The given number of planes differs from that of the table.
    TableError
        A column is missing, or values do not fit their columns.
    """
    metadata, schema = read_metadata(path), read_schema(path)
    if planes_per_volume not in (None, metadata.planes_per_volume):
        raise ConfigError(
            f"{path} has {metadata.planes_per_volume} planes per volume, and its rows were counted accordingly; omit "
            "the other number (--planes-per-volume)."
        )
    is_molecules = metadata.kind == "molecules"
    missing = [name for name in (_COMPARED_MOLECULES if is_molecules else _COMPARED) if name not in schema.names]
    if missing:
        raise TableError(
            f"{path} has no column {', '.join(missing)}, which every table of {metadata.kind} has; keep all columns."
        )
    if pixel_size is not None:
        metadata = metadata.replace(pixel_size=pixel_size)
    dropped = [name for name in pq.read_schema(path).names if name not in schema.names]
    metadata = metadata.with_step("import", format="parquet", source=path.name, dropped=dropped)
    order = molecule_order(metadata.planes_per_volume or 1) if is_molecules else CANONICAL
    with sorted_aside(out, schema, order) as sorter:
        num_rows = 0
        for rows in iter_tables(path):
            _check_positions(path, rows, num_rows)
            num_rows += rows.num_rows
            sorter.add(rows)
        with table_writer(out, schema, metadata) as writer:
            for rows in sorter.pieces():
                writer.write(rows)


def _check_positions(path: Path, rows: pa.Table, before: int) -> None:
    """Refuse rows without a position, as in tables of other programs."""
    for name in ("x_nm", "y_nm"):
        bad = ~np.isfinite(rows[name].to_numpy())
        if bad.any():
            raise TableError(
                f"{path} has rows without {name} (the first is row {before + int(np.argmax(bad)) + 1}); remove them."
            )


def read_columns(path: Path) -> ForeignTable:
    """Read the columns of a Parquet file of any program.

    Raises
    ------
    TableError
        The file is damaged.
    """
    try:
        names = tuple(pq.read_schema(path).names)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise TableError(f"{path} cannot be read as a Parquet table ({' '.join(str(error).split())}).") from error
    return ForeignTable(names, partial(_iter_columns, path))


def _iter_columns(
    path: Path, wanted: Sequence[str], texts: Collection[str], rows_at_once: int
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Give columns as numbers, with NaN for missing values, and the text columns unchanged."""
    any_given = False
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(rows_at_once, columns=list(wanted)):
                yield {name: _values(path, name, batch[name], as_text=name in texts) for name in wanted}
                any_given = True
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"{path} cannot be read as a Parquet table ({' '.join(str(error).split())}).") from error
    if not any_given:
        yield {name: np.empty(0) for name in wanted}


def _values(path: Path, name: str, column: Any, *, as_text: bool) -> npt.NDArray[Any]:
    if not as_text:
        return _numbers(path, name, column)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _numbers(path: Path, name: str, column: Any) -> npt.NDArray[np.float64]:
    try:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            raise pa.ArrowInvalid(f"type {column.type}")
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid as error:
        raise TableError(f"{path} has column {name!r} that is not numeric ({error}); convert it.") from error
