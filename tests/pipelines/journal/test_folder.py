"""Only one program at a time can write into a run folder, and files left by a killed program do not block it."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lls_decode.errors import OutputError, RunConflictError
from lls_decode.pipelines.journal import lock as lock_module
from lls_decode.pipelines.journal.events import BlockRetried, Event, RunInterrupted
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.json_lines import EventWriter, read_events
from lls_decode.pipelines.journal.lock import STALE_S


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "out")
    folder.create()
    return folder


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def write_lock(folder: RunFolder, *, host: str, pid: int, age_s: float = 0.0) -> None:
    folder.lock.write_text(json.dumps({"host": host, "pid": pid, "token": "theirs"}))
    os.utime(folder.lock, (time.time() - age_s,) * 2)


LOCKS: dict[str, tuple[str, int, float, bool]] = {
    "a living process here": (socket.gethostname(), os.getppid(), 0.0, True),
    "a dead process here": (socket.gethostname(), 0, 0.0, False),
    "a process on another machine with a recent heartbeat": ("elsewhere", 1, STALE_S / 2, True),
    "a process on another machine without a heartbeat": ("elsewhere", 1, STALE_S * 2, False),
    "a process id reused after a reboot": (socket.gethostname(), os.getppid(), STALE_S * 2, False),
}


@pytest.mark.parametrize(("host", "pid", "age_s", "held"), LOCKS.values(), ids=LOCKS.keys())
def test_lock_is_kept_for_a_living_owner_and_taken_from_a_dead_one(
    host: str, pid: int, age_s: float, held: bool, folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "WATCH_S", 0.1)
    write_lock(folder, host=host, pid=pid or dead_process(), age_s=age_s)
    assert (folder.owner() is not None) == held
    if held:
        with pytest.raises(RunConflictError, match=f"on {host}"), folder.locked():
            pass
        assert json.loads(folder.lock.read_text())["token"] == "theirs"
    else:
        with folder.locked():
            assert json.loads(folder.lock.read_text())["pid"] == os.getpid()
        assert not folder.lock.exists()
    assert sorted(p.name for p in folder.out.iterdir() if p.name.startswith(".")) == []


def test_lock_is_released_after_an_error(folder: RunFolder) -> None:
    with pytest.raises(ZeroDivisionError), folder.locked():
        _ = 1 / 0
    with folder.locked():
        pass


def test_stale_lock_is_acquired_by_one_thread_at_a_time(folder: RunFolder) -> None:
    write_lock(folder, host=socket.gethostname(), pid=dead_process())
    inside, most, refused = 0, 0, 0
    guard = threading.Lock()

    def want() -> None:
        nonlocal inside, most, refused
        try:
            with folder.locked():
                with guard:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.2)
                with guard:
                    inside -= 1
        except RunConflictError:
            with guard:
                refused += 1

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert refused >= 1


def test_program_that_slept_notices_that_it_has_lost_its_lock(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_S", 0.05)
    with folder.locked() as lock:
        assert not lock.lost.wait(0.2)
        write_lock(folder, host="elsewhere", pid=1)
        assert lock.lost.wait(5)
    assert json.loads(folder.lock.read_text())["token"] == "theirs"


def test_heartbeat_keeps_the_lock_fresh(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_S", 0.05)
    with folder.locked():
        os.utime(folder.lock, (0, 0))
        time.sleep(0.5)
        assert time.time() - folder.lock.stat().st_mtime < STALE_S


def test_folder_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written: a part of the path is a file"):
        RunFolder(tmp_path / "file" / "out").create()


def test_damaged_record_is_refused(folder: RunFolder) -> None:
    assert folder.read_record() is None
    folder.record.write_text('{"run_dig')
    with pytest.raises(OutputError, match=r"run\.json cannot be read"):
        folder.read_record()


def test_lines_after_an_incomplete_line_are_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event":"RunInterrupted","at":1,"signal":"SIGINT"}\n{"event":"RunInte')
    writer = EventWriter(path, [RunInterrupted])
    writer(RunInterrupted(signal="SIGTERM", at=2.0))
    writer(Event())
    writer.close()
    events, broken = read_events(path)
    assert events == [RunInterrupted(signal="SIGINT", at=1), RunInterrupted(signal="SIGTERM", at=2.0)]
    assert broken == 1


def test_event_is_written_with_its_kind() -> None:
    event = BlockRetried(block=3, block_id="b000003", attempts=1, reason="why", alone=False, at=5.0)
    assert event.to_dict() == {
        "event": "BlockRetried",
        "at": 5.0,
        "block": 3,
        "block_id": "b000003",
        "attempts": 1,
        "reason": "why",
        "alone": False,
    }


def test_full_disk_raises_an_output_error() -> None:
    writer = EventWriter(Path("/dev/full"))
    with pytest.raises(OutputError, match="/dev/full cannot be written"):
        writer(Event())
    os.close(writer._file)
