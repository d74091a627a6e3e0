"""Check of the slice order of a bead stack, from the images alone, since files rarely record it.

The image of a bead changes smoothly along z, so neighbouring slices are more similar than distant ones. Slices are
compared by their squared distance D (sum over pixels of the squared difference), to which noise adds a constant.

Shape letters: ``Z`` slices, ``Y X`` pixels, ``B`` beads.
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, median_filter

from lls_decode.errors import InputError

Floats = npt.NDArray[np.float64]

_UNRELATED = 0.6
"""Von Neumann ratio (mean squared step over twice the variance) above which slices count as unordered. The ratio is 1
for random order, and 0.001 to 0.05 for real scans with steps of 10 to 100 nm."""
_JUMP = 10.0
"""A step counts as a break when its D exceeds that of the steps around it by this factor; real scans reach 4.5."""
_LEAST_STEP = 0.05
"""Smallest D that can be a break, as a share of the mean D over all pairs of slices; smaller steps are noise or
harmless."""
_LEAST_LAG = 4
_ALIKE = 0.2
"""Two sequences of slices are the same when the D between them is below this share of the D within one of them."""
_ADVICE = "save one z-scan per file, from one end to the other (files named 1, 10, 2 sort wrongly: use 001, 002, 010)"


def check_order(name: str, beads_BZYX: Floats) -> None:
    """Raise an error for a scan that is shuffled or interrupted, goes back and forth, or was recorded twice.

    Raises
    ------
    InputError
        The slices are out of order; the message names the slice at which the order breaks.
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
            f"{name}: the slices are not in order: slice {broken + 1} does not follow slice {broken}, which other "
            f"slices resemble more; {_ADVICE}."
        )
    moves = energy.mean() > 1e-9 * (image**2).sum() / len(image)
    unrelated = float(step.mean() / (2 * energy.mean())) if moves else 1.0
    if unrelated > _UNRELATED:
        raise InputError(
            f"{name}: neighbouring slices are no more similar than distant ones (ratio {unrelated:.2f}, expected well "
            f"below {_UNRELATED:g}): the slices are shuffled, the stage did not move, the beads are too dim, or the z "
            f"step is too large; {_ADVICE}."
        )
    turn = _turn(distance, step, image)
    if turn is not None:
        raise InputError(
            f"{name}: the scan turns back at slice {turn} (the slices after it repeat those before it in reverse), "
            f"expected one direction; {_ADVICE}."
        )
    repeat = _repeat(distance, step)
    if repeat is not None:
        raise InputError(
            f"{name}: the slices from {repeat} on repeat the slices from 0 on, expected one scan; {_ADVICE}."
        )


def _first_break(distance: Floats, step: Floats) -> int | None:
    """Return the last slice before a break, or before two swapped slices; None if there is neither.

    At a break the next slice is very different, although slices elsewhere resemble one of the two.
    """
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
    """Return the out-of-focus slice around which the scan mirrors itself, or None."""
    count = len(distance)
    sharp = (image**2).sum(axis=(1, 2))
    turns: dict[int, float] = {}
    for middle in range(count // 4, count - count // 4):
        for even in (0, 1):  # the scan mirrors around the slice, or around the point half a slice before it
            reach = min(middle - even, count - 1 - middle)
            after = np.arange(middle + 1, middle + reach + 1)
            before = 2 * middle - even - after
            in_focus = sharp[middle] > 0.5 * (sharp[before[-1] : after[-1] + 1].max() + sharp.min())
            if not in_focus and _same(distance, step, before, after):
                turns[middle] = float(distance[before, after].mean())
    return min(turns, key=turns.__getitem__) if turns else None


def _repeat(distance: Floats, step: Floats) -> int | None:
    """Return the slice at which a second scan begins, or None."""
    count = len(distance)
    for lag in range(max(_LEAST_LAG, count // 8), count - count // 4):
        before = np.arange(count - lag)
        if _same(distance, step, before, before + lag):
            return lag
    return None


def _same(distance: Floats, step: Floats, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> bool:
    """Return whether two sequences match slice by slice as well as neighbours do, while each sequence varies."""
    apart = distance[one, other].mean()
    neighbours = step[np.minimum(one, len(step) - 1)].mean()
    among = distance[np.ix_(one, one)].mean()
    return bool(apart <= 1.2 * neighbours and apart < _ALIKE * among)
