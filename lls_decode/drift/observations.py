"""One observation per molecule: successive detections of a molecule are replaced by their mean before correlation.

A molecule that stays on for ten frames is one piece of evidence, not ten, and would have the weight of a hundred pairs.
The table itself shows whether molecules stay on: points then have more neighbours in the next volume (or in other
planes of the same volume) than in distant volumes. Otherwise nothing is joined and the points stay unchanged, for
example with one frame per molecule, or with sites that are visited repeatedly. Nothing is joined either if chance
neighbours are so frequent that molecules cannot be told apart.
Shape letters: ``N`` points, ``M`` molecules, ``D`` axes.
"""

import itertools
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from lls_decode.drift.points import Points

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_RADIUS_SIGMAS: Final = 4.0
"""Distance within which two detections of one molecule nearly always lie, in units of their own uncertainty."""
_MIN_EXCESS: Final = 0.05
"""Share of points with a neighbour in the next volume, above that expected by chance, for which molecules stay on."""
_MAX_CHANCE: Final = 0.3
"""Share of points with a chance neighbour above which nothing is joined."""
_FAR_SHARE: Final = 0.05
"""Distance in time, as a share of all volumes, at which neighbours are due to chance; at least `_FAR_VOLUMES`."""
_FAR_VOLUMES: Final = 20
_SAMPLE: Final = 100_000
"""Number of points whose neighbours are counted for this decision."""
_LONGEST_SHARE: Final = 1 / 64
"""Longest observation, as a share of all volumes: anything that stays on longer (a bead) gives one observation in each
such period."""
_PIECE: Final = 200_000
"""Number of points that are joined at a time."""


def one_of_each_molecule(points: Points) -> Points:
    """Replace successive detections of a molecule by their mean, if molecules stay on at all."""
    scaled_ND = points.position_nm / (_RADIUS_SIGMAS * np.sqrt(2) * points.sigma_nm)
    if not _stay_on(scaled_ND, points):
        return points
    molecule = _joined(scaled_ND, points)
    longest = max(1, round(points.num_volumes * _LONGEST_SHARE))
    begin = np.full(int(molecule.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(begin, molecule, points.volume)
    part = (points.volume - begin[molecule]) // longest
    _, molecule = np.unique(molecule * (int(part.max()) + 1) + part, return_inverse=True)
    count = np.bincount(molecule)
    mean = np.stack([np.bincount(molecule, axis) / count for axis in points.position_nm.T], axis=1)
    volume = np.rint(np.bincount(molecule, points.volume - points.first_volume) / count).astype(np.int64)
    order = np.argsort(volume, kind="stable")
    return replace(points, position_nm=mean[order].astype(np.float32), volume=volume[order] + points.first_volume)


def _stay_on(scaled_ND: npt.NDArray[np.floating], points: Points) -> bool:
    """Return whether points have more neighbours near in time than by chance, and few by chance."""
    far = max(_FAR_VOLUMES, round(_FAR_SHARE * points.num_volumes))
    if points.num_volumes < 2 * far:
        return False
    asked = np.arange(0, len(points), -(-len(points) // _SAMPLE))
    tree = cKDTree(_with_time(scaled_ND, points.volume))
    near, chance = 0.0, []
    for away in (1, far, -far):
        volume = points.volume[asked] + away
        inside = (volume >= points.first_volume) & (volume <= points.last_volume)
        distance, _ = tree.query(_with_time(scaled_ND[asked], volume)[inside], distance_upper_bound=1.0)
        found = float(np.isfinite(distance).mean()) if inside.any() else 0.0
        if away == 1:
            near = found
        else:
            chance.append(found)
    return near - max(chance) > _MIN_EXCESS and max(chance) < _MAX_CHANCE


def _joined(scaled_ND: npt.NDArray[np.floating], points: Points) -> Integers:
    """Return the molecule ``(N,)`` of each point, from chains of nearest neighbours in equal or successive volumes."""
    links = []
    starts = np.append(np.unique(np.searchsorted(points.volume, points.volume[::_PIECE])), len(points))
    for start, stop in itertools.pairwise(starts):
        beyond = int(np.searchsorted(points.volume, points.volume[stop - 1] + 2, side="right"))
        tree = cKDTree(_with_time(scaled_ND[start:beyond], points.volume[start:beyond]))
        asking = np.arange(start, stop)
        for away in (0, 1, 2):
            query = _with_time(scaled_ND[asking], points.volume[asking] + away)
            distance, found = tree.query(query, k=[2] if away == 0 else [1], distance_upper_bound=1.0)
            near = np.isfinite(distance[:, 0])
            links.append(_nearest_only(asking[near], start + found[near, 0], distance[near, 0]))
            if away:
                asking = asking[~near]
    one, other = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(one)), (one, other)), shape=(len(points), len(points)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _nearest_only(asking: Integers, found: Integers, distance: Floats) -> Integers:
    """Return the links ``(2, K)``, only the shortest one to each point found."""
    order = np.lexsort((distance, found))
    first = np.unique(found[order], return_index=True)[1]
    return np.stack([asking[order][first], found[order][first]])


def _with_time(scaled_ND: npt.NDArray[np.floating], volume: Integers) -> Floats:
    """Return coordinates in which points of different volumes are at least 2 apart."""
    return np.column_stack([scaled_ND, 2.0 * volume])
