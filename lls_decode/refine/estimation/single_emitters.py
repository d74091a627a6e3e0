"""Fits of isolated emitters in runs of frames, and measurements of their light in neighbouring frames.

As in Speiser et al. (2021, Methods, "Estimating simulation parameters"): single-emitter maximum-likelihood fits,
filtered by how well they describe their pixels, so that overlapping spots are left out.

Shape letters: ``T`` frames of a run, ``Y X`` pixels, ``S`` side of a region of interest, ``E`` fits.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lls_decode.config import GaussianSheet, Geometry, Illumination, PixelSize
from lls_decode.optics import PsfModel
from lls_decode.refine.crlb import Spots, expected_and_slopes, free_parameters
from lls_decode.refine.estimation.candidates import CANDIDATE_SNR, Candidates, Detector, Finder, crop_stamps
from lls_decode.refine.mle import SpotFits, fit_spots

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MISFIT_LIMIT = 3.0
"""Largest distance, in standard deviations, of a fit's chi-square above its expectation; other fits are rejected. More
than 98 % of single emitters are below this limit (`tests/refine/test_prefit.py`)."""
NEIGHBOUR = "a neighbour within"
_BORDER, _ENOUGH = "at the border", "not fitted, enough others"
NOT_FITTED = (NEIGHBOUR, _BORDER, _ENOUGH)
"""Beginnings of the reasons why a spot is not fitted; all other reasons are those of failed fits."""
MISFIT = "the pixels do not look like one emitter"
STEPS = (-2, -1, 1, 2)
"""Offsets of the neighbouring frames in which the light of an emitter is measured."""
PRESENT = 0.5
"""Share of an emitter's light above which the emitter counts as on in a neighbouring frame."""
_PSF_ERROR = 0.05
"""Assumed relative error of the PSF in each pixel."""
_FITS_A_RUN = 600
_LARGEST_MOVE_PX = 1.5
_LEAST_SNR = 5.0
_Z_MARGIN = 0.03
"""Share of the PSF's z range at either end in which fits are rejected, because the end of the range may have stopped
them."""
_EXAMPLES = 8


@dataclass(frozen=True)
class Microscope:
    """Properties of the recording that are known before any fit."""

    detector: Detector
    psf: PsfModel
    finder: Finder
    pixel: PixelSize
    illumination: Illumination
    steps_nm: tuple[float, float, float]
    """Movement of the image plane along x, y, z between consecutive frames of a run."""
    top_adu: float
    """Counts at which the camera saturates."""


@dataclass(frozen=True)
class Fits:
    """Accepted fits of single emitters; all fields (E,), or (E, 4) for the frames of `STEPS`."""

    run: npt.NDArray[np.int64]
    frame: npt.NDArray[np.int64]
    """Index of the frame within the run."""
    x_px: Floats
    y_px: Floats
    z_nm: Floats
    photons: Floats
    photons_sig: Floats
    bg: Floats
    """Background in photons per pixel."""
    bg_sig: Floats
    excitation: Floats
    """Relative excitation at the fitted z, from the profile of the configured light sheet."""
    around: Floats
    """(E, 4): measured over expected light at the emitter's position in the neighbouring frames. NaN where there is no
    such frame, or where the emitter's z is outside the range of the PSF."""
    around_sig: Floats
    """(E, 4): standard deviation of ``around``."""
    elsewhere: Floats
    """Measured over expected light at a random position in the same frame, to estimate the light found by chance."""

    def __len__(self) -> int:
        return len(self.run)

    def select(self, keep: Bools) -> Self:
        """Return the fits selected by a mask."""
        return type(self)(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})

    @classmethod
    def join(cls, parts: "Sequence[Fits]") -> "Fits":
        """Concatenate several sets of fits."""
        return cls(**{field.name: np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(cls)})


@dataclass(frozen=True)
class RunFits:
    """Results from one run of frames."""

    fits: Fits
    candidates: Candidates
    """All candidates that are bright enough, including those with neighbours or at the border."""
    num_frames: int
    dropped: Counter[str]
    """Number of rejected candidates, by reason."""
    misfit: Floats
    """Chi-square of every converged fit minus its expectation, in standard deviations."""
    chi_square: Floats
    """Chi-square per degree of freedom of every converged fit."""
    examples: tuple[tuple[str, Floats], ...]
    """A few regions of interest in photons, each with the reason why it was rejected (empty: kept)."""


