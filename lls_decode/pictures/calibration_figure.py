"""Reliability of a model's probabilities and sigmas, in words and as a picture."""

import math
from pathlib import Path
from typing import Any

from lls_decode.config import ErrorCalibration
from lls_decode.drawing import new_figure, save_png
from lls_decode.outputs import guarded
from lls_decode.table import written_aside

_COLOURS = {"x": "#0072b2", "y": "#d55e00", "z": "#009e73", "photons": "#666666"}  # safe for colour-blind people


def describe_calibration(calibration: ErrorCalibration) -> list[str]:
    """Return the measurements in conditions left out of the fit, as lines of text."""
    spreads = "  ".join(f"{name} {low:.2f} to {high:.2f}" for name, (low, high) in _spreads(calibration))
    lines = [
        f"sigmas     std(error / sigma) over {calibration.conditions} conditions, each left out of a fit: {spreads}"
    ]
    if calibration.correlation is not None:
        known = calibration.correlation
        series = {name: values for name, values in (("x", known.x), ("y", known.y), ("z", known.z)) if values}
        words = "; ".join(f"{name} " + " ".join(f"{value:.2f}" for value in values) for name, values in series.items())
        lines.append(f"errors     correlation with errors in the next frames along {known.along}: {words}")
    if calibration.reliability:
        lines.append("prob   right  detections")
        lines += [f"{point.prob:.3f}  {point.right:.3f}  {point.num:>10}" for point in calibration.reliability]
    return lines


@guarded
def calibration_figure(out: str | Path, calibration: ErrorCalibration, *, title: str = "") -> None:
    """Draw the reliability of probabilities, sigmas by condition, and the correlation of errors, as PNG.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    OutputError
        The picture cannot be written.
    """
    figure = new_figure("Pictures need", 13, 4.2, layout="constrained")
    figure.suptitle(title)
    probability, sigmas, correlation = figure.subplots(1, 3)
    _draw_probability(probability, calibration)
    _draw_sigmas(sigmas, calibration)
    _draw_correlation(correlation, calibration)
    with written_aside(Path(out)) as path:
        save_png(figure, path, dpi=110)


def _draw_probability(axes: Any, calibration: ErrorCalibration) -> None:
    axes.set(xlabel="prob", ylabel="share of right detections", xlim=(0, 1.05), ylim=(0, 1.05), title="probabilities")
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=0.8, label="as predicted")
    points = calibration.reliability
    if points:
        error = [math.sqrt(point.right * (1 - point.right) / point.num) for point in points]
        axes.errorbar(
            [point.prob for point in points], [point.right for point in points], error,
            marker="o", markersize=4, capsize=2, color="C4", label="measured",
        )  # fmt: skip
        for point in points:
            place = (point.prob, point.right)
            axes.annotate(str(point.num), place, (0, -14), textcoords="offset points", ha="center", fontsize=7)
    axes.legend(fontsize=8, loc="upper left")


def _draw_sigmas(axes: Any, calibration: ErrorCalibration) -> None:
    axes.set(ylabel="std(error / sigma)", title=f"sigmas, {calibration.conditions} conditions left out of the fit")
    axes.axhline(1, color="0.6", linestyle="--", linewidth=0.8)
    spreads = _spreads(calibration)
    for place, (name, (low, high)) in enumerate(spreads):
        axes.plot([place, place], [low, high], color=_COLOURS[name], linewidth=6, solid_capstyle="butt")
    axes.set_xticks(range(len(spreads)), [name for name, _ in spreads])
    axes.set(xlim=(-0.6, len(spreads) - 0.4), ylim=(0, None))


def _draw_correlation(axes: Any, calibration: ErrorCalibration) -> None:
    known = calibration.correlation
    axes.set(ylabel="correlation of errors", ylim=(0, 1.05), title="one molecule in two frames")
    if known is None:
        axes.text(0.5, 0.5, "never measured", transform=axes.transAxes, ha="center", color="0.5")
        return
    axes.set_xlabel("planes apart" if known.along == "plane" else "frames apart")
    for name, values in (("x", known.x), ("y", known.y), ("z", known.z)):
        if values:
            axes.plot(range(1, len(values) + 1), values, marker="o", markersize=4, color=_COLOURS[name], label=name)
    axes.set_xticks(range(1, 1 + max(len(known.x), len(known.y), len(known.z), 1)))
    axes.legend(fontsize=8)


def _spreads(calibration: ErrorCalibration) -> list[tuple[str, tuple[float, float]]]:
    """Return the range of std(error / sigma) of each quantity, in the order of `_COLOURS`."""
    return [(name, calibration.spreads[name]) for name in _COLOURS if name in calibration.spreads]
