"""Calibration of a model's predicted errors, measured on validation frames: sigmas, probabilities, correlations.

A bundle stores the calibration as a few numbers. All its curves must be monotone, which is checked when a bundle is
read.
"""

from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from lls_decode.config.base import Config

ErrorFeature = Literal["sigma", "position", "near", "crowd", "bg"]
"""Quantity that the correction of a sigma depends on: the sigma itself, the mean of the position sigmas, the other
emitters nearby and in a wider neighbourhood, or the background (see `localize.calibrated`)."""

_LEAST_SLOPE = -0.95
"""Smallest slope of a term that depends on the sigma itself; above -1, calibration keeps the order of sigmas."""


class Curve(Config):
    """Piecewise linear curve, constant beyond its ends."""

    knots: tuple[float, ...] = Field(min_length=2)
    """Arguments of the curve, strictly ascending."""
    values: tuple[float, ...] = Field(min_length=2)
    """Values of the curve at the knots, not descending."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.knots) != len(self.values):
            raise ValueError(
                f"there are {len(self.knots)} knots and {len(self.values)} values; give equally many of both"
            )
        if any(after <= before for before, after in pairwise(self.knots)):
            raise ValueError(f"knots are {list(self.knots)}; give them in ascending order")
        least = self._least_slope()
        points = pairwise(zip(self.knots, self.values, strict=True))
        if any(y - v < least * (x - u) - 1e-9 for (u, v), (x, y) in points):
            raise ValueError(f"values are {list(self.values)}: the curve descends; expected a curve that does not")
        return self

    def _least_slope(self) -> float:
        return 0.0


class SigmaTerm(Curve):
    """Contribution of one feature to the logarithm of the factor of a sigma."""

    feature: ErrorFeature
    """Quantity that the curve depends on."""

    def _least_slope(self) -> float:
        return _LEAST_SLOPE if self.feature == "sigma" else 0.0


class SigmaCurve(Config):
    """Logarithm of the factor that corrects one sigma: an offset plus one term for each feature."""

    offset: float
    """Constant part of the logarithm."""
    terms: tuple[SigmaTerm, ...]
    """Terms that depend on features."""


class ErrorCorrelation(Config):
    """Correlation of the errors of one molecule in two frames, as a function of their distance in frames.

    Neighbouring windows of a network with context share two of their three frames, so their errors are similar.
    """

    along: Literal["time", "plane"]
    """Direction of the distance between frames. ``plane``: planes of one sweep; ``time``: frames of one plane."""
    x: tuple[float, ...]
    """Correlation of errors in x at a distance of 1, 2, ... frames; 0 at larger distances."""
    y: tuple[float, ...]
    """Correlation of errors in y, as for x."""
    z: tuple[float, ...]
    """Correlation of errors in z, as for x; empty for 2-D models."""


class ReliabilityPoint(Config):
    """Group of detections with similar ``prob``, and the fraction of them that is correct."""

    prob: float
    """Mean ``prob`` of the detections."""
    right: float = Field(ge=0, le=1)
    """Fraction of correct detections."""
    num: int
    """Number of detections."""


class ErrorCalibration(Config):
    """Calibration of a model's sigmas and probabilities, measured on validation frames of many conditions."""

    version: Literal[1] = 1
    """Version of this format."""
    x: SigmaCurve
    """Correction of the sigma of x."""
    y: SigmaCurve
    """Correction of the sigma of y."""
    z: SigmaCurve | None
    """Correction of the sigma of z; None for 2-D models."""
    photons: SigmaCurve
    """Correction of the sigma of photons."""
    prob: Curve | None = None
    """Fraction of correct detections as a function of the summed probability; None: not measured."""
    correlation: ErrorCorrelation | None = None
    """Correlation of errors between frames; None: not measured."""
    conditions: int = Field(ge=1)
    """Number of conditions (density, brightness, background) that the calibration was fitted to."""
    reliability: tuple[ReliabilityPoint, ...] = ()
    """Fraction of correct detections as a function of the calibrated probability, in conditions held out of the fit."""
    spreads: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Smallest and largest std(error / sigma) over conditions held out of the fit, by quantity."""
