"""An evaluation in lines of text: errors with and without bias, bounds, and both by brightness."""

import math
from collections.abc import Iterator

from lls_decode.evaluate.bias import ErrorStatistics
from lls_decode.evaluate.evaluation import Bin, BoundRatio, Evaluation

_UNITS = {"x": "nm", "y": "nm", "z": "nm", "photons": "photons"}


def error_lines(result: Evaluation) -> Iterator[str]:
    """Give bias, r.m.s.e. with and without it, and error / sigma of each quantity."""
    for item in result.errors:
        yield f"{f'{item.quantity} error':<14} {describe_errors(item)}"


def describe_errors(item: ErrorStatistics) -> str:
    """Describe the errors of one quantity; a bias is named as such only if it is significant."""
    unit = _UNITS[item.quantity]
    verdict = "a bias" if item.is_biased else "no significant bias"
    words = (
        f"mean {'+' if item.bias >= 0 else ''}{number(item.bias)} ± {_error(item.bias_error)} {unit} ({verdict}), "
        f"r.m.s.e. {number(item.rmse)}"
    )
    if item.is_biased:
        words += f", without the bias {number(item.rmse_without_bias)}"
    if math.isfinite(item.zscore_std):
        words += (
            f"; error / sigma: mean {item.zscore_mean:+.2f} ± {_error(item.zscore_mean_error)}, "
            f"s.d. {item.zscore_std:.2f} ± {_error(item.zscore_std_error)}"
        )
    if math.isfinite(item.ratio):
        words += f"; found / true, median: {item.ratio:.3f} ± {_error(item.ratio_error)}"
    return words


def bound_lines(result: Evaluation) -> Iterator[str]:
    """Give errors relative to the Cramer-Rao bounds, overall and by brightness."""
    if result.bounds:
        words = [
            f"{item.quantity} {item.ratio_median:.2f} ± {_error(item.ratio_median_error)}" for item in result.bounds
        ]
        yield f"{'error / bound':<14} median over emitters: {'  '.join(words)}"
        pairs = "  ".join(f"{item.quantity} {item.ratio:.3g}" for item in result.bounds)
        yield f"{'rmse / bound':<14} over all emitters: {pairs}"
    if result.by_photons:
        yield from brightness_table(result.by_photons)


def brightness_table(bins: tuple[Bin, ...]) -> Iterator[str]:
    """Give r.m.s.e., median bound, their ratio and recall, by the true photons."""
    axes = [axis for axis in "xyz" if any(_bound(item, axis) is not None for item in bins)]
    with_z = any(math.isfinite(item.rmse_axial_nm) for item in bins)
    head = ["photons", "truths", "recall", "rmse lateral", *(["rmse axial"] if with_z else [])]
    head += [f"bound {axis}" for axis in axes] + [f"error/bound {axis}" for axis in axes]
    rows = [head]
    for item in bins:
        bounds = [_bound(item, axis) for axis in axes]
        rows.append(
            [
                f"{item.low:.0f}-{item.high:.0f}",
                str(item.num_truth),
                f"{item.recall:.3f}",
                f"{item.rmse_lateral_nm:.1f}",
                *([f"{item.rmse_axial_nm:.1f}"] if with_z else []),
                *("-" if bound is None else f"{bound.bound_median:.1f}" for bound in bounds),
                *("-" if bound is None else f"{bound.ratio_median:.2f}" for bound in bounds),
            ]
        )
    widths = [max(len(row[number]) for row in rows) for number in range(len(head))]
    yield "by true photons (nm; bounds and error/bound are medians over emitters)" if axes else "by true photons (nm)"
    for row in rows:
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).replace("nan", "  -")


def _bound(item: Bin, quantity: str) -> BoundRatio | None:
    return next((bound for bound in item.bounds if bound.quantity == quantity), None)


def _error(value: float) -> str:
    return "?" if math.isnan(value) else number(value, 2)


def number(value: float, digits: int = 3) -> str:
    """Format a number with this many significant digits; larger numbers as integers."""
    return f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
