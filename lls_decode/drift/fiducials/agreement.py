"""Agreement of fiducial beads, compared in pairs over all times from one volume to half of the acquisition.

The distance of two beads at rest in the sample changes only by noise, which averages out over longer times. If a bead
creeps, the Allan deviation of its distance to the others stays constant or grows. With three or more beads, the one
that disagrees with most others is found and left out; with two, the disagreement can only be reported.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from lls_decode.drift.fiducials.track import Track

Floats = npt.NDArray[np.float64]

_CHANCE: Final = 1e-4
"""Probability, over all times and axes, that agreeing beads are judged to disagree."""
_LOOSE_RATIO: Final = 3.0
"""Motion of a loose bead relative to the typical motion of the others over the same time."""


def disagreeing(tracks: Sequence[Track]) -> tuple[int, int] | None:
    """Return the number of the bead that disagrees most, and over how many volumes; None if all agree."""
    if len(tracks) < 2:
        return None
    worst: tuple[float, int, int] | None = None
    num_volumes = len(tracks[0].position_V3)
    times = [1 << power for power in range(num_volumes.bit_length()) if 2 << power <= num_volumes]
    for time in times:
        apart_BB3, noise_BB3, freedom = _compared(tracks, time)
        limit = chi2.isf(_CHANCE / (len(times) * len(tracks) * 3), np.maximum(freedom, 1)) / np.maximum(freedom, 1)
        typical_B3, noise_B3 = _with_most(apart_BB3), _with_most(noise_BB3)
        for bead in range(len(tracks)):
            others = np.arange(len(tracks)) != bead
            usual = typical_B3[bead] if len(tracks) == 2 else np.median(typical_B3[others], axis=0)
            expected = np.maximum(noise_B3[bead], 1e-6)
            loose = typical_B3[bead] > np.maximum(limit * expected, 0 if len(tracks) == 2 else _LOOSE_RATIO**2 * usual)
            ratio = float(np.max(np.where(loose & (freedom > 0), typical_B3[bead] / expected, 0.0)))
            if ratio > (worst[0] if worst is not None else 0.0):
                worst = ratio, bead, time
    return None if worst is None else worst[1:]


def _compared(tracks: Sequence[Track], time: int) -> tuple[Floats, Floats, int]:
    """Return Allan variances ``(B, B, 3)`` of the distances of beads, the part due to noise, and the fewest samples."""
    count = len(tracks)
    apart, noise, freedom = np.full((count, count, 3), np.nan), np.full((count, count, 3), np.nan), 0
    for one in range(count):
        for other in range(one):
            mean, error = _block_means(tracks[one], tracks[other], time)
            step, error = np.diff(mean, axis=0), error[1:] + error[:-1]
            known = np.isfinite(step).all(axis=1)
            if not known.any():
                continue
            apart[one, other] = apart[other, one] = np.mean(step[known] ** 2, axis=0)
            noise[one, other] = noise[other, one] = np.mean(error[known], axis=0)
            freedom = int(known.sum()) if freedom == 0 else min(freedom, int(known.sum()))
    return apart, noise, freedom


def _block_means(one: Track, other: Track, time: int) -> tuple[Floats, Floats]:
    """Return the mean distance over successive blocks of volumes, and its variance; NaN for blocks without both beads.

    Only volumes with both beads count, since the drift between other volumes would not cancel.
    """
    num = len(one.position_V3) // time
    used = slice(num * time)
    distance = (one.position_V3[used] - other.position_V3[used]).reshape(num, time, 3)
    variance = (one.variance_V3[used] + other.variance_V3[used]).reshape(num, time, 3)
    seen = np.isfinite(distance)
    count = seen.sum(axis=1)
    sums, errors = (np.where(seen, values, 0.0).sum(axis=1) for values in (distance, variance))
    blank = np.full(sums.shape, np.nan)
    mean = np.divide(sums, count, out=blank.copy(), where=count > 0)
    return mean, np.divide(errors, count**2, out=blank, where=count > 0)


def _with_most(values_BB3: Floats) -> Floats:
    """Return each bead's value ``(B, 3)`` with the better half of the others; one bad partner thus does not count."""
    count = len(values_BB3)
    ordered = np.sort(np.where(np.isfinite(values_BB3), values_BB3, np.inf), axis=1)
    chosen = ordered[:, max(0, (count - 2) // 2)]
    return np.where(np.isfinite(chosen), chosen, 0.0)
