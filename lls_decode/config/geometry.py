"""Where a plane lies: pixel size, and how the sample moves between planes of a sweep.

Positions are nm. ``along`` is the camera axis along which the light sheet propagates, ``across`` the other one.
Formulas: a molecule at rest that is seen at ``along`` in plane 0 appears ``lateral_step_nm`` lower in plane 1, so

    deskewed   along + k*step*cos(a)                       z + k*step*sin(a)
    sample     S = k*step + along*cos(a) + z*sin(a)        H = -along*sin(a) + z*cos(a)
"""

import math
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field

from lls_decode.axes import ScanAxis
from lls_decode.config.base import Config

Floats = npt.NDArray[np.float64]


class PixelSize(Config):
    """Size of a camera pixel in the sample, nm."""

    x_nm: float = Field(gt=0)
    y_nm: float = Field(gt=0)

    def along(self, axis: ScanAxis) -> float:
        """Size along one camera axis, nm."""
        return self.x_nm if axis == "x" else self.y_nm


SMALLEST_PIXEL_NM = 3.0
"""Smallest pixel of a camera that can be meant, far below what a lens resolves; in micrometres all are below it."""
_UNITS_NM = {"um": 1e3, "m": 1e9}


def check_camera_pixel(pixel: PixelSize) -> PixelSize:
    """Refuse a size that was given in another unit than nm.

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
"""Pixel size of a camera, as a user gives it."""


class Positions(NamedTuple):
    """Three coordinates, nm."""

    x_nm: Floats
    y_nm: Floats
    z_nm: Floats


class Geometry(Config):
    """How planes of a sweep follow each other."""

    motion: Literal["stage", "objective"]
    """``stage``: the sample moves through the sheet at an angle. ``objective``: the focus moves along z."""
    stage_step_nm: float = Field(gt=0)
    """Distance that the stage (or the objective) travels between planes, nm."""
    angle_deg: float = Field(default=90.0, gt=0, le=90)
    """Angle between the light sheet and the stage travel; not used for ``objective``."""
    propagation_axis: ScanAxis = "x"
    """Camera axis along which the sheet propagates."""
    scan_direction: Literal[1, -1] = 1

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
        """Displacement of the image plane from one plane to the next, pixels; molecules appear to move by minus it."""
        return self.lateral_step_nm / pixel.along(self.propagation_axis)

    def whole_shift_px(self, pixel: PixelSize, *, multiple: int = 1) -> int:
        """The part of `plane_shift_px`, in multiples of pixels, by which neighbouring planes are brought together."""
        return multiple * round(self.plane_shift_px(pixel) / multiple)

    def to_deskewed(self, x_nm: Floats, y_nm: Floats, z_nm: Floats, plane: npt.ArrayLike) -> Positions:
        """Positions in the optical frame of plane 0."""
        k = np.asarray(plane, dtype=np.float64)
        dx, dy = (self.lateral_step_nm, 0.0) if self.propagation_axis == "x" else (0.0, self.lateral_step_nm)
        return Positions(x_nm + k * dx, y_nm + k * dy, z_nm + k * self.axial_step_nm)

    def to_sample(self, x_nm: Floats, y_nm: Floats, z_nm: Floats, plane: npt.ArrayLike) -> Positions:
        """Positions along the stage travel (S), across, and above the coverslip (H).

        S takes the place of the propagation axis. For an objective scan this is the optical frame.
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
        """Displacement in raw coordinates, within each plane, of what is displaced in those of `to_sample`.

        The linear part of `to_sample` is a rotation; this is its inverse. Arguments are in the order of its results.
        """
        if self.motion == "objective":
            return Positions(s_nm, y_nm, h_nm)
        cosine, sine = math.cos(math.radians(self.angle_deg)), math.sin(math.radians(self.angle_deg))
        travel, across = (s_nm, y_nm) if self.propagation_axis == "x" else (y_nm, s_nm)
        along, z_nm = travel * cosine - h_nm * sine, travel * sine + h_nm * cosine
        return Positions(along, across, z_nm) if self.propagation_axis == "x" else Positions(across, along, z_nm)

    def sample_sigmas(self, along_sig: Floats, z_sig: Floats) -> tuple[Floats, Floats]:
        """Sigmas along the stage travel and above the coverslip, from those along the propagation axis and z.

        Those along S and H are correlated; that is lost here. Across, nothing changes.
        """
        if self.motion == "objective":
            return along_sig, z_sig
        cosine, sine = math.cos(math.radians(self.angle_deg)), math.sin(math.radians(self.angle_deg))
        return np.hypot(along_sig * cosine, z_sig * sine), np.hypot(along_sig * sine, z_sig * cosine)

    def describe(self, pixel: PixelSize) -> str:
        """One line a user can check on a bead."""
        if self.motion == "objective":
            return f"objective scan, {self.axial_step_nm:g} nm along z from plane to plane"
        return (
            f"stage scan at {self.angle_deg:g} deg, plane-to-plane shift = {self.plane_shift_px(pixel):.2f} px along "
            f"{self.propagation_axis} and {self.axial_step_nm:.0f} nm along z"
        )
