"""All that can be said of a table: scores, scores by depth and brightness, sigmas, bounds, probabilities, pixels."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from lls_decode.config import PixelSize
from lls_decode.emitters import Emitters
from lls_decode.errors import ConfigError
from lls_decode.evaluate.bias import ErrorStatistics, error_statistics, median_with_error
from lls_decode.evaluate.calibration import (
    Reliability,
    SigmaAgreement,
    probability_reliability,
    sigma_agreements,
)
from lls_decode.evaluate.coverage import FrameCoverage, FramesJudged, covered
from lls_decode.evaluate.diagnosis import Diagnosis
from lls_decode.evaluate.score import Comparison, Criteria, Score, compare, summarize
from lls_decode.evaluate.subpixel import SubpixelBias, subpixel_bias

Floats = npt.NDArray[np.float64]

Z_BIN_NM = 100.0
"""Bins of z are at least this wide."""
_MOST_Z_BINS = 12
_PHOTON_BINS = 10
_NORMAL_MEDIAN = 0.6744897501960817
"""Median of the absolute value of a standard normal variable."""


@dataclass(frozen=True)
class BoundRatio:
    """R.m.s.e. of matched emitters over the r.m.s. of their Cramer-Rao bounds."""

    quantity: str
    """``x``, ``y``, ``z`` (nm) or ``photons``."""
    num: int
    """Emitters with a finite bound."""
    rmse: float
    bound: float
    """Root mean square over emitters, each alone with its true photons and background, estimated without bias."""
    bound_median: float
    """Median over emitters: what a typical one allows, whatever a few dim ones do to ``bound``."""
    ratio_median: float
    """Median over emitters of abs(error) / bound, over that of a normal error (0.674): 1 is as good as can be."""
    ratio_median_error: float
    """Standard error of ``ratio_median``."""

    @property
    def ratio(self) -> float:
        """1 is as good as can be; below 1 where prior knowledge is used, as of photons that are all alike."""
        return self.rmse / self.bound if self.bound > 0 else math.nan


@dataclass(frozen=True)
class Bin:
    """The score of emitters between two values of something."""

    low: float
    high: float
    num_truth: int
    num_found: int
    """Matched ones lie where their truth lies, wrong ones where they were found (outside all bins: in none)."""
    recall: float
    precision: float
    jaccard: float
    rmse_lateral_nm: float
    rmse_axial_nm: float
    bounds: tuple[BoundRatio, ...]
    """Empty where no bound was given."""


@dataclass(frozen=True)
class Evaluation:
    """A table judged by a truth."""

    score: Score
    sigmas: tuple[SigmaAgreement, ...]
    bounds: tuple[BoundRatio, ...]
    by_z: tuple[Bin, ...]
    """Empty for 2-D data."""
    by_photons: tuple[Bin, ...]
    """By true photons; wrong detections by those found. Empty where photons are not known,
    or all the same."""
    probability: Reliability
    """Precision over the predicted probability."""
    subpixel: tuple[SubpixelBias, ...]
    """Of all rows of the table; empty where the pixel size is not known."""
    subpixel_true: tuple[SubpixelBias, ...]
    """Of all rows of the truth: what the table should look like; few molecules are not flat."""
    comparison: Comparison
    errors: tuple[ErrorStatistics, ...] = ()
    """Bias, r.m.s.e. with and without it, and error / sigma of x, y, z and photons."""
    frames: FramesJudged | None = None
    """Which frames count; None: all."""
    diagnosis: Diagnosis | None = None
    """What is probably wrong between truth and table; None where nobody asked."""
    has_z: bool = True
    """False where truth and table have no depth in common: nothing is said of z then."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the score, and under names of their own the rest; None in place of NaN."""
        rest: dict[str, Any] = {
            "errors": [item.to_dict() for item in self.errors],
            "frames": None if self.frames is None else self.frames.to_dict(),
            "diagnosis": None if self.diagnosis is None else self.diagnosis.to_dict(),
            "sigmas": [asdict(item) for item in self.sigmas],
            "bounds": _with_ratio(self.bounds),
            "by_z": [{**asdict(item), "bounds": _with_ratio(item.bounds)} for item in self.by_z],
            "by_photons": [{**asdict(item), "bounds": _with_ratio(item.bounds)} for item in self.by_photons],
            "probability": asdict(self.probability),
            "subpixel": [item.to_dict() for item in self.subpixel],
            "subpixel_true": [item.to_dict() for item in self.subpixel_true],
        }
        values = {**self.score.to_dict(), **_plain(rest)}
        return values if self.has_z else without_depth(values)


def without_depth(values: Any) -> Any:
    """Plain values without what would speak of depth: keys and quantities of z, r.m.s.e. and efficiency along it."""
    if isinstance(values, Mapping):
        return {key: without_depth(item) for key, item in values.items() if not _is_of_depth(key)}
    return [without_depth(item) for item in values] if isinstance(values, list) else values


def _is_of_depth(key: str) -> bool:
    return "axial" in key or "volume" in key or "z" in key.split("_")


