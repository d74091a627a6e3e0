"""Folders of lattice light-sheet software: one TIFF stack a volume and channel, and a ``Settings.txt``.

Names as written by the Janelia and 3i software, ``cell5_ch1_stack0102_560nm_0001760msec_0020933033msecAbs.tif``, and by
MOSAIC, ``Scan_Iter_0003_CamA_ch0_CAM1_stack0000_488nm_0000000msec_0015969850msecAbs_000x_000y_000z_0000t.tif``.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from lls_decode.errors import InputError
from lls_decode.frames.storage.stores import natural_key
from lls_decode.movies.formats.lls_settings import read_settings
from lls_decode.movies.formats.tiff import TIFF_SUFFIXES, open_tiff_series
from lls_decode.movies.movie import Movie

SETTINGS = "*Settings.txt"
CONVENTION = "NAME_ch0_stack0000_560nm_..._...msecAbs.tif"

_CHANNEL, _CAMERA = re.compile(r"_ch(\d+)(?=_|\.)", re.IGNORECASE), re.compile(r"_Cam([A-Z])(?=_)")
_LASER = re.compile(r"_(\d{3,4})nm(?=_|\.)")
_TIMES = (
    re.compile(r"Iter_(\d+)(?=_|\.)", re.IGNORECASE),
    re.compile(r"_stack(\d+)(?=_|\.)", re.IGNORECASE),
    re.compile(r"_(\d+)t(?=_|\.)"),
)
"""Numbers that count volumes, the slowest first."""
_TILE = re.compile(r"_(\d+x_\d+y_\d+z)(?=_|\.)")
_MAX_NAMED = 3


@dataclass(frozen=True)
class _Stack:
    """What the name of one file says."""

    path: Path
    channel: str
    """``ch0``, or ``CamA ch0`` where there are several cameras."""
    laser: str
    tile: str
    time: tuple[int, ...]


def find_settings(folder: Path) -> Path | None:
    """The ``Settings.txt`` of a folder; None when it has none, the first in natural order of several."""
    found = sorted(folder.glob(SETTINGS), key=lambda path: natural_key(path.name))
    return found[0] if found else None


def open_lls_folder(folder: Path, settings: Path, *, channel: str | None = None) -> Movie:
    """Stacks of one channel as volumes, one after the other, with the geometry of their ``Settings.txt``.

    Parameters
    ----------
    folder, settings
        Where the stacks lie, and the description of the acquisition.
    channel
        Which one, needed when there are several: its number, its name (``CamA ch0``) or its laser (``560``).

    Raises
    ------
    InputError
        No name follows the convention, a stack is missing or there twice, or a stack in the middle is cut short.
    """
    files = [path for path in folder.iterdir() if path.suffix.lower() in TIFF_SUFFIXES and path.name[0] != "."]
    stacks = [stack for stack in map(_parse, files) if stack is not None]
    if not stacks:
        raise InputError(
            f"{folder} has a {settings.name}, but no TIFF file named like {CONVENTION}; give the files as a pattern, "
            f"e.g. '{folder}/*.tif' with --axes zyx."
        )
    chosen = _choose(folder, stacks, channel)
    _check_times(folder, chosen)
    told = read_settings(settings, channel=int(re.sub(r".*ch", "", chosen[0].channel)))
    movie = open_tiff_series(str(folder), [stack.path for stack in chosen], axes="zyx")
    notes = [*told.notes, *_left_out(files, stacks)]
    planes = _planes(folder, chosen, movie)
    if told.planes is not None and told.planes != planes:
        notes.append(f"{settings.name} says {told.planes} planes a volume, the stacks have {planes}")
    return replace(
        movie,
        files=(*movie.files, settings),
        planes=planes,
        pixel_size=told.pixel_size,
        z_step_nm=told.geometry.stage_step_nm if told.geometry else None,
        geometry=told.geometry,
        notes=tuple(notes),
    )


def _parse(path: Path) -> _Stack | None:
    """None for a file that is no stack of the acquisition: a projection, a result."""
    channel, camera, laser, tile = (key.search(path.name) for key in (_CHANNEL, _CAMERA, _LASER, _TILE))
    time = tuple(int(found[1]) if (found := key.search(path.name)) else 0 for key in _TIMES)
    if channel is None or not any(key.search(path.name) for key in _TIMES):
        return None
    name = f"Cam{camera[1]} ch{channel[1]}" if camera else f"ch{channel[1]}"
    return _Stack(path, name, laser[1] if laser else "", tile[1] if tile else "", time)


def _choose(folder: Path, stacks: list[_Stack], channel: str | None) -> list[_Stack]:
    """Stacks of one channel and tile in the order of time."""
    names = {stack.channel: stack.laser for stack in sorted(stacks, key=lambda stack: natural_key(stack.channel))}
    listed = ", ".join(f"{name} ({laser} nm)" if laser else name for name, laser in names.items())
    if channel is None:
        chosen = set(names)
    else:
        chosen = {n for n, laser in names.items() if channel in (n, n.rpartition("ch")[2], laser)}
    if len(chosen) != 1:
        found = (
            f"{folder} has the channels {listed}" if chosen else f"{folder} has no channel {channel!r}, but {listed}"
        )
        raise InputError(f"{found}; choose one with --channel.")
    (name,) = chosen
    kept = [stack for stack in stacks if stack.channel == name]
    tiles = sorted({stack.tile for stack in kept})
    if len(tiles) > 1:
        raise InputError(
            f"{folder} has {len(tiles)} tiles ({', '.join(tiles[:_MAX_NAMED])}...); give the files of one as a "
            f"pattern, e.g. '{folder}/*_{tiles[0]}_*.tif' with --axes zyx."
        )
    return sorted(kept, key=lambda stack: stack.time)


def _check_times(folder: Path, stacks: list[_Stack]) -> None:
    """Refuse volumes that are there twice, and gaps: what follows would get the wrong number."""
    for before, after in pairwise(stacks):
        if before.time == after.time:
            raise InputError(
                f"{folder} has two stacks of one time, {before.path.name} and {after.path.name}, as when an "
                "acquisition was started again; move those of one start elsewhere."
            )
    varied = [i for i in range(len(_TIMES)) if len({stack.time[i] for stack in stacks}) > 1]
    if len(varied) != 1:
        return
    (slot,) = varied
    for before, after in pairwise(stacks):
        if after.time[slot] != before.time[slot] + 1:
            raise InputError(
                f"{folder} lacks the stacks between {before.path.name} and {after.path.name}; restore them, or to "
                f"number the rest without a gap give them as a pattern, e.g. '{folder}/*_ch*.tif' with --axes zyx."
            )


def _planes(folder: Path, stacks: list[_Stack], movie: Movie) -> int:
    """Planes of a volume; only the last stack may have fewer, when the acquisition was stopped."""
    planes = movie.lengths[0]
    for stack, length in zip(stacks, movie.lengths, strict=True):
        if length != planes and (stack is not stacks[-1] or length > planes):
            raise InputError(
                f"{stack.path.name} has {length} planes, {stacks[0].path.name} has {planes}; all stacks of {folder} "
                "but the last must be alike."
            )
    return planes


def _left_out(files: Iterable[Path], stacks: list[_Stack]) -> list[str]:
    taken = {stack.path for stack in stacks}
    others = sorted(path.name for path in files if path not in taken)
    if not others:
        return []
    more = ", ..." if len(others) > _MAX_NAMED else ""
    return [
        f"{len(others)} TIFF files are not named as stacks and were left out: {', '.join(others[:_MAX_NAMED])}{more}"
    ]
