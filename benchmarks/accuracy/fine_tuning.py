"""Compare fine-tuning of `astigmatism` with trainings from nothing, for a microscope that no shipped model knows.

    python benchmarks/accuracy/fine_tuning.py --out OUT [--cpu-minutes 40] [--only fine-tuned ...]

The microscope is simulated: a scalar pupil (NA 1.4, 670 nm, oil) with astigmatism, spherical aberration and coma,
pixels of 117 nm, an sCMOS camera, and 64 sparse frames of a sample. The benchmark takes the way of the manual:
`calibrate` makes a PSF from noisy scans of four beads, `estimate` makes a training configuration from the 64 frames,
and `train` makes a model. Settings are the defaults, with two exceptions: `calibrate` is told the slice of z = 0, so
that z agrees with the truth, and a budget of CPU time limits the steps in place of minutes. The ways to train are

fine-tuned                   from the weights of `astigmatism`; 40 CPU-minutes are 20 minutes of two cores
fine-tuned, matching loss    the same, with the loss that matches sets
from nothing                 from random weights, for the same CPU time
from nothing, matching loss  the same, with the loss that matches sets
from nothing, four times     from random weights, for four times the CPU time

Each model localizes other frames of the microscope: as sparse as the 64 frames, and ten and twenty times as dense. The
program prints one JSON line per model as soon as it is complete. ``cpu_s`` is the CPU time of `calibrate`, `estimate`
and the last start of `train`. Models that are already scored in OUT are not trained again, and an interrupted training
is resumed.
"""

import argparse
import json
import math
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import tifffile
import torch
from training_loop import with_budget

import lls_decode
from lls_decode.config import MovieConfig, PixelSize, TrainingConfig, load

PIXEL_NM = 117.0
CAMERA = {"kind": "scmos", "offset_adu": 200.0, "gain_adu_per_e": 1.6, "variance_adu2": 6.0, "quantum_efficiency": 0.75}
DENSITY_PER_UM2 = 0.05
DENSITIES = {"sparse": 1, "dense": 10, "very dense": 20}
"""Densities of the scored frames, relative to that of the 64 frames."""
WAYS: dict[str, tuple[str | None, int, str]] = {
    "fine-tuned": ("astigmatism", 1, "mixture"),
    "fine-tuned, matching loss": ("astigmatism", 1, "matching"),
    "from nothing": (None, 1, "mixture"),
    "from nothing, matching loss": (None, 1, "matching"),
    "from nothing, four times": (None, 4, "mixture"),
}
"""Model whose weights a training starts from, its CPU time in units of the budget, and its loss."""
Floats = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cpu-minutes", type=float, default=40.0)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    preparation_s = prepare(out)
    for name in options.only:
        kept = out / name.replace(",", "").replace(" ", "-") / "score.json"
        if not kept.exists():
            kept.write_text(json.dumps(result(name, out, kept.parent, options.cpu_minutes, preparation_s)))
        print(kept.read_text(), flush=True)


def result(name: str, out: Path, folder: Path, budget_minutes: float, preparation_s: float) -> dict[str, Any]:
    """Train in one of `WAYS`, and return the scores of the model."""
    init_from, times, loss = WAYS[name]
    cpu_minutes = times * budget_minutes
    config = load(TrainingConfig, out / "prefit/training.yaml").replace(minutes=None, loss=loss)
    config = with_budget(config, folder, 60 * cpu_minutes)
    line = {"benchmark": "fine-tuning", "way": name, "cpu_minutes": cpu_minutes, "steps": config.steps}
    began = time.process_time()
    trained = lls_decode.train(config, folder, init_from=init_from)
    assert trained is not None
    line["cpu_s"] = round(preparation_s + time.process_time() - began)
    for kind in DENSITIES:
        line |= {f"{kind}_{key}": value for key, value in scores(out / kind, trained.bundle).items()}
    return {**line, "hardware": f"{platform.machine()}, {os.cpu_count()} cores, one thread"}


