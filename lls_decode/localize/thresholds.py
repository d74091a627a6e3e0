"""Choice of a model's detection thresholds, on simulated frames that were not used in training.

The published thresholds (Speiser et al. 2021: 0.3, 0.6, 0.7) suit one network and one density. This module chooses the
thresholds of the model's rule with the largest efficiency (equation 15 of the paper) among those for which at least
95 % of the detections are correct, if there are such thresholds. Among equally efficient thresholds it chooses those
with the largest Jaccard index. Output maps are computed once and reused for all thresholds.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch

from lls_decode.config import DetectionThresholds, ModelRule, PaperRule, ThresholdScore, TrainingConfig
from lls_decode.emitters import Emitters
from lls_decode.evaluate import Score, score
from lls_decode.localize.detect import Detections, detect
from lls_decode.localize.place import to_emitters
from lls_decode.localize.validate import frames_for, simulate_validation, true_emitters
from lls_decode.model.info import BundleInfo
from lls_decode.model.network import LocNet, OutputMaps
from lls_decode.simulate import TrainingBatch

LEAST_PRECISION = 0.95
"""Share of correct detections that the chosen thresholds must reach, if any thresholds do."""
_PRICE = 0.1
"""Largest loss of efficiency that is accepted to reach `LEAST_PRECISION`."""
_EQUAL = 0.002
"""Difference of efficiency that is not significant: its standard error is about 0.003 for 10 000 emitters."""
GOOD_RECALL = 0.8
"""Share of found emitters below which training ends with a warning."""
_CANDIDATES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
_CONFIDENT = (0.5, 0.6, 0.7, 0.8, 1.0)
_ACCEPT = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
_EMITTERS = 10_000
_SEED = 192_837_465
"""Seed that no training, validation or sigma calibration uses."""
_BATCH_WINDOWS = 64

logger = logging.getLogger(__name__)

_Rule = ModelRule | PaperRule
ThresholdChooser = Callable[[LocNet, BundleInfo], DetectionThresholds | None]


def build_threshold_chooser(config: TrainingConfig, *, emitters: int = _EMITTERS) -> ThresholdChooser:
    """Make a function that chooses the thresholds of a network on frames with about ``emitters`` targets.

    The function logs a warning and returns None if the network finds nothing at any threshold.
    """

    def choose(network: LocNet, info: BundleInfo) -> DetectionThresholds | None:
        logger.info("choosing the detection thresholds of %s on simulated frames", info.name)
        batch = simulate_validation(config.replace(validation_frames=frames_for(config, emitters)), seed=_SEED)
        truth = true_emitters(batch, with_z=config.network.predict_z)
        trial = _Trial(truth, _output_maps(network, info, batch), info)
        usual = ModelRule().resolve(None)
        best = trial.best(usual.replace(candidate=one, accept=two) for one in _CANDIDATES for two in _ACCEPT)
        if best is None:
            logger.warning("%s finds none of %d simulated emitters at any threshold", info.name, len(truth))
            return None
        best = trial.best(best.replace(confident=value) for value in _CONFIDENT) or best
        candidate, confident, accept = best.thresholds
        best = trial.best((best, *(best.replace(square=value) for value in _ACCEPT if value >= accept))) or best
        curve = [_point(value, trial.score(best.replace(accept=value))) for value in _ACCEPT]
        published = PaperRule()
        return DetectionThresholds(
            candidate=candidate,
            confident=confident,
            accept=accept,
            square=best.square,
            curve=tuple(curve),
            published=_point(published.accept, trial.score(published)),
        )

    return choose


def describe_thresholds(found: DetectionThresholds) -> list[str]:
    """Return a table of the accuracy for each threshold as lines of text, with warnings if accuracy is low."""
    lines = ["accept  precision  recall  jaccard  efficiency"]
    for point in found.curve:
        mark = "  chosen" if point.accept == found.accept else ""
        lines.append(_row(f"{point.accept:g}", point) + mark)
    if found.published is not None:
        lines.append(_row("paper", found.published))
    chosen = found.chosen
    if chosen is not None and (chosen.recall or 0.0) < GOOD_RECALL:
        lines.append(
            f"warning: the model finds {100 * (chosen.recall or 0.0):.0f} of 100 emitters in its own validation frames "
            f"({100 * (chosen.precision or 0.0):.0f} of 100 detections are correct); to find more, train longer (more "
            "steps or --minutes), with more filters or at a lower density"
        )
    if chosen is not None and (chosen.precision or 0.0) < LEAST_PRECISION:
        lines.append(
            f"warning: {100 * (chosen.precision or 0.0):.0f} of 100 detections are correct at the chosen thresholds; "
            "train longer or with more filters to improve this, or filter the table by prob"
        )
    return lines


class _Trial:
    """Output maps of validation frames, which can be scored with any thresholds."""

    def __init__(self, truth: Emitters, maps: Sequence[OutputMaps], info: BundleInfo) -> None:
        self._truth, self._maps, self._info = truth, maps, info
        self._scores: dict[_Rule, Score] = {}

    def score(self, rule: _Rule) -> Score:
        """Return the score for the thresholds of a rule."""
        if rule not in self._scores:
            parts = []
            for number, maps in enumerate(self._maps):
                part = detect(maps, rule)
                part.window[:] += number * _BATCH_WINDOWS
                parts.append(part)
            found = to_emitters(Detections.concatenate(parts), self._info.scaling, self._info.pixel_size)
            self._scores[rule] = score(self._truth, found)
        return self._scores[rule]

    def best(self, rules: Iterable[ModelRule]) -> ModelRule | None:
        """Return the most efficient rule among those that are precise enough; None if nothing is found.

        If `LEAST_PRECISION` costs more than `_PRICE` of efficiency, for instance because it is reached only where
        almost nothing is found, return the most efficient rule regardless of its precision.
        """
        scores = {rule: self.score(rule) for rule in rules}
        scores = {rule: found for rule, found in scores.items() if found.true_positives}
        if not scores:
            return None

        precise = {rule: found for rule, found in scores.items() if found.precision >= LEAST_PRECISION}
        if precise and _largest_efficiency(precise) >= _largest_efficiency(scores) - _PRICE:
            return _most_found(precise)
        return _most_found(scores)


def _largest_efficiency(scores: Mapping[ModelRule, Score]) -> float:
    return max(found.efficiency for found in scores.values())


def _most_found(scores: Mapping[ModelRule, Score]) -> ModelRule:
    """Return the rule with the largest Jaccard index among the most efficient ones; of equal rules, the strictest."""
    least = _largest_efficiency(scores) - _EQUAL
    return max(
        (rule for rule, found in scores.items() if found.efficiency >= least),
        key=lambda rule: (scores[rule].jaccard, rule.accept, rule.candidate),
    )


@torch.inference_mode()
def _output_maps(network: LocNet, info: BundleInfo, batch: TrainingBatch) -> list[OutputMaps]:
    """Return the output maps of all windows in host memory, `_BATCH_WINDOWS` windows per item."""
    device = next(network.parameters()).device
    frames, noise = batch.inputs(info.scaling, noise_map=info.network.noise_map)
    found = []
    for windows_N3 in torch.split(batch.windows_N3, _BATCH_WINDOWS):
        first, last = int(windows_N3.min()), int(windows_N3.max()) + 1
        own_noise = None if noise is None else noise[first:last].to(device)
        features = network.encode(frames[first:last].to(device), own_noise)
        maps = network.decode(features, (windows_N3 - first).to(device))
        found.append(OutputMaps(*(value.cpu() for value in maps)))
    return found


def _point(accept: float, found: Score) -> ThresholdScore:
    shares = {name: getattr(found, name) for name in ("precision", "recall", "jaccard", "efficiency")}
    return ThresholdScore(accept=accept, **{name: None if math.isnan(x) else x for name, x in shares.items()})


def _row(name: str, point: ThresholdScore) -> str:
    values = (point.precision, point.recall, point.jaccard, point.efficiency)
    cells = ("-" if value is None else f"{value:.3f}" for value in values)
    return f"{name:>6}  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, (9, 6, 7, 10), strict=True))
