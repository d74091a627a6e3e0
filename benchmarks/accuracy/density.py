"""Measure accuracy and sigmas over density and signal-to-noise ratio, with and without context (paper, Fig. 2c).

    lls-decode calibrate ../shared/data/beads/astig_single_bead_real/single_bead.tif --z-step-nm 10 --pixel-nm 132 \
        --roi-px 17 --offset-adu 400 --gain-adu-per-e 10 --out work/bead.npz
    python benchmarks/accuracy/density.py --psf work/bead.npz [--models MODEL.lls ...] [--frames 192]

The program prints one JSON line for each model, signal-to-noise ratio and density. Emitters are at random positions in
frames of 64 x 64 pixels and are on for two frames on average. All emitters with at least 50 photons in the frame count,
including those at the border and overlapping ones.
"""

import argparse
import json
import os
import platform
from pathlib import Path

from isolated import SNRS

from lls_decode.config import SplinePsf, TrainingConfig, recorded_training
from lls_decode.localize import build_validator
from lls_decode.model.bundle import load_bundle

HERE = Path(__file__).resolve().parent
DENSITIES_PER_UM2 = (0.1, 0.3, 1.0, 2.0, 3.0)
FLUX_SPREAD = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--psf", default="work/bead.npz")
    parser.add_argument("--models", type=Path, nargs="+", default=[HERE / "bead-3d.lls", HERE / "bead-3d-single.lls"])
    parser.add_argument("--frames", type=int, default=192, help="Target frames at 1 emitter per square micrometre.")
    options = parser.parse_args()
    for snr in SNRS:
        for density in DENSITIES_PER_UM2:
            for path in options.models:
                bundle = load_bundle(path)
                config = conditions(bundle.info.training["configuration"], options.psf, snr, density, options.frames)
                line = {"benchmark": "density", "model": bundle.info.name, "context": bundle.info.network.context}
                line |= {"filters": bundle.info.network.filters, "snr": snr}
                line |= dict(zip(("photons", "bg"), SNRS[snr], strict=True)) | {"density_per_um2": density}
                line |= build_validator(config)(bundle.network, bundle.info).to_dict()
                print(json.dumps({**line, "hardware": f"{platform.machine()}, {os.cpu_count()} cores"}), flush=True)


def conditions(trained: dict[str, object], psf: str, snr: str, density: float, frames: int) -> TrainingConfig:
    """Return the training configuration with the light and the density of one experiment.

    The number of frames is chosen so that all experiments have a similar number of emitters.
    """
    config = recorded_training(trained, source="bundle").replace(variety=None)
    photons, bg = SNRS[snr]
    emitters = config.simulation.emitters.replace(
        density_per_um2=density, density_spread=0.0, photons_mean=photons, photons_sd=FLUX_SPREAD * photons
    )
    simulation = config.simulation.replace(
        emitters=emitters,
        background=config.simulation.background.replace(low=bg, high=bg),
        psf=SplinePsf(path=psf),
    )
    wanted = max(config.sequence_frames, round(frames / max(density, 0.3)))
    return config.replace(simulation=simulation, validation_frames=wanted)


if __name__ == "__main__":
    main()
