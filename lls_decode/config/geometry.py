"""Position of planes in the sample: pixel size, and motion of the sample between the planes of a sweep.

Positions are in nm. ``along`` is the camera axis along which the light sheet propagates, ``across`` is the other one.
A molecule at rest that appears at ``along`` in plane 0 appears at ``along - lateral_step_nm`` in plane 1. Therefore

    deskewed   along + k*step*cos(a)                       z + k*step*sin(a)
    sample     S = k*step + along*cos(a) + z*sin(a)        H = -along*sin(a) + z*cos(a)
"""

import math
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from lls_decode.axes import ScanAxis
from lls_decode.config.base import Config, is_usual

Floats = npt.NDArray[np.float64]


class PixelSize(Config):
    """Size of a camera pixel in the sample, nm."""

    x_nm: float = Field(gt=0)
    """Size along x, nm."""
    y_nm: float = Field(gt=0)
    """Size along y, nm."""

    def along(self, axis: ScanAxis) -> float:
        """Return the size along one camera axis, nm."""
        return self.x_nm if axis == "x" else self.y_nm


def stated_pixel_size(x_nm: float | None, y_nm: float | None) -> PixelSize | None:
    """Return the pixel size that a file states; None if it is absent or impossible (zero, negative, NaN, infinite)."""
    if x_nm is None or y_nm is None or not all(side > 0 and is_usual(side) for side in (x_nm, y_nm)):
        return None
    return PixelSize(x_nm=x_nm, y_nm=y_nm)


SMALLEST_PIXEL_NM = 3.0
"""Smallest plausible camera pixel, nm; any real pixel size in micrometres is below it, and thus detected as such."""
_UNITS_NM = {"um": 1e3, "m": 1e9}


def check_camera_pixel(pixel: PixelSize) -> PixelSize:
    """Refuse a pixel size that was probably given in a unit other than nm.

    Raises
    ------
    ValueError
        A side is shorter than `SMALLEST_PIXEL_NM`.
    """
    for name, side in (("x_nm", pixel.x_nm), ("y_nm", pixel.y_nm)):
        if side < SMALLEST_PIXEL_NM:
            unit = "um" if side * _UNITS_NM["um"] >= SMALLEST_PIXEL_NM else "m"
            size = f"{side * _UNITS_NM[unit]:g}"
            raise ValueError(
                f"{name} is {side:g}, expected nm, {SMALLEST_PIXEL_NM:g} or more for a camera pixel in the sample; "
                f"{side:g} {unit} is {size} nm: give {size}"
            )
    return pixel


CameraPixel = Annotated[PixelSize, AfterValidator(check_camera_pixel)]
"""Pixel size of a camera as given by a user, validated by `check_camera_pixel`."""


class Positions(NamedTuple):
    """Coordinates x, y and z, nm."""

    x_nm: Floats
    y_nm: Floats
    z_nm: Floats


