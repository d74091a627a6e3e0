"""Submit blocks to a ``distributed.Client`` with retries, and limit the number in flight.

The limit is a few tasks for each worker that is connected at present. Results (receipts of 1 kB) are fetched
immediately, so that nothing is lost with a worker.

A block whose worker died or ran out of memory is retried alone, after all others, with nothing else in flight.
"""

import logging
import queue
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from distributed import Client, Future, KilledWorker

from lls_decode.blocks import Block
from lls_decode.config import ExecutionConfig
from lls_decode.errors import AccessError, BlockError, BundleError, ConfigError, LlsDecodeError, OutputError, SiteError
from lls_decode.pipelines.journal.events import BlockDone, BlockFailed, BlockRetried, Listener, WorkersChanged

from .tasks import Task, TaskReport, localize_task

POLL_S = 0.5
"""Time between two checks for the number of workers and for blocks that take too long."""
NO_WORKERS_S = 600.0
"""Time without any worker after which a run fails; its finished blocks are kept."""
FETCH_S = 60.0
"""Time limit for fetching a receipt from a worker."""
RESTART_S = 10.0
"""Time to wait for the restart of a worker that hangs; it may also return later."""
MOST_LOST = 10
"""Number of times that the scheduler may lose a block before the block fails."""
RETRY_DELAY_S = 0.5
"""Delay before the second attempt; the delay before each further attempt is four times longer."""

