"""Shards: the rows of one block in one file. A shard with a valid footer of the run proves that its block is done.

The footer states the block and the run of the rows, their number, and their checksum. Equal rows give equal bytes, so
a block that was computed twice leaves one file.

The footer proves that a block is done, the checksum that its rows are complete. Starting a run reads footers only;
the merge compares every checksum. When one differs, all shards are checked, and the blocks of damaged shards are
processed again.
"""

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lls_decode.blocks import Block, FrameRanges
from lls_decode.documents import parse_json
from lls_decode.errors import ShardError
from lls_decode.system import BINARY
from lls_decode.table.files import TEMPORARY_PREFIX, written_aside
from lls_decode.table.schema import (
    ROW_GROUP_ROWS,
    SORT_COLUMNS,
    TABLE_VERSION,
    float_columns,
    integer_columns,
    schema_like,
)
from lls_decode.table.sorting import sorted_rows

KEY = b"lls_decode_shard"
SUFFIX = ".parquet"
_TAIL_BYTES = 1 << 14
"""Bytes at the end of a file that hold the footer of a shard with one row group."""
_DECODER = json.JSONDecoder()

UNREADABLE = (OSError, ValueError, pa.ArrowException)
"""Errors that pyarrow raises for damaged files; which one depends on where the damage is."""


@dataclass(frozen=True)
class ShardReceipt:
    """What a worker returns for a block; the rows themselves stay on disk."""

    block_index: int
    block_id: str
    run_digest: str
    rows: int
    bytes: int
    file_name: str
    stats: dict[str, float] = field(default_factory=dict)
    """Means over the rows (``mean_photons``, ...) and numbers added by the task."""
    lost: FrameRanges = ()
    """Frames, including context, that could not be read; those owned by the block have no rows."""
    filled: FrameRanges = ()
    """Frames that were given the fill value because their chunks are absent."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for ledgers."""
        return asdict(self)


def write_shard(
    table: pa.Table,
    block: Block,
    folder: Path,
    *,
    run_digest: str,
    stats: Mapping[str, float] | None = None,
    lost: FrameRanges = (),
    filled: FrameRanges = (),
) -> ShardReceipt:
    """Write the rows of a block to ``<block id>.parquet``, sorted by (volume, plane, y, x); atomic and durable.

    Parameters
    ----------
    table
        Rows in the canonical schema (`lls_decode.table.schema.schema`), in any order, all in frames owned by the block.
    folder
        Existing folder of the shards.
    run_digest
        Digest of the run that the rows belong to.
    stats
        Numbers to keep with the receipt. They must depend on the data only, so that equal rows give equal bytes.
    lost, filled
        Frames read by the block that could not be read, or that were given the fill value.

    Raises
    ------
    OutputError
        Full disk, read-only folder. No temporary file is left behind.
    """
    _check_rows(table, block)
    table = sorted_rows(table)
    all_stats = {**_mean_stats(table), **(stats or {})}
    final = folder / f"{block.id}{SUFFIX}"
    footer = {
        "version": TABLE_VERSION,
        "block": block.to_dict(),
        "run_digest": run_digest,
        "rows": table.num_rows,
        "crc32": checksum([table]),
        "stats": all_stats,
        **({"lost_frames": lost} if lost else {}),
        **({"filled_frames": filled} if filled else {}),
    }
    text = json.dumps(footer, separators=(",", ":"), sort_keys=True).encode()
    with written_aside(final, own_folder=True) as temporary:
        # Opened here, because pyarrow leaves files open that it opened itself if the disk gets full while closing.
        with pa.OSFile(str(temporary), "wb") as file:
            pq.write_table(
                table.replace_schema_metadata({KEY: text}),
                file,
                row_group_size=ROW_GROUP_ROWS,
                **write_options(table.schema),
            )
        num_bytes = temporary.stat().st_size
    return ShardReceipt(
        block.index, block.id, run_digest, table.num_rows, num_bytes, final.name, all_stats, lost, filled
    )


