"""Access to frames in HDF5 files, including truncated files, with a check of which frames are really present.

HDF5 silently returns fill values for pixels that were never written; this module treats such frames as lost.
"""

import contextlib
import io
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.accounting import Ints
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.frame_array import library
from lls_decode.movies.formats.hdf5.virtual import check_virtual
from lls_decode.movies.movie import check_type
from lls_decode.naming.choices import name_some

_CACHE_BYTES = 64 << 20
"""Size of the chunk cache per dataset, large enough that each chunk is decoded only once for all threads."""
_TRUNCATED = re.compile(r"truncated file: eof = (\d+), .*stored_eof = (\d+)")


class _Padded(io.FileIO):
    """Truncated file that appears padded with zeros to its original size."""

    def __init__(self, path: Path, size: int) -> None:
        super().__init__(path, "rb")
        self._size = size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            return super().seek(self._size + offset)
        return super().seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = super().readinto(view) or 0
        view[done:] = bytes(len(view) - done)
        return len(view)


def open_file(path: Path, choices: Choices) -> tuple[Any, int | None]:
    """Open an HDF5 file for reading; also return the original size of a truncated file, otherwise None.

    Raises
    ------
    InputError
        h5py is not installed, the file is not an HDF5 file, or it is truncated and ``--salvage`` was not given.
    """
    h5py = library("h5py", "convert", "HDF5 files")
    try:
        return h5py.File(path, "r", rdcc_nbytes=_CACHE_BYTES), None
    except OSError as error:
        cut = _TRUNCATED.search(str(error))
        if cut is None:
            reason = " ".join(str(error).split())
            if "already open for write" in reason:
                raise InputError(
                    f"{path} is still being written, or the program that wrote it was stopped; close it in that "
                    f"program, or run: h5clear -s {path}."
                ) from error
            raise InputError(f"{path} cannot be read as HDF5 ({reason}); restore the file.") from error
        size, wanted = int(cut[1]), int(cut[2])
        if not choices.salvage:
            raise InputError(
                f"{path} is truncated: it has {size} of {wanted} bytes; restore the file, or keep only the complete "
                "frames with --salvage."
            ) from error
    try:
        return h5py.File(_Padded(path, wanted), "r", rdcc_nbytes=_CACHE_BYTES), wanted
    except (OSError, RuntimeError, KeyError) as error:
        raise InputError(_beyond_salvage(path, size, wanted)) from error


def _beyond_salvage(path: Path, size: int, wanted: int) -> str:
    return (
        f"{path} is truncated: it has {size} of {wanted} bytes, and the index of the frames is missing, so nothing can "
        "be salvaged; restore the file."
    )


@contextlib.contextmanager
def as_input_error(path: Path, wanted: int | None, advice: str = "restore the file") -> Iterator[None]:
    """Convert errors that h5py raises for damaged files to `InputError`."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if wanted is not None:
            raise InputError(_beyond_salvage(path, path.stat().st_size, wanted)) from error
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is damaged ({reason}); {advice}.") from error


def check_dataset(path: Path, dataset: Any) -> None:
    """Raise an error for a dataset whose pixels are not counts or cannot be read."""
    check_type(path, dataset.dtype)
    h5py = library("h5py", "convert", "HDF5 files")
    if dataset.external:
        names = name_some([name for name, *_ in dataset.external])
        raise InputError(f"{path} stores {dataset.name} in other files ({names}), expected its pixels in this file.")
    filters = dataset.id.get_create_plist()
    for number in range(filters.get_nfilters()):
        code, *_, name = filters.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            with contextlib.suppress(ImportError):
                __import__("hdf5plugin")
        if not h5py.h5z.filter_avail(code):
            raise InputError(
                f"{path} is compressed with the HDF5 filter {code} ({name.decode(errors='replace')}), which h5py does "
                "not have; run: pip install hdf5plugin."
            )


def lost_frames(path: Path, dataset: Any) -> npt.NDArray[np.bool_]:
    """Return which frames of a dataset are missing from the file, flattened over all axes but the last two."""
    count = math.prod(dataset.shape[:-2])
    if dataset.is_virtual:
        check_virtual(path, dataset, lost_frames)
        return np.zeros(count, bool)
    size = path.stat().st_size
    if dataset.chunks:
        return _lost_by_chunks(dataset, size)
    h5py = library("h5py", "convert", "HDF5 files")
    if dataset.id.get_create_plist().get_layout() == h5py.h5d.COMPACT:
        return np.zeros(count, bool)
    offset = dataset.id.get_offset()
    if offset is None:
        return np.ones(count, bool)
    frame_bytes = math.prod(dataset.shape[-2:]) * dataset.dtype.itemsize
    return np.asarray(offset + frame_bytes * np.arange(1, count + 1, dtype=np.int64) > size)


def _lost_by_chunks(dataset: Any, size: int) -> npt.NDArray[np.bool_]:
    """Return the frames that need a chunk which was never written or is beyond the end of the file."""
    grid = tuple(-(-length // step) for length, step in zip(dataset.shape, dataset.chunks, strict=True))
    there = np.zeros(grid, bool)

    def note(info: Any) -> None:
        if info.byte_offset and info.size and info.byte_offset + info.size <= size:
            there[tuple(at // step for at, step in zip(info.chunk_offset, dataset.chunks, strict=True))] = True

    dataset.id.chunk_iter(note)
    whole = there.all(axis=(-2, -1))
    for axis, (length, step) in enumerate(zip(dataset.shape[:-2], dataset.chunks[:-2], strict=True)):
        whole = np.repeat(whole, step, axis=axis).take(range(length), axis=axis)
    return ~whole.ravel()


def is_encoded(dataset: Any) -> bool:
    """Return whether chunks are compressed or have checksums."""
    return bool(dataset.id.get_create_plist().get_nfilters())


def read_frames(path: Path, dataset: Any, numbers: Ints, height: int, width: int) -> Frames:
    """Read frames by their indices in the flattened front axes; consecutive frames are read in one piece.

    Raises
    ------
    InputError
        A chunk cannot be decoded.
    """
    with as_input_error(path, None, "restore the file, or keep only the complete frames with --salvage"):
        return _read(dataset, numbers, height, width)


def _read(dataset: Any, numbers: Ints, height: int, width: int) -> Frames:
    front = dataset.shape[:-2]
    out = np.empty((len(numbers), height, width), dataset.dtype)
    at = 0
    while at < len(numbers):
        place = np.unravel_index(int(numbers[at]), front) if front else ()
        most = min(len(numbers) - at, front[-1] - int(place[-1])) if front else 1
        follows = numbers[at : at + most] == numbers[at] + np.arange(most)
        count = most if follows.all() else int(np.argmin(follows))
        rows = (slice(0, height), slice(0, width))
        if front:
            lead = (*(int(i) for i in place[:-1]), slice(int(place[-1]), int(place[-1]) + count))
            out[at : at + count] = dataset[(*lead, *rows)]
        else:
            out[at] = dataset[rows]
        at += count
    return out
