"""Training configurations for a user's own microscope, made from presets."""

from pathlib import Path

import numpy as np
import pytest

from lls_decode.config import (
    EmccdCamera,
    Geometry,
    PixelSize,
    RunConfig,
    ScmosCamera,
    ScmosChip,
    SplinePsf,
    TrainingConfig,
    load,
)
from lls_decode.config.cameras import chip_statistics
from lls_decode.errors import ConfigError
from lls_decode.models import find_config
from lls_decode.optics import content_digest
from lls_decode.optics.spline_files import write_volume
from lls_decode.pipelines.flows.presets import (
    PRESETS,
    Microscope,
    find_start,
    preset_command,
    preset_config,
    preset_text,
)

NOTHING = Microscope()


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
def test_the_commented_text_can_be_read_back_as_the_configuration(preset: str, gpu: bool, tmp_path: Path) -> None:
    config = preset_config(preset, name="mine", microscope=NOTHING, gpu=gpu)
    path = tmp_path / "mine.yaml"
    path.write_text(preset_text(config, preset=preset, path=path))
    assert load(TrainingConfig, path) == config
    shipped = load(TrainingConfig, find_config(PRESETS[preset]))
    assert config.simulation == shipped.simulation
    assert config.network == shipped.network.replace(filters=48 if gpu else shipped.network.filters)
    assert ("48 filters), for a GPU" in path.read_text()) == gpu
    assert config.restart is not None
    assert config.precision == "auto"
    assert (config.minutes is None) == (gpu or preset == "2d"), "time limits of the presets are for CPUs"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_suggested_training_starts_with_the_shipped_model_if_it_can(preset: str, tmp_path: Path) -> None:
    config = preset_config(preset, name="mine", microscope=NOTHING)
    path = tmp_path / "mine.yaml"
    start = f"--init-from {PRESETS[preset]} --minutes 20"
    command = f"lls-decode train --config {path} {start} --out work/mine"
    assert preset_command(config, preset=preset, path=path) == command
    assert f"# Train:  {command}\n" in preset_text(config, preset=preset, path=path)
    narrow = config.replace(network=config.network.replace(filters=8))
    assert start in preset_command(narrow, preset=preset, path=path)
    for changes in ({"filters": 48}, {"context": "none", "shift_px": 0}, {"variant": "light", "shift_px": 0}):
        other = config.network.replace(**changes)
        assert find_start(PRESETS[preset], other) is None
    large = preset_config(preset, name="mine", microscope=NOTHING, gpu=True)
    assert "--init-from" not in preset_command(large, preset=preset, path=path)
    assert find_start("absent", config.network) is None


def test_settings_of_a_run_configuration_are_used() -> None:
    """Camera, pixel size and geometry are used, and the network gets the plane shift of the geometry."""
    geometry = Geometry(motion="stage", stage_step_nm=500.0, angle_deg=45.0, propagation_axis="y", scan_direction=-1)
    camera = EmccdCamera(baseline_adu=100.0, e_per_adu=5.0, em_gain=300.0, read_sigma_e=70.0)
    run = RunConfig(camera=camera, pixel_size=PixelSize(x_nm=110.0, y_nm=120.0), geometry=geometry)
    config = preset_config("lls-paint", name="mine", microscope=Microscope(run=run))
    simulation, network = config.simulation, config.network
    assert (simulation.camera, simulation.pixel_size, simulation.geometry) == (camera, run.pixel_size, geometry)
    assert (network.shift_px, network.shift_axis) == (-3, "y")
    pixel = PixelSize(x_nm=90.0, y_nm=90.0)
    config = preset_config("lls-paint", name="mine", microscope=Microscope(run=run, pixel=pixel))
    assert (config.simulation.pixel_size, config.network.shift_px) == (pixel, -4)


