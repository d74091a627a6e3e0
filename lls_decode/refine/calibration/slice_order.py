"""Whether the slices of a bead stack are in order: told from the data, since files rarely say.

The bead's image moves smoothly along z, so neighbouring slices are more alike than distant ones. Slices are compared by
their squared distance D (sum over pixels of the squared difference), in which noise is a constant.

Shape letters: ``Z`` slices, ``Y X`` pixels, ``B`` beads.
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, median_filter

from lls_decode.errors import InputError

Floats = npt.NDArray[np.float64]

_UNRELATED = 0.6
"""Ratio of von Neumann (mean squared step over twice the variance) above which order means nothing; 1 when random. Real
scans of 10 to 100 nm steps have 0.001 to 0.05."""
_JUMP = 10.0
"""A step of so many times the squared length of those around it is a break; real scans reach 4.5."""
_LEAST_STEP = 0.05
"""Share of the mean of D between any two slices; smaller steps are noise, or do no harm."""
_LEAST_LAG = 4
_ALIKE = 0.2
"""Slices are the same when D is below this share of what it is among them."""
_ADVICE = "save one z-scan a file, from one end to the other (files named 1, 10, 2 sort wrongly: use 001, 002, 010)"


def check_order(name: str, beads_BZYX: Floats) -> None:
    """Refuse a scan whose slices are shuffled or broken, run there and back, or were taken several times.

    Raises
    ------
    InputError
        Names the slice at which the order breaks.
    """
    image = gaussian_filter(beads_BZYX.sum(axis=0), (0, 1, 1))
    flat = image.reshape(len(image), -1) - image.mean(axis=0).ravel()
    products = flat @ flat.T
    energy = products.diagonal()
    distance = (energy[:, None] + energy[None] - 2 * products).clip(0)
    step = distance.diagonal(1)
    broken = _first_break(distance, step)
    if broken is not None:
        raise InputError(
            f"{name}: the slices are not in order: slice {broken + 1} does not follow slice {broken}, which others "
            f"resemble more; {_ADVICE}."
        )
    moves = energy.mean() > 1e-9 * (image**2).sum() / len(image)
    unrelated = float(step.mean() / (2 * energy.mean())) if moves else 1.0
    if unrelated > _UNRELATED:
        raise InputError(
            f"{name}: neighbouring slices are no more alike than distant ones (ratio {unrelated:.2f}, expected well "
            f"below {_UNRELATED:g}): they are shuffled, the stage stood still, or the beads are too dim or the z step "
            f"too large; {_ADVICE}."
        )
    turn = _turn(distance, step, image)
    if turn is not None:
        raise InputError(
            f"{name}: the scan turns back at slice {turn} (those after it repeat those before it in reverse), expected "
            f"one direction; {_ADVICE}."
        )
    repeat = _repeat(distance, step)
    if repeat is not None:
        raise InputError(
            f"{name}: slice {repeat} and those after it repeat the slices from 0 on, expected one scan; {_ADVICE}."
        )


def _first_break(distance: Floats, step: Floats) -> int | None:
    """Slice whose next one is far, while slices elsewhere are near to that next one; or the first of two swapped."""
    elsewhere = distance.copy()
    for lag in (-1, 0, 1):
        np.fill_diagonal(elsewhere[max(0, -lag) :, max(0, lag) :], np.inf)
    least = _LEAST_STEP * distance.mean()
    for i in np.flatnonzero(step > least):
        around = np.median(np.delete(step[max(0, i - 2) : i + 3], min(int(i), 2)))
        nearer = min(elsewhere[i].min(), elsewhere[i + 1].min())
        if step[i] > _JUMP * around and step[i] > 4 * nearer:
            return int(i)
    two = distance.diagonal(2)
    long = step > np.maximum(least, 2 * median_filter(step, size=11, mode="nearest"))
    swapped = long[:-2] & long[2:] & (two[:-1] < 0.35 * step[:-2]) & (two[1:] < 0.35 * step[2:])
    return int(swapped.argmax()) if swapped.any() else None


def _turn(distance: Floats, step: Floats, image: Floats) -> int | None:
    """Slice, out of focus, around which the scan is its own mirror image."""
    count = len(distance)
    sharp = (image**2).sum(axis=(1, 2))
    turns: dict[int, float] = {}
    for middle in range(count // 4, count - count // 4):
        for even in (0, 1):  # the mirror is a slice, or lies before it
            reach = min(middle - even, count - 1 - middle)
            after = np.arange(middle + 1, middle + reach + 1)
            before = 2 * middle - even - after
            in_focus = sharp[middle] > 0.5 * (sharp[before[-1] : after[-1] + 1].max() + sharp.min())
            if not in_focus and _same(distance, step, before, after):
                turns[middle] = float(distance[before, after].mean())
    return min(turns, key=turns.__getitem__) if turns else None


def _repeat(distance: Floats, step: Floats) -> int | None:
    """Slice with which a second scan begins."""
    count = len(distance)
    for lag in range(max(_LEAST_LAG, count // 8), count - count // 4):
        before = np.arange(count - lag)
        if _same(distance, step, before, before + lag):
            return lag
    return None


def _same(distance: Floats, step: Floats, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> bool:
    """Whether slices are as alike as neighbours are, pair by pair, while they differ among themselves."""
    apart = distance[one, other].mean()
    neighbours = step[np.minimum(one, len(step) - 1)].mean()
    among = distance[np.ix_(one, one)].mean()
    return bool(apart <= 1.2 * neighbours and apart < _ALIKE * among)
