"""Frames of a dataset, block by block.

A `FrameSource` is a small value that travels to workers; each process opens the arrays at its first read. A block is
read as one slab (or one for each array), inside the task; zarr decodes its chunks concurrently.

Shape letters: ``T`` frames read, ``Y X`` pixels.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.axes import Layout
from lls_decode.blocks import Block, Tile
from lls_decode.config import PixelSize, StorageConfig
from lls_decode.errors import ChunkError, FrameValueError, InputError, StorageError
from lls_decode.frames import chunks as chunk_checks
from lls_decode.frames.chunks import Damage, Region
from lls_decode.frames.frame_map import FrameMap, Ints, Slab, name_frames
from lls_decode.frames.storage.codecs import open_array
from lls_decode.frames.storage.keys import Keys, ZarrArray, open_keys
from lls_decode.frames.storage.reading import read_region
from lls_decode.frames.storage.stores import forget_listings, list_arrays

Frames = npt.NDArray[Any]


@dataclass(frozen=True)
class FrameStack:
    """Frames of one block, context included."""

    adu_TYX: Frames
    """Camera counts, native byte order, dtype of the array; in the order of ``block.frames``."""
    block: Block


@dataclass(frozen=True)
class FrameSource:
    """A dataset as volumes of planes. Made by `open_source`."""

    path: str
    """As the user gave it: a store, a directory of stores, or a glob."""
    array: str
    """Path of the array inside the store (inside each store of several); empty for the root."""
    layout: Layout
    dtype: str
    """Of one pixel, native byte order: ``uint16``."""
    pixel_size: PixelSize | None
    """From OME metadata with units; None when unknown."""
    z_step_nm: float | None
    """Scale along z in the metadata, nm. A hint: files disagree on whether it is the stage step."""
    chunks: tuple[int, ...]
    """Shape of what is decoded at a time, in the axes of ``frame_map``."""
    shards: tuple[int, ...] | None
    """Shape of one file of chunks; None when each chunk is a file."""
    notes: tuple[str, ...]
    """What a user should know, in words."""
    identity: str
    """Digest of metadata, mapping and a sample of chunks; the same wherever the data are moved.

    It changes when one of the sampled chunks (first, middle, last) is damaged or repaired.
    """
    frame_map: FrameMap
    """Which stored frames make volumes and planes."""
    description: str = ""
    """Digest of storage and mapping alone: stays when a damaged chunk is repaired, and while the dataset grows."""
    samples: tuple[str, ...] = ()
    """Digest of each sampled chunk: tells datasets of one description apart."""
    tile: Tile | None = None
    """Only the pixels that this tile reads are read of each frame; None: all."""
    storage: StorageConfig = field(default_factory=StorageConfig)
    """How a remote store is reached."""
    growing: bool = False
    """The dataset is still being written: it may hold more than this by now (see `frames.growing`)."""

    def read(self, block: Block) -> FrameStack:
        """Read the frames of a block, context included.

        Raises
        ------
        ChunkError
            A chunk is missing, truncated or undecodable; the message has its key and frames.
        FrameValueError
            Frames hold NaN or infinite values.
        """
        layout = self.layout
        if (block.num_volumes, block.planes_per_volume) != (layout.num_volumes, layout.planes_per_volume):
            raise ValueError(f"block {block.id} was planned for another dataset than {layout}")
        return FrameStack(self.read_frames(block.frames), block)

    def read_frames(self, frames_T2: Ints) -> Frames:
        """Read any frames, given by volume and plane: ``(T, Y, X)`` camera counts, of the tile when there is one."""
        volume, plane = frames_T2[:, 0], frames_T2[:, 1]
        layout = self.layout
        if not (
            ((volume >= 0) & (volume < layout.num_volumes)).all()
            and ((plane >= 0) & (plane < layout.planes_per_volume)).all()
        ):
            raise ValueError(f"frames outside of {layout}")
        slabs = self.frame_map.slabs(frames_T2)
        size = len(self._rows), len(self._columns)
        if len(slabs) == 1 and slabs[0].is_whole:
            adu_TYX = self._read_slab(slabs[0]).reshape(-1, *size)
        else:
            adu_TYX = np.empty((len(frames_T2), *size), np.dtype(self.dtype))
            for slab in slabs:
                data_TZYX = self._read_slab(slab)
                adu_TYX[slab.position] = data_TZYX[slab.t - slab.t_start, slab.z - slab.z_start]
        self._check_values(adu_TYX, frames_T2)
        return adu_TYX

    def _read_slab(self, slab: Slab) -> Frames:
        """``(t, z, Y, X)`` pixels of a rectangle, native byte order, contiguous."""
        array, keys, path = self._open(slab.array)
        region = self.region(slab)
        try:
            data = read_region(array, keys, region)
        except MemoryError:
            raise
        except StorageError:
            _open_cached.cache_clear()  # the next attempt finds credentials and server anew
            raise
        except Exception as error:
            damaged = chunk_checks.find_undecodable(array, keys, path, region)
            if not damaged:
                raise ChunkError(
                    f"{keys.name}: reading {path or 'the array'} failed ({type(error).__name__}: {error}) although "
                    "each chunk can be read by itself; check the file system and run again."
                ) from error
            raise self._chunk_error(keys, slab.array, damaged) from error
        damaged = chunk_checks.find_absent(array, keys, path, region, data)
        if damaged:
            raise self._chunk_error(keys, slab.array, damaged)
        axes = self.frame_map.axes
        data = data.transpose([axes.index(axis) for axis in "ctzyx" if axis in axes])
        shape = (slab.t_stop - slab.t_start, slab.z_stop - slab.z_start, len(self._rows), len(self._columns))
        return np.ascontiguousarray(data.reshape(shape), dtype=np.dtype(self.dtype))

    def region(self, slab: Slab) -> Region:
        """Indices of a slab along each axis of the array."""
        along = {
            "t": range(slab.t_start, slab.t_stop),
            "z": range(slab.z_start, slab.z_stop),
            "c": range(self.frame_map.channel, self.frame_map.channel + 1),
            "y": self._rows,
            "x": self._columns,
        }
        return tuple(along[axis] for axis in self.frame_map.axes)

    @property
    def _rows(self) -> range:
        """Rows of the frame that are read."""
        return range(self.layout.height)[self.tile.read_y if self.tile else slice(None)]

    @property
    def _columns(self) -> range:
        """Columns of the frame that are read."""
        return range(self.layout.width)[self.tile.read_x if self.tile else slice(None)]

    def _open(self, number: int) -> tuple[ZarrArray, Keys, str]:
        try:
            return self._open_once(number)
        except InputError:  # what this process remembers may be out of date: the dataset has grown since then
            forget_listings()
            _open_cached.cache_clear()
            return self._open_once(number)

    def _open_once(self, number: int) -> tuple[ZarrArray, Keys, str]:
        paths = list_arrays(self.path, self.storage)
        more = len(paths) - self.frame_map.num_arrays
        if more < 0 or (more > 0 and not self.growing):
            raise InputError(
                f"{self.path} holds {len(paths)} arrays, {self.frame_map.num_arrays} when it was opened; do not add or "
                "remove volumes while they are processed."
            )
        array, keys = _open_cached(paths[number], self.array, self.identity, self.storage)
        if not self._fits(array.shape) or array.dtype.newbyteorder("=") != np.dtype(self.dtype):
            raise InputError(
                f"{keys.name} has shape {array.shape} and type {array.dtype}, the other arrays {self.frame_map.shape} "
                f"and {self.dtype}; all volumes of a dataset must be alike."
            )
        return array, keys, self.array

    def _fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array has the shape that it should have, or at least the length when it grows."""
        ours = self.frame_map
        if not self.growing or "t" not in ours.axes or len(shape) != len(ours.shape):
            return shape == ours.shape
        length = shape[ours.axes.index("t")]
        return length >= ours.size("t") and shape == ours.with_length(length).shape

    def _chunk_error(self, keys: Keys, number: int, damaged: list[Damage]) -> ChunkError:
        texts = []
        for damage in damaged[:4]:
            along = dict(zip(self.frame_map.axes, damage.region, strict=True))
            frames = self.frame_map.frames_in(number, along.get("t", range(1)), along.get("z", range(1)))
            texts.append(f"{damage.key} {damage.reason}, it holds {name_frames(frames, self.layout.planes_per_volume)}")
        more = f"; and {len(damaged) - 4} more" if len(damaged) > 4 else ""
        where = f"{keys.name}{f', array {self.array}' if self.array else ''}"
        return ChunkError(
            f"{where}: chunk {'; chunk '.join(texts)}{more}; restore it from a copy, then run again to take up these "
            "frames."
        )

    def _check_values(self, adu_TYX: Frames, frames_T2: Ints) -> None:
        if adu_TYX.dtype.kind != "f":
            return
        bad = np.array([not np.isfinite(frame).all() for frame in adu_TYX])
        if bad.any():
            names = name_frames(frames_T2[bad], self.layout.planes_per_volume)
            raise FrameValueError(
                f"{self.path} holds NaN or infinite values in {names}, expected camera counts; mask or repair these "
                "frames."
            )


@lru_cache(maxsize=64)
def _open_cached(path: str, array: str, identity: str, storage: StorageConfig) -> tuple[ZarrArray, Keys]:
    """Open arrays of this process; ``identity`` keeps a store written anew at the same path apart."""
    keys = open_keys(path, storage)
    try:
        return open_array(keys.open_store(), array), keys
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{keys.name}: array {array or '(root)'} cannot be opened ({error}).") from error


def identify(frame_map: FrameMap, dtype: str, documents: list[Any], samples: Iterator[bytes]) -> str:
    """Sixteen hexadecimal digits of what a dataset is, not of where it is."""
    digest = hashlib.sha256()
    mapping = {name: getattr(frame_map, name) for name in frame_map.__dataclass_fields__}
    digest.update(json.dumps([mapping, dtype, documents], sort_keys=True).encode())
    for sample in samples:
        digest.update(hashlib.sha256(sample).digest())
    return digest.hexdigest()[:16]


def sample_chunks(arrays: list[tuple[ZarrArray, Keys, str]], channel: int, axes: str) -> Iterator[bytes]:
    """Bytes of the first, middle and last chunk that exist (of the first, middle and last array of several)."""
    for (array, keys, path), fraction in zip(arrays, (0.0, 0.5, 1.0), strict=True):
        sizes = array.shards or array.chunks
        grid = tuple(-(-length // size) for length, size in zip(array.shape, sizes, strict=True))
        if "c" in axes:
            axis = axes.index("c")
            fixed = channel // sizes[axis]
            grid = (*grid[:axis], 1, *grid[axis + 1 :])
        total = int(np.prod(grid))
        start = round(fraction * (total - 1))
        for step in range(min(total, 256)):
            place = [int(i) for i in np.unravel_index((start + step) % total, grid)]
            if "c" in axes:
                place[axis] = fixed
            key = "/".join(part for part in (path, array.metadata.encode_chunk_key(tuple(place))) if part)
            size = keys.size(key)
            if size is not None:
                yield _sample(keys, key, size)
                break
        else:
            yield b"no chunk"


_SAMPLE_BYTES = 4 << 20


def _sample(keys: Keys, key: str, size: int) -> bytes:
    """A chunk's bytes; of a large one its size, four pieces, its end (where a shard has its index) among them."""
    if size <= 4 * _SAMPLE_BYTES:
        return keys.read(key)
    starts = np.linspace(0, size - _SAMPLE_BYTES, 4).astype(int)
    return str(size).encode() + b"".join(keys.read(key, int(start), _SAMPLE_BYTES) for start in starts)
