"""Merging of shards into one table, in block order with constant memory; and the writer for tables."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lls_decode.blocks import Block, join_ranges, subtract_ranges
from lls_decode.errors import ShardError
from lls_decode.table.files import written_aside
from lls_decode.table.metadata import TableMetadata
from lls_decode.table.schema import ROW_GROUP_ROWS, schema_like
from lls_decode.table.shards import ShardReceipt, open_shard, read_shard, scan_shards, write_options

_ROWS_AHEAD = 2 * ROW_GROUP_ROWS
_SHARDS_AHEAD = 32
"""Limits on what is read ahead while one shard is written: enough to hide the latency of many small shards."""


@dataclass(frozen=True)
class Manifest:
    """Result of a merge."""

    file_name: str
    rows: int
    bytes: int
    num_blocks: int
    """Blocks whose rows are in the table."""
    missing_blocks: tuple[str, ...]
    """Blocks of the plan whose rows are not in the table."""
    run_digest: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def merge_shards(
    folder: Path,
    blocks: Sequence[Block],
    out: Path,
    *,
    run_digest: str,
    metadata: TableMetadata,
    allow_missing: bool = False,
    known_bytes: Mapping[int, int] | None = None,
    own_folder: bool = False,
) -> Manifest:
    """Merge the shards of all blocks into one table, each block exactly once, in the order of their numbers.

    Parameters
    ----------
    folder
        Folder of the shards.
    blocks
        All blocks of the plan.
    out
        Path of the table. It is written aside and renamed, so an older table stays until the new one is complete.
    allow_missing
        Skip blocks without a valid shard, and list them in the manifest and in the table's metadata.
    known_bytes
        Sizes of shards, by block index (see `scan_shards`).
    own_folder
        Whether ``out`` lies in the run folder itself (see `written_aside`).

    Raises
    ------
    ShardError
        A block has no valid shard (and ``allow_missing`` is false), or a shard's data are damaged.
    OutputError
        Full disk, read-only folder.
    """
    receipts, reasons = scan_shards(folder, blocks, run_digest=run_digest, known_bytes=known_bytes)
    plan = sorted(blocks, key=lambda block: block.index)
    missing = tuple(block.id for block in plan if block.index not in receipts)
    if missing and not allow_missing:
        raise ShardError(_missing_message(folder, missing, len(plan), reasons))
    present = [receipts[block.index] for block in plan if block.index in receipts]
    first = _first_schema(folder, present)
    lost = join_ranges(receipt.lost for receipt in present)
    done = [block for block in plan if block.index in receipts]
    metadata = metadata.replace(
        run_digest=run_digest,
        frames=subtract_ranges(join_ranges((block.frame_range,) for block in done), lost),
        missing_blocks=missing,
        lost_frames=lost,
        filled_frames=join_ranges(receipt.filled for receipt in present),
    )
    with table_writer(out, first, metadata, own_folder=own_folder) as writer:
        for receipt, table in _iter_shards(folder, present):
            if table.schema.names != first.names:
                raise ShardError(
                    f"{folder / receipt.file_name} has columns {table.column_names}, but the shards before it have "
                    f"{first.names}; delete it and rerun."
                )
            writer.write(table)
    return Manifest(out.name, writer.rows, out.stat().st_size, len(present), missing, run_digest)


class TableWriter:
    """Writer that takes rows in pieces of any size and writes row groups of equal size. Made by `table_writer`."""

    def __init__(self, parquet: pq.ParquetWriter, file: pa.NativeFile) -> None:
        self.rows = 0
        """Number of rows taken so far."""
        self._parquet, self._file = parquet, file
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0

    def write(self, table: pa.Table) -> None:
        """Add rows, with the columns of the schema."""
        self._waiting.append(table)
        self._num_waiting += table.num_rows
        self.rows += table.num_rows
        if self._num_waiting >= ROW_GROUP_ROWS:
            self._write(keep=self._num_waiting % ROW_GROUP_ROWS)

    def flush(self) -> None:
        """Write all rows taken so far; the last row group is shorter."""
        self._write(keep=0)

    def finish(self) -> None:
        """Write the remaining rows, as a shorter row group, and the footer; afterwards the file is complete.

        The end of `table_writer` does this, too. A command that writes several tables finishes all of them before the
        first appears, so that a full disk leaves none of them without the others.
        """
        self.flush()
        self._parquet.close()
        self._file.close()

    def _write(self, *, keep: int) -> None:
        if self._num_waiting == 0:
            return
        table = pa.concat_tables(self._waiting)
        now = table.num_rows - keep
        table = table.replace_schema_metadata(self._parquet.schema.metadata)
        self._parquet.write_table(table.slice(0, now), row_group_size=ROW_GROUP_ROWS)
        self._waiting, self._num_waiting = ([table.slice(now)] if keep else []), keep


@contextmanager
def table_writer(
    out: Path, table_schema: pa.Schema, metadata: TableMetadata, *, own_folder: bool = False
) -> Iterator[TableWriter]:
    """Write a table piece by piece with constant memory; the file appears when the body ends without an error.

    Raises
    ------
    OutputError
        See `written_aside`. No temporary file is left behind.
    """
    full = table_schema.with_metadata(metadata.with_columns(table_schema).to_schema_metadata())
    with (
        written_aside(out, own_folder=own_folder) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pq.ParquetWriter(file, full, **write_options(full)) as parquet,
    ):
        writer = TableWriter(parquet, file)
        yield writer
        writer.finish()


def _missing_message(folder: Path, missing: Sequence[str], total: int, reasons: Sequence[str]) -> str:
    some = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    why = f" ({'; '.join(reasons[:3])}{'; ...' if len(reasons) > 3 else ''})" if reasons else ""
    return (
        f"{folder} has no valid shard for {len(missing)} of {total} blocks: {some}{why}; resume the run to "
        "compute them, or merge without them by allowing missing blocks."
    )


def _first_schema(folder: Path, receipts: Sequence[ShardReceipt]) -> pa.Schema:
    if not receipts:
        return schema_like(())
    with open_shard(folder / receipts[0].file_name) as shard:
        return schema_like(shard.schema_arrow.names)


def _iter_shards(folder: Path, receipts: Iterable[ShardReceipt]) -> Iterator[tuple[ShardReceipt, pa.Table]]:
    """Give the rows of each shard in order, and read a few shards ahead while earlier ones are written."""
    with ThreadPoolExecutor(2, thread_name_prefix="merge") as pool:
        ahead: deque[tuple[ShardReceipt, Future[pa.Table]]] = deque()
        rows = 0
        try:
            for receipt in receipts:
                ahead.append((receipt, pool.submit(read_shard, folder / receipt.file_name)))
                rows += receipt.rows
                while len(ahead) > 1 and (len(ahead) > _SHARDS_AHEAD or rows > _ROWS_AHEAD):
                    done, table = ahead.popleft()
                    rows -= done.rows
                    yield done, table.result()
            while ahead:
                done, table = ahead.popleft()
                yield done, table.result()
        finally:
            for _, table in ahead:
                table.cancel()
