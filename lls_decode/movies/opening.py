"""The door for movies of other formats; each format is a module that gives a `Movie`."""

from pathlib import Path

from lls_decode.addresses import is_address, resolve_dataset
from lls_decode.errors import InputError
from lls_decode.frames.storage.stores import expand, has_magic, is_store
from lls_decode.movies.formats.flat import open_dax, open_picasso_raw
from lls_decode.movies.formats.lls_folder import find_settings, open_lls_folder
from lls_decode.movies.formats.ndtiff import INDEX, find_index, open_ndtiff
from lls_decode.movies.formats.tiff import TIFF_SUFFIXES, open_tiff, open_tiff_series
from lls_decode.movies.formats.zarr_store import open_zarr
from lls_decode.movies.movie import Movie


def open_movie(
    path: str | Path, *, axes: str | None = None, channel: str | None = None, position: str | None = None
) -> Movie:
    """Recognize a movie by its name and contents.

    Parameters
    ----------
    path
        A TIFF, ``.dax`` or ``.raw`` file; a folder with an NDTiff data set, with stacks and the ``Settings.txt`` of a
        lattice light-sheet, or with TIFFs; a glob of TIFFs (natural order); or a zarr store, also at an address.
    axes
        Axes of one TIFF file, when its metadata are wrong: letters t c z y x, e.g. ``zyx``.
    channel, position
        Which ones, by name or number, of a folder that holds several.

    Raises
    ------
    InputError
        The movie is absent, of an unknown format, or inconsistent.
    """
    text = resolve_dataset(path)
    if is_address(text) or is_store(text):
        return open_zarr(text, axes=axes, channel=channel, position=position)
    path = Path(text)
    index = path if path.name == INDEX and path.is_file() else find_index(path)
    if index is not None:
        return open_ndtiff(index, channel=channel, position=position)
    if position is not None:
        raise InputError(f"{path} is no NDTiff data set, it has no position {position!r}; leave it out.")
    if path.is_dir() and axes is None and (settings := find_settings(path)) is not None:
        return open_lls_folder(path, settings, channel=channel)
    if channel is not None:
        raise InputError(f"{path} has no channels by name or number; leave --channel out.")
    if has_magic(text) or path.is_dir():
        files = [item for item in expand(text) if Path(item).suffix.lower() in TIFF_SUFFIXES]
        if not files:
            raise InputError(f"{text} has no TIFF files (.tif, .tiff); give a movie, or a folder or pattern of TIFFs.")
        return open_tiff_series(text, files, axes)
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a movie, or a folder or pattern of TIFFs.")
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        return open_tiff(path, axes)
    if suffix == ".dax":
        return open_dax(path)
    if suffix == ".raw":
        return open_picasso_raw(path)
    raise InputError(f"{path} is of unknown type {suffix!r}; expected .tif, .tiff, .dax or .raw.")
