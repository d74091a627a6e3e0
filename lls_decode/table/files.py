"""Files that appear whole or not at all: written under a temporary name, flushed to disk, then renamed."""

import errno
import os
import re
import shutil
import socket
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from lls_decode.addresses import refuse_remote_output
from lls_decode.errors import OutputError
from lls_decode.outputs import check_first_write, check_not_read, is_forced, note_written
from lls_decode.system import flush_file, flush_folder, is_alive, remove, replace
from lls_decode.table.marks import kind_of

TEMPORARY_PREFIX = ".tmp-"
SETTLE_S: Final = 0.5
"""Time in seconds that threads of zarr need to finish their chunks after an error."""
_SETTLE_POLL_S: Final = 0.05
_WRITER: Final = re.compile(r"-([0-9a-f]{8})\.(\d+)\.[0-9a-f]{16}$")
"""End of the stem of a temporary file: the machine, the process that writes it, and a random number."""
_SHORT_WRITE: Final = re.compile(r"\d+ requested and \d+ written")
"""NumPy's message when a disk takes only a part of an array; it has no error number."""

_REASONS = {
    errno.ENOSPC: "the disk is full; free some space, or choose another output folder",
    errno.EDQUOT: "the disk quota is used up; free some space, or choose another output folder",
    errno.EROFS: "the file system is read-only; choose another output folder",
    errno.EACCES: "permission is denied; change the rights of the folder, or choose another output folder",
    errno.EPERM: "the operation is not permitted; change the rights of the folder, or choose another output folder",
    errno.ENOENT: "the folder does not exist; create it",
    errno.EISDIR: "a folder of that name exists; remove it, or choose another output folder",
    errno.EEXIST: "a file of that name exists where a folder is expected; choose another output folder",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "it leads through links that point at each other; choose another output folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another output folder",
}


@contextmanager
def written_aside(final: Path, *, own_folder: bool = False) -> Iterator[Path]:
    """Give the path of a temporary file beside ``final``, and rename it to ``final`` if the body ends without an error.

    Every file that lls_decode writes passes through this function, so it also decides what may be replaced. Never
    replaced: files that the running command reads (`lls_decode.outputs`). Replaced only if the command is forced: files
    that lls_decode did not write, or wrote as another kind of file (`lls_decode.table.marks`).

    Parameters
    ----------
    own_folder
        ``final`` lies in a folder that only lls_decode writes to (a run, a training): any existing file of that name
        is replaced, even if it is damaged.

    Raises
    ------
    OutputError
        The file cannot be written (full disk, read-only folder), or an existing file must not be replaced.
    """
    if not own_folder:
        check_replaceable(final)
    with temporary_beside(final) as temporary:
        yield temporary
        flush_file(temporary)
        if not own_folder:
            check_replaceable(final, by=temporary)
        replace(temporary, final)
        if not own_folder:
            note_written(final)
        flush_folder(final.parent)


def check_replaceable(final: Path, *, by: Path | None = None) -> None:
    """Refuse a path at which there is something that must not be replaced.

    Parameters
    ----------
    by
        The new file; None: it does not exist yet.

    Raises
    ------
    OutputError
        The message says what is there.
    """
    if not final.exists():
        return
    if not final.is_file():
        raise OutputError(f"{final} exists and is not a file, so it cannot be replaced by one; give another path.")
    check_not_read(final)
    check_first_write(final)
    if is_forced():
        return
    kind = kind_of(final)
    if kind is None:
        raise OutputError(
            f"{final} exists and has no mark of lls-decode, so it may belong to somebody else; give another path, or "
            "--force to replace it."
        )
    if by is not None and kind_of(by) != kind:
        raise OutputError(
            f"{final} exists and is {kind}, but the new file is of another kind; give another path, or "
            "--force to replace it."
        )


@contextmanager
def temporary_beside(final: Path) -> Iterator[Path]:
    """Give the path of a file beside ``final``, and delete that file in the end unless it was renamed.

    If the process is killed, the file stays under its temporary name, which no reader takes for a table.

    Raises
    ------
    OutputError
        ``final`` cannot be written: full disk, read-only folder.
    """
    refuse_remote_output(final)
    unique = f"{_machine()}.{os.getpid()}.{uuid.uuid4().hex[:16]}"
    temporary = final.parent / f"{TEMPORARY_PREFIX}{final.stem}-{unique}{final.suffix}"
    try:
        yield temporary
    except OSError as error:
        raise output_error(final, error) from error
    finally:
        with suppress(OSError):
            remove(temporary)


@contextmanager
def folder_beside(final: Path) -> Iterator[Path]:
    """Give a new folder beside ``final`` for temporary files, and remove it in the end."""
    folder = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY_PREFIX}{final.stem}-", dir=final.parent))
    try:
        yield folder
    except BaseException:
        remove_folder(folder, settle_s=SETTLE_S)
        raise
    remove_folder(folder)


def remove_folder(folder: Path, *, settle_s: float = 0.0) -> None:
    """Remove a folder with everything in it.

    Parameters
    ----------
    settle_s
        Time to remove also what appears later: after an error, other threads of zarr finish the chunks that they write.
    """
    limit = time.monotonic() + settle_s
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() >= limit:
            return
        time.sleep(_SETTLE_POLL_S)


def output_error(path: Path, error: OSError) -> OutputError:
    """Return an error that says in one sentence why a path could not be written."""
    number = errno.ENOSPC if error.errno is None and _SHORT_WRITE.search(str(error)) else error.errno
    reason = _REASONS.get(number or 0) or f"{error.strerror or error}; check the disk"
    return OutputError(f"{path} cannot be written: {reason}.")


def remove_leftovers(folder: Path, *, older_than_s: float = 3600.0) -> int:
    """Delete temporary files that killed processes left in ``folder``, and return their number.

    Files of dead processes of this machine are deleted at once. Recent files of other machines are kept, since a
    process there may still be writing them.
    """
    found = list(folder.glob(f"{TEMPORARY_PREFIX}*"))
    now = clock_of(folder) if found else 0.0
    removed = 0
    for path in found:
        with suppress(OSError):
            if _is_orphan(path) or now - path.stat().st_mtime >= older_than_s:
                path.unlink()
                removed += 1
    return removed


def _machine() -> str:
    """Return eight characters that stand for this machine in the names of temporary files."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _is_orphan(temporary: Path) -> bool:
    """Whether the process that wrote a temporary file ran on this machine and has ended."""
    writer = _WRITER.search(temporary.stem)
    return writer is not None and writer[1] == _machine() and not is_alive(int(writer[2]))


def clock_of(folder: Path) -> float:
    """Return the time by the clock of a folder's file system, which is the clock that dates its files.

    If the folder is not writable, return the time of this machine, which may differ.
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
