"""Compare errors of isolated emitters with the Cramer-Rao bound over z, with and without context.

    lls-decode calibrate ../shared/data/beads/astig_single_bead_real/single_bead.tif --z-step-nm 10 --pixel-nm 132 \
        --roi-px 17 --offset-adu 400 --gain-adu-per-e 10 --out work/bead.npz
    python benchmarks/accuracy/isolated.py --psf work/bead.npz [--models MODEL.lls ...] [--emitters 400]

This is the experiment of Speiser et al. 2021, Fig. 2a. The program prints one JSON line for each model,
signal-to-noise ratio and on-time; lists run over z. Emitters are on for one frame, or with constant brightness for
all three frames of a window. The stated bound is that of one frame; for an emitter that is on for three frames,
multiply it by 3^-1/2.
"""

import argparse
import json
import math
import os
import platform
from pathlib import Path

import numpy as np
import torch

from lls_decode.config import ComputeConfig, ModelRule, SimulationConfig, SplinePsf
from lls_decode.emitters import Emitters
from lls_decode.evaluate import match
from lls_decode.localize.localizer import Localizer
from lls_decode.localize.place import to_emitters
from lls_decode.model.bundle import ModelBundle, load_bundle
from lls_decode.optics import CameraModel, build_camera, build_psf
from lls_decode.refine.crlb import Spots, crlb
from lls_decode.simulate.frames import draw_photons
from lls_decode.simulate.molecules import Activations

HERE = Path(__file__).resolve().parent
SNRS = {"low": (1000.0, 50.0), "middle": (2500.0, 30.0), "high": (5000.0, 10.0), "brightest": (10000.0, 10.0)}
"""Photons of an emitter, and background photons per pixel."""
FIELD_PX = 32
ON_TIMES = (1, 3)
LEAST_RECALL = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--psf", default="work/bead.npz")
    parser.add_argument(
        "--models",
        type=Path,
        nargs="+",
        default=[HERE / "bead-3d.lls", HERE / "bead-3d-single.lls"],
    )
    parser.add_argument("--emitters", type=int, default=400, help="Number of emitters for each z.")
    options = parser.parse_args()
    for path in options.models:
        bundle = load_bundle(path)
        for snr in SNRS:
            for on_time in ON_TIMES:
                line = {"benchmark": "isolated", "model": bundle.info.name, "context": bundle.info.network.context}
                line |= {"filters": bundle.info.network.filters, "snr": snr, "on_frames": on_time}
                line |= measure(bundle, options.psf, snr, on_time, options.emitters)
                print(json.dumps({**line, "hardware": f"{platform.machine()}, {os.cpu_count()} cores"}), flush=True)


def measure(bundle: ModelBundle, psf: str, snr: str, on_time: int, count: int) -> dict[str, object]:
    """Return errors, predicted sigmas and bounds over z in nm, and their ratios."""
    s = SimulationConfig.model_validate(bundle.info.training["configuration"]["simulation"])
    s = s.replace(psf=SplinePsf(path=psf), geometry=None)
    photons, bg = SNRS[snr]
    low, high = s.emitters.z_range_nm
    z_nm = np.linspace(low, high, 13)
    generator = torch.Generator().manual_seed(1)
    rows = [one_z(bundle, s, float(z), photons, bg, on_time, count, generator) for z in z_nm]
    table = {name: [row[name] for row in rows] for name in rows[0]}
    line: dict[str, object] = {"photons": photons, "bg": bg, "z_nm": z_nm.tolist()}
    line |= {name: [round(value, 3) for value in values] for name, values in table.items()}
    return line | ratios(table)


def ratios(table: dict[str, list[float]]) -> dict[str, float]:
    """Return the medians of error / bound and error / sigma over all z with a recall of at least one half."""
    seen = np.asarray(table["recall"]) >= LEAST_RECALL
    line: dict[str, float] = {"z_seen": int(seen.sum())}
    for axis in "xyz":
        error, bound, sigma = (np.asarray(table[f"{what}_{axis}_nm"])[seen] for what in ("rmse", "crlb", "sigma"))
        line[f"rmse_over_crlb_{axis}"] = round(float(np.median(error / bound)), 3)
        line[f"rmse_over_sigma_{axis}"] = round(float(np.median(error / sigma)), 3)
    return line


