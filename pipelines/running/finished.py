"""The finished blocks of a run, those of this start and of others, and the merge of their shards."""

import logging
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lls_decode.blocks import Block, FrameRanges, join_ranges
from lls_decode.errors import ShardError, TableError
from lls_decode.pipelines.journal.events import (
    BlockDone,
    BlockFailed,
    DatasetGrown,
    Event,
    Listener,
    Merged,
    MergeStarted,
    RunStarted,
    ShardDamaged,
)
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.merged_table import file_checksum, find_table_damage
from lls_decode.pipelines.planning.plan import Plan
from lls_decode.table import ShardReceipt, find_damaged, merge_shards, read_metadata, scan_shards
from lls_decode.table.files import output_error

from .ownership import table_metadata

logger = logging.getLogger(__name__)


@dataclass
class Tally:
    """Listener that keeps the state of each block, by block index."""

    blocks: int
    """Number of blocks of the plan."""
    rows: dict[int, int] = field(default_factory=dict)
    """Number of rows of each finished block."""
    bytes: dict[int, int] = field(default_factory=dict)
    """Size of the shard of each finished block."""
    lost: dict[int, FrameRanges] = field(default_factory=dict)
    """Frames that each finished block could not read."""
    filled: dict[int, FrameRanges] = field(default_factory=dict)
    """Frames that each finished block read as the fill value."""
    reasons: dict[int, str] = field(default_factory=dict)
    """Why each block has lost frames, for blocks that this start has read."""
    failed: dict[int, BlockFailed] = field(default_factory=dict)
    """Blocks that failed."""

    def count(self, index: int, done: BlockDone | ShardReceipt) -> None:
        """Count a block as finished."""
        self.rows[index], self.bytes[index] = done.rows, done.bytes
        self.lost[index], self.filled[index] = done.lost, done.filled
        self.failed.pop(index, None)

    def __call__(self, event: Event) -> None:
        """Count the event."""
        if isinstance(event, RunStarted | DatasetGrown):
            self.blocks = event.blocks
        elif isinstance(event, BlockDone):
            self.count(event.block, event)
            self.reasons[event.block] = event.reason
        elif isinstance(event, BlockFailed):
            self.failed[event.block] = event
        elif isinstance(event, ShardDamaged):
            for known in (self.rows, self.bytes, self.lost, self.filled):
                known.pop(event.block, None)