def read_receipt(path: Path) -> ShardReceipt:
    """Read the receipt of a shard on disk from its footer alone.

    Raises
    ------
    ShardError
        The file is truncated, has no footer of ours, or its footer contradicts its contents.
    """
    return _receipt(path, *_read_footer(path))


def find_receipt(path: Path, block: Block, *, run_digest: str) -> ShardReceipt | None:
    """Return the receipt of a block's shard; None if there is no valid shard of this block and run."""
    if not path.exists():
        return None
    found = _check_shard(path, block, run_digest)
    return found if isinstance(found, ShardReceipt) else None


def scan_shards(
    folder: Path,
    blocks: Iterable[Block],
    *,
    run_digest: str,
    others: Iterable[Block] = (),
    known_bytes: Mapping[int, int] | None = None,
    threads: int = 8,
) -> tuple[dict[int, ShardReceipt], list[str]]:
    """Find the blocks that are done: receipts by block index, and why each other file is not a valid shard.

    Only footers are read. Temporary files are skipped, and so are shards of ``others``, which are blocks of the same
    plan.
    If the size of a block's shard is known (by block index) and matches the file, Parquet's own footer is not parsed,
    which is six times faster.
    """
    sizes = known_bytes or {}
    expected = {f"{block.id}{SUFFIX}": block for block in blocks}
    if not folder.is_dir():
        return {}, []
    names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith(TEMPORARY_PREFIX))
    known = expected.keys() | {f"{block.id}{SUFFIX}" for block in others}
    reasons = [f"{name}: not a shard of this plan" for name in names if name not in known]
    names = [name for name in names if name in expected]

    def check(chunk: list[str]) -> list[ShardReceipt | str]:
        found = []
        for name in chunk:
            block = expected[name]
            receipt = _peek(str(folder), name, block, run_digest, sizes.get(block.index, -1))
            found.append(receipt or _check_shard(folder / name, block, run_digest))
        return found

    size = 256
    with ThreadPoolExecutor(threads) as pool:
        results = [
            result
            for part in pool.map(check, [names[i : i + size] for i in range(0, len(names), size)])
            for result in part
        ]
    receipts = {result.block_index: result for result in results if isinstance(result, ShardReceipt)}
    return receipts, reasons + [result for result in results if isinstance(result, str)]


def verify_shard(path: Path) -> ShardReceipt:
    """Read all rows, compare their checksum with the footer, and return the receipt.

    Raises
    ------
    ShardError
        As for `read_receipt`, or the data were changed after they were written.
    """
    receipt = read_receipt(path)
    read_shard(path)
    return receipt


def read_shard(path: Path) -> pa.Table:
    """Return all rows of a shard in the canonical schema, after comparing them with the checksum in the footer.

    Raises
    ------
    ShardError
        The file is damaged, or its rows differ from those that were written.
    """
    with open_shard(path) as shard:
        groups = [_read_row_group(shard, number, path) for number in range(shard.num_row_groups)]
        canonical = schema_like(shard.schema_arrow.names)
        footer = _parse_footer(path, shard.metadata)
    if checksum(groups) != footer.get("crc32"):
        raise ShardError(f"{path} was changed after it was written (its checksum differs); delete it and rerun.")
    rows = pa.concat_tables(groups) if groups else canonical.empty_table()
    return rows.cast(canonical)  # names and types are the same; descriptions in the file may be damaged


def find_damaged(folder: Path, blocks: Iterable[Block], *, run_digest: str, threads: int = 8) -> dict[int, str]:
    """Read the shards of all these blocks, and return by block index why one is missing or invalid."""

    def look(block: Block) -> str | None:
        path = folder / f"{block.id}{SUFFIX}"
        found = _check_shard(path, block, run_digest)
        if isinstance(found, str):
            return found
        try:
            read_shard(path)
        except ShardError as error:
            return str(error)
        return None

    chosen = list(blocks)
    with ThreadPoolExecutor(threads) as pool:
        reasons = list(pool.map(look, chosen))
    return {block.index: reason for block, reason in zip(chosen, reasons, strict=True) if reason is not None}


