"""Shipped models reach their recorded accuracy on new simulated frames."""

import pytest

from lls_decode.config import TrainingConfig, Variety, load, recorded_training
from lls_decode.localize import build_validator
from lls_decode.model.bundle import load_bundle
from lls_decode.models import find_bundle, find_config, shipped

FRAMES = 160
"""Frames of a sequence have the same density and arrangement, so that many sequences are needed."""


@pytest.mark.parametrize("name", sorted(shipped(".lls")))
def test_shipped_models_reach_their_recorded_accuracy(name: str) -> None:
    """Fewer frames than in the recorded validation give its accuracy within the error of that few emitters."""
    bundle = load_bundle(find_bundle(name))
    config = recorded_training(bundle.info.training["configuration"], source=name)
    found = build_validator(config.replace(validation_frames=FRAMES))(bundle.network, bundle.info)
    recorded = bundle.info.training["accuracy"]
    assert found.num_truth > 500
    assert found.jaccard == pytest.approx(recorded["jaccard"], abs=0.05)
    assert found.rmse_lateral_nm == pytest.approx(recorded["rmse_lateral_nm"], rel=0.2)
    assert found.photon_ratio == pytest.approx(recorded["photon_ratio"], abs=0.05)
    if bundle.info.network.predict_z:
        assert found.rmse_axial_nm == pytest.approx(recorded["rmse_axial_nm"], rel=0.2)


LAST_OF_PAINT = {"steps": 300, "minutes": None, "learning_rate": 3e-4, "validate_every": 60, "seed": 2}
"""Settings of the last training of lls-paint, as its shipped file states them; users train with those of the file."""


@pytest.mark.parametrize("name", sorted(shipped(".lls")))
def test_a_shipped_bundle_contains_the_shipped_configuration(name: str) -> None:
    info = load_bundle(find_bundle(name)).info
    recorded = recorded_training(info.training["configuration"], source=name)
    shipped_beside = load(TrainingConfig, find_config(name))
    if recorded.variety is None:  # trained before ``variety`` existed, which the shipped file sets
        assert shipped_beside.variety == Variety()
        shipped_beside = shipped_beside.replace(variety=None, average_decay=0.0)
    if name == "lls-paint":  # trained several times; the file says how
        assert info.training["parent"]["name"] == name
        shipped_beside = shipped_beside.replace(**LAST_OF_PAINT)
    assert recorded == shipped_beside
    if recorded.minutes is None:
        assert info.training["steps"] == recorded.steps
    else:  # the training ended by time
        assert info.training["steps"] <= recorded.steps
        assert info.training["seconds"] == pytest.approx(60 * recorded.minutes, rel=0.05)
    assert len(info.training["curve"]) >= 5
