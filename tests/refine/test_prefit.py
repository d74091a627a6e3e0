"""A prefit recovers the statistics of a simulated movie, and refuses movies that do not allow it."""

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from lls_decode.axes import Layout
from lls_decode.config import (
    AstigmaticPsf,
    Camera,
    EarlyStopConfig,
    EmccdCamera,
    GaussianPsf,
    Geometry,
    MovieConfig,
    PixelSize,
    RestartConfig,
    RunConfig,
    ScmosCamera,
    ScmosChip,
    TrainingConfig,
    Variety,
    load,
    load_run_config,
)
from lls_decode.errors import ConfigError, FrameValueError, InputError
from lls_decode.evaluate import read_truth
from lls_decode.frames import open_source
from lls_decode.models import find_config
from lls_decode.movies import convert
from lls_decode.optics import build_camera, build_psf
from lls_decode.optics.spline_files import write_volume
from lls_decode.refine import fit_spots
from lls_decode.refine.estimation import Estimate, estimate, write_estimate
from lls_decode.refine.estimation.candidates import CANDIDATE_SNR, Detector, Finder
from lls_decode.refine.estimation.photophysics import estimate_on_time
from lls_decode.refine.estimation.report import training_text
from lls_decode.refine.estimation.sampling import plan_runs
from lls_decode.refine.estimation.single_emitters import MISFIT_LIMIT, STEPS, Fits, Microscope, goodness
from lls_decode.simulate import simulate_movie
from lls_decode.training import train

PIXEL = PixelSize(x_nm=100.0, y_nm=100.0)
ROUND = GaussianPsf(sigma_nm=130.0)
ASTIGMATIC = AstigmaticPsf(
    sigma_x_nm=130.0, sigma_y_nm=130.0, focus_x_nm=-220.0, focus_y_nm=220.0, depth_x_nm=300.0, depth_y_nm=300.0
)
SCMOS = ScmosCamera(offset_adu=100, gain_adu_per_e=2, variance_adu2=6, quantum_efficiency=0.8)
EMCCD = EmccdCamera(
    baseline_adu=100, e_per_adu=5, em_gain=100, read_sigma_e=70, spurious_e=0.002, quantum_efficiency=0.9
)
CHIP = ScmosChip(
    offset_adu=100,
    offset_sd_adu=3,
    gain_adu_per_e=2.1,
    gain_sd_adu_per_e=0.1,
    variance_adu2=5.7,
    variance_spread=0.4,
    hot_fraction=0.01,
    quantum_efficiency=0.8,
)
SWEEP = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8)


@dataclass(frozen=True)
class Case:
    """Simulated movie with known statistics."""

    base: str = "storm-2d"
    psf: GaussianPsf | AstigmaticPsf = ROUND
    camera: Camera | ScmosChip = CHIP
    density: float = 0.3
    photons: tuple[float, float] = (1000.0, 200.0)
    on_time: float = 2.0
    whole_frames: bool = False
    z_nm: float = 0.0
    volumes: int = 250
    planes: int = 1
    size: int = 64
    seed: int = 5

    @property
    def emitters(self) -> dict[str, Any]:
        return {
            "density_per_um2": self.density,
            "photons_mean": self.photons[0],
            "photons_sd": self.photons[1],
            "on_time_frames": self.on_time,
            "whole_frames": self.whole_frames,
            "z_range_nm": (-self.z_nm, self.z_nm),
        }

    def movie(self) -> MovieConfig:
        sweep = {"geometry": SWEEP, "illumination": {"kind": "gaussian", "sigma_nm": 300.0}}
        return MovieConfig.model_validate(
            {
                "name": "movie",
                "simulation": {
                    "pixel_size": PIXEL,
                    "psf": self.psf,
                    "camera": self.camera,
                    "emitters": self.emitters,
                    "background": {"low": 8.0, "high": 20.0},
                    **(sweep if self.planes > 1 else {}),
                },
                "num_volumes": self.volumes,
                "planes_per_volume": self.planes,
                "height": self.size,
                "width": self.size,
                "seed": self.seed,
            }
        )

    def training(self) -> TrainingConfig:
        """Return a base with the true PSF and z range, but wrong values of everything that is estimated."""
        base = load(TrainingConfig, find_config(self.base))
        wrong = {"density_per_um2": 2.0, "photons_mean": 5000.0, "photons_sd": 10.0, "on_time_frames": 30.0}
        simulation = base.simulation.replace(
            psf=self.psf, emitters={**self.emitters, **wrong}, background={"low": 100.0, "high": 200.0}
        )
        return base.replace(simulation=simulation)

    def estimate(self, folder: Path, **changes: Any) -> Estimate:
        movie = simulate_movie(self.movie(), folder, overwrite=True)
        run = load_run_config(movie.run_config)
        given = {"camera": run.camera, "pixel_size": run.pixel_size, "geometry": run.geometry, **changes}
        return estimate(open_source(movie.store), self.training(), **given)


