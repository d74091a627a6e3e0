"""Detection thresholds are chosen to maximize a model's true detections while limiting false ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lls_decode.config import DetectionThresholds, ModelRule, PaperRule, ThresholdScore
from lls_decode.emitters import Emitters
from lls_decode.evaluate import score
from lls_decode.localize import build_threshold_chooser, describe_thresholds
from lls_decode.localize.thresholds import _SEED, _most_found
from lls_decode.localize.validate import build_finder, frames_for
from lls_decode.model.network import LocNet, OutputMaps
from lls_decode.training.record import bundle_info, choose_scaling

from .test_validate import BrightestPixels, training

THRESHOLDS = DetectionThresholds(candidate=0.2, confident=0.9, accept=0.5)


class Unsure(BrightestPixels):
    """Network that gives bright pixels the probability ``prob``, and dark pixels on a coarse grid ``doubt``."""

    prob, doubt = 0.6, 0.0

    def decode(self, features_TDYX: torch.Tensor, windows_N3: torch.Tensor) -> OutputMaps:
        maps = super().decode(features_TDYX, windows_N3)
        probability = torch.where(maps.logit > 0, self.prob, 1e-4)
        if self.doubt:
            probability[:, ::8, ::8] = probability[:, ::8, ::8].clamp_min(self.doubt)
        return maps._replace(logit=torch.logit(probability))

    decode_sparsely = decode  # type: ignore[assignment]


def choose(network: LocNet) -> DetectionThresholds | None:
    config = training().replace(validation_frames=64)
    return build_threshold_chooser(config, emitters=2000)(network, bundle_info(config, choose_scaling(config)))


def test_chosen_thresholds_accept_correct_detections_of_low_probability() -> None:
    """All detections of this model are true but have a probability of 0.6, which the published thresholds reject."""
    found = choose(Unsure(training().network))
    assert found is not None
    assert found.accept == 0.6
    assert found.chosen is not None
    assert found.published is not None
    assert found.published.recall is not None
    assert found.published.recall < 0.05, "only overlapping spots are accepted"
    assert found.chosen.recall is not None
    assert found.chosen.recall > 0.4
    assert [point.accept for point in found.curve] == sorted(point.accept for point in found.curve)


def test_chosen_thresholds_reject_false_detections() -> None:
    """A lower threshold would accept false detections without finding more emitters."""
    network = Unsure(training().network)
    network.doubt = 0.45
    found = choose(network)
    assert found is not None
    assert found.accept >= 0.45
    lowest = found.curve[0]
    assert lowest.precision is not None
    assert lowest.precision < 0.7
    assert found.chosen is not None
    assert found.chosen.precision is not None
    assert found.chosen.precision > 0.8


def test_of_equally_efficient_thresholds_those_that_find_most_are_chosen() -> None:
    """Efficiencies that differ by less than the noise of the validation count as equal; a larger difference decides."""
    truth = Emitters.from_columns({"frame": np.arange(100), **dict.fromkeys(("x_nm", "y_nm"), np.zeros(100))})
    perfect = score(truth, truth)
    scores = {
        PaperRule(accept=accept): replace(perfect, efficiency=efficiency, jaccard=jaccard)
        for accept, efficiency, jaccard in ((0.4, 0.690, 0.82), (0.5, 0.693, 0.81), (0.6, 0.694, 0.79))
    }
    assert _most_found(scores).accept == 0.5
    equal = {rule: replace(found, jaccard=0.8) for rule, found in scores.items()}
    assert _most_found(equal).accept == 0.6, "the strictest of equal thresholds"


def test_the_curve_of_scores_agrees_with_the_localizer() -> None:
    """With the chosen thresholds in the bundle, the localizer gets the score of the curve on the same frames."""
    config = training().replace(validation_frames=64)
    info = bundle_info(config, choose_scaling(config))
    network = Unsure(config.network)
    thresholds = build_threshold_chooser(config, emitters=2000)(network, info)
    assert thresholds is not None
    assert thresholds.chosen is not None
    frames = config.replace(validation_frames=frames_for(config, 2000))
    truth, find = build_finder(frames, seed=_SEED)
    found = score(truth, find(network, info.replace(detection=thresholds)))
    assert found.num_truth > 500
    assert found.jaccard == pytest.approx(thresholds.chosen.jaccard, abs=1e-12)
    assert found.precision == pytest.approx(thresholds.chosen.precision, abs=1e-12)


def test_a_network_that_finds_nothing_has_no_thresholds(caplog: pytest.LogCaptureFixture) -> None:
    network = Unsure(training().network)
    network.prob = 1e-3
    assert choose(network) is None
    assert "at any threshold" in caplog.text


@pytest.mark.parametrize(
    ("rule", "thresholds", "expected"),
    [
        pytest.param(ModelRule(), THRESHOLDS, (0.2, 0.9, 0.5), id="thresholds of the model"),
        pytest.param(ModelRule(accept=0.8), THRESHOLDS, (0.2, 0.9, 0.8), id="one threshold given by the user"),
        pytest.param(ModelRule(), None, (0.3, 0.6, 0.7), id="a model without thresholds"),
        pytest.param(PaperRule(), THRESHOLDS, (0.3, 0.6, 0.7), id="published thresholds"),
    ],
)
def test_rules_resolve_to_the_expected_thresholds(
    rule: ModelRule | PaperRule, thresholds: DetectionThresholds | None, expected: tuple[float, float, float]
) -> None:
    assert rule.resolve(thresholds).thresholds == expected
    assert rule.resolve(thresholds).resolve(None).thresholds == expected


def test_the_threshold_of_squares_comes_from_the_user_or_the_model() -> None:
    own = THRESHOLDS.replace(square=0.55)
    assert ModelRule().resolve(own).square == 0.55
    assert ModelRule(square=0.8).resolve(own).square == 0.8
    assert ModelRule().resolve(THRESHOLDS).square is None, "bundles of earlier versions have no such detections"
    assert ModelRule().resolve(None).square is None
    assert "square 0.55" in ModelRule().resolve(own).describe()


class Divides(BrightestPixels):
    """Network that divides the probability of emitters in odd rows between two diagonal pixels.

    Single pixels without an emitter have a larger probability than either of the two.
    """

    def decode(self, features_TDYX: torch.Tensor, windows_N3: torch.Tensor) -> OutputMaps:
        maps = super().decode(features_TDYX, windows_N3)
        bright = maps.logit > 0
        is_odd = torch.arange(bright.shape[1])[:, None] % 2 == 1
        divided = bright & is_odd
        probability = torch.where(bright & ~is_odd, 0.95, 1e-4)
        probability[:, ::8, ::8] = probability[:, ::8, ::8].clamp_min(0.5)
        probability = torch.where(F.pad(divided, (1, 0, 1, 0))[:, :-1, :-1], 0.4, probability)
        return maps._replace(logit=torch.logit(torch.where(divided, 0.41, probability)))

    decode_sparsely = decode  # type: ignore[assignment]


def test_squares_are_used_if_they_find_more_emitters() -> None:
    """Half of the emitters have only 0.41 in five pixels, less than the false detections, but 0.81 in four pixels."""
    found = choose(Divides(training().network))
    assert found is not None
    assert found.accept >= 0.5
    assert found.square is not None
    assert 0.5 <= found.square <= 0.8


def test_an_unresolved_rule_has_no_thresholds() -> None:
    with pytest.raises(ValueError, match="before it is resolved"):
        _ = ModelRule(accept=0.5).thresholds


def test_the_description_warns_of_low_recall() -> None:
    point = ThresholdScore(accept=0.5, precision=0.98, recall=0.5, jaccard=0.49, efficiency=0.4)
    text = "\n".join(describe_thresholds(THRESHOLDS.replace(curve=(point,))))
    assert "0.980   0.500    0.490       0.400  chosen" in text
    assert "finds 50 of 100 emitters" in text
    good = point.replace(recall=0.9)
    assert "warning" not in "\n".join(describe_thresholds(THRESHOLDS.replace(curve=(good,))))