def evaluate(
    truth: Emitters,
    found: Emitters,
    *,
    pixel: PixelSize | None = None,
    bounds: Emitters | None = None,
    coverage: FrameCoverage | None = None,
    **criteria: Unpack[Criteria],
) -> Evaluation:
    """Judge a table by a truth.

    Parameters
    ----------
    pixel
        Of the camera, for the sub-pixel bias.
    bounds
        The rows of ``truth`` with Cramer-Rao bounds for sigmas, as `lls_decode.refine.with_bounds` gives them.
    coverage
        Frames that count: rows of both in other frames are left out. None: all frames count.
    criteria
        As for `lls_decode.evaluate.score.compare`.
    """
    if bounds is not None and len(bounds) != len(truth):
        raise ConfigError(
            f"Bounds were given for {len(bounds)} emitters, the truth has {len(truth)}; give one for each."
        )
    judged = None
    if coverage is not None:
        inside, kept, judged = covered(truth, found, coverage)
        truth, found = truth.select(inside), found.select(kept)
        bounds = None if bounds is None else bounds.select(inside)
    comparison = compare(truth, found, **criteria)
    has_z = all(not len(rows) or bool(np.isfinite(rows.z_nm).any()) for rows in (truth, found))
    best = None if bounds is None else bounds.select(comparison.true_rows)
    return Evaluation(
        score=summarize(comparison),
        sigmas=sigma_agreements(comparison),
        bounds=_bound_ratios(comparison, best, np.ones(len(comparison.true), dtype=np.bool_)),
        by_z=_binned(comparison, best, "z_nm") if has_z else (),
        by_photons=_binned(comparison, best, "photons"),
        probability=probability_reliability(comparison),
        subpixel=() if pixel is None else subpixel_bias([vars(found)], pixel),
        subpixel_true=() if pixel is None else subpixel_bias([vars(truth)], pixel),
        comparison=comparison,
        errors=error_statistics(comparison),
        frames=judged,
        has_z=has_z,
    )


def _bound_ratios(comparison: Comparison, best: Emitters | None, rows: npt.NDArray[np.bool_]) -> tuple[BoundRatio, ...]:
    """Of some matched rows, one for each quantity that has bounds."""
    if best is None:
        return ()
    true, seen = comparison.true, comparison.seen
    ratios = []
    for quantity, value, sigma in (
        ("x", "x_nm", "x_sig"),
        ("y", "y_nm", "y_sig"),
        ("z", "z_nm", "z_sig"),
        ("photons", "photons", "phot_sig"),
    ):
        error, bound = getattr(seen, value) - getattr(true, value), getattr(best, sigma)
        known = rows & np.isfinite(error) & np.isfinite(bound)
        if known.any():
            middle, middle_error = median_with_error(np.abs(error[known]) / bound[known])
            ratios.append(
                BoundRatio(
                    quantity,
                    int(known.sum()),
                    rmse=_rms(error[known]),
                    bound=_rms(bound[known]),
                    bound_median=float(np.median(bound[known])),
                    ratio_median=middle / _NORMAL_MEDIAN,
                    ratio_median_error=middle_error / _NORMAL_MEDIAN,
                )
            )
    return tuple(ratios)


def _binned(comparison: Comparison, best: Emitters | None, name: str) -> tuple[Bin, ...]:
    """Scores in bins of ``z_nm`` or ``photons``."""
    true, missed, spurious = (getattr(comparison, part) for part in ("true", "missed", "spurious"))
    values = np.concatenate([getattr(true, name), getattr(missed, name)])
    values = values[np.isfinite(values)]
    edges = _edges(values, name)

    def place(rows: Emitters) -> npt.NDArray[np.int64]:
        value = getattr(rows, name)
        return np.where(value == edges[-1], len(edges) - 2, np.searchsorted(edges, value, side="right") - 1)

    bins = []
    for number, (low, high) in enumerate(pairwise(edges.tolist())):
        hit = place(true) == number
        part = Comparison(
            true.select(hit),
            comparison.seen.select(hit),
            missed.select(place(missed) == number),
            spurious.select(place(spurious) == number),
            comparison.true_rows[hit],
        )
        bins.append(_bin(low, high, summarize(part), _bound_ratios(comparison, best, hit)))
    return tuple(bins)


def _bin(low: float, high: float, s: Score, bounds: tuple[BoundRatio, ...]) -> Bin:
    return Bin(
        low=low,
        high=high,
        num_truth=s.num_truth,
        num_found=s.num_found,
        recall=s.recall,
        precision=s.precision,
        jaccard=s.jaccard,
        rmse_lateral_nm=s.rmse_lateral_nm,
        rmse_axial_nm=s.rmse_axial_nm,
        bounds=bounds,
    )


def _edges(values: Floats, name: str) -> Floats:
    """Of bins: of equal width in z, of equally many truths in photons."""
    if not len(values):
        return np.empty(0)
    if name == "photons":
        return np.unique(np.quantile(values, np.linspace(0, 1, _PHOTON_BINS + 1)))
    width = max(Z_BIN_NM, math.ceil(np.ptp(values) / _MOST_Z_BINS / 50) * 50)
    start = math.floor(values.min() / width) * width
    count = math.floor((values.max() - start) / width) + 1
    return np.linspace(start, start + count * width, count + 1)


def _with_ratio(bounds: tuple[BoundRatio, ...]) -> list[dict[str, Any]]:
    return [{**asdict(item), "ratio": item.ratio} for item in bounds]


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _plain(value: Any) -> Any:
    """None in place of NaN, at any depth."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
