"""Readers of tables, including tables that were rewritten by pandas, polars or DuckDB.

Rewritten files have lost our own key and perhaps the types of their columns. Their metadata are then taken from the
copy that pandas keeps, or from another table (`described_like`), and types and order of the columns are restored
(`lls_decode.table.restoring`). All of this happens here, so commands need not handle it.
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lls_decode.emitters import Emitters
from lls_decode.errors import TableError
from lls_decode.outputs import note_read
from lls_decode.table.metadata import KEY, TableMetadata, has_metadata
from lls_decode.table.restoring import NUMBERS, check_numbers, restored, restored_schema
from lls_decode.table.schema import LARGEST_FRAME
from lls_decode.table.shards import UNREADABLE

_LIKE: ContextVar[Path | None] = ContextVar("lls_decode_like", default=None)


@contextmanager
def described_like(path: str | Path | None) -> Iterator[None]:
    """Within the body, read tables without metadata as if they had the metadata of another table.

    Raises
    ------
    TableError
        The other table has no metadata either.
    """
    if path is not None:
        with _open(path) as file:
            TableMetadata.from_schema_metadata(
                file.schema_arrow.metadata, source=path
            )  # raises errors here, where the table is given
    token = _LIKE.set(None if path is None else Path(path))
    try:
        yield
    finally:
        _LIKE.reset(token)


def read_metadata(path: str | Path) -> TableMetadata:
    """Return the metadata of a table (reads only the footer)."""
    with _open(path) as file:
        return _describe(path, file)[0]


def is_described(path: str | Path) -> bool:
    """Return whether metadata are known for a Parquet file: its own, or those of `described_like` (footer only)."""
    with _open(path) as file:
        return _LIKE.get() is not None or has_metadata(file.schema_arrow.metadata)


def read_schema(path: str | Path) -> pa.Schema:
    """Return the columns of a table, without its metadata (reads only the footer)."""
    with _open(path) as file:
        return _describe(path, file)[1]


def count_rows(path: str | Path) -> int:
    """Return the number of rows of a table (reads only the footer)."""
    with _open(path) as file:
        return int(file.metadata.num_rows)


def read_table(path: str | Path, columns: Sequence[str] | None = None) -> tuple[pa.Table, TableMetadata]:
    """Read a whole table, or some of its columns.

    Raises
    ------
    TableError
        The file is not a table of ours, has an unknown version, is damaged, or lacks a column.
    """
    with _open(path) as file:
        metadata, schema = _describe(path, file)
        _check_columns(path, schema.names, columns)
        try:
            if _is_as_written(file.schema_arrow, schema):
                return file.read(columns=None if columns is None else list(columns)), metadata
            rows = file.read(columns=_with_numbers(schema, columns))
        except UNREADABLE as error:
            raise _damaged(path, error) from error
        rows = _restored(rows, schema, metadata, columns, path)
        return rows.replace_schema_metadata(metadata.to_schema_metadata()), metadata


def iter_tables(
    path: str | Path, columns: Sequence[str] | None = None, *, row_groups: Sequence[int] | None = None
) -> Iterator[pa.Table]:
    """Read a table in pieces with constant memory: one row group at a time, all of them or those named."""
    with _open(path) as file:
        metadata, schema = _describe(path, file)
        _check_columns(path, schema.names, columns)
        as_written = _is_as_written(file.schema_arrow, schema)
        needed = (None if columns is None else list(columns)) if as_written else _with_numbers(schema, columns)
        for number in range(file.num_row_groups) if row_groups is None else row_groups:
            try:
                rows = file.read_row_group(number, columns=needed)
            except UNREADABLE as error:
                raise _damaged(path, error) from error
            yield rows if as_written else _restored(rows, schema, metadata, columns, path)


def _with_numbers(schema: pa.Schema, columns: Sequence[str] | None) -> list[str] | None:
    """Return the columns to read from a table that another program rewrote, with all that number frames."""
    if columns is None or not set(NUMBERS[1:]) & set(columns):
        return None if columns is None else list(columns)
    return list(dict.fromkeys([*columns, *(name for name in NUMBERS if name in schema.names)]))


def _restored(
    rows: pa.Table, schema: pa.Schema, metadata: TableMetadata, columns: Sequence[str] | None, path: str | Path
) -> pa.Table:
    """Return the rows that another program wrote as we would, with only the wanted columns."""
    rows = restored(rows, schema, source=path)
    if set(NUMBERS) <= set(rows.column_names):
        check_numbers(rows, metadata.planes_per_volume or 1, source=path)
    return rows if columns is None else rows.select([name for name in rows.column_names if name in columns])


def read_emitters(path: str | Path) -> Emitters:
    """Read a Parquet table as emitters: ``frame``, ``x_nm``, ``y_nm``, and the other known columns if present.

    Files of other programs that have these columns are read, too, without metadata of ours.
    """
    wanted = ("frame", "x_nm", "y_nm", "z_nm", "photons", "bg", "x_sig", "y_sig", "z_sig", "phot_sig", "prob")
    with _open(path) as file:
        if KEY in (file.schema_arrow.metadata or {}):
            TableMetadata.from_schema_metadata(file.schema_arrow.metadata, source=path)  # raises for other versions
        names = file.schema_arrow.names
        _check_columns(path, names, wanted[:3])
        molecule = next((name for name in ("group", "id") if name in names), None)
        present = [name for name in wanted if name in names]
        try:
            table = file.read(columns=present + ([molecule] if molecule else []))
        except UNREADABLE as error:
            raise _damaged(path, error) from error
    table = pa.table([_decoded(column) for column in table.columns], table.column_names)
    for name in table.column_names:
        if not (pa.types.is_integer(table[name].type) or pa.types.is_floating(table[name].type)):
            raise TableError(f"{path} has column {name} of type {table[name].type}, expected numbers.")
    values = {name: np.asarray(table[name].to_numpy()) for name in present}
    frame = values["frame"]
    if table["frame"].null_count or not np.all((frame == np.trunc(frame)) & (frame >= 0) & (frame <= LARGEST_FRAME)):
        raise TableError(f"{path} has rows whose frame is not a whole number from 0 to {LARGEST_FRAME}; remove them.")
    if molecule:
        values["id"] = np.asarray(table[molecule].fill_null(-1).to_numpy())
    return Emitters.from_columns(values)


def _describe(path: str | Path, file: pq.ParquetFile) -> tuple[TableMetadata, pa.Schema]:
    """Return the metadata of a table (its own, or those of `described_like`), and its columns as we write them."""
    found = file.schema_arrow
    like = _LIKE.get()
    if like is not None and not has_metadata(found.metadata) and not like.samefile(path):
        with _open(like) as other:
            metadata, _ = _describe(like, other)
        _check_kind(path, found, metadata, like)
    else:
        metadata = TableMetadata.from_schema_metadata(found.metadata, source=path)
    schema = restored_schema(found, metadata, source=path)
    if _is_as_written(found, schema):
        return metadata, found.remove_metadata()
    return metadata.with_columns(schema), schema


def _is_as_written(found: pa.Schema, schema: pa.Schema) -> bool:
    """Return whether a file has our own key and the columns with which we wrote it."""
    return KEY in (found.metadata or {}) and found.names == schema.names and found.types == schema.types


def _check_kind(path: str | Path, found: pa.Schema, metadata: TableMetadata, like: Path) -> None:
    kind = "molecules" if "num_frames" in found.names else "localizations"
    if kind != metadata.kind:
        raise TableError(
            f"{path} has the columns of {kind}, but {like} is a table of {metadata.kind}; give a table of {kind} to "
            "--like."
        )


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert dictionary-encoded or decimal values of other programs to plain numbers."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.float64()) if pa.types.is_decimal(column.type) else column


def _open(path: str | Path) -> pq.ParquetFile:
    if not Path(path).is_file():
        raise TableError(f"{path} is not a file; expected a Parquet table.")
    note_read(path)
    try:
        with Path(path).open("rb") as file:
            start = file.read(4)
        if start and start != b"PAR1":
            raise TableError(
                f"{path} cannot be read as a Parquet table, since it is a file of another kind; convert a csv, or a "
                "table of another program, with 'lls-decode import'."
            )
        return pq.ParquetFile(path, page_checksum_verification=True)
    except UNREADABLE as error:
        raise _damaged(path, error) from error


def _check_columns(path: str | Path, found: Sequence[str], wanted: Sequence[str] | None) -> None:
    for name in wanted or ():
        if name not in found:
            close = difflib.get_close_matches(name, found, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise TableError(f"{path} has no column {name!r}{hint}; it has {', '.join(found)}.")


def _damaged(path: str | Path, error: Exception) -> TableError:
    return TableError(f"{path} cannot be read as a Parquet table ({' '.join(str(error).split())}).")
