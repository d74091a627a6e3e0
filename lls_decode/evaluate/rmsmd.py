"""Root mean square minimum distance: how well two sets of points cover each other, without pairing them.

Sun, Sci. Rep. 8, 17211 (2018): D^2 = (sum over S of the squared distance to the nearest of X + sum over X of that to
the nearest of S) / (M + K), for M true positions S and K found ones X. With partition (RMSMD-P: Sun, JOSA A 39, 2307
(2022), equation 11) each found position belongs to one molecule, and both sums run inside the parts; this is the
number on the leaderboards of NAIRR-SMLM. No distance is too large to count: one detection far from everything costs
its distance squared.
"""

import heapq
import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from lls_decode.emitters import Emitters
from lls_decode.errors import TableError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rmsmd:
    """The three ways to take it, nm; NaN where a side is empty, or molecules have no number."""

    pooled_nm: float
    """S: each molecule of the truth once; X: all detections of all frames."""
    partition_nm: float
    """The same sets, with the detections shared out among the molecules (RMSMD-P)."""
    frames_nm: float
    """S and X of each frame by itself; squares and numbers of points are summed over frames."""
    alone_truth: int
    """Truths in frames without a detection: they have no distance, and are not in ``frames_nm``."""
    alone_found: int
    """Detections in frames without a truth, likewise."""

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values for JSON, None in place of NaN."""
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(self).items()}


def rmsmd(truth: Emitters, found: Emitters) -> Rmsmd:
    """Of a table against a truth that has one row for each frame in which a molecule is on.

    Distances are 3-D where both tables have z, else 2-D. A molecule's position is the mean of its rows.
    """
    with_z = all(len(side) and np.isfinite(side.z_nm).all() for side in (truth, found))
    S, X = _points(truth, with_z), _points(found, with_z)
    frames_nm, alone_truth, alone_found = _by_frame(S, truth.frame, X, found.frame)
    if not len(truth) or not len(found) or (truth.id < 0).any():
        return Rmsmd(math.nan, math.nan, frames_nm, alone_truth, alone_found)
    _, place, activations = np.unique(truth.id, return_inverse=True, return_counts=True)
    molecules = np.stack([np.bincount(place, column) / activations for column in S.T], axis=1)
    return Rmsmd(
        minimum_distance(molecules, X),
        partition_distance(molecules, activations, X),
        frames_nm,
        alone_truth,
        alone_found,
    )


def minimum_distance(S: Floats, X: Floats) -> float:
    """RMSMD of two sets of points, (M, D) and (K, D), in their unit; NaN when either is empty."""
    if not len(S) or not len(X):
        return math.nan
    squares = sum((cKDTree(a).query(b)[0] ** 2).sum() for a, b in ((S, X), (X, S)))
    return math.sqrt(squares / (len(S) + len(X)))


def partition_distance(S: Floats, activations: Integers, X: Floats) -> float:
    """RMSMD-P of molecules ``S`` (M, D), seen in so many frames each (M,), and found positions ``X`` (K, D)."""
    if not len(S) or not len(X):
        return math.nan
    owner = partition(S, activations, X)
    square = ((X - S[owner]) ** 2).sum(axis=1)
    nearest = np.full(len(S), np.inf)
    np.minimum.at(nearest, owner, square)
    empty = ~np.isfinite(nearest)  # a molecule nobody found takes the nearest position of all, as its only one
    borrowed = cKDTree(X).query(S[empty])[0] ** 2 if empty.any() else np.zeros(0)
    total = square.sum() + nearest[~empty].sum() + 2 * borrowed.sum()
    return math.sqrt(total / (len(X) + len(borrowed) + len(S)))


def partition(S: Floats, activations: Integers, X: Floats) -> Integers:
    """(K,) the molecule that each found position belongs to.

    Each molecule may have its share of the positions: in proportion to its activations, or the same for all when there
    are fewer than two positions a molecule (one picture from all frames together). The closest pair of position and
    molecule with room goes together, again and again. What is left by rounding goes the same way, one more at most to
    each molecule.
    """
    share = np.full(len(S), 1 / len(S)) if len(X) < 2 * len(S) else activations / activations.sum()
    room = np.floor(len(X) * share + 0.5).astype(np.int64)
    owner = np.full(len(X), -1, dtype=np.int64)
    while (owner < 0).any():
        _closest_first(S, X, room, owner)
        room = np.ones(len(S), dtype=np.int64)
    return owner


def _closest_first(S: Floats, X: Floats, room: Integers, owner: Integers) -> None:
    """Give positions without owner to molecules, closest pairs first, until nobody is left or no room is."""
    left, is_open = np.flatnonzero(owner < 0), room > 0

    def best(position: int) -> tuple[float, int, int]:
        candidates = np.flatnonzero(is_open)
        square = ((S[candidates] - X[position]) ** 2).sum(axis=1)
        nearest = int(square.argmin())
        return float(square[nearest]), position, int(candidates[nearest])

    waiting = [best(position) for position in left.tolist()] if is_open.any() else []
    heapq.heapify(waiting)
    while waiting and is_open.any():
        _, position, molecule = heapq.heappop(waiting)
        if is_open[molecule]:
            owner[position] = molecule
            room[molecule] -= 1
            is_open[molecule] = room[molecule] > 0
        else:  # its place was taken by closer ones
            heapq.heappush(waiting, best(position))


def _points(emitters: Emitters, with_z: bool) -> Floats:
    columns = [emitters.x_nm, emitters.y_nm, *([emitters.z_nm] if with_z else [])]
    points = np.stack(columns, axis=1)
    if not np.isfinite(points).all():
        raise TableError("A table has rows without a finite x_nm and y_nm; remove them before they are compared.")
    return points


def _by_frame(S: Floats, frame_S: Integers, X: Floats, frame_X: Integers) -> tuple[float, int, int]:
    """RMSMD inside frames, and the points of either side that are alone in theirs."""
    both = np.intersect1d(frame_S, frame_X)
    in_S, in_X = np.isin(frame_S, both), np.isin(frame_X, both)
    alone = int((~in_S).sum()), int((~in_X).sum())
    if not len(both):
        return math.nan, *alone
    # the number of the frame as a coordinate in which neighbours are further apart than anything inside a frame
    points = np.concatenate([S, X])
    apart = 2.0 * float(np.linalg.norm(np.ptp(points, axis=0))) + 1.0
    a = np.column_stack([np.searchsorted(both, frame_S[in_S]) * apart, S[in_S]])
    b = np.column_stack([np.searchsorted(both, frame_X[in_X]) * apart, X[in_X]])
    return minimum_distance(a, b), *alone
