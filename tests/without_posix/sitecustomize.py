"""Linux as a poor Windows, for the modules of lls_decode: ``pytest --without-posix`` puts this folder on PYTHONPATH.

Python imports a ``sitecustomize`` before anything else, so that processes which tests start are served too. Modules of
ours get other modules ``os``, ``signal``, ``sys`` and ``ctypes``, without what Windows lacks, and no ``fcntl`` or
``resource``; tests and libraries keep theirs. What our modules do with files is refused as Windows refuses it: a file
that this process has open is neither replaced nor removed, a rename finds its new name free (os.replace excepted), and
no name is made that is reserved there. Not imitated: files that another process has open, backslashes, drives.
"""

import builtins
import ctypes
import os
import re
import signal
import sys
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(f"{ROOT / name}{os.sep}" for name in ("lls_decode", "pipelines", "cluster"))
TESTS = f"{ROOT / 'tests'}{os.sep}"

NO_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty"}
HIDDEN = {
    "os": {
        *("link", "statvfs", "fstatvfs", "mkfifo", "mknod", "chown", "lchown", "fchown", "sync", "fdatasync"),
        *("O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_SYNC", "O_TMPFILE", "ST_RDONLY"),
        *("getuid", "geteuid", "getgid", "getegid", "getgroups", "setuid", "setgid", "setsid", "getpgid", "getpgrp"),
        *("killpg", "fork", "forkpty", "wait", "WNOHANG", "nice", "uname", "sysconf", "getloadavg", "posix_fallocate"),
        *(
            "sched_getaffinity",
            "sched_setaffinity",
            "pread",
            "pwrite",
            "preadv",
            "pwritev",
            "readv",
            "writev",
            "sendfile",
        ),
    },
    "signal": {
        *("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGKILL", "SIGSTOP", "SIGCONT", "SIGTSTP", "SIGCHLD", "SIGALRM", "SIGPIPE"),
        *("SIGQUIT", "alarm", "pause", "setitimer", "pthread_kill", "pthread_sigmask", "sigwait", "siginterrupt"),
    },
}
RESERVED = re.compile(r'[\x00-\x1f<>:"|?*\\]|[. ]$|^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|$)', re.IGNORECASE)


class Poorer(ModuleType):
    """A module without some of its names, and with others instead."""

    def __init__(self, whole: ModuleType, hidden: set[str], instead: dict[str, Any]) -> None:
        super().__init__(whole.__name__)
        self.__dict__.update({"_whole": whole, "_hidden": hidden, "_instead": instead})

    def __getattr__(self, name: str) -> Any:
        if name in self._hidden:
            raise AttributeError(f"{self._whole.__name__}.{name} does not exist without POSIX")
        return self._instead[name] if name in self._instead else getattr(self._whole, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._whole, name, value)


def open_file(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
    """``os.open``, which opens no folders on Windows, and does not write through a handle opened for reading."""
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return os.open(path, flags, *args, **kwargs)


def flush(descriptor: int) -> None:
    """``os.fsync``, for which a file must be open for writing."""
    flags = Path(f"/proc/self/fdinfo/{descriptor}").read_text().split("flags:")[1].split()[0]
    if int(flags, 8) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(9, "Bad file descriptor")
    os.fsync(descriptor)


def rename(source: Any, target: Any) -> None:
    """``os.rename``, which replaces nothing."""
    if os.path.lexists(target):
        raise FileExistsError(17, "File exists", str(target))
    os.rename(source, target)


def end_process(pid: int, number: int) -> None:
    """``os.kill``, which ends a process whatever the number."""
    raise AssertionError(f"os.kill({pid}, {number}) would end the process on Windows")


class Library(ctypes.CDLL):
    """``ctypes.CDLL``, which needs a name."""

    def __init__(self, name: str | None, *args: Any, **kwargs: Any) -> None:
        if name is None:
            raise TypeError("bad argument type for built-in operation")
        super().__init__(name, *args, **kwargs)


INSTEAD: dict[str, dict[str, Any]] = {
    "os": {"name": "nt", "open": open_file, "rename": rename, "fsync": flush, "kill": end_process},
    "sys": {"platform": "win32"},
    "signal": {"SIGBREAK": signal.SIGUSR2},
    "ctypes": {"CDLL": Library},
}
poorer: dict[str, Poorer] = {}
whole_import = builtins.__import__


def poor_import(
    name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
) -> ModuleType:  # as builtins.__import__
    """Import for our modules what Windows has of a module; for all others the module."""
    file = (globals or {}).get("__file__") or ""
    if level or not file.startswith(OURS):
        return whole_import(name, globals, locals, fromlist, level)
    top = name.partition(".")[0]
    if top in NO_MODULES:
        raise ModuleNotFoundError(f"No module named {top!r} without POSIX", name=top)
    module = whole_import(name, globals, locals, fromlist, level)
    if (top in HIDDEN or top in INSTEAD) and module.__name__ == top:
        if top not in poorer:
            poorer[top] = Poorer(module, HIDDEN.get(top, set()), INSTEAD.get(top, {}))
        return poorer[top]
    return module


def whose(frame: FrameType | None) -> str:
    """Whether a module of ours or a test is nearer to what is done, and which."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OURS):
            return file
        if file.startswith(TESTS) or file.endswith(("/tempfile.py", "/filelock/_unix.py")):
            return "" if not file.startswith(__file__) else whose(frame.f_back)
        frame = frame.f_back
    return ""


def open_files() -> set[str]:
    """Files that this process has open or mapped."""
    found = set()
    for link in os.scandir("/proc/self/fd"):
        try:
            found.add(os.readlink(link.path))
        except OSError:
            continue
    with open("/proc/self/maps") as maps:
        found |= {line.split(maxsplit=5)[5].rstrip("\n") for line in maps if "/" in line}
    return found


def refuse_open(path: Any, whole_folder: bool) -> None:
    """Refuse to rename or remove a file that is open, or a folder with one."""
    place = os.path.realpath(os.path.dirname(os.path.abspath(path))) + os.sep + os.path.basename(os.path.abspath(path))
    inside = place + os.sep
    held = [name for name in open_files() if name == place or (whole_folder and name.startswith(inside))]
    if held and os.path.exists(held[0]):
        print(f"without POSIX: {held[0]} is open", file=sys.stderr)
        raise PermissionError(13, "The process cannot access the file because it is being used", str(path))


def refuse_name(path: Any) -> None:
    """Refuse a reserved name."""
    name = os.path.basename(os.path.abspath(os.fsdecode(path)))
    if RESERVED.search(name):
        raise OSError(22, "The filename, directory name, or volume label syntax is incorrect", os.fsdecode(path))


def watch(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: refuse what Windows would, where a module of ours asks for it."""
    if event == "open":
        path, _, flags = args
        makes = isinstance(path, str | bytes) and isinstance(flags, int) and flags & os.O_CREAT
        if makes and not os.fsdecode(path).startswith("/dev/") and whose(sys._getframe(1)):
            refuse_name(path)
    elif event == "os.mkdir":
        if whose(sys._getframe(1)):
            refuse_name(args[0])
    elif event == "os.remove":
        if args[1] == -1 and whose(sys._getframe(1)):
            refuse_open(args[0], False)
    elif event == "os.rename" and whose(sys._getframe(1)):
        refuse_name(args[1])
        for path in args[:2]:
            refuse_open(path, True)


builtins.__import__ = poor_import  # type: ignore[assignment]
sys.addaudithook(watch)
