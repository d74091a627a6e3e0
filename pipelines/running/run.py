"""The run loop: submit the missing blocks of a plan, record the finished ones, and merge the shards.

Whatever ends a run (a signal, a lost scheduler, a full disk, kill -9), rerunning the same command resumes it.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from distributed import Client

from lls_decode.blocks import Block, FrameRanges
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
)
from lls_decode.pipelines.journal.events import (
    BlockDone,
    BlockFailed,
    DatasetGrown,
    Event,
    Listener,
    RunFinished,
    RunInterrupted,
    RunStarted,
    WorkersExamined,
)
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.json_lines import EventWriter
from lls_decode.pipelines.planning.block_selection import Share, select_blocks
from lls_decode.pipelines.planning.plan import Plan
from lls_decode.system import real_path
from lls_decode.table import remove_leftovers, scan_shards

from .acquisition import Acquisition
from .arithmetic import WorkerDevice, ask_workers, claim_folder, settle_dtype
from .finished import FinishedBlocks, Tally
from .interrupts import Interrupted, interruptible, raise_if_asked
from .ownership import take_ownership
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
        tally = Tally(len(plan.blocks))
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
        finished = FinishedBlocks(plan, folder, tally, emit, len(chosen) < len(plan.blocks), only is not None)
        started = _Run(plan, chosen, client, folder, finished, emit, check, no_workers_s, devices)
        return started.execute(acquisition)


@dataclass(frozen=True)
class _Run:
    """The steps of one start of a run, in a folder that this program has claimed."""

    plan: Plan
    chosen: tuple[Block, ...]
    """Blocks of the plan that this start processes."""
    client: Client
    folder: RunFolder
    finished: FinishedBlocks
    emit: Listener
    check: Callable[[], None]
    no_workers_s: float
    devices: tuple[WorkerDevice, ...] = ()
    """Devices of the workers; empty if the workers have not been asked yet."""
    compiles: bool | None = None
    """Whether workers compile the network; None if this has not been decided yet."""

    def execute(self, acquisition: Acquisition | None) -> RunResult:
        started, merged, tally = time.monotonic(), None, self.finished.tally
        left: tuple[str, ...] = ()
        try:
            with interruptible():
                whole = self if acquisition is None else self._follow(acquisition)
                merged = whole._work()
                left = whole.finished.left()
                remove_leftovers(self.folder.shards)  # of workers that were killed during this start
            status = EXIT_BLOCKS_FAILED if tally.failed or self.finished.lost() else EXIT_DONE
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
        failed = tuple(tally.failed[index] for index in sorted(tally.failed))
        rows = sum(tally.rows.values())
        reason = next((text for _, text in sorted(tally.reasons.items()) if text), "")
        return RunResult(len(tally.rows), failed, rows, merged, status, left, self.finished.lost(), reason)

    def _work(self) -> Path | None:
        """Process the missing blocks and merge; if the merge finds damaged shards, process these blocks again."""
        done = self._take_up(self.chosen)
        missing = [block for block in self.chosen if block.index not in done]
        examined = self._examine_workers(missing) if missing else self
        for repairs in range(MOST_REPAIRS + 1):
            examined._submission(examined._make_task).work(missing)
            try:
                return self.finished.merge()
            except ShardError:
                missing = self.finished.discard_damaged()
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
        finished = replace(self.finished, plan=plan, is_partial=False)
        return replace(self, plan=plan, chosen=plan.blocks, finished=finished)

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
        others = plan.blocks if self.finished.is_partial else ()
        receipts, reasons = scan_shards(
            self.folder.shards, blocks, run_digest=plan.run_digest, others=others, known_bytes=known
        )
        for reason in reasons:
            logger.warning("%s; it is rewritten if it belongs to the plan", reason)
        receipts = {index: receipt for index, receipt in receipts.items() if is_final(receipt, plan.source)}
        remove_leftovers(self.folder.shards)
        remove_leftovers(self.folder.out)
        self.folder.remove_unfinished_table()
        if self.finished.anew:
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
        self.finished.recover(found, receipts, known)
        return receipts

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
            anew=self.finished.anew,
            compiles=self.compiles,
        )

    def _end(self, status: int, started: float) -> RunFinished:
        tally = self.finished.tally
        done, failed = tally.rows, tally.failed
        return RunFinished(
            exit_status=status,
            blocks_done=len(done),
            blocks_failed=len(failed),
            blocks_left=tally.blocks - len(done) - len(failed),
            rows=sum(done.values()),
            run_s=round(time.monotonic() - started, 3),
        )


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
