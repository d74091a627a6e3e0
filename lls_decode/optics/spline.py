"""Measured PSF as a cubic spline with 64 coefficients per voxel, drawn and differentiated in torch.

A voxel is one pixel wide, so all pixels of a stamp have the same fractional position (u, v, w) in their voxels. A stamp
is therefore a sum of 64 images, weighted by the monomials of u, v and w. The sum is computed as an embedding bag,
without a loop over emitters and without gathering coefficients. Derivatives are the same sum with differentiated
monomials.

An emitter at (x, y, z) is evaluated at voxel coordinate ``i - x + centre_x`` for the pixel in column i,
``j - y + centre_y`` for row j, and ``focus + z / z_step`` along z. All pixels within the footprint of the coefficients
are drawn; there is no light outside. Beyond the calibrated z range the spot is that at the limit of the range, and its
z derivative is 0.

Shape letters: ``Z Y X`` voxels, ``444`` powers of the fractions along z, y, x, ``E`` emitters, ``S`` stamp.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy.interpolate import CubicSpline as Interpolant
from torch import Tensor
from torch.nn.functional import embedding_bag

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError
from lls_decode.optics.stamps import PsfVariation, Stamps

Floats = npt.NDArray[np.float64]

_LARGEST_PIXEL_DIFFERENCE = 0.01
_MOST_VOXELS = 1 << 20
"""Largest number of voxels, whose coefficients take 0.5 GB; measured PSFs have one or two hundred thousand."""


@dataclass(frozen=True)
class CubicSpline:
    """Spline coefficients of a PSF, and the position of its emitter in voxel coordinates."""

    coefficients_ZYX444: Floats
    centre_x: float
    """x of the emitter in voxel coordinates; 0 is the first node."""
    centre_y: float
    focus: float
    """z = 0 in voxel coordinates."""
    z_step_nm: float
    """Change of the emitter's z from node to node; negative if z decreases along the voxels."""
    pixel: PixelSize | None = None
    """Size of a voxel along x and y; None if the file has no pixel size."""

    @property
    def z_range_nm(self) -> tuple[float, float]:
        """Calibrated range of z."""
        ends = (-self.focus * self.z_step_nm, (len(self.coefficients_ZYX444) - self.focus) * self.z_step_nm)
        return min(ends), max(ends)

    def light_in_focus(self) -> float:
        """Return the sum over the stamp of an emitter that is in focus and at the centre of a pixel."""
        model = SplineModel(self, dtype=torch.float64)
        zero = torch.zeros(1, dtype=torch.float64)
        return float(model.stamps(zero + 1, zero, zero, zero, radius_px=model.radius_px((0, 0))).photons_ESS.sum())

    def normalised(self) -> "CubicSpline":
        """Return the spline scaled so that the light in focus is 1.

        Raises
        ------
        ConfigError
            There is no light in focus.
        """
        light = self.light_in_focus()
        if not light > 0:
            raise ConfigError(
                f"The PSF sums to {light:g} in focus, expected a positive number; repeat the calibration with the "
                "focus inside the stack and the background removed."
            )
        return replace(self, coefficients_ZYX444=self.coefficients_ZYX444 / light)

    def upside_down(self) -> "CubicSpline":
        """Return the same PSF with its voxels in reverse order along z."""
        # (1 - f)^p = sum over q of binomial(p, q) (-f)^q
        turned = np.array([[math.comb(p, q) * (-1) ** q for q in range(4)] for p in range(4)], dtype=np.float64)
        coefficients = np.einsum("zyxpba,pq->zyxqba", self.coefficients_ZYX444[::-1], turned)
        focus = len(coefficients) - self.focus
        return replace(self, coefficients_ZYX444=coefficients, focus=focus, z_step_nm=-self.z_step_nm)


