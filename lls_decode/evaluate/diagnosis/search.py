"""Search for the change of a truth that fits a table significantly better than the unchanged truth.

Simple ones first.
"""

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import pdtrc

from lls_decode.evaluate.diagnosis.candidates import Candidate, candidates
from lls_decode.evaluate.diagnosis.change import TruthChange
from lls_decode.evaluate.diagnosis.sample import Sample

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_GOOD: Final = 0.98
"""Share of matched rows of the smaller table above which no change is needed."""
_MOST_TRIED: Final = 12
_LEAST_GAIN: Final = 0.03
"""Smallest net gain in matched rows that a change must bring, relative to the rows of the table."""
_SIGMAS: Final = 4.0
_SIGMAS_OF_FITTED: Final = 6.0
"""Required significance of changes with a number fitted to the votes, since it is the best of thousands of values."""
_FEWEST_SIGMAS: Final = 3.0
"""Required significance if chance (`_CHANCE`) cannot explain the number of matches anyway."""
_CHANCE: Final = 1e-9
"""Probability that chance gives as many matches at the best of thousands of places."""
_REFINEMENTS: Final = 4


def find_change(sample: Sample) -> TruthChange:
    """Return the required change of frames, planes, axes, factor and place; the default change if none is required.

    Every found row that gains a match by a change counts for it, and every one that loses its match counts against it
    (McNemar's test). A change with more causes must be significantly better than every change with fewer.
    """
    best = TruthChange()
    hit = sample.hits(best)
    most = min(len(sample.found), len(sample.true_rows(best)[0]) or len(sample.found))
    if not len(sample.found) or hit.sum() >= _GOOD * most:
        return best
    tried = [(item, sample.hits(item.change)) for item in _worth_trying(sample)]
    for num in sorted({item.num_causes for item, _ in tried}):
        item, other = max(((i, h) for i, h in tried if i.num_causes == num), key=lambda pair: int(pair[1].sum()))
        if num and is_better(other, hit, fitted=_is_fitted(item.change)):
            best, hit = item.change, other
    return best


def is_better(new: Mask, old: Mask, *, fitted: bool = False) -> bool:
    """Return whether a change gives significantly and noticeably more found rows a match."""
    gained, lost = int((new & ~old).sum()), int((old & ~new).sum())
    if gained - lost < max(_LEAST_GAIN * len(new), 1):
        return False
    sigmas = (gained - lost) / np.sqrt(gained + lost)
    if sigmas > (_SIGMAS_OF_FITTED if fitted else _SIGMAS):
        return True
    return bool(sigmas > _FEWEST_SIGMAS and pdtrc(new.sum() - 1, old.sum() + 1) < _CHANCE)


def fit_place(sample: Sample, change: TruthChange, *, with_scale: bool) -> TruthChange:
    """Fit the translation (and the factor) repeatedly to the matching rows, without outliers."""
    for _ in range(_REFINEMENTS):
        truth, matches = sample.lateral_matches(change)
        if len(matches) < 3:
            return change
        true = np.stack([truth.x_nm, truth.y_nm], axis=1)[matches.truth]
        seen = np.stack([sample.found.x_nm, sample.found.y_nm], axis=1)[matches.found]
        factor, shift = _fit(true, seen, with_scale)
        moved = np.asarray(change.shift_nm[:2]) * factor + shift
        change = replace(
            change, scale=change.scale * factor, shift_nm=(float(moved[0]), float(moved[1]), change.shift_nm[2])
        )
    return change


def _fit(true: Floats, seen: Floats, with_scale: bool) -> tuple[float, Floats]:
    """Fit the factor and the translation that bring true positions (M, 2) onto found ones."""
    factor, keep = 1.0, np.ones(len(true), dtype=np.bool_)
    shift = np.median(seen - true, axis=0)
    for _ in range(4):
        error = np.hypot(*(seen - factor * true - shift).T)
        keep = error <= 3 * max(float(np.median(error)), 1e-9)
        if keep.sum() < 3:
            break
        if with_scale:
            a, b = true[keep] - true[keep].mean(axis=0), seen[keep] - seen[keep].mean(axis=0)
            factor = float((a * b).sum() / (a**2).sum()) if (a**2).sum() > 0 else 1.0
        shift = np.mean(seen[keep] - factor * true[keep], axis=0)
    return factor, shift


def _worth_trying(sample: Sample) -> list[Candidate]:
    """Return the candidates with one cause, and the others with most votes; factors are refined by their matches."""
    all_of_them = candidates(sample)
    chosen = [item for item in all_of_them if item.num_causes == 1][: 2 * _MOST_TRIED]
    for num in (2, 3, 4):
        chosen += [item for item in all_of_them if item.num_causes == num][: _MOST_TRIED // 2]
    return [
        replace(item, change=_without_shift(sample, fit_place(sample, item.change, with_scale=True)))
        if item.change.scale != 1
        else item
        for item in chosen
    ]


def _without_shift(sample: Sample, change: TruthChange) -> TruthChange:
    """Return a change with its factor alone, if this is as good as with the translation that was fitted with it."""
    plain = replace(change, shift_nm=(0.0, 0.0, change.shift_nm[2]))
    return plain if not is_better(sample.hits(change), sample.hits(plain)) else change


def _is_fitted(change: TruthChange) -> bool:
    return change.scale != 1 or change.shift_nm[:2] != (0.0, 0.0)
