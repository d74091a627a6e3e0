"""The field of view that is exported as the picture: taken from the dataset, never from the extent of the rows.

So a stray row does not move the picture. Only the size is taken from the rows, and only if neither the table (because
it was imported) nor the user states the size of the dataset's frames. The origin is never taken from the rows.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from lls_decode.axes import ScanAxis
from lls_decode.config import Geometry, PixelSize
from lls_decode.table import TableMetadata

MARGIN_NM: Final = 1000.0
"""Margin around tilted planes: rows may be deeper than the model's range, and drift correction moves them."""
_AXES: Final[tuple[ScanAxis, ScanAxis]] = ("x", "y")


@dataclass(frozen=True)
class DatasetSize:
    """Size and number of the frames of a dataset; None if not known."""

    width: int | None = None
    height: int | None = None
    num_frames: int | None = None

    @classmethod
    def of(cls, metadata: TableMetadata) -> Self:
        """Return the dataset size that a table states."""
        return cls(metadata.width, metadata.height, metadata.num_frames)

    def to_dict(self) -> dict[str, Any]:
        """Return the known values, named as in the metadata of a table."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def but(self, other: "DatasetSize") -> "DatasetSize":
        """Return a copy in which the known values of ``other`` take precedence."""
        return DatasetSize(**{**self.to_dict(), **other.to_dict()})


@dataclass(frozen=True)
class Tilt:
    """Transformation from camera coordinates to exported ones, for volumes whose planes lie side by side."""

    geometry: Geometry
    to_sample: bool
    """Whether positions are in sample coordinates; False: deskewed."""
    planes: int
    """Planes per volume."""
    z_range_nm: tuple[float, float]
    """Range of z around the focus in which emitters are seen."""

    def moves(self, axis: ScanAxis) -> bool:
        """Return whether planes lie at different places along an axis."""
        return self.geometry.motion == "stage" and axis == self.geometry.propagation_axis

    def reach_nm(self, length_nm: float) -> tuple[float, float]:
        """Return the range of coordinates along the stage travel that planes of this length can show."""
        corners = itertools.product((0.0, length_nm), self.z_range_nm, (0, self.planes - 1))
        along, z_nm, plane = (np.array(values, dtype=np.float64) for values in zip(*corners, strict=True))
        move = self.geometry.to_sample if self.to_sample else self.geometry.to_deskewed
        moved = move(along, along, z_nm, plane)
        reached = moved.x_nm if self.geometry.propagation_axis == "x" else moved.y_nm
        return float(reached.min()) - MARGIN_NM, float(reached.max()) + MARGIN_NM


@dataclass(frozen=True)
class Field:
    """A rectangle of whole pixels and a number of frames."""

    first_px: tuple[int, int]
    """First pixel along x and y; (0, 0) is the first pixel of a frame."""
    size_px: tuple[int, int]
    """Width and height."""
    num_frames: int
    notes: tuple[str, ...] = ()
    """Unknown values and their replacements, in words."""


def field_of(
    size: DatasetSize,
    *,
    pixel: PixelSize,
    camera_pixel: PixelSize,
    tilt: Tilt | None,
    first_px: tuple[int, int] | None,
    highest: Mapping[str, float],
    source: str,
) -> Field:
    """Return the field of a table in the coordinate system in which it is exported.

    Parameters
    ----------
    pixel
        Pixel size in which the field is expressed.
    camera_pixel
        Pixel size of the frames, in which ``size`` is expressed.
    tilt
        Transformation of tilted planes; None: positions are in camera coordinates.
    first_px
        First pixel of the field; None: the first pixel of a frame, or the beginning of the first tilted plane.
    highest
        Largest ``x_nm``, ``y_nm`` and ``frame`` of all rows, used if the size is not known.
    source
        Name of the table, for the notes.
    """
    lengths = dict(zip(_AXES, (size.width, size.height), strict=True))
    limits = {axis: _limits(axis, lengths[axis], pixel, camera_pixel, tilt) for axis in _AXES}
    first = first_px or (limits["x"][0], limits["y"][0])
    ends = [
        _end_of_rows(highest[f"{axis}_nm"] / pixel.along(axis), begin) if limits[axis][1] is None else limits[axis][1]
        for axis, begin in zip(_AXES, first, strict=True)
    ]
    width, height = (max(1, end - begin) for end, begin in zip(ends, first, strict=True) if end is not None)
    notes = []
    if size.width is None or size.height is None:
        notes.append(
            f"{source} does not state the size of its dataset's frames: width and height are those of its rows, "
            f"{width} x {height} pixels; give size (--size WIDTHxHEIGHT)"
        )
    num_frames = size.num_frames
    if num_frames is None:
        num_frames = int(highest["frame"]) + 1
        notes.append(
            f"{source} does not state how many frames its dataset has: {num_frames}, up to the last row; give "
            "num_frames (--frames)"
        )
    elif highest.get("frame", -1) >= num_frames:
        notes.append(
            f"{source} has rows up to frame {int(highest['frame'])}, counted from 0, but the number of frames is "
            f"{num_frames}; give another one (num_frames, --frames)"
        )
    return Field(first, (width, height), num_frames, tuple(notes))


def _limits(
    axis: ScanAxis, length: int | None, pixel: PixelSize, camera_pixel: PixelSize, tilt: Tilt | None
) -> tuple[int, int | None]:
    """Return the first pixel along an axis, and one past the last (None if the length is not known)."""
    unit, camera_unit = pixel.along(axis), camera_pixel.along(axis)
    if tilt is None or not tilt.moves(axis):
        return 0, None if length is None else math.ceil(length * camera_unit / unit)
    low_nm, high_nm = tilt.reach_nm((length or 1) * camera_unit)
    return math.floor(low_nm / unit), None if length is None else math.ceil(high_nm / unit)


def _end_of_rows(highest_px: float, first_px: int) -> int:
    """Return one past the pixel of the last row, in float32, which may round up to the next pixel."""
    return first_px + math.floor(np.float32(highest_px - first_px)) + 1
