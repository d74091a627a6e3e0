"""Compare models on frames that follow a configuration exactly, and on frames that vary like users' data.

    python benchmarks/accuracy/varied.py lls-paint work/new/lls-paint.lls [--config lls-paint] [--frames 160]

The program prints one JSON line for each model and kind of frames, with the thresholds and sigmas of each bundle. The
kinds of frames are ``expected`` (as the configuration states), ``varied`` (with `Variety`), ``bright`` (sparse
emitters, twice as bright as the brightest expected) and ``dense`` (twice the highest stated density).
"""

import argparse
import json
import os
import platform

import torch

from lls_decode.config import TrainingConfig, Variety, load
from lls_decode.localize import build_validator
from lls_decode.localize.memory import keep_freed_memory
from lls_decode.model.bundle import load_bundle
from lls_decode.models import find_bundle, find_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--config", default="lls-paint")
    parser.add_argument("--frames", type=int, default=160)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    base = load(TrainingConfig, find_config(options.config)).replace(validation_frames=options.frames)
    for name, config in kinds(base).items():
        validate = build_validator(config)
        for model in options.models:
            bundle = load_bundle(find_bundle(model))
            line = {"benchmark": "varied", "frames": name, "model": str(model)}
            line |= validate(bundle.network, bundle.info).to_dict()
            print(json.dumps({**line, "hardware": f"{platform.machine()}, {os.cpu_count()} cores"}), flush=True)


def kinds(base: TrainingConfig) -> dict[str, TrainingConfig]:
    """Return the training configuration of each kind of frames."""
    emitters = base.simulation.emitters
    light = 2 * (emitters.photons_mean + 2 * emitters.photons_sd)
    bright = emitters.replace(density_per_um2=0.05, density_spread=0.0, photons_mean=light, photons_sd=0.0)
    dense = emitters.replace(density_per_um2=2 * emitters.density_per_um2 * (1 + emitters.density_spread))
    return {
        "expected": base.replace(variety=None),
        "varied": base.replace(variety=Variety()),
        **{
            name: base.replace(variety=None, simulation=base.simulation.replace(emitters=other))
            for name, other in (("bright", bright), ("dense", dense.replace(density_spread=0.0)))
        },
    }


if __name__ == "__main__":
    main()