class Geometry(Config):
    """Arrangement of the planes of a sweep."""

    motion: Literal["stage", "objective"]
    """Motion between planes. ``stage``: the sample moves through the sheet at an angle. ``objective``: the focus moves
    along z."""
    stage_step_nm: float = Field(gt=0)
    """Distance that the stage (or the objective) travels between planes, nm."""
    angle_deg: float = Field(default=90.0, gt=0, le=90)
    """Angle between the light sheet and the stage travel, degrees; ignored for ``objective``."""
    propagation_axis: ScanAxis = "x"
    """Camera axis along which the light sheet propagates."""
    scan_direction: Literal[1, -1] = 1
    """Sign of the scan: -1 if the stage (or the objective) travels in the opposite direction."""

    @property
    def _signed_step(self) -> float:
        return self.stage_step_nm * self.scan_direction

    @property
    def lateral_step_nm(self) -> float:
        """Displacement of the image plane along the propagation axis from one plane to the next, nm (signed)."""
        return 0.0 if self.motion == "objective" else self._signed_step * math.cos(math.radians(self.angle_deg))

    @property
    def axial_step_nm(self) -> float:
        """Displacement of the focus along z from one plane to the next, nm (signed)."""
        return self._signed_step * (1.0 if self.motion == "objective" else math.sin(math.radians(self.angle_deg)))

    def plane_shift_px(self, pixel: PixelSize) -> float:
        """Return the displacement of the image plane per plane, pixels; molecules appear to move by its negative."""
        return self.lateral_step_nm / pixel.along(self.propagation_axis)

    def whole_shift_px(self, pixel: PixelSize, *, multiple: int = 1) -> int:
        """Return `plane_shift_px` rounded to a multiple of pixels, to align features of neighbouring planes."""
        return multiple * round(self.plane_shift_px(pixel) / multiple)

    def to_deskewed(self, x_nm: Floats, y_nm: Floats, z_nm: Floats, plane: npt.ArrayLike) -> Positions:
        """Return deskewed positions: those in the camera coordinates of plane 0."""
        k = np.asarray(plane, dtype=np.float64)
        dx, dy = (self.lateral_step_nm, 0.0) if self.propagation_axis == "x" else (0.0, self.lateral_step_nm)
        return Positions(x_nm + k * dx, y_nm + k * dy, z_nm + k * self.axial_step_nm)

    def to_sample(self, x_nm: Floats, y_nm: Floats, z_nm: Floats, plane: npt.ArrayLike) -> Positions:
        """Return sample coordinates: along the stage travel (S), across it, and above the coverslip (H).

        S replaces the propagation axis. For an objective scan these are the deskewed positions.
        """
        if self.motion == "objective":
            return self.to_deskewed(x_nm, y_nm, z_nm, plane)
        k = np.asarray(plane, dtype=np.float64)
        angle = math.radians(self.angle_deg)
        along = x_nm if self.propagation_axis == "x" else y_nm
        s_nm = k * self._signed_step + along * math.cos(angle) + z_nm * math.sin(angle)
        h_nm = -along * math.sin(angle) + z_nm * math.cos(angle)
        return Positions(s_nm, y_nm, h_nm) if self.propagation_axis == "x" else Positions(x_nm, s_nm, h_nm)

    def raw_displacement(self, s_nm: Floats, y_nm: Floats, h_nm: Floats) -> Positions:
        """Convert a displacement in sample coordinates to the displacement in raw camera coordinates of any plane.

        This inverts the linear part of `to_sample`, which is a rotation. The arguments have the order of its results.
        """
        if self.motion == "objective":
            return Positions(s_nm, y_nm, h_nm)
        cosine, sine = math.cos(math.radians(self.angle_deg)), math.sin(math.radians(self.angle_deg))
        travel, across = (s_nm, y_nm) if self.propagation_axis == "x" else (y_nm, s_nm)
        along, z_nm = travel * cosine - h_nm * sine, travel * sine + h_nm * cosine
        return Positions(along, across, z_nm) if self.propagation_axis == "x" else Positions(across, along, z_nm)

    def sample_sigmas(self, along_sig: Floats, z_sig: Floats) -> tuple[Floats, Floats]:
        """Convert sigmas along the propagation axis and z to sigmas along the stage travel (S) and height (H).

        The correlation between S and H is not returned. Sigmas across the stage travel do not change.
        """
        if self.motion == "objective":
            return along_sig, z_sig
        cosine, sine = math.cos(math.radians(self.angle_deg)), math.sin(math.radians(self.angle_deg))
        return np.hypot(along_sig * cosine, z_sig * sine), np.hypot(along_sig * sine, z_sig * cosine)

    def describe(self, pixel: PixelSize) -> str:
        """Return the geometry as one line of text that a user can check with a bead."""
        if self.motion == "objective":
            return f"objective scan, {self.axial_step_nm:g} nm along z from plane to plane"
        return (
            f"stage scan at {self.angle_deg:g} deg, plane-to-plane shift = {self.plane_shift_px(pixel):.2f} px along "
            f"{self.propagation_axis} and {self.axial_step_nm:.0f} nm along z"
        )
