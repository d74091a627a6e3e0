"""Pictures of an evaluation and of a Fourier correlation; matplotlib is imported only when one is drawn."""

import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lls_decode.drawing import new_figure, save_png
from lls_decode.evaluate.calibration import SigmaAgreement
from lls_decode.evaluate.evaluation import Bin, Evaluation
from lls_decode.evaluate.frc import THRESHOLD, FourierCorrelation
from lls_decode.evaluate.subpixel import SubpixelBias
from lls_decode.evaluate.wording import error_lines
from lls_decode.table import written_aside

_COLOURS = {"x": "C0", "y": "C1", "z": "C2", "photons": "C3", "position": "0.4"}
_RANGE_SIGMAS = 5.0
_COLUMNS = 3
_LINE = 190
"""Number of characters in a line below the panels."""


def write_report(out: str | Path, evaluation: Evaluation, *, title: str = "") -> None:
    """Draw an evaluation on one page, as PNG; panels without data are empty and say so.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    panels = _panels(evaluation)
    rows = math.ceil(len(panels) / _COLUMNS)
    words = _words(evaluation)
    figure = _figure((15, 4.3 * rows + 0.22 * len(words) + 0.6))
    figure.suptitle("\n".join(part for part in (title, _headline(evaluation)) if part), fontsize=11)
    heights = [*[4.3] * rows, max(0.22 * len(words), 0.1)]
    grid = figure.add_gridspec(rows + 1, _COLUMNS, height_ratios=heights)
    for number, draw in enumerate(panels):
        draw(figure.add_subplot(grid[number // _COLUMNS, number % _COLUMNS]))
    below = figure.add_subplot(grid[rows, :])
    below.axis("off")
    below.text(0, 1, "\n".join(words), transform=below.transAxes, ha="left", va="top", fontsize=9, parse_math=False)
    _save(figure, out)


def _panels(evaluation: Evaluation) -> list[Callable[[Any], None]]:
    """Return the panels from left to right and top to bottom; none for z if there is no depth."""

    def lengths(axes: Any) -> None:
        _reliability(axes, [item for item in evaluation.sigmas if item.quantity in "xyz"], "nm")

    def light(axes: Any) -> None:
        _reliability(axes, [item for item in evaluation.sigmas if item.quantity == "photons"], "photons")

    return [
        *([lambda axes: _detection(axes, evaluation.by_z, "true z (nm)", absent="no z")] if evaluation.has_z else []),
        lambda axes: _detection(axes, evaluation.by_photons, "true photons", absent="photons unknown, or all the same"),
        lambda axes: _probability(axes, evaluation),
        *([lambda axes: _precision(axes, evaluation)] if evaluation.by_z else []),
        lambda axes: _errors(axes, evaluation),
        lambda axes: _bias(axes, evaluation),
        lambda axes: _bounds(axes, evaluation, *_over(evaluation)),
        lambda axes: _brightness(axes, evaluation),
        lengths,
        light,
        lambda axes: _subpixel(axes, evaluation.subpixel, evaluation.subpixel_true),
    ]


def _words(evaluation: Evaluation) -> list[str]:
    """Return frames, errors and probable mistakes in lines that fit below the panels."""
    lines = [] if evaluation.frames is None else [f"frames {evaluation.frames.describe()}"]
    lines += error_lines(evaluation)
    lines += [] if evaluation.diagnosis is None else evaluation.diagnosis.lines()
    return [part for line in lines for part in textwrap.wrap(line, _LINE, subsequent_indent="    ")]


def _over(evaluation: Evaluation) -> tuple[tuple[Bin, ...], str]:
    """Return the bins over which precision is drawn: of z if there is depth, else of photons."""
    return (evaluation.by_z, "true z (nm)") if evaluation.by_z else (evaluation.by_photons, "true photons")


def write_curve(out: str | Path, curve: FourierCorrelation, *, title: str = "") -> None:
    """Draw a Fourier correlation over spatial frequency, as PNG.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    figure = _figure((7, 4.5))
    axes = figure.subplots()
    per_um = 1000 * curve.q_per_nm
    axes.plot(per_um, curve.correlation, color="0.75", linewidth=0.6, label="each ring")
    axes.plot(per_um, curve.smoothed, color="C0", label="smoothed")
    axes.axhline(THRESHOLD, color="0.3", linestyle="--", linewidth=0.8, label="1/7")
    words = "no crossing of 1/7"
    if not math.isnan(curve.resolution_nm):
        axes.axvline(1000 / curve.resolution_nm, color="C3", linewidth=0.8)
        words = f"resolution {curve.resolution_nm:.1f} nm"
        if curve.interval_nm is not None:
            low, high = curve.interval_nm
            ends = f"{low:.1f} to {high:.1f} nm" if math.isfinite(high) else f"{low:.1f} nm to none"
            words += f", 95 % interval {ends}" + ("" if curve.is_firm else ": too few localizations for a firm number")
            axes.axvspan(1000 / min(high, 1e9), 1000 / low, color="C3", alpha=0.12, label="95 % interval")
    one, other = curve.num_localizations
    axes.set(xlabel="spatial frequency (1/µm)", ylabel="Fourier correlation", ylim=(-0.15, 1.05), xlim=(0, per_um[-1]))
    axes.set_title(
        "\n".join(part for part in (title, f"{words}; {one} and {other} localizations") if part), fontsize=10
    )
    axes.legend(fontsize=8)
    _save(figure, out)


