"""Matching of found and true emitters: pairs within a cylinder, frame by frame, each emitter at most once.

All frames are searched at once, with the frame number as a coordinate along which frames are far apart, so there is no
Python loop over frames. Distances are 3-D; pairs are compared in 2-D if z is not known on both sides.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from lls_decode.emitters import Emitters
from lls_decode.errors import TableError
from lls_decode.pairs import best_first

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Method = Literal["greedy", "hungarian"]


@dataclass(frozen=True)
class Matches:
    """Matched rows, and rows without partner. All arrays are row numbers, ascending in ``truth``."""

    truth: Integers
    """``(M,)`` rows of the truth that were found."""
    found: Integers
    """``(M,)`` found row for each of them."""
    missed: Integers
    """Rows of the truth without partner."""
    spurious: Integers
    """Found rows without partner."""

    def __len__(self) -> int:
        return len(self.truth)


def match(
    truth: Emitters,
    found: Emitters,
    *,
    lateral_nm: float = 250.0,
    axial_nm: float = 500.0,
    method: Method = "greedy",
) -> Matches:
    """Pair true and found emitters of the same frame that lie within a cylinder of each other.

    Parameters
    ----------
    truth, found
        Positions in nm; rows in any order.
    lateral_nm, axial_nm
        Radius and half-height of the cylinder, both included (250 and 500 nm in Speiser et al. 2021, Methods).
    method
        ``greedy`` repeatedly takes the closest pair of all; equal distances go to the lower row of the truth, then of
        the found table. ``hungarian`` makes as many pairs as possible, then minimizes the sum of their distances (Sage
        et al., Nat. Methods 2019).

    Raises
    ------
    TableError
        A lateral position is NaN or infinite.
    """
    pairs, distance = _candidates(truth, found, lateral_nm, axial_nm)
    choose = _greedy if method == "greedy" else _hungarian
    chosen = choose(pairs, distance, len(truth), len(found))
    chosen = chosen[np.argsort(pairs[chosen, 0])]
    rows_truth, rows_found = pairs[chosen, 0], pairs[chosen, 1]
    return Matches(rows_truth, rows_found, _others(rows_truth, len(truth)), _others(rows_found, len(found)))


def _others(rows: Integers, length: int) -> Integers:
    left = np.ones(length, dtype=np.bool_)
    left[rows] = False
    return np.flatnonzero(left)


def _candidates(truth: Emitters, found: Emitters, lateral_nm: float, axial_nm: float) -> tuple[Integers, Floats]:
    """Return rows ``(K, 2)`` of all pairs within the cylinder, closest first, and their distances ``(K,)`` in nm."""
    for name, emitters in (("truth", truth), ("found", found)):
        bad = ~(np.isfinite(emitters.x_nm) & np.isfinite(emitters.y_nm))
        if bad.any():
            raise TableError(
                f"The {name} table has {int(bad.sum())} rows without a finite x_nm and y_nm (first: row "
                f"{int(np.argmax(bad))}); remove them before matching."
            )
    if len(truth) == 0 or len(found) == 0:
        return np.empty((0, 2), dtype=np.int64), np.empty(0)
    apart = 4.0 * lateral_nm
    # slightly more than the radius, since the tree's distance includes the rounding of the frame coordinate
    near = _tree(truth, apart).sparse_distance_matrix(
        _tree(found, apart), lateral_nm * (1 + 1e-6) + 1e-6, output_type="ndarray"
    )
    i, j = near["i"].astype(np.int64), near["j"].astype(np.int64)
    dx, dy = found.x_nm[j] - truth.x_nm[i], found.y_nm[j] - truth.y_nm[i]
    dz = np.nan_to_num(found.z_nm[j] - truth.z_nm[i], nan=0.0)
    within = (dx**2 + dy**2 <= lateral_nm**2) & (np.abs(dz) <= axial_nm)
    i, j, distance = i[within], j[within], np.sqrt(dx**2 + dy**2 + dz**2)[within]
    order = np.lexsort((j, i, distance))
    return np.stack([i[order], j[order]], axis=1), distance[order]


def _tree(emitters: Emitters, apart: float) -> cKDTree:
    points = np.stack([emitters.frame * apart, emitters.x_nm, emitters.y_nm], axis=1)
    return cKDTree(points, balanced_tree=False, compact_nodes=False)


def _greedy(pairs: Integers, distance: Floats, num_truth: int, num_found: int) -> Integers:
    """Choose pairs closest first; candidates are already sorted by distance."""
    return best_first(pairs[:, 0], pairs[:, 1], num_one=num_truth, num_other=num_found)


def _hungarian(pairs: Integers, distance: Floats, num_truth: int, num_found: int) -> Integers:
    """Choose the optimal assignment, separately for each group of emitters connected by candidate pairs."""
    if not len(pairs):
        return np.empty(0, dtype=np.int64)
    size = num_truth + num_found
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], num_truth + pairs[:, 1])), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    group = label[pairs[:, 0]]
    order = np.argsort(group, kind="stable")
    chosen = []
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if len(members) == 1:
            chosen.append(members)
            continue
        rows, i = np.unique(pairs[members, 0], return_inverse=True)
        columns, j = np.unique(pairs[members, 1], return_inverse=True)
        forbidden = float(distance[members].max() + 1) * (min(len(rows), len(columns)) + 1)
        cost = np.full((len(rows), len(columns)), forbidden)
        number = np.full(cost.shape, -1, dtype=np.int64)
        cost[i, j], number[i, j] = distance[members], members
        assigned = number[linear_sum_assignment(cost)]
        chosen.append(assigned[assigned >= 0])
    return np.concatenate(chosen)
