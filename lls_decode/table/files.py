"""A file appears whole or not at all: written aside under a temporary name, flushed to disk, then renamed."""

import errno
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lls_decode.addresses import refuse_remote_output
from lls_decode.errors import OutputError

TEMPORARY_PREFIX = ".tmp-"

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space, or choose another output folder",
    errno.EDQUOT: "the disk quota is used up; free some space, or choose another output folder",
    errno.EROFS: "the file system is read-only; choose another output folder",
    errno.EACCES: "permission is denied; change the rights of the folder, or choose another output folder",
    errno.EPERM: "the operation is not permitted; change the rights of the folder, or choose another output folder",
    errno.ENOENT: "the folder does not exist; create it",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another output folder",
}


@contextmanager
def written_aside(final: Path) -> Iterator[Path]:
    """Path of a temporary file beside ``final``, which takes its name when the body ends without an error.

    Raises
    ------
    OutputError
        The file cannot be written: full disk, read-only folder.
    """
    with temporary_beside(final) as temporary:
        yield temporary
        _flush(temporary)
        os.replace(temporary, final)
        _flush_folder(final.parent)


@contextmanager
def temporary_beside(final: Path) -> Iterator[Path]:
    """Path of a file beside ``final`` that is removed in the end, unless it was renamed.

    After a killed process it stays under its temporary name, which no reader takes for a table.

    Raises
    ------
    OutputError
        ``final`` cannot be written: full disk, read-only folder.
    """
    refuse_remote_output(final)
    temporary = final.parent / f"{TEMPORARY_PREFIX}{final.stem}-{uuid.uuid4().hex}{final.suffix}"
    try:
        yield temporary
    except OSError as error:
        raise output_error(final, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def output_error(path: Path, error: OSError) -> OutputError:
    """One sentence on why a path could not be written."""
    reason = _REASONS.get(error.errno or 0) or f"{error.strerror or error}; check the disk"
    return OutputError(f"{path} cannot be written: {reason}.")


def remove_leftovers(folder: Path, *, older_than_s: float = 3600.0) -> int:
    """Delete temporary files that killed processes have left in ``folder``; returns how many.

    Young ones are kept, since somebody may still be writing them.
    """
    found = list(folder.glob(f"{TEMPORARY_PREFIX}*"))
    now = clock_of(folder) if found else 0.0
    removed = 0
    for path in found:
        with suppress(OSError):
            if now - path.stat().st_mtime >= older_than_s:
                path.unlink()
                removed += 1
    return removed


def clock_of(folder: Path) -> float:
    """Time by the clock of the file system that a folder lies in, which is what its files are dated with.

    That of this machine, which may differ, where nothing can be written.
    """
    probe = folder / f"{TEMPORARY_PREFIX}clock-{uuid.uuid4().hex}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Make a rename durable; some file systems cannot flush folders, and need not."""
    with suppress(OSError):
        _flush(folder)
