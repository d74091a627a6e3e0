"""Exponential moving average of the weights over training steps, which is less noisy than the weights of one step.

After each step, the average is decay * average + (1 - decay) * weights. Early in a training, the decay is smaller,
(1 + steps) / (10 + steps), so that the initial weights are forgotten soon.
"""

import copy

import torch
from torch import Tensor

from lls_decode.model.network import LocNet


class WeightAverage:
    """Exponential moving average of a network's weights, as a separate network."""

    def __init__(self, network: LocNet, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.steps = 0
        """Number of steps averaged so far."""
        self._decay = decay

    @torch.no_grad()
    def update(self, network: LocNet) -> None:
        """Include the weights after a step in the average."""
        self.steps += 1
        keep = min(self._decay, (1 + self.steps) / (10 + self.steps))
        averaged: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(averaged, list(network.parameters()), 1 - keep)
