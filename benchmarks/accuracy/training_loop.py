"""Compare ways to train with the same CPU time: batch size, schedule, averaging, precision, variety and loss.

    python benchmarks/accuracy/training_loop.py --out OUT [--cpu-minutes 3] [--only "batch of 32" ...] [--seeds 1]

All networks have 16 filters. The number of steps of each training is the budget of CPU time divided by the measured
time of its first steps. All trainings are scored on the same validation frames, which follow the stated distribution
(`expected`) or have variety (`varied`). The thresholds of each network are chosen on other frames. The program prints
one JSON line per training as soon as it is complete. Trainings that are already complete in OUT are not repeated.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

from lls_decode.config import TrainingConfig, Variety, load
from lls_decode.localize import build_threshold_chooser, build_validator
from lls_decode.localize.memory import keep_freed_memory
from lls_decode.model.bundle import load_bundle
from lls_decode.models import find_config
from lls_decode.training import train
from lls_decode.training.checkpoint import new_state
from lls_decode.training.record import choose_scaling
from lls_decode.training.step import take_step

FILTERS = 16
USUAL: dict[str, Any] = {"sequences": 8, "learning_rate": 1.5e-3, "average_decay": 0.998, "precision": "bfloat16"}
WAYS: dict[str, dict[str, Any]] = {
    "usual": {},
    "no average": {"average_decay": 0.0},
    "batch of 32": {"sequences": 4},
    "batch of 128": {"sequences": 16},
    "float32": {"precision": "float32"},
    "published schedule": {"schedule": "step"},
    "published schedule, no average": {"schedule": "step", "average_decay": 0.0},
    "rate 0.8e-3": {"learning_rate": 0.8e-3},
    "rate 3e-3": {"learning_rate": 3e-3},
    "no variety": {"variety": None},
    "matching loss": {"loss": "matching"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cpu-minutes", type=float, default=3.0)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--base", default="lls-paint")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    base = load(TrainingConfig, find_config(options.base))
    base = base.replace(
        network=base.network.replace(filters=FILTERS), validate_every=10**6, validation_frames=160, minutes=None
    )
    for seed in options.seeds:
        for name in options.only:
            config = base.replace(**(USUAL | WAYS[name] | {"seed": seed}))
            folder = options.out / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
            line = {"benchmark": "training-loop", "way": name, "seed": seed, "cpu_minutes": options.cpu_minutes}
            scored = {"expected": base.replace(variety=None), "varied": base.replace(variety=Variety())}
            line |= result(config, folder, 60 * options.cpu_minutes, scored)
            line["hardware"] = f"{platform.machine()}, {os.cpu_count()} cores, one thread"
            print(json.dumps(line), flush=True)


def result(config: TrainingConfig, folder: Path, budget_s: float, scored: dict[str, TrainingConfig]) -> dict[str, Any]:
    """Train a network and return its scores; return the saved scores if the training is already complete.

    ``scored`` has the configurations whose validation frames the network is scored on, by the prefix of their scores.
    """
    kept = folder / "score.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    config = with_budget(config, folder, budget_s)
    began = time.process_time()
    made = train(config, folder, validator=build_validator(config.replace(validation_frames=8)))
    assert made is not None
    found: dict[str, Any] = {"steps": made.steps, "cpu_s": round(time.process_time() - began)}
    bundle = load_bundle(made.bundle)
    for name, frames in scored.items():
        chosen = build_threshold_chooser(frames, emitters=2000)(bundle.network, bundle.info)
        score = build_validator(frames)(bundle.network, bundle.info.replace(detection=chosen))
        found |= {f"{name}_{what}": round(getattr(score, what), 4) for what in ("efficiency", "jaccard", "recall")}
        found |= {f"{name}_rmse_nm": round(score.rmse_lateral_nm, 2)}
    kept.write_text(json.dumps(found))
    return found


def with_budget(config: TrainingConfig, folder: Path, budget_s: float) -> TrainingConfig:
    """Return the configuration with as many steps as fit into the CPU time; a training that has begun keeps its own."""
    begun = folder / "training.yaml"
    steps = load(TrainingConfig, begun).steps if begun.exists() else max(round(budget_s / step_cost(config)), 20)
    return config.replace(steps=steps)


def step_cost(config: TrainingConfig, steps: int = 10) -> float:
    """Measure the CPU-seconds of a step in the middle of a training, when its own loss is in use."""
    state, scaling = new_state(config, torch.device("cpu"), restarts=[]), choose_scaling(config)
    state.step = config.steps // 2
    take_step(config, scaling, state, None)
    began = time.process_time()
    for _ in range(steps):
        take_step(config, scaling, state, None)
    return (time.process_time() - began) / steps


if __name__ == "__main__":
    main()