def test_statistics_of_a_chip_agree_with_the_distributions_of_its_maps() -> None:
    rng = np.random.default_rng(0)
    shape = (300, 300)
    variance = 6.0 * np.exp(0.4 * rng.normal(size=shape))
    hot = rng.random(shape) < 0.01
    variance[hot] = np.exp(rng.uniform(np.log(100), np.log(2000), hot.sum()))
    offset, gain = 100 + 3 * rng.normal(size=shape), 2.1 + 0.1 * rng.normal(size=shape)
    chip = chip_statistics(offset, gain, variance, quantum_efficiency=0.7)
    assert chip.offset_adu == pytest.approx(100, abs=0.1)
    assert chip.offset_sd_adu == pytest.approx(3, rel=0.03)
    assert chip.gain_adu_per_e == pytest.approx(2.1, abs=0.01)
    assert chip.gain_sd_adu_per_e == pytest.approx(0.1, rel=0.03)
    assert chip.variance_adu2 == pytest.approx(6.0, rel=0.02)
    assert chip.variance_spread == pytest.approx(0.4, rel=0.04)
    assert chip.hot_fraction == pytest.approx(hot.mean(), rel=0.05)
    assert chip.hot_variance_adu2 == pytest.approx((100, 2000), rel=0.15)
    assert chip.quantum_efficiency == 0.7


def test_a_chip_of_equal_pixels_has_no_spread_and_no_hot_pixels() -> None:
    one = np.ones((4, 4))
    chip = chip_statistics(100 * one, np.asarray(2.0), 5 * one, quantum_efficiency=1.0)
    assert (chip.offset_sd_adu, chip.gain_sd_adu_per_e, chip.variance_spread, chip.hot_fraction) == (0, 0, 0, 0)
    with pytest.raises(ConfigError, match="is 0 in all pixels"):
        chip_statistics(one, one, 0 * one, quantum_efficiency=1.0)


def test_camera_maps_are_summarized_as_a_chip(tmp_path: Path) -> None:
    np.save(tmp_path / "variance.npy", np.full((50, 60), 7.0))
    camera = ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.0, variance_adu2=str(tmp_path / "variance.npy"))
    config = preset_config("2d", name="mine", microscope=Microscope(run=RunConfig(camera=camera)))
    chip = config.simulation.camera
    assert isinstance(chip, ScmosChip)
    assert (chip.offset_adu, chip.variance_adu2, chip.hot_fraction) == (100.0, 7.0, 0.0)
    even = camera.replace(variance_adu2=7.0)
    config = preset_config("2d", name="mine", microscope=Microscope(run=RunConfig(camera=even)))
    assert config.simulation.camera == even
    absent = RunConfig(camera=camera.replace(gain_adu_per_e="absent.npy"))
    with pytest.raises(ConfigError, match=r"absent\.npy"):
        preset_config("2d", name="mine", microscope=Microscope(run=absent))


def test_statistics_of_a_real_chip_agree_with_its_maps(shared_data: Path) -> None:
    offset, variance, gain = np.load(shared_data / "movies" / "storm_scmos_real" / "calib.npy")
    chip = chip_statistics(offset, gain, variance, quantum_efficiency=1.0)
    assert (chip.offset_adu, chip.variance_adu2, chip.gain_adu_per_e) == pytest.approx((90.4, 5.73, 2.11), rel=0.01)
    low, high = chip.hot_variance_adu2
    quiet = (1 - chip.hot_fraction) * chip.variance_adu2 * np.exp(chip.variance_spread**2 / 2)
    mean = quiet + chip.hot_fraction * (high - low) / np.log(high / low)
    assert mean == pytest.approx(variance.mean(), rel=0.25)


def test_a_calibrated_psf_sets_pixel_size_and_z_range(tmp_path: Path) -> None:
    y, x = np.mgrid[-6:7, -6:7]
    volume = np.stack([np.exp(-(x**2 + y**2) / (3 + 0.2 * z)) for z in range(13)])
    pixel = PixelSize(x_nm=117.0, y_nm=118.0)
    path = tmp_path / "psf.npz"
    write_volume(path, volume, z_step_nm=50.0, pixel=pixel, focus=5, centre_x=6, centre_y=6, record={})
    config = preset_config("astigmatism", name="mine", microscope=Microscope(psf=path))
    assert config.simulation.psf == SplinePsf(path=str(path), content=content_digest(path))
    assert config.simulation.pixel_size == pixel
    assert config.simulation.emitters.z_range_nm == (-250.0, 350.0)
    assert config.simulation.emitters.z_render_nm == (-750.0, 750.0)
