"""Check of virtual HDF5 datasets: HDF5 silently returns fill values wherever a source is missing or incomplete."""

import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.errors import InputError
from lls_decode.movies.formats.frame_array import library
from lls_decode.naming.choices import name_some

LostFrames = Callable[[Path, Any], npt.NDArray[np.bool_]]
"""Function that returns which frames of a dataset in a file are missing."""


def check_virtual(path: Path, dataset: Any, lost_frames: LostFrames) -> None:
    """Check that sources cover each frame of a virtual dataset exactly once, and that all sources are complete.

    Raises
    ------
    InputError
        A file or a dataset in it is missing, too small, incomplete, or of another type; or frames are not covered, or
        several times.
    """
    sources = dataset.virtual_sources()
    names = {source.file_name for source in sources if source.file_name != "."}
    absent = sorted(name for name in names if not (path.parent / name).is_file())
    if absent:
        raise InputError(f"{path} joins other files, of which {name_some(absent)} are missing; restore them.")
    _check_coverage(path, dataset, sources)
    of_file = defaultdict[str, list[Any]](list)
    for source in sources:
        of_file[source.file_name].append(source)
    for name, parts in of_file.items():
        if name == ".":
            _check_sources(path, dataset.file, parts, dataset, lost_frames)
        else:
            _check_file(path.parent / name, parts, dataset, lost_frames)


def _check_coverage(path: Path, dataset: Any, sources: list[Any]) -> None:
    """Raise an error unless the sources together have as many pixels as each frame."""
    *front, height, width = dataset.shape
    pixels = np.zeros(front, np.int64)
    for source in sources:
        *places, rows, columns = _selected(source.vspace, dataset.shape)
        pixels[np.ix_(*places)] += len(rows) * len(columns)
    open_frames, twice = int((pixels < height * width).sum()), int((pixels > height * width).sum())
    if open_frames or twice:
        raise InputError(
            f"{path} joins other files, which cover {open_frames} of {pixels.size} frames of {dataset.name} "
            f"incompletely, and {twice} several times, expected each pixel once; join them again."
        )


def _selected(space: Any, shape: tuple[int, ...]) -> list[npt.NDArray[np.int64]]:
    """Return the selected indices along each axis; other selections than grids count as the block around them."""
    h5s = library("h5py", "convert", "HDF5 files").h5s
    if space.get_select_type() == h5s.SEL_ALL:
        return [np.arange(size) for size in shape]
    if space.get_select_type() != h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        low, high = space.get_select_bounds()
        return [np.arange(first, min(last + 1, size)) for first, last, size in zip(low, high, shape, strict=True)]
    found = []
    for start, stride, count, block, size in zip(*space.get_regular_hyperslab(), shape, strict=True):
        first = start + stride * np.arange(min(count, size))
        indices = (first[:, None] + np.arange(min(block, size))).ravel()
        found.append(indices[indices < size])
    return found


def _check_file(file_path: Path, parts: list[Any], dataset: Any, lost_frames: LostFrames) -> None:
    h5py = library("h5py", "convert", "HDF5 files")
    try:
        with h5py.File(file_path, "r") as file:
            _check_sources(file_path, file, parts, dataset, lost_frames)
    except OSError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file_path}, a source of {dataset.name}, cannot be read ({reason}); restore it.") from error


def _check_sources(path: Path, file: Any, parts: list[Any], dataset: Any, lost_frames: LostFrames) -> None:
    """Raise an error for a source in a file that is missing, too small, incomplete, or of another type."""
    h5py = library("h5py", "convert", "HDF5 files")
    checked = set[str]()
    for part in parts:
        found = file.get(part.dset_name)
        where = f"{path} has no complete dataset {part.dset_name}, a source of {dataset.name}"
        if not isinstance(found, h5py.Dataset):
            raise InputError(f"{where}: it is missing; restore the file.")
        if not _has_room(found, part, dataset):
            raise InputError(f"{where}: its shape {found.shape} does not match; restore the file.")
        if part.dset_name in checked:
            continue
        checked.add(part.dset_name)
        if not np.can_cast(found.dtype, dataset.dtype, "safe"):
            raise InputError(f"{where}: its type is {found.dtype}, expected {dataset.dtype}; join the files again.")
        num_lost = int(lost_frames(path, found).sum())
        if num_lost:
            raise InputError(f"{where}: {num_lost} of its frames were never written; restore the file.")


def _has_room(found: Any, part: Any, dataset: Any) -> bool:
    """Return whether a source has all the pixels that a part of a virtual dataset takes from it."""
    h5s = library("h5py", "convert", "HDF5 files").h5s
    if part.src_space.get_select_type() == h5s.SEL_ALL:
        return bool(found.size == math.prod(map(len, _selected(part.vspace, dataset.shape))))
    last = part.src_space.get_select_bounds()[1]
    return len(last) == found.ndim and all(index < size for index, size in zip(last, found.shape, strict=True))
