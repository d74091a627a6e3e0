"""Folders of lattice light-sheet software: one TIFF stack a volume and channel, and mostly a ``Settings.txt``.

Which stack is which volume is decided by their names, as for all folders; here the description is found that belongs to
them.
"""

import re
from dataclasses import replace
from pathlib import Path

from lls_decode.errors import InputError
from lls_decode.frames.storage.stores import natural_key
from lls_decode.movies.choices import Choices, name_some
from lls_decode.movies.formats.lls_settings import read_settings
from lls_decode.movies.formats.tiff.movies import open_tiff_series
from lls_decode.movies.movie import Movie
from lls_decode.movies.names import LLS_CONVENTION, is_lls
from lls_decode.movies.series import Series

_SETTINGS = "settings.txt"


def find_settings(folder: Path) -> list[Path]:
    """Return the ``Settings.txt`` of a folder, of any case, in natural order."""
    found = [path for path in folder.iterdir() if path.name.lower().endswith(_SETTINGS) and path.name[0] != "."]
    return sorted(found, key=lambda path: natural_key(path.name))


def open_lls_series(folder: Path, series: Series, choices: Choices) -> Movie:
    """Open stacks of one channel as volumes, one after the other, with the geometry of their ``Settings.txt``.

    Raises
    ------
    InputError
        The settings fit no stack or contradict themselves, or a stack is damaged.
    """
    found = find_settings(folder)
    settings = _fitting(folder, found, series) if found else None
    movie = open_tiff_series(series, replace(choices, axes=choices.axes or "zyx"))
    if settings is None:
        note = f"{folder} has no Settings.txt: give the geometry in a run configuration, the pixel size with --pixel-nm"
        return replace(movie, notes=(*movie.notes, note))
    told = read_settings(settings, channel=int(re.sub(r".*ch", "", series.channel)))
    notes = [*movie.notes, *told.notes]
    planes = movie.lengths[0] if movie.lengths else movie.planes
    if told.planes is not None and told.planes != planes:
        notes.append(f"{settings.name} says {told.planes} planes a volume, the stacks have {planes}")
    return replace(
        movie,
        files=(*movie.files, settings),
        pixel_size=told.pixel_size or movie.pixel_size,
        z_step_nm=told.geometry.stage_step_nm if told.geometry else movie.z_step_nm,
        geometry=told.geometry,
        notes=tuple(notes),
    )


def _fitting(folder: Path, found: list[Path], series: Series) -> Path:
    """The settings whose name is the beginning of the names of the stacks."""
    if len(found) == 1:
        return found[0]
    first = series.files[0].name.lower()
    stems = {path: path.name.lower().removesuffix(_SETTINGS).rstrip("_- .") for path in found}
    fitting = [path for path, stem in stems.items() if stem and re.match(re.escape(stem) + r"(?![a-z0-9])", first)]
    longest = max((len(stems[path]) for path in fitting), default=0)
    fitting = [path for path in fitting if len(stems[path]) == longest] or [p for p, stem in stems.items() if not stem]
    if len(fitting) != 1:
        raise InputError(
            f"{folder} has {len(found)} settings ({name_some([path.name for path in found])}), and not one of them "
            f"fits the name of {series.files[0].name}; move those of other acquisitions elsewhere."
        )
    return fitting[0]


def refuse_foreign_names(folder: Path, files: list[Path]) -> None:
    """Refuse a folder with settings and no stack that is named as their software names them."""
    settings = find_settings(folder)
    if settings and not any(is_lls(path) for path in files):
        raise InputError(
            f"{folder} has a {settings[0].name}, but no TIFF file named like {LLS_CONVENTION}; give the files as a "
            f"pattern, e.g. '{folder}/*.tif' with --axes zyx."
        )
