"""Contract of every camera, and proof that a new camera needs only one class and one line in the list."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from lls_decode.config import (
    BaseCamera,
    EmccdCamera,
    MovieConfig,
    RunConfig,
    ScmosCamera,
    TrainingConfig,
    Values,
    crop_values,
    load,
    load_run_config,
)
from lls_decode.config.cameras import CAMERAS
from lls_decode.emitters import Emitters
from lls_decode.errors import ConfigError
from lls_decode.evaluate import score
from lls_decode.localize import build_localizer
from lls_decode.models import find_bundle, find_config
from lls_decode.optics import CameraModel, build_camera, draw_camera
from lls_decode.pipelines.planning.plan import make_plan
from lls_decode.refine.estimation.candidates import Detector
from lls_decode.simulate import simulate_movie
from tests.cameras import PhotonCounter, listed

HEIGHT, WIDTH = 30, 40
FRAMES = 400


class CameraContract:
    """Tests that every camera must pass, with numbers and with maps."""

    def make(self, folder: Path) -> BaseCamera:
        raise NotImplementedError

    @pytest.fixture
    def config(self, tmp_path: Path) -> BaseCamera:
        return self.make(tmp_path)

    @pytest.fixture
    def values(self, config: BaseCamera) -> Values:
        return config.read_values((HEIGHT, WIDTH))

    @pytest.fixture
    def camera(self, config: BaseCamera) -> CameraModel:
        return build_camera(config, HEIGHT, WIDTH)

    @pytest.fixture
    def adu(self, camera: CameraModel) -> torch.Tensor:
        return camera.to_adu(torch.full((FRAMES, HEIGHT, WIDTH), 50.0), torch.Generator().manual_seed(0))

    def test_counts_convert_back_to_photons(self, camera: CameraModel, adu: torch.Tensor) -> None:
        """The mean over all pixels is exact up to the rounding of counts."""
        assert (adu == adu.round()).all()
        assert adu.min() >= 0
        noise, one = camera.shot_noise, camera.to_photons(torch.ones(())) - camera.to_photons(torch.zeros(()))
        read_variance = torch.as_tensor(noise.read_variance).double().mean().item()
        variance = (50 * noise.units_per_photon + noise.dark + read_variance) * noise.photons_per_unit**2
        error = 5 * (variance / adu.numel()) ** 0.5 + 0.51 * one.abs().max().item()
        assert camera.to_photons(adu).double().mean().item() == pytest.approx(50.0, abs=error)

    def test_noise_matches_the_stated_noise(self, camera: CameraModel, adu: torch.Tensor) -> None:
        """In shot-noise units the variance of each pixel is its mean plus the variance in the dark and of rounding."""
        detector = Detector.of(camera, HEIGHT, WIDTH)
        units = detector.to_units(adu.numpy())
        none, one = (detector.to_units(np.full((1, HEIGHT, WIDTH), count)) for count in (0, 1))
        expected = 50 / detector.photons_per_unit + detector.variance_YX + (one - none) ** 2 / 12
        np.testing.assert_allclose((units.var(0) / expected).mean().item(), 1.0, atol=0.02)

    def test_numpy_and_torch_agree(
        self, config: BaseCamera, values: Values, camera: CameraModel, adu: torch.Tensor
    ) -> None:
        in_numpy = config.to_photons(adu.double().numpy(), values)
        assert isinstance(in_numpy, np.ndarray)
        np.testing.assert_allclose(camera.to_photons(adu).numpy(), in_numpy, rtol=1e-5, atol=1e-3)

    def test_a_cropped_camera_equals_a_camera_with_cropped_maps(
        self, config: BaseCamera, values: Values, camera: CameraModel, adu: torch.Tensor
    ) -> None:
        y, x = slice(5, 17), slice(8, 40)
        part = camera.crop(y, x)
        assert torch.equal(part.to_photons(adu[:, y, x]), camera.to_photons(adu)[:, y, x])
        cropped = crop_values(values, y, x)
        np.testing.assert_array_equal(
            config.to_photons(adu.numpy()[:, y, x], cropped), config.to_photons(adu.numpy(), values)[:, y, x]
        )

    def test_added_light_is_measured_as_light_recorded_together(self, camera: CameraModel, adu: torch.Tensor) -> None:
        more = camera.added_adu(torch.full(adu.shape, 30.0), torch.Generator().manual_seed(1))
        both = camera.to_photons(adu + more).double().mean().item()
        assert both - camera.to_photons(adu).double().mean().item() == pytest.approx(30.0, rel=0.01)
        assert (camera.added_adu(torch.zeros(adu.shape), torch.Generator()) == 0).all()

    def test_frames_without_light_have_the_dark_level(
        self, config: BaseCamera, values: Values, camera: CameraModel
    ) -> None:
        name, level = config.dark_level(values)
        assert name in type(config).model_fields
        dark = camera.to_adu(torch.zeros(FRAMES, HEIGHT, WIDTH), torch.Generator().manual_seed(0))
        assert dark.median().item() == pytest.approx(level, abs=1.0)

    def test_the_camera_round_trips_through_yaml_and_json(self, config: BaseCamera, tmp_path: Path) -> None:
        path = tmp_path / "run.yaml"
        path.write_text(RunConfig(camera=config).to_yaml())
        assert load_run_config(path).camera == config
        assert RunConfig.model_validate_json(RunConfig(camera=config).model_dump_json()).camera == config
        assert RunConfig(camera=config).replace(part={}).camera == config

    def test_the_description_names_every_parameter_on_one_line(self, config: BaseCamera) -> None:
        words = config.describe()
        assert words.startswith(f"{config.kind}: ")
        assert "\n" not in words
        assert all(name in words for name in type(config).model_fields if name != "kind")

    def test_identity_depends_on_map_contents_not_on_paths(self, config: BaseCamera, tmp_path: Path) -> None:
        """The identity is made of plain values and contains no path of this machine."""
        assert str(tmp_path) not in json.dumps(config.identity())
        assert config.identity() == config.resolve(Path("/elsewhere")).identity()

    def test_relative_map_paths_resolve_against_the_folder_of_the_configuration(
        self, config: BaseCamera, tmp_path: Path
    ) -> None:
        names = {name: Path(path).name for name, path in config.map_paths().items()}
        relative = config.replace(**names)
        assert relative.resolve(tmp_path) == config

    def test_training_can_simulate_the_camera(self, config: BaseCamera, tmp_path: Path) -> None:
        """The training camera has no maps, suits frames of any size and round-trips in a training configuration."""
        known = config.for_training((HEIGHT, WIDTH))
        nominal = known.nominal()
        assert type(nominal) is type(config)
        assert not nominal.map_paths()
        drawn = draw_camera(known, (3, 1, 16, 16), torch.Generator().manual_seed(0))
        assert drawn.to_photons(torch.zeros(3, 2, 16, 16)).shape == (3, 2, 16, 16)
        base = load(TrainingConfig, find_config("storm-2d"))
        training = base.replace(simulation=base.simulation.replace(camera=known))
        (tmp_path / "training.yaml").write_text(training.to_yaml())
        assert load(TrainingConfig, tmp_path / "training.yaml").simulation.camera == known

    def test_the_conversion_for_other_programs_matches_the_camera(self, config: BaseCamera, values: Values) -> None:
        """Values that come from a map are NaN, because no single number describes a map."""
        numbers, level = config.conversion(), config.dark_level(values).adu
        assert numbers.em_gain >= 1
        if config.map_paths():
            assert math.isnan(numbers.offset_adu)
            assert math.isnan(numbers.e_per_adu)
            return
        one = config.to_photons(np.ones(()), values) - config.to_photons(np.zeros(()), values)
        assert numbers.offset_adu == level
        efficiency = config.shot_noise(values).quantum_efficiency
        assert numbers.e_per_adu / numbers.em_gain == pytest.approx(one * efficiency)

    def test_noise_maps_are_supported_or_refused(self, config: BaseCamera, camera: CameraModel) -> None:
        if config.NOISE_MAP is None:
            with pytest.raises(ConfigError, match=f"cameras of kind {config.kind} do not have"):
                _ = camera.read_noise
        else:
            assert camera.read_noise.min() >= 0
            assert config.NOISE_MAP in type(config).model_fields


class TestScmos(CameraContract):
    def make(self, folder: Path) -> BaseCamera:
        return ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.1, variance_adu2=6.0, quantum_efficiency=0.8)


class TestScmosMaps(CameraContract):
    def make(self, folder: Path) -> BaseCamera:
        random, size = np.random.default_rng(0), (HEIGHT, WIDTH)
        maps: dict[str, Any] = {
            "offset_adu": random.normal(100, 0.3, size),
            "gain_adu_per_e": random.uniform(1, 3, size),
            "variance_adu2": random.uniform(1, 30, size),
        }
        for name, values in maps.items():
            np.save(folder / f"{name}.npy", values)
        return ScmosCamera(**{name: str(folder / f"{name}.npy") for name in maps}, quantum_efficiency=0.8)


class TestEmccd(CameraContract):
    def make(self, folder: Path) -> BaseCamera:
        return EmccdCamera(baseline_adu=100.0, e_per_adu=5.0, em_gain=300.0, read_sigma_e=20.0, spurious_e=0.002)


class TestThirdCamera(CameraContract):
    """A camera that only the tests know: one class in `tests.cameras`, and one line in the list."""

    @pytest.fixture(autouse=True)
    def _listed(self) -> Iterator[None]:
        with listed(PhotonCounter):
            yield

    def make(self, folder: Path) -> BaseCamera:
        return PhotonCounter(pedestal_adu=20.0, adu_per_e=3.0, dark_e=0.1, quantum_efficiency=0.9)

    def test_a_movie_of_the_new_camera_is_simulated_and_localized(self, tmp_path: Path) -> None:
        """A shipped model localizes the movie; its configuration is refused once the camera is no longer listed."""
        base = load(TrainingConfig, find_config("storm-2d")).simulation
        camera = self.make(tmp_path)
        movie = simulate_movie(
            MovieConfig(name="counted", simulation=base.replace(camera=camera), num_volumes=24, height=48, width=48),
            tmp_path,
        )
        config = load_run_config(movie.run_config)
        assert config.camera == camera
        plan = make_plan(movie.store, find_bundle("storm-2d"), tmp_path / "out", config)
        assert not any("background" in note for note in plan.notes)
        localizer = build_localizer(plan.bundle_path, plan.config, plan.layout)
        table = localizer.run(plan.source.read(plan.blocks[0]))
        found = Emitters.from_columns({name: table[name].to_numpy() for name in ("frame", "x_nm", "y_nm", "photons")})
        rows = pq.read_table(movie.truth)
        rows = rows.filter(np.asarray(rows["photons"]) > 100)
        truth = Emitters.from_columns({name: rows[name].to_numpy() for name in ("frame", "x_nm", "y_nm", "photons")})
        result = score(truth, found)
        assert result.jaccard > 0.6
        CAMERAS.remove(PhotonCounter)
        with pytest.raises(ConfigError, match=r"kind is 'photon-counter', expected one of emccd, scmos"):
            load_run_config(movie.run_config)
        CAMERAS.append(PhotonCounter)


def test_every_camera_class_is_in_the_list() -> None:
    """This test fails when somebody adds a camera class but forgets to list it."""
    below = {kind for kind in BaseCamera.__subclasses__() if kind.__module__.startswith("lls_decode")}
    assert set(CAMERAS) == below