def _headline(evaluation: Evaluation) -> str:
    s = evaluation.score
    words = [
        f"truth {s.num_truth}, found {s.num_found}, matched {s.true_positives}",
        f"Jaccard {s.jaccard:.3f}",
        f"r.m.s.e. {s.rmse_lateral_nm:.1f} nm lateral",
        f"{s.rmse_axial_nm:.1f} nm axial",
        f"efficiency {s.efficiency:.3f}",
    ]
    return ", ".join(part for part in words if "nan" not in part)


def _detection(axes: Any, bins: tuple[Bin, ...], label: str, *, absent: str) -> None:
    axes.set(xlabel=label, ylabel="share", ylim=(0, 1.05), title="detection")
    if not bins:
        _say(axes, absent)
        return
    for name in ("recall", "precision", "jaccard"):
        _steps(axes, bins, [getattr(item, name) for item in bins], label=name)
    axes.legend(fontsize=8, loc="lower center")


def _probability(axes: Any, evaluation: Evaluation) -> None:
    curve = evaluation.probability
    axes.set(xlabel="predicted probability", ylabel="share that is correct", xlim=(0, 1.05), ylim=(0, 1.05))
    axes.set_title("probability calibration")
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=0.8)
    if not curve.num:
        _say(axes, "no probabilities")
        return
    axes.errorbar(curve.predicted, curve.measured, curve.error, marker="o", markersize=4, capsize=2, color="C4")
    for x, y, num in zip(curve.predicted, curve.measured, curve.num, strict=True):
        axes.annotate(str(num), (x, y), (0, -14), textcoords="offset points", ha="center", fontsize=7, color="0.4")


