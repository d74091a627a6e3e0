"""Detection thresholds are those with which a model finds most, as long as what it finds is right."""

import pytest
import torch

from lls_decode.config import DetectionThresholds, ModelRule, PaperRule, ThresholdScore
from lls_decode.evaluate import score
from lls_decode.localize import build_threshold_chooser, describe_thresholds
from lls_decode.localize.thresholds import _SEED
from lls_decode.localize.validate import build_finder, frames_for
from lls_decode.model.network import LocNet, OutputMaps
from lls_decode.training.record import bundle_info, choose_scaling

from .test_validate import BrightestPixels, training

THRESHOLDS = DetectionThresholds(candidate=0.2, confident=0.9, accept=0.5)


class Unsure(BrightestPixels):
    """Gives each bright pixel ``prob``, and dark ones in every eighth row and column ``doubt``."""

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


def test_what_a_model_is_unsure_of_is_found() -> None:
    """All its detections are right with a probability of 0.6, which the published thresholds refuse."""
    found = choose(Unsure(training().network))
    assert found is not None
    assert found.accept == 0.6
    assert found.chosen is not None
    assert found.published is not None
    assert found.published.recall is not None
    assert found.published.recall < 0.05, "but for spots that touch"
    assert found.chosen.recall is not None
    assert found.chosen.recall > 0.4
    assert [point.accept for point in found.curve] == sorted(point.accept for point in found.curve)


def test_doubtful_detections_stay_out() -> None:
    """A lower threshold would find no more, and let in what is wrong."""
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


def test_the_curve_is_what_a_user_gets() -> None:
    """The localizer, with the chosen thresholds in the bundle, scores on the same frames as the curve says."""
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
        pytest.param(ModelRule(), THRESHOLDS, (0.2, 0.9, 0.5), id="of the model"),
        pytest.param(ModelRule(accept=0.8), THRESHOLDS, (0.2, 0.9, 0.8), id="one by the user"),
        pytest.param(ModelRule(), None, (0.3, 0.6, 0.7), id="a model without"),
        pytest.param(PaperRule(), THRESHOLDS, (0.3, 0.6, 0.7), id="published"),
    ],
)
def test_rules_are_resolved(
    rule: ModelRule | PaperRule, thresholds: DetectionThresholds | None, expected: tuple[float, float, float]
) -> None:
    assert rule.resolve(thresholds).thresholds == expected
    assert rule.resolve(thresholds).resolve(None).thresholds == expected


def test_a_rule_that_is_not_resolved_has_no_thresholds() -> None:
    with pytest.raises(ValueError, match="before it is resolved"):
        _ = ModelRule(accept=0.5).thresholds


def test_words_warn_of_a_model_that_misses_much() -> None:
    point = ThresholdScore(accept=0.5, precision=0.98, recall=0.5, jaccard=0.49, efficiency=0.4)
    text = "\n".join(describe_thresholds(THRESHOLDS.replace(curve=(point,))))
    assert "0.980   0.500    0.490       0.400  chosen" in text
    assert "finds 50 of 100 emitters" in text
    good = point.replace(recall=0.9)
    assert "warning" not in "\n".join(describe_thresholds(THRESHOLDS.replace(curve=(good,))))