def fit_run(scope: Microscope, adu_TYX: npt.NDArray[np.generic], *, run: int, rng: np.random.Generator) -> RunFits:
    """Find, fit and assess the emitters of consecutive frames."""
    detector, half = scope.detector, scope.finder.half
    units = detector.to_units(adu_TYX)
    maxima = scope.finder.find(units, detector.variance_YX)
    alone = maxima.nearest_px() > scope.finder.apart_px
    bright = maxima.snr > CANDIDATE_SNR
    candidates, alone = maxima.select(bright), alone[bright]
    reasons = np.full(len(candidates), "", dtype=object)
    reasons[~alone] = f"{NEIGHBOUR} {scope.finder.apart_px} px"
    reasons[~_inside(candidates, units.shape, half)] = _BORDER
    fitted = np.flatnonzero(reasons == "")
    if len(fitted) > _FITS_A_RUN:
        chosen = np.sort(rng.choice(fitted, _FITS_A_RUN, replace=False))
        reasons[np.setdiff1d(fitted, chosen)] = _ENOUGH
        fitted = chosen
    some = candidates.select(fitted)
    frame, row, column = (torch.from_numpy(values) for values in (some.frame, some.row, some.column))
    rois, noise = (
        crop_stamps(units, frame, row, column, half),
        crop_stamps(detector.variance_YX[None], 0 * frame, row, column, half),
    )
    found = fit_spots(scope.psf, rois, variance=noise)
    chi_square, misfit = goodness(scope, found.spots, rois, noise)
    adu = crop_stamps(torch.from_numpy(adu_TYX.astype(np.float32)), frame, row, column, half)
    reasons[fitted] = _assess(scope, found, misfit, (adu >= scope.top_adu).any(dim=2).any(dim=1).numpy())
    keep = reasons[fitted] == ""
    fits = _collect(scope, units, found, some, keep, run=run, rng=rng)
    converged = found.converged.numpy()
    return RunFits(
        fits,
        candidates,
        len(units),
        Counter(str(reason) for reason in reasons if reason),
        misfit[converged],
        chi_square[converged],
        _examples(scope, units, candidates, reasons),
    )


def goodness(scope: Microscope, spots: Spots, rois_ESS: Tensor, noise_ESS: Tensor) -> tuple[Floats, Floats]:
    """Return chi-square per degree of freedom, and its excess over the expectation in standard deviations; each (E,).

    A pixel's squared residual divided by its variance V = mean + read noise has the mean 1 and the variance
    2 + kurtosis * mean / V^2. Each fitted parameter removes one degree of freedom. For the excess, V also includes the
    uncertainty of the PSF; otherwise a slightly wrong PSF would reject very bright emitters.
    """
    mean, _ = expected_and_slopes(scope.psf, spots.stack(), height=rois_ESS.shape[1], width=rois_ESS.shape[2])
    variance = mean + noise_ESS
    residual = (rois_ESS - mean).square()
    uncertain = variance + (_PSF_ERROR * (mean - spots.bg[:, None, None])).square()
    pixels = rois_ESS.shape[1] * rois_ESS.shape[2]
    freedom = pixels - len(free_parameters(scope.psf))
    spread = (2 + scope.detector.kurtosis * mean / variance.square()).sum(dim=(1, 2)) * (freedom / pixels)
    chi_square, tolerant = ((residual / values).sum(dim=(1, 2)) for values in (variance, uncertain))
    return (chi_square / freedom).numpy(), ((tolerant - freedom) / spread.sqrt()).numpy()


def _assess(scope: Microscope, found: SpotFits, misfit: Floats, saturated: Bools) -> npt.NDArray[np.object_]:
    """Return the reason why each fit is rejected, or an empty text for a kept fit; later checks take precedence."""
    spots, half = found.spots, scope.finder.half
    move = torch.maximum((spots.x_px - half).abs(), (spots.y_px - half).abs()).numpy()
    snr = (spots.photons / found.sigmas.photons).numpy()
    reasons = np.full(len(misfit), "", dtype=object)
    reasons[misfit > MISFIT_LIMIT] = MISFIT
    if scope.psf.z_range_nm is not None:
        low, high = scope.psf.z_range_nm
        margin = _Z_MARGIN * (high - low)
        z = spots.z_nm.numpy()
        reasons[(z < low + margin) | (z > high - margin)] = "z at the limit of the PSF"
    reasons[~(snr > _LEAST_SNR)] = "too dim to be fitted"
    reasons[move > _LARGEST_MOVE_PX] = "the fit left its spot"
    reasons[~found.converged.numpy()] = "the fit did not converge"
    reasons[saturated] = "saturated"
    return reasons


def _inside(found: Candidates, shape: Sequence[int], half: int) -> Bools:
    _, Y, X = shape
    return np.asarray((found.row >= half) & (found.row < Y - half) & (found.column >= half) & (found.column < X - half))


def _collect(
    scope: Microscope,
    units: Tensor,
    found: SpotFits,
    some: Candidates,
    keep: Bools,
    *,
    run: int,
    rng: np.random.Generator,
) -> Fits:
    """Return the kept fits in photons and frame pixels, with their light in the neighbouring frames."""
    half, unit = scope.finder.half, scope.detector.photons_per_unit
    some = some.select(keep)
    spots, sigmas = (Spots.unstack(values.stack()[torch.from_numpy(keep)]) for values in (found.spots, found.sigmas))
    frame = torch.from_numpy(some.frame)
    x_px = spots.x_px + torch.from_numpy(some.column) - half
    y_px = spots.y_px + torch.from_numpy(some.row) - half
    here = Spots(x_px, y_px, spots.z_nm, spots.photons, spots.bg)
    shares, sigma = zip(*(light_at(scope, units, here, frame, step=step) for step in STEPS), strict=True)
    elsewhere, _ = light_at(scope, units, _displaced(here, units.shape, half, rng), frame, step=0)
    return Fits(
        run=np.full(len(some), run),
        frame=some.frame,
        x_px=x_px.numpy(),
        y_px=y_px.numpy(),
        z_nm=spots.z_nm.numpy(),
        photons=spots.photons.numpy() * unit,
        photons_sig=sigmas.photons.numpy() * unit,
        bg=spots.bg.numpy() * unit,
        bg_sig=sigmas.bg.numpy() * unit,
        excitation=excitation(scope.illumination, spots.z_nm).numpy(),
        around=torch.stack(shares, dim=1).numpy(),
        around_sig=torch.stack(sigma, dim=1).numpy(),
        elsewhere=elsewhere.numpy(),
    )


