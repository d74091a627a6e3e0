"""Uncertainty of a drift curve between and beyond the times at which the drift was measured.

Each measurement is a knot: a time, a displacement and its uncertainty. The curve is interpolated between two knots,
bridged over long times without data, and held beyond the last data. How far the sample may have moved meanwhile is
estimated from the knots themselves: from the difference of knots after some time (for a held value), and from the
distance of a knot to the line between two others (for a bridged one). Both variances grow as a power of time. A random
walk has the power 1 in both cases, a steady motion 2 and 4. The noise of the knots is subtracted, and jumps count where
they occur.
Shape letters: ``W`` knots, ``D`` axes, ``V`` volumes.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from lls_decode.robust import MAD_TO_SD

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_MAX_KNOTS: Final = 400
"""Number of knots from which the motion of the sample is estimated; of more knots, every n-th is used."""
_HOLD_POWERS: Final = (1.0, 1.25, 1.5, 1.75, 2.0)
_BRIDGE_POWERS: Final = (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
_JUMP_NOISE: Final = 6.0
"""Jumps are steps that are larger than this many uncertainties ..."""
_JUMP_ORDINARY: Final = 5.0
"""... and than this many typical steps."""
_REACHED: Final = 1.25
"""Factor by which the data behind the last knot extend further than its reach, since they are not quite evenly
spread."""
_HOLE: Final = 0.5
"""Ratio of a hole between two knots to the volumes that a knot represents, above which the hole is without support."""


@dataclass(frozen=True)
class Knots:
    """Measurements of a drift."""

    time_W: Floats
    """Times of the knots in volumes, ascending: the middle of the data behind each knot."""
    reach_W: Floats
    """Number of volumes before and after each time that the data come from."""
    drift_WD: Floats
    sigma_WD: Floats
    straight: float = 0.6
    """How far the curve continues in a straight line beyond the last knot, within its data; in distances between the
    two outermost knots."""


@dataclass(frozen=True)
class _Law:
    """Variance law ``scale * time ** power`` along each axis."""

    scale_D: Floats
    power_D: Floats

    def variance(self, time: Floats) -> Floats:
        return np.asarray(self.scale_D * np.maximum(time, 0.0)[:, None] ** self.power_D)

    def bridge(self, before: Floats, after: Floats) -> Floats:
        """Return the variance of a value on the line between two others; it is largest half way."""
        span = before + after
        share = np.divide(before, span, out=np.zeros_like(span), where=span > 0)[:, None]
        return np.asarray(self.variance(span) * (4 * share * (1 - share)) ** ((self.power_D + 2) / 3))

    def mean(self, span: Floats) -> Floats:
        """Return the variance of a mean over a time span about its middle value.

        For a random walk it is a third of the bridge's variance, for a parabola a ninth.
        """
        return np.asarray(self.variance(span) / 3 ** ((self.power_D + 2) / 3))


def held(knots: Knots, first: int, last: int) -> Floats:
    """Return displacements ``(V, D)`` for all volumes from ``first`` to ``last`` (included), held beyond the data."""
    return _interpolate(knots, np.clip(_volumes(first, last), *_ends(knots, first, last)))


def uncertainty(knots: Knots, first: int, last: int) -> tuple[Floats, Flags]:
    """Return the standard deviations ``(V, D)`` of `held`, and whether each volume ``(V,)`` lies within the data."""
    volume, time = _volumes(first, last), knots.time_W
    supported = _supported(knots, volume)
    if len(time) < 2:
        return np.repeat(knots.sigma_WD, len(volume), axis=0), supported
    inside = np.clip(volume, *_ends(knots, first, last))
    jumps_ID = _jumps(knots)
    hold, bridge = _laws(knots, jumps_ID)
    # The measured value is the mean over the data behind a knot, not the value at its middle.
    widened = replace(knots, sigma_WD=np.sqrt(knots.sigma_WD**2 + bridge.mean(2 * knots.reach_W)))
    variance = _interpolated_variance(widened, inside, bridge, jumps_ID)
    bridged = ~supported & (volume > time[0]) & (volume < time[-1])
    if bridged.any():
        variance[bridged] += _wandering_by_jumps(knots, volume[bridged], jumps_ID)
    variance += hold.variance(np.abs(volume - inside))
    return np.sqrt(variance), supported


def _interpolate(knots: Knots, volume: Floats) -> Floats:
    """Return displacements ``(V, D)`` by monotone cubics (Fritsch and Carlson).

    Straight lines continue beyond the knots.
    """
    time, drift = knots.time_W, knots.drift_WD
    if len(time) < 2:
        return np.repeat(drift, len(volume), axis=0)
    times, values = list(time), list(drift)
    first, last = float(volume.min()), float(volume.max())
    if first < time[0]:
        slope = (drift[1] - drift[0]) / (time[1] - time[0])
        times, values = [first, *times], [drift[0] + slope * (first - time[0]), *values]
    if last > time[-1]:
        slope = (drift[-1] - drift[-2]) / (time[-1] - time[-2])
        times, values = [*times, last], [*values, drift[-1] + slope * (last - time[-1])]
    return np.asarray(PchipInterpolator(times, np.array(values), axis=0)(volume))


def _volumes(first: int, last: int) -> Floats:
    return np.arange(first, last + 1, dtype=np.float64)


def _ends(knots: Knots, first: int, last: int) -> tuple[float, float]:
    """Return the times beyond which the curve is held: the ends of the outermost knots' data, or slightly beyond."""
    time, reach = knots.time_W, knots.reach_W
    if len(time) < 2:
        return time[0] - reach[0], time[0] + reach[0]
    before = min(_REACHED * reach[0], knots.straight * (time[1] - time[0]))
    after = min(_REACHED * reach[-1], knots.straight * (time[-1] - time[-2]))
    return max(float(first), time[0] - before), min(float(last), time[-1] + after)


