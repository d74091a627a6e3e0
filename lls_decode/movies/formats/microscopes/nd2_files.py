"""Nikon ``.nd2`` files, read with the package nd2.

nd2 silently returns black frames for frames missing from a file. Therefore the chunk map of the file is checked first
to find the missing frames.
"""

import struct
import warnings
import weakref
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.accounting import Account, Ints
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.frame_array import FrameArray, as_movie, library
from lls_decode.movies.lengths import stated_sizes
from lls_decode.movies.movie import Movie, check_type
from lls_decode.naming.choices import pick

_DAMAGE = (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError, struct.error, zlib.error)


def open_nd2(path: Path, choices: Choices) -> Movie:
    """Open one channel and position of an ``.nd2`` file."""
    file = _open(path)
    try:
        return _open_frames(path, file, choices)
    except BaseException:
        file.close()  # nd2 warns about files that are left open
        raise


def _open_frames(path: Path, file: Any, choices: Choices) -> Movie:
    try:
        sizes, dtype, attributes = dict(file.sizes), np.dtype(file.dtype), file.attributes
        names = tuple(channel.channel.name for channel in file.metadata.channels or ())
        voxel, is_colour, loops = file.voxel_size(), file.is_rgb, file.experiment
        offsets = file._rdr._frame_offsets
    except Exception as error:  # nd2 raises many kinds of errors for files that it does not support
        raise _damaged(path, error) from error
    if is_colour:
        raise InputError(f"{path} is in colour, expected greyscale; export it as greyscale TIFF from NIS-Elements.")
    check_type(path, dtype)
    height, width, channels = sizes.pop("Y"), sizes.pop("X"), sizes.pop("C", 1)
    shape, axes = tuple(sizes.values()), tuple(name.lower() for name in sizes)
    count = int(np.prod(shape, dtype=np.int64))
    lost = _lost(path, offsets, count, attributes)
    accounts = _accounts(path, lost, attributes.sequenceCount)

    def read(numbers: Ints) -> Frames:
        out = np.empty((len(numbers), height, width), dtype)
        for i, number in enumerate(numbers):
            out[i] = _read(path, file, int(number) // channels).reshape(channels, height, width)[number % channels]
        return out

    weakref.finalize(read, file.close)
    told = stated_sizes({"x": (voxel.x, "um"), "y": (voxel.y, "um"), "z": (voxel.z, "um")})
    position = _position(path, loops, choices) if "p" in axes else choices.position
    frames = FrameArray(
        path,
        (*shape, channels),
        (*axes, "c"),
        height,
        width,
        dtype,
        read,
        lost=np.repeat(lost, channels),
        accounts=accounts,
        is_encoded=attributes.compressionType is not None,
        channels=names,
        pixel_size=told.pixel_size,
        z_step_nm=told.z_step_nm,
        notes=told.notes,
    )
    return as_movie(frames, replace(choices, position=position))


def _open(path: Path) -> Any:
    nd2 = library("nd2", "nd2", "Nikon .nd2 files")
    try:
        file = nd2.ND2File(path)
    except Exception as error:  # nd2 raises many kinds of errors for files that it does not support
        raise _damaged(path, error) from error
    if file.is_legacy:
        file.close()
        raise InputError(
            f"{path} has the old .nd2 format (JPEG 2000), expected that of NIS-Elements 4 or later; convert it to "
            f"OME-Zarr with bioformats2raw, e.g. bioformats2raw {path.name} {path.stem}.zarr."
        )
    return file


def _damaged(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:160]
    return InputError(
        f"{path} cannot be read as .nd2 ({reason}); it has {path.stat().st_size} bytes, and may be truncated, because "
        "the list of frames is at the end; restore the file."
    )


def _lost(path: Path, offsets: dict[int, int], count: int, attributes: Any) -> npt.NDArray[np.bool_]:
    """Return the frames that are missing from the chunk map or are beyond the end of the file."""
    size = path.stat().st_size
    frame_bytes = 0 if attributes.compressionType else int(attributes.widthBytes) * int(attributes.heightPx)
    return np.array([i not in offsets or offsets[i] + max(1, frame_bytes) > size for i in range(count)], bool)


def _accounts(path: Path, lost: npt.NDArray[np.bool_], stated: int) -> tuple[Account, ...]:
    missing = tuple(np.flatnonzero(lost).tolist())
    problems = []
    if missing:
        problems.append(f"{len(missing)} frames of its loops are not in the file")
    if stated > len(lost):
        problems.append(f"its attributes state {stated} frames, its loops {len(lost)}")
    if not problems:
        return ()
    return (Account(path, len(lost), len(lost) - len(missing), ", ".join(problems), missing),)


def _read(path: Path, file: Any, number: int) -> Frames:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(file.read_frame(number))
    except _DAMAGE as error:
        raise InputError(f"{path}: frame {number} cannot be read ({error}); restore the file.") from error


def _position(path: Path, loops: Any, choices: Choices) -> str:
    """Return the number of the position that was chosen by name or number."""
    for loop in loops:
        if loop.type == "XYPosLoop":
            names = [point.name or f"Pos{i}" for i, point in enumerate(loop.parameters.points)]
            return str(pick(names, choices.position, "position", path))
    return str(choices.position or 0)
