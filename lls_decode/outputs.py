"""Record of the paths that the running command reads, so that it never overwrites them.

Readers note the paths that they open; writers check their paths here. This module is at the lowest level because
configurations, frames, models and tables are all read. All files are written through
`lls_decode.table.files.written_aside`, which does the checks.
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
from lls_decode.errors import ConfigError, OutputError
from lls_decode.system import real_path

PROGRAM: Final = f"lls_decode {version('lls-decode')}"
"""Name of this program in the files that it writes (`lls_decode.table.marks`)."""
_STORE_FILES = ("zarr.json", ".zgroup", ".zarray")

P = ParamSpec("P")
R = TypeVar("R")


@dataclass
class _Command:
    """Inputs, outputs and permissions of the running command."""

    force: bool = False
    """Whether files that lls_decode did not write may be replaced."""
    advice: str = "give another output"
    """Advice for the user in the error about an output that is also an input."""
    reads: set[Path] = field(default_factory=set)
    """Files and folders that the command reads, with links resolved."""
    in_place: set[Path] = field(default_factory=set)
    """Files that the command reads and then replaces, as the user requested."""
    written: set[Path] = field(default_factory=set)
    """Files that the command has written."""


_RUNNING: ContextVar[_Command | None] = ContextVar("lls_decode_command", default=None)


@contextmanager
def command(
    *,
    reads: Iterable[str | Path] = (),
    outputs: Iterable[str | Path] = (),
    force: bool = False,
    advice: str = "give another output",
) -> Iterator[None]:
    """Protect ``reads``, and everything that the body reads, from being written until the body ends.

    A command inside another command adds its inputs to those of the outer command.

    Parameters
    ----------
    outputs
        Paths that the command will write; checked at once, before any long work.
    force
        Whether files that lls_decode did not write may be replaced.
    advice
        Advice for the user in the error about an output that is also an input.

    Raises
    ------
    ConfigError
        An output is also an input, or two outputs have the same path.
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
    """Decorate a function to run as a `command`, so that it cannot overwrite paths that it reads."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with command():
            return function(*args, **kwargs)

    return run


def note_read(path: str | Path) -> None:
    """Note that the running command, if there is one, reads a file or folder.

    Raises
    ------
    ConfigError
        The path is a named pipe, a socket or a device, from which reading may block or never end.
    """
    kind = special_kind(path)
    if kind is not None:
        raise ConfigError(f"{path} is {kind}, expected a file or a folder; give its path, or write the data to a file.")
    running = _RUNNING.get()
    if running is None:
        return
    with suppress(OSError, ValueError, RuntimeError):  # missing file, circular link, or address of a remote store
        found = Path(path).resolve(strict=True)
        if found not in running.written:
            running.reads.add(found)


@contextmanager
def in_place(path: Path) -> Iterator[None]:
    """Allow the body to replace a file that it reads, because the user or the purpose of the command requires it."""
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
    """Refuse to write a file that the running command reads, under any name, or a part of a store that it reads.

    Raises
    ------
    ConfigError
        The running command reads the path.
    """
    running = _RUNNING.get()
    if running is None or _place(path) in running.in_place or not path.exists():
        return
    final = real_path(path)
    if any(_same(final, read) or _is_in_store(final, read) for read in running.reads):
        raise ConfigError(f"{path} is read by this command, which would overwrite it; {running.advice}.")


def check_not_around(folder: Path) -> None:
    """Refuse to replace a folder that the running command reads, or that contains a path that the command reads.

    Raises
    ------
    ConfigError
        The running command reads the folder or something in it.
    """
    check_not_read(folder)
    running, final = _RUNNING.get(), real_path(folder)
    for read in running.reads if running is not None else ():
        if read.is_relative_to(final):
            raise ConfigError(f"{folder} would be replaced, but holds {read}, which this command reads; give another.")


def check_not_in_store(path: Path, *, is_folder: bool = False) -> None:
    """Refuse to write into a zarr store, where results would be taken for data.

    Parameters
    ----------
    is_folder
        Whether ``path`` is a folder for several files, so that it must not be a store itself.

    Raises
    ------
    OutputError
        The path lies in a store.
    """
    final = real_path(path)
    for folder in (final, *final.parents) if is_folder else final.parents:
        if any((folder / name).is_file() for name in _STORE_FILES):
            raise OutputError(
                f"{path} is, or is inside, the zarr store {folder}; results are never written into data: give an "
                "output elsewhere."
            )


def check_first_write(path: Path) -> None:
    """Refuse to write a path twice in one command, because the second output would replace the first.

    Raises
    ------
    ConfigError
        The running command has already written the path.
    """
    running = _RUNNING.get()
    if running is not None and path.exists() and real_path(path) in running.written:
        raise ConfigError(f"{path} has just been written by this command; give each output its own path.")


def note_written(path: Path) -> None:
    """Note a file that the running command has written."""
    running = _RUNNING.get()
    if running is not None:
        running.written.add(real_path(path))


def is_forced() -> bool:
    """Return whether the running command may replace files that lls_decode did not write."""
    running = _RUNNING.get()
    return running is not None and running.force


def _place(path: Path) -> Path:
    """Return a path with links of its folder resolved, but not the path itself, as that is what a rename replaces."""
    return real_path(path.parent) / path.name


def _same(one: Path, other: Path) -> bool:
    """Return whether two paths are the same file, also through links and on case-insensitive file systems."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return _place(one) == _place(other)


def _is_in_store(path: Path, read: Path) -> bool:
    """Return whether a path lies in a zarr store that equals ``read`` or lies in it."""
    if not path.is_relative_to(read) or not read.is_dir():
        return False
    folders = [folder for folder in (path, *path.parents) if folder.is_relative_to(read)]
    return any((folder / name).exists() for folder in folders[1:] for name in _STORE_FILES)