def spline_from_volume(
    volume_ZYX: npt.ArrayLike,
    *,
    z_step_nm: float,
    pixel: PixelSize | None,
    focus: float | None = None,
    centre_x: float | None = None,
    centre_y: float | None = None,
) -> CubicSpline:
    """Interpolate a PSF volume (background removed) exactly by a tensor product of cubic splines.

    The result is twice continuously differentiable inside. A border of zeros is added around every slice, and the
    spline ends there with zero slope, so that the light does not jump when a pixel enters or leaves the footprint. The
    light in focus is scaled to 1.

    Parameters
    ----------
    volume_ZYX
        Values at the nodes: pixels as recorded, slices ``z_step_nm`` apart.
    z_step_nm
        Change of the emitter's z, relative to the focal plane, from slice to slice; may be negative.
    pixel
        Size of the pixels.
    focus, centre_x, centre_y
        Slice and pixel (fractional, counted from 0) of the emitter at z = 0; default: the middle of the volume.

    Raises
    ------
    ConfigError
        The volume does not have three dimensions, is too small, holds NaN or no light, or the z step is invalid.
    """
    volume = np.asarray(volume_ZYX, dtype=np.float64)
    if volume.ndim != 3 or min(volume.shape) < 4:
        raise ConfigError(
            f"The PSF volume has shape {volume.shape}, expected at least 4 slices, 4 rows and 4 columns; give a stack "
            "of one bead."
        )
    if volume.size > _MOST_VOXELS:
        raise ConfigError(
            f"The PSF volume has shape {volume.shape}, {volume.size:,} voxels, expected at most {_MOST_VOXELS:,}, "
            "because each takes 64 coefficients; crop it to the bead."
        )
    if not np.isfinite(volume).all():
        raise ConfigError("The PSF volume holds NaN or infinite values; every voxel needs a number.")
    if z_step_nm == 0 or not math.isfinite(z_step_nm):
        raise ConfigError(f"The z step of the PSF volume is {z_step_nm:g} nm; give the distance between its slices.")
    middle = [(size - 1) / 2 for size in volume.shape]
    coefficients = np.pad(volume, ((0, 0), (1, 1), (1, 1)))
    for axis, ends in ((0, "not-a-knot"), (1, "clamped"), (2, "clamped")):
        # Each pass replaces nodes by voxels along one axis and appends an axis of powers, lowest first.
        pieces = Interpolant(np.arange(coefficients.shape[axis]), coefficients, axis=axis, bc_type=ends).c[::-1]
        coefficients = np.moveaxis(np.moveaxis(pieces, 0, -1), 0, axis)
    spline = CubicSpline(
        np.ascontiguousarray(coefficients),
        centre_x=1 + (middle[2] if centre_x is None else centre_x),
        centre_y=1 + (middle[1] if centre_y is None else centre_y),
        focus=middle[0] if focus is None else focus,
        z_step_nm=z_step_nm,
        pixel=pixel,
    )
    return spline.normalised()


def check_pixel(spline: CubicSpline, pixel: PixelSize, source: str) -> None:
    """Raise an error if the pixel size differs from that of the calibration; skip the check if that is unknown."""
    own = spline.pixel
    if own is None:
        return
    if any(
        abs(have / want - 1) > _LARGEST_PIXEL_DIFFERENCE
        for have, want in ((own.x_nm, pixel.x_nm), (own.y_nm, pixel.y_nm))
    ):
        raise ConfigError(
            f"The PSF {source} was calibrated with pixels of {own.x_nm:g} x {own.y_nm:g} nm, but the configuration has "
            f"{pixel.x_nm:g} x {pixel.y_nm:g} nm; calibrate with the pixel size of the movie."
        )


