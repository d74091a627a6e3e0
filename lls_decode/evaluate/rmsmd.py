"""Root mean square minimum distance: how well two sets of points cover each other, without pairing them.

Sun, Sci. Rep. 8, 17211 (2018): D^2 = (sum over S of the squared distance to the nearest of X + sum over X of the
squared distance to the nearest of S) / (M + K), for M true positions S and K found positions X. With partition
(RMSMD-P: Sun, JOSA A 39, 2307 (2022), equation 11) each found position belongs to one molecule, and both sums run
within the parts; this is the number on the leaderboards of NAIRR-SMLM. Distances are not limited: one detection far
from everything costs its distance squared.
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
    """Three variants of the distance, nm; NaN if a side is empty, or molecules have no number."""

    pooled_nm: float
    """S: each molecule of the truth once; X: all detections of all frames."""
    partition_nm: float
    """The same sets, with each detection assigned to a molecule (RMSMD-P)."""
    frames_nm: float
    """S and X of each frame separately; squares and numbers of points are summed over frames."""
    alone_truth: int
    """Number of true emitters in frames without a detection; they have no distance, and are not in ``frames_nm``."""
    alone_found: int
    """Number of detections in frames without a true emitter, which are not in ``frames_nm`` either."""

    def to_dict(self) -> dict[str, float | int | None]:
        """Return plain values for JSON, with None in place of NaN."""
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(self).items()}


def rmsmd(truth: Emitters, found: Emitters) -> Rmsmd:
    """Compare a table with a truth that has one row for each frame in which a molecule is on.

    Distances are 3-D if both tables have z, else 2-D. The position of a molecule is the mean of its rows.
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
    """Return the RMSMD of two sets of points, (M, D) and (K, D), in their unit; NaN if either is empty."""
    if not len(S) or not len(X):
        return math.nan
    squares = sum((cKDTree(a).query(b)[0] ** 2).sum() for a, b in ((S, X), (X, S)))
    return math.sqrt(squares / (len(S) + len(X)))


def partition_distance(S: Floats, activations: Integers, X: Floats) -> float:
    """Return the RMSMD-P of molecules ``S`` (M, D), on in ``activations`` (M,) frames, and positions ``X`` (K, D)."""
    if not len(S) or not len(X):
        return math.nan
    owner = partition(S, activations, X)
    square = ((X - S[owner]) ** 2).sum(axis=1)
    nearest = np.full(len(S), np.inf)
    np.minimum.at(nearest, owner, square)
    empty = ~np.isfinite(nearest)  # a molecule without positions borrows the nearest one of all as its only one
    borrowed = cKDTree(X).query(S[empty])[0] ** 2 if empty.any() else np.zeros(0)
    total = square.sum() + nearest[~empty].sum() + 2 * borrowed.sum()
    return math.sqrt(total / (len(X) + len(borrowed) + len(S)))


def partition(S: Floats, activations: Integers, X: Floats) -> Integers:
    """Return the molecule (K,) that each found position belongs to.

    Each molecule may have a share of the positions: in proportion to its activations, or equal shares if there are
    fewer than two positions per molecule (one picture from all frames together). The closest pair of a position and a
    molecule with room left is assigned repeatedly. Positions left over by rounding are assigned in the same way, at
    most one more to each molecule.
    """
    share = np.full(len(S), 1 / len(S)) if len(X) < 2 * len(S) else activations / activations.sum()
    room = np.floor(len(X) * share + 0.5).astype(np.int64)
    owner = np.full(len(X), -1, dtype=np.int64)
    while (owner < 0).any():
        _closest_first(S, X, room, owner)
        room = np.ones(len(S), dtype=np.int64)
    return owner


def _closest_first(S: Floats, X: Floats, room: Integers, owner: Integers) -> None:
    """Assign positions without owner to molecules, closest pairs first, until no position or no room is left."""
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
        else:  # closer positions have taken its place
            heapq.heappush(waiting, best(position))


def _points(emitters: Emitters, with_z: bool) -> Floats:
    columns = [emitters.x_nm, emitters.y_nm, *([emitters.z_nm] if with_z else [])]
    points = np.stack(columns, axis=1)
    if not np.isfinite(points).all():
        raise TableError("A table has rows without a finite x_nm and y_nm; remove them before they are compared.")
    return points


def _by_frame(S: Floats, frame_S: Integers, X: Floats, frame_X: Integers) -> tuple[float, int, int]:
    """Return the RMSMD within frames, and the numbers of points on either side that are alone in their frame."""
    both = np.intersect1d(frame_S, frame_X)
    in_S, in_X = np.isin(frame_S, both), np.isin(frame_X, both)
    alone = int((~in_S).sum()), int((~in_X).sum())
    if not len(both):
        return math.nan, *alone
    # the frame number as a coordinate along which frames are further apart than points within a frame
    points = np.concatenate([S, X])
    apart = 2.0 * float(np.linalg.norm(np.ptp(points, axis=0))) + 1.0
    a = np.column_stack([np.searchsorted(both, frame_S[in_S]) * apart, S[in_S]])
    b = np.column_stack([np.searchsorted(both, frame_X[in_X]) * apart, X[in_X]])
    return minimum_distance(a, b), *alone
