"""What frames themselves tell of how they were made: saturated, deskewed, resampled.

Shape letters: ``n`` frames, ``Y X`` pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.frames.reading.stack import Frames

_PILE_UP = 5.0
"""Pixels at the largest value, in multiples of those at a value a little below, that are a pile-up."""
_FEWEST_SATURATED = 3
_BELOW = 64
"""Values below the largest one among which its neighbours are counted."""

LEAST_CORRELATION = 0.12
"""Of neighbouring pixels' noise along one axis, more than along the other, above which frames look resampled.

Linear interpolation halfway between pixels gives 0.5, averaged over all shifts 0.25; raw cameras give 0.
"""


@dataclass(frozen=True)
class Saturation:
    """Pixels at the largest value."""

    level_adu: float
    fraction: float
    bits: int | None
    """Of a converter whose largest value this is; None for another value."""


def find_saturation(adu_nYX: Frames) -> Saturation | None:
    """Pixels that pile up at the largest value, be it that of the type, of a 12- or 14-bit camera, or another.

    A full pixel is cut at one value, while the values of bright ones thin out: many more at the largest value than at
    those below mean saturation.
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
    # a bright flat plateau ends softly; at full scale a small pile is telling enough
    return found if at_top > (_PILE_UP if is_full_scale else 4 * _PILE_UP) * max(below, 0.5) else None


def has_wedge(adu_nYX: Frames) -> bool:
    """Whether planes of one volume are constant along one edge here, along the opposite edge there.

    Deskewing shifts planes and fills what they uncover with zero or a background value: a parallelogram.
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
    """Correlation of the noise of neighbouring pixels along x, and along y.

    What is smooth is removed by second differences across the axis in question, and only the dimmer half of the pixels
    counts. A picture of molecules correlates in both directions alike, interpolation along one.
    """
    frames = adu_nYX.astype(np.float32)
    if min(frames.shape[1:]) < 3:
        return 0.0, 0.0  # lines have no second difference across
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
