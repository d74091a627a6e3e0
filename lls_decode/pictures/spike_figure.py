"""Picture of a spike-in: detection and precision of added emitters, by light, depth and place in the field."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.drawing import new_figure, save_png
from lls_decode.table import written_aside

_COLOURS = {"x": "#0072b2", "y": "#d55e00", "z": "#009e73", "photons": "#666666"}  # safe for colour-blind people
_FEWEST_FOUND = 10
"""Smallest number of emitters whose errors are drawn."""
_MOST_WRITTEN = 6
"""Largest number of cells along a side of a map for which numbers are written into the cells."""
_LABELS = {
    "photons": "photons in the frame",
    "bg": "local background (photons per pixel)",
    "z_nm": "z (nm)",
    "plane": "plane of the sweep",
    "frame": "frame",
}


def spike_figure(out: str | Path, report: Mapping[str, Any]) -> None:
    """Draw a report of `evaluate.SpikeReport.to_dict` as PNG.

    Columns: by photons, by local background, by z (or frames), over the field. Rows: recall with its 95 % intervals,
    r.m.s.e. with the Cramer-Rao bound (dashed), spread of error / sigma.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    over = report["over"]
    third = next(name for name in ("z_nm", "plane", "frame") if name in over)
    figure = new_figure("Pictures need", 17, 10, layout="constrained")
    figure.suptitle(_title(report), fontsize=12)
    axes = figure.subplots(3, 4)
    for column, name in enumerate(("photons", "bg", third)):
        _recall(axes[0, column], over[name], report["total"])
        _errors(axes[1, column], over[name])
        _spreads(axes[2, column], over[name])
        for row in range(3):
            _dress(axes[row, column], name, over[name], bottom=row == 2)
    for row in (1, 2):
        axes[row, 0].legend(fontsize=8, frameon=False, loc="upper right", ncols=row**2)
    field = report["field"]
    _map(figure, axes[0, 3], field, _cells(field, lambda s: s["recall"], "num_spikes"), "recall", "{:.2f}", 1.0)
    lateral = _cells(field, _lateral, "num_found")
    _map(figure, axes[1, 3], field, lateral, "lateral r.m.s.e. (nm)", "{:.0f}")
    last = "photons" if third == "frame" else next(name for name in ("plane", "frame") if name in over)
    if last == "photons":
        _photon_ratio(axes[2, 3], over[last])
    else:
        _recall(axes[2, 3], over[last], report["total"])
    _dress(axes[2, 3], last, over[last], bottom=True)
    with written_aside(Path(out)) as path:
        save_png(figure, path, dpi=90)


def _title(report: Mapping[str, Any]) -> str:
    total, settings = report["total"], report["settings"]
    recall = "none" if total["recall"] is None else f"{total['recall']:.3f}"
    own = report["where_own"]
    weighted = "" if own is None else f"; at the sample's own emitters {own['recall']:.3f}"
    return (
        f"{Path(settings['dataset']).name}, model {settings['model']}: {total['num_spikes']} emitters added to "
        f"{settings['frames']} frames ({settings['emitters']['density_per_um2']:g} per µm²), recall {recall} "
        f"({total['recall_low']:.3f} to {total['recall_high']:.3f}){weighted}"
    )


