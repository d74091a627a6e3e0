"""Whether the z of a table was measured: a two-dimensional table has a column for it all the same."""

from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from lls_decode.table.metadata import TableMetadata, has_metadata
from lls_decode.table.reading import read_metadata

DEPTH_COLUMNS: Final = ("z_nm", "z_sig", "zs_nm")
"""Columns that say nothing in a table without depth."""


def has_depth(path: str | Path) -> bool:
    """Whether a table has a measured z (metadata and footer only).

    It has none when there is no such column, when an import filled it in, when its model sees a single depth, or when
    all rows have z = 0.
    """
    with pq.ParquetFile(path) as file:
        described = has_metadata(file.schema_arrow.metadata)
        names = file.schema_arrow.names
        is_zero = "z_nm" in names and _is_zero(file.metadata, names.index("z_nm"))
    if "z_nm" not in names or is_zero:
        return False
    return not described or not is_flat(read_metadata(path))


def is_flat(metadata: TableMetadata) -> bool:
    """Whether a table says of itself that it has no depth."""
    if "z_nm" in (metadata.input.get("filled") or {}):
        return True
    depths = metadata.model.get("z_range_nm")
    if depths is not None and len(depths) == 2:
        return bool(depths[0] == depths[1])
    return (metadata.model.get("psf") or {}).get("kind") == "gaussian"


def _is_zero(footer: pq.FileMetaData, column: int) -> bool:
    """Whether all values are 0 by the statistics of the file; False where these do not say it, or without rows."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    statistics = [group.column(column).statistics for group in groups if group.num_rows]
    return bool(statistics) and all(
        item is not None and item.has_min_max and item.min == 0 and item.max == 0 for item in statistics
    )
