"""Check whether a folder is suitable for results: write speed, free space, number of files, locks, atomic renames.

Everything is tested in the folder itself with temporary files, because the reported properties of a mount are often
wrong.
"""

import errno
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lls_decode.system import free_files, locked_file, replace

from .check import Check

PROBE_BYTES = 64 << 20
SLOW_MB_PER_S = 50.0
LITTLE_GB, NEXT_TO_NOTHING_GB = 20.0, 1.0
FEW_FILES, HARDLY_ANY_FILES = 100_000, 1_000
EXCHANGES = 50
"""Number of times that a file is replaced while another thread reads it."""


def examine_folder(folder: Path, *, slow_mb_per_s: float = SLOW_MB_PER_S) -> Iterator[Check]:
    """Write into a folder, or its nearest existing parent, and yield the findings. Takes a second or two."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    yield _space(place)
    files = _files(place)
    if files is not None:
        yield files
    try:
        rate = _measure(place)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free space, or ask for a larger quota" if full else "give --out a folder that you may write into"
        yield Check("folder", "wrong", f"{place} cannot be written ({error.strerror}); {advice}")
        return
    slow = rate < slow_mb_per_s
    words = f"{rate:.0f} MB/s written to {place}"
    yield Check("folder", "note" if slow else "ok", words + (f"; slow (under {slow_mb_per_s:g})" if slow else ""))
    yield from _exchange(place)
    yield from _locks(place)


def _space(place: Path) -> Check:
    free = shutil.disk_usage(place).free / 1e9
    words = f"{free:.1f} GB free in {place}"
    if free < LITTLE_GB:
        words += "; little: merging the shards of a run needs space for a second copy of its table"
    return Check("space", "wrong" if free < NEXT_TO_NOTHING_GB else "note" if free < LITTLE_GB else "ok", words)


def _files(place: Path) -> Check | None:
    """Check how many more files can be created; None if the file system has no such limit."""
    free = free_files(place)
    if free is None:
        return None
    words = f"{free} more files can be created in {place}"
    if free >= FEW_FILES:
        return Check("files", "ok", words)
    words += "; few: a run creates one file per block, so raise --block-frames, or remove old files"
    return Check("files", "wrong" if free < HARDLY_ANY_FILES else "note", words)


def _measure(place: Path) -> float:
    """Return the speed of writing a new file to the disk, MB/s."""
    content = os.urandom(PROBE_BYTES)
    with _probe(place) as path, path.open("wb", buffering=0) as file:
        began = time.monotonic()
        view = memoryview(content)
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())
        return PROBE_BYTES / 1e6 / (time.monotonic() - began)


def _exchange(place: Path) -> Iterator[Check]:
    """Check that renames are atomic.

    Shards and tables are renamed when they are complete, so a reader must always see either the old or the new file.
    """
    seen: list[str] = []
    stop = threading.Event()

    def look(path: Path) -> None:
        while not stop.is_set():
            try:
                if len(set(path.read_text(encoding="utf-8"))) != 1:
                    seen.append("a reader saw a partly written file")
            except OSError as error:
                seen.append(f"the file was absent for a moment ({error.strerror})")

    with _probe(place) as path, _probe(place) as aside:
        path.write_text("a" * 4096, encoding="utf-8")
        reader = threading.Thread(target=look, args=(path,), daemon=True)
        reader.start()
        try:
            for number in range(EXCHANGES):
                aside.write_text("bc"[number % 2] * 4096, encoding="utf-8")
                replace(aside, path)
        except OSError as error:
            seen.append(f"a finished file cannot replace another one ({error.strerror})")
        finally:
            stop.set()
            reader.join()
    if seen:
        words = f"renames in {place} are not atomic: {seen[0]}; give --out a folder on another file system"
        yield Check("rename", "wrong", words)
    else:
        yield Check("rename", "ok", "renames are atomic, also while the file is being read")


def _locks(place: Path) -> Iterator[Check]:
    try:
        with _probe(place) as path, locked_file(path):
            pass
    except OSError as error:
        words = f"files in {place} cannot be locked ({error.strerror}); never start the same run twice at the same time"
        yield Check("locks", "note", words)


@contextmanager
def _probe(place: Path) -> Iterator[Path]:
    """Give the path of a temporary file in the folder, and remove the file afterwards."""
    path = place / f".lls-doctor-{uuid.uuid4().hex[:12]}"
    try:
        yield path
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
