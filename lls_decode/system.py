"""Functions of the operating system, with replacements where a system lacks them: Linux, macOS, Windows.

The rest of the package uses no POSIX-only function (``tests/test_portability.py``), except the part for SLURM.

==================== ==================================== ==========================================================
subject              Linux, macOS                         elsewhere
==================== ==================================== ==========================================================
file lock            flock, ends with its process         LockFileEx (by filelock), ends with its process
create a new name    hard link, fails if it exists        rename, which Windows refuses if it exists; else a lock
replace, remove      at once                              retry while another program has the file open
flush a folder       fsync                                not done: NTFS journals renames
process is alive     by psutil                            by psutil
signals to stop      Ctrl-C, SIGTERM, SIGUSR1             Ctrl-C, Ctrl-Break, closing the console window
free files on a disk statvfs                              unknown: Windows file systems do not count them
allocator            mallopt (glibc)                      unchanged
==================== ==================================== ==========================================================

The following is the same on all systems: a file gets its final name when it is complete, a block is done when its shard
exists, and a lock whose heartbeat has stopped can be taken over. Therefore every block is in the table exactly once,
and a killed run can be resumed, on every system.
"""

import ctypes
import errno
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

BINARY: Final[int] = getattr(os, "O_BINARY", 0)
"""Flag of ``os.open`` that prevents Windows from changing line ends."""
IGNORES_CASE: Final = sys.platform in ("win32", "darwin")
"""Whether names that differ only by case usually denote the same file."""
BATCH_SIGNAL: Final[int | None] = getattr(signal, "SIGUSR1", None)
"""Signal that SLURM sends on request some time before a job's wall time."""
CONSOLE_SIGNAL: Final[int | None] = getattr(signal, "SIGBREAK", None)
"""Signal that Windows sends on Ctrl-Break, and when the console window is closed or the user logs off."""
STOP_SIGNALS: Final[tuple[int, ...]] = tuple(
    number for number in (signal.SIGINT, signal.SIGTERM, BATCH_SIGNAL, CONSOLE_SIGNAL) if number is not None
)
"""Signals of this system that ask a program to stop."""
LEAVE_SIGNALS: Final[tuple[int, ...]] = tuple(number for number in STOP_SIGNALS if number != signal.SIGINT)
"""Stop signals that a batch system sends to a job that is about to end."""
SHARED_SIGNALS: Final[tuple[int, ...]] = tuple(number for number in STOP_SIGNALS if number != signal.SIGTERM)
"""Stop signals that reach all processes of a terminal or job at once."""

PATIENCE_S = 10.0 if sys.platform == "win32" else 0.0
"""Time in seconds to retry when Windows refuses a file that another program has open. Readers of lls-decode take
milliseconds; a virus scanner or a search index may take seconds. Other systems refuse files only for lack of
permission, which a retry does not change."""
_GUARD_S: Final = 10.0
"""Time in seconds to wait while another program publishes a file."""
_PATIENCE_POLL_S: Final = 0.02
_LINKS_UNKNOWN: Final = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.EINVAL}
"""Error numbers of file systems without hard links (exFAT, many network shares)."""
_RESERVED: Final = re.compile(r'[\x00-\x1f<>:"/\\|?*]')
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)", re.IGNORECASE)


