"""Measure the time of a training step and the shares of simulation, forward pass, loss, backward pass and optimiser.

    python benchmarks/training_step.py [--threads 1] [--steps 10] [--filters 24]

The program prints one JSON line for each network, precision and batch size: CPU seconds per step (seconds on a GPU),
the share of each part, and microseconds per target frame. The parts are those of
`lls_decode.training.step.take_step`, in the same order.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import torch

from lls_decode.config import TrainingConfig, load
from lls_decode.localize.memory import keep_freed_memory
from lls_decode.models import find_config
from lls_decode.training.checkpoint import new_state
from lls_decode.training.loss import decode_loss
from lls_decode.training.record import choose_scaling
from lls_decode.training.schedule import rates, set_rates

PARTS = ("simulation", "forward", "loss", "backward", "optimiser")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument(
        "--filters", type=int, default=24, help="Filters of the published network; the light network has 64."
    )
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    device = torch.device(options.device)
    base = load(TrainingConfig, find_config("lls-paint"))
    networks = (("published", options.filters, 3), ("light", 64, 4))
    for variant, filters, shift in networks:
        for precision in ("float32", "bfloat16"):
            for sequences in (4, 8, 16) if precision == "bfloat16" else (8,):
                network = base.network.replace(variant=variant, filters=filters, shift_px=shift)
                config = base.replace(network=network, precision=precision, sequences=sequences)
                line: dict[str, Any] = {"benchmark": "training-step", "variant": variant, "filters": filters}
                line |= {"precision": precision, "frames": sequences * config.sequence_frames}
                line |= measure(config, device, options.steps)
                where = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
                print(json.dumps({**line, "threads": options.threads, "hardware": f"{where}, {os.cpu_count()} cores"}))


def measure(config: TrainingConfig, device: torch.device, steps: int) -> dict[str, float]:
    """Return the mean seconds per step and the share of each part, without the first two steps."""
    state, scaling = new_state(config, device, restarts=[]), choose_scaling(config)
    network, lower = state.network.train(), config.precision == "bfloat16"
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    spent = dict.fromkeys(PARTS, 0.0)

    def timed(part: str, work: Callable[[], Any]) -> Any:
        began = clock()
        value = work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        spent[part] += clock() - began
        return value

    def forward(batch: Any) -> Any:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=lower):
            features = network.encode(*batch.inputs(scaling, noise_map=False))
            return network.decode(features, batch.windows_N3)

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.gradient_norm)
        set_rates(state.optimizer, rates(config, state.step, 0.0))
        state.optimizer.step()
        assert state.average is not None
        state.average.update(network)

    for step in range(steps + 2):
        if step == 2:
            spent.update(dict.fromkeys(PARTS, 0.0))
        batch = timed("simulation", state.next_batch)
        maps = timed("forward", lambda batch=batch: forward(batch))
        targets = batch.targets(scaling, config.simulation)
        losses = timed("loss", lambda maps=maps, targets=targets: decode_loss(maps, targets))
        state.optimizer.zero_grad(set_to_none=True)
        timed("backward", losses.total.backward)
        timed("optimiser", update)
    whole = sum(spent.values()) / steps
    shares = {f"{part}_share": round(spent[part] / steps / whole, 3) for part in PARTS}
    frames = config.sequences * config.sequence_frames
    return {"step_s": round(whole, 4), "frame_us": round(1e6 * whole / frames), **shares}


if __name__ == "__main__":
    main()
