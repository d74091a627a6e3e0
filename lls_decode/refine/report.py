"""A picture of a calibration: what the PSF looks like, how well it fits its beads, and how precise it can be."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lls_decode.errors import ConfigError
from lls_decode.optics import SplineModel
from lls_decode.refine.calibration import Calibration
from lls_decode.refine.crlb import Spots, crlb
from lls_decode.table import written_aside

_SLICES = 5
_PHOTONS, _BG = 1000.0, 10.0


def write_report(out: str | Path, calibration: Calibration) -> None:
    """Write the picture as PNG.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("A report needs matplotlib; run: pip install lls-decode[report].") from error
    figure = Figure(figsize=(13, 10), layout="constrained")
    numbers = calibration.summary()
    figure.suptitle(
        f"{numbers['beads_used']} beads; fitted minus stage z within {numbers['within_nm']:g} nm: r.m.s. "
        f"{numbers['z_rms_nm']:g} nm, largest {numbers['z_largest_nm']:g} nm"
    )
    grid = figure.add_gridspec(4, _SLICES + 1)
    _slices(figure, grid, calibration)
    _z_against_stage(figure.add_subplot(grid[2:, :2]), calibration)
    _wobble(figure.add_subplot(grid[2:, 2:4]), calibration)
    _precision(figure.add_subplot(grid[2:, 4:]), calibration)
    with written_aside(Path(out)) as path:
        figure.savefig(path, dpi=90, format="png")


def _slices(figure: Any, grid: Any, calibration: Calibration) -> None:
    """Average beads above, average minus spline below; xy at some z, and xz."""
    z_nm, seen = calibration.average_z_nm, calibration.average_ZYX
    residual = seen - calibration.drawn_ZYX
    low, high = np.clip(calibration.spline.z_range_nm, -600, 600)
    for column, wanted in enumerate(np.linspace(low, high, _SLICES)):
        index = int(np.abs(z_nm - wanted).argmin())
        above, below = (figure.add_subplot(grid[row, column]) for row in range(2))
        above.imshow(seen[index], cmap="magma")
        above.set_title(f"z = {z_nm[index]:.0f} nm")
        limit = 0.1 * seen[index].max()
        below.imshow(residual[index], cmap="coolwarm", vmin=-limit, vmax=limit)
        below.set_title("residual, ±10 % of peak", fontsize=8)
        for axes in (above, below):
            axes.set_axis_off()
    row = round(calibration.spline.centre_y - 1)
    for place, values, colours in ((0, seen, "magma"), (1, residual, "coolwarm")):
        axes = figure.add_subplot(grid[place, _SLICES])
        limit = {"vmin": -0.1 * seen.max(), "vmax": 0.1 * seen.max()} if place else {}
        axes.imshow(values[:, row], cmap=colours, aspect="auto", extent=(0, seen.shape[2], z_nm[-1], z_nm[0]), **limit)
        axes.set(xlabel="x (px)", ylabel="z (nm)")


def _z_against_stage(axes: Any, calibration: Calibration) -> None:
    for bead in calibration.beads:
        axes.plot(
            bead.stage_z_nm, bead.fitted_z_nm - bead.stage_z_nm, ".", markersize=3, alpha=1.0 if bead.used else 0.2
        )
    axes.axhspan(-10, 10, color="0.9", zorder=0)
    axes.set(xlabel="stage z (nm)", ylabel="fitted z - stage z (nm)", ylim=(-40, 40))


def _wobble(axes: Any, calibration: Calibration) -> None:
    for name, values in (("x", calibration.centroid_x_nm), ("y", calibration.centroid_y_nm)):
        axes.plot(calibration.average_z_nm, values, label=f"centre of light, {name}")
    for number, bead in enumerate(bead for bead in calibration.beads if bead.used):
        label = "fits, x" if number == 0 else None
        axes.plot(bead.stage_z_nm, bead.wobble_x_nm, ".", color="C0", markersize=2, label=label)
        axes.plot(bead.stage_z_nm, bead.wobble_y_nm, ".", color="C1", markersize=2, label=label and "fits, y")
    axes.set(xlabel="stage z (nm)", ylabel="lateral (nm)")
    axes.legend(fontsize=7)


def _precision(axes: Any, calibration: Calibration) -> None:
    """Cramer-Rao bound over z."""
    z = torch.linspace(*calibration.spline.z_range_nm, 101, dtype=torch.float64)[1:-1]
    size = calibration.drawn_ZYX.shape[1]
    x, y = (torch.full_like(z, centre - 1) for centre in (calibration.spline.centre_x, calibration.spline.centre_y))
    spots = Spots(x, y, z, torch.full_like(z, _PHOTONS), torch.full_like(z, _BG))
    bounds = crlb(SplineModel(calibration.spline), spots, height=size, width=size)
    pixel = calibration.pixel
    for name, values in (("x", bounds.x_px * pixel.x_nm), ("y", bounds.y_px * pixel.y_nm), ("z", bounds.z_nm)):
        axes.plot(z, values, label=name)
    axes.set(xlabel="z (nm)", ylabel=f"best precision (nm), {_PHOTONS:g} photons on {_BG:g} a pixel", yscale="log")
    axes.legend()
