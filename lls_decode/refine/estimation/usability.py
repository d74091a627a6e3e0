"""Checks that a movie can be used for a prefit: unsaturated frames, a plausible offset, enough isolated spots."""

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
"""Smallest number of fits of isolated emitters for which statistics are computed."""
ENOUGH_FITS = 30
"""Number of fits below which a note warns that the statistics are rough."""
_LEAST_CANDIDATES = 10
_CROWDED = 0.5
"""Share of candidates with neighbours above which a movie is rejected as too dense."""
_SATURATED_SHARE = 0.01
"""Share of saturated pixels in a frame above which the movie is rejected."""
_FLAT_TOP = 4
_LEAST_KEPT = 0.05
"""Smallest share of the spots, leaving out the border, that must be isolated and look like one emitter."""


@dataclass(frozen=True)
class Quality:
    """Numbers of spots found, fitted and kept, and the goodness of the fits."""

    num_frames: int
    num_candidates: int
    num_fits: int
    num_kept: int
    dropped: dict[str, int]
    """Number of rejected candidates, by reason."""
    chi_square: float
    """Median chi-square per degree of freedom of the converged fits; 1 is perfect."""


def check_saturation(adu_TYX: npt.NDArray[Any], frames_T2: npt.NDArray[np.int64]) -> float:
    """Return the counts at which the camera saturates (255, 4095, 65535, ...), or infinity if it does not.

    The largest count is the saturation level if several pixels of one frame have it.

    Raises
    ------
    InputError
        Too many pixels are saturated.
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
            f"Volume {volume}, plane {plane} has {share:.0%} of its pixels at {top:g} counts, the upper end of the "
            "camera's range, where light cannot be measured; use a part of the movie that is not saturated."
        )
    return top


def check_offset(scope: Microscope, adu_TYX: npt.NDArray[Any], camera: Camera) -> None:
    """Raise an error if the camera's offset or gain makes dark pixels more negative than noise can explain."""
    units = scope.detector.to_units(adu_TYX)
    noise = math.sqrt(float(scope.detector.variance_YX.median()) + 1)
    middle = float(units.median())
    if middle < -noise:
        raise ConfigError(
            f"With this camera half of the pixels have fewer than {middle * scope.detector.photons_per_unit:.3g} "
            f"photons (median count {np.median(adu_TYX):g}), expected a background above 0; correct "
            f"camera.{camera.DARK_LEVEL} or the gain."
        )


def assess_fits(runs: Sequence[RunFits], fits: Fits) -> Quality:
    """Count the spots that were found, fitted and rejected."""
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
    """Raise an error if a movie has too few spots, too few isolated spots, or spots that do not match the PSF.

    The advice in the message depends on why most spots fail: neighbours, the PSF, the border, or their small number.
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
            f"{source.path} is too dense for the prefit: {kept} of {found} spots are isolated and look like one "
            f"emitter ({density:.2g} spots per um2 and frame), expected at least {LEAST_FITS} and {_LEAST_KEPT:.0%} of "
            "them; use a sparser part of the movie (later frames), or set emitters and background in a training "
            "configuration by hand."
        )
    reasons = ", ".join(f"{count} {reason}" for reason, count in quality.dropped.items())
    raise InputError(
        f"{source.path}: {kept} of {found} spots in {frames} frames could be used ({reasons}), expected at least "
        f"{LEAST_FITS} and {_LEAST_KEPT:.0%} of them; {_remedy(quality, source.layout.num_frames)}."
    )


def _remedy(quality: Quality, frames_there: int) -> str:
    """Return advice on too few fits: check the PSF if most fits failed, otherwise use more or other frames."""
    failed = sum(count for reason, count in quality.dropped.items() if not reason.startswith(NOT_FITTED))
    if failed > quality.num_kept:
        return "check that PSF, pixel size and camera gain match this movie"
    if frames_there > quality.num_frames:
        return "use a part of the movie where more molecules blink"
    return "give more frames: a longer movie, or a larger field"


def remark_on_number(quality: Quality) -> str | None:
    """Return a warning that the statistics come from few fits, or None where there are enough fits."""
    if quality.num_kept >= ENOUGH_FITS:
        return None
    error = 100 / math.sqrt(quality.num_kept)
    return (
        f"warning: only {quality.num_kept} spots are isolated and look like one emitter, fewer than {ENOUGH_FITS}: "
        f"photons, background and density are rough (density within about {error:.0f} %); use more frames for better "
        "estimates"
    )
