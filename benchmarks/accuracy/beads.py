"""Measure the z error of PSFs calibrated from third-party bead stacks, in held-out data.

    python benchmarks/accuracy/beads.py [--data ../shared/data]

Fitted z is compared with the z of the stage. Held out are every second slice of a stack with a single bead, or one of
several beads. ``z_mean_*`` refers to the mean error over beads in each slice, which is the error of the PSF; the rest
is noise. Ratios refer to the Cramer-Rao bound at the noise of the data: counts per electron are estimated from second
differences of slices (variance over mean), which includes the excess noise of an EMCCD. For an averaged volume, which
has almost no noise, the bound is meaningless. ``wobble_*`` is the lateral motion of the PSF's centre of light. The
program prints one JSON line per stack.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
import torch

from lls_decode.config import PixelSize
from lls_decode.optics import SplineModel
from lls_decode.refine import fit_spots
from lls_decode.refine.calibration import Calibration, calibrate
from lls_decode.refine.calibration.beads import find_beads, read_stack

Floats = npt.NDArray[np.float64]

WITHIN_NM = 500.0
RIM_PX = 2
STACKS = {
    "single bead, astigmatic": ("beads/astig_single_bead_real/single_bead.tif", 10.0, (132.0, 132.0), 21, 400.0),
    "challenge 2016, 2-D": ("beads/challenge2016_beads_2D/z-stack-Beads-2D-Exp.tif", 10.0, (100.0, 100.0), 21, 100.0),
    "tetrapod": ("beads/tetrapod_bead_real/TP_im.tif", -100.0, (110.0, 110.0), 51, 600.0),
    "lattice light-sheet": ("lls/lls_bead_psf.tif", 100.0, (101.9, 101.9), 21, 100.0),
    "averaged volume": ("beads/pyme_psf/psf_astig.tif", 50.0, (74.0, 72.0), 41, 0.0),
}
"""File, z step, pixel, side of the PSF and camera offset of each stack.

The z of the tetrapod stack decreases; the z step of the averaged volume is not stated by its authors.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared/data")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, (file, step_nm, pixel_nm, roi_px, offset_adu) in STACKS.items():
        path = options.data / file
        if not path.exists():
            print(json.dumps({"benchmark": "beads", "stack": name, "left_out": f"{path} is not there"}))
            continue
        pixel = PixelSize(x_nm=pixel_nm[0], y_nm=pixel_nm[1])
        beads, _ = find_beads(read_stack(path), roi_px=roi_px)
        scans = [bead.adu_ZYX - offset_adu for bead in beads]
        gain = counts_an_electron(np.stack(scans))
        how = {"pixel": pixel, "roi_px": roi_px, "gain_adu_per_e": gain}
        held_out = every_second_slice if len(scans) == 1 else one_bead_of_all
        found, z_nm, residual_BZ, bound_BZ = held_out(scans, step_nm, **how)
        line = {"benchmark": "beads", "stack": name, "beads": len(scans), "held_out": held_out.__name__}
        line |= {"slices": len(scans[0]), "adu_per_e": round(gain, 3)}
        line |= figures(z_nm, residual_BZ, bound_BZ)
        summary = found.summary(WITHIN_NM)
        line |= {key: summary[key] for key in ("wobble_x_nm", "wobble_y_nm")}
        print(json.dumps({**line, "hardware": f"{platform.machine()}, 1 of {os.cpu_count()} cores"}), flush=True)


def counts_an_electron(adu_BZYX: Floats) -> float:
    """Return variance over mean in pixels of medium brightness, where second differences of slices are pure noise."""
    second = adu_BZYX[:, 2:] - 2 * adu_BZYX[:, 1:-1] + adu_BZYX[:, :-2]
    mean = adu_BZYX[:, 1:-1]
    low, high = 0.01 * adu_BZYX.max(), 0.1 * adu_BZYX.max()
    medium = (mean > low) & (mean < high)
    return float((second[medium] ** 2).mean() / 6 / mean[medium].mean())


def every_second_slice(
    scans: list[Floats], step_nm: float, **how: object
) -> tuple[Calibration, Floats, Floats, Floats]:
    """Calibrate from even slices, and fit odd slices."""
    found = _calibrate([scans[0][::2]], 2 * step_nm, **how)
    z_nm = (found.average_z_nm + step_nm)[: len(scans[0][1::2])]
    fitted, bound = _fit(found, scans[0][1::2], how["gain_adu_per_e"])
    return found, z_nm, (fitted - z_nm)[None], bound[None]


def one_bead_of_all(scans: list[Floats], step_nm: float, **how: object) -> tuple[Calibration, Floats, Floats, Floats]:
    """Calibrate from all beads but one and fit this bead, for each bead in turn; all beads share one scan."""
    residuals, bounds = [], []
    for b, scan in enumerate(scans):
        found = _calibrate([other for o, other in enumerate(scans) if o != b], step_nm, **how)
        fitted, bound = _fit(found, scan, how["gain_adu_per_e"])
        residuals.append(fitted - found.average_z_nm)
        bounds.append(bound)
    return _calibrate(scans, step_nm, **how), found.average_z_nm, np.array(residuals), np.array(bounds)


def figures(z_nm: Floats, residual_BZ: Floats, bound_BZ: Floats) -> dict[str, object]:
    """Return errors and bounds within the range of z, and in intervals of 100 nm."""
    near = np.abs(z_nm) <= WITHIN_NM
    residual, bound = residual_BZ[:, near], bound_BZ[:, near]
    mean = residual.mean(axis=0)
    line: dict[str, object] = {
        "within_nm": WITHIN_NM,
        "z_rms_nm": _round(_rms(residual)),
        "z_largest_nm": _round(np.abs(residual).max()),
        "z_bias_nm": _round(residual.mean()),
        "z_bound_nm": _round(_rms(bound)),
        "z_rms_over_bound": _round(_rms(residual) / _rms(bound)),
    }
    if len(residual) > 1:
        line |= {"z_mean_rms_nm": _round(_rms(mean)), "z_mean_largest_nm": _round(np.abs(mean).max())}
        line |= {"z_mean_expected_rms_nm": _round(_rms(residual - mean) / np.sqrt(len(residual) - 1))}
    parts = {}
    for low in np.arange(-WITHIN_NM, WITHIN_NM, 100):
        part = (z_nm >= low) & (z_nm < low + 100)
        if part.any():
            values = (_rms(residual_BZ[:, part]), residual_BZ[:, part].mean(), _rms(bound_BZ[:, part]))
            parts[f"{low:g}"] = [_round(value) for value in values]
    return {**line, "from_z_nm: rms, bias, bound": parts}


def _calibrate(scans: list[Floats], step_nm: float, **how: object) -> Calibration:
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, scan in enumerate(scans):
            paths.append(Path(folder) / f"{number}.tif")
            tifffile.imwrite(paths[-1], scan, photometric="minisblack")
        return calibrate(paths, z_step_nm=step_nm, **how)  # type: ignore[arg-type]


def _fit(found: Calibration, adu_ZYX: Floats, gain: object) -> tuple[Floats, Floats]:
    """Return the fitted z in each slice, and its bound."""
    inner = slice(RIM_PX, -RIM_PX)
    fits = fit_spots(SplineModel(found.spline), torch.as_tensor(adu_ZYX[:, inner, inner] / gain).clamp_min(0))
    return fits.spots.z_nm.numpy(), fits.sigmas.z_nm.numpy()


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _round(value: float) -> float:
    return round(float(value), 2)


if __name__ == "__main__":
    main()