@dataclass(frozen=True)
class FinishedBlocks:
    """Finished blocks of the plan of a run, in a folder that this program has claimed."""

    plan: Plan
    folder: RunFolder
    tally: Tally
    emit: Listener
    is_partial: bool
    """Whether this start processes only some of the blocks of the plan."""
    anew: bool
    """Whether finished blocks are also processed again."""
    elsewhere: dict[int, int] = field(default_factory=dict)
    """Number of rows of each block that has a shard, by block index; 0 until the footer of the shard has been read.

    Filled before a merge, and only if this start processes some of the blocks and leaves others to other starts.
    """
    receipts: dict[int, ShardReceipt] = field(default_factory=dict)
    """Receipts of the blocks in `elsewhere`; filled once all blocks have a shard."""

    def recover(self, found: Sequence[Block], receipts: dict[int, ShardReceipt], known: Container[int]) -> None:
        """Count blocks that are already done, and add those that the ledger lacks to it.

        The ledger lacks blocks whose client was killed, or whose worker finished late.
        """
        for block in found:
            receipt = receipts[block.index]
            if block.index in known:
                self.tally.count(block.index, receipt)
                continue
            self.emit(
                BlockDone(
                    block=block.index,
                    block_id=block.id,
                    frames=block.num_owned,
                    rows=receipt.rows,
                    bytes=receipt.bytes,
                    attempts=0,
                    read_s=0.0,
                    start_s=0.0,
                    compute_s=0.0,
                    write_s=0.0,
                    worker="",
                    pid=0,
                    lost=receipt.lost,
                    frames_lost=block.count_owned(receipt.lost),
                    filled=receipt.filled,
                )
            )

    def _look_elsewhere(self) -> None:
        """Find the blocks that other starts have finished.

        The footers of the shards are read only when all blocks have a shard, because many jobs may do this at a time.
        """
        self.elsewhere.clear()
        self.receipts.clear()
        if not self.is_partial:
            return
        plan, names = self.plan, self.folder.list_shards()
        self.elsewhere.update({block.index: 0 for block in plan.blocks if block.id in names})
        if len(self.elsewhere) == len(plan.blocks):
            receipts, _ = scan_shards(self.folder.shards, plan.blocks, run_digest=plan.run_digest)
            self.elsewhere.clear()
            self.elsewhere.update({index: receipt.rows for index, receipt in receipts.items()})
            self.receipts.update(receipts)

    def lost(self) -> FrameRanges:
        """Return the lost frames of all blocks that are known to be done."""
        return join_ranges([*(receipt.lost for receipt in self.receipts.values()), *self.tally.lost.values()])

    def _filled(self) -> FrameRanges:
        return join_ranges([*(receipt.filled for receipt in self.receipts.values()), *self.tally.filled.values()])

    def left(self) -> tuple[str, ...]:
        """Return the ids of the blocks of the plan that have no shard."""
        done = self.elsewhere.keys() | self.tally.rows.keys()
        return tuple(block.id for block in self.plan.blocks if block.index not in done)

    def merge(self) -> Path | None:
        """Merge the shards unless the table is up to date, and return the path of the table.

        Returns None if there are no shards, or if blocks of other starts are still missing.
        """
        self._count_late()
        self._look_elsewhere()
        done, missing = {**self.elsewhere, **self.tally.rows}, self.left()
        if not done or (missing and self.is_partial):
            return None
        table = self.folder.table
        if _is_merged(table, self.plan, missing, self.lost(), self._filled()):
            damage = find_table_damage(table, self._latest_merge(), run_digest=self.plan.run_digest, whole=True)
            if damage is None:
                return table
            logger.warning("%s is damaged (%s); the shards are merged again", table, damage)
        self.emit(MergeStarted(blocks=len(done), rows=sum(done.values())))
        started = time.monotonic()
        manifest = merge_shards(
            self.folder.shards,
            self.plan.blocks,
            table,
            run_digest=self.plan.run_digest,
            metadata=table_metadata(self.plan),
            allow_missing=bool(missing),
            known_bytes=self.tally.bytes,
            own_folder=True,
        )
        if not set(manifest.missing_blocks) <= set(missing):
            raise ShardError(f"{self.folder.shards} has lost shards of finished blocks; rerun the same command.")
        if manifest.missing_blocks != missing and not self.anew:  # another shard has arrived since they were counted
            return self.merge()
        self.emit(
            Merged(
                path=str(table),
                rows=manifest.rows,
                missing_blocks=len(manifest.missing_blocks),
                merge_s=round(time.monotonic() - started, 4),
                bytes=manifest.bytes,
                crc32=file_checksum(table),
            )
        )
        return table

    def _latest_merge(self) -> Merged | None:
        """Return the event of the latest merge; None if no merge is known."""
        merges = [event for event in self.folder.read_events() if isinstance(event, Merged)]
        return merges[-1] if merges else None

    def _count_late(self) -> None:
        """Count failed blocks as done if their shards have arrived after all, because a worker was slow, not lost."""
        failed = [block for block in self.plan.blocks if block.index in self.tally.failed]
        if failed and not self.anew:
            receipts, _ = scan_shards(self.folder.shards, failed, run_digest=self.plan.run_digest)
            self.recover([block for block in failed if block.index in receipts], receipts, ())

    def discard_damaged(self) -> list[Block]:
        """Read all shards, remove the damaged ones, and return their blocks."""
        rows = {**self.elsewhere, **self.tally.rows}
        done = [block for block in self.plan.blocks if block.index in rows]
        reasons = find_damaged(self.folder.shards, done, run_digest=self.plan.run_digest)
        damaged = [block for block in done if block.index in reasons]
        for block in damaged:
            logger.warning("%s The block is processed again.", reasons[block.index])
            try:
                (self.folder.shards / f"{block.id}.parquet").unlink(missing_ok=True)
            except OSError as error:
                raise output_error(self.folder.shards, error) from error
            self.emit(
                ShardDamaged(
                    block=block.index,
                    block_id=block.id,
                    frames=block.num_owned,
                    rows=rows[block.index],
                    reason=reasons[block.index],
                )
            )
        return damaged


def _is_merged(table: Path, plan: Plan, missing: tuple[str, ...], lost: FrameRanges, filled: FrameRanges) -> bool:
    try:
        metadata = read_metadata(table)
    except TableError:
        return False
    grown = metadata.input.get("identity") != plan.source.identity  # the dataset has grown, or a chunk was repaired
    found = (metadata.run_digest, metadata.missing_blocks, metadata.lost_frames, metadata.filled_frames)
    return not grown and found == (plan.run_digest, missing, lost, filled)
