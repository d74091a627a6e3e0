"""The run loop: submit the missing blocks of a plan, record the finished ones, and merge the shards.

Whatever ends a run (a signal, a lost scheduler, a full disk, kill -9), rerunning the same command resumes it.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Container, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from distributed import Client

from lls_decode.blocks import Block, FrameRanges, join_ranges
from lls_decode.config import choose_compilation
from lls_decode.errors import (
    EXIT_BLOCKS_FAILED,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    ConfigError,
    LlsDecodeError,
    OutputError,
    RunConflictError,
    ShardError,
    SiteError,
    TableError,
)
from lls_decode.pipelines.journal.events import (
    BlockDone,
    BlockFailed,
    DatasetGrown,
    Event,
    Listener,
    Merged,
    MergeStarted,
    RunFinished,
    RunInterrupted,
    RunStarted,
    ShardDamaged,
    WorkersExamined,
)
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.json_lines import EventWriter
from lls_decode.pipelines.journal.merged_table import file_checksum, find_table_damage
from lls_decode.pipelines.planning.block_selection import Share, select_blocks
from lls_decode.pipelines.planning.plan import Plan
from lls_decode.system import real_path
from lls_decode.table import (
    ShardReceipt,
    find_damaged,
    merge_shards,
    read_metadata,
    remove_leftovers,
    scan_shards,
)
from lls_decode.table.files import output_error

from .acquisition import Acquisition
from .arithmetic import WorkerDevice, ask_workers, claim_folder, settle_dtype
from .interrupts import Interrupted, interruptible, raise_if_asked
from .ownership import table_metadata, take_ownership
from .submission import NO_WORKERS_S, Submission
from .tasks import Task, is_final

MOST_REPAIRS = 2
"""Number of times that a merge may find damaged shards and recompute them, before the run fails."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """Result of a run."""

    done: int
    """Number of blocks with a valid shard, including those of earlier starts."""
    failed: tuple[BlockFailed, ...]
    """Blocks that failed."""
    rows: int
    """Number of localizations in the finished blocks."""
    merged: Path | None
    """Path of the table; None if the run was interrupted, no block is done, or blocks of other starts are missing."""
    exit_status: int
    left: tuple[str, ...] = ()
    """Ids of the blocks that have no shard. A start that processes some of the blocks merges only if none is left."""
    lost: FrameRanges = ()
    """Frames of finished blocks that could not be read. Rerunning the same command retries them."""
    lost_reason: str = ""
    """Why the first block with lost frames could not read them; empty if an earlier start processed that block."""

    @property
    def num_lost(self) -> int:
        """Number of lost frames."""
        return sum(stop - start for start, stop in self.lost)


def run(
    plan: Plan,
    client: Client,
    *,
    listeners: Sequence[Listener] = (),
    force: bool = False,
    no_workers_s: float = NO_WORKERS_S,
    only: Collection[int] | None = None,
    share: Share | None = None,
    acquisition: Acquisition | None = None,
) -> RunResult:
    """Process the blocks of a plan that are not done yet, and merge all shards.

    In the main thread, Ctrl-C ends the run with exit status 130, and SIGTERM and SIGUSR1 end it with 143. Blocks whose
    shards turn out to be damaged, at the start or during the merge, are processed again.

    Parameters
    ----------
    listeners
        Functions that are called with each event, in order, in this thread.
    force
        Discard another run in the run folder. Finished blocks of the same run are always kept.
    no_workers_s
        Time without workers after which the run fails.
    only
        Numbers of the blocks to process; their existing shards are replaced.
    share
        Share of the blocks to process. Other programs may process other shares in the same folder at the same time. The
        program that finds all blocks finished merges them.
    acquisition
        Dataset that is still being written: its blocks are processed as they become ready, until the acquisition ends.
        ``plan`` is then the result of `Acquisition.wait`.

    Raises
    ------
    RunConflictError
        The folder contains another run, or another program is using it.
    ConfigError
        ``share`` and ``force`` are both set, which would discard finished blocks of other shares.
    PlanError
        A block does not fit into the memory of a worker.
    SiteError
        The scheduler or all workers are lost.
    OutputError, BundleError, AccessError
        An error that would make every block fail.
    """
    if share and force:
        raise ConfigError(
            "--force cannot be combined with --share: jobs that start together would discard each other's blocks; "
            f"remove the contents of {plan.out}, or give another --out."
        )
    folder = RunFolder(plan.out, share.name if share else "")
    plan.check_memory(_smallest_memory(client))
    folder.create()
    with folder.locked() as lock, ExitStack() as stack:
        plan, devices = claim_folder(plan, folder, client, force=force, patience_s=no_workers_s)
        tally = _Tally(len(plan.blocks))
        everyone: list[Listener] = [tally]
        for path, kinds in ((folder.ledger, (BlockDone, BlockFailed)), (folder.events, None)):
            file = EventWriter(path, kinds)
            stack.callback(file.close)
            everyone.append(file)
        everyone += listeners

        def emit(event: Event) -> None:
            for listener in everyone:
                listener(event)

        def check() -> None:
            raise_if_asked()
            if lock.lost.is_set():
                raise RunConflictError(f"Another program has taken over {plan.out}; this program stops.")

        chosen = select_blocks(plan.blocks, only=only, share=share)
        started = _Run(plan, chosen, only is not None, client, folder, tally, emit, check, no_workers_s, devices)
        return started.execute(acquisition)


@dataclass
class _Tally:
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
class _Run:
    """The steps of one start of a run, in a folder that this program has claimed."""

    plan: Plan
    chosen: tuple[Block, ...]
    """Blocks of the plan that this start processes."""
    anew: bool
    """Whether finished blocks are also processed again."""
    client: Client
    folder: RunFolder
    tally: _Tally
    emit: Listener
    check: Callable[[], None]
    no_workers_s: float
    devices: tuple[WorkerDevice, ...] = ()
    """Devices of the workers; empty if the workers have not been asked yet."""
    compiles: bool | None = None
    """Whether workers compile the network; None if this has not been decided yet."""
    elsewhere: dict[int, int] = field(default_factory=dict)
    """Number of rows of each block that has a shard, by block index; 0 until the footer of the shard has been read.

    Filled before a merge, and only if this start processes some of the blocks and leaves others to other starts.
    """
    receipts: dict[int, ShardReceipt] = field(default_factory=dict)
    """Receipts of the blocks in `elsewhere`; filled once all blocks have a shard."""

    def execute(self, acquisition: Acquisition | None) -> RunResult:
        started, merged = time.monotonic(), None
        left: tuple[str, ...] = ()
        try:
            with interruptible():
                whole = self if acquisition is None else self._follow(acquisition)
                merged = whole._work()
                left = whole._left()
                remove_leftovers(self.folder.shards)  # of workers that were killed during this start
            status = EXIT_BLOCKS_FAILED if self.tally.failed or self._lost() else EXIT_DONE
        except (Interrupted, KeyboardInterrupt) as interrupt:
            name, status = "SIGINT", EXIT_INTERRUPTED
            if isinstance(interrupt, Interrupted):
                name, status = interrupt.name, interrupt.exit_status
            self._say(RunInterrupted(signal=name))
            self._say(self._end(status, started))
        except Exception as error:
            status = error.exit_status if isinstance(error, LlsDecodeError) else EXIT_BLOCKS_FAILED
            self._say(self._end(status, started))
            raise
        else:
            self.emit(self._end(status, started))
        failed = tuple(self.tally.failed[index] for index in sorted(self.tally.failed))
        rows = sum(self.tally.rows.values())
        reason = next((text for _, text in sorted(self.tally.reasons.items()) if text), "")
        return RunResult(len(self.tally.rows), failed, rows, merged, status, left, self._lost(), reason)

    def _work(self) -> Path | None:
        """Process the missing blocks and merge; if the merge finds damaged shards, process these blocks again."""
        done = self._take_up(self.chosen)
        missing = [block for block in self.chosen if block.index not in done]
        examined = self._examine_workers(missing) if missing else self
        for repairs in range(MOST_REPAIRS + 1):
            examined._submission(examined._make_task).work(missing)
            try:
                return self._merge()
            except ShardError:
                missing = self._discard_damaged()
                if not missing or repairs == MOST_REPAIRS:
                    raise
        raise AssertionError("the loop returns or raises")

    def _examine_workers(self, missing: Sequence[Block]) -> "_Run":
        """Decide whether to compile the network for the missing blocks, and emit the devices of the workers.

        Raises
        ------
        ConfigError
            The workers cannot resume the run.
        """
        compute, devices = self.plan.config.compute, self.devices
        if not devices:
            devices = ask_workers(self.client, self.plan, check=self.check, patience_s=self.no_workers_s)
        settle_dtype(self.plan, devices)
        num_pixels = sum(block.num_owned for block in missing) * self.plan.frame_px
        choice = choose_compilation(compute.compile, [device.code for device in devices], num_pixels)
        logger.info("network: %s", choice.describe())
        counts = Counter(device.name for device in devices)
        self.emit(
            WorkersExamined(
                dtype=compute.dtype,
                devices=tuple(counts),
                workers=tuple(counts.values()),
                network=choice.describe(),
            )
        )
        return replace(self, compiles=choice.is_on)

    def _say(self, event: Event) -> None:
        """Emit an event while the run ends for another reason.

        An OutputError, for example of a full disk, is only logged, so that it does not hide that reason.
        """
        try:
            self.emit(event)
        except OutputError as error:
            logger.warning("%s", error)

    def _follow(self, acquisition: Acquisition) -> "_Run":
        """Process blocks as they become ready until the acquisition ends, and return a run of the whole dataset."""

        def make_task(block: Block, workers_per_host: int) -> Task:
            source = acquisition.source
            assert source is not None  # since there are blocks
            grown = replace(block, num_volumes=source.layout.num_volumes)
            return replace(examined._make_task(grown, workers_per_host), source=source)

        def emit(event: Event) -> None:
            self.emit(event)
            if isinstance(event, DatasetGrown) and acquisition.source is not None:
                self.folder.note_layout(acquisition.source.layout)

        done = self._take_up(acquisition.blocks)
        examined = self._examine_workers([block for block in acquisition.blocks if block.index not in done])
        ready = ([block for block in some if block.index not in done] for some in acquisition.iter_blocks(emit))
        self._submission(make_task).work((), later=ready)
        plan = acquisition.whole_plan()
        take_ownership(plan, self.folder, force=False)
        return replace(self, plan=plan, chosen=plan.blocks)

    def _submission(self, make_task: Callable[[Block, int], Task]) -> Submission:
        return Submission(
            self.client,
            make_task,
            execution=self.plan.config.execution,
            emit=self.emit,
            check=self.check,
            no_workers_s=self.no_workers_s,
        )

    def _take_up(self, blocks: Sequence[Block]) -> Collection[int]:
        """Emit `RunStarted`, and return the numbers of the blocks that are already done.

        Blocks with lost frames are not among them, so that they are retried.
        """
        plan = self.plan
        events, _ = self.folder.read_ledger()
        known = {event.block: event.bytes for event in events if isinstance(event, BlockDone)}
        others = plan.blocks if self._is_partial else ()
        receipts, reasons = scan_shards(
            self.folder.shards, blocks, run_digest=plan.run_digest, others=others, known_bytes=known
        )
        for reason in reasons:
            logger.warning("%s; it is rewritten if it belongs to the plan", reason)
        receipts = {index: receipt for index, receipt in receipts.items() if is_final(receipt, plan.source)}
        remove_leftovers(self.folder.shards)
        remove_leftovers(self.folder.out)
        self.folder.remove_unfinished_table()
        if self.anew:
            receipts = {}
            self.folder.table.unlink(missing_ok=True)  # an older table must not be taken for the merged result
        found = [block for block in blocks if block.index in receipts]
        self.emit(
            RunStarted(
                run_digest=plan.run_digest,
                blocks=len(blocks),
                blocks_found=len(found),
                frames=sum(block.num_owned for block in blocks),
                frames_found=sum(block.num_owned for block in found),
                rows_found=sum(receipt.rows for receipt in receipts.values()),
            )
        )
        self._recover(found, receipts, known)
        return receipts

    def _recover(self, found: Sequence[Block], receipts: dict[int, ShardReceipt], known: Container[int]) -> None:
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

    def _make_task(self, block: Block, workers_per_host: int) -> Task:
        plan = self.plan
        return Task(
            block=block,
            source=plan.source,
            bundle_path=plan.bundle_path,
            bundle_digest=plan.bundle_digest,
            config=plan.config,
            shards=str(real_path(self.folder.shards)),
            run_digest=plan.run_digest,
            workers_per_host=workers_per_host,
            anew=self.anew,
            compiles=self.compiles,
        )

    @property
    def _is_partial(self) -> bool:
        """Whether this start processes only some of the blocks of the plan."""
        return len(self.chosen) < len(self.plan.blocks)

    def _look_elsewhere(self) -> None:
        """Find the blocks that other starts have finished.

        The footers of the shards are read only when all blocks have a shard, because many jobs may do this at a time.
        """
        self.elsewhere.clear()
        self.receipts.clear()
        if not self._is_partial:
            return
        plan, names = self.plan, self.folder.list_shards()
        self.elsewhere.update({block.index: 0 for block in plan.blocks if block.id in names})
        if len(self.elsewhere) == len(plan.blocks):
            receipts, _ = scan_shards(self.folder.shards, plan.blocks, run_digest=plan.run_digest)
            self.elsewhere.clear()
            self.elsewhere.update({index: receipt.rows for index, receipt in receipts.items()})
            self.receipts.update(receipts)

    def _lost(self) -> FrameRanges:
        """Return the lost frames of all blocks that are known to be done."""
        return join_ranges([*(receipt.lost for receipt in self.receipts.values()), *self.tally.lost.values()])

    def _filled(self) -> FrameRanges:
        return join_ranges([*(receipt.filled for receipt in self.receipts.values()), *self.tally.filled.values()])

    def _left(self) -> tuple[str, ...]:
        """Return the ids of the blocks of the plan that have no shard."""
        done = self.elsewhere.keys() | self.tally.rows.keys()
        return tuple(block.id for block in self.plan.blocks if block.index not in done)

    def _merge(self) -> Path | None:
        """Merge the shards unless the table is up to date, and return the path of the table.

        Returns None if there are no shards, or if blocks of other starts are still missing.
        """
        self._count_late()
        self._look_elsewhere()
        done, missing = {**self.elsewhere, **self.tally.rows}, self._left()
        if not done or (missing and self._is_partial):
            return None
        table = self.folder.table
        if _is_merged(table, self.plan, missing, self._lost(), self._filled()):
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
            return self._merge()
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
            self._recover([block for block in failed if block.index in receipts], receipts, ())

    def _discard_damaged(self) -> list[Block]:
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

    def _end(self, status: int, started: float) -> RunFinished:
        done, failed = self.tally.rows, self.tally.failed
        return RunFinished(
            exit_status=status,
            blocks_done=len(done),
            blocks_failed=len(failed),
            blocks_left=self.tally.blocks - len(done) - len(failed),
            rows=sum(self.tally.rows.values()),
            run_s=round(time.monotonic() - started, 3),
        )


def _is_merged(table: Path, plan: Plan, missing: tuple[str, ...], lost: FrameRanges, filled: FrameRanges) -> bool:
    try:
        metadata = read_metadata(table)
    except TableError:
        return False
    grown = metadata.input.get("identity") != plan.source.identity  # the dataset has grown, or a chunk was repaired
    found = (metadata.run_digest, metadata.missing_blocks, metadata.lost_frames, metadata.filled_frames)
    return not grown and found == (plan.run_digest, missing, lost, filled)


def _smallest_memory(client: Client) -> int:
    """Return the smallest memory limit of any worker, bytes; 0 if no limit is known."""
    try:
        workers = client.scheduler_info()["workers"].values()
    except KeyError as error:  # raised if the connection of the client was lost
        raise SiteError(
            "The connection to the scheduler was lost right after it had answered; rerun the same command, or see the "
            "log of the scheduler."
        ) from error
    except (OSError, TimeoutError) as error:
        raise SiteError(f"The scheduler does not answer ({error}); start it, or give another --site.") from error
    return min((int(worker["memory_limit"] or 0) for worker in workers if worker["memory_limit"]), default=0)
