"""Sample of frames in which changes of a truth are tried, with a cost that is bounded for tables of any size.

Shape letters: ``K`` pairs of a found and a true row in one frame.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from lls_decode.emitters import Emitters
from lls_decode.evaluate.coverage import FrameCoverage
from lls_decode.evaluate.diagnosis.change import TruthChange, num_volumes
from lls_decode.evaluate.matching import Matches, match
from lls_decode.evaluate.score import Comparison, Criteria, compare, summarize

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

MOST_ROWS: Final = 20_000
"""Largest number of rows (found and true together) for measurements; at least one frame is used."""
FEW_ROWS: Final = 5000
"""Largest number of rows for trying the many candidates."""
MOST_PAIRS: Final = 200_000
"""Largest number of pairs that vote on one change."""


@dataclass(frozen=True)
class Marks:
    """Scores that a diagnosis quotes."""

    jaccard: float
    rmse_lateral_nm: float
    rmse_axial_nm: float
    photon_ratio: float


class Sample:
    """Rows of a table in some frames, and the corresponding truth under any change."""

    def __init__(
        self,
        truth: Emitters,
        found: Emitters,
        *,
        planes_per_volume: int = 1,
        criteria: Criteria | None = None,
        coverage: FrameCoverage | None = None,
        most_rows: int = MOST_ROWS,
    ) -> None:
        """Choose frames at random, reproducibly.

        ``truth`` has all its rows, and ``found`` only those that count. Under each change, the rows of the truth count
        that the change puts into the frames of the sample and into the region of ``coverage``.
        """
        self.planes_per_volume = planes_per_volume
        self.criteria = criteria or Criteria()
        self._truth = truth
        self._coverage = coverage
        self._order = np.argsort(truth.frame, kind="stable")
        self._sorted = truth.frame[self._order]
        self.frames = _choose(
            found.frame, truth.frame[coverage.holds(truth.frame)] if coverage else truth.frame, len(truth), most_rows
        )
        self.found = found.select(np.isin(found.frame, self.frames))
        """Rows of the table in the chosen frames."""
        self.first_frames = _first_frames(truth, found)
        """Frame shifts of the truth that align its first (or last) frame with that of the table."""

    @property
    def lateral_nm(self) -> float:
        """Radius of a match."""
        return float(self.criteria.get("lateral_nm", 250.0))

    def true_rows(self, change: TruthChange, *, frames: Integers | None = None) -> tuple[Integers, Integers]:
        """Return the rows of the truth that a change puts into the sample's (or other) frames, and these frames."""
        wanted = self.frames if frames is None else frames
        volumes = num_volumes(self._truth, change, self.planes_per_volume)
        raw = change.unmap_frames(wanted, self.planes_per_volume, volumes)
        start = np.searchsorted(self._sorted, raw, side="left")
        count = np.searchsorted(self._sorted, raw, side="right") - start
        rows = self._order[np.repeat(start - np.cumsum(count) + count, count) + np.arange(count.sum())]
        return rows, np.repeat(wanted, count)

    def truth(self, change: TruthChange) -> Emitters:
        """Return the changed truth in the frames of the sample and in the region that counts."""
        rows, frame = self.true_rows(change)
        truth = replace(change.place(self._truth.select(rows)), frame=frame)
        return truth if self._coverage is None else truth.select(self._coverage.in_region(truth))

    def positions(self, rows: Integers) -> Floats:
        """Return the unchanged x and y (K, 2) of some rows of the truth."""
        return np.stack([self._truth.x_nm[rows], self._truth.y_nm[rows]], axis=1)

    def lateral_matches(self, change: TruthChange) -> tuple[Emitters, Matches]:
        """Return the changed truth, and its matches with found rows in x and y only."""
        truth = self.truth(replace(change, ignore_z=False))
        flat = replace(truth, z_nm=np.full(len(truth), np.nan))
        return truth, match(flat, self.found, lateral_nm=self.lateral_nm)

    def hits(self, change: TruthChange) -> Mask:
        """Return whether each found row has a true partner in x and y."""
        hit = np.zeros(len(self.found), dtype=np.bool_)
        hit[self.lateral_matches(change)[1].found] = True
        return hit

    def compare(self, change: TruthChange) -> Comparison:
        """Compare the changed truth with the table by the criteria of the evaluation."""
        return compare(self.truth(change), self.found, **self.criteria)

    def marks(self, change: TruthChange) -> Marks:
        """Score the changed truth by the criteria of the evaluation."""
        s = summarize(self.compare(change))
        return Marks(s.jaccard, s.rmse_lateral_nm, s.rmse_axial_nm, s.photon_ratio)

    def pairs(self, change: TruthChange) -> tuple[Floats, Floats]:
        """Return found and unchanged true positions (K, 2) of pairs in one frame; of a subset of found rows if many."""
        rows, frame = self.true_rows(change)
        found, place, count = _partners(self.found.frame, frame)
        if count.sum() > MOST_PAIRS:
            chosen = np.random.default_rng(0).random(len(found)) < MOST_PAIRS / count.sum()
            if not chosen.any():
                chosen[0] = True
            found, place, count = found[chosen], place[chosen], count[chosen]
        owner = np.repeat(found, count)
        partner = rows[np.repeat(place - np.cumsum(count) + count, count) + np.arange(count.sum())]
        return np.stack([self.found.x_nm[owner], self.found.y_nm[owner]], axis=1), self.positions(partner)

    def frame_differences(self, axes_swapped: bool, *, most_pairs: int = 3_000_000) -> Integers:
        """Return found minus true frame of rows at the same place.

        A few found rows are used, and up to 200 frames either way.
        """
        per_frame = max(
            len(self._truth) / max(len(np.unique(self._sorted[:: max(len(self._sorted) // 5000, 1)])), 1), 1.0
        )
        per_frame = min(per_frame, len(self._truth) / max(int(self._sorted[-1] - self._sorted[0]) + 1, 1) + 1)
        reach = int(np.clip(most_pairs / per_frame / 40, 2, 200))
        num = max(int(most_pairs / per_frame / (2 * reach + 1)), 1)
        random = np.random.default_rng(1)
        chosen = random.choice(len(self.found), min(num, len(self.found), 2000), replace=False)
        frame = self.found.frame[chosen]
        start = np.searchsorted(self._sorted, frame - reach, side="left")
        count = np.searchsorted(self._sorted, frame + reach, side="right") - start
        owner = np.repeat(chosen, count)
        rows = self._order[np.repeat(start - np.cumsum(count) + count, count) + np.arange(count.sum())]
        at = self.positions(rows)[:, ::-1] if axes_swapped else self.positions(rows)
        near = np.hypot(self.found.x_nm[owner] - at[:, 0], self.found.y_nm[owner] - at[:, 1]) <= self.lateral_nm
        return np.asarray(self.found.frame[owner[near]] - self._truth.frame[rows[near]])


def _choose(found: Integers, truth: Integers, num_truth: int, most_rows: int) -> Integers:
    """Return frames in ascending order: all of them, or as many as have no more than ``most_rows`` rows."""
    frames, place = np.unique(np.concatenate([found, truth]), return_inverse=True)
    count = np.bincount(place)
    if not len(truth) and len(frames):
        count = count + num_truth // len(frames)
    order = np.random.default_rng(0).permutation(len(frames))
    num = int(np.searchsorted(np.cumsum(count[order]), most_rows))
    return np.sort(frames[order[: max(num, 1)]])


def _first_frames(truth: Emitters, found: Emitters) -> tuple[int, ...]:
    if not len(truth) or not len(found):
        return ()
    return int(found.frame.min() - truth.frame.min()), int(found.frame.max() - truth.frame.max())


def _partners(frame: Integers, ascending: Integers) -> tuple[Integers, Integers, Integers]:
    """Return rows with partners in their frame, where the partners begin, and how many there are."""
    start = np.searchsorted(ascending, frame, side="left")
    count = np.searchsorted(ascending, frame, side="right") - start
    rows = np.flatnonzero(count)
    return rows, start[rows], count[rows]
