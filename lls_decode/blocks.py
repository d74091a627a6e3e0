"""Blocks: which frames a task owns and which it only reads, computed with integers before any I/O.

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
"""First and one-past-last volume of a part of a dataset, as in a Python slice."""

FrameRanges = tuple[tuple[int, int], ...]
"""Set of frame numbers as ascending ranges, each with its first and one-past-last frame."""


@dataclass(frozen=True, order=True)
class Block:
    """Frames owned by one task: planes ``[plane_start, plane_stop)`` of volumes ``[volume_start, volume_stop)``.

    Blocks are numbered in the order of their frames, so that shards concatenated by number give a sorted table.
    """

    index: int
    volume_start: int
    volume_stop: int
    plane_start: int
    plane_stop: int
    num_volumes: int
    """Number of volumes of the whole dataset, where sequences along time end."""
    planes_per_volume: int
    """Number of planes of a whole volume, where sequences along planes end."""
    context: ContextKind

    @property
    def id(self) -> str:
        """Name of the block and of its shard, e.g. ``b000012``."""
        return f"b{self.index:06d}"

    @property
    def num_owned(self) -> int:
        """Number of frames that this block owns."""
        return (self.volume_stop - self.volume_start) * (self.plane_stop - self.plane_start)

    @property
    def volumes_read(self) -> tuple[int, int]:
        """First and one-past-last volume to read, including context."""
        if self.context != "time":
            return self.volume_start, self.volume_stop
        return max(self.volume_start - 1, 0), min(self.volume_stop + 1, self.num_volumes)

    @property
    def planes_read(self) -> tuple[int, int]:
        """First and one-past-last plane to read, including context."""
        if self.context != "plane":
            return self.plane_start, self.plane_stop
        return max(self.plane_start - 1, 0), min(self.plane_stop + 1, self.planes_per_volume)

    @property
    def num_read(self) -> int:
        """Number of frames to read, including context."""
        (v0, v1), (k0, k1) = self.volumes_read, self.planes_read
        return (v1 - v0) * (k1 - k0)

    @cached_property
    def frames(self) -> npt.NDArray[np.int64]:
        """Volume and plane of each frame of the stack, ``(T, 2)``.

        Frames are ordered sequence-major: neighbours in a sequence are neighbours in the stack. A sequence is a volume
        (context along planes, or none) or a plane over time (context along time).
        """
        (v0, v1), (k0, k1) = self.volumes_read, self.planes_read
        volume, plane = np.meshgrid(np.arange(v0, v1), np.arange(k0, k1), indexing="ij")
        if self.context == "time":
            volume, plane = volume.T, plane.T
        return np.stack([volume.ravel(), plane.ravel()], axis=1).astype(np.int64)

    @cached_property
    def windows(self) -> npt.NDArray[np.int64]:
        """Stack indices of (previous, this, next) frame for each owned frame, ``(N, 3)``, in stack order.

        At both ends of a sequence, the frame itself replaces its missing neighbour. Without context, all three are the
        frame itself.
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
        """Numbers in the dataset of the owned frames, ``(N,)``, in stack order."""
        volume, plane = self.frames[self.windows[:, 1]].T
        return np.asarray(volume * self.planes_per_volume + plane, dtype=np.int64)

    @property
    def frame_range(self) -> tuple[int, int]:
        """First and one-past-last owned frame; a block owns whole volumes, or consecutive planes of one volume."""
        last = (self.volume_stop - 1) * self.planes_per_volume
        return self.volume_start * self.planes_per_volume + self.plane_start, last + self.plane_stop

    def count_owned(self, ranges: FrameRanges) -> int:
        """Return the number of owned frames that lie in some ranges."""
        return int(np.isin(self.owned_frames, expand_ranges(ranges)).sum()) if ranges else 0

    def is_same_work(self, other: "Block") -> bool:
        """Return whether this block gives the same rows as another one, even if the dataset has grown in between."""
        if self == other:
            return True
        if replace(self, num_volumes=other.num_volumes) != other:
            return False
        return self.context != "time" or self.volume_stop < min(self.num_volumes, other.num_volumes)

    def to_dict(self) -> dict[str, Any]:
        """Return the block as plain values, for shard footers and ledgers."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def find_ranges(frames: npt.ArrayLike) -> FrameRanges:
    """Convert frame numbers, in any order, to the longest possible ranges."""
    numbers = np.unique(np.asarray(frames, dtype=np.int64))
    cuts = np.flatnonzero(np.diff(numbers) > 1) + 1
    return tuple((int(part[0]), int(part[-1]) + 1) for part in np.split(numbers, cuts) if len(part))


def expand_ranges(ranges: FrameRanges) -> npt.NDArray[np.int64]:
    """Return the frame numbers in some ranges."""
    return np.concatenate([np.arange(0), *(np.arange(start, stop) for start, stop in ranges)]).astype(np.int64)


def join_ranges(parts: Iterable[FrameRanges]) -> FrameRanges:
    """Return the union of several sets of ranges."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(item for ranges in parts for item in ranges):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        else:
            found.append((start, stop))
    return tuple(found)


def subtract_ranges(ranges: FrameRanges, taken: FrameRanges) -> FrameRanges:
    """Return the frames of ``ranges`` that are not in ``taken``; both must be ascending."""
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
    """Divide a dataset into blocks of about ``block_frames`` owned frames; each frame belongs to exactly one block.

    A block holds as many whole volumes as fit. A volume larger than a block is divided along planes, except for context
    along time, where all planes of a volume stay together so that shards stay sorted. If ``volumes`` selects a part of
    the dataset, blocks own only its frames, but read frames outside it as context.
    """
    return tuple(_iter_blocks(layout, context, block_frames, range(layout.num_volumes)[slice(*volumes)]))


def plan_settled_blocks(
    layout: Layout, context: ContextKind, block_frames: int, *, start: int = 0
) -> tuple[Block, ...]:
    """Return the blocks, from number ``start`` on, that do not change when the dataset grows.

    These blocks are complete, and so is their context. The plan of the grown dataset starts with the same blocks.
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
    """Rectangle of pixels owned by one pass of the network, and the larger rectangle that it reads; ends excluded."""

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
        """Rows to read."""
        return slice(self.read_y_start, self.read_y_stop)

    @property
    def read_x(self) -> slice:
        """Columns to read."""
        return slice(self.read_x_start, self.read_x_stop)

    @property
    def read_size(self) -> tuple[int, int]:
        """Number of rows and of columns to read."""
        return self.read_y_stop - self.read_y_start, self.read_x_stop - self.read_x_start


def plan_part(
    height: int, width: int, *, y: tuple[int, int], x: tuple[int, int], halo_yx_px: tuple[int, int], multiple: int
) -> Tile:
    """Return the tile that owns a rectangle of a frame; its read rectangle begins and ends as in `plan_tiles`."""

    def around(span: tuple[int, int], halo: int, length: int) -> tuple[int, int]:
        start, stop = span
        return max((start - halo) // multiple * multiple, 0), min(-(-(stop + halo) // multiple) * multiple, length)

    return Tile(*y, *x, *around(y, halo_yx_px[0], height), *around(x, halo_yx_px[1], width))


def plan_tiles(
    height: int, width: int, *, tile_px: int, halo_y_px: int, halo_x_px: int, multiple: int
) -> tuple[Tile, ...]:
    """Divide a frame into tiles that own each pixel once; read rectangles begin at multiples of ``multiple``.

    ``tile_px`` is rounded up to such a multiple; 0 means one tile for the whole frame. Read rectangles end at the edges
    of the frame, so that zero padding occurs only there.
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
