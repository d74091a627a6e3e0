"""Training that starts from the weights of another model, and limits that the PSF sets for training."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lls_decode.config import (
    NetworkConfig,
    PixelSize,
    Scaling,
    SplinePsf,
    TrainingConfig,
    Variety,
    recorded_training,
)
from lls_decode.errors import BundleError, ConfigError, RunConflictError
from lls_decode.model.bundle import load_bundle, save_bundle
from lls_decode.model.info import bundle_digest
from lls_decode.model.network import LocNet
from lls_decode.optics.spline_files import write_volume
from lls_decode.pipelines.front.methods import training_config
from lls_decode.training import train
from lls_decode.training.origin.rescaling import rescale
from lls_decode.training.record import bundle_info, choose_scaling

from .conftest import config, final_state, quick


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a parent model with sigma factors and a licence; return its path."""
    folder = tmp_path_factory.mktemp("parent")
    result = train(config(name="parent", steps=2), folder, validator=quick)
    assert result is not None
    bundle = load_bundle(result.bundle)
    info = bundle.info.replace(licence="CC-BY-4.0", scaling=bundle.info.scaling.replace(x_sig=1.5))
    save_bundle(folder / "parent.lls", bundle.network, info, dtype=torch.float16)
    return folder / "parent.lls"


def dimmer(**changes: Any) -> TrainingConfig:
    """Return a configuration within the range of the parent, which alone would choose another scaling."""
    c = config()
    emitters = c.simulation.emitters.replace(photons_mean=1200.0, photons_sd=300.0)
    usual = {"simulation": c.simulation.replace(emitters=emitters), "steps": 6, "learning_rate": 1e-9, "seed": 9}
    return c.replace(**(usual | changes))


def test_fine_tuning_starts_with_the_weights_and_scaling_of_the_parent(parent: Path, tmp_path: Path) -> None:
    result = train(dimmer(), tmp_path, validator=quick, init_from=parent)
    assert result is not None
    old, new = load_bundle(parent), load_bundle(result.bundle)
    for name, value in old.network.state_dict().items():
        assert torch.allclose(value, new.network.state_dict()[name], atol=1e-3, rtol=1e-3), name
    assert new.info.scaling == old.info.scaling.replace(x_sig=1.0)
    assert new.info.scaling != choose_scaling(dimmer())
    assert new.info.photons_range == pytest.approx((50.0, 3600.0))
    assert new.info.licence == "CC-BY-4.0"
    assert new.info.training["parent"] == {"name": "parent", "digest": bundle_digest(parent)}