def _supported(knots: Knots, volume: Floats) -> Flags:
    """Return whether each volume lies within the data of a knot; relatively short holes count as within."""
    low, high = _ends(knots, int(volume[0]), int(volume[-1]))
    supported = (volume >= np.floor(low)) & (volume <= np.ceil(high))
    end, start = (knots.time_W + knots.reach_W)[:-1], (knots.time_W - knots.reach_W)[1:]
    hole = start - end > np.maximum(_HOLE * (knots.reach_W[:-1] + knots.reach_W[1:]), 1.0)
    change = np.zeros(len(volume) + 1, dtype=np.int64)
    for edge, sign in ((np.floor(end[hole]) + 1, 1), (np.ceil(start[hole]), -1)):
        np.add.at(change, np.clip(edge - volume[0], 0, len(volume)).astype(np.int64), sign)
    return np.asarray(supported & (np.cumsum(change[:-1]) == 0))


def _interpolated_variance(knots: Knots, volume: Floats, bridge: _Law, jumps_ID: Floats) -> Floats:
    """Return the variance ``(V, D)`` from adjacent knots, and from motion and jumps anywhere between them."""
    time = knots.time_W
    left = np.clip(np.searchsorted(time, volume, side="right") - 1, 0, len(time) - 2)
    span = time[left + 1] - time[left]
    share = ((volume - time[left]) / span)[:, None]
    variance = ((1 - share) * knots.sigma_WD[left]) ** 2 + (share * knots.sigma_WD[left + 1]) ** 2
    before, after = np.abs(volume - time[left]), np.abs(time[left + 1] - volume)
    within = ((share >= 0) & (share <= 1))[:, 0]
    between = bridge.bridge(before, after)
    # beyond the knots, the value on the line through two knots misses by how much the nearer knot would be off the line
    # from the farther knot to that value
    beyond = np.where(volume < time[0], before, after)
    ahead = ((span + beyond) / span)[:, None] ** 2 * bridge.bridge(span, beyond)
    inner = np.clip(share, 0, 1)
    return np.asarray(variance + np.where(within[:, None], between, ahead) + jumps_ID[left] ** 2 * inner * (1 - inner))


def _jumps(knots: Knots) -> Floats:
    """Return how much each step ``(W - 1, D)`` exceeds its neighbours' steps, nm; 0 for ordinary steps."""
    span = np.diff(knots.time_W)[:, None]
    step = np.diff(knots.drift_WD, axis=0)
    if len(step) < 5:
        return np.zeros_like(step)
    speed = step / span
    around = np.concatenate([speed[1:2], (speed[:-2] + speed[2:]) / 2, speed[-2:-1]])
    excess = step - around * span
    noise = np.sqrt(knots.sigma_WD[:-1] ** 2 + knots.sigma_WD[1:] ** 2)
    ordinary = MAD_TO_SD * np.median(np.abs(excess), axis=0)
    large = (np.abs(excess) > _JUMP_NOISE * noise) & (np.abs(excess) > _JUMP_ORDINARY * ordinary)
    return np.where(large, np.abs(excess), 0.0)