def prepare(out: Path) -> float:
    """Record beads and frames, calibrate the PSF and estimate the configuration; return the CPU-seconds of a user."""
    kept = out / "preparation.json"
    if kept.exists():
        return float(json.loads(kept.read_text()))
    rng = np.random.default_rng(1)
    pixel = PixelSize(x_nm=PIXEL_NM, y_nm=PIXEL_NM)
    fine_nm, scan_nm = np.arange(-900.0, 901.0, 10.0), np.arange(-800.0, 801.0, 25.0)
    tifffile.imwrite(out / "exact.tif", (60_000 * image_stack(fine_nm, (0.0, 0.0))).astype("f4"))
    lls_decode.calibrate([out / "exact.tif"], pixel=pixel, z_step_nm=10.0, focus_slice=90.0, knots_nm=50.0).write(
        out / "exact.npz"
    )
    for number, offset_px in enumerate(rng.uniform(-0.5, 0.5, (4, 2))):
        mean = 40_000 * CAMERA["quantum_efficiency"] * image_stack(scan_nm, tuple(offset_px)) + 20
        counts = CAMERA["offset_adu"] + CAMERA["gain_adu_per_e"] * rng.poisson(mean) + rng.normal(0, 2.4, mean.shape)
        tifffile.imwrite(out / f"beads{number}.tif", np.clip(counts.round(), 0, 65535).astype("u2"))
    lls_decode.simulate(movie(out, "recorded", 64, DENSITY_PER_UM2, seed=2), out / "recorded", overwrite=True)
    for seed, (kind, times) in enumerate(DENSITIES.items(), 3):
        frames = 1000 if kind == "sparse" else 200
        lls_decode.simulate(movie(out, kind, frames, times * DENSITY_PER_UM2, seed=seed), out / kind, overwrite=True)
    began = time.process_time()
    beads = sorted(out.glob("beads*.tif"))
    middle = (len(scan_nm) - 1) / 2
    camera = {"offset_adu": CAMERA["offset_adu"], "gain_adu_per_e": CAMERA["gain_adu_per_e"]}
    found = lls_decode.calibrate(beads, pixel=pixel, z_step_nm=25.0, focus_slice=middle, **camera)
    found.write(out / "mine.npz")
    recorded = out / "recorded"
    lls_decode.estimate(
        recorded / "movie.zarr", "astigmatism", out / "prefit", config=recorded / "run.yaml", psf=out / "mine.npz"
    )
    spent = time.process_time() - began
    kept.write_text(json.dumps(spent))
    return spent


def image_stack(z_nm: Floats, offset_px: tuple[float, float]) -> Floats:
    """Return the images (Z, 31, 31) of a point at each z, with the sum 1; ``offset_px`` is its offset (y, x)."""
    side, fine, na, wavelength_nm, index = 31, 256, 1.4, 670.0, 1.518
    step = 1 / (fine * PIXEL_NM / 2)  # of the pupil, in cycles per nm, at two samples per pixel
    axis = (np.arange(fine) - fine // 2) * step
    fy, fx = np.meshgrid(axis, axis, indexing="ij")
    radius, angle = np.hypot(fy, fx) * wavelength_nm / na, np.arctan2(fy, fx)
    inside = radius <= 1
    depth = 2 * math.pi * np.sqrt(np.maximum((index / wavelength_nm) ** 2 - fx**2 - fy**2, 0))
    aberration = (
        1.1 * radius**2 * np.cos(2 * angle)  # astigmatism; all coefficients in radians
        + 0.35 * (6 * radius**4 - 6 * radius**2 + 1)
        + 0.2 * (3 * radius**3 - 2 * radius) * np.cos(angle - 0.7)
    )
    shift = -2 * math.pi * PIXEL_NM * ((offset_px[0] + 0.25) * fy + (offset_px[1] + 0.25) * fx)  # 2 x 2 samples a pixel
    images, middle = [], fine // 2
    for z in z_nm:
        pupil = inside * np.exp(1j * (aberration + depth * z + shift))
        dense = np.abs(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(pupil)))) ** 2
        cut = dense[middle - side : middle + side, middle - side : middle + side]
        images.append(cut.reshape(side, 2, side, 2).sum((1, 3)) / dense.sum())
    return np.stack(images)


def movie(out: Path, name: str, frames: int, density: float, *, seed: int) -> MovieConfig:
    """Return the configuration of frames of the microscope, with its exact PSF."""
    emitters = {"density_per_um2": density, "photons_mean": 1800.0, "photons_sd": 600.0, "on_time_frames": 2.0}
    emitters |= {"z_range_nm": [-500.0, 500.0], "z_render_nm": [-750.0, 750.0]}
    simulation = {
        "pixel_size": {"x_nm": PIXEL_NM, "y_nm": PIXEL_NM},
        "psf": {"kind": "spline", "path": str(out / "exact.npz")},
        "camera": CAMERA,
        "emitters": emitters,
        "background": {"low": 15.0, "high": 25.0},
    }
    shape = {"num_volumes": frames, "height": 96, "width": 96}
    return MovieConfig.model_validate({"name": name.replace(" ", "-"), "simulation": simulation, **shape, "seed": seed})


def scores(folder: Path, bundle: Path) -> dict[str, Any]:
    """Return the scores of a model on the frames in a folder."""
    table = lls_decode.localize(folder / "movie.zarr", bundle, config=folder / "run.yaml")
    path = bundle.parent / f"{folder.name}.parquet"
    pq.write_table(table, path)
    score = lls_decode.evaluate(path, folder / "truth.parquet").score
    names = ("recall", "precision", "jaccard", "efficiency", "zscore_x", "zscore_y", "zscore_z")
    found: dict[str, Any] = {name: round(getattr(score, name), 3) for name in names}
    return found | {f"rmse_{axis}_nm": round(getattr(score, f"rmse_{axis}_nm"), 1) for axis in ("lateral", "axial")}


if __name__ == "__main__":
    main()