def one_z(
    bundle: ModelBundle,
    s: SimulationConfig,
    z_nm: float,
    photons: float,
    bg: float,
    on_time: int,
    count: int,
    generator: torch.Generator,
) -> dict[str, float]:
    """Return recall, and r.m.s. error, bias, r.m.s. predicted sigma and r.m.s. bound of each axis, for one z."""
    middle = (FIELD_PX - 1) / 2
    x_px, y_px = middle - 0.5 + torch.rand((2, count), generator=generator)
    frames = torch.tensor([1]) if on_time == 1 else torch.arange(3)
    every = torch.arange(count).repeat_interleave(len(frames))
    seen = Activations(
        sequence=every,
        frame=frames.repeat(count),
        molecule=every,
        x_nm=x_px[every] * s.pixel_size.x_nm,
        y_nm=y_px[every] * s.pixel_size.y_nm,
        z_nm=torch.full((len(every),), z_nm),
        photons=torch.full((len(every),), photons),
    )
    camera = build_camera(bundle.info.camera, FIELD_PX, FIELD_PX)
    expected = draw_photons(s, seen, count, 3, FIELD_PX, FIELD_PX) + bg
    adu = camera.to_adu(expected, generator).view(-1, FIELD_PX, FIELD_PX).numpy()
    found = localize(bundle, camera, adu, windows_N3=3 * np.arange(count)[:, None] + np.arange(3))
    truth = Emitters.from_columns(
        {
            "frame": np.arange(count),
            "x_nm": x_px.double().numpy() * s.pixel_size.x_nm,
            "y_nm": y_px.double().numpy() * s.pixel_size.y_nm,
            "z_nm": np.full(count, z_nm),
        }
    )
    pairs = match(truth, found)
    true, seen_as = truth.select(pairs.truth), found.select(pairs.found)
    all_one = torch.ones(count, dtype=torch.float64)
    spots = Spots(x_px.double(), y_px.double(), all_one * z_nm, all_one * photons, all_one * bg)
    bounds = crlb(build_psf(s.psf, pixel=s.pixel_size), spots, height=FIELD_PX, width=FIELD_PX)
    bound_nm = {"x": bounds.x_px * s.pixel_size.x_nm, "y": bounds.y_px * s.pixel_size.y_nm, "z": bounds.z_nm}
    row = {"recall": len(pairs) / count, "extra": len(pairs.spurious) / count}
    for axis in "xyz":
        error = getattr(seen_as, f"{axis}_nm") - getattr(true, f"{axis}_nm")
        row[f"rmse_{axis}_nm"] = rms(error)
        row[f"bias_{axis}_nm"] = float(error.mean()) if len(error) else math.nan
        row[f"sigma_{axis}_nm"] = rms(getattr(seen_as, f"{axis}_sig"))
        row[f"crlb_{axis}_nm"] = rms(bound_nm[axis].numpy())
    return row


def localize(bundle: ModelBundle, camera: CameraModel, adu_TYX: np.ndarray, windows_N3: np.ndarray) -> Emitters:
    """Localize windows of frames; the frame of each emitter is the number of its window."""
    localizer = Localizer(
        bundle=bundle,
        camera=camera,
        pixel=bundle.info.pixel_size,
        geometry=None,
        rule=ModelRule().resolve(bundle.info.detection),
        compute=ComputeConfig(dtype="float32"),
        device=torch.device("cpu"),
    )
    return to_emitters(localizer.find(adu_TYX, windows_N3), bundle.info.scaling, bundle.info.pixel_size)


def rms(values: np.ndarray) -> float:
    return math.sqrt(float(np.mean(values**2))) if len(values) else math.nan


if __name__ == "__main__":
    main()
