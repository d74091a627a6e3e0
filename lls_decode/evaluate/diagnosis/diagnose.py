"""Diagnosis of mistakes between a truth and a table: each kind is tried, and measured by its effect on the score."""

from dataclasses import replace
from typing import Final

import numpy as np

from lls_decode.config import PixelSize
from lls_decode.emitters import Emitters
from lls_decode.evaluate.coverage import FrameCoverage
from lls_decode.evaluate.diagnosis.change import TruthChange
from lls_decode.evaluate.diagnosis.findings import Cause, Diagnosis, Wording, split
from lls_decode.evaluate.diagnosis.remainder import FEWEST, wrong_depth, wrong_photons, wrong_place, wrong_scale
from lls_decode.evaluate.diagnosis.sample import FEW_ROWS, MOST_ROWS, Marks, Sample
from lls_decode.evaluate.diagnosis.search import find_change
from lls_decode.evaluate.score import Criteria

_FEWEST_EXPECTED: Final = 20
"""Smallest number of rows that must be missing from the truth in frames without any, before it is said to end there."""


def diagnose(
    truth: Emitters,
    found: Emitters,
    *,
    coverage: FrameCoverage | None = None,
    pixel: PixelSize | None = None,
    planes_per_volume: int = 1,
    start: TruthChange | None = None,
    first_frame: int = 0,
    photons_per_count: float | None = None,
    criteria: Criteria | None = None,
) -> Diagnosis:
    """Find probable mistakes between a truth and a table: frames, planes, axes, place, scale, depth, photons.

    Each mistake is measured by how much undoing it changes the score. Truth and table that fit give no cause. The cost
    is bounded, since only a sample of frames is compared.

    Parameters
    ----------
    truth, found
        All rows of the truth as read, and of the table.
    coverage
        Frames and region that count; None: all frames.
    pixel
        Size of a camera pixel, by which offsets of half a pixel are recognized.
    start
        Change that the evaluation already applies to the truth; causes are searched on top of it.
    first_frame
        Number of the first frame in the format of the truth.
    photons_per_count
        Photons per camera count, if known.
    criteria
        As for `lls_decode.evaluate.compare`.
    """
    begin = start or TruthChange()
    truth = begin.apply(truth, planes_per_volume=planes_per_volume)
    kept, within = found, truth
    if coverage is not None:
        kept, within = found.select(coverage.covers(found)), truth.select(coverage.covers(truth))
    notes = [] if begin.ignore_z else _notes(truth, kept)
    if not len(truth) or not len(kept):
        return _nothing(begin, notes)
    sample, small = (
        Sample(
            truth,
            kept,
            planes_per_volume=planes_per_volume if begin.planes == "as_is" else 1,
            criteria={**(criteria or Criteria()), "method": "greedy"},
            coverage=coverage,
            most_rows=most,
        )
        for most in (MOST_ROWS, FEW_ROWS)
    )
    change = _undo(sample, find_change(small), pixel)
    total = begin.then(change)
    after = sample.marks(change)
    causes = tuple(
        Cause(name, words, option, sample.marks(without), after)
        for name, words, option, without in split(change, Wording(total, first_frame, pixel, photons_per_count))
    )
    notes += _ends(within, kept) if not causes else []
    return Diagnosis(
        causes=causes,
        notes=tuple(notes),
        change=change,
        options=total.options(first_frame) if causes else "",
        before=sample.marks(TruthChange()) if causes else after,
        after=after,
        num_frames=len(sample.frames),
        num_rows=len(sample.found),
        is_sampled=len(sample.found) < len(kept),
    )


def _undo(sample: Sample, change: TruthChange, pixel: PixelSize | None) -> TruthChange:
    """Return the change under which the truth fits: place, depth and photons are fitted after gross mistakes."""
    if len(sample.found) < FEWEST:
        return change
    change = wrong_scale(sample, change)
    change = wrong_place(sample, change, pixel)
    change = replace(change, ignore_z=True) if _has_no_depth(sample, change) else wrong_depth(sample, change)
    return wrong_photons(sample, change)


def _has_no_depth(sample: Sample, change: TruthChange) -> bool:
    """Return whether the truth has the same z in all rows, but the table has not."""
    true, seen = sample.truth(change).z_nm, sample.found.z_nm
    true, seen = true[np.isfinite(true)], seen[np.isfinite(seen)]
    if min(len(true), len(seen)) < FEWEST:
        return False
    return bool(np.ptp(true) == 0 and np.ptp(seen) > 0 and np.std(seen) > 1.0)


def _notes(truth: Emitters, found: Emitters) -> list[str]:
    """Return notes about what cannot be compared because one side lacks it."""
    has_z = [bool(np.isfinite(rows.z_nm).any()) for rows in (truth, found)]
    notes = []
    if len(truth) and len(found) and has_z[0] != has_z[1]:
        without = "table" if has_z[0] else "truth"
        notes.append(f"The {without} has no z: rows are compared in x and y only, and depth is not judged")
    return notes


def _ends(truth: Emitters, found: Emitters) -> list[str]:
    """Return a note if the truth has no rows in frames where it should have many."""
    if not len(truth) or not len(found):
        return []
    first, last = int(truth.frame.min()), int(truth.frame.max())
    outside = (found.frame < first) | (found.frame > last)
    rate = len(truth) / (last - first + 1)
    beyond = max(int(found.frame.max()) - last, 0) + max(first - int(found.frame.min()), 0)
    if rate * beyond < _FEWEST_EXPECTED or outside.sum() < _FEWEST_EXPECTED:
        return []
    return [
        f"The truth has rows in frames {first} to {last} only; {int(outside.sum())} rows of the table lie in "
        f"other frames and count as wrong. If the truth ends there, use --frames {first}:{last + 1}"
    ]


def _nothing(begin: TruthChange, notes: list[str]) -> Diagnosis:
    nan = float("nan")
    empty = Marks(nan, nan, nan, nan)
    return Diagnosis((), tuple(notes), begin, "", empty, empty, 0, 0, is_sampled=False)
