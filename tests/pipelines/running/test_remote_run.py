"""Following the run of another program through its files, across interruptions, until it is finished."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lls_decode.pipelines.journal.events import (
    BlockFailed,
    Event,
    RunFinished,
    RunInterrupted,
    RunStarted,
    WorkersChanged,
)
from lls_decode.pipelines.journal.json_lines import EventWriter
from lls_decode.pipelines.running.remote_run import end_of_events, follow, latest_start

STARTED = RunStarted(run_digest="a", blocks=2, blocks_found=0, frames=8, frames_found=0, rows_found=0)
FAILED = BlockFailed(
    block=1, block_id="b000001", frames=4, volumes=(4, 8), planes=(0, 1), attempts=3, cause="ChunkError", reason="gone"
)


def finished(status: int, **counts: int) -> RunFinished:
    numbers = {"blocks_done": 1, "blocks_failed": 0, "blocks_left": 1, "rows": 10, **counts}
    return RunFinished(exit_status=status, run_s=1.0, **numbers)


def write(out: Path, *events: Event) -> None:
    file = EventWriter(out / "events.jsonl")
    for event in events:
        file(event)
    file.close()


def collect(out: Path, since: int, is_alive: Callable[[], bool]) -> tuple[object, list[Event]]:
    seen: list[Event] = []
    return follow(out, since=since, is_alive=is_alive, listeners=[seen.append]), seen


def test_interrupted_run_is_followed_until_it_is_finished(tmp_path: Path) -> None:
    write(tmp_path, STARTED, finished(0))  # an earlier start, whose end does not count
    since = end_of_events(tmp_path)

    def work() -> None:
        write(tmp_path, STARTED, FAILED, RunInterrupted(signal="SIGTERM"), finished(143))
        with (tmp_path / "events.jsonl").open("a") as file:
            file.write('{"event":"RunSta')  # killed while writing
        time.sleep(1.5)
        write(tmp_path, STARTED, WorkersChanged(workers=2), FAILED, finished(1, blocks_failed=1, blocks_left=0))

    thread = threading.Thread(target=work)
    thread.start()
    result, seen = collect(tmp_path, since, lambda: True)
    thread.join()
    assert result is not None
    assert (result.exit_status, result.done, result.rows) == (1, 1, 10)  # type: ignore[attr-defined]
    assert result.failed == (FAILED,)  # type: ignore[attr-defined]
    assert [type(event).__name__ for event in seen].count("RunStarted") == 2


def test_following_stops_when_no_program_is_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, STARTED, finished(143))
    monkeypatch.setattr("lls_decode.pipelines.running.remote_run.LOOK_S", 0.0)
    result, seen = collect(tmp_path, 0, lambda: False)
    assert result is None
    assert len(seen) == 2


def test_following_can_begin_at_the_latest_start(tmp_path: Path) -> None:
    assert (latest_start(tmp_path), end_of_events(tmp_path)) == (0, 0)
    write(tmp_path, STARTED, finished(143), STARTED, WorkersChanged(workers=1))
    seen: list[Event] = []
    write(tmp_path, finished(0))
    follow(tmp_path, since=latest_start(tmp_path), is_alive=lambda: True, listeners=[seen.append])
    assert [type(event).__name__ for event in seen] == ["RunStarted", "WorkersChanged", "RunFinished"]
