"""Emulate on Linux, for the modules of lls_decode only, what Windows lacks and what it refuses.

``pytest --without-posix`` puts this folder on PYTHONPATH. Python imports ``sitecustomize`` before anything else, so
that the emulation also covers processes that tests start.

Modules of lls_decode see reduced versions of ``os``, ``signal``, ``sys`` and ``ctypes``, and cannot import ``fcntl`` or
``resource``. Tests and libraries see the complete modules. Operations of lls_decode on files fail as they would on
Windows:

* a file that this process has open cannot be replaced or removed;
* ``os.rename`` refuses a target that exists (``os.replace`` does not);
* files cannot have names that Windows reserves.

Not emulated: files that another process has open, backslashes, and drives.
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


class ReducedModule(ModuleType):
    """A module that hides some names of another module and replaces others."""

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
    """Replace ``os.open``, which cannot open folders on Windows."""
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return os.open(path, flags, *args, **kwargs)


def flush(descriptor: int) -> None:
    """Replace ``os.fsync``, which needs a file that is open for writing on Windows."""
    flags = Path(f"/proc/self/fdinfo/{descriptor}").read_text().split("flags:")[1].split()[0]
    if int(flags, 8) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(9, "Bad file descriptor")
    os.fsync(descriptor)


def rename(source: Any, target: Any) -> None:
    """Replace ``os.rename``, which refuses a target that exists on Windows."""
    if os.path.lexists(target):
        raise FileExistsError(17, "File exists", str(target))
    os.rename(source, target)


def end_process(pid: int, number: int) -> None:
    """Replace ``os.kill``, which ends the process on Windows whatever the signal number."""
    raise AssertionError(f"os.kill({pid}, {number}) would end the process on Windows")


class Library(ctypes.CDLL):
    """Replacement for ``ctypes.CDLL``, which needs the name of a library on Windows."""

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
reduced: dict[str, ReducedModule] = {}
whole_import = builtins.__import__


def reduced_import(
    name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
) -> ModuleType:  # signature of builtins.__import__
    """Import the reduced version of a module for modules of lls_decode, and the module itself for all others."""
    file = (globals or {}).get("__file__") or ""
    if level or not file.startswith(OURS):
        return whole_import(name, globals, locals, fromlist, level)
    top = name.partition(".")[0]
    if top in NO_MODULES:
        raise ModuleNotFoundError(f"No module named {top!r} without POSIX", name=top)
    module = whole_import(name, globals, locals, fromlist, level)
    if (top in HIDDEN or top in INSTEAD) and module.__name__ == top:
        if top not in reduced:
            reduced[top] = ReducedModule(module, HIDDEN.get(top, set()), INSTEAD.get(top, {}))
        return reduced[top]
    return module


def responsible_module(frame: FrameType | None) -> str:
    """Return the file of the module of lls_decode that caused an operation, or "" if a test or tempfile caused it."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OURS):
            return file
        if file.startswith(TESTS) or file.endswith(("/tempfile.py", "/filelock/_unix.py")):
            return "" if not file.startswith(__file__) else responsible_module(frame.f_back)
        frame = frame.f_back
    return ""


def open_files() -> set[str]:
    """Return the files that this process has open or mapped."""
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
    """Refuse to rename or remove an open file, or a folder that contains an open file."""
    place = os.path.realpath(os.path.dirname(os.path.abspath(path))) + os.sep + os.path.basename(os.path.abspath(path))
    inside = place + os.sep
    held = [name for name in open_files() if name == place or (whole_folder and name.startswith(inside))]
    if held and os.path.exists(held[0]):
        print(f"without POSIX: {held[0]} is open", file=sys.stderr)
        raise PermissionError(13, "The process cannot access the file because it is being used", str(path))


def refuse_name(path: Any) -> None:
    """Refuse a file name that Windows reserves."""
    name = os.path.basename(os.path.abspath(os.fsdecode(path)))
    if RESERVED.search(name):
        raise OSError(22, "The filename, directory name, or volume label syntax is incorrect", os.fsdecode(path))


def watch(event: str, args: tuple[Any, ...]) -> None:
    """Refuse operations of lls_decode that Windows would refuse; this function is an audit hook."""
    if event == "open":
        path, _, flags = args
        makes = isinstance(path, str | bytes) and isinstance(flags, int) and flags & os.O_CREAT
        if makes and not os.fsdecode(path).startswith("/dev/") and responsible_module(sys._getframe(1)):
            refuse_name(path)
    elif event == "os.mkdir":
        if responsible_module(sys._getframe(1)):
            refuse_name(args[0])
    elif event == "os.remove":
        if args[1] == -1 and responsible_module(sys._getframe(1)):
            refuse_open(args[0], False)
    elif event == "os.rename" and responsible_module(sys._getframe(1)):
        refuse_name(args[1])
        for path in args[:2]:
            refuse_open(path, True)


builtins.__import__ = reduced_import  # type: ignore[assignment]
sys.addaudithook(watch)
