"""Read the status of a run from the files in its folder, also while it runs and after its machine has died.

Each read processes only what was added since the previous one, so that runs of 100 000 blocks can be watched: ledger
and events are read from their previous end, and shards are listed every `RELIST_S`. Nothing is written.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from lls_decode.blocks import Block
from lls_decode.pipelines.journal.events import (
    BlockDone,
    BlockFailed,
    BlockRetried,
    Event,
    Merged,
    RunStarted,
    SettledBlock,
    ShardDamaged,
)
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.json_lines import EventReader
from lls_decode.pipelines.journal.merged_table import find_table_damage
from lls_decode.pipelines.journal.record import RunRecord

from .latest_start import LatestStart
from .losses import lost_frames, volumes_of
from .run_status import FailedBlock, RunStatus
from .speed import SpeedHistory
from .volume_coverage import VolumeCoverage

RELIST_S = 60.0
"""Time between two listings of the shards. In between, blocks are counted from the ledger."""
LEFT, DONE, FAILED, RETRIED = range(4)
"""States of a block; ``RETRIED``: the block has failed before and is being retried."""

_SUMS = ("rows", "bytes", "read_s", "compute_s", "write_s", "frames_lost")


def read_status(out: str | Path) -> RunStatus:
    """Read the status of the run in a folder. Writes nothing.

    Raises
    ------
    InputError
        The folder contains no run.
    """
    return RunReader(out).read()


class RunReader:
    """Reader for the status of a run that is read repeatedly, by one thread at a time.

    Raises
    ------
    InputError
        The folder contains no run.
    """

    def __init__(self, out: str | Path) -> None:
        self.out = str(out)
        self._relist_at = 0.0
        self._folder = RunFolder(Path(out))
        self._begin()

    @property
    def record(self) -> RunRecord:
        """Record of the run; a new object after each start."""
        return self._record

    @property
    def blocks(self) -> Sequence[Block]:
        """Blocks of the plan, in order."""
        return self._blocks

    @property
    def history(self) -> SpeedHistory:
        """Speed over time, since the latest start."""
        return self._start.history

    @property
    def states(self) -> npt.NDArray[np.uint8]:
        """``LEFT``, ``DONE``, ``FAILED`` or ``RETRIED`` of each block, as of the latest `read`."""
        states = np.where(self._retried, RETRIED, LEFT).astype(np.uint8)
        states[self._latest == FAILED] = FAILED
        states[self._has_shard] = DONE
        return states

    def read(self) -> RunStatus:
        """Read what was added to the files, and return the current status.

        Raises
        ------
        InputError
            The folder no longer contains a run.
        """
        if self._version() != self._seen:  # the run was started again: count from zero again
            self._begin()
        for file in self._open_files("ledger"):
            for event in file.read():
                if isinstance(event, SettledBlock) and 0 <= event.block < len(self._blocks):
                    self._count_block(event)
        for file in self._open_files("events"):
            for event in file.read(without=(BlockDone, BlockFailed)):
                self._count_event(event)
        if time.monotonic() > self._relist_at:
            self._relist_at = time.monotonic() + RELIST_S
            shards = self._folder.list_shards()
            self._has_shard = np.array([block.id in shards for block in self._blocks], dtype=np.bool_)
        return self._status()

    def _begin(self) -> None:
        """Discard all counts, and open the run that is in the folder now."""
        self._seen = self._version()
        self._record = self._folder.read_run()
        self._blocks = self._record.plan_blocks()
        number = len(self._blocks)
        self._files: dict[str, dict[Path, EventReader]] = {"ledger": {}, "events": {}}
        self._latest = np.zeros(number, dtype=np.uint8)
        """State of each block in the ledger: ``DONE`` or ``FAILED``; 0 without a line."""
        self._settled_at = np.zeros(number)
        """Time of the latest line of each block in the ledger."""
        self._attempts = np.zeros(number, dtype=np.int64)
        self._retried = np.zeros(number, dtype=np.bool_)
        self._has_shard = np.zeros(number, dtype=np.bool_)
        self._sums = {name: np.zeros(number) for name in _SUMS}
        self._failures: dict[int, BlockFailed] = {}
        self._losses: dict[int, BlockDone] = {}
        """Latest events of finished blocks that have lost frames, or frames that were read as the fill value."""
        self._start = LatestStart(self._record.started_at)
        self._owned = np.array([block.num_owned for block in self._blocks], dtype=np.int64)
        self._coverage = VolumeCoverage.of(self._blocks)
        self._relist_at = 0.0
        self._merged: Merged | None = None
        self._has_restarted = False
        """Whether all blocks are processed again since the latest merge, which removes the table."""
        self._looked_at: tuple[object, str | None] = (None, None)

    def _version(self) -> tuple[int, int]:
        """Return a value that changes whenever ``run.json`` is written."""
        try:
            found = self._folder.record.stat()
        except OSError:
            return 0, 0
        return found.st_ino, found.st_mtime_ns

    def _open_files(self, kind: Literal["ledger", "events"]) -> list[EventReader]:
        files = self._files[kind]
        for path in self._folder.files_of(kind):
            files.setdefault(path, EventReader(path))
        return list(files.values())

    def _count_block(self, event: SettledBlock) -> None:
        """Count an event of the ledger."""
        index = event.block
        if isinstance(event, BlockDone):
            self._start.count_block(event)
        if event.at < self._settled_at[index]:  # of several ledgers, the latest line counts
            return
        self._settled_at[index] = event.at
        self._attempts[index] = event.attempts
        self._retried[index] = False
        if isinstance(event, BlockFailed):
            self._latest[index] = FAILED
            self._failures[index] = event
            return
        self._latest[index] = DONE
        self._has_shard[index] = True
        self._failures.pop(index, None)
        self._losses.pop(index, None)
        if event.lost or event.filled:
            self._losses[index] = event
        for name, values in self._sums.items():
            values[index] = getattr(event, name)

    def _count_event(self, event: Event) -> None:
        """Update the counts from an event that is not in the ledger."""
        if isinstance(event, BlockRetried):
            if 0 <= event.block < len(self._blocks):
                self._retried[event.block] = True
        elif isinstance(event, ShardDamaged):  # its shard was removed: list the shards again
            self._relist_at = 0.0
        elif isinstance(event, Merged):
            self._merged, self._has_restarted = event, False
        elif isinstance(event, RunStarted) and not event.blocks_found:
            self._has_restarted = True
        self._start.count_event(event)

    def _find_damage(self) -> str | None:
        """Return why the merged table is damaged or gone; None if it is not, or has not been merged.

        The table is checked again only if its file, modification time or size has changed.
        """
        try:
            found = self._folder.table.stat()
        except OSError:
            return None if self._merged is None or self._has_restarted else "it was merged, but the file is gone"
        key = (found.st_ino, found.st_mtime_ns, found.st_size, self._merged)
        if self._looked_at[0] != key:
            self._looked_at = (key, self._look_at_table())
        return self._looked_at[1]

    def _look_at_table(self) -> str | None:
        return find_table_damage(self._folder.table, self._merged, run_digest=self._record.run_digest, whole=False)

    def _status(self) -> RunStatus:
        folder, record, start = self._folder, self._record, self._start
        done = self._has_shard
        failed = (self._latest == FAILED) & ~done
        known = done & (self._latest == DONE)
        sums = {name: float(values[known].sum()) for name, values in self._sums.items()}
        frames, frames_done, frames_failed = (int(self._owned[mask].sum()) for mask in (done | True, done, failed))
        lost = [(self._blocks[index], event) for index, event in sorted(self._losses.items()) if known[index]]
        frames_done, frames_failed = (
            frames_done - round(sums["frames_lost"]),
            frames_failed + round(sums["frames_lost"]),
        )
        owner, merged = folder.owner(), folder.table.exists()
        damage = None if owner else self._find_damage()
        complete = merged and damage is None and bool(done.all()) and not any(event.lost for _, event in lost)
        overall = start.speed.overall()
        speed = start.speed.recent() if owner else overall
        left = frames - frames_done - frames_failed
        return RunStatus(
            out=self.out,
            dataset=record.dataset,
            model=f"{record.model.name} ({record.model.path})",
            run_digest=record.run_digest,
            dtype=record.config.compute.dtype,
            devices=start.devices,
            network=start.network,
            state="running" if owner else "done" if complete else "incomplete",
            owner=owner,
            merging=start.merging,
            started_at=start.at,
            ended_at=start.ended_at,
            last_at=start.speed.until or None,
            blocks=len(self._blocks),
            blocks_done=int(done.sum()),
            blocks_failed=int(failed.sum()),
            blocks_left=int((~done & ~failed).sum()),
            frames=frames,
            frames_done=frames_done,
            frames_failed=frames_failed,
            frames_filled=sum(block.count_owned(event.filled) for block, event in lost),
            rows=round(sums["rows"]),
            shard_bytes=round(sums["bytes"]),
            frames_per_s=speed[0] if speed else None,
            rows_per_s=speed[1] if speed else None,
            frames_per_s_overall=overall[0] if overall else None,
            left_s=left / speed[0] if speed and speed[0] and owner else None,
            read_s=sums["read_s"],
            compute_s=sums["compute_s"],
            write_s=sums["write_s"],
            retries=int(np.maximum(self._attempts - 1, 0).sum()),
            workers_now=start.workers_now if owner else None,
            workers=tuple(item.status() for item in start.workers.values()),
            volumes=self._coverage.ranges(done, failed, volumes_of(lost)),
            table=str(folder.table) if merged else None,
            table_damage=damage,
            failed=tuple(
                _failed_block(self._blocks[index], self._failures[index]) for index in np.flatnonzero(failed).tolist()
            ),
            lost=tuple(lost_frames(block, event) for block, event in lost if event.frames_lost),
            broken_lines=sum(
                file.broken + int(file.unfinished and owner is None) for file in self._files["ledger"].values()
            ),
        )


def _failed_block(block: Block, event: BlockFailed) -> FailedBlock:
    return FailedBlock(
        block_id=block.id,
        frames=block.num_owned,
        volumes=(block.volume_start, block.volume_stop),
        planes=(block.plane_start, block.plane_stop),
        cause=event.cause,
        reason=event.reason,
    )
