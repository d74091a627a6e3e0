"""Candidate changes that might bring a truth onto a table, found by votes of pairs of rows in one frame.

Each pair of a found and a true row votes for the translation (or the factor) that would bring one onto the other.
Votes of correct pairs agree, those of chance pairs scatter: a Hough transform (Duda and Hart, Commun. ACM 15, 1972).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from lls_decode.evaluate.diagnosis.change import TruthChange
from lls_decode.evaluate.diagnosis.sample import Sample

Floats = npt.NDArray[np.float64]

SYMMETRIES: Final = tuple(
    (f"{sx}{a}", f"{sy}{b}") for (a, b), sx, sy in product((("x", "y"), ("y", "x")), ("", "-"), ("", "-"))
)
"""Choices for the axes of the truth that may correspond to x and y: unchanged, exchanged, mirrored."""
_FEW_PEAKS: Final = 3
_LOG_RANGE: Final = 9.0
"""Range of the logarithm of factors that are tried, exp(-9) to exp(9); includes pixels or micrometres instead of nm."""


@dataclass(frozen=True)
class Candidate:
    """A change of the truth, and the number of pairs that voted for it."""

    change: TruthChange
    votes: int

    @property
    def num_causes(self) -> int:
        """Number of mistakes that the change implies.

        The translation that comes with a mirrored axis is not counted.
        """
        change = self.change
        mirrored = sum(axis.startswith("-") for axis in change.axes[:2])
        return (
            (change.frame_shift != 0)
            + (change.planes != "as_is")
            + (change.axes[0][-1] == "y")
            + mirrored
            + (change.scale != 1)
            + (not mirrored and change.shift_nm[:2] != (0.0, 0.0))
        )


def candidates(sample: Sample) -> list[Candidate]:
    """Return the changes of frames, planes, axes, factor and place that get votes, including all simple ones."""
    found: dict[TruthChange, Candidate] = {}
    for start, symmetries in _frame_changes(sample):
        seen, true = sample.pairs(start)
        if not len(seen):
            continue
        for axes in symmetries:
            turned = _turn(true, axes)
            change = replace(start, axes=(*axes, "z"))
            for item in _votes(change, seen, turned, sample.lateral_nm):
                if item.change not in found or found[item.change].votes < item.votes:
                    found[item.change] = item
    return sorted(found.values(), key=lambda item: (-item.votes, item.num_causes))


def _frame_changes(sample: Sample) -> Iterator[tuple[TruthChange, tuple[tuple[str, str], ...]]]:
    """Give the ways to number frames, and the axes to try with each."""
    shifts = [0, -1, 1, *sample.first_frames]
    for swapped in (False, True):
        values, counts = np.unique(sample.frame_differences(swapped), return_counts=True)
        shifts += values[np.argsort(-counts, kind="stable")[:_FEW_PEAKS]].tolist()
    for shift in dict.fromkeys(int(value) for value in shifts):
        yield TruthChange(frame_shift=shift), SYMMETRIES
    if sample.planes_per_volume > 1:
        for planes, shift in product(("reversed", "alternating", "transposed"), (0, -1, 1)):
            yield TruthChange(frame_shift=shift, planes=planes), SYMMETRIES[:1]  # type: ignore[arg-type]


def _votes(change: TruthChange, seen: Floats, true: Floats, radius_nm: float) -> Iterator[Candidate]:
    """Give the candidates for one numbering of frames and one choice of axes."""
    if not any(axis.startswith("-") for axis in change.axes):
        here = np.hypot(*(seen - true).T) <= radius_nm
        yield Candidate(change, int(here.sum()))
        factor, votes = _factor(seen, true, radius_nm)
        if votes:
            yield Candidate(replace(change, scale=factor), votes)
    shift, votes = _translation(seen - true, radius_nm / 2)
    if any(axis.startswith("-") for axis in change.axes):  # ignore a small translation along the axis not mirrored
        x, y = (
            d if axis[0] == "-" or abs(d) > radius_nm / 2 else 0.0 for d, axis in zip(shift, change.axes, strict=False)
        )
        shift = x, y
    yield Candidate(replace(change, shift_nm=(*shift, 0.0)), votes)


def _turn(true: Floats, axes: tuple[str, str]) -> Floats:
    column = {"x": 0, "y": 1}
    return np.stack([(-1 if axis[0] == "-" else 1) * true[:, column[axis[-1]]] for axis in axes], axis=1)


def _translation(difference: Floats, bin_nm: float) -> tuple[tuple[float, float], int]:
    """Return the translation that most pairs agree on, and the number of these pairs."""
    cell = np.floor(difference / bin_nm).astype(np.int64)
    cell -= cell.min(axis=0)
    width = int(cell[:, 1].max()) + 3
    key, count = np.unique(cell[:, 0] * width + cell[:, 1], return_counts=True)

    def at(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        place = np.minimum(np.searchsorted(key, keys), len(key) - 1)
        return np.where(key[place] == keys, count[place], 0)

    # a cluster at a corner of the grid is spread over four cells
    best = key[np.argmax(sum(at(key + step) for step in (0, 1, width, width + 1)))]
    low = np.array([best // width, best % width])
    inside = ((cell >= low) & (cell <= low + 1)).all(axis=1)
    centre = np.median(difference[inside], axis=0)
    for _ in range(3):
        near = np.hypot(*(difference - centre).T) <= bin_nm
        if near.any():
            centre = np.median(difference[near], axis=0)
    return (float(centre[0]), float(centre[1])), int(near.sum())


def _factor(seen: Floats, true: Floats, radius_nm: float) -> tuple[float, int]:
    """Return the factor about the origin that most pairs agree on, and the number of these pairs."""
    far = np.hypot(*seen.T)
    limit = 0.3 * far.max(initial=0.0)
    length = np.hypot(*true.T)
    with np.errstate(divide="ignore", invalid="ignore"):
        aside = np.abs(seen[:, 0] * true[:, 1] - seen[:, 1] * true[:, 0]) / length
        ahead = (seen * true).sum(axis=1)
        ratio = np.log(far / length)
    usable = (far > limit) & (length > 0) & (ahead > 0) & (aside < radius_nm / 2) & (np.abs(ratio) < _LOG_RANGE)
    if limit <= 0 or not usable.any():
        return 1.0, 0
    width = max(radius_nm / 2 / far.max(), 1e-4)
    number = np.floor((ratio[usable] + _LOG_RANGE) / width).astype(np.int64)
    count = np.bincount(number)
    best = int(np.argmax(np.convolve(count, np.ones(3, dtype=np.int64), mode="same")))
    near = np.abs(number - best) <= 1
    factor = float(np.exp(np.median(ratio[usable][near])))
    return factor, int(near.sum())
