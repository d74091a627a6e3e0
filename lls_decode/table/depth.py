"""Whether the z of a table was measured: two-dimensional tables have a z column, too."""

from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from lls_decode.table.metadata import TableMetadata, has_metadata
from lls_decode.table.reading import read_metadata

DEPTH_COLUMNS: Final = ("z_nm", "z_sig", "zs_nm")
"""Columns without meaning in a table without depth."""


def has_depth(path: str | Path) -> bool:
    """Return whether a table has a measured z (reads only metadata and footer).

    A table has no measured z if it has no such column, if an import filled the column in, if its model covers a single
    depth, or if all rows have z = 0.
    """
    with pq.ParquetFile(path) as file:
        described = has_metadata(file.schema_arrow.metadata)
        names = file.schema_arrow.names
        is_zero = "z_nm" in names and _is_zero(file.metadata, names.index("z_nm"))
    if "z_nm" not in names or is_zero:
        return False
    return not described or not is_flat(read_metadata(path))


def is_flat(metadata: TableMetadata) -> bool:
    """Return whether the metadata of a table say that it has no depth."""
    if "z_nm" in (metadata.input.get("filled") or {}):
        return True
    depths = metadata.model.get("z_range_nm")
    if depths is not None and len(depths) == 2:
        return bool(depths[0] == depths[1])
    return (metadata.model.get("psf") or {}).get("kind") == "gaussian"


def _is_zero(footer: pq.FileMetaData, column: int) -> bool:
    """Return whether all values are 0 according to the file's statistics; False without statistics or rows."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    statistics = [group.column(column).statistics for group in groups if group.num_rows]
    return bool(statistics) and all(
        item is not None and item.has_min_max and item.min == 0 and item.max == 0 for item in statistics
    )
