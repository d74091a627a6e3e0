"""Whether a drift correction helps, judged by rows that the drift was not measured from.

A correct drift correction brings rows of one molecule or structure, seen at different times, nearer to each other; a
wrong one moves them apart. So pairs of rows that were recorded at different times are counted, before and after. Each
half of the table is corrected by a drift that was measured from the other half only. Pairs are counted by cell, which
gives the uncertainty of the count.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from lls_decode.drift.points import Points

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Verdict = Literal["better", "worse", "no difference", "not told"]

_NEAR: Final = 2.0
"""Distance of near pairs, in standard deviations of the distance between two localizations of one place."""
_MAX_PAIRS: Final = 2_000_000
_TIMES: Final = 8
"""Number of parts of the acquisition, with equal numbers of rows. A pair counts if its rows are in different parts."""
_GROUPS: Final = 24
"""Number of groups of cells; leaving out one group at a time gives the uncertainty."""
_MIN_PAIRS: Final = 30
_SIGNIFICANT: Final = 2.0
_BINS: Final = 40
_WIDTH_RANGE: Final = 8.0
"""Largest distance from which the width is read, without the drift itself, in the same unit as `_NEAR`."""


@dataclass(frozen=True)
class Benefit:
    """Effect of a correction on rows that the drift was not measured from."""

    verdict: Verdict
    rows: int
    """Number of rows examined."""
    gain: float | None = None
    """Number of near pairs of different times after the correction, divided by the number before."""
    gain_sigma: float | None = None
    resolution_before_nm: float | None = None
    """Full width at half maximum of the scatter of rows of one place, from the distances of pairs of different times;
    None if no peak stands out."""
    resolution_after_nm: float | None = None

    def words(self) -> str:
        """Return the result in one sentence."""
        if self.verdict == "not told":
            return f"too few rows of the same places at different times among {self.rows} to tell whether it helps"
        verdict = {
            "better": "it helps",
            "worse": "it makes the table worse",
            "no difference": "it makes no measurable difference",
        }[self.verdict]
        widths = (self.resolution_before_nm, self.resolution_after_nm)
        before, after = ("no peak" if value is None else f"{value:.0f} nm" for value in widths)
        return (
            f"{verdict}: near pairs x {self.gain:.3f} +- {self.gain_sigma:.3f}, resolution {before} before, {after} "
            f"after (in {self.rows} rows that it was not made from)"
        )


@dataclass(frozen=True)
class Unseen:
    """Points, and a drift that was measured from other points."""

    points: Points
    cell: Integers
    """(N,) cell of each point."""
    shift_VD: Floats
    """(V, D) displacements, from the first volume of the points on."""


def measure_benefit(parts: list[Unseen]) -> Benefit:
    """Compare the numbers of near pairs of different times before and after correction, over all parts."""
    counts: list[Floats] = []
    widths: list[tuple[Floats, Floats, Floats]] = []
    rows = sum(len(part.points) for part in parts)
    for part in parts:
        if len(part.points) < 2:
            continue
        before, after = _scaled(part, corrected=False), _scaled(part, corrected=True)
        time = np.arange(len(part.points)) * _TIMES // len(part.points)
        group = part.cell % _GROUPS
        counts.append(np.stack([_near_pairs(place, time, group) for place in (before, after)]))
        reach = _WIDTH_RANGE + float(np.linalg.norm(np.ptp(part.shift_VD[:, :2], axis=0) / _unit(part.points)[:2]))
        edges = np.linspace(0, reach, _BINS + 1)
        widths.append((edges, _distances(before[:, :2], time, edges), _distances(after[:, :2], time, edges)))
    total = np.sum(counts, axis=0) if counts else np.zeros((2, _GROUPS))
    if total.sum(axis=1).min() < 1 or total.sum(axis=1).max() < _MIN_PAIRS:
        return Benefit("not told", rows)
    log_gain, sigma = _jackknife(total)
    verdict: Verdict = "no difference"
    if abs(log_gain) > _SIGNIFICANT * sigma:
        verdict = "better" if log_gain > 0 else "worse"
    unit = float(np.mean(_unit(parts[0].points)[:2]))
    before_nm, after_nm = (_mean_width([(w[0], w[side]) for w in widths], unit) for side in (1, 2))
    gain = float(np.exp(log_gain))
    return Benefit(verdict, rows, gain, gain * sigma, before_nm, after_nm)


def _unit(points: Points) -> Floats:
    """Return the standard deviation ``(D,)`` of the distance between two localizations of one place, nm."""
    return np.asarray(np.sqrt(2) * points.sigma_nm)


def _scaled(part: Unseen, *, corrected: bool) -> Floats:
    place = part.points.position_nm.astype(np.float64)
    if corrected:
        place = place - part.shift_VD[part.points.volume - part.points.first_volume]
    return np.asarray(place / _unit(part.points))


def _near_pairs(place_ND: Floats, time: Integers, group: Integers) -> Floats:
    """Return the number of near pairs of different times in each group.

    A pair belongs to the group of one of its points.
    """
    one, other, every = _pairs(place_ND, _NEAR)
    apart = time[::every][one] != time[::every][other]
    return np.bincount(group[::every][one][apart], minlength=_GROUPS).astype(np.float64) * every**2


def _distances(place_N2: Floats, time: Integers, edges: Floats) -> Floats:
    """Return the number of pairs of different times per area, by distance."""
    one, other, every = _pairs(place_N2, float(edges[-1]))
    apart = time[::every][one] != time[::every][other]
    some = place_N2[::every]
    distance = np.linalg.norm(some[one[apart]] - some[other[apart]], axis=1)
    return np.asarray(np.histogram(distance, edges)[0] * every**2 / np.diff(edges**2))


def _pairs(place_ND: Floats, radius: float) -> tuple[Integers, Integers, int]:
    """Return the pairs among every n-th point, and n, which is as small as the limit on pairs allows."""
    every = 1
    while True:
        tree = cKDTree(place_ND[::every])
        count = int(tree.count_neighbors(tree, radius)) // 2
        if count <= _MAX_PAIRS:
            pairs = tree.query_pairs(radius, output_type="ndarray")
            return pairs[:, 0], pairs[:, 1], every
        every = max(every + 1, int(every * np.sqrt(count / _MAX_PAIRS)))


def _jackknife(count_2G: Floats) -> tuple[float, float]:
    """Return the logarithm of the ratio after/before and its standard deviation, by leaving out one group at a time."""
    used = count_2G[:, count_2G.sum(axis=0) > 0]
    total = used.sum(axis=1)
    number = used.shape[1]
    if number < 2:
        return float(np.log(total[1] / total[0])), np.inf
    left = np.log(np.maximum(total[1] - used[1], 0.5) / np.maximum(total[0] - used[0], 0.5))
    sigma = float(np.sqrt((number - 1) / number * ((left - left.mean()) ** 2).sum()))
    return float(np.log(total[1] / total[0])), max(sigma, 1e-9)


def _mean_width(profiles: list[tuple[Floats, Floats]], unit_nm: float) -> float | None:
    """Return the mean width in nm of the peak at 0 above the level at large distances; None without a clear peak."""
    found = [_width(edges, density) for edges, density in profiles]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) * unit_nm if known else None


def _width(edges: Floats, density: Floats) -> float | None:
    centre = (edges[1:] + edges[:-1]) / 2
    level = float(density[-_BINS // 5 :].mean())
    top = float(density[centre <= max(0.75, centre[0])].mean()) - level
    if top <= 0.2 * max(level, 1e-12):
        return None
    below = np.flatnonzero(density - level < top / 2)
    if not len(below):
        return None
    at = int(below[0])
    if at == 0:
        return None
    high, low = density[at - 1] - level, density[at] - level
    half = centre[at - 1] + (centre[at] - centre[at - 1]) * (high - top / 2) / max(high - low, 1e-12)
    # the distribution of pair distances is sqrt(2) times as wide as that of rows, and half covers one side only
    return float(np.sqrt(2) * half)
