"""Compare models with context along planes and models of single planes, trained with the same budget.

    python benchmarks/accuracy/planes.py [--models FOLDER] [--frames 640]

The data are simulated LLS-PAINT sweeps of a stage scan and of an objective scan. Both models of a scan get the same
frames, with molecules at random positions as in their training. Train the models with
`lls-decode train --config benchmarks/accuracy/planes-SCAN[-single].yaml`. The program prints one JSON line per model.
"""

import argparse
import json
import os
import platform
from pathlib import Path

from lls_decode.config import TrainingConfig, load
from lls_decode.localize import build_validator
from lls_decode.model.bundle import load_bundle

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=HERE, help="Folder with planes-stage.lls and the other models.")
    parser.add_argument("--frames", type=int, default=640)
    options = parser.parse_args()
    for scan in ("stage", "objective"):
        config = load(TrainingConfig, HERE / f"planes-{scan}.yaml").replace(
            validation_frames=options.frames, variety=None
        )
        validate = build_validator(config)  # sweeps for both models; models of single planes ignore the neighbours
        for name in (f"planes-{scan}", f"planes-{scan}-single"):
            bundle = load_bundle(options.models / f"{name}.lls")
            line = {"benchmark": "planes", "scan": scan, "model": name, "context": bundle.info.network.context}
            line |= {"filters": bundle.info.network.filters, "steps": bundle.info.training["steps"]}
            line |= validate(bundle.network, bundle.info).to_dict()
            print(json.dumps({**line, "hardware": f"{platform.machine()}, {os.cpu_count()} cores"}), flush=True)


if __name__ == "__main__":
    main()
