"""Compare single-emitter fits with the Cramer-Rao bound for several PSFs, kinds of noise, photons and z.

    python benchmarks/accuracy/mle.py [--fits 1000] [--data ../shared/data]

The program prints one JSON line per case: for each parameter, the ratio of the root mean square error and the bound
(1 is the best possible) with its statistical error; the share of fits that converged; and fits per second on one thread
(from photons to parameters and their uncertainties, including all starting values of z). The spline of a real
astigmatic bead is omitted, with a line that says so, if the sample data are missing.
"""

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lls_decode.config import AstigmaticPsf, GaussianPsf, PixelSize
from lls_decode.optics import PsfModel, SplineModel, build_psf, spline_from_volume
from lls_decode.refine import Spots, crlb, fit_spots
from lls_decode.refine.calibration import calibrate

PIXEL = PixelSize(x_nm=100.0, y_nm=100.0)
FLAT = GaussianPsf(sigma_nm=130.0)
ASTIGMATIC = AstigmaticPsf(
    sigma_x_nm=130.0, sigma_y_nm=130.0, focus_x_nm=-220.0, focus_y_nm=220.0, depth_x_nm=300.0, depth_y_nm=300.0
)
BG = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=1000, help="Number of fits in each case.")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared/data")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, model, size, depths in psfs(options.data):
        for photons in (500.0, 2000.0, 10000.0):
            for z_nm in depths:
                for noise in ("Poisson", "sCMOS"):
                    line = {"benchmark": "mle", "psf": name, "noise": noise, "photons": photons, "bg": BG, "z_nm": z_nm}
                    line |= measure(model, size=size, photons=photons, z_nm=z_nm, noise=noise, count=options.fits)
                    print(json.dumps({**line, "hardware": f"{platform.machine()}, 1 of {os.cpu_count()} cores"}))


def psfs(data: Path) -> Iterator[tuple[str, PsfModel, int, tuple[float, ...]]]:
    """Yield name, PSF, side of the region of interest and tested z of each PSF."""
    yield "2-D Gaussian", build_psf(FLAT, pixel=PIXEL), 13, (0.0,)
    yield "astigmatic Gaussian", build_psf(ASTIGMATIC, pixel=PIXEL), 13, (-400.0, 0.0, 400.0)
    yield "double-helix spline", double_helix(), 17, (-600.0, 0.0, 600.0)
    bead = data / "beads/astig_single_bead_real/single_bead.tif"
    if not bead.exists():
        print(json.dumps({"benchmark": "mle", "psf": "spline of a real bead", "left_out": f"{bead} is not there"}))
        return
    pixel = PixelSize(x_nm=132.0, y_nm=132.0)
    found = calibrate([bead], pixel=pixel, z_step_nm=10.0, offset_adu=400.0, gain_adu_per_e=10.0)
    yield "spline of a real bead", SplineModel(found.spline), 15, (-400.0, 0.0, 400.0)


def double_helix() -> SplineModel:
    """Return a PSF of two lobes that rotate by 160 degrees over 1.8 micrometres."""
    y, x = np.mgrid[:17, :17] - 8.0
    slices = []
    for z in np.arange(-900.0, 901.0, 50.0):
        angle, width = z / 900 * math.radians(80), 1.25 * math.sqrt(1 + 0.5 * (z / 900) ** 2)
        lobes = [(sign * 3.0 * math.cos(angle), sign * 3.0 * math.sin(angle)) for sign in (1, -1)]
        slices.append(sum(np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * width**2)) / width**2 for u, v in lobes))
    return SplineModel(spline_from_volume(np.array(slices), z_step_nm=50.0, pixel=PIXEL))


def measure(
    model: PsfModel, *, size: int, photons: float, z_nm: float, noise: str, count: int
) -> dict[str, float | dict[str, float]]:
    """Simulate and fit emitters, and compare their errors with the bound.

    Emitters are at random positions in the central pixel, and within 50 nm of the depth.
    """
    draw = torch.Generator().manual_seed(1)
    wide = torch.rand(3, count, generator=draw, dtype=torch.float64) - 0.5
    one = torch.ones(count, dtype=torch.float64)
    depth = z_nm + (100 * wide[2] if model.z_range_nm is not None else 0 * one)
    truth = Spots((size - 1) / 2 + wide[0], (size - 1) / 2 + wide[1], depth, photons * one, BG * one)
    shares = model.shares(truth.x_px, truth.y_px, truth.z_nm, height=size, width=size)
    mean = truth.photons[:, None, None] * shares + BG
    electrons, variance = torch.poisson(mean.clamp_min(0), generator=draw), torch.zeros_like(mean)
    if noise == "sCMOS":  # read noise of about 1.6 electrons, varying over the chip, and 11 electrons in 2 % hot pixels
        variance = 2.5 * torch.exp(0.5 * torch.randn(mean.shape, generator=draw, dtype=torch.float64))
        variance[torch.rand(mean.shape, generator=draw) < 0.02] *= 50
        electrons += variance.sqrt() * torch.randn(mean.shape, generator=draw, dtype=torch.float64)
    start = time.process_time()
    fits = fit_spots(model, electrons, variance=variance)
    seconds = time.process_time() - start
    bounds = crlb(model, truth, height=size, width=size, variance=variance)
    names = ["x_px", "y_px", "photons", "bg"] + (["z_nm"] if model.z_range_nm is not None else [])
    found = {name: _ratio(*(getattr(spots, name) for spots in (fits.spots, truth, bounds))) for name in names}
    return {
        "rmse_over_bound": {name: round(ratio, 3) for name, (ratio, _) in found.items()},
        "standard_error": {name: round(error, 3) for name, (_, error) in found.items()},
        "converged": round(float(fits.converged.double().mean()), 4),
        "fits_per_s": round(count / seconds),
    }


def _ratio(found: Tensor, truth: Tensor, bound: Tensor) -> tuple[float, float]:
    """Return the ratio of the root mean square error and the bound, and the standard error of this ratio."""
    share = (found - truth).square() / bound.square().mean()
    ratio = share.mean().sqrt()
    return float(ratio), float(share.std() / math.sqrt(len(share)) / (2 * ratio))


if __name__ == "__main__":
    main()