class SplineModel:
    """Spline PSF on a device; implements `lls_decode.optics.PsfModel`."""

    def __init__(
        self, spline: CubicSpline, *, device: torch.device | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        self.spline = spline
        sizes: tuple[int, ...] = spline.coefficients_ZYX444.shape
        self._num_z, self._height, self._width = sizes[:3]
        images = np.transpose(spline.coefficients_ZYX444, (0, 3, 4, 5, 1, 2))
        images = images.reshape(self._num_z * 64, self._height * self._width)
        self._images = torch.as_tensor(np.ascontiguousarray(images), dtype=dtype, device=device)

    @property
    def z_range_nm(self) -> tuple[float, float]:
        """Calibrated range of z."""
        return self.spline.z_range_nm

    def radius_px(self, z_range_nm: tuple[float, float]) -> int:
        """Return the distance from the emitter, in pixels, that its stamp does not exceed; the same for every z."""
        del z_range_nm
        x, y = self.spline.centre_x, self.spline.centre_y
        return math.ceil(max(x, self._width - x, y, self._height - y)) + 1

    def stamps(
        self,
        photons: Tensor,
        x_px: Tensor,
        y_px: Tensor,
        z_nm: Tensor,
        *,
        radius_px: int,
        variation: PsfVariation | None = None,
    ) -> Stamps:
        """Return the light of each emitter in all pixels of the footprint."""
        assert radius_px >= self.radius_px((0, 0))
        row, v = _voxels(self.spline.centre_y, y_px)
        column, u = _voxels(self.spline.centre_x, x_px)
        if variation is not None:
            z_nm = z_nm - (variation.focus_x_nm + variation.focus_y_nm) / 2
        voxel, w, _ = self._slices(z_nm)
        light_ESS = self._sum(voxel, _powers(w), _powers(v), _powers(u)).view(-1, self._height, self._width)
        if variation is not None:
            light_ESS = light_ESS + self._widening(voxel, w, v, u, light_ESS, variation.width - 1)
        return Stamps(row, column, photons[:, None, None] * light_ESS)

    def _widening(self, voxel: Tensor, w: Tensor, v: Tensor, u: Tensor, light_ESS: Tensor, by: Tensor) -> Tensor:
        """Return the change of light in each pixel when the spot becomes slightly wider, ``(E, Y, X)``.

        Widening a spot s(r) by the factor 1 + e, with the same total light, gives s(r / (1 + e)) / (1 + e)^2. To first
        order in e, the change is -e (2 s + r . grad s).
        """
        along_y = (torch.arange(self._height, device=v.device) + v[:, None] - self.spline.centre_y)[:, :, None]
        along_x = (torch.arange(self._width, device=u.device) + u[:, None] - self.spline.centre_x)[:, None, :]
        by_y = self._sum(voxel, _powers(w), _slopes(v), _powers(u)).view_as(light_ESS)
        by_x = self._sum(voxel, _powers(w), _powers(v), _slopes(u)).view_as(light_ESS)
        return -by[:, None, None] * (2 * light_ESS + along_y * by_y + along_x * by_x)

    def shares(self, x_px: Tensor, y_px: Tensor, z_nm: Tensor, *, height: int, width: int) -> Tensor:
        """Return the share of each emitter's light in each pixel of its own region of interest, ``(E, Y, X)``."""
        row, v = _voxels(self.spline.centre_y, y_px)
        column, u = _voxels(self.spline.centre_x, x_px)
        voxel, w, _ = self._slices(z_nm)
        light = self._sum(voxel, _powers(w), _powers(v), _powers(u))
        return self._cut(light.view(-1, 1, self._height, self._width), row, column, height, width)[:, 0]

    def shares_and_gradient(
        self, x_px: Tensor, y_px: Tensor, z_nm: Tensor, *, height: int, width: int
    ) -> tuple[Tensor, Tensor]:
        """Return `shares` and their derivatives with respect to x_px, y_px and z_nm, ``(E, 3, Y, X)``."""
        row, v = _voxels(self.spline.centre_y, y_px)
        column, u = _voxels(self.spline.centre_x, x_px)
        voxel, w, inside = self._slices(z_nm)
        by_z, by_y, by_x = _powers(w), _powers(v), _powers(u)
        light = torch.stack(
            [
                self._sum(voxel, by_z, by_y, by_x),
                self._sum(voxel, by_z, by_y, -_slopes(u)),
                self._sum(voxel, by_z, -_slopes(v), by_x),
                self._sum(voxel, _slopes(w) * (inside / self.spline.z_step_nm)[:, None], by_y, by_x),
            ],
            dim=1,
        )
        light = self._cut(light.view(-1, 4, self._height, self._width), row, column, height, width)
        return light[:, 0], light[:, 1:]

    def _slices(self, z_nm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the voxel along z, the fractional position in it, and whether z is within the calibrated range."""
        w = self.spline.focus + z_nm / self.spline.z_step_nm
        limited = w.clamp(0, self._num_z)
        voxel = limited.floor().clamp_max(self._num_z - 1)
        return voxel.to(torch.int64), limited - voxel, (w >= 0) & (w <= self._num_z)

    def _sum(self, voxel: Tensor, by_z: Tensor, by_y: Tensor, by_x: Tensor) -> Tensor:
        """Return the weighted sums of coefficient images, (E, Y * X), from weights along each axis (each (E, 4))."""
        weights = (by_z[:, :, None, None] * by_y[:, None, :, None] * by_x[:, None, None, :]).flatten(1)
        which = voxel[:, None] * 64 + torch.arange(64, device=voxel.device)
        light = embedding_bag(which, self._images, mode="sum", per_sample_weights=weights.to(self._images.dtype))
        return light.to(by_z.dtype)

    def _cut(self, light_ECYX: Tensor, row: Tensor, column: Tensor, height: int, width: int) -> Tensor:
        """Crop stamps that start at a row and column to regions of interest; pixels outside a stamp are 0."""
        for axis, first, have, want in ((2, row, self._height, height), (3, column, self._width, width)):
            source = torch.arange(want, device=row.device) - first[:, None]
            reached = (source >= 0) & (source < have)
            shape = [len(first), 1, 1, 1]
            shape[axis] = want
            sizes = [*light_ECYX.shape]
            sizes[axis] = want
            index = source.clamp(0, have - 1).view(shape).expand(sizes)
            light_ECYX = light_ECYX.gather(axis, index) * reached.view(shape)
        return light_ECYX


def _voxels(centre: float, position_px: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixel at the first voxel, and the fractional position of all pixels in their voxels."""
    shift = centre - position_px
    whole = shift.floor()
    return -whole.to(torch.int64), shift - whole


def _powers(fraction: Tensor) -> Tensor:
    return torch.stack([torch.ones_like(fraction), fraction, fraction**2, fraction**3], dim=1)


def _slopes(fraction: Tensor) -> Tensor:
    one = torch.ones_like(fraction)
    return torch.stack([torch.zeros_like(fraction), one, 2 * fraction, 3 * fraction**2], dim=1)
