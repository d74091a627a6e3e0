"""Locks and temporary files with clocks that differ between machines or change while a program is running.

A living program keeps its lock, and the lock of a dead program blocks nobody. Modification times come from the clock of
the file system, which may be the clock of a server.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lls_decode.errors import OutputError, RunConflictError
from lls_decode.pipelines.journal import lock as lock_module
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.table import files, remove_leftovers

HOUR_S = 3600.0
SKEWS = {"a year ago": -365 * 24 * HOUR_S, "an hour ago": -HOUR_S, "in an hour": HOUR_S, "in ten years": 3.2e8}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Return a run folder whose lock is observed for 1 s instead of 25 s."""
    monkeypatch.setattr(lock_module, "WATCH_S", 1.0)
    monkeypatch.setattr(lock_module, "WATCH_POLL_S", 0.02)
    folder = RunFolder(tmp_path / "out")
    folder.create()
    return folder


def write_lock(folder: RunFolder, skew_s: float, *, host: str = "elsewhere", pid: int = 1) -> None:
    folder.lock.write_text(json.dumps({"host": host, "pid": pid, "token": "theirs"}))
    os.utime(folder.lock, (time.time() + skew_s,) * 2)


@contextmanager
def beating(lock: Path, skew_s: float) -> Iterator[None]:
    """Emulate the heartbeat of a living program whose clock is wrong."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.1):
            os.utime(lock, (time.time() + skew_s,) * 2)

    thread = threading.Thread(target=beat)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.mark.parametrize("skew_s", SKEWS.values(), ids=SKEWS.keys())
@pytest.mark.parametrize("host", ["elsewhere", socket.gethostname()])
def test_living_owner_keeps_its_lock(host: str, skew_s: float, folder: RunFolder) -> None:
    write_lock(folder, skew_s, host=host, pid=os.getppid())
    with beating(folder.lock, skew_s):
        with pytest.raises(RunConflictError, match=f"in use by process {os.getppid()} on {host}"), folder.locked():
            pass
        assert json.loads(folder.lock.read_text())["token"] == "theirs"


@pytest.mark.parametrize("skew_s", SKEWS.values(), ids=SKEWS.keys())
def test_lock_of_a_dead_program_blocks_nobody(skew_s: float, folder: RunFolder) -> None:
    write_lock(folder, skew_s)
    assert folder.owner() is None
    folder.wait_until_free()
    with folder.locked():
        assert json.loads(folder.lock.read_text())["pid"] == os.getpid()
    assert not list(folder.out.glob(".*"))


def test_empty_lock_is_respected_until_it_is_old(folder: RunFolder) -> None:
    """A process that dies between creating and filling its lock leaves an empty lock."""
    folder.lock.touch()
    with pytest.raises(RunConflictError, match=r"process \(unknown\) on \(unknown\)"), folder.locked():
        pass
    os.utime(folder.lock, (0, 0))
    with folder.locked():
        pass


def test_owner_keeps_its_lock_when_the_clock_jumps(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "HEARTBEAT_S", 0.1)
    with folder.locked() as lock:
        for skew_s in SKEWS.values():
            os.utime(folder.lock, (time.time() + skew_s,) * 2)
            with pytest.raises(RunConflictError, match=f"process {os.getpid()}"), folder.locked():
                pass
        assert not lock.lost.is_set()


@pytest.mark.parametrize("skew_s", SKEWS.values(), ids=SKEWS.keys())
def test_cleaning_with_a_wrong_clock_keeps_files_that_are_being_written(
    skew_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the clock of this machine is wrong, not that of the file system; files of a dead writer are removed."""
    writer, dead = tmp_path / ".tmp-b000000-1.parquet", tmp_path / ".tmp-b000001-2.parquet"
    for file in (writer, dead):
        file.touch()
    os.utime(dead, (time.time() - 2 * HOUR_S,) * 2)
    now = time.time() + skew_s
    monkeypatch.setattr(files.time, "time", lambda: now)
    assert remove_leftovers(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == [writer.name]


def test_writer_whose_temporary_file_was_removed_raises_an_error(tmp_path: Path) -> None:
    """A writer that slept for hours was considered dead; it leaves no incomplete file under the final name."""

    def write_slowly() -> None:
        with files.written_aside(tmp_path / "b000000.parquet") as temporary:
            temporary.write_bytes(b"rows")
            os.utime(temporary, (time.time() - 2 * HOUR_S,) * 2)
            assert remove_leftovers(tmp_path) == 1

    with pytest.raises(OutputError, match=r"b000000\.parquet cannot be written"):
        write_slowly()
    assert not list(tmp_path.iterdir())
