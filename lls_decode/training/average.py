"""Weights averaged over the steps of a training: less noisy than those of any single step.

The average is exponential: after a step it is decay * average + (1 - decay) * weights. At the beginning of a training
the decay is smaller, (1 + steps) / (10 + steps), so that the first weights are soon forgotten.
"""

import copy

import torch
from torch import Tensor

from lls_decode.model.network import LocNet


class WeightAverage:
    """The exponential average of a network's weights, as a network of its own."""

    def __init__(self, network: LocNet, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.steps = 0
        """Steps that have been averaged."""
        self._decay = decay

    @torch.no_grad()
    def update(self, network: LocNet) -> None:
        """Take in the weights after a step."""
        self.steps += 1
        keep = min(self._decay, (1 + self.steps) / (10 + self.steps))
        averaged: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(averaged, list(network.parameters()), 1 - keep)
