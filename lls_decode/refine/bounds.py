"""Cramer-Rao bounds of emitters at their positions in a frame, with their local background and read noise.

Shape letters: ``E`` emitters, ``Y X`` pixels of a region of interest.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lls_decode.config import Camera, PixelSize, Psf, ShotNoise
from lls_decode.emitters import Emitters
from lls_decode.errors import ConfigError
from lls_decode.optics import CameraModel, build_camera, build_psf
from lls_decode.refine.crlb import Spots, crlb

Floats = npt.NDArray[np.float64]

_PIXELS_AT_ONCE = 200_000
_NO_LIGHT = 1e15
"""Variance assigned to pixels beyond the frame, so that they carry no information."""


@dataclass(frozen=True)
class Bounds:
    """Smallest standard deviations of unbiased estimates from a single frame; all (E,)."""

    x_nm: Floats
    y_nm: Floats
    z_nm: Floats
    """Bound of z; NaN for a PSF that does not depend on z."""
    photons: Floats


def with_bounds(truth: Emitters, psf: Psf, *, camera: Camera, pixel: PixelSize) -> Emitters:
    """Return the true emitters with their sigmas replaced by Cramer-Rao bounds, in nm and photons.

    The bound assumes that each emitter is alone on an infinite chip with a uniform background. Neighbours and the edges
    of the frame only make the precision worse. The bound of z is NaN for a PSF that does not depend on z. Bounds are
    infinite where the parameters cannot be distinguished.

    Raises
    ------
    ConfigError
        Photons or background of some emitters are unknown, or the camera has per-pixel maps.
    """
    for name in ("photons", "bg"):
        unknown = ~np.isfinite(getattr(truth, name))
        if unknown.any():
            raise ConfigError(
                f"{int(unknown.sum())} of {len(truth)} rows of the truth have no {name}, which the Cramer-Rao bound "
                "needs; add the column" + (", or give the background (--bg)." if name == "bg" else ".")
            )
    maps = camera.map_paths()
    if maps:
        raise ConfigError(
            "The camera has per-pixel maps, but the Cramer-Rao bound of a truth assumes identical pixels; give "
            f"numbers for {' and '.join(f'camera.{name}' for name in maps)} (the medians of the maps)."
        )
    somewhere = replace(truth, z_nm=np.where(np.isfinite(truth.z_nm), truth.z_nm, 0.0))
    bounds = emitter_bounds(somewhere, psf, pixel=pixel, camera=build_camera(camera, 1, 1), field=None)
    return replace(truth, x_sig=bounds.x_nm, y_sig=bounds.y_nm, z_sig=bounds.z_nm, phot_sig=bounds.photons)


def emitter_bounds(
    emitters: Emitters, psf: Psf, *, pixel: PixelSize, camera: CameraModel, field: tuple[int, int] | None
) -> Bounds:
    """Return the Cramer-Rao bounds of emitters with known photons and ``bg``, ignoring other emitters nearby.

    ``field`` is the number of rows and columns of the frame; pixels beyond it carry no information. With None the frame
    is infinite and its pixels are identical. The amplification of an EMCCD doubles the variance of the light, so an
    EMCCD is treated as a camera that detects half the electrons (`lls_decode.config.ShotNoise`).
    """
    model = build_psf(psf, pixel=pixel)
    radius = model.radius_px((float(np.min(emitters.z_nm)), float(np.max(emitters.z_nm)))) if len(emitters) else 0
    side = 2 * radius + 1
    noise = camera.shot_noise
    per_photon, dark = noise.units_per_photon, noise.dark
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
        variance = _read_variance(noise, row, column, side, field)
        parts.append(crlb(model, spots, height=side, width=side, variance=variance).stack())
    x, y, z, photons, _ = torch.cat(parts).numpy().T
    return Bounds(x * pixel.x_nm, y * pixel.y_nm, z, photons / per_photon)


def _read_variance(noise: ShotNoise, row: Tensor, column: Tensor, side: int, field: tuple[int, int] | None) -> Tensor:
    """Return the read noise variance in shot units squared: (E, Y, X) per region of interest, or () for all pixels."""
    variance = torch.as_tensor(noise.read_variance, dtype=torch.float32).double()
    if field is None:
        return variance
    rows, columns = (start[:, None] + torch.arange(side) for start in (row, column))
    inside_y, inside_x = ((at >= 0) & (at < size) for at, size in zip((rows, columns), field, strict=True))
    if variance.ndim:
        rows, columns = (at.clamp(0, size - 1) for at, size in zip((rows, columns), field, strict=True))
        variance = variance[rows[:, :, None], columns[:, None, :]]
    return torch.where(inside_y[:, :, None] & inside_x[:, None, :], variance, _NO_LIGHT)
