"""Deskewing of a raw stage-scanned volume for viewing: planes are moved to their places in the sample.

Interpolation mixes pixels and their noise, so molecules are always localized on raw planes. Their positions are moved
afterwards by the same `Geometry`, so this picture verifies the geometry's signs.

Shape letters: ``Z`` planes of a sweep, ``Y X`` pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.config import Geometry, PixelSize

Volume = npt.NDArray[Any]


@dataclass(frozen=True)
class Deskewed:
    """A deskewed volume and its place in deskewed coordinates (`Geometry.to_deskewed`)."""

    adu_ZYX: npt.NDArray[np.float32]
    """Interpolated counts; planes in recorded order, `Geometry.axial_step_nm` apart."""
    origin_x_px: float
    """Deskewed x of the centre of column 0, in pixels."""
    origin_y_px: float
    """Deskewed y of the centre of row 0, in pixels."""


def deskew(adu_ZYX: Volume, geometry: Geometry, pixel: PixelSize, *, fill_adu: float = 0.0) -> Deskewed:
    """Move each plane of a volume along the propagation axis, with linear interpolation.

    Parameters
    ----------
    adu_ZYX
        One volume, planes in the order of acquisition.
    geometry, pixel
        Arrangement of the planes, and size of a pixel. Planes of an objective scan are not moved.
    fill_adu
        Value of pixels that no plane covers.

    Returns
    -------
    Deskewed
        Wider than the planes by their total shift, and centred: the middle of the sweep stays in the middle, as in
        cudaDecon and similar programs.
    """
    num_planes, height, width = adu_ZYX.shape
    rest = np.zeros(num_planes)
    moved = geometry.to_deskewed(rest, rest, rest, np.arange(num_planes))
    along_x = geometry.propagation_axis == "x"
    shift_px = moved.x_nm / pixel.x_nm if along_x else moved.y_nm / pixel.y_nm
    per_plane = geometry.plane_shift_px(pixel)
    length = width if along_x else height
    wide = length + int(abs(per_plane) * num_planes)
    origin = per_plane * num_planes / 2 - (wide - length) / 2
    raw_px = np.arange(wide) + origin - shift_px[:, None]
    if along_x:
        planes = [_sample_rows(plane, at, fill_adu) for plane, at in zip(adu_ZYX, raw_px, strict=True)]
        return Deskewed(np.stack(planes), origin, 0.0)
    planes = [_sample_rows(plane.T, at, fill_adu).T for plane, at in zip(adu_ZYX, raw_px, strict=True)]
    return Deskewed(np.stack(planes), 0.0, origin)


def _sample_rows(adu_YX: Volume, at_px: npt.NDArray[np.float64], fill_adu: float) -> npt.NDArray[np.float32]:
    """Interpolate each row at ``at_px``; ``fill_adu`` where this is not between two pixels."""
    last = adu_YX.shape[1] - 1
    left = np.clip(np.floor(at_px), 0, max(last - 1, 0)).astype(np.int64)
    share = (at_px - left).astype(np.float32)
    mixed = (1 - share) * adu_YX[:, left] + share * adu_YX[:, np.minimum(left + 1, last)]
    return np.where((at_px >= 0) & (at_px <= last), mixed, fill_adu).astype(np.float32)
