"""Compare the light network with its teacher: accuracy on the same frames, and speed.

    python benchmarks/accuracy/light.py [--models FOLDER] [--frames 640]

The program prints one JSON line for `lls-paint` (the teacher) and one for `light`. The speed is stated as CPU-seconds
per megapixel of the network alone (encode and decode, in float32 and bfloat16, one thread); both networks are measured
in turns.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch

from lls_decode.config import TrainingConfig, load
from lls_decode.localize import build_validator
from lls_decode.localize.memory import keep_freed_memory
from lls_decode.model.bundle import ModelBundle, load_bundle
from lls_decode.models import find_bundle

HERE = Path(__file__).resolve().parent
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=HERE, help="Folder with light.lls.")
    parser.add_argument("--frames", type=int, default=640)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    bundles = [load_bundle(find_bundle("lls-paint")), load_bundle(options.models / "light.lls")]
    validate = build_validator(load(TrainingConfig, HERE / "light.yaml").replace(validation_frames=options.frames))
    rounds = [[[cost(bundle, lower) for lower in (False, True)] for bundle in bundles] for _ in range(ROUNDS)]
    seconds = np.array(rounds)
    for bundle, (float32_s, bfloat16_s) in zip(bundles, np.median(seconds, axis=0), strict=True):
        network, training = bundle.info.network, bundle.info.training
        line = {"benchmark": "light", "model": bundle.info.name, "variant": network.variant, "filters": network.filters}
        line |= {"steps": training["steps"], "teacher": training.get("teacher", {}).get("name")}
        line |= {"float32_cpu_s_per_mpx": round(float32_s, 3), "bfloat16_cpu_s_per_mpx": round(bfloat16_s, 3)}
        line |= validate(bundle.network, bundle.info).to_dict()
        print(json.dumps({**line, "hardware": f"{platform.machine()}, {os.cpu_count()} cores"}), flush=True)


def cost(bundle: ModelBundle, lower: bool) -> float:
    """Return the CPU-seconds per megapixel if every frame is encoded once."""
    frames, this = torch.zeros(16, 64, 64), torch.arange(16)
    windows = torch.stack([(this - 1).clamp_min(0), this, (this + 1).clamp_max(15)], dim=1)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=lower):
        began = time.process_time()
        bundle.network.decode(bundle.network.encode(frames), windows)
    return (time.process_time() - began) / (frames.numel() * 1e-6)


if __name__ == "__main__":
    main()
