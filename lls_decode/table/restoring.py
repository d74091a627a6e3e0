"""Restore order, types and units of the columns of a table that other programs have rewritten, or say why not.

pandas widens integers to 64 bits and stores its index as a column, polars and DuckDB make every column nullable, and
all of them may encode values with a dictionary. None of this changes a value, so commands need not know of it. Values
that do not fit the type of their column (a frame of 2.5, a missing plane) are refused.
"""

import difflib
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lls_decode.errors import TableError
from lls_decode.table.metadata import ColumnInfo, TableMetadata
from lls_decode.table.schema import CHANNEL_COLUMN, COLUMNS, SAMPLE_COLUMNS

_REQUIRED: Final = ("frame", "x_nm", "y_nm")
_PANDAS_INDEX: Final = "__index_level_"
NUMBERS: Final = ("frame", "volume", "plane")
"""Columns that state when a row was recorded."""
_KNOWN: Final = {column.name: column for column in COLUMNS}


def restored_schema(found: pa.Schema, metadata: TableMetadata, *, source: Any) -> pa.Schema:
    """Return the columns with order and types from ``metadata`` (else from our schema), followed by unknown ones.

    Raises
    ------
    TableError
        A column occurs twice or is not numeric, or frame, x, y or some of the sample coordinates are missing.
    """
    names = [name for name in found.names if not name.startswith(_PANDAS_INDEX)]
    for name in names:
        if names.count(name) > 1:
            raise TableError(
                f"{source} has {names.count(name)} columns {name!r}, expected one; rename or drop the others."
            )
    for name in _REQUIRED:
        if name not in names and (name in metadata.columns or not metadata.columns):
            close = difflib.get_close_matches(name, [other.lower() for other in names], n=1, cutoff=0.5)
            similar = [other for other in names if other.lower() in close]
            hint = f" (is it {similar[0]!r}?)" if similar else ""
            raise TableError(f"{source} has no column {name}{hint}, which every table has; keep its name.")
    sample = [column.name for column in SAMPLE_COLUMNS if column.name in names]
    if 0 < len(sample) < len(SAMPLE_COLUMNS):
        raise TableError(
            f"{source} has {', '.join(sample)} without the other sample coordinates; keep all of "
            f"{', '.join(column.name for column in SAMPLE_COLUMNS)}, or drop them."
        )
    order = [*metadata.columns, *_KNOWN] if metadata.columns else list(_KNOWN)
    first = [name for name in dict.fromkeys(order) if name in names]
    new = [name for name in names if name not in first]
    return pa.schema([_field(found.field(name), metadata.columns.get(name), source) for name in [*first, *new]])


def restored(rows: pa.Table, wanted: pa.Schema, *, source: Any) -> pa.Table:
    """Return the rows with the columns of a schema from `restored_schema`, as far as they have them, in its order.

    Raises
    ------
    TableError
        Values do not fit their column; the message names the column and one value.
    """
    fields = [field for field in wanted if field.name in rows.column_names]
    arrays = [_restored(rows[field.name], field, source) for field in fields]
    return pa.table(arrays, schema=pa.schema(fields))


def check_numbers(rows: pa.Table, planes_per_volume: int, *, source: Any) -> None:
    """Check that the numbers of volumes and planes are those of the frames, which another program may have changed.

    Raises
    ------
    TableError
        They contradict each other; the message names the first such row.
    """
    frame, volume, plane = (rows[name].to_numpy().astype(np.int64) for name in NUMBERS)
    wrong = np.flatnonzero(frame != volume * planes_per_volume + plane)
    if len(wrong):
        at, planes = int(wrong[0]), planes_per_volume
        raise TableError(
            f"{source} has frame {frame[at]} with volume {volume[at]} and plane {plane[at]}, expected volume "
            f"{frame[at] // planes} and plane {frame[at] % planes}; set volume to frame // {planes} and plane to "
            f"frame % {planes}."
        )


def _field(found: pa.Field, info: ColumnInfo | None, source: Any) -> pa.Field:
    known = _KNOWN.get(found.name)
    stored = found.type.value_type if pa.types.is_dictionary(found.type) else found.type
    wanted = _type(info) if info is not None else known.type if known is not None else None
    if wanted is None or not _is_number(wanted):
        return pa.field(found.name, stored, found.nullable, found.metadata)
    if not _is_number(stored):
        advice = "number the channels, from 0" if found.name == CHANNEL_COLUMN.name else "convert it"
        raise TableError(f"{source} has column {found.name} of type {found.type}, expected numbers; {advice}.")
    about = info or (known and ColumnInfo(type=str(wanted), unit=known.unit, description=known.description))
    unit, description = (about.unit, about.description) if about else ("", "")
    return pa.field(found.name, wanted, nullable=False, metadata={"unit": unit, "description": description})


def _type(info: ColumnInfo) -> pa.DataType | None:
    try:
        return pa.type_for_alias(info.type)
    except ValueError:
        return None  # nested: never ours


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _restored(column: pa.ChunkedArray, field: pa.Field, source: Any) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if field.nullable and column.type == field.type:
        return column
    if pa.types.is_floating(field.type):
        column = column.cast(field.type, safe=False)
        return column.fill_null(np.nan) if column.null_count else column
    if column.null_count:
        raise TableError(
            f"{source} has {column.null_count} rows without {field.name}, expected a whole number in each; fill or "
            "remove them."
        )
    try:
        return column.cast(field.type)
    except pa.ArrowInvalid as error:
        some = _first_unfit(column, field)
        raise TableError(
            f"{source} has {field.name} {some}, expected whole numbers that fit {field.type}; repair or remove such "
            "rows."
        ) from error


def _first_unfit(column: pa.ChunkedArray, field: pa.Field) -> Any:
    kept = pc.cast(column, options=pc.CastOptions.unsafe(field.type))
    unfit = pc.not_equal(pc.cast(kept, pa.float64()), pc.cast(column, pa.float64(), safe=False))
    return next(iter(column.filter(unfit).to_pylist()), "out of range")
