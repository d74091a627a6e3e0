"""What a model has learned of its own errors on validation frames: sigmas, probabilities, correlations.

A few numbers that a bundle holds. Every curve is monotone, which is checked when a bundle is read.
"""

from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from lls_decode.config.base import Config

ErrorFeature = Literal["sigma", "position", "near", "crowd", "bg"]
"""What a sigma depends on: the sigma itself, the mean of the position sigmas, the other emitters near by and around,
and the background (see `localize.calibrated`)."""

_LEAST_SLOPE = -0.95
"""Of the term of the sigma itself: what the network says less precisely stays less precise."""


class Curve(Config):
    """A piecewise linear curve, constant beyond its ends."""

    knots: tuple[float, ...] = Field(min_length=2)
    """Ascending."""
    values: tuple[float, ...] = Field(min_length=2)
    """Ascending as well, or equal."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.knots) != len(self.values):
            raise ValueError(f"there are {len(self.knots)} knots and {len(self.values)} values; give as many of both")
        if any(after <= before for before, after in pairwise(self.knots)):
            raise ValueError(f"knots are {list(self.knots)}; give them in rising order")
        least = self._least_slope()
        points = pairwise(zip(self.knots, self.values, strict=True))
        if any(y - v < least * (x - u) - 1e-9 for (u, v), (x, y) in points):
            raise ValueError(f"values are {list(self.values)}: the curve falls, expected one that does not")
        return self

    def _least_slope(self) -> float:
        return 0.0


class SigmaTerm(Curve):
    """What one feature adds to the logarithm of a sigma."""

    feature: ErrorFeature

    def _least_slope(self) -> float:
        return _LEAST_SLOPE if self.feature == "sigma" else 0.0


class SigmaCurve(Config):
    """Logarithm of the factor of one sigma: the offset, and one term for each feature."""

    offset: float
    terms: tuple[SigmaTerm, ...]


class ErrorCorrelation(Config):
    """Correlation of the errors of one molecule in two frames, by how many frames lie between them.

    Neighbouring windows of a network with context share two of their three frames, so that their errors are alike.
    """

    along: Literal["time", "plane"]
    """``plane``: frames are planes of one sweep; ``time``: frames of one plane."""
    x: tuple[float, ...]
    """Of the next frame, of the one after it, ...; 0 beyond the last."""
    y: tuple[float, ...]
    z: tuple[float, ...]
    """Empty for 2-D models."""


class ReliabilityPoint(Config):
    """Detections of about the same ``prob``, and how many of them are right."""

    prob: float
    """Mean."""
    right: float = Field(ge=0, le=1)
    """Share."""
    num: int


class ErrorCalibration(Config):
    """How large the errors of a model are, measured on validation frames of many conditions."""

    version: Literal[1] = 1
    x: SigmaCurve
    y: SigmaCurve
    z: SigmaCurve | None
    """None for 2-D models."""
    photons: SigmaCurve
    prob: Curve | None = None
    """Share of right detections by the summed probability; None: never measured."""
    correlation: ErrorCorrelation | None = None
    """None: never measured."""
    conditions: int = Field(ge=1)
    """Densities, brightnesses and backgrounds that it was fitted to."""
    reliability: tuple[ReliabilityPoint, ...] = ()
    """Share of right detections by the calibrated probability, in conditions that were left out of its fit."""
    spreads: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Least and largest std(error / sigma) among conditions that were left out of the fit, by quantity."""
