"""Folders of lattice light-sheet software: one TIFF stack per volume and channel, and usually a ``Settings.txt``.

As for all folders, the names of the stacks determine their order. This module finds the settings that belong to them.
"""

import re
from dataclasses import replace
from pathlib import Path

from lls_decode.errors import InputError
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.lls_settings import read_settings
from lls_decode.movies.formats.tiff.movies import open_tiff_series
from lls_decode.movies.movie import Movie
from lls_decode.movies.series import Series
from lls_decode.naming.choices import name_some
from lls_decode.naming.names import LLS_CONVENTION, is_lls, natural_key, read_name

_SETTINGS = "settings.txt"


def find_settings(folder: Path) -> list[Path]:
    """Return all ``Settings.txt`` files of a folder, in any letter case, in natural order."""
    found = [path for path in folder.iterdir() if path.name.lower().endswith(_SETTINGS) and path.name[0] != "."]
    return sorted(found, key=lambda path: natural_key(path.name))


def open_lls_series(folder: Path, series: Series, choices: Choices) -> Movie:
    """Open the stacks of one channel as consecutive volumes, with the geometry from their ``Settings.txt``.

    Raises
    ------
    InputError
        No settings match the stacks, the settings are inconsistent, or a stack is damaged.
    """
    found = find_settings(folder)
    settings = _fitting(folder, found, series) if found else None
    movie = open_tiff_series(series, replace(choices, axes=choices.axes or "zyx"))
    if settings is None:
        note = (
            f"{folder} has no Settings.txt: give the geometry in a run configuration, and the pixel size with "
            "--pixel-nm"
        )
        return replace(movie, notes=(*movie.notes, note))
    told = read_settings(settings, channel=int(re.sub(r".*ch", "", read_name(series.files[0].name).channel)))
    notes = [*movie.notes, *told.notes]
    planes = movie.lengths[0] if movie.lengths else movie.planes
    if told.planes is not None and told.planes != planes:
        notes.append(f"{settings.name} states {told.planes} planes per volume, but the stacks have {planes}")
    return replace(
        movie,
        files=(*movie.files, settings),
        pixel_size=told.pixel_size or movie.pixel_size,
        z_step_nm=told.geometry.stage_step_nm if told.geometry else movie.z_step_nm,
        geometry=told.geometry,
        notes=tuple(notes),
    )


def _fitting(folder: Path, found: list[Path], series: Series) -> Path:
    """Return the settings whose name matches the beginning of the stacks' names."""
    if len(found) == 1:
        return found[0]
    first = series.files[0].name.lower()
    stems = {path: path.name.lower().removesuffix(_SETTINGS).rstrip("_- .") for path in found}
    fitting = [path for path, stem in stems.items() if stem and re.match(re.escape(stem) + r"(?![a-z0-9])", first)]
    longest = max((len(stems[path]) for path in fitting), default=0)
    fitting = [path for path in fitting if len(stems[path]) == longest] or [p for p, stem in stems.items() if not stem]
    if len(fitting) != 1:
        raise InputError(
            f"{folder} has {len(found)} settings files ({name_some([path.name for path in found])}), none of which "
            f"clearly matches {series.files[0].name}; move those of other acquisitions elsewhere."
        )
    return fitting[0]


def refuse_foreign_names(folder: Path, files: list[Path]) -> None:
    """Raise an error for a folder with settings but without stacks named by lattice light-sheet software."""
    settings = find_settings(folder)
    if settings and not any(is_lls(path.name) for path in files):
        raise InputError(
            f"{folder} has a {settings[0].name}, but no TIFF file named like {LLS_CONVENTION}; give the files as a "
            f"pattern, e.g. '{folder}/*.tif' with --axes zyx."
        )