def open_shard(path: Path) -> pq.ParquetFile:
    """Open a shard for reading, with page checksums verified and columns compared with the canonical ones."""
    try:
        shard = pq.ParquetFile(path, page_checksum_verification=True)
        found = shard.schema_arrow
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    if not found.equals(schema_like(found.names)):
        shard.close()
        raise ShardError(
            f"{path} has columns {', '.join(found.names)}, which are not those of a table, or have other types; "
            "delete it and rerun."
        )
    return shard


def checksum(tables: Iterable[pa.Table]) -> int:
    """Return the CRC-32 over the CRC-32s of the columns, independent of how the rows are split; 0 without rows."""
    by_column: dict[str, int] = {}
    for table in tables:
        for name, column in zip(table.column_names, table.columns, strict=True):
            for piece in column.chunks:
                if len(piece):
                    by_column[name] = zlib.crc32(piece.to_numpy(zero_copy_only=True), by_column.get(name, 0))
    return zlib.crc32(b"".join(value.to_bytes(4, "little") for value in by_column.values()))


def write_options(table_schema: pa.Schema) -> dict[str, Any]:
    """Return the options of all Parquet files of ours: dictionaries for integers, split floats, page checksums.

    Similar floats share their first bytes, and zstd finds them if they stand in a row. At its fast level -1 a table is
    therefore smaller than without splitting at level 1, is written in 2/3 of the time and is read in half of it.
    """
    order = [
        pq.SortingColumn(table_schema.get_field_index(name)) for name in SORT_COLUMNS if name in table_schema.names
    ]
    return {
        "compression": "zstd",
        "compression_level": -1,
        "use_dictionary": integer_columns(table_schema),
        "column_encoding": dict.fromkeys(float_columns(table_schema), "BYTE_STREAM_SPLIT"),
        "write_statistics": True,
        "write_page_checksum": True,
        "sorting_columns": order if len(order) == len(SORT_COLUMNS) else None,
    }


def _check_rows(table: pa.Table, block: Block) -> None:
    """Refuse rows that only a programming error can produce."""
    expected = schema_like(table.column_names)
    if not table.schema.equals(expected):
        raise ValueError(f"rows of block {block.id} have schema\n{table.schema}\nexpected\n{expected}")
    if any(column.null_count for column in table.columns):
        raise ValueError(f"rows of block {block.id} have nulls")
    if table.num_rows == 0:
        return
    volume, plane = table["volume"].to_numpy(), table["plane"].to_numpy()
    inside = (
        block.volume_start <= volume.min()
        and volume.max() < block.volume_stop
        and block.plane_start <= plane.min()
        and plane.max() < block.plane_stop
    )
    if not inside:
        raise ValueError(f"rows of block {block.id} lie in frames that it does not own")


def _mean_stats(table: pa.Table) -> dict[str, float]:
    names = ("photons", "bg", "x_sig", "y_sig", "z_sig", "prob")
    if table.num_rows == 0:
        return {}
    return {f"mean_{name}": float(np.mean(table[name].to_numpy(), dtype=np.float64)) for name in names}


def _read_row_group(shard: pq.ParquetFile, number: int, path: Path) -> pa.Table:
    try:
        return shard.read_row_group(number, use_threads=False)
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _read_footer(path: Path) -> tuple[pq.FileMetaData, dict[str, Any]]:
    try:
        metadata = pq.read_metadata(path)
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    return metadata, _parse_footer(path, metadata)


def _parse_footer(path: Path, metadata: pq.FileMetaData) -> dict[str, Any]:
    """Return our part of a footer."""
    text = (metadata.metadata or {}).get(KEY)
    if text is None:
        raise ShardError(f"{path} is not a shard of lls-decode (no footer); move it out of the folder.")
    try:
        footer = parse_json(text)
    except ValueError as error:
        raise _unreadable(path, error) from error
    if not isinstance(footer, dict):
        raise ShardError(f"{path} is damaged (its footer holds no record); delete it and rerun.")
    return footer


