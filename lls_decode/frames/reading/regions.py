"""Opening of arrays in a store, and reading of regions, with reasons for everything that cannot be read."""

import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.errors import AccessError, ChunkError, InputError, StorageError, quoted
from lls_decode.frames.reading.chunks import Damage, Region, find_absent, find_undecodable, split
from lls_decode.frames.reading.pixels import read_pixels
from lls_decode.frames.storage.codecs import open_array
from lls_decode.frames.storage.keys import Keys, ZarrArray


def open_stored(keys: Keys, path: str) -> ZarrArray:
    """Open an array of a store.

    Raises
    ------
    AccessError
        The files of the array may not be read, or its codec is not installed.
    StorageError
        The store cannot be reached.
    InputError
        The array does not exist, or its metadata are invalid.
    """
    where = f"{keys.name}: array {path or '(root)'}"
    try:
        return open_array(keys.open_store(), path)
    except PermissionError as error:
        raise denied(error.filename or where) from error
    except StorageError:
        raise
    except Exception as error:  # zarr raises many kinds of errors for unknown metadata
        if _is_unknown_codec(error):
            raise AccessError(
                f"{where} needs a codec that is not installed ({error}); install the Python package with this codec on "
                "every machine of the run, and run again."
            ) from error
        raise InputError(
            f"{where} cannot be opened ({quoted(error)}); give the path of a zarr array, or restore its metadata."
        ) from error


def _is_unknown_codec(error: Exception) -> bool:
    """Return whether an error means that a codec is not installed.

    Since 2025 zarr and numcodecs each have an error of this name; older versions raise others.
    """
    if type(error).__name__ == "UnknownCodecError" or str(error).startswith("codec not available"):
        return True
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return isinstance(error, KeyError) and frame.f_globals["__name__"] == "zarr.registry"


def denied(what: object) -> AccessError:
    """Return the error for something that exists but may not be read."""
    return AccessError(
        f"{what} may not be read (permission denied); give the user of this program read permission (chmod -R u+rX, or "
        "ask the owner), then run again."
    )


def read_region(
    array: ZarrArray, keys: Keys, path: str, region: Region
) -> tuple[npt.NDArray[Any] | None, list[Damage]]:
    """Read a region at once; return its pixels (None if reading fails), and the damaged chunks.

    Absent chunks do not make reading fail: they are listed as damaged, and their pixels have the fill value.

    Raises
    ------
    ChunkError
        Reading fails although each chunk can be read by itself.
    StorageError
        The store cannot be reached, or denies access.
    """
    try:
        data = read_pixels(array, keys, region)
    except (MemoryError, StorageError):
        raise
    except Exception as error:
        damaged = find_undecodable(array, keys, path, region)
        if not damaged:
            raise ChunkError(
                f"{keys.name}: reading {path or 'the array'} failed ({type(error).__name__}: {error}), although each "
                "chunk can be read individually; check the file system and run again."
            ) from error
        return None, damaged
    return data, find_absent(array, keys, path, region, data)


def read_around(
    array: ZarrArray, keys: Keys, region: Region, damaged: Sequence[Damage], frame_axes: Sequence[int]
) -> npt.NDArray[Any]:
    """Read the frames of a region without damaged chunks; pixels of the other frames are undefined.

    ``frame_axes`` are the axes that number frames. A frame is lost if any of its chunks is damaged.
    """
    data = np.empty([len(axis) for axis in region], array.dtype)
    sizes = tuple(size if i in frame_axes else array.shape[i] for i, size in enumerate(array.chunks))
    for part in split(region, sizes):
        if any(all(_meet(part[i], item.region[i]) for i in frame_axes) for item in damaged):
            continue
        inside = tuple(
            slice(axis.start - whole.start, axis.stop - whole.start) for axis, whole in zip(part, region, strict=True)
        )
        data[inside] = read_pixels(array, keys, part)
    return data


def _meet(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop
