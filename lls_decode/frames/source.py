"""Frames of a dataset, block by block.

A `FrameSource` is a small value that travels to workers; each process opens the arrays at its first read. A block is
read as one slab (or one for each array), inside the task; zarr decodes its chunks concurrently.

Shape letters: ``T`` frames read, ``Y X`` pixels.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lls_decode.axes import Layout
from lls_decode.blocks import Block, Tile
from lls_decode.config import AbsentChunks, PixelSize, StorageConfig
from lls_decode.errors import AccessError, ChunkError, FrameValueError, InputError, StorageError
from lls_decode.frames.mapping.frame_map import FrameMap, Ints, Slab, name_frames
from lls_decode.frames.reading.chunks import Region
from lls_decode.frames.reading.losses import Losses
from lls_decode.frames.reading.regions import open_stored, read_around, read_region
from lls_decode.frames.reading.stack import Frames, FrameStack
from lls_decode.frames.storage.keys import Keys, ZarrArray
from lls_decode.frames.storage.opening import open_keys
from lls_decode.frames.storage.stores import forget_listings, list_arrays


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
    angle_deg: float | None = None
    """Angle between the light sheet and the stage travel, in the metadata of a converted store; None when unknown."""
    channel_name: str = ""
    """Of the channel that is read, in the metadata; empty when it has none and there is no other."""
    absent: AbsentChunks = "lost"
    """What frames of absent chunks are: lost, or of the fill value."""
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
        self._check_block(block)
        adu_TYX, found = self._read(block.frames)
        return FrameStack(adu_TYX, block, filled=found.filled(block))

    def read_partly(self, block: Block) -> FrameStack:
        """Read the frames of a block whose chunks can be read, and name the others.

        Raises
        ------
        AccessError
            No frame of the block may be read, nor the first, the middle or the last one of the dataset.
        FrameValueError
            Frames hold NaN or infinite values.
        """
        self._check_block(block)
        adu_TYX, found = self._read(block.frames, partly=True)
        kept_T = ~found.lost_T
        if not kept_T.any() and found.causes == {"denied"} and not self._may_read_any():
            raise AccessError(f"{found.reason} No other frame that was tried can be read either.")
        return FrameStack(
            adu_TYX if kept_T.all() else adu_TYX[kept_T],
            block,
            lost=found.lost(block),
            filled=found.filled(block),
            reason=found.reason,
        )

    def read_frames(self, frames_T2: Ints) -> Frames:
        """Read any frames, given by volume and plane: ``(T, Y, X)`` camera counts, of the tile when there is one."""
        return self._read(frames_T2)[0]

    def explain_losses(self, frames_T2: Ints) -> str:
        """Return why some of these frames cannot be read; empty when all can."""
        return self._read(frames_T2, partly=True)[1].reason

    def _read(self, frames_T2: Ints, *, partly: bool = False) -> tuple[Frames, Losses]:
        """Frames and what was found wrong with them; the first lost one raises unless ``partly`` says otherwise."""
        volume, plane = frames_T2[:, 0], frames_T2[:, 1]
        layout = self.layout
        if not (
            ((volume >= 0) & (volume < layout.num_volumes)).all()
            and ((plane >= 0) & (plane < layout.planes_per_volume)).all()
        ):
            raise ValueError(f"frames outside of {layout}")
        slabs = self.frame_map.slabs(frames_T2)
        size = len(self._rows), len(self._columns)
        found = Losses(len(frames_T2))
        if len(slabs) == 1 and slabs[0].is_whole:
            adu_TYX = self._read_slab(slabs[0], found, partly=partly).reshape(-1, *size)
        else:
            adu_TYX = np.empty((len(frames_T2), *size), np.dtype(self.dtype))
            for slab in slabs:
                data_TZYX = self._read_slab(slab, found, partly=partly)
                adu_TYX[slab.position] = data_TZYX[slab.t - slab.t_start, slab.z - slab.z_start]
        self._check_values(adu_TYX, frames_T2, found.lost_T)
        return adu_TYX, found

    def _read_slab(self, slab: Slab, found: Losses, *, partly: bool) -> Frames:
        """``(t, z, Y, X)`` pixels of a rectangle, native byte order, contiguous; those of lost frames are undefined."""
        array, keys, path = self._open(slab.array)
        try:
            return self._read_stored(array, keys, path, slab, found, partly=partly)
        except StorageError:
            _open_cached.cache_clear()  # the next attempt finds credentials and server anew
            raise

    def _read_stored(
        self, array: ZarrArray, keys: Keys, path: str, slab: Slab, found: Losses, *, partly: bool
    ) -> Frames:
        region, axes = self.region(slab), self.frame_map.axes
        data, damaged = read_region(array, keys, path, region)
        lost = [item for item in damaged if item.cause != "absent" or self.absent == "lost"]
        where = f"{keys.name}{f', array {self.array}' if self.array else ''}"
        filled = [item for item in damaged if item not in lost]
        found.count(slab, self.frame_map, where=where, lost=lost, filled=filled)
        if lost and not partly:
            error = ChunkError(found.reason)
            error.is_absence = found.causes == {"absent"}
            raise error
        if data is None:
            data = read_around(array, keys, region, lost, [axes.index(axis) for axis in "tz" if axis in axes])
        return self._arrange(data, slab)

    def _arrange(self, data: Frames, slab: Slab) -> Frames:
        """``(t, z, Y, X)`` pixels of what was read in the order of the stored axes."""
        axes = self.frame_map.axes
        data = data.transpose([axes.index(axis) for axis in (*self.frame_map.fixed, *"tzyx") if axis in axes])
        shape = (slab.t_stop - slab.t_start, slab.z_stop - slab.z_start, len(self._rows), len(self._columns))
        return np.ascontiguousarray(data.reshape(shape), dtype=np.dtype(self.dtype))

    def _may_read_any(self) -> bool:
        """Whether the first, the middle or the last frame can be read."""
        last = self.layout.num_frames - 1
        for number in (0, last // 2, last):
            try:
                self.read_frames(np.array([divmod(number, self.layout.planes_per_volume)], dtype=np.int64))
            except InputError:
                continue
            return True
        return False

    def _check_block(self, block: Block) -> None:
        layout = self.layout
        if (block.num_volumes, block.planes_per_volume) != (layout.num_volumes, layout.planes_per_volume):
            raise ValueError(f"block {block.id} was planned for another dataset than {layout}")

    def region(self, slab: Slab) -> Region:
        """Indices of a slab along each axis of the array."""
        along = {
            "t": range(slab.t_start, slab.t_stop),
            "z": range(slab.z_start, slab.z_stop),
            "y": self._rows,
            "x": self._columns,
            **{axis: range(index, index + 1) for axis, index in self.frame_map.fixed.items()},
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

    def _check_values(self, adu_TYX: Frames, frames_T2: Ints, lost_T: npt.NDArray[np.bool_]) -> None:
        if adu_TYX.dtype.kind != "f":
            return
        bad = ~lost_T & np.array([not np.isfinite(frame).all() for frame in adu_TYX])
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
    return open_stored(keys, array), keys
