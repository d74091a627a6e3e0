"""Estimation of the emitter density, corrected for emitters that the finder misses.

Emitters are missed when spots overlap or are too dim. The share that is found is measured by running the same finder on
simulated frames with a known density of the estimated emitters, background and camera.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lls_decode.config import EmitterConfig, Psf
from lls_decode.optics import expected_photons
from lls_decode.optics.psf import stamp_radius_px
from lls_decode.refine.estimation.candidates import CANDIDATE_SNR, Candidates
from lls_decode.refine.estimation.single_emitters import Microscope, RunFits, excitation

_TRIED = (0.7, 1.0, 1.3, 1.7, 2.2, 3.0, 4.0)
"""Simulated densities, in units of the density of candidates."""
_SPOTS_TRIED = 1500
_MOST_FRAMES, _LARGEST_FIELD_PX = 200, 96
_LEAST_RESPONSE = 0.4
"""Smallest slope of log candidates over log emitters at which candidates still determine the density."""


@dataclass(frozen=True)
class Density:
    """Density of active emitters per square micrometre and frame."""

    per_um2: float
    """Mean density over the field, corrected for missed emitters."""
    local_per_um2: float
    """Density around a typical emitter: the mean over tiles, weighted by the number of emitters in each. It exceeds
    ``per_um2`` where emitters occupy only part of the field."""
    candidates_per_um2: float
    """Density of the spots that were found, including overlapping ones."""
    found_share: float
    """Number of candidates per emitter at this density, from simulation."""
    saturated: bool
    """Whether more emitters would hardly give more candidates, so that the true density may be higher."""


def estimate_density(
    scope: Microscope,
    runs: Sequence[RunFits],
    *,
    shape: tuple[int, int],
    tile_px: int,
    psf: Psf,
    emitters: EmitterConfig,
    background: tuple[float, float],
    seed: int,
) -> Density:
    """Estimate the density of emitters in frames of ``shape`` (y, x).

    ``emitters`` describes the simulated emitters; its density is unused. Spots within half a region of interest of the
    border are not counted, because some come from emitters beyond the border.
    """
    pixel_um2 = scope.pixel.x_nm * scope.pixel.y_nm * 1e-6
    inner = [_inner(run.candidates, shape, scope.finder.half) for run in runs]
    inner_shape = (shape[0] - 2 * scope.finder.half, shape[1] - 2 * scope.finder.half)
    frames = sum(run.num_frames for run in runs)
    mean = sum(len(candidates) for candidates in inner) / (frames * inner_shape[0] * inner_shape[1] * pixel_um2)
    local = max(_local(inner, inner_shape, tile_px) / pixel_um2, mean)
    tried = np.array(_TRIED) * local
    generator = torch.Generator().manual_seed(seed)
    found = np.array(
        [
            _candidates_of(scope, float(density), shape, psf, emitters, background, generator=generator)
            for density in tried
        ]
    )
    rising = np.maximum.accumulate(found)
    true_local = float(np.interp(local, rising, tried)) if local > rising[0] else float(local * tried[0] / rising[0])
    share = local / true_local
    response = math.log(max(float(np.interp(1.5 * true_local, tried, rising)) / local, 1.0)) / math.log(1.5)
    saturated = local > rising[-1] or response < _LEAST_RESPONSE
    return Density(mean / share, true_local, mean, share, bool(saturated))


def _inner(candidates: Candidates, shape: tuple[int, int], border: int) -> Candidates:
    """Return the candidates away from the border, with rows and columns relative to the inner area."""
    c = replace(candidates, row=candidates.row - border, column=candidates.column - border)
    height, width = shape[0] - 2 * border, shape[1] - 2 * border
    return c.select((c.row >= 0) & (c.row < height) & (c.column >= 0) & (c.column < width))


def _local(inner: Sequence[Candidates], shape: tuple[int, int], tile_px: int) -> float:
    """Return the mean density, per pixel, of the other candidates in the tile of a candidate.

    Leaving out the candidate itself keeps the mean free of bias from random clustering.
    """
    tiles = [max(1, length // tile_px) for length in shape]
    pairs = total = 0.0
    for c in inner:
        rows, columns = c.row * tiles[0] // shape[0], c.column * tiles[1] // shape[1]
        place = (c.frame * tiles[0] + rows) * tiles[1] + columns
        counts = np.bincount(place, minlength=1)
        pairs += float((counts * (counts - 1.0)).sum())
        total += len(c)
    return pairs / max(total, 1.0) * tiles[0] * tiles[1] / (shape[0] * shape[1])


def _candidates_of(
    scope: Microscope,
    density: float,
    shape: tuple[int, int],
    psf: Psf,
    emitters: EmitterConfig,
    background: tuple[float, float],
    *,
    generator: torch.Generator,
) -> float:
    """Simulate emitters at a density and return the candidates found per square micrometre and frame."""
    Y, X = (min(length, _LARGEST_FIELD_PX) for length in shape)
    border = scope.finder.half
    area_um2 = (Y - 2 * border) * (X - 2 * border) * scope.pixel.x_nm * scope.pixel.y_nm * 1e-6
    T = int(np.clip(_SPOTS_TRIED / (density * area_um2), 4, _MOST_FRAMES))
    low, high = background
    bg = low + (high - low) * torch.rand((T, 1, 1), generator=generator)
    light = _frames(scope, density, (T, Y, X), psf, emitters, generator)
    rows, columns = (
        slice((full - part) // 2, (full - part) // 2 + part) for full, part in zip(shape, (Y, X), strict=True)
    )
    camera = scope.detector.camera.crop(rows, columns)
    units = camera.to_photons(camera.to_adu(light + bg, generator)) / scope.detector.photons_per_unit
    found = scope.finder.find(units, scope.detector.variance_YX[rows, columns])
    bright = _inner(found.select(found.snr > CANDIDATE_SNR), (Y, X), border)
    return len(bright) / (T * area_um2)


def _frames(
    scope: Microscope,
    density: float,
    shape: tuple[int, int, int],
    psf: Psf,
    emitters: EmitterConfig,
    generator: torch.Generator,
) -> Tensor:
    """Simulate the expected photons (T, Y, X) of independent frames, including emitters just outside the field."""
    T, Y, X = shape
    pixel, (low, high) = scope.pixel, emitters.z_rendered_nm
    radius = stamp_radius_px(psf, emitters.z_rendered_nm, pixel)
    target_low, target_high = emitters.z_range_nm
    depths = (high - low) / (target_high - target_low) if target_high > target_low else 1.0
    area_um2 = (Y + 2 * radius) * (X + 2 * radius) * pixel.x_nm * pixel.y_nm * 1e-6
    count = int(torch.poisson(torch.tensor(density * depths * area_um2 * T), generator=generator))

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    z_nm = uniform(low, high)
    normal = torch.randn(count, generator=generator)
    flux = (emitters.photons_mean + emitters.photons_sd * normal).clamp_min(0)
    return expected_photons(
        psf,
        frame=torch.randint(T, (count,), generator=generator),
        x_nm=uniform(-0.5 - radius, X - 0.5 + radius) * pixel.x_nm,
        y_nm=uniform(-0.5 - radius, Y - 0.5 + radius) * pixel.y_nm,
        z_nm=z_nm,
        photons=flux * _on_shares(emitters, count, generator) * excitation(scope.illumination, z_nm),
        pixel=pixel,
        radius_px=radius,
        num_frames=T,
        height=Y,
        width=X,
    )


def _on_shares(emitters: EmitterConfig, count: int, generator: torch.Generator) -> Tensor:
    """Draw the share of the frame during which each emitter is on, whether it starts before or within the frame."""
    on_time = emitters.on_time_frames
    if on_time is None or emitters.whole_frames:
        return torch.ones(count)
    begins = torch.rand(count, generator=generator)
    begins = torch.where(torch.rand(count, generator=generator) < on_time / (on_time + 1), 0.0, begins)
    return torch.minimum(torch.empty(count).exponential_(1 / on_time, generator=generator), 1 - begins)
