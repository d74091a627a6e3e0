"""Reading of the frames of a dataset, block by block.

A `FrameSource` is a small value that is sent to workers; each process opens the arrays at its first read. A block is
read inside its task, as one slab (or one slab per array), and zarr decodes its chunks concurrently.

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
    """A dataset as volumes of planes, created by `open_source`."""

    path: str
    """Path given by the user: a store, a directory of stores, or a glob."""
    array: str
    """Path of the array inside the store (or inside each of several stores); empty for the root."""
    layout: Layout
    dtype: str
    """Data type of a pixel in native byte order, e.g. ``uint16``."""
    pixel_size: PixelSize | None
    """Pixel size from OME metadata with units; None if unknown."""
    z_step_nm: float | None
    """Scale along z in the metadata, nm; only a hint, because files disagree on whether it is the stage step."""
    chunks: tuple[int, ...]
    """Shape of one chunk, the unit of decoding, in the axes of ``frame_map``."""
    shards: tuple[int, ...] | None
    """Shape of one shard, a file of several chunks; None if each chunk is a file."""
    notes: tuple[str, ...]
    """Remarks for the user."""
    identity: str
    """Digest of metadata, mapping and a sample of chunks, which does not change when the data are moved.

    It changes when one of the sampled chunks (first, middle, last) is damaged or repaired.
    """
    frame_map: FrameMap
    """Assignment of stored frames to volumes and planes."""
    description: str = ""
    """Digest of storage and mapping only, which does not change when a chunk is repaired or the dataset grows."""
    samples: tuple[str, ...] = ()
    """Digest of each sampled chunk, to distinguish datasets with the same description."""
    tile: Tile | None = None
    """Tile whose pixels are read from each frame; None: all pixels."""
    angle_deg: float | None = None
    """Angle between the light sheet and the stage travel, from the metadata of a converted store; None if unknown."""
    channel_name: str = ""
    """Name of the selected channel in the metadata; empty for a single channel without a name."""
    absent: AbsentChunks = "lost"
    """Treatment of frames with absent chunks: lost, or filled with the fill value."""
    storage: StorageConfig = field(default_factory=StorageConfig)
    """Access to a remote store."""
    stores: tuple[str, ...] | None = None
    """Paths of the stores; None: all stores that ``path`` refers to, in the order of their names."""
    growing: bool = False
    """Whether the dataset is still being written, so that it may meanwhile contain more (see `frames.growing`)."""

    def read(self, block: Block) -> FrameStack:
        """Read the frames of a block, including context.

        Raises
        ------
        ChunkError
            A chunk is missing, truncated or undecodable; the message names its key and frames.
        FrameValueError
            Frames hold NaN or infinite values.
        """
        self._check_block(block)
        adu_TYX, found = self._read(block.frames)
        return FrameStack(adu_TYX, block, filled=found.filled(block))

    def read_partly(self, block: Block) -> FrameStack:
        """Read those frames of a block whose chunks can be read, and report the lost frames.

        Raises
        ------
        AccessError
            Permission is denied for all frames of the block, and for the first, middle and last frame of the dataset.
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
        """Read frames given by volume and plane; return camera counts ``(T, Y, X)``, restricted to ``tile``."""
        return self._read(frames_T2)[0]

    def explain_losses(self, frames_T2: Ints) -> str:
        """Return the reason why some of these frames cannot be read; empty if all can be read."""
        return self._read(frames_T2, partly=True)[1].reason

    def _read(self, frames_T2: Ints, *, partly: bool = False) -> tuple[Frames, Losses]:
        """Return frames and their losses; unless ``partly`` is set, raise an error for the first lost frame."""
        volume, plane = frames_T2[:, 0], frames_T2[:, 1]
        layout = self.layout
        if not (
            ((volume >= 0) & (volume < layout.num_volumes)).all()
            and ((plane >= 0) & (plane < layout.planes_per_volume)).all()
        ):
            raise ValueError(f"frames are outside {layout}")
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
        """Return the pixels of a slab ``(t, z, Y, X)``, contiguous and in native byte order; undefined if lost."""
        array, keys, path = self._open(slab.array)
        try:
            return self._read_stored(array, keys, path, slab, found, partly=partly)
        except StorageError:
            _open_cached.cache_clear()  # the next attempt reconnects with fresh credentials
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
            error.is_absence = found.causes <= {"absent", "absent without fill"}
            raise error
        if data is None:
            data = read_around(array, keys, region, lost, [axes.index(axis) for axis in "tz" if axis in axes])
        return self._arrange(data, slab)

    def _arrange(self, data: Frames, slab: Slab) -> Frames:
        """Rearrange pixels from the order of the stored axes to ``(t, z, Y, X)``."""
        axes = self.frame_map.axes
        data = data.transpose([axes.index(axis) for axis in (*self.frame_map.fixed, *"tzyx") if axis in axes])
        shape = (slab.t_stop - slab.t_start, slab.z_stop - slab.z_start, len(self._rows), len(self._columns))
        return np.ascontiguousarray(data.reshape(shape), dtype=np.dtype(self.dtype))

    def _may_read_any(self) -> bool:
        """Return whether the first, the middle or the last frame can be read."""
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
            raise ValueError(f"block {block.id} was planned for a different dataset, not for {layout}")

    def region(self, slab: Slab) -> Region:
        """Return the indices of a slab along each axis of the array."""
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
        """Range of rows that are read from each frame."""
        return range(self.layout.height)[self.tile.read_y if self.tile else slice(None)]

    @property
    def _columns(self) -> range:
        """Range of columns that are read from each frame."""
        return range(self.layout.width)[self.tile.read_x if self.tile else slice(None)]

    def _open(self, number: int) -> tuple[ZarrArray, Keys, str]:
        try:
            return self._open_once(number)
        except InputError:  # cached listings may be outdated, because the dataset has grown
            forget_listings()
            _open_cached.cache_clear()
            return self._open_once(number)

    def _open_once(self, number: int) -> tuple[ZarrArray, Keys, str]:
        paths = self.stores or list_arrays(self.path, self.storage)
        more = len(paths) - self.frame_map.num_arrays
        if more < 0 or (more > 0 and not self.growing):
            raise InputError(
                f"{self.path} contains {len(paths)} arrays, but had {self.frame_map.num_arrays} when it was opened; do "
                "not add or remove volumes while they are processed."
            )
        array, keys = _open_cached(paths[number], self.array, self.identity, self.storage)
        if not self._fits(array.shape) or array.dtype.newbyteorder("=") != np.dtype(self.dtype):
            raise InputError(
                f"{keys.name} has shape {array.shape} and type {array.dtype}, but the other arrays have "
                f"{self.frame_map.shape} and {self.dtype}; all volumes of a dataset must be alike."
            )
        return array, keys, self.array

    def _fits(self, shape: tuple[int, ...]) -> bool:
        """Return whether an array has the expected shape, or at least the expected length if it is growing."""
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
                f"{self.path} has NaN or infinite values in {names}, expected camera counts; mask or repair these "
                "frames."
            )


@lru_cache(maxsize=64)
def _open_cached(path: str, array: str, identity: str, storage: StorageConfig) -> tuple[ZarrArray, Keys]:
    """Open an array, cached per process; ``identity`` distinguishes a store that was rewritten at the same path."""
    keys = open_keys(path, storage)
    return open_stored(keys, array), keys
