"""Parquet files: tables of ours that another program has rewritten, and columns of any program that we know by name."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.export.foreign_table import FileHead
from lls_decode.table import SORT_COLUMNS, iter_tables, read_metadata, read_schema, sorted_aside, table_writer

_COMPARED: Final = (*SORT_COLUMNS, "z_nm", "photons", "prob", "bg")
"""What the order of rows goes by."""


def recognizes(head: FileHead) -> bool:
    """The first four bytes."""
    return head.start.startswith(b"PAR1")


def restore(path: Path, out: Path, *, pixel_size: PixelSize | None, planes_per_volume: int | None) -> None:
    """Write a table that says what it is (or is said to be like one) with its types, its order and its own key.

    Localizations are sorted; molecules keep their order.

    Raises
    ------
    ConfigError
        Another number of planes is given than the table has.
    TableError
        A column is missing, or values do not fit their columns.
    """
    metadata, schema = read_metadata(path), read_schema(path)
    if planes_per_volume not in (None, metadata.planes_per_volume):
        raise ConfigError(
            f"{path} has {metadata.planes_per_volume} planes per volume, and its rows were counted by that; leave out "
            "the other number (--planes-per-volume)."
        )
    is_sorted = metadata.kind == "localizations"
    missing = [name for name in _COMPARED if is_sorted and name not in schema.names]
    if missing:
        raise TableError(f"{path} has no column {', '.join(missing)}, which each localization has; keep all columns.")
    if pixel_size is not None:
        metadata = metadata.replace(pixel_size=pixel_size)
    metadata = metadata.with_step("import", format="parquet", source=path.name)
    with sorted_aside(out, schema) if is_sorted else nullcontext() as sorter:
        if sorter is not None:
            for rows in iter_tables(path):
                sorter.add(rows)
        with table_writer(out, schema, metadata) as writer:
            for rows in iter_tables(path) if sorter is None else sorter.pieces():
                writer.write(rows)


def column_names(path: Path) -> list[str]:
    """Names of the columns."""
    try:
        return list(pq.read_schema(path).names)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise TableError(f"{path} cannot be read as a Parquet table ({' '.join(str(error).split())}).") from error


def iter_numbers(
    path: Path, wanted: Mapping[str, str], rows_at_once: int
) -> Iterator[dict[str, npt.NDArray[np.float64]]]:
    """Columns by our names as numbers, NaN where a value is absent; ``wanted`` gives our name by theirs.

    Raises
    ------
    TableError
        A column holds no numbers, or the file is damaged.
    """
    any_given = False
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(rows_at_once, columns=list(wanted)):
                yield {ours: _numbers(path, theirs, batch[theirs]) for theirs, ours in wanted.items()}
                any_given = True
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"{path} cannot be read as a Parquet table ({' '.join(str(error).split())}).") from error
    if not any_given:
        yield {ours: np.empty(0) for ours in wanted.values()}


def _numbers(path: Path, name: str, column: Any) -> npt.NDArray[np.float64]:
    try:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            raise pa.ArrowInvalid(f"type {column.type}")
        return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid as error:
        raise TableError(f"{path} has column {name!r} that holds no numbers ({error}); convert it.") from error
