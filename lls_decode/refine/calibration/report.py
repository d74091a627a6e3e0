"""Picture of a calibration: the PSF, its fit to the beads, and the precision that it allows."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.drawing import new_figure, save_png
from lls_decode.refine.calibration.calibration import Calibration
from lls_decode.table import written_aside

_SLICES = 5
PHOTONS, BACKGROUND = 1000.0, 10.0
"""Default photons and background per pixel of the emitter whose Cramer-Rao bound is drawn."""
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_FAINT = 0.03
"""Slices whose peak is below this share of the brightest slice's peak are not shown."""


def write_report(
    out: str | Path, calibration: Calibration, *, photons: float = PHOTONS, background: float = BACKGROUND
) -> None:
    """Write the picture of a calibration as PNG.

    The picture shows the Cramer-Rao bound of an emitter with ``photons`` detected photons in one frame (summed over the
    PSF, without background) and ``background`` photons per pixel.

    Raises
    ------
    ConfigError
        matplotlib is not installed.
    """
    figure = new_figure("A report needs", 13, 10, layout="constrained")
    numbers = calibration.summary()
    count = numbers["beads_used"]
    figure.suptitle(
        f"{count} bead{'s' * (count > 1)}, knots every {numbers['knots_nm']:g} nm; fitted minus stage z of held-out "
        f"slices within {numbers['within_nm']:g} nm of the focus: r.m.s. {numbers['z_rms_nm']:g} nm, largest "
        f"{numbers['z_largest_nm']:g} nm\nz = 0 is slice {numbers['focus_slice']:g} of 0 to "
        f"{numbers['num_slices'] - 1}, {numbers['focus_from_middle_nm']:+g} nm from the middle of the scan"
    )
    grid = figure.add_gridspec(4, _SLICES + 1)
    _slices(figure, grid, calibration)
    _z_against_stage(figure.add_subplot(grid[2:, :2]), calibration)
    _wobble(figure.add_subplot(grid[2:, 2:4]), calibration)
    _precision(figure.add_subplot(grid[2:, 4:]), calibration, photons, background)
    with written_aside(Path(out)) as path:
        save_png(figure, path, dpi=90)


def _useful_nm(calibration: Calibration) -> tuple[float, float]:
    """Return the z range around the brightest slice in which the PSF is bright enough to be shown."""
    peak = calibration.drawn_ZYX.max(axis=(1, 2))
    bright, dim = int(peak.argmax()), np.flatnonzero(peak < _FAINT * peak.max())
    first = dim[dim < bright].max(initial=-1) + 1
    last = dim[dim > bright].min(initial=len(peak)) - 1
    low, high = sorted((calibration.average_z_nm[first], calibration.average_z_nm[last]))
    return float(low), float(high)


def _slices(figure: Any, grid: Any, calibration: Calibration) -> None:
    """Draw the averaged bead (above) and its difference from the spline (below): xy at several z, and xz."""
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
        label = "residual of fits, x" if number == 0 else None
        axes.plot(bead.stage_z_nm, bead.wobble_x_nm, ".", color="C0", markersize=2, label=label)
        label = label and "residual of fits, y"
        axes.plot(bead.stage_z_nm, bead.wobble_y_nm, ".", color="C1", markersize=2, label=label)
    limit = max(20.0, 1.3 * max(float(np.abs(values[near]).max()) for values in centroids))
    axes.set(xlabel="stage z (nm)", ylabel="lateral (nm)", xlim=(low, high), ylim=(-limit, limit))
    axes.legend(fontsize=8)


def _precision(axes: Any, calibration: Calibration, photons: float, background: float) -> None:
    """Draw the Cramer-Rao bounds of x, y and z over z."""
    z_nm = np.linspace(*calibration.spline.z_range_nm, 101)[1:-1]
    bounds_nm = calibration.bound_nm(photons, background, z_nm)
    for name, values in zip("xyz", bounds_nm, strict=True):
        axes.plot(z_nm, values, label=name)
    axes.set(xlabel="z (nm)", ylabel="Cramer-Rao bound (nm)", yscale="log", xlim=_useful_nm(calibration))
    axes.set_title(f"{photons:g} photons in one frame,\nbackground {background:g} per pixel", fontsize=10)
    low, high = _decades(bounds_nm, z_nm, _useful_nm(calibration))
    shown = [tick for tick in _TICKS if low <= tick <= high]
    axes.set_yticks(shown, labels=[f"{tick:g}" for tick in shown])
    axes.set_ylim(low, high)
    axes.minorticks_off()
    axes.legend()


def _decades(
    bounds_nm: npt.NDArray[np.float64], z_nm: npt.NDArray[np.float64], shown_nm: tuple[float, float]
) -> tuple[float, float]:
    """Return axis limits for the bounds over the shown z range, spanning at most two decades."""
    seen = bounds_nm[:, (z_nm >= shown_nm[0]) & (z_nm <= shown_nm[1])]
    low = max((tick for tick in _TICKS if tick <= seen.min()), default=_TICKS[0])
    high = min((tick for tick in _TICKS if tick >= np.quantile(seen, 0.98)), default=_TICKS[-1])
    return low, min(max(high, 10 * low), 100 * low)
