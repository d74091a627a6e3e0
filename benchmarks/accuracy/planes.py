"""Context along the planes of a sweep against single planes: simulated LLS-PAINT, both scans, same training budget.

    python benchmarks/accuracy/planes.py [--models FOLDER] [--frames 640]

One JSON line a model. Both models of a scan see the same frames: sweeps of simulated molecules everywhere, as in their
training. The models are trained by `lls-decode train --config benchmarks/accuracy/planes-SCAN[-single].yaml`.
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
    parser.add_argument("--models", type=Path, default=HERE, help="Folder with planes-stage.lls and the others.")
    parser.add_argument("--frames", type=int, default=640)
    options = parser.parse_args()
    for scan in ("stage", "objective"):
        config = load(TrainingConfig, HERE / f"planes-{scan}.yaml").replace(
            validation_frames=options.frames, variety=None
        )
        validate = build_validator(config)  # sweeps, for the single planes too: they do not look at the neighbours
        for name in (f"planes-{scan}", f"planes-{scan}-single"):
            bundle = load_bundle(options.models / f"{name}.lls")
            line = {"benchmark": "planes", "scan": scan, "model": name, "context": bundle.info.network.context}
            line |= {"filters": bundle.info.network.filters, "steps": bundle.info.training["steps"]}
            line |= validate(bundle.network, bundle.info).to_dict()
            print(json.dumps({**line, "hardware": f"{platform.machine()}, {os.cpu_count()} cores"}), flush=True)


if __name__ == "__main__":
    main()
