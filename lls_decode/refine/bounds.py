"""Cramer-Rao bounds of emitters where they lie in a frame: at their local background, on their own pixels.

Shape letters: ``E`` emitters, ``Y X`` pixels of a region of interest.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lls_decode.config import PixelSize, Psf
from lls_decode.emitters import Emitters
from lls_decode.optics import CameraModel, EmccdModel, build_psf
from lls_decode.refine.crlb import Spots, crlb

Floats = npt.NDArray[np.float64]

_PIXELS_AT_ONCE = 200_000
_NO_LIGHT = 1e15
"""Variance of pixels beyond the frame, which tell nothing."""
_EXCESS = 2.0
"""Variance of amplified electrons in units of that of Poisson ones (excess noise factor squared)."""


@dataclass(frozen=True)
class Bounds:
    """Smallest standard deviations of unbiased estimates from a single frame; all (E,)."""

    x_nm: Floats
    y_nm: Floats
    z_nm: Floats
    """NaN for a PSF that is the same at every z."""
    photons: Floats


def emitter_bounds(
    emitters: Emitters, psf: Psf, *, pixel: PixelSize, camera: CameraModel, height: int, width: int
) -> Bounds:
    """Bounds of single emitters of known photons and ``bg``; other emitters nearby are not taken into account.

    An EMCCD's amplification doubles the variance: it counts as one with half the electrons and no read noise.
    """
    model = build_psf(psf, pixel=pixel)
    radius = model.radius_px((float(np.min(emitters.z_nm)), float(np.max(emitters.z_nm)))) if len(emitters) else 0
    side = 2 * radius + 1
    per_photon, dark = _electrons(camera)
    at_once = max(1, _PIXELS_AT_ONCE // side**2)
    parts: list[Tensor] = [torch.empty(0, 5, dtype=torch.float64)]
    for first in range(0, len(emitters), at_once):
        part = emitters.select(np.arange(first, min(first + at_once, len(emitters))))
        x_px, y_px = (torch.from_numpy(v) for v in (part.x_nm / pixel.x_nm, part.y_nm / pixel.y_nm))
        column, row = x_px.round().long() - radius, y_px.round().long() - radius
        spots = Spots(
            x_px - column,
            y_px - row,
            torch.from_numpy(part.z_nm),
            torch.from_numpy(part.photons) * per_photon,
            torch.from_numpy(part.bg).clamp_min(0) * per_photon + dark,
        )
        variance = _variance_e2(camera, row, column, side, height, width)
        parts.append(crlb(model, spots, height=side, width=side, variance=variance).stack())
    x, y, z, photons, _ = torch.cat(parts).numpy().T
    return Bounds(x * pixel.x_nm, y * pixel.y_nm, z, photons / per_photon)


def _electrons(camera: CameraModel) -> tuple[float, float]:
    """Poisson electrons for a photon, and in the dark."""
    if isinstance(camera, EmccdModel):
        return camera.config.quantum_efficiency / _EXCESS, camera.config.spurious_e / _EXCESS
    return camera.quantum_efficiency, 0.0


def _variance_e2(camera: CameraModel, row: Tensor, column: Tensor, side: int, height: int, width: int) -> Tensor:
    """Variance of the read noise in each region of interest (E, Y, X), electrons squared."""
    rows, columns = (start[:, None] + torch.arange(side) for start in (row, column))
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    if isinstance(camera, EmccdModel):
        variance = torch.zeros(())
    else:
        variance = (camera.variance_adu2 / camera.gain_adu_per_e**2).double()
    if variance.ndim:
        variance = variance[rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
    return torch.where(inside, variance.double(), _NO_LIGHT)
