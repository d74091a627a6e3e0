"""Compare the loss of the paper with a loss that matches sets, at several densities and on equal budgets.

    python benchmarks/accuracy/set_matching.py --out OUT [--cpu-minutes 8] [--densities 0.5 1 2 4] [--seeds 1 2 3]

All networks have 16 filters and the microscope of lls-paint, with one density (per um2) and without variety. A training
gets the same CPU time with either loss. The thresholds of each network are chosen on other frames than those on which
it is scored. The program prints one JSON line per training as soon as it is complete. Trainings that are already
complete in OUT are not repeated, and one that was interrupted is resumed. Several processes can share the work if each
gets other densities or seeds.

The equations of the loss that matches sets are in `lls_decode.training.matching`.
"""

import argparse
import json
import os
import platform
from pathlib import Path

import torch
from training_loop import FILTERS, USUAL, result

from lls_decode.config import TrainingConfig, load
from lls_decode.localize.memory import keep_freed_memory
from lls_decode.models import find_config

LOSSES = ["mixture", "matching"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cpu-minutes", type=float, default=8.0)
    parser.add_argument("--densities", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=LOSSES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    paint = load(TrainingConfig, find_config("lls-paint"))
    for seed in options.seeds:
        for density in options.densities:
            emitters = paint.simulation.emitters.replace(density_per_um2=density, density_spread=0.0)
            base = paint.replace(
                network=paint.network.replace(filters=FILTERS),
                simulation=paint.simulation.replace(emitters=emitters),
                **USUAL | {"variety": None, "validate_every": 10**6, "validation_frames": 160, "minutes": None},
            )
            for name in options.losses:
                folder = options.out / f"{name}-{density:g}-{seed}"
                line = {"benchmark": "set-matching", "loss": name, "density_per_um2": density, "seed": seed}
                line |= {"cpu_minutes": options.cpu_minutes}
                config = base.replace(loss=name, seed=seed)
                line |= result(config, folder, 60 * options.cpu_minutes, {"expected": base})
                line["hardware"] = f"{platform.machine()}, {os.cpu_count()} cores, one thread"
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
