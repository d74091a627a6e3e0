"""Selection and order of the files of a movie, for folders and patterns of all kinds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lls_decode.errors import InputError
from lls_decode.frames.storage.stores import expand, has_magic
from lls_decode.movies.accounting import Loss
from lls_decode.movies.choices import Choices
from lls_decode.naming.choices import name_some
from lls_decode.naming.names import names_of, natural_key, read_pattern
from lls_decode.naming.series import as_times, find_names

MAX_GAPS = 1000
"""Largest number of gaps that are recorded."""


@dataclass(frozen=True)
class Series:
    """Files of one movie, in order."""

    where: str
    files: tuple[Path, ...]
    planes: int = 1
    """Number of files per volume; 1 if each file is a volume or there are no volumes."""
    losses: tuple[Loss, ...] = ()
    """Missing files, which the user accepted."""
    notes: tuple[str, ...] = ()
    takes_channel: bool = False
    """Whether file names select the channel."""
    takes_position: bool = False
    """Whether file names select the position."""
    channel: str = ""


def check_single_planes(where: object, series: Series, lengths: Sequence[int]) -> None:
    """Raise an error if names count planes, but a file holds more than one frame."""
    for path, length in zip(series.files, lengths, strict=True):
        if length > 1:
            raise InputError(
                f"{where} has {series.planes} planes by the names of its files, but {path.name} has {length} frames "
                "itself, expected one; mark the number that counts time by {t}, and give the others or replace them by "
                f"*, e.g. --pattern '{as_times([path.name for path in series.files])}'."
            )


def list_files(where: str, suffixes: set[str], choices: Choices) -> list[Path]:
    """List the files of a folder or pattern that may belong to a movie, in natural order.

    Raises
    ------
    InputError
        There are no such files.
    """
    found = [Path(item) for item in expand(where)]
    files = [path for path in found if path.suffix.lower() in suffixes and path.name[:1] != "." and path.is_file()]
    inside = [path.name for path in found if path.is_dir() and any(s in suffixes for s in _suffixes(path))]
    if not files and inside:
        raise InputError(
            f"{where} has no TIFF files, but folders with TIFF files: {name_some(inside)}; give one of these folders."
        )
    if not files:
        raise InputError(f"{where} has no TIFF files (.tif, .tiff); give a movie, or a folder or pattern of TIFFs.")
    if choices.pattern is not None:
        reader = read_pattern(choices.pattern)
        matching = [path for path, name in zip(files, names_of(list(map(str, files))), strict=True) if reader(name)]
        if not matching:
            raise InputError(
                f"no file of {where} matches --pattern {choices.pattern!r}; the files are "
                f"{name_some([p.name for p in files])}: give a pattern that matches some of them, e.g. --pattern "
                f"'*{files[0].suffix}'."
            )
        files = matching
    return sorted(files, key=lambda path: natural_key(path.name))


def _suffixes(folder: Path) -> set[str]:
    return {path.suffix.lower() for path in folder.iterdir()}


def find_series(where: str, files: Sequence[Path], choices: Choices) -> Series:
    """Select and order the files of one movie.

    Raises
    ------
    InputError
        Files have several positions, channels or forms of name, or numbers that are missing, duplicate or ambiguous.
    """
    named = dict(zip(names_of([str(path) for path in files]), files, strict=True))
    found = find_names(where, list(named), choices, told=Path(where).name if has_magic(where) else "")
    return Series(
        where,
        tuple(named[name] for name in found.names),
        found.planes,
        tuple(Loss(Path(where).name, item, "files of the series are missing") for item in found.missing[:MAX_GAPS]),
        found.notes,
        found.takes_channel,
        found.takes_position,
        found.channel,
    )
