"""Conditions in which the errors of a model are measured: they span what it was trained for.

Densities, brightnesses and backgrounds are spread evenly over their logarithms (a Halton sequence); in each condition
they are nearly the same for all emitters, as in a user's movie. In training they vary from frame to frame, and sigmas
that are right on average over such frames are too large for a sparse movie and too small for a dense one.
"""

import math

import numpy as np
from scipy.stats import qmc

from lls_decode.config import BackgroundConfig, EmitterConfig, TrainingConfig
from lls_decode.localize.validate import frames_for

_MOST_CONDITIONS, _FEWEST_CONDITIONS = 48, 6
_EMITTERS_EACH = 400
_MOST_SEQUENCES = 8
"""Of a condition: frames of a sparse one hold few emitters, and time is short."""
_DENSER = 1.5
"""The densest condition over the densest training frames: molecules of a cell are no homogeneous Poisson process."""
_SPARSEST = 0.05
"""Least density over the mean of the training."""
_DIMMEST = 0.2
"""Least brightness over the mean of the training."""
_FLUX_SPREAD = 0.2
"""Largest standard deviation of the brightness over its mean: as in training, where that has less."""
_LEAST_BG = 0.1


def span_conditions(config: TrainingConfig, emitters: int) -> list[TrainingConfig]:
    """Return one configuration a condition, with about ``emitters`` targets in all; the last one is the training's."""
    count = min(max(emitters // _EMITTERS_EACH, _FEWEST_CONDITIONS), _MOST_CONDITIONS)
    sequence = qmc.Halton(3, scramble=False)
    sequence.fast_forward(1)  # the first point is a corner
    own = config.simulation
    ranges = np.log([_densities(own.emitters), _photons(own.emitters), _backgrounds(own.background)])
    values = np.exp(ranges[:, 0] + sequence.random(count) * (ranges[:, 1] - ranges[:, 0]))
    each = math.ceil(emitters / (count + 1))
    spanned = [_condition(config, density, photons, bg, each) for density, photons, bg in values.tolist()]
    return [*spanned, _sized(config, 4 * each)]


def _condition(config: TrainingConfig, density: float, photons: float, bg: float, emitters: int) -> TrainingConfig:
    simulation = config.simulation
    flux_spread = min(_FLUX_SPREAD * photons, simulation.emitters.photons_sd)
    light = simulation.emitters.replace(
        density_per_um2=density, density_spread=0.0, photons_mean=photons, photons_sd=flux_spread
    )
    background = simulation.background.replace(low=bg, high=bg)
    return _sized(config.replace(simulation=simulation.replace(emitters=light, background=background)), emitters)


def _sized(config: TrainingConfig, emitters: int) -> TrainingConfig:
    """The configuration with as many validation frames as hold the emitters, in whole sequences."""
    sequences = math.ceil(frames_for(config, emitters) / config.sequence_frames)
    return config.replace(validation_frames=config.sequence_frames * min(sequences, _MOST_SEQUENCES))


def _densities(emitters: EmitterConfig) -> tuple[float, float]:
    mean, spread = emitters.density_per_um2, emitters.density_spread
    return mean * max(1 - spread, _SPARSEST), mean * (1 + spread) * _DENSER


def _photons(emitters: EmitterConfig) -> tuple[float, float]:
    mean, spread = emitters.photons_mean, 2 * emitters.photons_sd
    dimmest = max(mean - spread, _DIMMEST * mean, 2 * emitters.photons_min)
    return min(dimmest, mean), mean + spread


def _backgrounds(background: BackgroundConfig) -> tuple[float, float]:
    low = max(background.low, _LEAST_BG)
    return low, max(background.high, low)