def _wandering_by_jumps(knots: Knots, volume: Floats, jumps_ID: Floats) -> Floats:
    """Return the variance ``(V, D)`` of bridged values from further jumps that may have happened unseen."""
    time = knots.time_W
    left = np.clip(np.searchsorted(time, volume, side="right") - 1, 0, len(time) - 2)
    rate = (jumps_ID**2).sum(axis=0) / (time[-1] - time[0])
    return np.asarray(
        rate * ((volume - time[left]) * (time[left + 1] - volume) / (time[left + 1] - time[left]))[:, None]
    )


def _laws(knots: Knots, jumps_ID: Floats) -> tuple[_Law, _Law]:
    """Return the laws of held values and of bridged values (the latter from times without jump)."""
    every = slice(None, None, -(-len(knots.time_W) // _MAX_KNOTS))
    time, drift, sigma = knots.time_W[every], knots.drift_WD[every], knots.sigma_WD[every]
    count = len(time)
    lags = [1 << power for power in range(count.bit_length()) if 1 << power < count]
    first = np.concatenate([np.arange(count - lag) for lag in lags])
    second = np.concatenate([np.arange(lag, count) for lag in lags])
    held = _fitted(
        time[second] - time[first], drift[second] - drift[first], sigma[second] ** 2 + sigma[first] ** 2, _HOLD_POWERS
    )
    lags = [lag for lag in lags if 2 * lag < count]
    if not lags:
        return _with_floor(held, knots), held
    low, middle, high = (
        np.concatenate([np.arange(count - 2 * lag) + part * lag for lag in lags]) for part in (0, 1, 2)
    )
    share = ((time[middle] - time[low]) / (time[high] - time[low]))[:, None]
    off = drift[middle] - (1 - share) * drift[low] - share * drift[high]
    noise = sigma[middle] ** 2 + ((1 - share) * sigma[low]) ** 2 + (share * sigma[high]) ** 2
    jumped = np.concatenate([np.zeros((1, jumps_ID.shape[1])), np.cumsum(jumps_ID > 0, axis=0)])[every]
    quiet = jumped[high] == jumped[low]
    bridged = _fitted(time[high] - time[low], off, noise, _BRIDGE_POWERS, usable=quiet)
    return _with_floor(held, knots), bridged


def _fitted(
    time_K: Floats, off_KD: Floats, noise_KD: Floats, powers: tuple[float, ...], *, usable: Flags | None = None
) -> _Law:
    """Fit the law under which the deviations of the knots are most likely.

    Normal errors and the knots' noise are assumed.
    """
    num_axes = off_KD.shape[1]
    scales, best = np.zeros(num_axes), np.full(num_axes, powers[0])
    longest = float(time_K.max())
    for axis in range(num_axes):
        use = np.ones(len(time_K), dtype=np.bool_) if usable is None else usable[:, axis]
        off, noise, time = off_KD[use, axis] ** 2, noise_KD[use, axis], time_K[use] / longest
        if not len(off):
            continue
        largest = max(float(off.max()), 1e-6)
        # 0 is included, since all that is seen may be noise
        trial = np.concatenate([[0.0], largest * np.geomspace(1e-6, 30.0, 120)])
        lowest = np.inf
        for power in powers:
            variance = trial[:, None] * time**power + np.maximum(noise, 1e-6)
            cost = (np.log(variance) + off / variance).sum(axis=1)
            if cost.min() < lowest:
                lowest, best[axis] = float(cost.min()), power
                scales[axis] = trial[int(np.argmin(cost))] / longest**power
    return _Law(scales, best)


def _with_floor(law: _Law, knots: Knots) -> _Law:
    """Raise a law to what the knots could not resolve: their own uncertainty after the time that they span."""
    duration = float(knots.time_W[-1] - knots.time_W[0])
    floor = np.median(knots.sigma_WD, axis=0) ** 2 / duration**law.power_D
    return _Law(np.maximum(law.scale_D, floor), law.power_D)