def _middles(bins: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    low, high = (np.array([part[name] for part in bins]) for name in ("low", "high"))
    return np.asarray(np.sqrt(low * high) if _is_log(bins) else (low + high) / 2)


def _is_log(bins: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether bins have unequal widths (equal numbers) and can be drawn on a logarithmic axis."""
    widths = [part["high"] - part["low"] for part in bins]
    return bool(bins[0]["low"] > 0 and max(widths) > 1.5 * min(widths))


def _values(bins: Sequence[Mapping[str, Any]], name: str, fewest: int = 0) -> npt.NDArray[np.float64]:
    """Return one score of each bin; NaN if it is undefined, or if too few emitters were found."""
    scores = [part["score"] for part in bins]
    return np.array([s[name] if s[name] is not None and s["num_found"] >= fewest else np.nan for s in scores], float)


def _recall(axes: Any, bins: Sequence[Mapping[str, Any]], total: Mapping[str, Any]) -> None:
    recall, low, high = (_values(bins, name) for name in ("recall", "recall_low", "recall_high"))
    middle = _middles(bins)
    axes.errorbar(
        middle,
        recall,
        xerr=[middle - [part["low"] for part in bins], [part["high"] for part in bins] - middle],
        yerr=np.clip([recall - low, high - recall], 0, None),
        fmt="o",
        color="black",
        markersize=4,
        capsize=2,
    )
    axes.axhline(total["recall"], color="0.7", linewidth=1, zorder=0)
    axes.set(ylabel="recall", ylim=(-0.03, 1.03))


def _errors(axes: Any, bins: Sequence[Mapping[str, Any]]) -> None:
    for axis in "xyz":
        rmse = _values(bins, f"rmse_{axis}_nm", _FEWEST_FOUND)
        if np.isnan(rmse).all():
            continue
        error = _values(bins, f"rmse_{axis}_se_nm", _FEWEST_FOUND)
        axes.errorbar(_middles(bins), rmse, yerr=error, color=_COLOURS[axis], marker="o", markersize=4, label=axis)
        bound = _values(bins, f"bound_{axis}_nm", _FEWEST_FOUND)
        axes.plot(_middles(bins), bound, "--", color=_COLOURS[axis], linewidth=1)
    axes.plot([], [], "--", color="0.4", linewidth=1, label="Cramér-Rao bound,\nlone emitter, one frame")
    axes.set(ylabel="r.m.s.e. (nm)")
    axes.set_ylim(bottom=0)


def _spreads(axes: Any, bins: Sequence[Mapping[str, Any]]) -> None:
    for name, colour in _COLOURS.items():
        spread = _values(bins, f"zscore_{name}", _FEWEST_FOUND)
        if not np.isnan(spread).all():
            error = spread / np.sqrt(2 * np.maximum(_values(bins, "num_found"), 1))  # for Gaussian errors
            axes.errorbar(_middles(bins), spread, yerr=error, color=colour, marker="o", markersize=4, label=name)
    axes.axhline(1.0, color="0.7", linewidth=1, zorder=0)
    axes.set(ylabel="s.d. of error / predicted sigma")
    axes.set_ylim(0, max(2.0, axes.get_ylim()[1]))


def _photon_ratio(axes: Any, bins: Sequence[Mapping[str, Any]]) -> None:
    axes.plot(_middles(bins), _values(bins, "photon_ratio", _FEWEST_FOUND), "ko-", markersize=4)
    axes.axhline(1.0, color="0.7", linewidth=1, zorder=0)
    low, high = axes.get_ylim()
    axes.set(ylabel="found / true photons, median", ylim=(min(low, 0.8), max(high, 1.2)))


def _dress(axes: Any, name: str, bins: Sequence[Mapping[str, Any]], *, bottom: bool) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    if _is_log(bins):
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(bins[0]["low"], bins[-1]["high"] if bins[-1]["high"] > bins[0]["low"] else bins[0]["low"] + 1)
    if bottom:
        axes.set_xlabel(_LABELS[name])


def _cells(field: Mapping[str, Any], value: Any, counted: str) -> npt.NDArray[np.float64]:
    """Return one score of each cell, (rows, columns); NaN if it comes from too few emitters."""
    return np.array(
        [[value(s) if s[counted] >= _FEWEST_FOUND else np.nan for s in line] for line in field["cells"]], float
    )


def _lateral(score: Mapping[str, Any]) -> float:
    return float(np.hypot(score["rmse_x_nm"], score["rmse_y_nm"]) / np.sqrt(2))


def _map(
    figure: Any,
    axes: Any,
    field: Mapping[str, Any],
    values: npt.NDArray[np.float64],
    label: str,
    words: str,
    highest: float | None = None,
) -> None:
    """Draw a map with colours from 0, so that noise does not look like structure; write numbers into few cells."""
    x_um, y_um = (np.array(field[name]) / 1000 for name in ("x_nm", "y_nm"))
    axes.set_facecolor("0.9")
    mesh = axes.pcolormesh(x_um, y_um, np.ma.masked_invalid(values), cmap="cividis", vmin=0, vmax=highest)
    axes.set(aspect="equal", xlabel="x (µm)", ylabel="y (µm)", title=label)
    axes.invert_yaxis()
    figure.colorbar(mesh, ax=axes, shrink=0.85)
    if max(values.shape) > _MOST_WRITTEN:
        return
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "black" if value > 0.6 * (highest or np.nanmax(values)) else "white"
            middle = (x_um[j] + x_um[j + 1]) / 2, (y_um[i] + y_um[i + 1]) / 2
            axes.text(*middle, words.format(value), color=colour, ha="center", va="center", fontsize=9)
