"""What no command may do: write what it reads, or what somebody else wrote. Decided here for all commands at once.

A command says which of its paths are outputs (`OutputPath`). Every other value that names a file is taken for one that
it reads, so that an output that was forgotten cannot replace anything. What is read beyond the command line is noted
where it is opened; the decision itself is made where files are written (`lls_decode.table.files.written_aside`).
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from lls_decode.outputs import command as running_command
from lls_decode.outputs import note_read


class OutputPath(click.Path):
    """A path that the command writes: a file, or a folder for its files."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)


def guard(command: click.Command) -> None:
    """Guard what a command (each command of a group) reads, and give it ``--force`` when it writes."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            guard(each)
        return
    positional = {str(param.name) for param in command.params if isinstance(param, click.Argument)}
    outputs = {str(param.name) for param in command.params if isinstance(param.type, OutputPath)}
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
            _check(written)
            return callback(**given)

    command.callback = guarded


def _reading(callback: Callable[..., Any], positional: set[str]) -> Callable[..., Any]:
    """A command that writes nothing, after its paths were looked at (`lls_decode.outputs.note_read`)."""

    @functools.wraps(callback)
    def read(**given: Any) -> Any:
        for path in _reads(given, set(), positional):
            note_read(path)
        return callback(**given)

    return read


def _check(written: Sequence[Path]) -> None:
    """Refuse a file that must not be replaced before anything long is done."""
    if any(path.is_file() for path in written):
        from lls_decode.table.files import check_replaceable  # pyarrow: not needed by whoever replaces nothing

        for path in written:
            if path.is_file():
                check_replaceable(path)


def _reads(given: Mapping[str, Any], outputs: set[str], positional: set[str]) -> Iterator[str | Path]:
    """Paths among the values: all of type path, all arguments, and words in options that are names of files."""
    for name, value in given.items():
        if name in outputs:
            continue
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, Path) or (isinstance(item, str) and name in positional):
                yield item
            elif isinstance(item, str):
                yield from (word for word in (item, item.partition("=")[2]) if _is_path(word))


def _is_path(word: str) -> bool:
    """Whether a word names something that exists and is no folder."""
    try:
        return bool(word) and Path(word).exists() and not Path(word).is_dir()
    except (OSError, ValueError):  # a word that is too long for a name
        return False
