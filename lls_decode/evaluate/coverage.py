"""Frames that count in an evaluation: those covered by the table, with rows or without."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.blocks import FrameRanges
from lls_decode.emitters import Emitters

Range = tuple[float, float]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_MOST_NAMED = 3
"""Number of ranges above which frames are no longer listed in messages."""


@dataclass(frozen=True)
class FrameCoverage:
    """Frames covered by a table: a frame without rows means that nothing was found there."""

    ranges: FrameRanges
    """Ranges in ascending order that exclude their end."""
    source: str
    """How the coverage is known, in words that follow a semicolon."""
    is_stated: bool = True
    """False if the table does not state its frames, and they are assumed from the first and the last row."""
    region_nm: tuple[Range, Range] | None = None
    """Ranges of ``x_nm`` and ``y_nm`` that the run has localized; None: whole frames."""

    @property
    def num_frames(self) -> int:
        """Number of frames in all ranges."""
        return sum(stop - start for start, stop in self.ranges)

    def holds(self, frame: Integers) -> Mask:
        """Return whether each frame is covered."""
        if not self.ranges:
            return np.zeros(len(frame), dtype=np.bool_)
        starts, stops = np.asarray(self.ranges, dtype=np.int64).T
        place = np.searchsorted(starts, frame, side="right") - 1
        return np.asarray((place >= 0) & (frame < stops[np.maximum(place, 0)]))

    def covers(self, rows: Emitters) -> Mask:
        """Return whether each row lies in a covered frame, and in the region of the run."""
        return np.asarray(self.holds(rows.frame) & self.in_region(rows))

    def in_region(self, rows: Emitters) -> Mask:
        """Return whether each row lies in the region of the run, in whatever frame."""
        mask = np.ones(len(rows), dtype=np.bool_)
        if self.region_nm is not None:
            for value, (low, high) in zip((rows.x_nm, rows.y_nm), self.region_nm, strict=True):
                mask &= (value >= low) & (value < high)
        return mask

    def within(self, start: int, stop: int | None) -> FrameRanges:
        """Return the covered ranges within another range."""
        end = self.ranges[-1][1] if stop is None and self.ranges else stop or 0
        cut = ((max(low, start), min(high, end)) for low, high in self.ranges)
        return tuple((low, high) for low, high in cut if low < high)

    def describe(self) -> str:
        """Return the covered frames in words, with ranges that include their last frame."""
        if not self.ranges:
            return "none"
        words = [f"{low} to {high - 1}" if high - low > 1 else str(low) for low, high in self.ranges]
        if len(words) <= _MOST_NAMED:
            return ", ".join(words)
        return f"{self.num_frames} of {self.ranges[0][0]} to {self.ranges[-1][1] - 1}, in {len(words)} ranges"


@dataclass(frozen=True)
class FramesJudged:
    """Frames and rows that an evaluation counted, and rows that it left out."""

    coverage: FrameCoverage
    spanned: tuple[int, int]
    """Range of frames (end excluded) of truth and coverage together."""
    truth_outside: int
    """Number of rows of the truth that are not covered, which do not count."""
    found_outside: int
    """Number of rows of the table that are not covered, which do not count."""

    def describe(self) -> str:
        """Return the frames and omitted rows in one sentence, for text and picture."""
        first, last = self.spanned[0], self.spanned[1] - 1
        words = f"{self.coverage.describe()} of {first} to {last}; {self.coverage.source}"
        others = "in other frames"
        if self.coverage.region_nm is not None:
            (left, right), (top, bottom) = self.coverage.region_nm
            words += f"; x {left:.0f} to {right:.0f} nm and y {top:.0f} to {bottom:.0f} nm, the region of the run"
            others = "elsewhere"
        if self.truth_outside:
            words += f"; truth rows {others} do not count ({self.truth_outside} rows)"
        if self.found_outside:
            words += f"; {self.found_outside} rows of the table lie {others} and do not count"
        return words

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "counted": [list(item) for item in self.coverage.ranges],
            "num_frames": self.coverage.num_frames,
            "source": self.coverage.source,
            "is_stated": self.coverage.is_stated,
            "region_nm": None if self.coverage.region_nm is None else [list(item) for item in self.coverage.region_nm],
            "spanned": list(self.spanned),
            "truth_rows_outside": self.truth_outside,
            "found_rows_outside": self.found_outside,
        }


def covered(truth: Emitters, found: Emitters, coverage: FrameCoverage) -> tuple[Mask, Mask, FramesJudged]:
    """Return which rows of the truth and of the table are covered, and a record of the rows that are not."""
    keep_truth, keep_found = coverage.covers(truth), coverage.covers(found)
    ends = [(low, high) for low, high in (*coverage.ranges[:1], *coverage.ranges[-1:])]
    if len(truth):
        ends.append((int(truth.frame.min()), int(truth.frame.max()) + 1))
    spanned = (min(low for low, _ in ends), max(high for _, high in ends)) if ends else (0, 1)
    judged = FramesJudged(coverage, spanned, int((~keep_truth).sum()), int((~keep_found).sum()))
    return keep_truth, keep_found, judged
