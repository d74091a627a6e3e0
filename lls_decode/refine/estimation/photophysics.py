"""From single-emitter fits to the statistics that training simulates: photons, background, on-time, depth.

Each estimator says how it is corrected for the choice of emitters that could be fitted.
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
"""Fits from which a mean and a standard deviation are taken."""
_SURE = 0.12
"""On-times are taken where the share of an emitter's light in a frame has a smaller standard deviation than this: the
limit of `PRESENT` is then four of them from being on, and from being off."""
_SURE_ENOUGH = 0.25
"""The same for photons, where a rare error matters less than to leave out dim emitters."""
_FOLLOWED = 30
"""Emitters that must be followed for an on-time."""
_FULLY_EXCITED = 0.5
"""Emitters in a dimmer part of the light sheet do not tell the photons at full excitation."""
_CLIP = 4.0
"""Values further from the median, in robust standard deviations, are left out as overlapping pairs and dirt."""
_LARGEST_ERROR = 0.35
"""An on-time that is known worse than this (relative standard error) is not told."""
_UNSHARP = 4.0
"""z is told where its best precision is within this factor of the best of all z."""


@dataclass(frozen=True)
class Photons:
    """Flux of an emitter that is on for a whole frame at full excitation, photons per frame."""

    mean: float
    sd: float
    """Between emitters: what the fits scatter by themselves is taken off."""
    standard_error: float
    num_fits: int
    fully_on: bool
    """True: from frames in whose previous and next frame the emitter is on too. False: from all fits, frames in which
    an emitter was on only partly among them, so that the mean is too low for on-times of few frames."""


@dataclass(frozen=True)
class Background:
    """Background at the emitters, photons per pixel; quantiles 0.05 and 0.95 less the scatter of the fits."""

    low: float
    median: float
    high: float
    num_fits: int


@dataclass(frozen=True)
class OnTime:
    """How long an emitter stays on."""

    frames: float | None
    """Mean on-time; None: the movie does not tell it."""
    standard_error: float | None
    stays: float | None
    """Share of the emitters that are still on one frame later."""
    num_at_risk: int
    by_chance: float
    """Share of arbitrary places that look as if an emitter were on."""


@dataclass(frozen=True)
class Depth:
    """Where in z emitters are, nm; all None for a PSF that is the same at every z."""

    told_nm: tuple[float, float] | None
    """Where the PSF tells z: its Cramer-Rao bound is within a factor of four of the best one."""
    fitted_nm: tuple[float, float] | None
    """Quantiles 0.02 and 0.98 of the fits."""


def is_fully_on(fits: Fits) -> npt.NDArray[np.bool_]:
    """Whether each emitter is on in the frames before and after, too."""
    beside = slice(1, 3)
    sure = fits.around_sig[:, beside] < _SURE_ENOUGH
    return np.asarray(((fits.around[:, beside] > PRESENT) & sure).all(axis=1))


def estimate_photons(fits: Fits, *, whole_frames: bool) -> Photons:
    """Mean and spread of the flux.

    An emitter that is on in the frames before and after is on for the whole of its own. Its light is divided by the
    excitation at its z. Emitters too dim to be found are missing, so a distribution that reaches down to the noise
    comes out too bright.
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
    """Range of the background under the emitters."""
    near = _near_median(fits.bg)
    bg, sigma = fits.bg[near], fits.bg_sig[near]
    median = float(np.median(bg))
    shrink = math.sqrt(max(0.0, 1 - float(np.mean(sigma**2)) / max(float(bg.var()), 1e-12)))
    low, high = (max(0.0, float(value)) for value in np.quantile(median + shrink * (bg - median), [0.05, 0.95]))
    return Background(low, max(median, 0.0), high, len(bg))


def estimate_on_time(fits: Fits, *, whole_frames: bool) -> OnTime:
    """Mean on-time from the share q of emitters that are still on one frame later.

    An exponential on-time has no memory: of the emitters that are on throughout a frame and for more than a share s of
    the next one, exp(-1 / on-time) are on for more than s of the one after it, whatever s is. So neither frames that
    are on partly, nor faint ones that are missed, nor the ends of a run shift the estimate -1 / ln q. It is taken
    forwards and, since the process is the same backwards, backwards. Where emitters are on for whole frames, each
    frame may be the last, and the mean is 1 / (1 - q). Light that is there by chance is taken off:
    q = (seen - chance) / (1 - chance).
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
    """Where the PSF tells z for an emitter of these photons, and where the fits lie."""
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
