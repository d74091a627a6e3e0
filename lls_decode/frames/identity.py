"""Identity of a dataset, independent of its path: digests of its metadata, its mapping and a few of its chunks.

The identity covers the zarr metadata and the bytes of three chunks, but not the path, so that a dataset may be moved
between two starts of a run. The run digest includes how values are stored and mapped, but neither the number of
frames nor attributes, so that a run can be resumed after its dataset has grown. A shard of the shorter dataset stays
valid when its block owns and reads the same frames (`Block.is_same_work`).
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from lls_decode.frames.mapping.frame_map import FrameMap
from lls_decode.frames.storage.keys import Keys, ZarrArray

_SAMPLE_BYTES = 4 << 20


def identify(frame_map: FrameMap, dtype: str, documents: list[Any], samples: Iterator[bytes]) -> str:
    """Return the identity of a dataset, sixteen hexadecimal digits that do not depend on its path."""
    digest = hashlib.sha256()
    mapping = {name: getattr(frame_map, name) for name in frame_map.__dataclass_fields__}
    digest.update(json.dumps([mapping, dtype, documents], sort_keys=True).encode())
    for sample in samples:
        digest.update(hashlib.sha256(sample).digest())
    return digest.hexdigest()[:16]


def sample_chunks(arrays: list[tuple[ZarrArray, Keys, str]], frame_map: FrameMap) -> Iterator[bytes]:
    """Yield the bytes of the first, middle and last existing chunk (in the first, middle and last array).

    Raises
    ------
    PermissionError
        None of the chunks that were tried may be read.
    """
    for (array, keys, path), fraction in zip(arrays, (0.0, 0.5, 1.0), strict=True):
        sizes = array.shards or array.chunks
        fixed = {frame_map.axes.index(axis): index for axis, index in frame_map.fixed.items()}
        grid = tuple(
            1 if i in fixed else -(-length // size)
            for i, (length, size) in enumerate(zip(array.shape, sizes, strict=True))
        )
        total = int(np.prod(grid))
        start = round(fraction * (total - 1))
        denied: PermissionError | None = None
        for step in range(min(total, 256)):
            place = [int(i) for i in np.unravel_index((start + step) % total, grid)]
            for axis, index in fixed.items():
                place[axis] = index // sizes[axis]
            key = "/".join(part for part in (path, array.metadata.encode_chunk_key(tuple(place))) if part)
            try:
                size = keys.size(key)
                if size is not None:
                    yield _sample(keys, key, size)
                    break
            except PermissionError as error:
                denied = error
            except OSError:  # a folder or a pipe in place of a chunk: its frames are reported when they are read
                continue
        else:
            if denied is not None:
                raise denied
            yield b"no chunk"


def _sample(keys: Keys, key: str, size: int) -> bytes:
    """Return the bytes of a chunk; for a large one, its size and four pieces, with the shard index at its end."""
    if size <= 4 * _SAMPLE_BYTES:
        return keys.read(key)
    starts = np.linspace(0, size - _SAMPLE_BYTES, 4).astype(int)
    return str(size).encode() + b"".join(keys.read(key, int(start), _SAMPLE_BYTES) for start in starts)
