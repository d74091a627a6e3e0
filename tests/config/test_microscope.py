"""Known microscope parameters replace those of a training base in the same way for every caller."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from lls_decode.config import (
    EmccdCamera,
    Geometry,
    MovieConfig,
    PixelSize,
    RunConfig,
    ScmosCamera,
    TrainingConfig,
    load,
    load_run_config,
    with_microscope,
)
from lls_decode.errors import ConfigError
from lls_decode.frames import FrameSource, open_source
from lls_decode.models import find_config
from lls_decode.pipelines.cli.options import camera_pixel, square_pixel
from lls_decode.pipelines.flows.presets import Microscope, preset_config
from lls_decode.refine.estimation.training_base import fill_in

SWEEP = Geometry(motion="stage", stage_step_nm=500.0, angle_deg=45.0, propagation_axis="y", scan_direction=-1)
PIXEL = PixelSize(x_nm=110.0, y_nm=120.0)
CAMERA = EmccdCamera(baseline_adu=100.0, e_per_adu=5.0, em_gain=300.0, read_sigma_e=70.0)


def light_base() -> TrainingConfig:
    """Return a valid base of the light variant, whose plane shift must be a multiple of two pixels."""
    base = load(TrainingConfig, find_config("lls-paint"))
    geometry = base.simulation.geometry
    assert geometry is not None
    shift_px = geometry.whole_shift_px(base.simulation.pixel_size, multiple=2)
    return base.replace(network=base.network.replace(variant="light", shift_px=shift_px))


@pytest.mark.parametrize("name", ["lls-paint", "storm-2d", "astigmatism"])
def test_unknown_parameters_keep_the_values_of_the_base(name: str) -> None:
    base = load(TrainingConfig, find_config(name))
    assert with_microscope(base) == base


@pytest.mark.parametrize(
    ("base", "shift_px"), [(load(TrainingConfig, find_config("lls-paint")), -3), (light_base(), -2)]
)
def test_known_parameters_replace_the_values_of_the_base(base: TrainingConfig, shift_px: int) -> None:
    """The shift of -2.95 pixels rounds to -3, or to -2 where it must be even."""
    made = with_microscope(base, camera=CAMERA, pixel_size=PIXEL, geometry=SWEEP)
    s = made.simulation
    assert (s.camera, s.pixel_size, s.geometry, s.psf) == (CAMERA, PIXEL, SWEEP, base.simulation.psf)
    assert (made.network.shift_px, made.network.shift_axis) == (shift_px, "y")


@pytest.fixture
def source(tmp_path: Path) -> FrameSource:
    names = ["t", "z", "y", "x"]
    array = zarr.create_array(
        tmp_path / "movie.zarr", shape=(2, 5, 96, 96), dtype="u2", chunks=(1, 5, 96, 96), dimension_names=names
    )
    array[:] = np.random.default_rng(0).poisson(20, array.shape) + 100
    return open_source(tmp_path / "movie.zarr")


def test_an_estimate_accepts_a_base_of_the_light_variant(source: FrameSource) -> None:
    known, camera, _ = fill_in(source, light_base(), camera=CAMERA, pixel_size=PIXEL, geometry=SWEEP, psf=None)
    assert camera == CAMERA
    assert (known.network.variant, known.network.shift_px, known.network.shift_axis) == ("light", -2, "y")


def test_an_estimate_and_a_preset_train_for_the_same_camera(source: FrameSource, tmp_path: Path) -> None:
    """The simulated camera, too, is the same, even though 11 pixels of its offset map are broken."""
    random = np.random.default_rng(1)
    offset = random.normal(100, 3, (96, 96))
    offset.ravel()[random.choice(96 * 96, 11, replace=False)] = 3000.0
    np.save(tmp_path / "offset.npy", offset)
    camera = ScmosCamera(offset_adu=str(tmp_path / "offset.npy"), gain_adu_per_e=2.1, variance_adu2=5.7)
    base = load(TrainingConfig, find_config("lls-paint"))
    estimated, _, _ = fill_in(source, base, camera=camera, pixel_size=PIXEL, geometry=SWEEP, psf=None)
    run = RunConfig(camera=camera, pixel_size=PIXEL, geometry=SWEEP)
    preset = preset_config("lls-paint", name="mine", microscope=Microscope(run=run))
    assert estimated.simulation == preset.simulation
    assert estimated.network == preset.network
    chip = estimated.simulation.camera
    assert chip == camera.for_training()
    assert chip.to_dict()["offset_sd_adu"] == pytest.approx(3.0, rel=0.03)


@pytest.mark.parametrize(
    ("size", "words"),
    [(0.1, "0.1 um is 100 nm: give 100"), (0.65, "0.65 um is 650 nm: give 650"), (1.04e-7, "m is 104 nm: give 104")],
)
def test_pixels_in_another_unit_are_refused(size: float, words: str, tmp_path: Path) -> None:
    """Whoever reads a pixel size refuses micrometres and metres, and accepts the number that the error suggests."""
    told = rf"x_nm is {size:g}, expected nm, 3 or more .*{words}"
    path = tmp_path / "run.yaml"
    path.write_text(f"pixel_size: {{x_nm: {size}, y_nm: {size}}}")
    with pytest.raises(ConfigError, match=rf"run\.yaml: pixel_size: {told}"):
        load_run_config(path)
    base = load(TrainingConfig, find_config("storm-2d"))
    small = {**base.simulation.to_dict(), "pixel_size": {"x_nm": size, "y_nm": size}}
    with pytest.raises(ConfigError, match=rf"simulation\.pixel_size: {told}"):
        base.replace(simulation=small)
    movie = MovieConfig(name="a", simulation=base.simulation, num_volumes=1, height=16, width=16)
    with pytest.raises(ConfigError, match=told):
        movie.replace(simulation=small)
    with pytest.raises(ConfigError, match=f"^--pixel-nm: {told}"):
        square_pixel(size)
    with pytest.raises(ConfigError, match="y_nm is"):
        camera_pixel(100.0, size)
    advised = float(words.rpartition(" ")[2])
    path.write_text(f"pixel_size: {{x_nm: {advised}, y_nm: {advised}}}")
    assert load_run_config(path).pixel_size == PixelSize(x_nm=advised, y_nm=advised)
