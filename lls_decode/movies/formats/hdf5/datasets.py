"""Movies in plain HDF5 datasets, ``file.h5::/path/of/dataset``, whose last two axes are rows and columns."""

from pathlib import Path
from typing import Any

import numpy as np

from lls_decode.errors import InputError
from lls_decode.frames.mapping.settling import has_frames_last
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.frame_array import FrameArray, as_movie, library, missing_frames
from lls_decode.movies.formats.hdf5.files import (
    as_input_error,
    check_dataset,
    is_encoded,
    lost_frames,
    open_file,
    read_frames,
)
from lls_decode.movies.formats.tiff.descriptions import as_json
from lls_decode.movies.lengths import NO_SIZES, Sizes, read_number, stated_sizes
from lls_decode.movies.movie import Movie
from lls_decode.naming.choices import name_some

SUFFIXES = (".h5", ".hdf5")
SEPARATOR = "::"
_MOST_COLOURS = 4
"""Length of the last axis up to which it is taken for colours; no camera has frames of so few columns."""
_WHY = "were never written, or lie beyond the end of the file"


def open_hdf5(path: Path, choices: Choices, inside: str = "") -> Movie:
    """Open a dataset of an HDF5 file.

    Parameters
    ----------
    path, choices
        The file, and the user's choices; ``axes`` names the axes if the dataset has no dimension labels.
    inside
        Path of the dataset; empty: the only dataset with three axes or more.
    """
    file, wanted = open_file(path, choices)
    with as_input_error(path, wanted):
        dataset = _find(path, file, inside)
        check_dataset(path, dataset)
        labels = _labels(dataset)
        lost = lost_frames(path, dataset)
        sizes = _sizes(dataset)
    _check_axes(path, dataset, labels, choices)
    height, width = dataset.shape[-2:]
    front = dataset.shape[:-2] or (1,)
    accounts = missing_frames(path, len(lost), lost, f"{int(lost.sum())} frames of {dataset.name} {_WHY}")
    return as_movie(
        FrameArray(
            path,
            front,
            tuple(labels[:-2]) or ("",),
            height,
            width,
            dataset.dtype,
            lambda numbers: read_frames(path, dataset, numbers, height, width),
            lost=lost,
            accounts=accounts,
            is_encoded=is_encoded(dataset),
            pixel_size=sizes.pixel_size,
            z_step_nm=sizes.z_step_nm,
            notes=sizes.notes,
            inside=dataset.name,
        ),
        choices,
    )


def _labels(dataset: Any) -> list[str]:
    """Return the names of the axes: the labels of HDF5, or the tags of vigra and ilastik; empty where there is none."""
    labels = [dimension.label.lower() for dimension in dataset.dims]
    tags = as_json(text) if isinstance(text := dataset.attrs.get("axistags"), str | bytes) else {}
    axes = tags.get("axes")
    keys = [axis.get("key") for axis in axes if isinstance(axis, dict)] if isinstance(axes, list) else []
    is_told = len(keys) == len(labels) and all(isinstance(key, str) for key in keys)
    return labels if any(labels) or not is_told else [str(key).lower() for key in keys]


def _check_axes(path: Path, dataset: Any, labels: list[str], choices: Choices) -> None:
    """Raise an error if the last two axes are not, or do not look like, rows and columns."""
    advice = "write it with rows (y) and columns (x) as the last axes, e.g. with axes tzyx"
    where = f"{path} has {dataset.name} of shape {dataset.shape}"
    if any(labels) and labels[-2:] not in (["y", "x"], ["", ""]):
        raise InputError(f"{where} with axes {labels}, expected rows (y) and columns (x) at the end; {advice}.")
    if dataset.ndim < 3 or labels[-2:] == ["y", "x"]:
        return
    if dataset.shape[-1] <= _MOST_COLOURS:
        raise InputError(f"{where}, whose last axis looks like colours, expected rows and columns; {advice}.")
    if choices.axes is None and has_frames_last(dataset.shape, dataset.chunks or dataset.shape):
        letters = "tyx" if dataset.ndim == 3 else "tzyx"
        raise InputError(
            f"{where}, whose last axis looks like that of the frames, expected rows and columns; {advice}, or confirm "
            f"the order with --axes {letters}."
        )


def _find(path: Path, file: Any, inside: str) -> Any:
    """Return the named dataset, or the only one that may be a movie."""
    h5py = library("h5py", "convert", "HDF5 files")
    found: list[Any] = []

    def note(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim >= 2 and item.dtype.kind in "uif" and item.size:
            found.append(item)

    file.visititems(note)
    if inside:
        item = file.get(inside)
        if isinstance(item, h5py.Dataset) and item in found:
            return item
    movies = [item for item in found if item.ndim >= 3] or found
    if not inside and len(movies) == 1:
        return movies[0]
    listed = name_some([f"{item.name} {item.shape}" for item in movies]) or "none"
    what = f"no dataset of frames at {inside!r}" if inside else f"{len(movies)} datasets that may be the movie"
    example = f": choose one, e.g. {path.name}{SEPARATOR}{movies[0].name}" if movies else ""
    raise InputError(f"{path} has {what}; datasets of frames are: {listed}{example}.")


def _sizes(dataset: Any) -> Sizes:
    """Read the pixel size and z step in the form that ImageJ plugins and ilastik write: micrometres along z, y, x."""
    sizes = dataset.attrs.get("element_size_um")
    if sizes is None:
        return NO_SIZES
    listed = np.ravel(sizes).tolist()
    if len(listed) != 3:
        told = f"its element_size_um is {listed}, expected the sizes along z, y and x"
        return Sizes(notes=(f"{told}; give --pixel-nm and --z-step-nm",))
    is_calibrated = any(read_number(size) != 1 for size in listed)
    micron = [read_number(size) * 1000 if is_calibrated else 0.0 for size in listed]
    return stated_sizes({axis: (size, "nm") for axis, size in zip("zyx", micron, strict=True)})