def test_an_interruption_does_not_change_fine_tuning(parent: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    train(dimmer(), one, validator=quick, init_from=parent)
    train(dimmer(), other, validator=quick, init_from=parent, stop_after=2)
    train(dimmer(), other, validator=quick, init_from=parent)
    first, second = final_state(one), final_state(other)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_resuming_with_other_initial_weights_is_refused(parent: Path, tmp_path: Path) -> None:
    """Refused are no parent, another parent, and a parent for a training that started from random weights."""
    tuned, plain = tmp_path / "tuned", tmp_path / "plain"
    train(dimmer(), tuned, validator=quick, init_from=parent, stop_after=1)
    train(dimmer(), plain, validator=quick, stop_after=1)
    bundle = load_bundle(parent)
    save_bundle(tmp_path / "other.lls", bundle.network, bundle.info.replace(name="stranger"))
    for folder, init_from, words in (
        (tuned, None, "started with the model parent .*not with random weights"),
        (tuned, tmp_path / "other.lls", "started with the model parent .*not with the model stranger"),
        (plain, parent, "started with random weights, not with the model parent"),
    ):
        with pytest.raises(RunConflictError, match=words):
            train(dimmer(), folder, validator=quick, init_from=init_from)


def changed(**changes: Any) -> TrainingConfig:
    """Return the training configuration with other emitters or another background."""
    simulation = config().simulation
    emitters = {k: v for k, v in changes.items() if k != "background"}
    background = simulation.background.replace(**changes.get("background", {}))
    simulation = simulation.replace(emitters=simulation.emitters.replace(**emitters), background=background)
    return config(simulation=simulation, crop_px=24)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        pytest.param(
            config(network=NetworkConfig(filters=8)), "network.filters 4, but the training has 8", id="filters"
        ),
        pytest.param(config("none"), "network.context time, but the training has none", id="context"),
        pytest.param(config(flat=True), "network.predict_z True, but the training has False", id="two dimensions"),
    ],
)
def test_another_architecture_is_refused(parent: Path, tmp_path: Path, other: TrainingConfig, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        train(other, tmp_path / "out", validator=quick, init_from=parent)
    assert not (tmp_path / "out").exists()


def test_neighbours_may_be_planes_for_one_and_moments_for_the_other(
    parent: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    result = train(config("plane", steps=1, learning_rate=1e-12), tmp_path, validator=quick, init_from=parent)
    assert "trained with the next frames in time as neighbours, and this training has the next planes" in caplog.text
    assert result is not None
    old, new = load_bundle(parent).network.state_dict(), load_bundle(result.bundle)
    assert new.info.network.context == "plane"
    assert all(torch.allclose(old[name], value, atol=1e-3) for name, value in new.network.state_dict().items())


LARGER = [
    pytest.param(changed(photons_mean=4000.0), {"photons": 1.2 * 2 * 5000}, id="photons"),
    pytest.param(changed(z_range_nm=(-700.0, 0.0)), {"z_nm": 1.2 * 700}, id="z"),
    pytest.param(changed(background={"high": 30.0}), {"bg": 1.2 * 1.5 * 30}, id="background"),
]


@pytest.mark.parametrize(("larger", "scales"), LARGER)
def test_only_scales_that_the_training_exceeds_are_widened(
    parent: Path, tmp_path: Path, larger: TrainingConfig, scales: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    result = train(larger.replace(steps=1), tmp_path, validator=quick, init_from=parent)
    assert result is not None
    (widened,) = [line for line in caplog.messages if "exceeds the ranges of parent" in line]
    assert all(f"up to {value:.4g}" in widened for value in scales.values())
    assert widened.count("before:") == len(scales)
    old, new = (load_bundle(path).info.scaling for path in (parent, result.bundle))
    assert new.to_dict() == pytest.approx(old.replace(x_sig=1.0, **scales).to_dict())


@pytest.mark.parametrize(("larger", "scales"), LARGER)
def test_a_teacher_with_too_narrow_scales_is_refused(
    parent: Path, tmp_path: Path, larger: TrainingConfig, scales: dict[str, float]
) -> None:
    with pytest.raises(BundleError, match=r"--teacher .* can predict .* up to"):
        train(larger, tmp_path / "out", validator=quick, teacher=parent)
    assert not (tmp_path / "out").exists()


def test_a_rescaled_network_gives_the_same_physical_values() -> None:
    """Values agree within 6 % of the old scale over the usual range of outputs, and sigmas of z within 5 %."""
    torch.manual_seed(0)
    network = LocNet(NetworkConfig(filters=4, context="none")).eval()
    old = Scaling(input_scale=40.0, input_offset=15.0, photons=4500.0, z_nm=600.0, bg=26.4)
    new = old.replace(photons=7200.0, z_nm=900.0, bg=39.6)
    other = LocNet(network.config).eval()
    other.load_state_dict(rescale(network.state_dict(), old, new))
    frames, windows = torch.randn(8, 32, 32), torch.arange(8)[:, None].expand(-1, 3)
    with torch.inference_mode():
        before, after = (one.decode(one.encode(frames), windows) for one in (network, other))
    for name, scale, close in (("photons", "photons", 0.06), ("z", "z_nm", 0.06), ("bg", "bg", 0.06)):
        was = getattr(before, name) * getattr(old, scale)
        usual = (getattr(before, name).abs() > 0.1) & (getattr(before, name).abs() < 0.8)
        assert usual.sum() > 1000
        now = getattr(after, name) * getattr(new, scale)
        assert ((now - was)[usual].abs() / getattr(old, scale)).max() < close, name
        assert (now - was).abs().max() > 0, "rescaling is not exact"
    for name in ("logit", "x", "y", "x_sig", "y_sig"):
        assert torch.equal(getattr(before, name), getattr(after, name)), name
    small = before.z_sig < 0.15
    was, now = before.z_sig[small] * old.z_nm, after.z_sig[small] * new.z_nm
    assert small.sum() > 10
    torch.testing.assert_close(now, was, rtol=0.05, atol=1.0)
    same = rescale(network.state_dict(), old, old)
    assert all(torch.equal(value, same[name]) for name, value in network.state_dict().items())


def test_differences_from_the_parent_are_logged_once(
    parent: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A resumed training does not start with the parent again; a training without differences says nothing."""
    caplog.set_level(logging.INFO)
    simulation = dimmer().simulation.replace(pixel_size=PixelSize(x_nm=110.0, y_nm=110.0))
    for steps in (1, 2):
        train(dimmer(simulation=simulation), tmp_path / "out", validator=quick, init_from=parent, stop_after=steps)
    assert [line for line in caplog.messages if line.startswith("parent ")] == [
        "parent was trained for pixels of 104 x 104 nm (x, y), and this training is for 110 x 110 nm"
    ]
    caplog.clear()
    train(dimmer(), tmp_path / "same", validator=quick, init_from=parent, stop_after=1)
    assert not [line for line in caplog.messages if "parent" in line]


def test_a_parent_with_another_plane_shift_is_accepted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    parent = train(config("plane", steps=1), tmp_path / "parent", validator=quick)
    assert parent is not None
    c = config("plane", steps=1)
    geometry = c.simulation.geometry
    assert geometry is not None
    simulation = c.simulation.replace(geometry=geometry.replace(scan_direction=-1))
    back = c.replace(simulation=simulation, network=c.network.replace(shift_px=-3))
    assert train(back, tmp_path / "back", validator=quick, init_from=parent.bundle) is not None
    assert "tiny shifts planes by 3 px along x, and this training by -3 px along x" in caplog.text


@pytest.fixture
def spline(tmp_path: Path) -> SplinePsf:
    """Write a spline PSF calibrated from -300 to 300 nm."""
    y, x = np.mgrid[-6:7, -6:7]
    volume = np.stack([np.exp(-(x**2 + y**2) / (3 + 0.2 * z)) for z in range(13)])
    pixel = PixelSize(x_nm=104.0, y_nm=104.0)
    write_volume(tmp_path / "psf.npz", volume, z_step_nm=50.0, pixel=pixel, focus=6, centre_x=6, centre_y=6, record={})
    return SplinePsf(path=str(tmp_path / "psf.npz"))


def with_spline(spline: SplinePsf, z_range_nm: tuple[float, float]) -> TrainingConfig:
    simulation = config().simulation
    emitters = simulation.emitters.replace(z_range_nm=z_range_nm, z_render_nm=(-400.0, 500.0))
    return config(simulation=simulation.replace(psf=spline, emitters=emitters))


@pytest.mark.parametrize("z_range_nm", [(-350.0, 300.0), (-300.0, 310.0)])
def test_a_z_range_beyond_the_calibration_is_refused(
    spline: SplinePsf, tmp_path: Path, z_range_nm: tuple[float, float]
) -> None:
    with pytest.raises(ConfigError, match=r"calibrated only from -300 to 300 nm; narrow z_range_nm"):
        train(with_spline(spline, z_range_nm), tmp_path / "out", validator=quick)
    assert not (tmp_path / "out").exists()
    fits = with_spline(spline, (-300.0, 300.0))
    assert train(fits, tmp_path / "out", validator=quick, stop_after=1) is None


def test_a_model_and_a_psf_suffice_for_fine_tuning(
    parent: Path, spline: SplinePsf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The configuration is that of the parent with the new PSF and the z range that both support, and it trains."""
    caplog.set_level(logging.INFO)
    old = load_bundle(parent).info
    tuned = training_config(None, init_from=parent, psf=spline.path, minutes=3.0)
    assert tuned.name == "parent-tuned"
    assert (
        f"PSF {spline.path}: pixels of 104 x 104 nm (x, y), z from -300 to 300 nm; camera, photons, background and "
        "density are those of parent" in caplog.messages
    )
    assert isinstance(tuned.simulation.psf, SplinePsf)
    assert tuned.simulation.psf.content is not None, "the digest lets a changed file be refused"
    assert tuned.simulation.emitters.z_range_nm == (-300.0, 300.0)
    assert tuned.simulation.emitters.z_rendered_nm == (-400.0, 500.0)
    assert (tuned.minutes, tuned.variety) == (3.0, Variety())
    assert tuned.learning_rate <= recorded_training(old.training["configuration"], source="parent").learning_rate
    assert tuned.simulation.camera == config().simulation.camera
    assert tuned.network == old.network
    short = tuned.replace(steps=2, validation_frames=6, validate_every=2)
    result = train(short, tmp_path / "out", validator=quick, init_from=parent)
    assert result is not None
    assert load_bundle(result.bundle).info.z_range_nm == (-300.0, 300.0)
    again = training_config(None, init_from=parent, psf=spline.path, minutes=3.0)
    assert again == tuned, "the same command resumes"


@pytest.mark.parametrize(("precision", "expected"), [("bfloat16", "auto"), ("auto", "auto"), ("float32", "float32")])
def test_16_bit_arithmetic_of_the_parent_depends_on_the_hardware(
    parent: Path, tmp_path: Path, precision: str, expected: str
) -> None:
    bundle = load_bundle(parent)
    record = bundle.info.training["configuration"] | {"precision": precision}
    save_bundle(
        tmp_path / "a.lls",
        bundle.network,
        bundle.info.replace(training={**bundle.info.training, "configuration": record}),
    )
    assert training_config(None, init_from=tmp_path / "a.lls").precision == expected


def test_training_without_a_usable_configuration_is_refused(parent: Path, spline: SplinePsf, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give --config, or --init-from MODEL"):
        training_config(None, psf=spline.path)
    bundle = load_bundle(parent)
    save_bundle(tmp_path / "a.lls", bundle.network, bundle.info.replace(training={"imported_from": "DECODE"}))
    with pytest.raises(BundleError, match=r"imported from DECODE.*--config"):
        training_config(None, init_from=tmp_path / "a.lls")
    emitters = config().simulation.emitters.replace(z_range_nm=(350.0, 500.0))
    beyond = config(simulation=config().simulation.replace(emitters=emitters))
    with pytest.raises(ConfigError, match="calibrated from -300 to 300 nm, but the model was trained from 350 to 500"):
        training_config(beyond, psf=spline.path)


def test_crops_smaller_than_the_spot_are_refused(tmp_path: Path) -> None:
    c = config()
    wide = c.simulation.psf.model_copy(update={"sigma_x_nm": 400.0})
    with pytest.raises(ConfigError, match="crop_px is 16, but the spot reaches"):
        train(c.replace(simulation=c.simulation.replace(psf=wide)), tmp_path, validator=quick)


def test_bundle_info_is_valid_json(tmp_path: Path) -> None:
    json.dumps(bundle_info(config(), choose_scaling(config())).to_dict(), allow_nan=False)
