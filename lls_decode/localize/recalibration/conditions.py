"""Simulation conditions for measuring the errors of a model, which span the range that it was trained for.

Densities, brightnesses and backgrounds are spread evenly over their logarithms (a Halton sequence). Within a condition
they are nearly the same for all emitters, as in a user's movie. In training they vary from frame to frame; sigmas that
are right on average over such frames are too large for a sparse movie and too small for a dense one.
"""

import math

import numpy as np
from scipy.stats import qmc

from lls_decode.config import TrainingConfig
from lls_decode.localize.validate import frames_for

_MOST_CONDITIONS, _FEWEST_CONDITIONS = 48, 6
_EMITTERS_EACH = 400
_MOST_SEQUENCES = 8
"""Largest number of sequences per condition, which limits the time spent on sparse conditions."""
_DENSER = 1.5
"""Density of the densest condition relative to the densest training frames. It exceeds 1 because molecules in a cell
are not spread uniformly."""
_SPARSEST = 0.05
"""Smallest density relative to the mean density of the training."""
_DIMMEST = 0.2
"""Smallest brightness relative to the mean brightness of the training."""
_FLUX_SPREAD = 0.2
"""Relative standard deviation of the brightness; smaller where the training has a smaller one."""
_LEAST_BG = 0.1
_ONE_LIGHT = {"sparse_share": 0.0, "any_light_share": 0.0, "background": 1.0}
"""Settings that make `Variety` keep the stated density, brightness and background."""


def span_conditions(config: TrainingConfig, emitters: int) -> list[TrainingConfig]:
    """Return one configuration per condition, with about ``emitters`` targets in total.

    The last condition is that of the training itself.
    """
    count = min(max(emitters // _EMITTERS_EACH, _FEWEST_CONDITIONS), _MOST_CONDITIONS)
    sequence = qmc.Halton(3, scramble=False)
    sequence.fast_forward(1)  # the first point is a corner
    ranges = np.log([_densities(config), _photons(config), _backgrounds(config)])
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
    simulation = simulation.replace(emitters=light, background=background)
    # only the PSF varies as in training; density, brightness and background are fixed by the condition
    variety = None if config.variety is None else config.variety.replace(**_ONE_LIGHT)
    return _sized(config.replace(simulation=simulation, variety=variety), emitters)


def _sized(config: TrainingConfig, emitters: int) -> TrainingConfig:
    """Set the number of validation frames so that whole sequences hold about this many emitters."""
    sequences = math.ceil(frames_for(config, emitters) / config.sequence_frames)
    return config.replace(validation_frames=config.sequence_frames * min(sequences, _MOST_SEQUENCES))


def _densities(config: TrainingConfig) -> tuple[float, float]:
    emitters = config.simulation.emitters
    mean, spread = emitters.density_per_um2, emitters.density_spread
    return mean * max(1 - spread, _SPARSEST), mean * (1 + spread) * _DENSER


def _photons(config: TrainingConfig) -> tuple[float, float]:
    low, high = config.photons_range
    mean = config.simulation.emitters.photons_mean
    dimmest = max(low, _DIMMEST * mean, 2 * config.simulation.emitters.photons_min)
    return min(dimmest, mean), high


def _backgrounds(config: TrainingConfig) -> tuple[float, float]:
    low, high = config.background_range
    low = max(low, _LEAST_BG)
    return low, max(high, low)
