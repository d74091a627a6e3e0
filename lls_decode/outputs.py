"""Which paths the running command reads: those are never written. Readers note what they open, writers ask here.

On the lowest floor, since configurations, frames, models and tables are all read. The writers' half is
`lls_decode.table.files.written_aside`, through which every file goes.
"""

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from lls_decode.documents import special_kind
from lls_decode.errors import ConfigError

PROGRAM: Final = f"lls_decode {version('lls-decode')}"
"""What files of ours say of who wrote them (`lls_decode.table.marks`)."""
_STORE_FILES = ("zarr.json", ".zgroup", ".zarray")

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class _Command:
    """What is known of the running command."""

    force: bool = False
    """Files that lls_decode did not write may be replaced."""
    advice: str = "give another output"
    """What to do about an output that is read."""
    reads: set[Path] = field(default_factory=set)
    """Files and folders, with links resolved."""
    in_place: set[Path] = field(default_factory=set)
    """Files that are read and then replaced, as the user has asked."""
    written: set[Path] = field(default_factory=set)


_RUNNING: ContextVar[_Command | None] = ContextVar("lls_decode_command", default=None)


@contextmanager
def command(
    *,
    reads: Iterable[str | Path] = (),
    outputs: Iterable[str | Path] = (),
    force: bool = False,
    advice: str = "give another output",
) -> Iterator[None]:
    """Guard what the body reads: neither it nor ``reads`` is written before the body ends.

    A command inside another one adds to what that one reads.

    Parameters
    ----------
    outputs
        Where the command is going to write; checked at once, before anything long is done.
    force
        Files that lls_decode did not write may be replaced.
    advice
        What to do about an output that is read.

    Raises
    ------
    ConfigError
        An output is also read, or two outputs are one path.
    """
    running = _RUNNING.get()
    token = None if running is not None else _RUNNING.set(_Command(force=force, advice=advice))
    try:
        for path in reads:
            note_read(path)
        given = [Path(path) for path in outputs]
        for number, path in enumerate(given):
            check_not_read(path)
            if any(_same(path, other) for other in given[:number]):
                raise ConfigError(f"{path} is given for two outputs; give each its own path.")
        yield
    finally:
        if token is not None:
            _RUNNING.reset(token)


def guarded(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function as a `command`: no path that it reads is written by it."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with command():
            return function(*args, **kwargs)

    return run


def note_read(path: str | Path) -> None:
    """Note that the running command reads a file or folder; nothing without a command.

    Raises
    ------
    ConfigError
        The path is a named pipe, a socket or a device: it would be waited for, or never end.
    """
    kind = special_kind(path)
    if kind is not None:
        raise ConfigError(f"{path} is {kind}, expected a file or a folder; give its path, or write the data to a file.")
    running = _RUNNING.get()
    if running is None:
        return
    with suppress(OSError, ValueError, RuntimeError):  # no such file, a link to itself, the address of a remote store
        found = Path(path).resolve(strict=True)
        if found not in running.written:
            running.reads.add(found)


@contextmanager
def in_place(path: Path) -> Iterator[None]:
    """Let the body replace a file that it reads: where the user has asked for that, or the command is there for it."""
    running = _RUNNING.get()
    place = _place(path)
    if running is None or place in running.in_place:
        yield
        return
    running.in_place.add(place)
    try:
        yield
    finally:
        running.in_place.discard(place)


def check_not_read(path: Path) -> None:
    """Refuse to write what the running command reads: the file itself, under whatever name, or a part of a store.

    Raises
    ------
    ConfigError
        Says which path.
    """
    running = _RUNNING.get()
    if running is None or _place(path) in running.in_place or not path.exists():
        return
    final = path.resolve()
    if any(_same(final, read) or _is_in_store(final, read) for read in running.reads):
        raise ConfigError(f"{path} is read by this command, which would overwrite it; {running.advice}.")


def check_not_around(folder: Path) -> None:
    """Refuse to replace a folder that the running command reads, or in which something lies that it reads.

    Raises
    ------
    ConfigError
        Says what lies there.
    """
    check_not_read(folder)
    running, final = _RUNNING.get(), folder.resolve()
    for read in running.reads if running is not None else ():
        if read.is_relative_to(final):
            raise ConfigError(f"{folder} holds {read}, which this command reads, and would be replaced; give another.")


def check_first_write(path: Path) -> None:
    """Refuse to write a path twice in one command: the second output would replace the first.

    Raises
    ------
    ConfigError
        Says which path.
    """
    running = _RUNNING.get()
    if running is not None and path.exists() and path.resolve() in running.written:
        raise ConfigError(f"{path} has just been written by this command; give each output its own path.")


def note_written(path: Path) -> None:
    """Note a file that the running command has written."""
    running = _RUNNING.get()
    if running is not None:
        running.written.add(path.resolve())


def is_forced() -> bool:
    """Whether the running command may replace files that lls_decode did not write."""
    running = _RUNNING.get()
    return running is not None and running.force


def _place(path: Path) -> Path:
    """The path with the links of its folder resolved, and its own not: what a rename replaces."""
    return path.parent.resolve() / path.name


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are one file, also by links and on file systems that do not tell capitals apart."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return _place(one) == _place(other)


def _is_in_store(path: Path, read: Path) -> bool:
    """Whether a path lies in a zarr store that is, or is a part of, what is read."""
    if not path.is_relative_to(read) or not read.is_dir():
        return False
    folders = [folder for folder in (path, *path.parents) if folder.is_relative_to(read)]
    return any((folder / name).exists() for folder in folders[1:] for name in _STORE_FILES)
