"""What the operating system offers, and what takes its place where it offers less: Linux, macOS, Windows.

The rest of the package names no POSIX-only function (``tests/test_portability.py``); SLURM's half is POSIX throughout.

==================== ==================================== ==========================================================
subject              Linux, macOS                         elsewhere
==================== ==================================== ==========================================================
lock of a file       flock, ends with its process         LockFileEx (by filelock), ends with its process
first file of a name a hard link, refused if taken        a rename, which Windows refuses if taken; else under a lock
replace, remove      at once                              again while another program has the file open
flush of a folder    fsync                                left out: NTFS journals a rename itself
life of a process    by psutil                            by psutil
signals to stop      Ctrl-C, SIGTERM, SIGUSR1             Ctrl-C, Ctrl-Break, closing the console window
files left on a disk statvfs                              unknown: file systems of Windows do not count them
allocator            mallopt (glibc)                      unchanged
==================== ==================================== ==========================================================

What does not depend on any of this: a file gets its name when it is whole, a block counts by its shard, a lock whose
heartbeat stopped is taken over. Thus every block is in the table exactly once, and a killed run resumes, everywhere.
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
"""Flag of ``os.open`` without which Windows changes line ends."""
IGNORES_CASE: Final = sys.platform in ("win32", "darwin")
"""Whether names that differ by case only are usually one file."""
BATCH_SIGNAL: Final[int | None] = getattr(signal, "SIGUSR1", None)
"""What SLURM can be asked to send some time before a job's wall time."""
CONSOLE_SIGNAL: Final[int | None] = getattr(signal, "SIGBREAK", None)
"""What Windows sends on Ctrl-Break, and when the console window is closed or the user logs off."""
STOP_SIGNALS: Final[tuple[int, ...]] = tuple(
    number for number in (signal.SIGINT, signal.SIGTERM, BATCH_SIGNAL, CONSOLE_SIGNAL) if number is not None
)
"""Signals of this system that ask a program to stop."""
LEAVE_SIGNALS: Final[tuple[int, ...]] = tuple(number for number in STOP_SIGNALS if number != signal.SIGINT)
"""Those that a batch system sends to a job that is about to end."""
SHARED_SIGNALS: Final[tuple[int, ...]] = tuple(number for number in STOP_SIGNALS if number != signal.SIGTERM)
"""Those that reach all processes of a terminal or job at once."""

PATIENCE_S = 10.0 if sys.platform == "win32" else 0.0
"""How long a file may be refused because another program has it open, which Windows does: a reader of ours takes
milliseconds, a virus scanner or a search index may take seconds. Elsewhere a refusal is one of rights, and final."""
_GUARD_S: Final = 10.0
"""How long another program may take to give a file its name."""
_PATIENCE_POLL_S: Final = 0.02
_LINKS_UNKNOWN: Final = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV, errno.EINVAL}
"""How file systems without hard links refuse one (exFAT, many network shares)."""
_RESERVED: Final = re.compile(r'[\x00-\x1f<>:"/\\|?*]')
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)", re.IGNORECASE)


@contextmanager
def locked_file(path: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file that the operating system releases when this process ends; it is removed in the end.

    Parameters
    ----------
    wait_s
        How long to wait for whoever holds it.

    Raises
    ------
    BlockingIOError
        Somebody else holds it.
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
        lock.release()  # a file that its holder has just removed: another program may lock the next one of this name
    try:
        yield
    finally:
        with suppress(OSError):
            if by_flock:  # while it is held, or another program's lock would be removed
                path.unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # Windows removes no file that somebody else holds by now
            if not by_flock:
                path.unlink(missing_ok=True)


def publish(whole: Path, final: Path) -> bool:
    """Move a complete file to its final name unless that name is taken, also where several programs try at once.

    Returns
    -------
    bool
        Whether the file has got the name. ``whole`` is gone in both cases.

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
        if final.exists():  # on POSIX systems a rename would replace it
            return False
        patiently(lambda: os.rename(whole, final))
    return True


def replace(source: Path, target: Path) -> None:
    """Rename a file or folder; a file that is there is replaced at once.

    Windows refuses while another program has either of them open, and is asked again for `PATIENCE_S`.
    """
    patiently(lambda: os.replace(source, target))


def remove(path: Path) -> None:
    """Remove a file, if it is there; on Windows also one that another program is just reading."""
    patiently(lambda: path.unlink(missing_ok=True))


def patiently(action: Callable[[], T]) -> T:
    """Call a function; on Windows again, for `PATIENCE_S`, while another program has its file open."""
    limit = time.monotonic() + PATIENCE_S
    while True:
        try:
            return action()
        except PermissionError:
            if time.monotonic() >= limit:
                raise
        time.sleep(_PATIENCE_POLL_S)


def flush_file(path: Path) -> None:
    """Make the content of a file durable."""
    descriptor = os.open(path, os.O_RDWR | BINARY)  # Windows does not flush what was opened for reading
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system knows how; others order renames in their journal."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def free_files(folder: Path) -> int | None:
    """Return the number of files that may still be made; None where the file system does not count them."""
    statvfs = getattr(os, "statvfs", None)
    found = statvfs(folder) if statvfs is not None else None
    return int(found.f_favail) if found is not None and found.f_files else None


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine is alive; signal 0, the POSIX way, would end it on Windows."""
    import psutil

    return pid > 0 and bool(psutil.pid_exists(pid))


def memory_bytes() -> int:
    """Return the memory of this machine."""
    import psutil

    return int(psutil.virtual_memory().total)


def c_library() -> ctypes.CDLL | None:
    """Return the C library that this process uses; None where it has no name of its own (Windows)."""
    return None if sys.platform == "win32" else ctypes.CDLL(None)


def load_library(name: str) -> ctypes.CDLL | None:
    """Load a shared library by its name; None where there is none."""
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def is_portable_name(name: str) -> bool:
    """Return whether every supported system takes a name for a file or folder: no ``: * ? " < > |``, no ``NUL``."""
    return bool(name) and not (_RESERVED.search(name) or _DEVICE.match(name) or name.endswith((".", " ")))


def portable_name(name: str) -> str:
    """Return a name with the characters replaced that Windows does not take; one that is portable stays as it is."""
    made = _RESERVED.sub("_", name)
    made = made[:-1] + "_" if made.endswith((".", " ")) else made
    return f"_{made}" if _DEVICE.match(made) else made


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
