"""Compare the loss of the paper with a loss that matches sets, at several densities and on equal budgets.

    python benchmarks/accuracy/set_matching.py --out OUT [--cpu-minutes 8] [--densities 0.5 1 2 4] [--seeds 1 2 3]

All networks have 16 filters and the microscope of lls-paint, with one density (per um2) and without variety. A training
gets the same CPU time with either loss. The thresholds of each network are chosen on other frames than those on which
it is scored. The program prints one JSON line per training as soon as it is complete. Trainings that are already
complete in OUT are not repeated, and one that was interrupted is resumed. Several processes can share the work if each
gets other densities or seeds.

The loss that matches sets is derived here. The idea of matching predictions and emitters by optimal transport is from
Seailles, Masson, Ponce, Mairal, "Optimal transport unlocks end-to-end learning for single-molecule localization"
(arXiv 2512.10683). Let every pixel k predict one emitter with probability p_k and density q_k, independently of the
others. If the prediction of pixel k(i) is emitter i, the negative log-likelihood of a frame is

    sum_k -log(1 - p_k) + sum_i D_{k(i) i},    D_ki = -log(p_k / (1 - p_k)) - log q_k(u_i).

The matching k(i) is relaxed to a transport plan T_ki: every emitter has the mass 1, a pixel has at most the mass 1,
and the rest of its mass predicts nothing, at no cost. The plan minimizes sum_ki T_ki D_ki minus its entropy, and is
found by Sinkhorn iterations (Cuturi 2013). At the minimum the gradient with respect to D is the plan itself, so the
plan is held fixed when the loss is differentiated. This loss replaces the count and the localization loss of the paper.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F
from training_loop import FILTERS, USUAL, result

from lls_decode.config import TrainingConfig, load
from lls_decode.localize.memory import keep_freed_memory
from lls_decode.model.network import OutputMaps
from lls_decode.models import find_config
from lls_decode.simulate import Targets
from lls_decode.training.loss import Losses, limited, pixels_near_emitters

REACH_PX = 3
"""Distance of pixels that can be matched with an emitter; a pixel predicts emitters at most one pixel away."""
ITERATIONS = 50


def matching_loss(maps: OutputMaps, targets: Targets) -> Losses:
    """Return the losses of one batch per emitter; ``count`` is the part of the probabilities."""
    logit = limited(maps.logit)
    near = pixels_near_emitters(maps, targets, logit, REACH_PX)
    with torch.no_grad():
        gain_EK = (near.value_EK + near.log_density_EK).masked_fill(~near.inside_EK, -torch.inf)
        plan_EK = transport_plan(gain_EK, near.pixel_EK, logit.numel())
    num = max(len(targets.window), 1)
    finite_EK = near.log_density_EK.masked_fill(~near.inside_EK, 0.0)
    count = (F.softplus(logit).sum() - (plan_EK * near.value_EK).sum()) / num
    localization = -(plan_EK * finite_EK).sum() / num
    background = ((maps.bg - targets.bg_NYX) ** 2).sum() / num
    return Losses(count, localization, background)


def transport_plan(gain_EK: Tensor, pixel_EK: Tensor, num_pixels: int) -> Tensor:
    """Return the plan (E, K) with the largest sum of gain and entropy, by Sinkhorn iterations.

    The masses of each emitter add up to 1. The masses of each pixel add up to at most 1; the rest has no gain. With
    this weight of the entropy the masses approximate the probabilities of the matchings.
    """
    of_pixel = gain_EK.new_zeros(num_pixels)
    index = pixel_EK.flatten()
    of_emitter = -torch.logsumexp(gain_EK, dim=1)
    for _ in range(ITERATIONS):
        mass = (gain_EK + of_emitter[:, None]).flatten()
        largest = torch.zeros_like(of_pixel).scatter_reduce(0, index, mass, "amax")  # includes the 0 of the rest
        total = torch.exp(-largest).scatter_add(0, index, torch.exp(mass - largest[index]))
        of_pixel = -(largest + torch.log(total))
        of_emitter = -torch.logsumexp(gain_EK + of_pixel[pixel_EK], dim=1)
    return torch.exp(gain_EK + of_emitter[:, None] + of_pixel[pixel_EK])


LOSSES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "mixture": nullcontext,
    "matching": lambda: patch("lls_decode.training.step.decode_loss", matching_loss),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cpu-minutes", type=float, default=8.0)
    parser.add_argument("--densities", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
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
                with LOSSES[name]():
                    line |= result(base.replace(seed=seed), folder, 60 * options.cpu_minutes, {"expected": base})
                line["hardware"] = f"{platform.machine()}, {os.cpu_count()} cores, one thread"
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
