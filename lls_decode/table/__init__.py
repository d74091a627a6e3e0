"""Localization tables: columns, shards (one per block), the merged file, and the metadata in it."""

from lls_decode.table.files import remove_leftovers, written_aside
from lls_decode.table.merge import (
    Manifest,
    TableWriter,
    merge_shards,
    table_writer,
)
from lls_decode.table.metadata import ChannelInfo, ColumnInfo, TableMetadata, software_versions
from lls_decode.table.reading import (
    count_rows,
    described_like,
    iter_tables,
    read_emitters,
    read_metadata,
    read_schema,
    read_table,
)
from lls_decode.table.schema import (
    CHANNEL_COLUMN,
    COLUMNS,
    LARGEST_FRAME,
    MOLECULES_VERSION,
    ROW_GROUP_ROWS,
    SAMPLE_COLUMNS,
    SORT_COLUMNS,
    TABLE_VERSION,
    Column,
    schema,
    schema_like,
)
from lls_decode.table.shards import (
    ShardReceipt,
    find_damaged,
    find_receipt,
    read_receipt,
    scan_shards,
    verify_shard,
    write_shard,
)
from lls_decode.table.sorting import sorted_aside

__all__ = [
    "CHANNEL_COLUMN",
    "COLUMNS",
    "LARGEST_FRAME",
    "MOLECULES_VERSION",
    "ROW_GROUP_ROWS",
    "SAMPLE_COLUMNS",
    "SORT_COLUMNS",
    "TABLE_VERSION",
    "ChannelInfo",
    "Column",
    "ColumnInfo",
    "Manifest",
    "ShardReceipt",
    "TableMetadata",
    "TableWriter",
    "count_rows",
    "described_like",
    "find_damaged",
    "find_receipt",
    "iter_tables",
    "merge_shards",
    "read_emitters",
    "read_metadata",
    "read_receipt",
    "read_schema",
    "read_table",
    "remove_leftovers",
    "scan_shards",
    "schema",
    "schema_like",
    "software_versions",
    "sorted_aside",
    "table_writer",
    "verify_shard",
    "write_shard",
    "written_aside",
]
