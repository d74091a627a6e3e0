"""Linking of sightings of the same molecule into chains.

A **sighting** is a point with its variances at a **step**: a localization in a frame, or a molecule in a volume.
Sightings of one channel that are one step or a few steps apart may belong to the same molecule. They are linked by this
rule:

    for every pair of steps, nearest steps first:
        consider the sightings of the earlier step without follower and those of the later step without predecessor;
        repeatedly link the pair with the smallest distance in units of its combined sigma, ties in row order.

Steps f and f+1 are therefore linked before f and f+2, and the links between two steps depend only on the steps between
them. Splitting the rows into batches in a different way gives the same chains, and a whole batch is computed at once
without a loop over frames. A sighting is compared with the previous sighting of a molecule, not with the mean of all
its sightings. Comparing with the mean would require a loop over frames, and the gate would be at most 1.4 times
narrower.
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
"""Height of a strip in units of the lateral limit. High strips contain more sightings that are too far away; for low
strips, two strips have to be searched more often."""
_MOST_CELLS = 2**20


@dataclass(frozen=True)
class Gate:
    """Largest distance between two consecutive sightings of one molecule."""

    sigmas: float = 4.0
    """Largest distance in units of the combined sigma: root of the sum over the axes of d^2 / (sigma_1^2 +
    sigma_2^2)."""
    lateral_nm: float = 150.0
    """Largest lateral distance (x and y combined), regardless of the sigmas."""
    axial_nm: float = 500.0
    """Largest distance in z, regardless of the sigmas."""
    radius_nm: float | None = None
    """Largest lateral distance, which replaces ``sigmas`` and ``lateral_nm``. Distances are then measured in units of
    ``radius_nm`` and ``axial_nm``, and sigmas are not needed."""

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
    """Sightings, sorted by step; within a step, their order decides ties."""

    step: Integers
    """Step of each sighting, ``(N,)``."""
    position_3N: Floats
    """Positions in nm, in coordinates in which molecules do not move. All are finite; a position whose variance is
    infinite is ignored."""
    variance_3N: Floats
    """Variances in nm^2. Infinite along an axis whose position is unknown; such an axis is not compared."""
    channel: Integers | None = None
    """Channel of each sighting, ``(N,)``; sightings of different channels are never linked. None: a single channel."""

    def __len__(self) -> int:
        return len(self.step)


def find_previous(points: Points, gate: Gate, *, gap: int, num_carried: int = 0) -> Integers:
    """Return the index of each sighting's predecessor, ``(N,)``; -1 for the first sighting of a molecule.

    Parameters
    ----------
    gap
        Largest number of steps without a sighting between two linked sightings; -1 links nothing.
    num_carried
        Number of sightings at the beginning that come from earlier batches and have no follower yet. Their followers
        are searched among the remaining sightings, whose steps are later than those of all earlier batches.
    """
    previous = np.full(len(points), -1, dtype=np.int64)
    has_follower = np.zeros(len(points), dtype=np.bool_)
    if len(points) == num_carried:
        return previous
    search = _Search(points, gate)
    for apart in range(1, min(gap + 1, int(points.step[-1] - points.step[0])) + 1):
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
    """Return the index of the first sighting in the chain of each sighting, ``(N,)``."""
    first = np.where(previous < 0, np.arange(len(previous)), previous)
    while True:
        further = first[first]  # twice as far back each time
        if np.array_equal(further, first):
            return first
        first = further


class _Search:
    """Search for neighbours in another step, with one sorted list of keys.

    Each step is divided into strips along y. Strips are high enough that all neighbours of a sighting lie in at most
    two of them. The key of a sighting is (step, strip, x in cells), so its neighbours in a strip form one range of the
    sorted keys. This is a few times faster than one k-d tree per step, whose call overhead dominates where steps hold
    few sightings.
    """

    def __init__(self, points: Points, gate: Gate) -> None:
        self._points, self._gate = points, gate
        begins = np.diff(points.step, prepend=points.step[0] - 1) > 0
        self._steps, self._rank = points.step[begins], np.cumsum(begins) - 1
        x, y, _ = points.position_3N
        self._x0, self._y0 = float(x.min()), float(y.min())
        self._reach_nm = gate.reach_nm * (1 + 1e-9)  # slightly more, so that rounding loses no pair; the gate decides
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
        """Find all ``allowed`` sightings within the gate, ``apart`` steps before the ``wanted`` sightings.

        Return the indices of earlier and later sightings, and their distances.
        """
        before = np.searchsorted(self._steps, self._steps - apart)
        exists = self._steps[before] == self._steps - apart
        later = self._order[wanted[self._order]]  # in the order of the keys, so that memory accesses are local
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
        """Return the pairs that pass the gate, and their distances in units of sigma (of the limits, with a radius)."""
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
    """Round down and limit to 0 ... ``number`` - 1; this is monotonic, so no neighbour leaves its range of cells."""
    return np.clip(np.floor(values), 0, number - 1).astype(np.int64)


def _expand(start: Integers, count: Integers) -> Iterator[tuple[Integers, Integers]]:
    """Yield the indices in the ranges ``start`` to ``start + count``, and the range of each index, in portions."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(_PAIRS_AT_ONCE, total, _PAIRS_AT_ONCE))
    bounds = np.unique([0, *cuts.tolist(), len(count)])
    for low, high in zip([0, *bounds[1:-1]], [*bounds[1:-1], len(count)], strict=True):
        part = count[low:high]
        query = np.repeat(np.arange(low, high), part)
        offset = np.cumsum(part) - part
        yield np.arange(len(query)) - np.repeat(offset - start[low:high], part), query
