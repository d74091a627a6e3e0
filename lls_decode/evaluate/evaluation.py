"""Complete evaluation of a table: scores (also by depth and brightness), sigmas, bounds, probabilities, pixel bias."""

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
"""Smallest width of bins of z."""
_MOST_Z_BINS = 12
_PHOTON_BINS = 10
_NORMAL_MEDIAN = 0.6744897501960817
"""Median of the absolute value of a standard normal variable."""


@dataclass(frozen=True)
class BoundRatio:
    """R.m.s.e. of matched emitters relative to the r.m.s. of their Cramer-Rao bounds."""

    quantity: str
    """``x``, ``y``, ``z`` (nm) or ``photons``."""
    num: int
    """Number of emitters with a finite bound."""
    rmse: float
    bound: float
    """Root mean square bound over emitters, each alone with its true photons and background, for an unbiased
    estimate."""
    bound_median: float
    """Median bound over emitters, which is typical and not dominated by a few dim ones as ``bound`` is."""
    ratio_median: float
    """Median of abs(error) / bound over emitters, divided by that of a normal error (0.674); 1 is optimal."""
    ratio_median_error: float
    """Standard error of ``ratio_median``."""

    @property
    def ratio(self) -> float:
        """R.m.s.e. / bound: 1 is optimal; values below 1 need prior knowledge, such as equal photons of all."""
        return self.rmse / self.bound if self.bound > 0 else math.nan


@dataclass(frozen=True)
class Bin:
    """Score of the emitters in a range of some quantity."""

    low: float
    high: float
    num_truth: int
    num_found: int
    """Matched emitters count where their truth lies, wrong ones where they were found (outside all bins: in none)."""
    recall: float
    precision: float
    jaccard: float
    rmse_lateral_nm: float
    rmse_axial_nm: float
    bounds: tuple[BoundRatio, ...]
    """Errors relative to the bounds; empty if no bounds were given."""


@dataclass(frozen=True)
class Evaluation:
    """Evaluation of a table against a truth."""

    score: Score
    sigmas: tuple[SigmaAgreement, ...]
    bounds: tuple[BoundRatio, ...]
    by_z: tuple[Bin, ...]
    """Scores by true z; empty for 2-D data."""
    by_photons: tuple[Bin, ...]
    """Scores by true photons; wrong detections by the photons found. Empty if photons are not known, or all the
    same."""
    probability: Reliability
    """Precision against the predicted probability."""
    subpixel: tuple[SubpixelBias, ...]
    """Sub-pixel bias of all rows of the table; empty if the pixel size is not known."""
    subpixel_true: tuple[SubpixelBias, ...]
    """Sub-pixel distribution of all rows of the truth, for comparison; that of a few molecules is not flat."""
    comparison: Comparison
    errors: tuple[ErrorStatistics, ...] = ()
    """Bias, r.m.s.e. with and without it, and error / sigma of x, y, z and photons."""
    frames: FramesJudged | None = None
    """Frames that count; None: all."""
    diagnosis: Diagnosis | None = None
    """Probable mistakes between truth and table; None if no diagnosis was requested."""
    has_z: bool = True
    """False if truth and table do not both have z; z is then not reported."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: the score, and the other results under names of their own.

        NaN becomes None.
        """
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
    """Return plain values without those of depth: keys and quantities of z, axial r.m.s.e. and efficiency."""
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
    """Evaluate a table against a truth.

    Parameters
    ----------
    pixel
        Size of a camera pixel, for the sub-pixel bias.
    bounds
        The rows of ``truth`` with Cramer-Rao bounds as sigmas, from `lls_decode.refine.with_bounds`.
    coverage
        Frames that count; rows of both tables in other frames are left out. None: all frames count.
    criteria
        As for `lls_decode.evaluate.score.compare`.
    """
    if bounds is not None and len(bounds) != len(truth):
        raise ConfigError(
            f"Bounds were given for {len(bounds)} emitters, but the truth has {len(truth)}; give one for each."
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
    """Return error relative to bound for some of the matched rows, for each quantity that has bounds."""
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
    """Return scores in bins of ``z_nm`` or ``photons``."""
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
    """Return bin edges: of equal width for z, of equal numbers of true emitters for photons."""
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
    """Replace NaN by None at any depth."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
