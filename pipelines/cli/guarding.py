"""Protection against overwriting: no command may overwrite its own inputs, or files that lls-decode did not write.

A command declares which of its paths are outputs (`OutputPath`). Every other value that names a file is treated as an
input, so that an output somebody forgot to declare cannot replace anything. Inputs that are not on the command line are
noted where they are opened. The decision itself is made where files are written
(`lls_decode.table.files.written_aside`).
"""

import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from lls_decode.errors import ConfigError
from lls_decode.outputs import check_not_in_store, note_read
from lls_decode.outputs import command as running_command

_NOT_UTF8 = re.compile("[\ud800-\udfff]")
"""Characters by which Python represents the bytes of a file name that are not UTF-8."""
_LARGEST_NUMBER: Final = 2.0**53
"""Largest absolute value of a number of an option, which floats count exactly; no length, time, count or seed needs a
larger one."""
_SMALLEST_NUMBER: Final = 1e-12
"""Smallest absolute value of a number of an option, except 0."""


class OutputPath(click.Path):
    """Path that the command writes: a file, or a folder for several files."""

    def __init__(self, ending: str = "") -> None:
        super().__init__(path_type=Path)
        self._ending = ending
        """Required ending of a file of which the command writes only one kind; empty: any."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path; refuse another ending than the required one, since the contents would not fit the name."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if self._ending and path.suffix.lower() != self._ending:
            self.fail(
                f"{str(path)!r} is written as {self._ending}; name it {path.name.partition('.')[0]}{self._ending}.",
                param,
                ctx,
            )
        return path


class OutputFolder(OutputPath):
    """Folder for several files that the command writes; it must not be a zarr store."""


def guard(command: click.Command) -> None:
    """Protect the inputs of a command, or of each command of a group; add ``--force`` if the command writes files."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            guard(each)
        return
    if command.callback is not None:
        inputs = {str(param.name) for param in command.params if not isinstance(param.type, OutputPath)}
        exempt = inputs if command.name == "convert" else set()
        command.callback = _checking_values(
            command.callback, {str(param.name): param for param in command.params}, exempt
        )
    positional = {str(param.name) for param in command.params if isinstance(param, click.Argument)}
    types = {str(param.name): param.type for param in command.params if isinstance(param.type, OutputPath)}
    outputs = set(types)
    callback = command.callback
    if callback is None:
        return
    if not outputs:
        command.callback = _reading(callback, positional)
        return
    in_place = any("--in-place" in param.opts for param in command.params)
    advice = "give another output" + (", or --in-place to replace it" if in_place else "")
    has_force = any(param.name == "force" for param in command.params)
    if not has_force:
        command.params.append(
            click.Option(["--force"], is_flag=True, help="Replace files that lls-decode did not write.")
        )

    @functools.wraps(callback)
    def guarded(**given: Any) -> Any:
        force = given["force"] if has_force else given.pop("force")
        written = [given[name] for name in given if name in outputs and given[name] is not None]
        with running_command(reads=_reads(given, outputs, positional), outputs=written, force=force, advice=advice):
            for name in outputs:
                if given[name] is not None:
                    check_not_in_store(given[name], is_folder=isinstance(types[name], OutputFolder))
            _check(written)
            return callback(**given)

    command.callback = guarded


def _checking_values(
    callback: Callable[..., Any], params: Mapping[str, click.Parameter], exempt: set[str]
) -> Callable[..., Any]:
    """Wrap a command so that it refuses names that are not UTF-8, and numbers that cannot be computed with.

    Parquet, zarrs and safetensors cannot open such names; the names of the parameters in ``exempt`` are accepted.
    """

    @functools.wraps(callback)
    def check(**given: Any) -> Any:
        for name, value in given.items():
            for item in _flat(value):
                if isinstance(item, int | float):
                    _check_number(item, params[name])
                elif name not in exempt and isinstance(item, str | Path) and _NOT_UTF8.search(str(item)):
                    raise ConfigError(
                        f"{item} has a name that is not UTF-8; rename the file or folder, or give a link to "
                        "it with another name ('lls-decode convert' reads any name)."
                    )
        return callback(**given)

    return check


def _flat(value: Any) -> Iterator[Any]:
    """Yield the values of an option, which may be a tuple of tuples."""
    if isinstance(value, tuple):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def _check_number(value: int | float, param: click.Parameter) -> None:
    """Raise an error for NaN, infinity, and numbers that overflow or vanish when they are computed with."""
    if value != 0 and not _SMALLEST_NUMBER <= abs(value) <= _LARGEST_NUMBER:
        raise ConfigError(
            f"{param.opts[0]} is {str(value)[:50]}, expected 0 or a number from {_SMALLEST_NUMBER:g} to "
            f"{_LARGEST_NUMBER:.2g} with either sign; correct it."
        )


def _reading(callback: Callable[..., Any], positional: set[str]) -> Callable[..., Any]:
    """Wrap a command that writes nothing, so that its paths are noted as inputs (`lls_decode.outputs.note_read`)."""

    @functools.wraps(callback)
    def read(**given: Any) -> Any:
        for path in _reads(given, set(), positional):
            note_read(path)
        return callback(**given)

    return read


def _check(written: Sequence[Path]) -> None:
    """Raise, before any long work starts, if an output is a file that must not be replaced."""
    if any(path.is_file() for path in written):
        from lls_decode.table.files import check_replaceable  # imports pyarrow, so only when needed

        for path in written:
            if path.is_file():
                check_replaceable(path)


def _reads(given: Mapping[str, Any], outputs: set[str], positional: set[str]) -> Iterator[str | Path]:
    """Yield the paths that a command reads: paths, arguments, and texts of options that name existing files."""
    for name, value in given.items():
        if name in outputs:
            continue
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Path) or (isinstance(item, str) and name in positional):
                yield item
            elif isinstance(item, str):
                yield from (word for word in (item, item.partition("=")[2]) if _is_path(word))


def _is_path(word: str) -> bool:
    """Return whether a word names something that exists and is not a folder."""
    try:
        return bool(word) and Path(word).exists() and not Path(word).is_dir()
    except (OSError, ValueError):  # the word is too long for a file name
        return False
