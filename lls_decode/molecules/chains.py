"""Which sighting of a molecule follows which.

A **sighting** is a point with its variances at a **step**: a detection in a frame, or a molecule in a volume. Of two
sightings of one channel, one step or a few apart, that may be one molecule, the follower is chosen by this rule, which
knows nothing of how rows come:

    for every pair of steps, nearest steps first:
        among sightings without follower in the earlier and without predecessor in the later step, take the pair
        that is closest in units of its combined sigma, again and again; equal ones by row order.

So steps f and f+1 are decided before f and f+2, and what is decided between two steps depends on the steps between
them only. Any cut of the rows into batches gives the same chains, and whole batches are computed at once, without a
loop over frames. A sighting is compared with the last one of a molecule, not with the mean of all: the mean would
make each frame wait for the one before, for a gate that is at most 1.4 times narrower.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lls_decode.errors import ConfigError
from lls_decode.pairs import best_first

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_PAIRS_AT_ONCE = 4_000_000
_CELLS_PER_LIMIT = 64
_STRIP_LIMITS = 8
"""Height of a strip in lateral limits: high ones hold more that is not near, low ones are searched in pairs more
often."""
_MOST_CELLS = 2**20


@dataclass(frozen=True)
class Gate:
    """How far apart two sightings of one molecule may be."""

    sigmas: float = 4.0
    """Largest distance in units of the combined sigma: root of the sum over the axes of d^2 / (sigma_1^2 +
    sigma_2^2)."""
    lateral_nm: float = 150.0
    """Largest distance in x and y together, whatever the sigmas."""
    axial_nm: float = 500.0
    """Largest distance in z, whatever the sigmas."""
    radius_nm: float | None = None
    """Largest distance in x and y in place of ``sigmas`` and ``lateral_nm``: the closest sighting is the one that is
    nearest in units of ``radius_nm`` and ``axial_nm``, and sigmas are not needed."""

    def __post_init__(self) -> None:
        for name in ("sigmas", "lateral_nm", "axial_nm", "radius_nm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise ConfigError(f"The gate has {name} = {value:g}; expected a positive number.")

    @property
    def reach_nm(self) -> float:
        """Largest distance in x and y."""
        return self.lateral_nm if self.radius_nm is None else self.radius_nm


@dataclass(frozen=True)
class Points:
    """Sightings, ascending in step; equal steps in the order in which ties are decided."""

    step: Integers
    """``(N,)``"""
    position_3N: Floats
    """nm, in a coordinate system in which molecules stand still. Finite; any number where the variance is infinite."""
    variance_3N: Floats
    """nm^2; infinite along an axis that is not known, which then is not compared."""
    channel: Integers | None = None
    """``(N,)`` sightings of different channels are never one molecule; None: all are of one channel."""

    def __len__(self) -> int:
        return len(self.step)


def find_previous(points: Points, gate: Gate, *, gap: int, num_carried: int = 0) -> Integers:
    """``(N,)`` the sighting that each one follows; -1 where it is the first of its molecule.

    Parameters
    ----------
    gap
        Steps that may lie between two sightings; -1 links nothing.
    num_carried
        This many sightings at the beginning, without follower so far, are from earlier batches; followers are sought
        among the others, whose steps come after those of all earlier batches.
    """
    previous = np.full(len(points), -1, dtype=np.int64)
    has_follower = np.zeros(len(points), dtype=np.bool_)
    if len(points) == num_carried:
        return previous
    search = _Search(points, gate)
    for apart in range(1, gap + 2):
        wanted = previous < 0
        wanted[:num_carried] = False
        earlier, later, distance = search.pairs(wanted, ~has_follower, apart)
        order = np.lexsort((later, earlier, distance))
        earlier, later = earlier[order], later[order]
        chosen = best_first(earlier, later, num_one=len(points), num_other=len(points))
        previous[later[chosen]] = earlier[chosen]
        has_follower[earlier[chosen]] = True
    return previous


def first_of_chain(previous: Integers) -> Integers:
    """``(N,)`` the first sighting of the chain that each one is in."""
    first = np.where(previous < 0, np.arange(len(previous)), previous)
    while True:
        further = first[first]  # twice as far back each time
        if np.array_equal(further, first):
            return first
        first = further


class _Search:
    """Neighbours in another step, by one sorted list.

    Each step is cut into strips along y, so high that neighbours of a sighting are in one of them, or in two; the key
    of a sighting is (step, strip, x in cells), and its neighbours in a strip are one range of the sorted keys. A few
    times faster than a k-d tree a step, whose cost is that of a call where steps hold few sightings.
    """

    def __init__(self, points: Points, gate: Gate) -> None:
        self._points, self._gate = points, gate
        begins = np.diff(points.step, prepend=points.step[0] - 1) > 0
        self._steps, self._rank = points.step[begins], np.cumsum(begins) - 1
        x, y, _ = points.position_3N
        self._x0, self._y0 = float(x.min()), float(y.min())
        self._reach_nm = gate.reach_nm * (1 + 1e-9)  # a hair more: rounding is left to the gate
        self._strip_nm = max(_STRIP_LIMITS * gate.reach_nm, (float(y.max()) - self._y0) / _MOST_CELLS)
        self._cell_nm = max(gate.reach_nm / _CELLS_PER_LIMIT, (float(x.max()) - self._x0) / _MOST_CELLS)
        self._num_strips = int((float(y.max()) - self._y0) / self._strip_nm) + 1
        self._num_cells = int((float(x.max()) - self._x0) / self._cell_nm) + 1
        key = self._key(self._rank, self._strip(y), self._cell(x))
        self._order = np.argsort(key)
        self._sorted = key[self._order]

    def pairs(
        self, wanted: npt.NDArray[np.bool_], allowed: npt.NDArray[np.bool_], apart: int
    ) -> tuple[Integers, Integers, Floats]:
        """All ``allowed`` sightings ``apart`` steps before ``wanted`` ones, within the gate, and their distances."""
        before = np.searchsorted(self._steps, self._steps - apart)
        exists = self._steps[before] == self._steps - apart
        later = self._order[wanted[self._order]]  # as the keys are sorted: neighbouring queries are near in memory
        later = later[exists[self._rank[later]]]
        rank = before[self._rank[later]]
        x, y = self._points.position_3N[:2, later]
        left, right = self._cell(x - self._reach_nm), self._cell(x + self._reach_nm)
        low, high = self._strip(y - self._reach_nm), self._strip(y + self._reach_nm)
        two = low != high
        found = [
            self._in_strip(later, rank, low, left, right, allowed),
            self._in_strip(later[two], rank[two], high[two], left[two], right[two], allowed),
        ]
        earlier, later, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return earlier, later, distance

    def _in_strip(
        self,
        later: Integers,
        rank: Integers,
        strip: Integers,
        left: Integers,
        right: Integers,
        allowed: npt.NDArray[np.bool_],
    ) -> tuple[Integers, Integers, Floats]:
        start = np.searchsorted(self._sorted, self._key(rank, strip, left))
        last_key = self._key(rank, strip, right)
        some = np.append(self._sorted, np.iinfo(np.int64).max)[start] <= last_key
        later, start, last_key = later[some], start[some], last_key[some]
        count = np.searchsorted(self._sorted, last_key, side="right") - start
        found = [
            self._within(self._order[places], later[queries], allowed) for places, queries in _expand(start, count)
        ]
        earlier, later, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return earlier, later, distance

    def _within(
        self, earlier: Integers, later: Integers, allowed: npt.NDArray[np.bool_]
    ) -> tuple[Integers, Integers, Floats]:
        """The pairs that pass the gate, and their distances in units of sigma (of the limits, with a radius)."""
        position, variance, gate = self._points.position_3N, self._points.variance_3N, self._gate
        dx, dy = (position[axis, later] - position[axis, earlier] for axis in (0, 1))
        near = (dx**2 + dy**2 <= gate.reach_nm**2) & allowed[earlier]
        if self._points.channel is not None:
            near &= self._points.channel[earlier] == self._points.channel[later]
        earlier, later, dx, dy = earlier[near], later[near], dx[near], dy[near]
        dz = position[2, later] - position[2, earlier]
        vx, vy, vz = (variance[axis, later] + variance[axis, earlier] for axis in range(3))
        near = (np.abs(dz) <= gate.axial_nm) | np.isinf(vz)
        if gate.radius_nm is None:
            distance = np.sqrt(dx**2 / vx + dy**2 / vy + dz**2 / vz)
            near &= distance <= gate.sigmas
        else:
            deep = np.where(np.isinf(vz), 0.0, dz / gate.axial_nm)
            distance = np.sqrt((dx**2 + dy**2) / gate.radius_nm**2 + deep**2)
        return earlier[near], later[near], distance[near]

    def _strip(self, y: Floats) -> Integers:
        return _whole((y - self._y0) / self._strip_nm, self._num_strips)

    def _cell(self, x: Floats) -> Integers:
        return _whole((x - self._x0) / self._cell_nm, self._num_cells)

    def _key(self, rank: Integers, strip: Integers, cell: Integers) -> Integers:
        return (rank * self._num_strips + strip) * self._num_cells + cell


def _whole(values: Floats, number: int) -> Integers:
    """Rounded down, from 0 to ``number`` - 1: monotonic, so that no neighbour falls out of a range of cells."""
    return np.clip(np.floor(values), 0, number - 1).astype(np.int64)


def _expand(start: Integers, count: Integers) -> Iterator[tuple[Integers, Integers]]:
    """The ranges ``start`` to ``start + count`` one after the other, and which range each is of; some at a time."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(_PAIRS_AT_ONCE, total, _PAIRS_AT_ONCE))
    bounds = np.unique([0, *cuts.tolist(), len(count)])
    for low, high in zip([0, *bounds[1:-1]], [*bounds[1:-1], len(count)], strict=True):
        part = count[low:high]
        query = np.repeat(np.arange(low, high), part)
        offset = np.cumsum(part) - part
        yield np.arange(len(query)) - np.repeat(offset - start[low:high], part), query
