"""Follow a run of another program through the events that it writes into the run folder."""

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
"""Time between two calls of ``is_alive``."""

logger = logging.getLogger(__name__)


def follow(
    out: Path,
    *,
    since: int = 0,
    is_alive: Callable[[], bool],
    listeners: Sequence[Listener] = (),
) -> RunResult | None:
    """Pass the events of a run to listeners until the run ends, and return its result.

    Returns None if the program that runs it is gone before the run has ended.

    Parameters
    ----------
    since
        Byte offset in ``events.jsonl`` at which to start reading, to skip the events of earlier starts.
    is_alive
        Function that says whether a program is still working on the run, or will resume it. As long as it returns True,
        an interrupted run has not ended.
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
        if not alive:  # the events have been read once more since the check
            return None
        if time.monotonic() - asked > LOOK_S:
            asked, alive = time.monotonic(), is_alive()
        if alive:
            time.sleep(POLL_S)


def end_of_events(out: Path) -> int:
    """Return the byte offset at which the events of the next start will begin."""
    try:
        return RunFolder(out).events.stat().st_size
    except OSError:
        return 0


def latest_start(out: Path) -> int:
    """Return the byte offset at which the events of the latest start begin."""
    return find_latest(RunFolder(out).events, RunStarted)


@dataclass
class _Outcome:
    """Outcome of the latest start of a run, collected from its events."""

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
