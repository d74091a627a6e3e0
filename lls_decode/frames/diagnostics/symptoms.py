"""Detection of saturated, deskewed and resampled frames from the frames themselves.

Shape letters: ``n`` frames, ``Y X`` pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.frames.reading.stack import Frames

_PILE_UP = 5.0
"""Ratio of pixels at the largest value to pixels at each value slightly below from which they are a pile-up."""
_FEWEST_SATURATED = 3
_BELOW = 64
"""Number of values below the largest one over which pixels are counted for comparison."""

LEAST_CORRELATION = 0.12
"""Difference between the noise correlations along the two axes above which frames look resampled.

Linear interpolation halfway between pixels gives a correlation of 0.5, averaged over all shifts 0.25; raw camera frames
give 0.
"""


@dataclass(frozen=True)
class Saturation:
    """Saturation of pixels at the largest value."""

    level_adu: float
    fraction: float
    bits: int | None
    """Number of bits of a converter whose largest value this is; None if it is no such value."""


def find_saturation(adu_nYX: Frames) -> Saturation | None:
    """Find pixels that pile up at the largest value: that of the type, of a 12- or 14-bit camera, or any other.

    Saturated pixels all have the same value, whereas unsaturated bright values become rarer towards the maximum. Many
    more pixels at the largest value than at the values below it therefore mean saturation.
    """
    if adu_nYX.dtype.kind not in "ui":
        return None
    top = int(adu_nYX.max())
    at_top = int((adu_nYX == top).sum())
    bits = (top + 1).bit_length() - 1
    is_full_scale = top + 1 == 1 << bits and bits >= 8
    found = Saturation(float(top), at_top / adu_nYX.size, bits if is_full_scale else None)
    if top == np.iinfo(adu_nYX.dtype).max:
        return found
    if at_top < _FEWEST_SATURATED or at_top == adu_nYX.size:
        return None
    below = ((adu_nYX >= top - _BELOW) & (adu_nYX < top)).sum() / _BELOW
    # a bright plateau also has many similar values; at full scale a smaller pile-up is sufficient evidence
    return found if at_top > (_PILE_UP if is_full_scale else 4 * _PILE_UP) * max(below, 0.5) else None


def has_wedge(adu_nYX: Frames) -> bool:
    """Return whether some planes of a volume are constant along one edge and others along the opposite edge.

    Deskewing shifts planes and fills the uncovered edge with zero or a background value.
    """
    for axis in (1, 2):
        lit = np.ptp(adu_nYX, axis=3 - axis) > 0
        lit = lit[lit.any(axis=1)]
        if len(lit) < 2:
            continue
        wide = max(2, lit.shape[1] // 20)
        at_start, at_end = lit.argmax(axis=1), lit[:, ::-1].argmax(axis=1)
        if min(np.ptp(at_start), np.ptp(at_end)) >= wide and at_start.argmax() != at_end.argmax():
            return True
    return False


def noise_correlation(adu_nYX: Frames) -> tuple[float, float]:
    """Return the correlation of the noise of neighbouring pixels along x, and along y.

    Second differences across the respective axis remove smooth structure, and only the dimmer half of the pixels is
    used. Images of molecules are correlated along both axes, interpolated noise along one.
    """
    frames = adu_nYX.astype(np.float32)
    if min(frames.shape[1:]) < 3:
        return 0.0, 0.0  # too few lines for second differences
    return _along_x(frames), _along_x(frames.transpose(0, 2, 1))


def _along_x(frames_nYX: npt.NDArray[Any]) -> float:
    noise = frames_nYX[:, 1:-1] - (frames_nYX[:, :-2] + frames_nYX[:, 2:]) / 2
    level = frames_nYX[:, 1:-1]
    dim = (level <= np.median(level, axis=(1, 2), keepdims=True)) & (noise != 0)
    both = dim[..., :-1] & dim[..., 1:]
    if both.sum() < 100:
        return 0.0
    first, second = noise[..., :-1][both], noise[..., 1:][both]
    limit = 3 * np.percentile(np.abs(first), 68)
    kept = (np.abs(first) < limit) & (np.abs(second) < limit)
    return float(np.corrcoef(first[kept], second[kept])[0, 1])
