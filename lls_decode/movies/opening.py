"""The door for movies of other formats.

A format is one module in `formats` with a function ``open_x(path, choices) -> Movie``, and one line in `BY_SUFFIX`
here, or in `_open_folder` where it is a folder. The module states what does not agree as `accounting.Account`, and asks
for what is left open with `choices.pick` or `axes.in_order`; it drops nothing by itself.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from lls_decode.errors import InputError
from lls_decode.frames.stores import has_magic
from lls_decode.movies.choices import Choices, pick
from lls_decode.movies.formats.flat import open_dax, open_picasso_raw
from lls_decode.movies.formats.lls_folder import open_lls_series, refuse_foreign_names
from lls_decode.movies.formats.ndtiff import INDEX, find_index, open_ndtiff
from lls_decode.movies.formats.tiff.members import members_named_by
from lls_decode.movies.formats.tiff.movies import open_tiff, open_tiff_series
from lls_decode.movies.movie import Movie
from lls_decode.movies.names import is_lls, read_name
from lls_decode.movies.series import find_series, list_files

TIFF_SUFFIXES = {".tif", ".tiff", ".btf", ".tf8"}
BY_SUFFIX: dict[str, Callable[[Path, Choices], Movie]] = {
    **dict.fromkeys(TIFF_SUFFIXES, open_tiff),
    ".dax": open_dax,
    ".raw": open_picasso_raw,
}
"""The formats of single files."""

FORMATS: Final = (
    "a TIFF, or a folder or glob of TIFFs",
    "an NDTiff dataset",
    "a folder of lattice light-sheet stacks, with or without Settings.txt",
    "a .dax file",
    "a Picasso .raw file",
)
"""What `open_movie` reads, in words."""


def open_movie(path: str | Path, choices: Choices | None = None) -> Movie:
    """Recognize a movie by its name and contents.

    Parameters
    ----------
    path
        A TIFF, ``.dax`` or ``.raw`` file; a folder with an NDTiff data set, with stacks of a lattice light-sheet, or
        with TIFFs; or a glob of TIFFs.
    choices
        What the user says where a movie holds more than one answer.

    Raises
    ------
    InputError
        The movie is absent, of an unknown format, or inconsistent; or something must be chosen, or was chosen in vain.
    """
    choices = choices or Choices()
    text, path = str(path), Path(path)
    index = path if path.name == INDEX and path.is_file() else find_index(path)
    if index is not None:
        return open_ndtiff(index, choices)
    if has_magic(text) or path.is_dir():
        return _open_folder(text, choices)
    if choices.pattern is not None:
        raise InputError(f"{path} is one file; leave --pattern out, or give its folder.")
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a movie, or a folder or pattern of TIFFs.")
    opener = BY_SUFFIX.get(path.suffix.lower())
    if opener is None:
        raise InputError(f"{path} is of unknown type {path.suffix!r}; expected {', '.join(BY_SUFFIX)}.")
    return opener(path, choices)


def _open_folder(where: str, choices: Choices) -> Movie:
    """Files of a folder or pattern: one OME set, stacks of a lattice light-sheet, or a series by their names."""
    files = list_files(where, TIFF_SUFFIXES, choices)
    sets = _ome_sets(files)
    if sets:
        chosen = sets[_pick_set(where, sets, choices)]
        rest = choices if len(sets) == 1 else replace(choices, position=None)
        return open_tiff(chosen[0], rest)
    if Path(where).is_dir() and choices.axes is None and choices.pattern is None:
        refuse_foreign_names(Path(where), files)
    series = find_series(where, files, choices)
    inner = replace(
        choices,
        channel=None if series.takes_channel else choices.channel,
        position=None if series.takes_position else choices.position,
    )
    if is_lls(series.files[0]) and "{" not in (choices.pattern or ""):
        return open_lls_series(series.files[0].parent, series, inner)
    return open_tiff_series(series, inner)


def _ome_sets(files: list[Path]) -> list[list[Path]]:
    """Sets of OME-TIFFs that name each other, and the files beside them; nothing where no file names another."""
    if not any(re.search(r"\.ome\.", path.name.lower()) for path in files) and not members_named_by(files[0]):
        return []
    sets: list[list[Path]] = []
    is_set = False
    left = list(files)
    while left:
        named = members_named_by(left[0])
        members = [path for path in left if path.name in named] or [left[0]]
        is_set = is_set or len(named) > 1
        sets.append([left[0], *(path for path in members if path != left[0])])
        left = [path for path in left if path not in sets[-1]]
    return sets if is_set else []


def _pick_set(where: str, sets: list[list[Path]], choices: Choices) -> int:
    """Which of several sets: another one is another position, or does not belong here."""
    if len(sets) == 1:
        return 0
    names = [read_name(members[0]).position or members[0].name for members in sets]
    if len(set(names)) < len(names):
        names = [members[0].name for members in sets]
    return pick(names, choices.position, "position", where)
