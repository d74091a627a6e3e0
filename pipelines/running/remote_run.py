"""Watching a run that another program does, from the events that it writes into the run folder."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lls_decode.blocks import FrameRanges, join_ranges
from lls_decode.errors import EXIT_INTERRUPTED, EXIT_TERMINATED
from lls_decode.pipelines.journal.events import BlockDone, BlockFailed, Event, Listener, RunFinished, RunStarted
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.json_lines import EventReader, find_latest

from .run import RunResult

POLL_S = 1.0
LOOK_S = 10.0
"""How often ``is_alive`` is asked."""

logger = logging.getLogger(__name__)


def follow(
    out: Path,
    *,
    since: int = 0,
    is_alive: Callable[[], bool],
    listeners: Sequence[Listener] = (),
) -> RunResult | None:
    """Hand the events of a run on to listeners until it is over; None: whoever did it is gone, and it is not over.

    Parameters
    ----------
    since
        Size of ``events.jsonl`` where to begin; events of earlier starts are before it.
    is_alive
        Whether somebody still works at the run, or will. An interrupted run that somebody will go on with is not over.
    """
    folder, outcome = RunFolder(out), _Outcome()
    reader = EventReader(folder.events, since)
    asked, alive = time.monotonic(), True
    while True:
        for event in reader.read():
            outcome.count(event)
            for listener in listeners:
                listener(event)
        if outcome.end is not None:
            return outcome.result(outcome.end, folder)
        if not alive:  # events were read once more since then
            return None
        if time.monotonic() - asked > LOOK_S:
            asked, alive = time.monotonic(), is_alive()
        if alive:
            time.sleep(POLL_S)


def end_of_events(out: Path) -> int:
    """Where events of the next start will begin."""
    try:
        return RunFolder(out).events.stat().st_size
    except OSError:
        return 0


def latest_start(out: Path) -> int:
    """Where events of the latest start begin."""
    return find_latest(RunFolder(out).events, RunStarted)


@dataclass
class _Outcome:
    """How the latest start of a run ended, from its events."""

    failed: dict[int, BlockFailed] = field(default_factory=dict)
    lost: dict[int, FrameRanges] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    end: RunFinished | None = None

    def count(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.failed, self.lost, self.reasons, self.end = {}, {}, {}, None
        elif isinstance(event, BlockFailed):
            self.failed[event.block] = event
        elif isinstance(event, BlockDone):
            self.lost[event.block], self.reasons[event.block] = event.lost, event.reason
        elif isinstance(event, RunFinished) and event.exit_status not in (EXIT_INTERRUPTED, EXIT_TERMINATED):
            self.end = event

    def result(self, end: RunFinished, folder: RunFolder) -> RunResult:
        merged = folder.table if folder.table.exists() else None
        failed = tuple(self.failed[index] for index in sorted(self.failed))
        lost = join_ranges(self.lost.values())
        reason = next((text for _, text in sorted(self.reasons.items()) if text), "")
        return RunResult(end.blocks_done, failed, end.rows, merged, end.exit_status, lost=lost, lost_reason=reason)
