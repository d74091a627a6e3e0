"""Listeners that show the progress of a run: a bar on a terminal, regular log lines elsewhere."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from lls_decode.pipelines.journal.events import (
    BlockDone,
    BlockFailed,
    BlockRetried,
    DatasetGrown,
    Event,
    Listener,
    MergeStarted,
    RunFinished,
    RunInterrupted,
    RunStarted,
    ShardDamaged,
    WorkersChanged,
)

from .run_status import duration
from .speed import Speed

logger = logging.getLogger(__name__)


@contextmanager
def show_progress(console: Console | None = None, *, interval_s: float = 30.0) -> Iterator[Listener]:
    """Give a listener that shows progress on ``console`` (default: stderr), or in the log if it is not a terminal.

    Parameters
    ----------
    interval_s
        Shortest time between two log lines.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield LogLines(interval_s=interval_s)
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[words]}"),
        console=console,
    )
    with bar:
        yield Bar(bar)


@dataclass
class RunCounts:
    """Progress and speed of a run so far."""

    blocks_total: int = 0
    blocks_done: int = 0
    blocks_lost: int = 0
    frames_total: int = 0
    frames_done: int = 0
    frames_lost: int = 0
    rows: int = 0
    workers: int = 0
    retries: int = 0
    _speed: Speed = field(default_factory=lambda: Speed(0.0))
    _at: float = 0.0

    def count(self, event: Event) -> None:
        """Count an event."""
        self._at = event.at
        if isinstance(event, RunStarted):
            self._speed = Speed(event.at)
            self.blocks_total, self.blocks_done, self.blocks_lost = event.blocks, event.blocks_found, 0
            self.frames_total, self.frames_done, self.frames_lost = event.frames, event.frames_found, 0
            self.rows = event.rows_found
        elif isinstance(event, DatasetGrown):
            self.blocks_total = event.blocks
            self.frames_total += event.frames
        elif isinstance(event, WorkersChanged):
            self.workers = event.workers
        elif isinstance(event, BlockDone) and not event.found:
            self.blocks_done += 1
            self.frames_done += event.frames - event.frames_lost
            self.frames_lost += event.frames_lost
            self.rows += event.rows
            self._speed.add(event.at, event.frames, event.rows)
        elif isinstance(event, ShardDamaged):
            self.blocks_done -= 1
            self.frames_done -= event.frames
            self.rows -= event.rows
        elif isinstance(event, BlockFailed):
            self.blocks_lost += 1
            self.frames_lost += event.frames
        elif isinstance(event, BlockRetried):
            self.retries += 1

    @property
    def frames_per_s(self) -> float:
        """Frames per second over the last minutes."""
        return (self._speed.recent(self._at) or (0.0, 0.0))[0]

    @property
    def rows_per_s(self) -> float:
        """Localizations per second over the last minutes."""
        return (self._speed.recent(self._at) or (0.0, 0.0))[1]

    @property
    def left_s(self) -> float | None:
        """Estimated remaining time at the speed of the last minutes; None before the first block."""
        left = self.frames_total - self.frames_done - self.frames_lost
        return left / self.frames_per_s if self.frames_per_s else None

    def words(self) -> str:
        """Return a line with blocks, speed, workers, remaining time, retries and failures."""
        text = (
            f"{self.blocks_done}/{self.blocks_total} blocks, {self.frames_per_s:.1f} frames/s, "
            f"{self.rows_per_s:.0f} localizations/s, {self.workers} worker{'' if self.workers == 1 else 's'}"
        )
        if self.left_s:
            text += f", {duration(self.left_s)} to go"
        if self.retries:
            text += f", {self.retries} retr{'y' if self.retries == 1 else 'ies'}"
        if self.blocks_lost:
            text += f", {self.blocks_lost} FAILED ({self.frames_lost} frames lost)"
        elif self.frames_lost:
            text += f", {self.frames_lost} FRAMES LOST"
        return text


class Bar:
    """Listener that updates a progress bar."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._counts = RunCounts()
        self._task: TaskID | None = None

    def __call__(self, event: Event) -> None:
        """Show the event."""
        counts = self._counts
        counts.count(event)
        if isinstance(event, RunStarted) and self._task is None:
            self._task = self._progress.add_task(
                "localizing", total=counts.frames_total, completed=counts.frames_done, words=""
            )
        if self._task is None:
            return
        merging = isinstance(event, MergeStarted)
        self._progress.update(
            self._task,
            description="merging" if merging else None,
            total=counts.frames_total,
            completed=counts.frames_done + counts.frames_lost,
            words=counts.words(),
        )


class LogLines:
    """Listener that logs a line at most every ``interval_s`` seconds, and at the beginning and the end."""

    def __init__(self, *, interval_s: float) -> None:
        self._interval_s = interval_s
        self._counts = RunCounts()
        self._next = 0.0

    def __call__(self, event: Event) -> None:
        """Count the event, and log a line if it is due."""
        self._counts.count(event)
        if isinstance(event, RunStarted):
            self._next = time.monotonic() + self._interval_s
            logger.info(
                "run %s: %d blocks, %d of them already done; %d frames",
                event.run_digest,
                event.blocks,
                event.blocks_found,
                event.frames,
            )
        elif isinstance(event, MergeStarted):
            logger.info("merging %d shards with %d rows", event.blocks, event.rows)
        elif isinstance(event, RunInterrupted):
            logger.warning("%s: the run stops; rerun the same command to resume", event.signal)
        elif isinstance(event, RunFinished):
            logger.info(
                "%s; %d blocks done, %d failed, %d left, %d rows in %.1f s",
                self._counts.words(),
                event.blocks_done,
                event.blocks_failed,
                event.blocks_left,
                event.rows,
                event.run_s,
            )
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + self._interval_s
            logger.info("%s", self._counts.words())
