"""The charts of a report, each a PNG in memory. matplotlib is imported only when a chart is drawn."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.drawing import new_figure
from lls_decode.evaluate import CutCounts, FourierCorrelation, SubpixelBias
from lls_decode.evaluate.counts import FieldCounts, FoldedCounts, ValueCounts
from lls_decode.evaluate.frc import THRESHOLD

from .throughput import Throughput

_SIZE = (5.4, 3.0)
_DPI = 130
_BINS = 80
_COLOURS = ("#2266a8", "#d07a1d", "#3a8a4d", "#a23b72")
_MOST_CELLS = 400
"""Largest number of bars that a chart of this width can show."""


def over_volumes(counts: FoldedCounts, volumes: tuple[int, int], *, unit: str) -> bytes:
    """Draw the number of rows per volume over a range of volumes, end excluded."""
    values, width = counts.counts, counts.width
    while len(values) > _MOST_CELLS:
        values, width = _pairs(values), 2 * width
    edges = np.arange(len(values) + 1) * width
    inside = np.diff(np.clip(edges, *volumes))
    rates = values / np.maximum(inside, 1)
    return _drawn(
        lambda axes: axes.stairs(rates, edges - 0.5, color=_COLOURS[0], fill=True, alpha=0.85),
        xlabel=unit,
        ylabel=f"per {unit}",
        xlim=(volumes[0] - 0.5, volumes[1] - 0.5),
        ylim=(0, None),
    )


def over_planes(counts: npt.NDArray[np.int64], frames: npt.NDArray[np.int64]) -> bytes:
    """Draw the number of rows per frame for each plane; ``frames`` is the number of localized frames per plane."""
    rates, edges = counts / np.maximum(frames, 1), np.arange(len(counts) + 1) - 0.5
    return _drawn(
        lambda axes: axes.stairs(rates, edges, color=_COLOURS[0], fill=True, alpha=0.85),
        xlabel="plane",
        ylabel="per frame",
        xlim=(edges[0], edges[-1]),
        ylim=(0, None),
    )


def distribution(columns: Mapping[str, ValueCounts], label: str, *, central: float = 0.99, zero: bool = True) -> bytes:
    """Draw histograms of columns with the same unit, and their medians.

    Parameters
    ----------
    central
        Fraction of the values that the chart shows; the outermost values are left out.
    zero
        Start the axis at zero, so that only the largest values are left out.
    """
    held = {name: counts for name, counts in columns.items() if counts.num}
    tail = (1 - central) / (1 if zero else 2)
    low = 0.0 if zero else min(counts.quantile(tail) for counts in held.values())
    high = max(counts.quantile(1 - tail) for counts in held.values())
    if not high > low:
        low, high = low - 0.5, low + 0.5
    edges = np.linspace(low, high, _BINS + 1)

    def draw(axes: Any) -> None:
        for (name, counts), colour in zip(held.items(), _COLOURS, strict=False):
            share = counts.histogram(edges) / counts.num
            axes.stairs(share, edges, color=colour, fill=len(held) == 1, alpha=0.85, linewidth=1.6, label=name)
            axes.axvline(counts.quantile(0.5), color="0.1" if len(held) == 1 else colour, linestyle="--", linewidth=1)
        if len(held) > 1:
            axes.legend(fontsize=8, frameon=False)

    return _drawn(draw, xlabel=label, ylabel="share", xlim=(low, high), ylim=(0, None))


def subpixel(bias: Sequence[SubpixelBias]) -> bytes:
    """Draw the distribution of positions within the pixel, relative to a uniform distribution."""

    def draw(axes: Any) -> None:
        axes.axhline(1, color="0.6", linestyle="--", linewidth=0.8)
        for item, colour in zip(bias, _COLOURS, strict=False):
            counts = np.asarray(item.counts, dtype=np.float64)
            edges = np.linspace(-0.5, 0.5, len(counts) + 1)
            axes.stairs(
                counts / max(counts.mean(), 1e-9), edges, color=colour, linewidth=1.6, label=item.axis, baseline=None
            )
        axes.legend(fontsize=8, frameon=False)

    return _drawn(draw, xlabel="position in the pixel (0: its centre)", ylabel="relative number", ylim=(0, None))


def cuts(found: Mapping[str, CutCounts]) -> bytes:
    """Draw the number of rows over their distance from a cut, relative to the number a little away from the cut."""

    def draw(axes: Any) -> None:
        axes.axhline(1, color="0.6", linestyle="--", linewidth=0.8)
        for number, ((name, item), colour) in enumerate(zip(found.items(), _COLOURS, strict=False)):
            level = item.rates[0] / item.ratio
            error = np.sqrt(np.maximum(item.counts, 1)) / np.maximum(item.positions, 1) / level
            place = np.arange(len(item.rates)) + 0.12 * number
            axes.errorbar(
                place, item.rates / level, error, color=colour, marker="o", markersize=4, capsize=2, label=name
            )
        axes.legend(fontsize=8, frameon=False)

    return _drawn(draw, xlabel="distance from the nearest cut", ylabel="relative number", ylim=(0, None))


def field(found: FieldCounts, tiles: tuple[CutCounts, CutCounts] | None) -> bytes:
    """Draw the number of rows over the camera field, with the cuts between tiles."""
    rows, columns = found.counts.shape
    extent = (-0.5, columns * found.bin_px - 0.5, rows * found.bin_px - 0.5, -0.5)
    brightest = np.quantile(found.counts, 0.995)

    def draw(axes: Any) -> None:
        shown = axes.imshow(
            found.counts, cmap="magma", vmin=0, vmax=max(brightest, 1), extent=extent, interpolation="nearest"
        )
        axes.figure.colorbar(shown, ax=axes, label="localizations per bin")
        for item, line in zip(tiles or (), (axes.axvline, axes.axhline), strict=False):
            for start in item.starts[1:]:
                line(start - 0.5, color="white", linewidth=0.6, alpha=0.7)

    tall = min(max(_SIZE[0] * 0.8 * rows / columns, 1.5), 6.0)
    return _drawn(draw, size=(_SIZE[0], tall), xlabel="column (pixels)", ylabel="row (pixels)")


def fourier(curve: FourierCorrelation) -> bytes:
    """Draw the Fourier ring correlation over spatial frequency."""
    per_um = 1000 * curve.q_per_nm

    def draw(axes: Any) -> None:
        axes.plot(per_um, curve.correlation, color="0.8", linewidth=0.5)
        axes.plot(per_um, curve.smoothed, color=_COLOURS[0], linewidth=1.6)
        axes.axhline(THRESHOLD, color="0.4", linestyle="--", linewidth=0.8)
        if not math.isnan(curve.resolution_nm):
            axes.axvline(1000 / curve.resolution_nm, color=_COLOURS[1], linewidth=1)

    return _drawn(
        draw,
        xlabel="spatial frequency (1/µm)",
        ylabel="Fourier ring correlation",
        ylim=(-0.15, 1.05),
        xlim=(0, per_um[-1]),
    )


def speed(found: Throughput) -> bytes:
    """Draw the frames per second over the working time of the run."""
    unit, seconds = next(
        (unit, size)
        for unit, size in (("h", 3600), ("min", 60), ("s", 1))
        if size * 2 <= found.edges_s[-1] or size == 1
    )
    return _drawn(
        lambda axes: axes.stairs(found.frames_per_s, found.edges_s / seconds, color=_COLOURS[2], fill=True, alpha=0.85),
        xlabel=f"working time ({unit})",
        ylabel="frames/s",
        ylim=(0, None),
    )


def _pairs(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the sums of pairs of neighbours."""
    return np.asarray(np.append(values, 0)[: len(values) + len(values) % 2].reshape(-1, 2).sum(axis=1))


def _drawn(draw: Callable[[Any], object], *, size: tuple[float, float] = _SIZE, **labels: Any) -> bytes:
    """Draw a chart with one pair of axes, and return it as PNG."""
    figure = new_figure("A report needs", *size, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    draw(axes)
    axes.set(**labels)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