@contextmanager
def locked_file(path: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock on a file, which the operating system releases when this process ends; finally remove the file.

    Parameters
    ----------
    wait_s
        Time to wait while another program holds the lock, seconds.

    Raises
    ------
    BlockingIOError
        Another program holds the lock.
    OSError
        The file cannot be written, or its file system has no locks.
    """
    from filelock import FileLock, Timeout, UnixFileLock

    lock = FileLock(path, timeout=wait_s, mode=0o666)
    while True:
        before = _identity(path)
        try:
            lock.acquire()
        except Timeout as error:
            raise BlockingIOError(errno.EWOULDBLOCK, "held by another program", str(path)) from error
        except NotImplementedError as error:
            raise OSError(errno.ENOSYS, "this file system has no locks", str(path)) from error
        by_flock = sys.platform != "win32" and isinstance(lock, UnixFileLock)
        if not by_flock or (before is not None and before == _identity(path)):
            break
        # its holder has just removed this file, and another program may lock a new file of the same name
        lock.release()
    try:
        yield
    finally:
        with suppress(OSError):
            if by_flock:  # remove it while holding the lock, so as not to remove the file of another program's lock
                path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # Windows refuses if another program holds the lock by now
            if not by_flock:
                path.unlink(missing_ok=True)


def publish(whole: Path, final: Path) -> bool:
    """Move a complete file to its final name unless that name exists; safe if several programs try at once.

    Returns
    -------
    bool
        Whether the file was moved. ``whole`` is removed in both cases.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    try:
        return _publish(whole, final)
    except FileExistsError:
        return False
    finally:
        with suppress(OSError):
            whole.unlink(missing_ok=True)


def _publish(whole: Path, final: Path) -> bool:
    link = getattr(os, "link", None)
    if link is not None:
        try:
            link(whole, final)
        except OSError as error:
            if error.errno not in _LINKS_UNKNOWN:
                raise
        else:
            return True
    with locked_file(whole.with_name(f".tmp-guard-{final.name}"), wait_s=_GUARD_S):
        if final.exists():  # on POSIX systems, a rename would replace it
            return False
        patiently(lambda: os.rename(whole, final))
    return True


def replace(source: Path, target: Path) -> None:
    """Rename a file or folder, atomically replacing an existing file.

    Windows refuses while another program has one of them open; the rename is retried for `PATIENCE_S`.
    """
    patiently(lambda: os.replace(source, target))


def remove(path: Path) -> None:
    """Remove a file if it exists; on Windows, retry while another program has it open."""
    patiently(lambda: path.unlink(missing_ok=True))


def patiently(action: Callable[[], T]) -> T:
    """Call a function; on Windows, retry for `PATIENCE_S` while another program has its file open.

    Windows reports such a file as EACCES; any other error is raised at once.
    """
    limit = time.monotonic() + PATIENCE_S
    while True:
        try:
            return action()
        except PermissionError as error:
            if error.errno != errno.EACCES or time.monotonic() >= limit:
                raise
        time.sleep(_PATIENCE_POLL_S)


def real_path(path: str | Path) -> Path:
    """Return the absolute path without links. Links that point at each other stay; `Path.resolve` fails on them."""
    return Path(os.path.realpath(path))


def flush_file(path: Path) -> None:
    """Flush the contents of a file to disk."""
    descriptor = os.open(path, os.O_RDWR | BINARY)  # Windows does not flush files opened for reading
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, if the system supports it; others journal renames."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def free_files(folder: Path) -> int | None:
    """Return the number of files that can still be created; None if the file system does not count them."""
    statvfs = getattr(os, "statvfs", None)
    found = statvfs(folder) if statvfs is not None else None
    return int(found.f_favail) if found is not None and found.f_files else None


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine is alive (signal 0, the POSIX method, would end it on Windows)."""
    import psutil

    return pid > 0 and bool(psutil.pid_exists(pid))


def memory_bytes() -> int:
    """Return the memory of this machine in bytes."""
    import psutil

    return int(psutil.virtual_memory().total)


def c_library() -> ctypes.CDLL | None:
    """Return the C library that this process uses; None on Windows, where it has no fixed name."""
    return None if sys.platform == "win32" else ctypes.CDLL(None)


def load_library(name: str) -> ctypes.CDLL | None:
    """Load a shared library by its name; return None if it is not found."""
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def is_portable_name(name: str) -> bool:
    """Return whether a file name is valid on every supported system: no ``: * ? " < > |``, no ``NUL``."""
    return bool(name) and not (_RESERVED.search(name) or _DEVICE.match(name) or name.endswith((".", " ")))


def portable_name(name: str) -> str:
    """Return a name with characters that Windows does not allow replaced; portable names do not change."""
    made = _RESERVED.sub("_", name)
    made = made[:-1] + "_" if made.endswith((".", " ")) else made
    return f"_{made}" if _DEVICE.match(made) else made


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
