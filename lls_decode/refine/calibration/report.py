"""A picture of a calibration: what the PSF looks like, how well it fits its beads, and how precise it can be."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lls_decode.drawing import new_figure, save_png
from lls_decode.optics import SplineModel
from lls_decode.refine.calibration.calibration import Calibration
from lls_decode.refine.crlb import Spots, crlb
from lls_decode.table import written_aside

_SLICES = 5
_PHOTONS, _BG = 1000.0, 10.0
_FAINT = 0.03
"""Slices whose peak is below this share of the brightest one's are not shown."""


def write_report(out: str | Path, calibration: Calibration) -> None:
    """Write the picture as PNG.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    figure = new_figure("A report needs", 13, 10, layout="constrained")
    numbers = calibration.summary()
    count = numbers["beads_used"]
    figure.suptitle(
        f"{count} bead{'s' * (count > 1)}, knots every {numbers['knots_nm']:g} nm; fitted minus stage z in slices that "
        f"were left out, within {numbers['within_nm']:g} nm: r.m.s. {numbers['z_rms_nm']:g} nm, largest "
        f"{numbers['z_largest_nm']:g} nm"
    )
    grid = figure.add_gridspec(4, _SLICES + 1)
    _slices(figure, grid, calibration)
    _z_against_stage(figure.add_subplot(grid[2:, :2]), calibration)
    _wobble(figure.add_subplot(grid[2:, 2:4]), calibration)
    _precision(figure.add_subplot(grid[2:, 4:]), calibration)
    with written_aside(Path(out)) as path:
        save_png(figure, path, dpi=90)


def _useful_nm(calibration: Calibration) -> tuple[float, float]:
    """Range of z around the brightest slice in which the PSF is not faint; the pictures show this."""
    peak = calibration.drawn_ZYX.max(axis=(1, 2))
    bright, dim = int(peak.argmax()), np.flatnonzero(peak < _FAINT * peak.max())
    first = dim[dim < bright].max(initial=-1) + 1
    last = dim[dim > bright].min(initial=len(peak)) - 1
    low, high = sorted((calibration.average_z_nm[first], calibration.average_z_nm[last]))
    return float(low), float(high)


def _slices(figure: Any, grid: Any, calibration: Calibration) -> None:
    """Average beads above, average minus spline below; xy at some z, and xz."""
    z_nm, seen = calibration.average_z_nm, calibration.average_ZYX
    residual = seen - calibration.drawn_ZYX
    low, high = _useful_nm(calibration)
    for column, share in enumerate(np.linspace(0.1, 0.9, _SLICES)):
        index = int(np.abs(z_nm - (low + share * (high - low))).argmin())
        above, below = (figure.add_subplot(grid[row, column]) for row in range(2))
        above.imshow(seen[index], cmap="magma")
        above.set_title(f"z = {z_nm[index]:.0f} nm", fontsize=10)
        limit = 0.1 * seen[index].max()
        below.imshow(residual[index], cmap="coolwarm", vmin=-limit, vmax=limit)
        below.set_title("minus spline, ±10 % of peak", fontsize=8)
        for axes in (above, below):
            axes.set_axis_off()
    row = round(calibration.spline.centre_y - 1)
    for place, values, colours in ((0, seen, "magma"), (1, residual, "coolwarm")):
        axes = figure.add_subplot(grid[place, _SLICES])
        limits = {"vmin": -0.1 * seen.max(), "vmax": 0.1 * seen.max()} if place else {}
        ends = (0, seen.shape[2], z_nm[-1], z_nm[0])
        axes.imshow(values[:, row], cmap=colours, aspect="auto", extent=ends, **limits)
        axes.set(xlabel="x (px)", ylabel="z (nm)", ylim=(high, low))


def _z_against_stage(axes: Any, calibration: Calibration) -> None:
    low, high = _useful_nm(calibration)
    seen = [np.zeros(0)]
    for bead in calibration.beads:
        residual = bead.fitted_z_nm - bead.stage_z_nm
        axes.plot(bead.stage_z_nm, residual, ".", markersize=3, alpha=1.0 if bead.used else 0.2)
        seen.append(np.abs(residual[(bead.stage_z_nm >= low) & (bead.stage_z_nm <= high)]))
    used = [bead for bead in calibration.beads if bead.used]
    if len(used) > 1:
        mean = np.mean([bead.fitted_z_nm - bead.stage_z_nm for bead in used], axis=0)
        axes.plot(calibration.average_z_nm, mean, "k", linewidth=1, label="mean of the beads")
        axes.legend(fontsize=8)
    limit = float(np.clip(1.3 * np.quantile(np.concatenate(seen), 0.95), 20, 100))
    axes.axhspan(-10, 10, color="0.9", zorder=0)
    axes.set(xlabel="stage z (nm)", ylabel="fitted z - stage z (nm)", xlim=(low, high), ylim=(-limit, limit))


def _wobble(axes: Any, calibration: Calibration) -> None:
    low, high = _useful_nm(calibration)
    near = (calibration.average_z_nm >= low) & (calibration.average_z_nm <= high)
    centroids = (calibration.centroid_x_nm, calibration.centroid_y_nm)
    for name, values in zip("xy", centroids, strict=True):
        axes.plot(calibration.average_z_nm, values, label=f"centre of light, {name}")
    for number, bead in enumerate(bead for bead in calibration.beads if bead.used):
        label = "left after fits, x" if number == 0 else None
        axes.plot(bead.stage_z_nm, bead.wobble_x_nm, ".", color="C0", markersize=2, label=label)
        label = label and "left after fits, y"
        axes.plot(bead.stage_z_nm, bead.wobble_y_nm, ".", color="C1", markersize=2, label=label)
    limit = max(20.0, 1.3 * max(float(np.abs(values[near]).max()) for values in centroids))
    axes.set(xlabel="stage z (nm)", ylabel="lateral (nm)", xlim=(low, high), ylim=(-limit, limit))
    axes.legend(fontsize=8)


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
    axes.set(xlabel="z (nm)", ylabel="Cramer-Rao bound (nm)", yscale="log", xlim=_useful_nm(calibration))
    axes.set_title(f"{_PHOTONS:g} photons on {_BG:g} a pixel", fontsize=10)
    axes.set_yticks(ticks := [2, 5, 10, 20, 50, 100, 200, 500], labels=[str(tick) for tick in ticks])
    axes.set_ylim(2, 200)
    axes.minorticks_off()
    axes.legend()
