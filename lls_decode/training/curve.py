"""Learning curve: one row per validation in ``curve.csv``, and a picture of it if matplotlib is installed."""

import csv
import math
from pathlib import Path
from typing import Any

from lls_decode.drawing import can_draw, save_png
from lls_decode.errors import ConfigError, read_from
from lls_decode.table import written_aside
from lls_decode.training.loss import Losses

_METRICS = (
    "jaccard",
    "rmse_lateral_nm",
    "rmse_axial_nm",
    "efficiency",
    "zscore_x",
    "zscore_y",
    "zscore_z",
    "zscore_photons",
)
_PANELS = {
    "loss of the last batch": ("loss", "count_loss", "localization_loss", "background_loss"),
    "Jaccard index, efficiency": ("jaccard", "efficiency"),
    "r.m.s. error of an axis (nm)": ("rmse_lateral_nm", "rmse_axial_nm"),
    "error / predicted sigma": ("zscore_x", "zscore_y", "zscore_z", "zscore_photons"),
    "learning rate": ("learning_rate",),
}

Row = dict[str, float]


def curve_row(step: int, seconds: float, learning_rate: float, losses: Losses, accuracy: dict[str, Any]) -> Row:
    """Return the row of one validation; undefined numbers are NaN."""
    return {
        "step": step,
        "seconds": round(seconds, 1),
        "learning_rate": learning_rate,
        "loss": losses.total.item(),
        "count_loss": losses.count.item(),
        "localization_loss": losses.localization.item(),
        "background_loss": losses.background.item(),
        **{name: math.nan if accuracy[name] is None else accuracy[name] for name in _METRICS},
    }


def add_row(out: Path, row: Row) -> list[Row]:
    """Add a row, replacing rows of its step and later steps; draw and return the whole curve."""
    rows = [*(old for old in read_curve(out) if old["step"] < row["step"]), row]
    with (
        written_aside(out / "curve.csv", own_folder=True) as aside,
        aside.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, row, restval=math.nan)  # rows of earlier versions have fewer columns
        writer.writeheader()
        writer.writerows(rows)
    if can_draw():
        draw_curve(rows, out / "curve.png")
    return rows


def read_curve(out: Path) -> list[Row]:
    """Return the rows of the curve in a training folder."""
    path = out / "curve.csv"
    if not path.exists():
        return []
    with read_from(path, ConfigError, "restore it, or delete it"), path.open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def draw_curve(rows: list[Row], path: Path) -> None:
    """Draw the curve over the steps as PNG; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5))
    grid = figure.add_gridspec(2, 3)
    steps = [row["step"] for row in rows]
    for number, (title, names) in enumerate(_PANELS.items()):
        axes = figure.add_subplot(grid[divmod(number, 3)])
        for name in names:
            values = [row.get(name, math.nan) for row in rows]
            if not all(math.isnan(value) for value in values):  # z of 2-D data
                axes.plot(steps, values, ".-", label=name.replace("_", " ").removesuffix(" nm"))
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)
    figure.subplots_adjust(left=0.06, right=0.98, bottom=0.08, top=0.95, wspace=0.22, hspace=0.3)
    with written_aside(path, own_folder=True) as aside:
        save_png(figure, aside, dpi=90)
