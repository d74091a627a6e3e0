"""Pixels of a part of an array, with many requests at a time where each takes long to be answered.

zarr asks for the chunks of a shard one after the other, which on a disk costs nothing, and over a network one round
trip each. So a part of a remote shard is read chunk by chunk in threads; the shard's index is fetched once (`indices`).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.frames.parallel import in_parallel
from lls_decode.frames.reading.chunks import Region, slices, split
from lls_decode.frames.storage.keys import Keys, ZarrArray


def read_pixels(array: ZarrArray, keys: Keys, region: Region) -> npt.NDArray[Any]:
    """Return the pixels of a region, as zarr gives them."""
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
    """Whole shards, which are fetched as they are, and chunks of the other ones."""
    assert array.shards is not None
    for part in split(region, array.shards):
        whole = all(len(axis) == size for axis, size in zip(part, array.shards, strict=True))
        if whole:
            yield part
        else:
            yield from split(part, array.chunks)
