"""Detection rules: how probability maps become detections, and the thresholds that a model has chosen for itself."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from lls_decode.config.base import Config


class ThresholdScore(Config):
    """Accuracy on validation frames at one value of ``accept``; shares from 0 to 1, None where undefined."""

    accept: float
    precision: float | None
    recall: float | None
    jaccard: float | None
    efficiency: float | None


class DetectionThresholds(Config):
    """Thresholds with the largest efficiency on the validation frames of a model, and how they were chosen."""

    candidate: float = Field(gt=0, lt=1)
    """A 4-neighbour local maximum above this is a candidate."""
    confident: float = Field(gt=0, le=1)
    """Any pixel above this is a candidate; 1: local maxima only."""
    accept: float = Field(gt=0)
    """A candidate is a detection when its probability summed with its four neighbours is above this."""
    curve: tuple[ThresholdScore, ...] = ()
    """Accuracy by ``accept``, at the chosen ``candidate`` and ``confident``, in rising order of ``accept``."""
    published: ThresholdScore | None = None
    """Accuracy on the same frames with the published thresholds (0.3, 0.6, 0.7)."""

    @property
    def chosen(self) -> ThresholdScore | None:
        """Point of the curve at ``accept``."""
        return next((point for point in self.curve if point.accept == self.accept), None)


class PaperRule(Config):
    """From probability map to detections as published (Speiser et al. 2021, Methods, "Obtaining localizations")."""

    rule: Literal["paper"] = "paper"
    candidate: float = Field(default=0.3, gt=0, lt=1)
    """A 4-neighbour local maximum above this is a candidate."""
    confident: float = Field(default=0.6, gt=0, le=1)
    """Any pixel above this is a candidate."""
    accept: float = Field(default=0.7, gt=0)
    """A candidate is a detection when its probability summed with its four neighbours is above this."""

    @property
    def thresholds(self) -> tuple[float, float, float]:
        """``candidate``, ``confident`` and ``accept``."""
        return self.candidate, self.confident, self.accept

    def resolve(self, thresholds: DetectionThresholds | None) -> "PaperRule":
        """Return this rule: its thresholds do not depend on the model."""
        return self

    def describe(self) -> str:
        """Return the rule and its thresholds in words."""
        return f"rule {self.rule}: candidate {self.candidate:g}, confident {self.confident:g}, accept {self.accept:g}"


class ModelRule(Config):
    """The published rule with the thresholds that the model bundle has chosen on its validation frames (default)."""

    rule: Literal["model"] = "model"
    candidate: float | None = Field(default=None, gt=0, lt=1)
    """A 4-neighbour local maximum above this is a candidate; None: the model's threshold."""
    confident: float | None = Field(default=None, gt=0, le=1)
    """Any pixel above this is a candidate; None: the model's threshold."""
    accept: float | None = Field(default=None, gt=0)
    """A candidate is a detection when its probability summed with its four neighbours is above this; None: the model's
    threshold."""

    @property
    def thresholds(self) -> tuple[float, float, float]:
        """``candidate``, ``confident`` and ``accept`` of a rule that was resolved."""
        if self.candidate is None or self.confident is None or self.accept is None:
            raise ValueError("the thresholds of the model's rule are not known before it is resolved")
        return self.candidate, self.confident, self.accept

    def resolve(self, thresholds: DetectionThresholds | None) -> "ModelRule":
        """Fill in the thresholds of a bundle; those that the user gave stay. None: the published thresholds."""
        base = PaperRule() if thresholds is None else thresholds
        own = {name: getattr(self, name) for name in ("candidate", "confident", "accept")}
        return self.replace(**{name: getattr(base, name) if value is None else value for name, value in own.items()})

    def describe(self) -> str:
        """Return the rule and its thresholds in words."""
        names = ("candidate", "confident", "accept")
        values = ((name, getattr(self, name)) for name in names)
        return f"rule {self.rule}: " + ", ".join(
            f"{name} of the model" if value is None else f"{name} {value:g}" for name, value in values
        )


class AuthorsRule(Config):
    """From probability map to detections as the authors' program has it, whose models then give its tables.

    It finds more than the paper's rule, and fainter ones: ``prob`` is to be filtered afterwards.
    """

    rule: Literal["authors"] = "authors"
    raw_th: float = Field(default=0.1, gt=0, lt=1)
    """An 8-neighbour local maximum above this is a detection; its name in their parameter files."""

    def resolve(self, thresholds: DetectionThresholds | None) -> "AuthorsRule":
        """Return this rule: its threshold does not depend on the model."""
        return self

    def describe(self) -> str:
        """Return the rule and its threshold in words."""
        return f"rule {self.rule}: raw_th {self.raw_th:g}"


def _rule_name(value: Any) -> Any:
    """Name of the rule; thresholds without a rule are those of the model's rule."""
    return value.get("rule", "model") if isinstance(value, dict) else getattr(value, "rule", None)


DetectionRule = Annotated[
    Annotated[ModelRule, Tag("model")] | Annotated[PaperRule, Tag("paper")] | Annotated[AuthorsRule, Tag("authors")],
    Discriminator(_rule_name),
]