def light_at(scope: Microscope, units_TYX: Tensor, spots: Spots, frame: Tensor, *, step: int) -> tuple[Tensor, Tensor]:
    """Measure the light of emitters ``step`` frames later; return measured over expected light, and its sigma.

    A weighted least-squares fit gives the amplitude of the PSF at the emitter's known position above a free constant
    background. The fit is linear and therefore unbiased, even for an emitter that is off or only partly on.
    """
    half = scope.finder.half
    size, (T, Y, X) = 2 * half + 1, units_TYX.shape
    dx, dy, dz = scope.steps_nm
    x, y = spots.x_px - step * dx / scope.pixel.x_nm, spots.y_px - step * dy / scope.pixel.y_nm
    z = spots.z_nm - step * dz
    column, row, there = x.round().to(torch.int64), y.round().to(torch.int64), frame + step
    seen = (there >= 0) & (there < T) & (row >= half) & (row < Y - half) & (column >= half) & (column < X - half)
    if scope.psf.z_range_nm is not None:
        seen &= (z >= scope.psf.z_range_nm[0]) & (z <= scope.psf.z_range_nm[1])
    there, row, column = there.clamp(0, T - 1), row.clamp(half, Y - 1 - half), column.clamp(half, X - 1 - half)
    rois = crop_stamps(units_TYX, there, row, column, half).to(torch.float64)
    noise = crop_stamps(scope.detector.variance_YX[None], 0 * there, row, column, half)
    light = spots.photons * excitation(scope.illumination, z) / excitation(scope.illumination, spots.z_nm)
    expected = light[:, None, None] * scope.psf.shares(x - column + half, y - row + half, z, height=size, width=size)
    weight = 1 / (expected.clamp_min(0) + spots.bg[:, None, None] + noise)
    total, mean, mean_data = (
        (weight * values).sum(dim=(1, 2)) for values in (torch.ones_like(expected), expected, rois)
    )
    square, product = (weight * expected.square()).sum(dim=(1, 2)), (weight * expected * rois).sum(dim=(1, 2))
    information = square - mean.square() / total
    share = (product - mean * mean_data / total) / information
    return torch.where(seen, share, torch.nan), information.clamp_min(1e-12).rsqrt()


def _displaced(spots: Spots, shape: Sequence[int], half: int, rng: np.random.Generator) -> Spots:
    """Move the emitters to random positions in the frame, or outside it if the new position is too close to the old."""
    _, Y, X = shape
    x, y = (torch.from_numpy(rng.uniform(half, size - 1 - half, len(spots.x_px))) for size in (X, Y))
    near = torch.maximum((x - spots.x_px).abs(), (y - spots.y_px).abs()) <= 2 * half
    return Spots(torch.where(near, -10.0 * X, x), y, spots.z_nm, spots.photons, spots.bg)


def excitation(illumination: Illumination, z_nm: Tensor) -> Tensor:
    """Return the excitation at z relative to the centre of the light sheet."""
    if isinstance(illumination, GaussianSheet):
        return torch.exp(-0.5 * (z_nm / illumination.sigma_nm) ** 2)
    return torch.ones_like(z_nm)


def frame_steps_nm(geometry: Geometry | None) -> tuple[float, float, float]:
    """Return the movement of the image plane along x, y, z between consecutive planes of a sweep, nm."""
    if geometry is None:
        return 0.0, 0.0, 0.0
    along, axial = geometry.lateral_step_nm, geometry.axial_step_nm
    return (along, 0.0, axial) if geometry.propagation_axis == "x" else (0.0, along, axial)


def _examples(
    scope: Microscope, units: Tensor, candidates: Candidates, reasons: npt.NDArray[np.object_]
) -> tuple[tuple[str, Floats], ...]:
    """Return the first few regions of interest for each rejection reason; spots at the border have none."""
    half, shown = scope.finder.half, Counter[str]()
    examples = []
    for index in np.flatnonzero(_inside(candidates, units.shape, half)):
        reason = str(reasons[index])
        if shown[reason] < _EXAMPLES:
            shown[reason] += 1
            t, y, x = int(candidates.frame[index]), int(candidates.row[index]), int(candidates.column[index])
            roi = units[t, y - half : y + half + 1, x - half : x + half + 1] * scope.detector.photons_per_unit
            examples.append((reason, roi.numpy().astype(np.float64)))
    return tuple(examples)
