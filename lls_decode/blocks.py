"""Which frames a task owns and which it only reads: integers, decided before any I/O.

Shape letters: ``T`` frames read (sequence-major, see `Block.frames`), ``N`` frames owned.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.axes import ContextKind, Layout

Volumes = tuple[int | None, int | None]
"""First and one-past-last volume of a part of a dataset, as a slice of Python has them."""

FrameRanges = tuple[tuple[int, int], ...]
"""Numbers of frames, in ascending ranges: first and one-past-last."""


@dataclass(frozen=True, order=True)
class Block:
    """What one task owns: the planes ``[plane_start, plane_stop)`` of the volumes ``[volume_start, volume_stop)``.

    Blocks are numbered in the order of the frames they own, so that shards joined by number are a sorted table.
    """

    index: int
    volume_start: int
    volume_stop: int
    plane_start: int
    plane_stop: int
    num_volumes: int
    """Volumes of the whole dataset: where a sequence along time ends."""
    planes_per_volume: int
    """Planes of a whole volume: where a sequence along planes ends."""
    context: ContextKind

    @property
    def id(self) -> str:
        """Name of the block, and of its shard: ``b000012``."""
        return f"b{self.index:06d}"

    @property
    def num_owned(self) -> int:
        """Frames that this block answers for."""
        return (self.volume_stop - self.volume_start) * (self.plane_stop - self.plane_start)

    @property
    def volumes_read(self) -> tuple[int, int]:
        """First and one-past-last volume that must be read, context included."""
        if self.context != "time":
            return self.volume_start, self.volume_stop
        return max(self.volume_start - 1, 0), min(self.volume_stop + 1, self.num_volumes)

    @property
    def planes_read(self) -> tuple[int, int]:
        """First and one-past-last plane that must be read, context included."""
        if self.context != "plane":
            return self.plane_start, self.plane_stop
        return max(self.plane_start - 1, 0), min(self.plane_stop + 1, self.planes_per_volume)

    @property
    def num_read(self) -> int:
        """Frames that are read, context included."""
        (v0, v1), (k0, k1) = self.volumes_read, self.planes_read
        return (v1 - v0) * (k1 - k0)

    @cached_property
    def frames(self) -> npt.NDArray[np.int64]:
        """``(T, 2)`` volume and plane of each frame of the stack.

        Frames are ordered sequence-major: neighbours in a sequence are neighbours in the stack. A sequence is a volume
        (context along planes, or none) or a plane through time (context along time).
        """
        (v0, v1), (k0, k1) = self.volumes_read, self.planes_read
        volume, plane = np.meshgrid(np.arange(v0, v1), np.arange(k0, k1), indexing="ij")
        if self.context == "time":
            volume, plane = volume.T, plane.T
        return np.stack([volume.ravel(), plane.ravel()], axis=1).astype(np.int64)

    @cached_property
    def windows(self) -> npt.NDArray[np.int64]:
        """``(N, 3)`` positions in the stack of (previous, this, next) for each owned frame, in stack order.

        At the two ends of a sequence the edge frame is repeated. Without context all three are the frame itself.
        """
        frames = self.frames
        volume, plane = frames[:, 0], frames[:, 1]
        owned = (
            (volume >= self.volume_start)
            & (volume < self.volume_stop)
            & (plane >= self.plane_start)
            & (plane < self.plane_stop)
        )
        this = np.flatnonzero(owned)
        if self.context == "none":
            return np.stack([this, this, this], axis=1)
        along, length = (plane, self.planes_per_volume) if self.context == "plane" else (volume, self.num_volumes)
        previous = np.where(along[this] > 0, this - 1, this)
        following = np.where(along[this] < length - 1, this + 1, this)
        return np.stack([previous, this, following], axis=1)

    @property
    def owned_frames(self) -> npt.NDArray[np.int64]:
        """``(N,)`` numbers of the owned frames in the dataset, in stack order."""
        volume, plane = self.frames[self.windows[:, 1]].T
        return np.asarray(volume * self.planes_per_volume + plane, dtype=np.int64)

    @property
    def frame_range(self) -> tuple[int, int]:
        """First and one-past-last owned frame: whole volumes, or a stretch of planes of one volume."""
        last = (self.volume_stop - 1) * self.planes_per_volume
        return self.volume_start * self.planes_per_volume + self.plane_start, last + self.plane_stop

    def count_owned(self, ranges: FrameRanges) -> int:
        """Return how many of its own frames a block finds in some ranges."""
        return int(np.isin(self.owned_frames, expand_ranges(ranges)).sum()) if ranges else 0

    def is_same_work(self, other: "Block") -> bool:
        """Whether this block gives the same rows as another, be it of the same dataset before it grew."""
        if self == other:
            return True
        if replace(self, num_volumes=other.num_volumes) != other:
            return False
        return self.context != "time" or self.volume_stop < min(self.num_volumes, other.num_volumes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for shard footers and ledgers."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def find_ranges(frames: npt.ArrayLike) -> FrameRanges:
    """Return numbers of frames, in any order, as ranges that are as long as can be."""
    numbers = np.unique(np.asarray(frames, dtype=np.int64))
    cuts = np.flatnonzero(np.diff(numbers) > 1) + 1
    return tuple((int(part[0]), int(part[-1]) + 1) for part in np.split(numbers, cuts) if len(part))


def expand_ranges(ranges: FrameRanges) -> npt.NDArray[np.int64]:
    """Return the numbers of the frames in some ranges."""
    return np.concatenate([np.arange(0), *(np.arange(start, stop) for start, stop in ranges)]).astype(np.int64)


def join_ranges(parts: Iterable[FrameRanges]) -> FrameRanges:
    """Return the frames that are in any of some ranges."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(item for ranges in parts for item in ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return tuple(found)


