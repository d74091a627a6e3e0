"""Whether a movie can be used for a prefit: frames that the camera could measure, spots enough that stand alone."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.config import Camera
from lls_decode.errors import ConfigError, InputError
from lls_decode.frames import FrameSource
from lls_decode.refine.estimation.single_emitters import MISFIT, NEIGHBOUR, NOT_FITTED, Fits, Microscope, RunFits

LEAST_FITS = 10
"""Fewer fits that stand alone are no statistics."""
ENOUGH_FITS = 30
"""With fewer fits than this the statistics are rough, which a note says."""
_LEAST_CANDIDATES = 10
_CROWDED = 0.5
"""Share of the candidates with neighbours from which a movie is called too dense."""
_SATURATED_SHARE = 0.01
"""Share of a run's pixels at the camera's end above which it is refused."""
_FLAT_TOP = 4
_LEAST_KEPT = 0.05
"""Share of the spots away from the border that must stand alone and look like one emitter."""


@dataclass(frozen=True)
class Quality:
    """How well single emitters describe what was fitted."""

    num_frames: int
    num_candidates: int
    num_fits: int
    num_kept: int
    dropped: dict[str, int]
    """Candidates that were left out, by reason."""
    chi_square: float
    """Median chi-square per degree of freedom of the fits that are kept or fail by it; 1 is perfect."""


def check_saturation(adu_TYX: npt.NDArray[Any], frames_T2: npt.NDArray[np.int64]) -> float:
    """Counts at which the camera is at its end: 255, 4095, 65535, ... where several pixels of a frame have it.

    Raises
    ------
    InputError
        Many pixels are there.
    """
    top = float(adu_TYX.max())
    counts = (adu_TYX == adu_TYX.max()).sum(axis=(1, 2))
    if top < 255 or (int(top) + 1) & int(top) or counts.max() < _FLAT_TOP:
        return math.inf
    worst = int(counts.argmax())
    share = counts[worst] / adu_TYX[0].size
    if share > _SATURATED_SHARE:
        volume, plane = frames_T2[worst]
        raise InputError(
            f"Volume {volume}, plane {plane} has {share:.0%} of its pixels at {top:g} counts, the end of the camera's "
            "range, where light cannot be measured; use a part of the movie that is not saturated."
        )
    return top


def check_offset(scope: Microscope, adu_TYX: npt.NDArray[Any], camera: Camera) -> None:
    """Refuse a camera that makes dark pixels more negative than its noise does."""
    units = scope.detector.to_units(adu_TYX)
    noise = math.sqrt(float(scope.detector.variance_YX.median()) + 1)
    middle = float(units.median())
    if middle < -noise:
        raise ConfigError(
            f"With this camera half of the pixels hold less than {middle * scope.detector.photons_per_unit:.3g} "
            f"photons (median count {np.median(adu_TYX):g}), expected a background above 0; correct "
            f"camera.{camera.DARK_LEVEL} or the gain."
        )


def assess_fits(runs: Sequence[RunFits], fits: Fits) -> Quality:
    """Count what was found, fitted and left out."""
    dropped: Counter[str] = sum((run.dropped for run in runs), Counter())
    assessed = np.concatenate([run.chi_square for run in runs])
    return Quality(
        num_frames=sum(run.num_frames for run in runs),
        num_candidates=sum(len(run.candidates) for run in runs),
        num_fits=len(assessed),
        num_kept=len(fits),
        dropped=dict(dropped.most_common()),
        chi_square=float(np.median(assessed)) if len(assessed) else math.nan,
    )


def check_enough(source: FrameSource, scope: Microscope, quality: Quality) -> None:
    """Refuse a movie without spots, without lonely spots, or with spots of another shape.

    The advice is for what most spots fail by: neighbours, the PSF, the border, or that there are few of them.
    """
    found, kept, frames = quality.num_candidates, quality.num_kept, quality.num_frames
    if found < _LEAST_CANDIDATES:
        raise InputError(
            f"{source.path}: {found} spots found in {frames} frames, expected at least {_LEAST_CANDIDATES}; check the "
            "camera's offset and gain and the pixel size, or use a part of the movie where molecules blink."
        )
    crowded = sum(count for reason, count in quality.dropped.items() if reason.startswith(NEIGHBOUR))
    misfits = quality.dropped.get(MISFIT, 0)
    if kept >= LEAST_FITS and kept > _LEAST_KEPT * (kept + crowded + misfits):
        return
    density = found / (frames * source.layout.height * source.layout.width * scope.pixel.x_nm * scope.pixel.y_nm * 1e-6)
    if crowded > _CROWDED * found:
        raise InputError(
            f"{source.path} is too dense for the prefit: {kept} of {found} spots stand alone and look like one emitter "
            f"({density:.2g} spots per um2 and frame), expected {LEAST_FITS} and {_LEAST_KEPT:.0%} of them; use a "
            "sparser part of the movie (later frames), or set emitters and background in a training configuration by "
            "hand."
        )
    reasons = ", ".join(f"{count} {reason}" for reason, count in quality.dropped.items())
    raise InputError(
        f"{source.path}: {kept} of {found} spots in {frames} frames could be used ({reasons}), expected at least "
        f"{LEAST_FITS} and {_LEAST_KEPT:.0%} of them; {_remedy(quality, source.layout.num_frames)}."
    )


def _remedy(quality: Quality, frames_there: int) -> str:
    """What to do about too few fits: most fits failed, or there were few of them."""
    failed = sum(count for reason, count in quality.dropped.items() if not reason.startswith(NOT_FITTED))
    if failed >= quality.num_kept:
        return "check that PSF, pixel size and the camera's gain are those of this movie"
    if frames_there > quality.num_frames:
        return "use a part of the movie where more molecules blink"
    return "give more frames: a longer movie, or a larger field"


def remark_on_number(quality: Quality) -> str | None:
    """Return what a user should know of statistics from few fits; None where there are enough."""
    if quality.num_kept >= ENOUGH_FITS:
        return None
    error = 100 / math.sqrt(quality.num_kept)
    return (
        f"warning: only {quality.num_kept} emitters stand alone and look like one, fewer than {ENOUGH_FITS}: photons, "
        f"background and density are rough (density within about {error:.0f} %); more frames would tell them better"
    )
