"""Reading of the pixels of a part of an array, with concurrent requests for remote shards.

zarr requests the chunks of a shard one by one. This is fast on a disk, but takes one round trip per chunk over a
network. Therefore parts of remote shards are read chunk by chunk in threads; the index of the shard is fetched once
(`indices`).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.frames.parallel import in_parallel
from lls_decode.frames.reading.chunks import Region, slices, split
from lls_decode.frames.storage.keys import Keys, ZarrArray


def read_pixels(array: ZarrArray, keys: Keys, region: Region) -> npt.NDArray[Any]:
    """Return the pixels of a region, including fill values from zarr."""
    if array.shards is None or keys.reads_at_once == 1:
        return np.asarray(array[slices(region)])
    pieces = list(_pieces(array, region))
    if len(pieces) == 1:
        return np.asarray(array[slices(region)])
    out = np.empty([len(axis) for axis in region], array.dtype)

    def read(piece: Region) -> None:
        place = tuple(slice(p.start - axis.start, p.stop - axis.start) for p, axis in zip(piece, region, strict=True))
        out[place] = array[slices(piece)]

    for _ in in_parallel(read, pieces, keys.reads_at_once):
        pass
    return out


def _pieces(array: ZarrArray, region: Region) -> Iterator[Region]:
    """Split a region into complete shards, which are fetched as a whole, and chunks of partially covered shards."""
    assert array.shards is not None
    for part in split(region, array.shards):
        whole = all(len(axis) == size for axis, size in zip(part, array.shards, strict=True))
        if whole:
            yield part
        else:
            yield from split(part, array.chunks)
