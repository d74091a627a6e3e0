"""How the learning rate goes over a training, as a function of how much of it is done.

``one-cycle`` (Smith and Topin, arXiv 1708.07120): a cosine up to the largest rate in the first tenth, a cosine down to
nothing in the rest; the momentum goes the other way. ``step``: times 0.9 after every 1500 steps, as published (Speiser
et al. 2021, Methods, "Training details").

What is done of a training is the share of its steps, or of its time where that has a limit, whichever is larger. So a
training with a limit of time ends with the rate at nothing on any machine.
"""

import math
from dataclasses import dataclass

import torch

from lls_decode.config import TrainingConfig

_STEPS_AT_A_RATE, _RATE_FACTOR = 1500, 0.9
_RISING = 0.1
"""Share of a training in which the rate rises."""
_FIRST, _LAST = 1 / 25, 1 / 250_000
"""The rate before the first step and after the last one, as a share of the largest."""
_MOMENTUM = 0.95, 0.85
"""First coefficient of Adam at the lowest and at the largest rate."""


@dataclass(frozen=True)
class Rates:
    """What the optimiser is told before a step."""

    learning_rate: float
    momentum: float | None
    """None: as it is."""


def share_done(config: TrainingConfig, step: int, seconds: float) -> float:
    """Return how much of a training is done, 1 at its end, after so many steps and seconds."""
    by_time = 0.0 if config.minutes is None else seconds / (60 * config.minutes)
    return min(max(step / config.steps, by_time), 1.0)


def rates(config: TrainingConfig, step: int, seconds: float) -> Rates:
    """Return the rates of the step that follows ``step`` steps and ``seconds`` seconds."""
    if config.schedule == "step":
        return Rates(config.learning_rate * _RATE_FACTOR ** (step // _STEPS_AT_A_RATE), None)
    # In units of steps: the numbers of torch's OneCycleLR.
    now, last = share_done(config, step, seconds) * config.steps, float(config.steps)
    turn = _RISING * (last + 1) - 1
    low, high = _MOMENTUM
    if now <= turn:
        done = now / turn
        return Rates(config.learning_rate * _cosine(_FIRST, 1.0, done), _cosine(low, high, done))
    done = (now - turn) / (last - turn)
    return Rates(config.learning_rate * _cosine(1.0, _LAST, done), _cosine(high, low, done))


def set_rates(optimizer: torch.optim.AdamW, found: Rates) -> None:
    """Tell the optimiser."""
    for group in optimizer.param_groups:
        group["lr"] = found.learning_rate
        if found.momentum is not None:
            group["betas"] = (found.momentum, group["betas"][1])


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))
