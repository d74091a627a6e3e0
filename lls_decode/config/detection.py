"""Detection rules: how probability maps become detections, and the thresholds that a bundle holds for its model."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from lls_decode.config.base import Config


class ThresholdScore(Config):
    """Accuracy on validation frames at one value of ``accept``; fractions from 0 to 1, None where undefined."""

    accept: float
    """Threshold ``accept``."""
    precision: float | None
    """Fraction of detections that are correct."""
    recall: float | None
    """Fraction of true emitters that are detected."""
    jaccard: float | None
    """Jaccard index of detections and true emitters."""
    efficiency: float | None
    """Efficiency: one number for detection and localization accuracy."""


class DetectionThresholds(Config):
    """Thresholds with the largest efficiency on the validation frames of a model, and how they were chosen."""

    candidate: float = Field(gt=0, lt=1)
    """Smallest probability of a candidate that is a local maximum among its 4 neighbours."""
    confident: float = Field(gt=0, le=1)
    """Smallest probability at which any pixel is a candidate; 1: only local maxima are candidates."""
    accept: float = Field(gt=0)
    """Smallest sum of the probabilities of a candidate and its four neighbours at which it becomes a detection."""
    square: float | None = Field(default=None, gt=0)
    """Smallest sum of the probabilities of 2 x 2 pixels at which the largest of them becomes a detection, if the other
    thresholds find none there; at least ``accept``; None: no such detections."""
    curve: tuple[ThresholdScore, ...] = ()
    """Accuracy as a function of ``accept``, in ascending order, at the chosen ``candidate`` and ``confident``."""
    published: ThresholdScore | None = None
    """Accuracy on the same frames with the published thresholds (0.3, 0.6, 0.7)."""

    @property
    def chosen(self) -> ThresholdScore | None:
        """Point of the curve at the chosen ``accept``; None if the curve does not contain it."""
        return next((point for point in self.curve if point.accept == self.accept), None)


class PaperRule(Config):
    """Detection rule and thresholds as published (Speiser et al. 2021, Methods, "Obtaining localizations")."""

    rule: Literal["paper"] = "paper"
    candidate: float = Field(default=0.3, gt=0, lt=1)
    """Smallest probability of a candidate that is a local maximum among its 4 neighbours; default as published."""
    confident: float = Field(default=0.6, gt=0, le=1)
    """Smallest probability at which any pixel is a candidate; default as published."""
    accept: float = Field(default=0.7, gt=0)
    """Smallest sum of the probabilities of a candidate and its four neighbours at which it becomes a detection; default
    as published."""

    @property
    def thresholds(self) -> tuple[float, float, float]:
        """``candidate``, ``confident`` and ``accept``."""
        return self.candidate, self.confident, self.accept

    def resolve(self, thresholds: DetectionThresholds | None) -> "PaperRule":
        """Return this rule unchanged: its thresholds do not depend on the model."""
        return self

    def describe(self) -> str:
        """Return the rule and its thresholds as text."""
        return f"rule {self.rule}: candidate {self.candidate:g}, confident {self.confident:g}, accept {self.accept:g}"


class ModelRule(Config):
    """Default rule: the published rule with the thresholds of the model bundle, chosen on its validation frames.

    In addition it finds emitters whose probability is divided among 2 x 2 pixels.
    """

    rule: Literal["model"] = "model"
    candidate: float | None = Field(default=None, gt=0, lt=1)
    """Smallest probability of a candidate that is a local maximum among its 4 neighbours; None: the model's
    threshold."""
    confident: float | None = Field(default=None, gt=0, le=1)
    """Smallest probability at which any pixel is a candidate; None: the model's threshold."""
    accept: float | None = Field(default=None, gt=0)
    """Smallest sum of the probabilities of a candidate and its four neighbours at which it becomes a detection; None:
    the model's threshold."""
    square: float | None = Field(default=None, gt=0)
    """Smallest sum of the probabilities of 2 x 2 pixels at which the largest of them becomes a detection, if the other
    thresholds find none there; at least ``accept``; None: the model's threshold, 4: no such detections."""

    @property
    def thresholds(self) -> tuple[float, float, float]:
        """``candidate``, ``confident`` and ``accept`` of a resolved rule."""
        if self.candidate is None or self.confident is None or self.accept is None:
            raise ValueError("the thresholds of the rule 'model' are unknown before it is resolved")
        return self.candidate, self.confident, self.accept

    def resolve(self, thresholds: DetectionThresholds | None) -> "ModelRule":
        """Return the rule with missing thresholds filled in from a bundle, or with the published ones if None."""
        base = PaperRule() if thresholds is None else thresholds
        own = {name: getattr(self, name) for name in ("candidate", "confident", "accept", "square")}
        return self.replace(
            **{name: getattr(base, name, None) if value is None else value for name, value in own.items()}
        )

    def describe(self) -> str:
        """Return the rule and its thresholds as text."""
        values = [(name, getattr(self, name)) for name in ("candidate", "confident", "accept")]
        if self.square is not None:
            values.append(("square", self.square))
        return f"rule {self.rule}: " + ", ".join(
            f"{name} of the model" if value is None else f"{name} {value:g}" for name, value in values
        )


class AuthorsRule(Config):
    """Detection rule of DECODE's program, with which imported DECODE models give the same tables as DECODE.

    The rule returns more and fainter detections than the published rule; filter the table by ``prob`` afterwards.
    """

    rule: Literal["authors"] = "authors"
    raw_th: float = Field(default=0.1, gt=0, lt=1)
    """Smallest probability of a detection, a local maximum among its 8 neighbours; named as in DECODE's parameters."""

    def resolve(self, thresholds: DetectionThresholds | None) -> "AuthorsRule":
        """Return this rule unchanged: its threshold does not depend on the model."""
        return self

    def describe(self) -> str:
        """Return the rule and its threshold as text."""
        return f"rule {self.rule}: raw_th {self.raw_th:g}"


def _rule_name(value: Any) -> Any:
    """Return the name of the rule; a mapping without ``rule`` stands for the rule ``model``."""
    return str(value.get("rule", "model")) if isinstance(value, dict) else getattr(value, "rule", None)


DetectionRule = Annotated[
    Annotated[ModelRule, Tag("model")] | Annotated[PaperRule, Tag("paper")] | Annotated[AuthorsRule, Tag("authors")],
    Discriminator(_rule_name),
]
