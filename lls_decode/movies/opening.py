"""Opening of movies in any supported format.

A format is one module in `formats` with a function ``open_x(path, choices) -> Movie``, and one entry in `BY_SUFFIX`
here, or in `_open_folder` if it is a folder. The module reports inconsistencies as `accounting.Account`, and resolves
ambiguities with `choices.pick` or `axes.in_order`. It never drops frames itself.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from lls_decode.addresses import is_address, resolve_dataset
from lls_decode.errors import InputError, read_from
from lls_decode.frames.reading.regions import denied
from lls_decode.frames.storage.stores import expand, has_magic
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.cameras.andor_sif import open_sif
from lls_decode.movies.formats.cameras.andor_spool import find_spool, open_spool
from lls_decode.movies.formats.cameras.dcimg import open_dcimg
from lls_decode.movies.formats.flat import open_dax, open_picasso_raw
from lls_decode.movies.formats.hdf5.datasets import SEPARATOR, open_hdf5
from lls_decode.movies.formats.hdf5.datasets import SUFFIXES as HDF5_SUFFIXES
from lls_decode.movies.formats.hdf5.imaris import open_imaris
from lls_decode.movies.formats.lls_folder import open_lls_series, refuse_foreign_names
from lls_decode.movies.formats.microscopes.czi import open_czi
from lls_decode.movies.formats.microscopes.nd2_files import open_nd2
from lls_decode.movies.formats.microscopes.stk import open_stk
from lls_decode.movies.formats.ndtiff import INDEX, find_index, open_ndtiff
from lls_decode.movies.formats.tiff.members import ome_set_of
from lls_decode.movies.formats.tiff.movies import open_tiff, open_tiff_series
from lls_decode.movies.formats.zarr_store import is_zarr, open_zarr
from lls_decode.movies.joining import join
from lls_decode.movies.movie import Movie
from lls_decode.movies.series import Series, find_series, list_files
from lls_decode.naming.choices import name_some, pick
from lls_decode.naming.names import is_lls, read_name

TIFF_SUFFIXES = {".tif", ".tiff", ".btf", ".tf8"}
BY_SUFFIX: dict[str, Callable[[Path, Choices], Movie]] = {
    **dict.fromkeys(TIFF_SUFFIXES, open_tiff),
    ".dax": open_dax,
    ".raw": open_picasso_raw,
    ".sif": open_sif,
    **dict.fromkeys(HDF5_SUFFIXES, open_hdf5),
    ".ims": open_imaris,
    ".czi": open_czi,
    ".dcimg": open_dcimg,
    ".stk": open_stk,
    ".nd2": open_nd2,
}
"""Functions that open single files, by suffix."""
_ZIP: Final = ".zarr.zip"
_KINDS: Final = {
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), ("a TIFF", ".tif")),
    b"PK\3\4": ("a zip", _ZIP),
    b"\x89HDF\r\n": ("an HDF5 file", ".h5"),
}
"""Formats that are recognised by their first bytes, with their suffixes."""

FORMATS: Final = (
    "a TIFF, or a folder or glob of TIFFs",
    "an NDTiff dataset",
    "a folder of lattice light-sheet stacks, with or without Settings.txt",
    "a .dax file",
    "a Picasso .raw file",
    "an Andor .sif file, or the folder of a spooled acquisition",
    "an HDF5 file, or one dataset of it (file.h5::/path)",
    "an Imaris .ims file",
    "a Zeiss .czi file",
    "a Hamamatsu .dcimg file",
    "a MetaMorph .stk file",
    "a Nikon .nd2 file",
    "a zarr store to be re-chunked, also at an address (s3://, gs://, https://), or one image of it (cell.zarr::0)",
    "a folder or glob of files of any one of these kinds",
)
"""Descriptions of all formats that `open_movie` reads."""


def open_movie(path: str | Path, choices: Choices | None = None) -> Movie:
    """Open a movie; recognise its format by name and contents.

    Parameters
    ----------
    path
        A file with a suffix in `BY_SUFFIX`; a folder with an NDTiff dataset, lattice light-sheet stacks, a spooled
        acquisition, or files of one kind; a glob of such files; a zarr store, also at an address; or a dataset inside
        an HDF5 file or a zarr store, ``file.h5::/path``.
    choices
        Options that resolve ambiguities.

    Raises
    ------
    InputError
        The movie does not exist, has an unknown format, is inconsistent, or is ambiguous; or a choice does not match.
    """
    text = resolve_dataset(path)
    with read_from(text, InputError, "restore it"):
        return _open(text, choices or Choices())


def _open(text: str, choices: Choices) -> Movie:
    path = Path(text)
    if SEPARATOR in text and not path.exists():
        return _open_inside(text, choices)
    if _is_zarr(text):
        return open_zarr(text, choices)
    index = path if path.name == INDEX and path.is_file() else find_index(path)
    if index is not None:
        return open_ndtiff(index, choices)
    if is_zarr(text):
        return open_zarr(text, choices)
    spool = None if has_magic(text) else find_spool(path)
    if spool is not None:
        return open_spool(spool, choices)
    if has_magic(text) or path.is_dir():
        return _open_folder(text, choices)
    if choices.pattern is not None:
        raise InputError(f"{path} is one file; omit --pattern, or give the folder of the file.")
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a movie, or a folder or pattern of TIFFs.")
    opener = BY_SUFFIX.get(path.suffix.lower())
    if opener is None:
        raise InputError(f"{path} is of unknown type {path.suffix!r}; {_advice_for(path)}.")
    return opener(path, choices)


def _advice_for(path: Path) -> str:
    """Return what to do with a file of unknown type, by its first bytes."""
    with open(path, "rb") as file:
        head = file.read(8)
    kind = next((kind for start, kind in _KINDS.items() if head.startswith(start)), None)
    if kind is not None and (kind[1] != _ZIP or path.suffix == ".zarr"):
        return f"its contents are those of {kind[0]}: rename it to {path.stem}{kind[1]}"
    if path.suffix in (".npy", ".npz"):
        name = "['arr_0']" if path.suffix == ".npz" else ""
        array = f"numpy.load({path.name!r}){name}"
        return f"write its array as zarr, e.g. python -c \"import numpy, zarr; zarr.save('{path.stem}.zarr', {array})\""
    target = f"{path.stem}.zarr" if path.suffix != ".zarr" else f"{path.stem}.ome.zarr"
    return (
        f"expected {', '.join(BY_SUFFIX)}: write any other format as OME-Zarr with bioformats2raw, e.g. bioformats2raw "
        f"{path.name} {target}, which can be used without conversion"
    )


def _is_zarr(text: str) -> bool:
    """Return whether a movie is zarr; at an address, only zarr is supported."""
    try:
        return is_address(text) or is_zarr(text)
    except PermissionError as error:
        raise denied(error.filename or text) from error


def _open_inside(text: str, choices: Choices) -> Movie:
    """Open a dataset inside an HDF5 file, or an image of a zarr store: ``file.h5::/path``."""
    name, _, inside = text.partition(SEPARATOR)
    if _is_zarr(name):
        return open_zarr(name, choices, inside)
    path = Path(name)
    if not path.is_file():
        raise InputError(f"{path} does not exist; give an HDF5 file or a zarr store in front of {SEPARATOR}.")
    return open_hdf5(path, choices, inside)


def _open_folder(where: str, choices: Choices) -> Movie:
    """Open the files of a folder or pattern: an OME set, lattice light-sheet stacks, or a series of named files."""
    suffix = _suffix_of_series(where)
    if suffix is not None:
        series = find_series(where, list_files(where, {suffix}, choices), choices)
        inner = _left_open(series, choices)
        return join(series, [BY_SUFFIX[suffix](path, inner) for path in series.files])
    files = list_files(where, TIFF_SUFFIXES, choices)
    sets = _ome_sets(where, files)
    if sets:
        chosen = sets[_pick_set(where, sets, choices)]
        rest = choices if len(sets) == 1 else replace(choices, position=None)
        return open_tiff(chosen[0], rest)
    if Path(where).is_dir() and choices.axes is None and choices.pattern is None:
        refuse_foreign_names(Path(where), files)
    series = find_series(where, files, choices)
    inner = _left_open(series, choices)
    if is_lls(series.files[0].name):
        return open_lls_series(series.files[0].parent, series, inner)
    return open_tiff_series(series, inner)


def _suffix_of_series(where: str) -> str | None:
    """Return the suffix of the movies in a folder or pattern; None if there are TIFFs or no known files."""
    found = {Path(item).suffix.lower() for item in expand(where) if Path(item).is_file()}
    known = sorted(found & set(BY_SUFFIX))
    if not known or set(known) & TIFF_SUFFIXES:
        return None
    if len(known) > 1:
        folder = where if Path(where).is_dir() else str(Path(where).parent)
        raise InputError(
            f"{where} has movies of {len(known)} kinds ({', '.join(known)}); choose one with a pattern, e.g. "
            f"'{folder}/*{known[0]}'."
        )
    return known[0]


def _left_open(series: Series, choices: Choices) -> Choices:
    """Return the choices that apply inside each file, without a channel or position selected by file names."""
    return replace(
        choices,
        channel=None if series.takes_channel else choices.channel,
        position=None if series.takes_position else choices.position,
    )


def _ome_sets(where: str, files: list[Path]) -> list[list[Path]]:
    """Group files into sets of OME-TIFFs that refer to each other; return nothing if no file refers to another."""
    if not any(re.search(r"\.ome\.", path.name.lower()) for path in files) and not ome_set_of(files[0]):
        return []
    sets: list[list[Path]] = []
    incomplete: dict[tuple[str, ...], Path] = {}
    is_set = False
    left = list(files)
    while left:
        ome = ome_set_of(left[0])
        named = ome.files if ome is not None else ()
        members = [path for path in left if path.name in named] or [left[0]]
        is_set = is_set or len(named) > 1
        if ome is not None and len(named) > 1 and not all(left[0].with_name(name).is_file() for name in named):
            other = incomplete.setdefault(ome.stated, left[0])
            if other != left[0]:
                raise InputError(
                    f"{where} has renamed files of one OME-TIFF set, such as {other.name} and {left[0].name}, without "
                    f"a UUID that tells which is which; give them the names that their OME-XML states: "
                    f"{name_some(ome.stated)}."
                )
        sets.append([left[0], *(path for path in members if path != left[0])])
        left = [path for path in left if path not in sets[-1]]
    return sets if is_set else []


def _pick_set(where: str, sets: list[list[Path]], choices: Choices) -> int:
    """Return the index of the chosen OME set; each set counts as a position."""
    if len(sets) == 1:
        return 0
    names = [read_name(members[0].name).position or members[0].name for members in sets]
    if len(set(names)) < len(names):
        names = [members[0].name for members in sets]
    return pick(names, choices.position, "position", where)