def _precision(axes: Any, evaluation: Evaluation) -> None:
    """Draw r.m.s.e. and bound over z (or photons)."""
    bins, over = _over(evaluation)
    axes.set(xlabel=over, ylabel="nm", title="r.m.s.e." + (", and bound (dashed)" if evaluation.bounds else ""))
    if not bins:
        _say(axes, "neither z nor photons known")
        return
    _steps(axes, bins, [item.rmse_lateral_nm for item in bins], label="lateral", color="C0")
    if evaluation.by_z and evaluation.has_z:
        _steps(axes, bins, [item.rmse_axial_nm for item in bins], label="axial", color="C2")
    lateral = [_lateral_bound(item) for item in bins]
    axial = [_bound(item, "z") for item in bins]
    for values, colour in ((lateral, "C0"), (axial, "C2")):
        if np.isfinite(values).any():
            _steps(axes, bins, values, color=colour, linestyle="--")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def _errors(axes: Any, evaluation: Evaluation) -> None:
    """Draw error / sigma together with the unit normal distribution."""
    axes.set(xlabel="error / predicted sigma", ylabel="density", title="errors in units of sigma")
    grid = np.linspace(-_RANGE_SIGMAS, _RANGE_SIGMAS, 201)
    axes.plot(grid, np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi), color="0.3", linestyle="--", label="unit normal")
    true, seen = evaluation.comparison.true, evaluation.comparison.seen
    known = {item.quantity: item for item in evaluation.sigmas}
    means = {item.quantity: item.zscore_mean for item in evaluation.errors}
    for quantity, value, sigma in (
        ("x", "x_nm", "x_sig"), ("y", "y_nm", "y_sig"), ("z", "z_nm", "z_sig"), ("photons", "photons", "phot_sig"),
    ):  # fmt: skip
        if quantity in known:
            with np.errstate(divide="ignore", invalid="ignore"):
                scaled = (getattr(seen, value) - getattr(true, value)) / getattr(seen, sigma)
            scaled = np.clip(scaled[np.isfinite(scaled)], -_RANGE_SIGMAS, _RANGE_SIGMAS)
            label = f"{quantity}, mean {means.get(quantity, math.nan):+.2f}, s.d. {known[quantity].zscore:.2f}"
            axes.hist(scaled, grid[::4], density=True, histtype="step", color=_COLOURS[quantity], label=label)
    axes.legend(fontsize=8)


def _bias(axes: Any, evaluation: Evaluation) -> None:
    """Draw bias and r.m.s.e. of each coordinate; significant biases are filled."""
    axes.set(ylabel="nm", title="bias (with 3 standard errors) and r.m.s.e.")
    errors = [item for item in evaluation.errors if item.quantity in "xyz"]
    if not errors:
        _say(axes, "nothing matched")
        return
    axes.axhline(0, color="0.6", linewidth=0.8)
    for place, item in enumerate(errors):
        colour = _COLOURS[item.quantity]
        axes.bar(place - 0.15, item.rmse, 0.25, color=colour, alpha=0.35)
        axes.bar(place + 0.15, item.rmse_without_bias, 0.25, color=colour, alpha=0.7)
        error = 3 * item.bias_error if math.isfinite(item.bias_error) else 0.0
        axes.errorbar(place, item.bias, error, marker="o", color="k", capsize=4, mfc="k" if item.is_biased else "w")
    axes.set_xticks(range(len(errors)), [item.quantity for item in errors])
    axes.plot([], [], "s", color="0.4", alpha=0.35, label="r.m.s.e.")
    axes.plot([], [], "s", color="0.4", alpha=0.8, label="r.m.s.e. without the bias")
    axes.plot([], [], "o", color="k", label="bias (open: not significant)")
    axes.margins(y=0.35)
    axes.legend(fontsize=8, loc="upper left")


