"""Sigma factors measured on simulated frames make predicted sigmas match the errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lls_decode.config import recorded_training
from lls_decode.errors import BundleError, OutputError
from lls_decode.localize import build_calibrator, build_validator, recalibrate
from lls_decode.localize.recalibration.recalibrate import spread
from lls_decode.model.bundle import load_bundle, save_bundle
from lls_decode.model.network import LocNet, OutputMaps
from lls_decode.models import find_bundle
from lls_decode.training.record import bundle_info, choose_scaling

from .test_validate import BrightestPixels, training

SIGMA = 0.1


class Overconfident(BrightestPixels):
    """Network that puts each emitter at the centre of its brightest pixel and in focus, with too small sigmas."""

    def decode(self, features_TDYX: torch.Tensor, windows_N3: torch.Tensor) -> OutputMaps:
        maps = super().decode(features_TDYX, windows_N3)
        sigma = torch.full_like(maps.x, SIGMA)
        return maps._replace(x_sig=sigma, y_sig=sigma, z_sig=sigma, photons_sig=sigma)

    decode_sparsely = decode  # type: ignore[assignment]


def test_sigma_factors_give_zscores_of_one() -> None:
    """All predicted z are 0, so that their errors have the spread of a uniform distribution."""
    config = training().replace(validation_frames=96, variety=None)
    info = bundle_info(config, choose_scaling(config))
    network = Overconfident(config.network)
    scaling = build_calibrator(config, emitters=2500)(network, info)
    assert scaling.z_sig * info.scaling.z_nm * SIGMA == pytest.approx(800 / np.sqrt(12), rel=0.15)
    unchanged = {name: getattr(info.scaling, name) for name in ("input_scale", "input_offset", "photons", "z_nm", "bg")}
    assert {name: getattr(scaling, name) for name in unchanged} == unchanged

    independent = build_validator(config.replace(validation_frames=512), seed=5)
    score = independent(network, info.replace(scaling=scaling))
    for found in (score.zscore_x, score.zscore_y, score.zscore_z, score.zscore_photons):
        assert 0.9 < found < 1.1
    again = build_calibrator(config, emitters=2500)(network, info.replace(scaling=scaling))
    assert again.x_sig == pytest.approx(scaling.x_sig), "factors are not multiplied twice"


def test_a_few_outliers_do_not_widen_all_sigmas() -> None:
    """The spread of normal errors is their standard deviation; any outlier counts as five sigma."""
    ratio = 1.3 * np.random.default_rng(1).standard_normal(20_000) + 0.2
    assert spread(ratio) == pytest.approx(1.3, rel=0.02)
    for far in (100.0, 1e6):
        assert spread(np.concatenate([ratio, np.full(20, far)])) == pytest.approx(
            np.sqrt(1.3**2 + 1e-3 * (5 * 1.3) ** 2), rel=0.02
        )


def test_too_few_pairs_leave_the_factors_unchanged(caplog: pytest.LogCaptureFixture) -> None:
    config = training()
    info = bundle_info(config, choose_scaling(config))
    network = LocNet(config.network).eval()
    torch.nn.init.zeros_(network.heads["probability"].out_conv.weight)  # nothing is found
    assert build_calibrator(config, emitters=300)(network, info) == info.scaling
    assert "too few to calibrate" in caplog.text


def shorter(folder: Path) -> Path:
    """Save a shipped model whose record has fewer validation frames; return its path."""
    bundle = load_bundle(find_bundle("storm-2d"))
    config = recorded_training(bundle.info.training["configuration"], source="storm-2d")
    training = bundle.info.training | {"configuration": config.replace(validation_frames=96).to_dict()}
    as_trained = bundle.info.scaling.uncalibrated
    info = bundle.info.replace(training=training, scaling=as_trained)
    save_bundle(folder / "old.lls", bundle.network, info, dtype=torch.float16)
    return folder / "old.lls"


def test_recalibrating_a_bundle_changes_only_its_scaling(tmp_path: Path) -> None:
    old, new = shorter(tmp_path), tmp_path / "new.lls"
    made = recalibrate(old, new, emitters=2500)
    before, after = load_bundle(old).info, load_bundle(new).info
    assert after.scaling == made.scaling
    assert before.scaling == after.scaling.replace(x_sig=1.0, y_sig=1.0, photons_sig=1.0, calibration=None)
    assert after.scaling.calibration is not None
    assert min(after.scaling.x_sig, after.scaling.y_sig, after.scaling.photons_sig) > 1.2
    for name in ("x", "y", "photons"):
        assert 0.85 < after.training["accuracy"][f"zscore_{name}"] < 1.15
    weights, same = load_file(old), load_file(new)
    assert all(value.dtype == same[name].dtype and torch.equal(value, same[name]) for name, value in weights.items())
    assert after.training["recalibrated_from"] != before.training.get("recalibrated_from")


def test_a_bundle_without_training_record_cannot_be_recalibrated(tmp_path: Path) -> None:
    bundle = load_bundle(find_bundle("storm-2d"))
    save_bundle(tmp_path / "a.lls", bundle.network, bundle.info.replace(training={"imported_from": "DECODE"}))
    with pytest.raises(BundleError, match="imported from DECODE"):
        recalibrate(tmp_path / "a.lls", tmp_path / "b.lls")


def test_recalibrating_into_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        recalibrate(shorter(tmp_path), tmp_path / "absent" / "new.lls", emitters=50)
