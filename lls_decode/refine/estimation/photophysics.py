"""Estimators of photons, background, on-time and depth from single-emitter fits, for simulating training data.

Only some emitters can be fitted. The docstring of each estimator says how it corrects for this selection.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lls_decode.optics import PsfModel
from lls_decode.refine.crlb import Spots, crlb
from lls_decode.refine.estimation.single_emitters import PRESENT, Fits
from lls_decode.robust import robust_sd

Floats = npt.NDArray[np.float64]

ENOUGH = 20
"""Smallest number of fits for a mean and a standard deviation."""
_SURE = 0.12
"""Largest standard deviation of an emitter's relative light in a frame for estimates of the on-time. The threshold
`PRESENT` is then four standard deviations from both fully on and off."""
_SURE_ENOUGH = 0.25
"""Same limit for estimates of the photons, where rare errors matter less than excluding dim emitters."""
_FOLLOWED = 30
"""Smallest number of observations for an estimate of the on-time."""
_FULLY_EXCITED = 0.5
"""Smallest relative excitation at which emitters are used to estimate the photons at full excitation."""
_CLIP = 4.0
"""Distance from the median, in robust standard deviations, beyond which values are discarded as overlaps or dirt."""
_LARGEST_ERROR = 0.35
"""Largest relative standard error at which an estimated on-time is used."""
_UNSHARP = 4.0
"""Factor by which the z precision may exceed the best precision over all z for z to count as determined."""


@dataclass(frozen=True)
class Photons:
    """Flux of an emitter that is on for a whole frame at full excitation, photons per frame."""

    mean: float
    sd: float
    """Standard deviation between emitters, with the scatter of the fits subtracted."""
    standard_error: float
    num_fits: int
    fully_on: bool
    """True: only fits are used whose emitter is also on in the previous and the next frame. False: all fits are used,
    including frames in which an emitter was only partly on, so the mean is too low for on-times of few frames."""


@dataclass(frozen=True)
class Background:
    """Background at the emitters, photons per pixel: median, and 5 % and 95 % quantiles corrected for fit scatter."""

    low: float
    median: float
    high: float
    num_fits: int


@dataclass(frozen=True)
class OnTime:
    """Time that an emitter stays on."""

    frames: float | None
    """Mean on-time in frames; None: it cannot be estimated from the movie."""
    standard_error: float | None
    stays: float | None
    """Share of emitters that are still on one frame later."""
    num_at_risk: int
    """Number of observations of whether an emitter is still on one frame later."""
    by_chance: float
    """Share of random positions where an emitter appears to be on."""


@dataclass(frozen=True)
class Depth:
    """z ranges of PSF and emitters, nm; all None for a PSF that does not depend on z."""

    told_nm: tuple[float, float] | None
    """Range in which the PSF determines z: the Cramer-Rao bound of z is within a factor of four of its best value."""
    fitted_nm: tuple[float, float] | None
    """2 % and 98 % quantiles of the fitted z."""


def is_fully_on(fits: Fits) -> npt.NDArray[np.bool_]:
    """Return whether each fitted emitter is also on in the previous and the next frame."""
    beside = slice(1, 3)
    sure = fits.around_sig[:, beside] < _SURE_ENOUGH
    return np.asarray(((fits.around[:, beside] > PRESENT) & sure).all(axis=1))


def estimate_photons(fits: Fits, *, whole_frames: bool) -> Photons:
    """Estimate the mean and spread of the photons per frame.

    An emitter that is on in the previous and the next frame is on for the whole of the frame between them. Its light is
    divided by the excitation at its z. Emitters too dim to be found are missing, so the mean is too high when the
    distribution extends down to the noise.
    """
    excited = fits.excitation > _FULLY_EXCITED
    full = excited & is_fully_on(fits)
    fully_on = whole_frames or int(full.sum()) >= ENOUGH
    chosen = excited if whole_frames or not fully_on else full
    if not chosen.any():
        chosen = np.ones_like(excited)
    flux, sigma = (values[chosen] / fits.excitation[chosen] for values in (fits.photons, fits.photons_sig))
    near = _near_median(flux)
    flux, sigma = flux[near], sigma[near]
    between = max(float(flux.var() - np.mean(sigma**2)), 0.0)
    error = float(flux.std() / math.sqrt(len(flux)))
    return Photons(float(flux.mean()), math.sqrt(between), error, len(flux), fully_on)


def estimate_background(fits: Fits) -> Background:
    """Estimate the range of the background under the emitters."""
    near = _near_median(fits.bg)
    bg, sigma = fits.bg[near], fits.bg_sig[near]
    median = float(np.median(bg))
    shrink = math.sqrt(max(0.0, 1 - float(np.mean(sigma**2)) / max(float(bg.var()), 1e-12)))
    low, high = (max(0.0, float(value)) for value in np.quantile(median + shrink * (bg - median), [0.05, 0.95]))
    return Background(low, max(median, 0.0), high, len(bg))


def estimate_on_time(fits: Fits, *, whole_frames: bool) -> OnTime:
    """Estimate the mean on-time from the share q of emitters that are still on one frame later.

    An exponential on-time has no memory. Take the emitters that are on throughout one frame and for more than a share s
    of the next frame: a share q = exp(-1 / on-time) of them is on for more than s of the frame after that, whatever s
    is. The estimate -1 / ln q is therefore not biased by partly lit frames, missed faint frames or the ends of a run.
    Emitters are followed both forwards and backwards in time, since the process is symmetric.

    Where emitters are on for whole frames only, each frame may be the last, and the mean is 1 / (1 - q). Positions that
    are bright by chance are corrected for: q = (seen - chance) / (1 - chance).
    """
    on = np.where(np.isnan(fits.around) | (fits.around_sig > _SURE), np.nan, fits.around > PRESENT)
    if whole_frames:
        outcome = np.concatenate([on[:, 1], on[:, 2]])
    else:
        throughout = (on[:, 1] == 1) & (on[:, 2] == 1)
        outcome = np.concatenate([on[throughout, 0], on[throughout, 3]])
    outcome = outcome[~np.isnan(outcome)]
    elsewhere = fits.elsewhere[~np.isnan(fits.elsewhere)]
    chance = float(np.mean(elsewhere > PRESENT)) if len(elsewhere) else 0.0
    at_risk = len(outcome)
    if not at_risk or chance > 0.5:
        return OnTime(None, None, None, at_risk, chance)
    seen = float(outcome.mean())
    stays = (seen - chance) / (1 - chance)
    error = math.sqrt(max(seen * (1 - seen), 1 / at_risk) / at_risk) / (1 - chance)
    frames = _mean_on_time(stays, whole_frames=whole_frames)
    if frames is None:
        return OnTime(None, None, stays, at_risk, chance)
    slope = frames**2 if whole_frames else frames**2 / stays
    known = at_risk >= _FOLLOWED and slope * error <= _LARGEST_ERROR * frames
    return OnTime(frames if known else None, slope * error if known else None, stays, at_risk, chance)


def _mean_on_time(stays: float, *, whole_frames: bool) -> float | None:
    if not 0 < stays < 1:
        return None
    return 1 / (1 - stays) if whole_frames else -1 / math.log(stays)


def estimate_depth(fits: Fits, psf: PsfModel, *, photons: float, bg: float, size: int) -> Depth:
    """Estimate the z range in which the PSF determines z for the given photons, and the z range of the fits."""
    if psf.z_range_nm is None:
        return Depth(None, None)
    z = torch.linspace(*psf.z_range_nm, 201, dtype=torch.float64)[2:-2]
    one = torch.ones_like(z)
    middle = (size - 1) / 2 * one
    sigma = crlb(psf, Spots(middle, middle, z, photons * one, max(bg, 0.1) * one), height=size, width=size).z_nm.numpy()
    best = int(np.argmin(sigma))
    sharp = sigma <= _UNSHARP * sigma[best]
    first = best - int(np.argmin(np.append(sharp[best::-1], False))) + 1
    last = best + int(np.argmin(np.append(sharp[best:], False))) - 1
    low, high = (float(value) for value in np.quantile(fits.z_nm, [0.02, 0.98]))
    return Depth((round(float(z[first])), round(float(z[last]))), (low, high))


def _near_median(values: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray(np.abs(values - np.median(values)) <= _CLIP * max(robust_sd(values), 1e-9))