def _brightness(axes: Any, evaluation: Evaluation) -> None:
    """Draw r.m.s.e. and the median bound by brightness."""
    axes.set(xlabel="true photons", ylabel="nm", title="r.m.s.e., and median bound (dashed), by brightness")
    bins = evaluation.by_photons
    if not bins:
        _say(axes, "photons unknown, or all the same")
        return
    _steps(axes, bins, [item.rmse_lateral_nm for item in bins], label="lateral", color="C0")
    if evaluation.has_z:
        _steps(axes, bins, [item.rmse_axial_nm for item in bins], label="axial", color="C2")
    for quantity in "xyz":
        medians = [_pick(item, quantity, lambda bound: bound.bound_median) for item in bins]
        if np.isfinite(medians).any():
            _steps(axes, bins, medians, label=f"bound {quantity}", color=_COLOURS[quantity], linestyle="--")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def _bounds(axes: Any, evaluation: Evaluation, bins: tuple[Bin, ...], over: str) -> None:
    """Draw errors relative to the Cramer-Rao bound by z or brightness, as medians over emitters."""
    axes.set(xlabel=over, ylabel="error / Cramer-Rao bound", title="distance from the bound, median over emitters")
    if not evaluation.bounds:
        _say(axes, "no bound: the PSF was not given")
        return
    axes.axhline(1, color="0.6", linestyle="--", linewidth=0.8)
    for total in evaluation.bounds:
        colour, label = _COLOURS[total.quantity], f"{total.quantity}, overall {total.ratio_median:.2f}"
        ratios = [_pick(item, total.quantity, lambda bound: bound.ratio_median) for item in bins]
        if ratios:
            _steps(axes, bins, ratios, label=label, color=colour)
        else:
            axes.axhline(total.ratio_median, label=label, color=colour)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def _reliability(axes: Any, agreements: list[SigmaAgreement], unit: str) -> None:
    axes.set(xlabel=f"predicted sigma ({unit})", ylabel=f"r.m.s.e. ({unit})", title=f"reliability, {unit}")
    if not agreements:
        _say(axes, "no sigmas")
        return
    for item in agreements:
        words = f"{item.quantity}, correlation {item.correlation:.2f} (at best {item.correlation_if_right:.2f})"
        axes.errorbar(
            item.curve.predicted, item.curve.measured, item.curve.error,
            marker="o", markersize=3, capsize=2, color=_COLOURS[item.quantity], label=words,
        )  # fmt: skip
    ends = [value for item in agreements for value in (*item.curve.predicted, *item.curve.measured) if value > 0]
    if ends:
        axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color="0.6", linestyle="--", linewidth=0.8)
        for axis, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
            scale("log", subs=[2, 5])
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter("{x:g}")
    axes.legend(fontsize=8)


def _subpixel(axes: Any, found: tuple[SubpixelBias, ...], true: tuple[SubpixelBias, ...]) -> None:
    axes.set(xlabel="position in the pixel (0 = centre)", ylabel="rows / mean", title="sub-pixel positions")
    if not any(bias.num for bias in found):
        _say(axes, "pixel size unknown, or no rows")
        return
    for whose, style, biases in (("found", "-", found), ("true", ":", true)):
        for bias in biases:
            if bias.num:
                relative = np.asarray(bias.counts) * len(bias.counts) / bias.num
                words = f"{bias.axis} {whose}: modulation {bias.modulation:+.3f} ± {bias.modulation_error:.3f}"
                edges = np.linspace(-0.5, 0.5, len(bias.counts) + 1)
                axes.stairs(relative, edges, baseline=None, color=_COLOURS[bias.axis], linestyle=style, label=words)
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.6 * (high - low), high)  # room for the words
    axes.legend(fontsize=8, loc="lower center")


def _steps(axes: Any, bins: tuple[Bin, ...], values: list[float], **style: Any) -> None:
    middle = [(item.low + item.high) / 2 for item in bins]
    axes.plot(middle, values, marker="o", markersize=3, **style)


def _bound(item: Bin, quantity: str) -> float:
    return _pick(item, quantity, lambda bound: bound.bound)


def _lateral_bound(item: Bin) -> float:
    return math.hypot(_bound(item, "x"), _bound(item, "y")) / math.sqrt(2)


def _pick(item: Bin, quantity: str, value: Callable[[Any], float]) -> float:
    return next((value(bound) for bound in item.bounds if bound.quantity == quantity), math.nan)


def _say(axes: Any, words: str) -> None:
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color="0.5")


def _figure(size: tuple[float, float]) -> Any:
    return new_figure("A picture needs", *size, layout="constrained")


def _save(figure: Any, out: str | Path) -> None:
    with written_aside(Path(out)) as path:
        save_png(figure, path, dpi=90)