_NOT_THE_BLOCK: dict[str, type[LlsDecodeError]] = {
    kind.__name__: kind for kind in (AccessError, BundleError, ConfigError, OutputError)
}
"""Causes of failure that would affect every other block as well, so that the run stops."""
_NO_ROOM = ("MemoryError", "PlanError")
"""Causes of failure that another block in the memory of the same worker may be responsible for."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Try:
    """One attempt to process a block."""

    block: Block
    attempts: int = 1
    """Number of attempts so far, including this one."""
    not_before: float = 0.0
    submitted: float = 0.0
    lost: int = 0
    """Number of times that the scheduler lost the task, or that its receipt was lost with a worker."""
    future: "Future[TaskReport] | None" = None


class Submission:
    """State of the submitted blocks. Each instance serves a single call of `work`."""

    def __init__(
        self,
        client: Client,
        make_task: Callable[[Block, int], Task],
        *,
        execution: ExecutionConfig,
        emit: Listener,
        check: Callable[[], None] = lambda: None,
        no_workers_s: float = NO_WORKERS_S,
    ) -> None:
        """``make_task`` gets a block and the number of workers per machine; ``check`` is called often and may raise."""
        self._client = client
        self._make_task = make_task
        self._execution = execution
        self._emit = emit
        self._check = check
        self._no_workers_s = no_workers_s
        self._waiting: deque[_Try] = deque()
        self._delayed: list[_Try] = []
        self._alone: deque[_Try] = deque()
        """Blocks whose worker died or ran out of memory.

        They are retried at the end, one at a time, so that they affect no other block, and no other block them.
        """
        self._suspects: set[int] = set()
        """Indices of the blocks that have been put into `_alone` before."""
        self._has_told_losses = False
        self._in_flight: dict[str, _Try] = {}
        self._finished: queue.SimpleQueue[Future[TaskReport]] = queue.SimpleQueue()
        self._taken: list[Future[TaskReport]] = []
        """Finished tasks, kept until the next ones are submitted.

        Dask's statistics grow each time that the last task of a name is released, which this avoids.
        """
        self._workers = 0
        self._workers_per_host = 1
        self._last_seen = self._last_poll = time.monotonic()

    def work(self, blocks: Iterable[Block], *, later: Iterator[Sequence[Block]] | None = None) -> None:
        """Process all blocks. Returns when each is done or has failed for good, and an event has been emitted for it.

        Further blocks are taken from ``later`` as they become ready, until that iterator ends.
        """
        self._waiting.extend(_Try(block) for block in blocks)
        if self._waiting:
            self._count_workers()
        try:
            while later or self._waiting or self._delayed or self._alone or self._in_flight:
                self._check()
                if later is not None:
                    ready = next(later, None)
                    later = None if ready is None else later
                    self._waiting.extend(_Try(block) for block in ready or ())
                self._fill()
                self._take()
                if time.monotonic() - self._last_poll > POLL_S:
                    self._last_poll = time.monotonic()
                    self._raise_if_gone()
                    self._count_workers()
                    self._expire()
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Cancel the blocks in flight. Tasks that already run may still write their shard, which is harmless."""
        futures = [item.future for item in self._in_flight.values() if item.future is not None]
        self._in_flight.clear()
        if futures and self._client.status == "running":
            try:
                self._client.cancel(futures, force=True)
            except (OSError, TimeoutError, RuntimeError) as error:
                logger.debug("tasks could not be cancelled: %s", error)

    def _count_workers(self) -> None:
        try:
            workers = self._client.scheduler_info()["workers"]
        except (OSError, TimeoutError, RuntimeError, KeyError) as error:  # KeyError: the connection was lost
            self._raise_if_gone()
            logger.warning("the scheduler does not answer (%s)", error)
            return
        now = time.monotonic()
        if workers:
            self._last_seen = now
        elif now - self._last_seen > self._no_workers_s:
            raise SiteError(
                f"There have been no workers for {self._no_workers_s:g} s; finished blocks are kept, rerun the same "
                "command when machines are available."
            )
        if len(workers) != self._workers:
            self._workers = len(workers)
            self._workers_per_host = max(Counter(worker["host"] for worker in workers.values()).values(), default=1)
            self._emit(WorkersChanged(workers=self._workers))

    def _fill(self) -> None:
        now = time.monotonic()
        due = [item for item in self._delayed if item.not_before <= now]
        self._delayed = [item for item in self._delayed if item.not_before > now]
        self._waiting.extendleft(reversed(due))
        limit = self._execution.in_flight_per_worker * max(1, self._workers)
        while self._waiting and len(self._in_flight) < limit:
            self._submit(self._waiting.popleft())
        if self._alone and not (self._waiting or self._delayed or self._in_flight):
            self._submit(self._alone.popleft())

    def _submit(self, item: _Try) -> None:
        task = self._make_task(item.block, self._workers_per_host)
        task = replace(task, last_attempt=item.attempts > self._execution.retries)
        # Dask keeps statistics for each first word of a key; the same first word keeps them from growing.
        key = f"localize-{item.block.id}-{item.attempts}-{uuid.uuid4().hex[:12]}"
        future = self._client.submit(localize_task, task, key=key, pure=False, retries=0)
        self._in_flight[key] = replace(item, future=future, submitted=time.monotonic())
        future.add_done_callback(self._finished.put)

    def _take(self) -> None:
        """Wait briefly for a finished task, then process all that are finished."""
        self._taken.clear()
        try:
            future = self._finished.get(timeout=POLL_S)
            while True:
                self._taken.append(future)
                item = self._in_flight.pop(str(future.key), None)
                if item is not None:
                    self._settle(item, future)
                future = self._finished.get_nowait()
        except queue.Empty:
            return

    def _settle(self, item: _Try, future: "Future[TaskReport]") -> None:
        """Process the outcome of a task: done, failed, lost, or its worker died."""
        status = future.status
        try:
            if status == "finished":
                self._done(item, future.result(timeout=FETCH_S))
                return
            error = future.exception(timeout=FETCH_S) if status == "error" else None
        except LlsDecodeError:
            raise
        except Exception as lost:
            # The worker disappeared with the receipt. Its shard exists, and the next attempt finds it.
            logger.debug("the receipt of %s is lost: %s", item.block.id, lost)
            error = None
        if error is None:
            self._lost(item)
        elif isinstance(error, KilledWorker):
            self._suspect(item, "KilledWorker", f"Block {item.block.id}: its worker died (out of memory?).")
        else:
            self._failed(item, error)

    def _done(self, item: _Try, report: TaskReport) -> None:
        receipt = report.receipt
        if report.reason:
            level = logging.DEBUG if self._has_told_losses else logging.WARNING  # warn once: there may be thousands
            logger.log(level, "frames of %s are lost, the run continues: %s", receipt.block_id, report.reason)
            self._has_told_losses = True
        self._emit(
            BlockDone(
                block=receipt.block_index,
                block_id=receipt.block_id,
                frames=report.frames,
                rows=receipt.rows,
                bytes=receipt.bytes,
                attempts=item.attempts,
                read_s=round(report.read_s, 4),
                start_s=round(report.start_s, 4),
                compute_s=round(report.compute_s, 4),
                write_s=round(report.write_s, 4),
                worker=report.worker,
                pid=report.pid,
                gpu_bytes=report.gpu_bytes,
                lost=receipt.lost,
                frames_lost=item.block.count_owned(receipt.lost),
                filled=receipt.filled,
                reason=report.reason,
            )
        )

    def _lost(self, item: _Try) -> None:
        self._raise_if_gone()
        if item.lost < MOST_LOST:
            self._delayed.append(replace(item, lost=item.lost + 1, not_before=time.monotonic() + RETRY_DELAY_S))
        else:
            self._give_up(item, "Lost", f"Block {item.block.id} was lost by the scheduler {item.lost + 1} times.")

    def _suspect(self, item: _Try, cause: str, reason: str) -> None:
        """Retry a block once with nothing else in flight; if it was alone already, it has failed."""
        if item.block.index in self._suspects:
            self._give_up(item, cause, f"{reason} It was the only block in flight.")
            return
        self._suspects.add(item.block.index)
        self._alone.append(replace(item, attempts=item.attempts + 1))
        self._emit(self._retried(item, reason, alone=True))

    def _failed(self, item: _Try, error: BaseException) -> None:
        reason = str(error) or type(error).__name__
        cause = error.cause if isinstance(error, BlockError) else type(error).__name__
        if cause in _NO_ROOM:
            self._suspect(item, cause, reason)
            return
        if item.attempts <= self._execution.retries:
            delay_s = RETRY_DELAY_S * 4 ** (item.attempts - 1)
            self._delayed.append(replace(item, attempts=item.attempts + 1, not_before=time.monotonic() + delay_s))
            self._emit(self._retried(item, reason, alone=False))
            return
        if cause in _NOT_THE_BLOCK:
            raise _NOT_THE_BLOCK[cause](f"{reason} The run stops; finished blocks are kept.") from error
        self._give_up(item, cause, reason)

    def _retried(self, item: _Try, reason: str, *, alone: bool) -> BlockRetried:
        logger.info("%s is retried: %s", item.block.id, reason)
        return BlockRetried(
            block=item.block.index, block_id=item.block.id, attempts=item.attempts, reason=reason, alone=alone
        )

    def _give_up(self, item: _Try, cause: str, reason: str) -> None:
        block = item.block
        logger.warning("%s has failed: %s", block.id, reason)
        self._emit(
            BlockFailed(
                block=block.index,
                block_id=block.id,
                frames=block.num_owned,
                volumes=(block.volume_start, block.volume_stop),
                planes=(block.plane_start, block.plane_stop),
                attempts=item.attempts,
                cause=cause,
                reason=reason,
            )
        )

    def _expire(self) -> None:
        """Fail blocks that exceed the time limit, and restart their workers, as a hanging thread cannot be stopped."""
        now, limit_s = time.monotonic(), self._execution.block_timeout_s
        late = {key: item for key, item in self._in_flight.items() if now - item.submitted > limit_s}
        if not late:
            return
        running = {key: address for address, keys in self._client.processing().items() for key in keys}
        stuck = set()
        for key, item in late.items():
            if key not in running:  # still waiting for a worker, so the limit does not apply yet
                self._in_flight[key] = replace(item, submitted=now)
                continue
            stuck.add(running[key])
            del self._in_flight[key]
            self._client.cancel([item.future], force=True)
            self._failed(
                item,
                TimeoutError(f"Block {item.block.id} took longer than {limit_s:g} s (execution.block_timeout_s)."),
            )
        for address in stuck:
            try:
                self._client.restart_workers([address], timeout=RESTART_S, raise_for_error=False)
            except Exception as error:
                logger.warning("worker %s hangs and cannot be restarted (%s); restart it manually", address, error)

    def _raise_if_gone(self) -> None:
        if self._client.status != "running":
            raise SiteError(
                f"The connection to the scheduler is lost (client is {self._client.status}); finished blocks are kept, "
                "rerun the same command."
            )