def _receipt(path: Path, metadata: pq.FileMetaData, footer: dict[str, Any]) -> ShardReceipt:
    try:
        if footer["version"][0] != TABLE_VERSION[0]:
            raise ShardError(
                f"{path} is a shard of version {footer['version'][0]}, but this program reads version "
                f"{TABLE_VERSION[0]}; "
                "finish the run with the version of lls-decode that started it."
            )
        block = Block(**footer["block"])
        size = path.stat().st_size
        if footer["rows"] != metadata.num_rows or not _is_whole(path, metadata, size):
            raise ShardError(f"{path} is damaged (its footer does not match its contents); delete it and rerun.")
        return _make_receipt(block, footer, size, path.name)
    except (KeyError, TypeError, IndexError, *UNREADABLE) as error:
        raise _unreadable(path, error) from error


def _make_receipt(block: Block, footer: Mapping[str, Any], size: int, name: str) -> ShardReceipt:
    lost, filled = (
        tuple((int(start), int(stop)) for start, stop in footer.get(key, ()))
        for key in ("lost_frames", "filled_frames")
    )
    stats = dict(footer["stats"])
    return ShardReceipt(block.index, block.id, footer["run_digest"], footer["rows"], size, name, stats, lost, filled)


def _is_whole(path: Path, metadata: pq.FileMetaData, size: int) -> bool:
    """Return whether columns and footer fill the file exactly.

    Arrow before 18 writes a copy of each column's footer entry behind the column's data; the entry begins with its own
    position. In such files the last column is followed by its entry and nothing else.
    """
    if metadata.num_rows == 0:
        return True
    group = metadata.row_group(metadata.num_row_groups - 1)
    last = group.column(group.num_columns - 1)
    end = _data_end(last)
    between = size - 8 - int(metadata.serialized_size) - end
    if last.file_offset != end:
        return between == 0
    entry = _column_entry(end)
    with path.open("rb") as file:
        file.seek(end)
        return between > 0 and file.read(len(entry)) == entry


def _data_end(last: pq.ColumnChunkMetaData) -> int:
    """Return the position after the last column. It reveals a file that lost bytes in the middle."""
    start = last.data_page_offset
    if last.has_dictionary_page:
        start = min(start, last.dictionary_page_offset)
    return int(start + last.total_compressed_size)


def _column_entry(position: int) -> bytes:
    """Return the first bytes of Parquet's ``ColumnChunk`` (compact Thrift): its position, and that more follows."""
    number, digits = 2 * position, bytearray()  # zigzag code of a non-negative number
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return b"\x26" + digits + b"\x1c"


def _peek(folder: str, name: str, block: Block, run_digest: str, known_bytes: int) -> ShardReceipt | None:
    """Return the receipt from the last bytes of a file of known size; None if anything is unexpected."""
    try:
        file = os.open(f"{folder}/{name}", os.O_RDONLY | BINARY)
        try:
            size = os.fstat(file).st_size
            if size != known_bytes:
                return None
            os.lseek(file, max(0, size - _TAIL_BYTES), os.SEEK_SET)
            tail = os.read(file, _TAIL_BYTES)
        finally:
            os.close(file)
        start = tail.index(b"{", tail.rindex(KEY))
        footer, _ = _DECODER.raw_decode(tail[start:].decode("latin-1"))
        valid = tail.endswith(b"PAR1") and footer["run_digest"] == run_digest
        if not valid or footer["version"][0] != TABLE_VERSION[0] or not block.is_same_work(Block(**footer["block"])):
            return None
        return _make_receipt(block, footer, size, name)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _check_shard(path: Path, block: Block, run_digest: str) -> ShardReceipt | str:
    """Return the receipt, or why the file is not the shard of this block and run."""
    try:
        metadata, footer = _read_footer(path)
        receipt = _receipt(path, metadata, footer)
    except ShardError as error:
        return str(error)
    if receipt.run_digest != run_digest:
        return f"{path.name}: shard of another run (digest {receipt.run_digest}, expected {run_digest})"
    if not block.is_same_work(Block(**footer["block"])):
        return f"{path.name}: shard of another plan (its block owns other frames)"
    return receipt


def _unreadable(path: Path, error: Exception) -> ShardError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ShardError(f"{path} cannot be read as a shard ({reason}); delete it and rerun.")
