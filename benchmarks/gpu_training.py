"""Train and calibrate a shipped model on one GPU within nine minutes, with one command per model.

    python benchmarks/gpu_training.py light --out $OUT            # the light network, taught by lls-paint-48
    python benchmarks/gpu_training.py light-alone --out $OUT      # the same without a teacher, over a wider range
    python benchmarks/gpu_training.py astigmatism --out $OUT      # wide-field 3-D, full size

The training ends after a fixed time (`TrainingConfig.minutes`), at which the learning rate reaches zero on any device.
The rest of ``--minutes`` is used for thresholds, sigmas and validation. OUT then holds the folder of the training with
its bundle, curve and checkpoint. To resume a training, copy this folder to OUT and rerun the same command.

The script needs no installation: run it from the repository's root (pydantic, pyarrow, zarr, numcodecs and safetensors
must be importable). Test a command with ``--device cpu --scale 0.02``.

A teacher cannot describe emitters beyond its own scales: with a teacher, emitters reach 1.5 times the brightest
expected emitters instead of twice.
"""

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lls_decode.config import TrainingConfig, Variety, load
from lls_decode.localize import build_calibrator, build_threshold_chooser, build_validator
from lls_decode.models import find_config
from lls_decode.training import train

AFTER_SHARE = 0.2
"""Share of the time for thresholds, sigmas and validation."""
ANY_STEPS = 10_000_000
EMITTERS = 20_000
LIGHT: dict[str, Any] = {"variant": "light", "filters": 64, "shift_px": 4}
WHAT: dict[str, dict[str, Any]] = {
    "light": {
        "base": "lls-paint",
        "network": LIGHT,
        "teacher": "lls-paint-48",
        "variety": Variety(brightest=1.5, background=1.2),
    },
    "light-alone": {"base": "lls-paint", "network": LIGHT},
    "astigmatism": {"base": "astigmatism", "network": {"filters": 48}},
}
ON_A_GPU: dict[str, Any] = {"sequences": 32, "learning_rate": 1.5e-3, "validation_frames": 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--init-from", help="Bundle with the same network whose weights the training starts from.")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--scale", type=float, default=1.0, help="Reduce networks and batches, to test the script.")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    began, device = time.monotonic(), torch.device(options.device)
    config = configuration(options.what, (1 - AFTER_SHARE) * options.minutes, options.scale)
    emitters = max(round(EMITTERS * options.scale), 300)
    small = options.scale < 1
    result = train(
        config,
        options.out / options.what,
        validator=build_validator(config),
        calibrator=build_calibrator(config, emitters=emitters),
        choose_thresholds=build_threshold_chooser(config, emitters=emitters),
        init_from=options.init_from,
        teacher=WHAT[options.what].get("teacher"),
        device=device,
    )
    assert result is not None
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    line = {"benchmark": "gpu-training", "model": config.name, "what": options.what, "scaled_down": small}
    line |= {"steps": result.steps, "seconds": round(time.monotonic() - began), "device": name, **result.accuracy}
    print(json.dumps(line), flush=True)


def configuration(what: str, minutes: float, scale: float) -> TrainingConfig:
    """Return the preset at the size for a GPU, reduced by ``scale``."""
    chosen = WHAT[what]
    base = load(TrainingConfig, find_config(chosen["base"]))
    network = base.network.replace(**chosen["network"])
    return base.replace(
        sequences=max(round(ON_A_GPU["sequences"] * scale), 1),
        learning_rate=ON_A_GPU["learning_rate"],
        validation_frames=max(round(ON_A_GPU["validation_frames"] * scale), 8),
        **({"variety": chosen["variety"]} if "variety" in chosen else {}),
        network=network.replace(filters=max(round(network.filters * min(8 * scale, 1)), 4)),
        steps=ANY_STEPS,
        minutes=minutes,
        precision="auto",
        validate_every=2000,
        checkpoint_every=1000,
    )


if __name__ == "__main__":
    main()
