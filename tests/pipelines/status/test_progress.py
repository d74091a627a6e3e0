"""Progress of a run, shown as a bar on a terminal and as log lines elsewhere, with the same figures."""

import io
import logging
from typing import Any

import pytest
from rich.console import Console

from lls_decode.pipelines.journal.events import (
    BlockDone,
    BlockFailed,
    BlockRetried,
    Event,
    MergeStarted,
    RunFinished,
    RunStarted,
    WorkersChanged,
)
from lls_decode.pipelines.status.progress import RunCounts, show_progress


def block_done(index: int, at: float, *, attempts: int = 1) -> BlockDone:
    zero: dict[str, Any] = dict.fromkeys(("read_s", "start_s", "compute_s", "write_s"), 0.0)
    return BlockDone(
        at=at,
        block=index,
        block_id=f"b{index:06d}",
        frames=10,
        rows=50,
        bytes=1000,
        attempts=attempts,
        worker="tcp://w",
        pid=1,
        **zero,
    )


EVENTS: list[Event] = [
    RunStarted(at=100.0, run_digest="abc", blocks=6, blocks_found=1, frames=60, frames_found=10, rows_found=50),
    WorkersChanged(at=100.0, workers=3),
    block_done(0, 100.0, attempts=0),
    block_done(1, 101.0),
    BlockRetried(at=101.5, block=2, block_id="b000002", attempts=1, reason="so", alone=False),
    block_done(2, 102.0),
    BlockFailed(
        at=104.0,
        block=3,
        block_id="b000003",
        frames=10,
        volumes=(30, 40),
        planes=(0, 1),
        attempts=3,
        cause="ChunkError",
        reason="so",
    ),
]


def test_counts_and_rates_follow_from_the_events() -> None:
    rates = RunCounts()
    for event in EVENTS:
        rates.count(event)
    assert (rates.frames_done, rates.frames_lost, rates.rows) == (30, 10, 150)
    assert rates.frames_per_s == 20 / 4
    assert rates.rows_per_s == 100 / 4
    assert rates.left_s == 20 / 5
    assert rates.words() == (
        "3/6 blocks, 5.0 frames/s, 25 localizations/s, 3 workers, 4 s to go, 1 retry, 1 FAILED (10 frames lost)"
    )


def test_remaining_time_follows_the_recent_speed() -> None:
    """A run processes one block per second for a day, and then one block every ten seconds."""
    rates = RunCounts()
    rates.count(RunStarted(at=0, run_digest="a", blocks=90_000, blocks_found=0, frames=900_000, frames_found=0,
                           rows_found=0))  # fmt: skip
    for second in range(1, 80_001, 1):
        rates.count(block_done(second, float(second)))
    assert rates.left_s == pytest.approx(10_000, rel=0.01)
    for step in range(1, 101):
        rates.count(block_done(80_000 + step, 80_000.0 + 10 * step))
    assert rates.left_s == pytest.approx(99_000, rel=0.05)


def test_progress_is_logged_without_a_terminal(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), show_progress(Console(file=io.StringIO()), interval_s=0) as listener:
        for event in [
            *EVENTS,
            MergeStarted(blocks=5, rows=150),
            RunFinished(exit_status=1, blocks_done=5, blocks_failed=1, blocks_left=0, rows=150, run_s=4.0),
        ]:
            listener(event)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "run abc: 6 blocks, 1 of them already done; 60 frames"
    assert any("4 s to go" in line for line in lines)
    assert "5 blocks done, 1 failed, 0 left, 150 rows in 4.0 s" in lines[-1]


def test_progress_is_logged_at_most_once_per_interval(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), show_progress(Console(file=io.StringIO()), interval_s=1000) as listener:
        for event in EVENTS:
            listener(event)
    assert len(caplog.records) == 1


def test_progress_is_a_bar_on_a_terminal() -> None:
    screen = io.StringIO()
    with show_progress(Console(file=screen, force_terminal=True, width=150)) as listener:
        for event in EVENTS:
            listener(event)
    assert "3/6 blocks, 5.0 frames/s, 25 localizations/s, 3 workers, 4 s to go" in screen.getvalue()
    assert "67%" in screen.getvalue()