def subtract_ranges(ranges: FrameRanges, taken: FrameRanges) -> FrameRanges:
    """Return the frames in ascending ranges that are in none of others, which ascend too."""
    found: list[tuple[int, int]] = []
    for start, stop in ranges:
        for low, high in taken:
            if low < stop and high > start:
                if low > start:
                    found.append((start, low))
                start = max(start, high)
        if start < stop:
            found.append((start, stop))
    return tuple(found)


def plan_blocks(
    layout: Layout, context: ContextKind, block_frames: int, *, volumes: Volumes = (None, None)
) -> tuple[Block, ...]:
    """Cut a dataset into blocks of about ``block_frames`` owned frames; each frame is owned by exactly one block.

    Whole volumes go together while they fit; a volume longer than a block is cut along planes, except for context
    along time, where all planes of a volume stay together so that shards stay sorted. Of a part of the dataset, given
    by its ``volumes``, blocks own no other frames, but read them as context.
    """
    return tuple(_iter_blocks(layout, context, block_frames, range(layout.num_volumes)[slice(*volumes)]))


def plan_settled_blocks(
    layout: Layout, context: ContextKind, block_frames: int, *, start: int = 0
) -> tuple[Block, ...]:
    """Blocks, from number ``start`` on, that no later volume can change any more.

    However far the dataset grows, its plan begins with these: they are whole, and so is their context.
    """
    blocks = _iter_blocks(layout, context, block_frames, range(layout.num_volumes), start=start)
    volumes_per_block = max(1, block_frames // layout.planes_per_volume)
    ahead = 1 if context == "time" else 0

    def is_settled(block: Block) -> bool:
        whole = block.volume_stop - block.volume_start == volumes_per_block
        return whole and block.volume_stop + ahead <= layout.num_volumes

    return tuple(itertools.takewhile(is_settled, blocks))


def _iter_blocks(
    layout: Layout, context: ContextKind, block_frames: int, volumes: range, *, start: int = 0
) -> Iterator[Block]:
    if block_frames < 1:
        raise ValueError(f"block_frames must be at least 1, not {block_frames}")
    P, last = layout.planes_per_volume, volumes.stop
    volumes_per_block = max(1, block_frames // P)
    planes_per_block = P if context == "time" else min(P, block_frames)
    pieces = -(-P // planes_per_block)
    index = start // pieces * pieces
    for volume in volumes[start // pieces * volumes_per_block :: volumes_per_block]:
        for plane in range(0, P, planes_per_block):
            if index >= start:
                yield Block(
                    index=index,
                    volume_start=volume,
                    volume_stop=min(volume + volumes_per_block, last),
                    plane_start=plane,
                    plane_stop=min(plane + planes_per_block, P),
                    num_volumes=layout.num_volumes,
                    planes_per_volume=P,
                    context=context,
                )
            index += 1


@dataclass(frozen=True)
class Tile:
    """A rectangle of pixels owned by one pass through the network, and the larger one it reads (half-open, pixels)."""

    y_start: int
    y_stop: int
    x_start: int
    x_stop: int
    read_y_start: int
    read_y_stop: int
    read_x_start: int
    read_x_stop: int

    @property
    def read_y(self) -> slice:
        """Rows that are read."""
        return slice(self.read_y_start, self.read_y_stop)

    @property
    def read_x(self) -> slice:
        """Columns that are read."""
        return slice(self.read_x_start, self.read_x_stop)


def plan_part(
    height: int, width: int, *, y: tuple[int, int], x: tuple[int, int], halo_yx_px: tuple[int, int], multiple: int
) -> Tile:
    """A rectangle of a frame as the tile that owns it; what it reads begins and ends as in `plan_tiles`."""

    def around(span: tuple[int, int], halo: int, length: int) -> tuple[int, int]:
        start, stop = span
        return max((start - halo) // multiple * multiple, 0), min(-(-(stop + halo) // multiple) * multiple, length)

    return Tile(*y, *x, *around(y, halo_yx_px[0], height), *around(x, halo_yx_px[1], width))


def plan_tiles(
    height: int, width: int, *, tile_px: int, halo_y_px: int, halo_x_px: int, multiple: int
) -> tuple[Tile, ...]:
    """Cut a frame into tiles that own each pixel once; read rectangles begin at multiples of ``multiple``.

    ``tile_px`` is rounded up to a multiple; 0 means one tile for the whole frame. Read rectangles end at true frame
    edges, so that zero padding happens there only.
    """

    def up(value: int) -> int:
        return -(-value // multiple) * multiple

    def cut(length: int, halo: int) -> list[tuple[int, int, int, int]]:
        step = up(tile_px) if tile_px else up(length)
        return [
            (start, min(start + step, length), max(start - up(halo), 0), min(start + step + up(halo), length))
            for start in range(0, length, step)
        ]

    return tuple(
        Tile(y0, y1, x0, x1, ry0, ry1, rx0, rx1)
        for y0, y1, ry0, ry1 in cut(height, halo_y_px)
        for x0, x1, rx0, rx1 in cut(width, halo_x_px)
    )
