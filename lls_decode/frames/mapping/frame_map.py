"""Positions of frames in stored arrays, computed with integers only, before any I/O.

All arrays of a dataset form one stream of raw frames, numbered ``n = (array * T + t) * Z + z``. A volume is
``raw_planes`` consecutive raw frames. Movies, (t, z) stacks, flat streams and directories of volumes are therefore
treated in the same way.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lls_decode.axes import Layout

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Slab:
    """Rectangle of one array that is read at once, and the frames of a stack that it contains."""

    array: int
    t_start: int
    t_stop: int
    z_start: int
    z_stop: int
    position: Ints
    """Positions of the frames in the stack, ``(n,)``."""
    t: Ints
    """Indices of the frames along t in the array, ``(n,)``."""
    z: Ints
    """Indices of the frames along z in the array, ``(n,)``."""

    @property
    def is_whole(self) -> bool:
        """Whether the stack needs all frames of the rectangle, each once and in stored order."""
        height = self.z_stop - self.z_start
        raster = (self.t - self.t_start) * height + self.z - self.z_start
        size = (self.t_stop - self.t_start) * height
        return len(raster) == size and bool((raster == np.arange(size)).all())


@dataclass(frozen=True)
class FrameMap:
    """Size of the arrays, and the assignment of their frames to volumes and planes."""

    axes: str
    """One letter per axis of one array, in stored order: t, c, z, y, x, and others along which one index is read."""
    shape: tuple[int, ...]
    """Shape of one array; all arrays have the same shape."""
    num_arrays: int
    channel: int
    raw_planes: int
    """Frames per volume as acquired, including fly-back frames."""
    skip_first: int
    skip_last: int
    bidirectional: bool
    chosen: tuple[tuple[str, int], ...] = ()
    """Selected index along each axis other than t, c, z, y and x."""

    @property
    def fixed(self) -> dict[str, int]:
        """Selected index along each stored axis with a fixed index: the channel, and the axes in ``chosen``."""
        return ({"c": self.channel} if "c" in self.axes else {}) | dict(self.chosen)

    def size(self, axis: str) -> int:
        """Return the length along an axis; 1 if the arrays do not have this axis."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def frames_per_array(self) -> int:
        """Number of raw frames in one array."""
        return self.size("t") * self.size("z")

    @property
    def num_raw_frames(self) -> int:
        """Number of raw frames in all arrays."""
        return self.frames_per_array * self.num_arrays

    @property
    def num_leftover(self) -> int:
        """Number of raw frames at the end that do not form a complete volume."""
        return self.num_raw_frames % self.raw_planes

    @property
    def layout(self) -> Layout:
        """Layout of the dataset as volumes of planes."""
        return Layout(
            num_volumes=self.num_raw_frames // self.raw_planes,
            planes_per_volume=self.raw_planes - self.skip_first - self.skip_last,
            height=self.size("y"),
            width=self.size("x"),
        )

    def with_length(self, length: int) -> "FrameMap":
        """Return the same map with a different length along t."""
        sizes = zip(self.axes, self.shape, strict=True)
        return replace(self, shape=tuple(length if axis == "t" else size for axis, size in sizes))

    def locate(self, volume: Ints, plane: Ints) -> tuple[Ints, Ints, Ints]:
        """Return the array, t and z of frames given by volume and plane."""
        if self.bidirectional:
            plane = np.where(volume % 2 == 1, self.layout.planes_per_volume - 1 - plane, plane)
        raw = volume * self.raw_planes + self.skip_first + plane
        array, local = np.divmod(raw, self.frames_per_array)
        t, z = np.divmod(local, self.size("z"))
        return array, t, z

    def frames_in(self, array: int, t: range, z: range) -> Ints:
        """Return volume and plane, ``(n, 2)``, of the frames in a rectangle of an array, without unused frames."""
        grid_t, grid_z = np.meshgrid(np.asarray(t), np.asarray(z), indexing="ij")
        raw = ((array * self.size("t") + grid_t) * self.size("z") + grid_z).ravel().astype(np.int64)
        volume, plane = np.divmod(raw, self.raw_planes)
        plane = plane - self.skip_first
        layout = self.layout
        kept = (volume < layout.num_volumes) & (plane >= 0) & (plane < layout.planes_per_volume)
        volume, plane = volume[kept], plane[kept]
        if self.bidirectional:
            plane = np.where(volume % 2 == 1, layout.planes_per_volume - 1 - plane, plane)
        order = np.lexsort((plane, volume))
        return np.stack([volume[order], plane[order]], axis=1)

    def slabs(self, frames_T2: Ints) -> list[Slab]:
        """Return rectangles that contain these frames: one per array, or one per volume if that reads much less."""
        volume = frames_T2[:, 0]
        array, t, z = self.locate(volume, frames_T2[:, 1])
        slabs = []
        for number in np.unique(array):
            position = np.flatnonzero(array == number)
            whole = _bound(int(number), position, t, z)
            if _area(whole) > 2 * len(position):
                slabs += [
                    _bound(int(number), position[volume[position] == v], t, z) for v in np.unique(volume[position])
                ]
            else:
                slabs.append(whole)
        return slabs


def name_frames(frames_N2: Ints, planes_per_volume: int) -> str:
    """Describe frames in words: ``volume 3, planes 0 to 7``, or ``frames 12 to 15`` for a movie."""
    if not len(frames_N2):
        return "only unused frames"
    if planes_per_volume == 1:
        volumes = frames_N2[:, 0]
        return f"frame{'s' if len(np.unique(volumes)) > 1 else ''} {_ranges(volumes)}"
    planes: dict[str, list[int]] = {}
    for v in np.unique(frames_N2[:, 0]):
        planes.setdefault(_ranges(frames_N2[frames_N2[:, 0] == v, 1]), []).append(int(v))
    parts = []
    for text, volumes_of in planes.items():
        many_planes = "s" if not text.isdigit() else ""
        parts.append(
            f"volume{'s' if len(volumes_of) > 1 else ''} {_ranges(np.array(volumes_of))}, plane{many_planes} {text}"
        )
    return "; ".join(parts[:4]) + ("; ..." if len(parts) > 4 else "")


def _bound(array: int, position: Ints, t: Ints, z: Ints) -> Slab:
    t, z = t[position], z[position]
    return Slab(array, int(t.min()), int(t.max()) + 1, int(z.min()), int(z.max()) + 1, position, t, z)


def _area(slab: Slab) -> int:
    return (slab.t_stop - slab.t_start) * (slab.z_stop - slab.z_start)


def _ranges(values: Ints) -> str:
    """Write numbers as ranges, for example ``0 to 3, 7`` for 0, 1, 2, 3, 7."""
    values = np.unique(values)
    starts = [0, *(np.flatnonzero(np.diff(values) > 1) + 1).tolist(), len(values)]
    runs = [(int(values[a]), int(values[b - 1])) for a, b in pairwise(starts)]
    text = ", ".join(f"{a} to {b}" if b > a else f"{a}" for a, b in runs[:4])
    return text + (", ..." if len(runs) > 4 else "")
