"""Detection of missing, truncated or undecodable chunks, which are reported by their keys.

zarr returns fill values for a chunk that does not exist, and for a shard of zero bytes. A camera never produces a
constant chunk. Therefore only chunks that consist entirely of the fill value are looked up in the store.
"""

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lls_decode.errors import StorageError
from lls_decode.frames.storage.keys import Keys, ZarrArray, join

Region = tuple[range, ...]
"""Indices along each axis of an array."""

Cause = Literal["absent", "absent without fill", "damaged", "denied"]
"""Reason why a chunk cannot be read: it does not exist (some writers omit chunks on purpose), it does not exist and the
array states no count as its fill value, it is damaged, or this process has no permission to read it."""

_ABSENT = 2**64 - 1


@dataclass(frozen=True)
class Damage:
    """A chunk that cannot be read."""

    key: str
    """Key of the chunk's file, relative to the array."""
    region: Region
    """Pixels of the array that the chunk holds."""
    reason: str
    cause: Cause


def find_absent(array: ZarrArray, keys: Keys, path: str, region: Region, data: npt.NDArray[Any]) -> list[Damage]:
    """Find the chunks in a region that do not exist, although zarr returned values (``data``) for them."""
    fill = _fill_value(array)
    bounds = [_cut(axis.start, axis.stop, size) for axis, size in zip(region, array.chunks, strict=True)]
    corners = data[
        np.ix_(*([start - axis.start for start, _ in cuts] for cuts, axis in zip(bounds, region, strict=True)))
    ]
    found: dict[str, Damage] = {}
    for index in np.argwhere(_equals(corners, fill)):
        part = tuple(range(*cuts[i]) for cuts, i in zip(bounds, index, strict=True))
        inside = tuple(slice(p.start - axis.start, p.stop - axis.start) for p, axis in zip(part, region, strict=True))
        if not _equals(data[inside], fill).all():
            continue
        damage = _look_up(array, keys, path, part)
        if damage is not None and damage.key not in found:
            found[damage.key] = damage
    return list(found.values())


def find_undecodable(array: ZarrArray, keys: Keys, path: str, region: Region) -> list[Damage]:
    """Find the chunks in a region that fail or are absent when they are read one by one."""
    found = []
    for part in split(region, array.shards or array.chunks):
        damage = _try(array, keys, path, part, array.shards or array.chunks)
        if damage and array.shards:
            pieces = list(split(part, array.chunks))
            inner = [item for item in (_try(array, keys, path, piece, array.chunks) for piece in pieces) if item]
            if inner and len(inner) < len(pieces):
                found += inner
                continue
        if damage:
            found.append(damage)
    return found