CASES = {
    "2-D, sCMOS maps": Case(),
    "2-D, EMCCD": Case(camera=EMCCD),
    "2-D, long on-times": Case(on_time=6.0),
    "2-D, short on-times": Case(on_time=1.0, seed=6),
    "2-D, whole frames": Case(whole_frames=True, camera=SCMOS),
    "3-D astigmatic": Case(psf=ASTIGMATIC, z_nm=500.0, photons=(2500.0, 400.0), density=0.25),
    "sweep": Case(
        base="lls-paint", psf=ASTIGMATIC, z_nm=600.0, photons=(2500.0, 400.0), on_time=6.0, volumes=15, planes=20
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_statistics_of_a_movie_are_estimated(case: Case, tmp_path: Path) -> None:
    found = case.estimate(tmp_path)
    truth_mean, truth_sd = case.photons
    density = true_density(case, tmp_path)
    assert found.photons.fully_on
    assert found.photons.mean == pytest.approx(truth_mean, rel=0.1)
    assert found.photons.sd == pytest.approx(truth_sd, rel=0.4)
    assert 7.4 <= found.background.low < found.background.median < found.background.high <= 21
    assert found.on_time.frames is not None
    assert found.on_time.standard_error is not None
    assert found.on_time.standard_error < 0.2 * case.on_time
    assert abs(found.on_time.frames - case.on_time) < max(0.2 * case.on_time, 2 * found.on_time.standard_error)
    assert found.density.per_um2 == pytest.approx(density, rel=0.15)
    assert found.density.local_per_um2 == pytest.approx(density, rel=0.2)
    assert not found.density.saturated
    assert found.quality.chi_square == pytest.approx(1.0, abs=0.1)
    e, trained = found.training.simulation.emitters, found.training.simulation
    assert (e.photons_mean, e.on_time_frames) == pytest.approx((found.photons.mean, found.on_time.frames), rel=0.01)
    assert trained.background.low <= 1.01 * found.background.low
    assert found.training.network.predict_z == (case.z_nm > 0)
    if case.planes > 1:
        assert found.training.network.shift_px == SWEEP.whole_shift_px(PIXEL) == 3


def true_density(case: Case, folder: Path) -> float:
    """Return the true number of emitters per square micrometre and frame."""
    truth = read_truth(folder / "truth.parquet")
    inside = np.abs(truth.z_nm) <= (case.z_nm or math.inf)
    return float(inside.sum() / (case.volumes * case.planes * (case.size * PIXEL.x_nm / 1000) ** 2))


def test_errors_stay_bounded_in_a_dense_movie(tmp_path: Path) -> None:
    case = Case(density=1.0, volumes=100)
    found = case.estimate(tmp_path)
    assert found.density.per_um2 == pytest.approx(true_density(case, tmp_path), rel=0.25)
    assert found.photons.mean == pytest.approx(1000, rel=0.1)
    assert found.density.found_share < 0.85


@pytest.mark.parametrize(("whole_frames", "on_time"), [(False, 0.8), (False, 3.0), (False, 10.0), (True, 2.5)])
def test_the_estimated_on_time_does_not_depend_on_missed_emitters(whole_frames: bool, on_time: float) -> None:
    """On-times are exponential or geometric, and frames in which an emitter is on too briefly are missed."""
    rng = np.random.default_rng(1)
    count, length = 60_000, 60
    on = rng.uniform(-10 * on_time, length, count)
    off = on + rng.exponential(on_time, count)
    if whole_frames:
        on = np.floor(on)
        off = on + rng.geometric(1 / on_time, count)
    frame = np.arange(length)
    share = np.clip(np.minimum(off[:, None], frame + 1) - np.maximum(on[:, None], frame), 0, None)
    for least in (0.2, 0.7):
        emitter, centre = np.nonzero(share > least)
        around = np.stack(
            [
                np.where(
                    (centre + step >= 0) & (centre + step < length), share[emitter, (centre + step) % length], np.nan
                )
                / share[emitter, centre]
                for step in STEPS
            ],
            axis=1,
        )
        fits = some_fits(around, elsewhere=np.zeros(len(around)))
        found = estimate_on_time(fits, whole_frames=whole_frames)
        assert found.frames == pytest.approx(on_time, rel=0.08)


def some_fits(around: np.ndarray, *, elsewhere: np.ndarray) -> Fits:
    """Return fits in which only the light in neighbouring frames matters."""
    one = np.ones(len(around))
    values = {field.name: one for field in fields(Fits)}
    return Fits(**{**values, "around": around, "around_sig": 0 * around, "elsewhere": elsewhere})  # type: ignore[arg-type]


def test_chance_light_in_neighbouring_frames_is_subtracted() -> None:
    rng = np.random.default_rng(2)
    stays, chance = 0.5, 0.2
    on = np.ones((20_000, 4))
    on[:, [0, 3]] = (rng.random((20_000, 2)) < stays) | (rng.random((20_000, 2)) < chance)
    found = estimate_on_time(some_fits(on, elsewhere=(rng.random(20_000) < chance).astype(float)), whole_frames=False)
    assert found.frames == pytest.approx(-1 / math.log(stays), rel=0.03)


@pytest.mark.parametrize("camera", [SCMOS, EMCCD], ids=["sCMOS", "EMCCD"])
@pytest.mark.parametrize("psf", [ROUND, ASTIGMATIC], ids=["round", "astigmatic"])
def test_single_emitters_pass_the_fit_check_and_pairs_fail(camera: Camera, psf: GaussianPsf | AstigmaticPsf) -> None:
    passed = {apart: share_that_passes(camera, psf, apart_px=apart) for apart in (0.0, 3.0)}
    assert passed[0.0] > 0.98
    assert passed[3.0] < 0.25


def share_that_passes(camera: Camera, psf: GaussianPsf | AstigmaticPsf, *, apart_px: float, count: int = 600) -> float:
    model, draw = build_psf(psf, pixel=PIXEL), torch.Generator().manual_seed(3)
    finder = Finder.of(model, (-400.0, 400.0))
    size = 2 * finder.half + 1
    detector = Detector.of(build_camera(camera, size, size), size, size)
    scope = Microscope(detector, model, finder, PIXEL, load_widefield(), (0.0, 0.0, 0.0), math.inf)

    def one(shift_px: float, photons: float) -> torch.Tensor:
        x = finder.half + shift_px + torch.rand(count, generator=draw, dtype=torch.float64) - 0.5
        y = finder.half + torch.rand(count, generator=draw, dtype=torch.float64) - 0.5
        z = 600 * torch.rand(count, generator=draw, dtype=torch.float64) - 300
        return photons * model.shares(x, y, z, height=size, width=size)

    light = one(0.0, 3000.0) if not apart_px else one(-apart_px / 2, 3000.0) + one(apart_px / 2, 3000.0)
    adu = detector.camera.to_adu(light.float() + 15, draw).numpy()
    rois = detector.to_units(adu)
    noise = detector.variance_YX.expand(rois.shape)
    fits = fit_spots(model, rois, variance=noise)
    _, misfit = goodness(scope, fits.spots, rois, noise)
    return float((misfit <= MISFIT_LIMIT).mean())


def load_widefield() -> Any:
    return load(TrainingConfig, find_config("storm-2d")).simulation.illumination


def test_fitted_electrons_convert_to_photons_by_the_camera() -> None:
    """Mean and variance in fit units follow quantum efficiency, and for an EMCCD the excess noise factor of 2."""
    light = torch.full((1, 8, 8), 500.0)
    for camera, variance in ((SCMOS, 500 * 0.8 + 1.5), (EMCCD, 500 * 0.9 / 2)):
        model = build_camera(camera, 8, 8)
        detector = Detector.of(model, 8, 8)
        adu = model.to_adu(light.expand(4000, 8, 8), torch.Generator().manual_seed(0)).numpy()
        units = detector.to_units(adu)
        assert units.mean().item() * detector.photons_per_unit == pytest.approx(500, rel=0.01)
        assert units.var().item() == pytest.approx(variance, rel=0.03)


def test_noise_gives_no_candidates_even_on_hot_pixels() -> None:
    variance = torch.full((64, 64), 2.0)
    variance[::7, ::7] = 400.0
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn((60, 64, 64), generator=draw) * variance.sqrt()
    frames = torch.poisson(torch.full((60, 64, 64), 12.0), generator=draw) + noise
    finder = Finder.of(build_psf(ROUND, pixel=PIXEL), (0.0, 0.0))
    filtered = finder._filter(frames, variance)
    assert filtered.std().item() == pytest.approx(1.0, abs=0.03)
    assert (finder.find(frames, variance).snr > CANDIDATE_SNR).sum() == 0


SHORT = {
    "64 frames": (Layout(64, 1, 64, 64), "time"),
    "one frame": (Layout(1, 1, 64, 64), "time"),
    "300 frames": (Layout(300, 1, 64, 64), "none"),
    "planes in time": (Layout(20, 9, 64, 64), "time"),
    "sweeps": (Layout(4, 70, 64, 64), "plane"),
    "large frames": (Layout(40, 1, 2048, 2048), "time"),
}


@pytest.mark.parametrize(("layout", "context"), SHORT.values(), ids=SHORT.keys())
def test_all_frames_of_a_short_movie_are_used(layout: Layout, context: Any) -> None:
    runs = plan_runs(layout, context, rng=np.random.default_rng(0))
    frames = {(int(volume), int(plane)) for run in runs for volume, plane in run}
    assert frames == {(v, p) for v in range(layout.num_volumes) for p in range(layout.planes_per_volume)}
    assert sum(len(run) for run in runs) == layout.num_frames
    along = 1 if context == "plane" else 0
    lengths = [len(run) for run in runs]
    assert max(lengths) <= 50
    assert max(lengths) - min(lengths) <= 1
    for run in runs:
        assert (np.diff(run[:, along]) == 1).all()
        assert (np.diff(run[:, 1 - along]) == 0).all()


LAYOUTS = {
    "movie": (Layout(1000, 1, 64, 64), "time"),
    "short movie": (Layout(11, 1, 256, 256), "time"),
    "one frame": (Layout(1, 1, 64, 64), "none"),
    "planes in time": (Layout(70, 12, 64, 64), "time"),
    "sweeps": (Layout(70, 12, 64, 64), "plane"),
    "long sweeps": (Layout(5, 200, 64, 64), "plane"),
    "large frames": (Layout(1000, 1, 2048, 2048), "time"),
}


@pytest.mark.parametrize(("layout", "context"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_sampled_runs_are_consecutive_and_cover_the_whole_movie(layout: Layout, context: Any) -> None:
    runs = plan_runs(layout, context, rng=np.random.default_rng(0))
    frames = np.concatenate(runs)
    assert len(np.unique(frames, axis=0)) == len(frames) <= max(300, 3 * 50)
    assert (frames >= 0).all()
    assert (frames < [layout.num_volumes, layout.planes_per_volume]).all()
    along = 1 if context == "plane" else 0
    for run in runs:
        assert (np.diff(run[:, along]) == 1).all()
        assert (np.diff(run[:, 1 - along]) == 0).all()
    assert frames[:, 0].min() == 0
    assert frames[:, 0].max() == layout.num_volumes - 1
    assert layout.height * layout.width * max(len(run) for run in runs) <= 2**25


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Simulate a short movie with sCMOS maps and return its folder."""
    folder = tmp_path_factory.mktemp("small")
    simulate_movie(Case(volumes=60, density=0.3).movie(), folder)
    return folder


def estimate_small(folder: Path, **changes: Any) -> Estimate:
    run = load_run_config(folder / "run.yaml")
    given: dict[str, Any] = {"camera": run.camera, "pixel_size": run.pixel_size, **changes}
    base = given.pop("base", None) or Case().training()
    return estimate(open_source(given.pop("store", folder / "movie.zarr")), base, **given)


def test_the_written_configuration_can_be_trained(small: Path, tmp_path: Path) -> None:
    found = estimate_small(small)
    write_estimate(found, tmp_path / "out")
    numbers = json.loads((tmp_path / "out" / "estimate.json").read_text())
    assert numbers["photons"]["mean"] == found.photons.mean
    assert numbers["quality"]["num_kept"] + sum(numbers["quality"]["dropped"].values()) == found.quality.num_candidates
    assert (tmp_path / "out" / "estimate.png").read_bytes().startswith(b"\x89PNG")
    config = load(TrainingConfig, tmp_path / "out" / "training.yaml")
    assert config == found.training
    assert isinstance(config.simulation.camera, ScmosChip)  # training simulates crops from the statistics of the maps
    assert config.simulation.camera.offset_adu == pytest.approx(CHIP.offset_adu, abs=1)
    assert config.simulation.camera.hot_fraction == pytest.approx(CHIP.hot_fraction, abs=0.005)
    assert config.simulation.camera.variance_spread == pytest.approx(CHIP.variance_spread, rel=0.1)
    tiny = config.replace(
        steps=2, sequences=1, sequence_frames=2, crop_px=16, network=config.network.replace(filters=4)
    )
    assert train(tiny, tmp_path / "training", validator=lambda network, info: NoScore()) is not None


class NoScore:
    """Validation result without scores."""

    def to_dict(self) -> dict[str, Any]:
        zscores = ("zscore_x", "zscore_y", "zscore_z", "zscore_photons")
        return dict.fromkeys(("jaccard", "rmse_lateral_nm", "rmse_axial_nm", "efficiency", *zscores))


def test_the_same_seed_gives_the_same_numbers(small: Path) -> None:
    one, other = (estimate_small(small, seed=3) for _ in range(2))
    assert one.to_dict() == other.to_dict()
    assert one.training == other.training


def test_a_parameter_taken_from_the_base_gives_a_warning(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = estimate_small(small, camera=None)
    (warning,) = found.warnings
    assert "warning: no camera was given, so the camera of the base" in warning
    assert any("no camera was given, so the camera of the base" in line for line in caplog.messages)
    assert "offset_adu 90" in warning
    assert warning in training_text(found).replace("# ", "")
    assert found.training.simulation.pixel_size == PIXEL


def test_an_error_comes_after_the_warnings_that_may_explain_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError, match="0 spots found"):
        estimate_array(tmp_path, dark(), camera=None)
    assert [line for line in caplog.messages if "no camera was given" in line]


@pytest.mark.parametrize(("precision", "expected"), [("bfloat16", "auto"), ("float32", "float32")])
def test_16_bit_arithmetic_of_the_base_depends_on_the_hardware(small: Path, precision: str, expected: str) -> None:
    assert estimate_small(small, base=Case().training().replace(precision=precision)).training.precision == expected


def test_a_psf_with_another_dimension_than_the_base_is_noted(small: Path, tmp_path: Path) -> None:
    write_psf(tmp_path / "psf.npz")
    base = Case(psf=ROUND).training()
    assert not base.network.predict_z
    found = estimate_small(small, base=base, psf=tmp_path / "psf.npz")
    assert found.training.network.predict_z
    assert any("has two dimensions, but with this PSF the training has three" in note for note in found.notes)


def test_all_other_settings_of_the_base_are_kept(small: Path, tmp_path: Path) -> None:
    restart = RestartConfig(times=2, after_steps=700, loss_above=50.0)
    base = Case().training().replace(restart=restart, schedule="step", early_stop=EarlyStopConfig(validations=3))
    base = base.replace(minutes=12.0, variety=Variety(sparse_share=0.4), precision="float32")
    found = estimate_small(small, base=base)
    write_estimate(found, tmp_path)
    written = load(TrainingConfig, tmp_path / "training.yaml")
    own = {"name", "simulation", "network"}
    assert {k: v for k, v in written.to_dict().items() if k not in own} == {
        k: v for k, v in base.to_dict().items() if k not in own
    }
    assert written.restart == restart


def test_training_uses_the_larger_density_of_movie_and_base(tmp_path: Path) -> None:
    """A sparse movie is trained at the density of the base, a dense one at its own density."""
    for name, density, base in (("sparse", 0.05, 0.5), ("dense", 0.6, 0.2)):
        case = Case(density=density, volumes=100)
        training = case.training()
        emitters = training.simulation.emitters.replace(density_per_um2=base)
        training = training.replace(simulation=training.simulation.replace(emitters=emitters))
        movie = simulate_movie(case.movie(), tmp_path / name)
        run = load_run_config(movie.run_config)
        found = estimate(open_source(movie.store), training, camera=run.camera, pixel_size=run.pixel_size)
        trained = found.training.simulation.emitters.density_per_um2
        if name == "sparse":
            assert found.density.per_um2 < 0.1, "the estimate itself is unchanged"
            assert trained == base
            assert any("training uses the density of the base, 0.5 per um2" in note for note in found.notes)
        else:
            assert trained == pytest.approx(found.density.local_per_um2, rel=0.01)
            assert not any("density of the base" in note for note in found.notes)


def test_ten_spots_suffice_but_give_a_warning(tmp_path: Path) -> None:
    found = Case(density=0.03, volumes=20, photons=(2000.0, 200.0)).estimate(tmp_path)
    assert 10 <= found.quality.num_kept < 30
    (warning,) = found.warnings
    assert f"warning: only {found.quality.num_kept} spots are isolated" in warning
    assert found.photons.mean == pytest.approx(2000, rel=0.35)
    assert found.quality.num_frames == 20


def test_too_few_spots_give_an_error_that_asks_for_more_frames(tmp_path: Path) -> None:
    """The error does not blame the PSF, because the spots fit well."""
    with pytest.raises(InputError, match=r"expected at least 10 .*give more frames") as error:
        Case(density=0.2, volumes=14, size=24, photons=(2000.0, 200.0), seed=6).estimate(tmp_path)
    assert "PSF" not in str(error.value).replace("that PSF", "")


def test_an_unknown_on_time_is_taken_from_the_base(tmp_path: Path) -> None:
    found = Case(on_time=0.3, volumes=100, density=0.3).estimate(tmp_path)
    assert found.on_time.frames is None
    assert found.training.simulation.emitters.on_time_frames == 30.0
    assert any("on-time from the base" in note for note in found.notes)
    assert not found.photons.fully_on
    assert any("partly" in note for note in found.notes)


def test_a_calibrated_psf_gives_the_z_range_of_targets(tmp_path: Path) -> None:
    movie = simulate_movie(
        Case(psf=ASTIGMATIC, z_nm=400.0, photons=(2500.0, 300.0), volumes=80, density=0.2).movie(), tmp_path
    )
    run = load_run_config(movie.run_config)
    write_psf(tmp_path / "psf.npz")
    found = estimate(open_source(movie.store), Case().training(), camera=run.camera, psf=tmp_path / "psf.npz")
    assert found.photons.mean == pytest.approx(2500, rel=0.1)
    low, high = found.training.simulation.emitters.z_range_nm
    assert -700 < low < -300
    assert 300 < high < 700
    assert found.training.network.predict_z


def write_psf(path: Path) -> None:
    z = torch.arange(-700.0, 701.0, 50.0, dtype=torch.float64)
    centre = torch.full_like(z, 9.0)
    volume = build_psf(ASTIGMATIC, pixel=PIXEL).shares(centre, centre, z, height=19, width=19).numpy()
    place = {"focus": (len(z) - 1) / 2, "centre_x": 9.0, "centre_y": 9.0}
    write_volume(path, volume, z_step_nm=50.0, pixel=PIXEL, record={}, **place)


BAD = {
    "too dense": (InputError, "too dense", lambda f: Case(density=8.0, volumes=30).estimate(f)),
    "no spots": (InputError, "0 spots found", lambda f: estimate_array(f, dark())),
    "NaN": (FrameValueError, "NaN", lambda f: estimate_array(f, with_nan())),
    "saturated": (InputError, "4095 counts", lambda f: estimate_array(f, saturated())),
    "wrong offset": (
        ConfigError,
        "camera.offset_adu",
        lambda f: estimate_array(f, dark(), camera=SCMOS.replace(offset_adu=500)),
    ),
    "small frames": (InputError, "expected at least", lambda f: estimate_array(f, dark(12))),
    "no planes": (
        ConfigError,
        "one plane per volume",
        lambda f: estimate_array(f, dark(), base=load(TrainingConfig, find_config("lls-paint"))),
    ),
    "PSF pixel size differs": (ConfigError, "calibrated with pixels of 100", lambda f: estimate_with_other_pixels(f)),
    "wrong PSF": (
        InputError,
        "check that PSF",
        lambda f: Case(volumes=40, density=0.05, photons=(8000.0, 100.0), camera=SCMOS).estimate(
            f, pixel_size=PixelSize(x_nm=40, y_nm=40)
        ),
    ),
}


@pytest.mark.parametrize(("kind", "says", "act"), BAD.values(), ids=BAD.keys())
def test_unusable_input_is_refused(kind: type[Exception], says: str, act: Any, tmp_path: Path) -> None:
    with pytest.raises(kind) as error:
        act(tmp_path)
    assert says in str(error.value)


def dark(size: int = 48) -> np.ndarray:
    return np.random.default_rng(0).poisson(20, (20, size, size)).astype(np.uint16) + 100


def with_nan() -> np.ndarray:
    frames = dark().astype(np.float32)
    frames[3, 4, 5] = np.nan
    return frames


def saturated() -> np.ndarray:
    frames = dark()
    frames[7, :20, :20] = 4095
    return frames


def estimate_array(
    folder: Path,
    frames: np.ndarray,
    *,
    camera: Camera | None = SCMOS,
    base: TrainingConfig | None = None,
    **changes: Any,
) -> Estimate:
    path = folder / "frames.zarr"
    zarr.create_array(str(path), data=frames, dimension_names=["t", "y", "x"])
    return estimate(
        open_source(path, RunConfig().input),
        base or Case().training(),
        camera=camera,
        **{"pixel_size": PIXEL, **changes},
    )


def estimate_with_other_pixels(folder: Path) -> Estimate:
    write_psf(folder / "psf.npz")
    return estimate_array(folder, dark(), psf=folder / "psf.npz", pixel_size=PixelSize(x_nm=160, y_nm=160))


def test_the_statistics_of_a_public_benchmark_are_estimated(shared_data: Path, tmp_path: Path) -> None:
    """NAIRR 3DAS_LD has 2400 photons, background 30 and 0.83 emitters per um2, half of which stay on for a frame."""
    folder = shared_data / "movies" / "nairr_3DAS_LD"
    convert(folder / "3DAS_LD_Validate_Frame.tif", tmp_path / "movie.zarr", pixel_size=PIXEL)
    base = load(TrainingConfig, Path(__file__).parents[2] / "benchmarks" / "accuracy" / "nairr-3d.yaml")
    found = estimate(open_source(tmp_path / "movie.zarr"), base, camera=base.simulation.camera)  # type: ignore[arg-type]
    truth = read_truth(folder / "3DAS_LD_Validate_xyz.csv", pixel_nm=100.0)
    assert found.photons.mean == pytest.approx(2400, rel=0.02)
    assert found.background.median == pytest.approx(30, rel=0.05)
    assert found.on_time.frames == pytest.approx(2.0, rel=0.2)
    assert found.density.per_um2 == pytest.approx(len(truth) / (500 * 3.2**2), rel=0.15)
