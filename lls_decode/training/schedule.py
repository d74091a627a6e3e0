"""Learning rate schedules, as functions of the completed fraction of a training.

``one-cycle`` (Smith and Topin, arXiv 1708.07120): the rate rises as a cosine to its maximum in the first tenth, and
falls as a cosine to zero in the rest; the momentum changes in the opposite direction. ``step``: the rate is multiplied
by 0.9 every 1500 steps, as published (Speiser et al. 2021, Methods, "Training details").

The completed fraction is that of the steps, or that of the time if there is a time limit, whichever is larger. So a
training with a time limit ends with a rate of zero on any machine.
"""

import math
from dataclasses import dataclass

import torch

from lls_decode.config import TrainingConfig

_STEPS_AT_A_RATE, _RATE_FACTOR = 1500, 0.9
_RISING = 0.1
"""Fraction of a training in which the rate of ``one-cycle`` rises."""
_FIRST, _LAST = 1 / 25, 1 / 250_000
"""Rate before the first step and after the last step, as fractions of the largest rate."""
_MOMENTUM = 0.95, 0.85
"""First Adam coefficient at the lowest and at the largest rate."""


@dataclass(frozen=True)
class Rates:
    """Settings of the optimizer for one step."""

    learning_rate: float
    momentum: float | None
    """First Adam coefficient; None: unchanged."""


def share_done(config: TrainingConfig, step: int, seconds: float) -> float:
    """Return the completed fraction of a training, from 0 to 1, after ``step`` steps and ``seconds`` seconds."""
    by_time = 0.0 if config.minutes is None else seconds / (60 * config.minutes)
    return min(max(step / config.steps, by_time), 1.0)


def is_rising(config: TrainingConfig, step: int, seconds: float) -> bool:
    """Return whether a training is in its first part, in which the rate of ``one-cycle`` rises."""
    return share_done(config, step, seconds) < _RISING


def rates(config: TrainingConfig, step: int, seconds: float) -> Rates:
    """Return the rates for the next step, after ``step`` steps and ``seconds`` seconds."""
    if config.schedule == "step":
        return Rates(config.learning_rate * _RATE_FACTOR ** (step // _STEPS_AT_A_RATE), None)
    # in units of steps, to give the same numbers as torch's OneCycleLR
    now, last = share_done(config, step, seconds) * config.steps, float(config.steps)
    turn = _RISING * (last + 1) - 1
    low, high = _MOMENTUM
    if now <= turn:
        done = now / turn
        return Rates(config.learning_rate * _cosine(_FIRST, 1.0, done), _cosine(low, high, done))
    done = (now - turn) / (last - turn)
    return Rates(config.learning_rate * _cosine(1.0, _LAST, done), _cosine(high, low, done))


def set_rates(optimizer: torch.optim.AdamW, found: Rates) -> None:
    """Set the rates of an optimizer."""
    for group in optimizer.param_groups:
        group["lr"] = found.learning_rate
        if found.momentum is not None:
            group["betas"] = (found.momentum, group["betas"][1])


def _cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))