def axes_with_more_chunks(array: ZarrArray, keys: Keys, path: str) -> list[int]:
    """Return the axes along which the store has a chunk right behind the end of the array."""
    found = []
    for axis, (length, size) in enumerate(zip(array.shape, array.chunks, strict=True)):
        behind = -(-length // size) * size
        part = tuple(range(behind, behind + 1) if i == axis else range(1) for i in range(array.ndim))
        if _look_up(array, keys, path, part) is None:
            found.append(axis)
    return found


def split(region: Region, chunks: tuple[int, ...]) -> Iterator[Region]:
    """Split a region into parts that each lie in one chunk."""
    cuts = [_cut(axis.start, axis.stop, size) for axis, size in zip(region, chunks, strict=True)]
    for part in itertools.product(*cuts):
        yield tuple(range(start, stop) for start, stop in part)


def key_of(array: ZarrArray, part: Region) -> str:
    """Return the key, relative to the array, of the chunk (or shard) that holds the first pixel of a region."""
    sizes = array.shards or array.chunks
    return str(
        array.metadata.encode_chunk_key(tuple(axis.start // size for axis, size in zip(part, sizes, strict=True)))
    )


def slices(region: Region) -> tuple[slice, ...]:
    """Convert a region to an index."""
    return tuple(slice(axis.start, axis.stop) for axis in region)


def _try(array: ZarrArray, keys: Keys, path: str, part: Region, sizes: tuple[int, ...]) -> Damage | None:
    """Try to read a part of one chunk (or shard) of size ``sizes``; return its damage, or None."""
    try:
        data = np.asarray(array[slices(part)])
    except (MemoryError, StorageError):
        raise
    except Exception as error:  # each codec raises its own errors
        return _explain(array, keys, path, part, sizes, error)
    absent = find_absent(array, keys, path, part, data)
    return absent[0] if absent else None


def _explain(array: ZarrArray, keys: Keys, path: str, part: Region, sizes: tuple[int, ...], error: Exception) -> Damage:
    """Determine why reading a chunk failed; codecs raise different errors for files without read permission."""
    try:
        keys.read(join(path, key_of(array, part)), 0, 1)
    except PermissionError:
        return _damage(array, part, sizes, "may not be read (permission denied)", "denied")
    except StorageError:
        raise
    except Exception:  # each kind of store raises its own errors; the codec's error is reported
        pass
    return _damage(array, part, sizes, f"cannot be decoded ({_first_line(error)})", "damaged")


def _look_up(array: ZarrArray, keys: Keys, path: str, part: Region) -> Damage | None:
    """Return the damage of the chunk that holds a region if it does not exist or is truncated; otherwise None."""
    key = join(path, key_of(array, part))
    size = keys.size(key)
    if array.shards is None:
        return _damage(array, part, array.chunks, "is missing", "absent") if size is None else None
    if size is None:
        return _damage(array, part, array.shards, "is missing", "absent")
    grid = tuple(s // c for s, c in zip(array.shards, array.chunks, strict=True))
    index_bytes, endian, at_end, understood = _shard_index(array, grid)
    if size < index_bytes:
        return _damage(array, part, array.shards, f"is truncated to {size} bytes", "damaged")
    place = tuple(p.start // c % g for p, c, g in zip(part, array.chunks, grid, strict=True))
    if understood:
        entry = 16 * int(np.ravel_multi_index(place, grid)) + (size - index_bytes if at_end else 0)
        if struct.unpack(f"{endian}2Q", keys.read(key, entry, 16)) != (_ABSENT, _ABSENT):
            return None
    return _damage(array, part, array.chunks, "is missing", "absent")


def _damage(array: ZarrArray, part: Region, sizes: tuple[int, ...], reason: str, cause: Cause) -> Damage:
    """Describe the damaged chunk that holds a part; an inner chunk of a shard is named by its grid position."""
    key = key_of(array, part)
    if sizes != (array.shards or array.chunks):
        place = "/".join(str(axis.start // size) for axis, size in zip(part, sizes, strict=True))
        key = f"{key} (inner chunk {place})"
    extent = tuple(
        range(axis.start // size * size, min((axis.start // size + 1) * size, length))
        for axis, size, length in zip(part, sizes, array.shape, strict=True)
    )
    if cause == "absent" and not _states_counts(array):
        cause = "absent without fill"
    return Damage(key, extent, reason, cause)


def _shard_index(array: ZarrArray, grid: tuple[int, ...]) -> tuple[int, str, bool, bool]:
    """Return the format of a shard's index: size, byte order, whether it is at the end, and whether it is readable."""
    document: Any = array.metadata.to_dict()
    config = document["codecs"][0]["configuration"]
    index_bytes, endian, understood = 16 * int(np.prod(grid)), "<", True
    for codec in config["index_codecs"]:
        if codec["name"] == "bytes":
            endian = ">" if "big" in str(codec.get("configuration")) else "<"
        elif codec["name"] == "crc32c":
            index_bytes += 4
        else:
            understood = False
    return index_bytes, endian, "end" in str(config.get("index_location", "end")), understood


def _cut(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    edges = [start, *range((start // size + 1) * size, stop, size), stop]
    return list(itertools.pairwise(edges))


def _states_counts(array: ZarrArray) -> bool:
    """Return whether the fill value of an array is a count: in zarr v2 it may be undefined, and it may be NaN."""
    fill = array.metadata.fill_value
    return fill is not None and bool(np.isfinite(fill))


def _fill_value(array: ZarrArray) -> Any:
    value = array.fill_value
    return array.dtype.type(0) if value is None else value


def _equals(values: npt.NDArray[Any], fill: Any) -> npt.NDArray[np.bool_]:
    if isinstance(fill, float | np.floating) and np.isnan(fill):
        return np.asarray(np.isnan(values), dtype=np.bool_)
    return np.asarray(values == fill, dtype=np.bool_)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__
