"""Simulated backgrounds: uniform ones are unchanged, textures have the moments and correlations of gradient noise.

The closed forms follow from the definition of gradient noise: a sum over the eight corners of a cell of fade times
gradient times distance, with independent unit gradients and random positions of cells.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import torch
import zarr
from torch import Tensor

from lls_decode.config import (
    BackgroundConfig,
    EmitterConfig,
    GaussianPsf,
    Geometry,
    MovieConfig,
    PerlinTexture,
    PixelSize,
    ScmosCamera,
    ScmosChip,
    SimulationConfig,
    load,
    parse,
)
from lls_decode.errors import ConfigError
from lls_decode.models import find_config
from lls_decode.optics import draw_camera
from lls_decode.optics.psf import stamp_radius_px
from lls_decode.simulate import expose, sample_molecules, simulate_batch, simulate_frames, simulate_movie
from lls_decode.simulate.background import draw_background, draw_texture
from lls_decode.simulate.frames import draw_photons

PIXEL = PixelSize(x_nm=100.0, y_nm=125.0)
STAGE = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8)
OBJECTIVE = Geometry(motion="objective", stage_step_nm=300.0)
FEATURE_NM = 1000.0
SCMOS = ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.0, variance_adu2=4.0)
CHIP = ScmosChip(
    offset_adu=100.0,
    offset_sd_adu=3.0,
    gain_adu_per_e=2.1,
    gain_sd_adu_per_e=0.1,
    variance_adu2=5.7,
    variance_spread=0.4,
    hot_fraction=0.02,
)
FEW = EmitterConfig(density_per_um2=0.5, photons_mean=1e-4, photons_sd=0.0, on_time_frames=2.0, z_range_nm=(0.0, 0.0))
"""Emitters with almost no photons, so that frames show background only."""


def simulation(contrast: float | None = 0.8, **changes: Any) -> SimulationConfig:
    texture = None if contrast is None else PerlinTexture(feature_nm=FEATURE_NM, contrast=contrast)
    usual: dict[str, Any] = {
        "pixel_size": PIXEL,
        "psf": GaussianPsf(sigma_nm=130.0),
        "camera": SCMOS,
        "emitters": FEW,
        "background": BackgroundConfig(low=5.0, high=15.0, texture=texture),
    }
    return SimulationConfig(**(usual | changes))


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def texture(num: int, config: SimulationConfig | None = None, *, frames: int = 1, side: int = 24) -> Tensor:
    return draw_texture(config or simulation(), num, frames, side, side, random())


# --- closed forms ----------------------------------------------------------------------------------------------------


def fade(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(
        np.abs(t) < 1, 6 * np.abs(1 - np.abs(t)) ** 5 - 15 * (1 - np.abs(t)) ** 4 + 10 * (1 - np.abs(t)) ** 3, 0
    )


def covariance(lag: tuple[float, float, float]) -> float:
    """Return the covariance of noise at two points ``lag`` lattice constants apart, due to the corners that they share.

    It is an integral over the position of the cells that factorizes: a third of the sum over the axes of
    (product of distances along that axis) times (products of fades along all axes).
    """
    at = (np.arange(4000) + 0.5) / 4000 * 6 - 3  # first point relative to a corner
    plain = [np.sum(fade(at) * fade(at + step)) * 6 / 4000 for step in lag]
    sloped = [np.sum(fade(at) * at * fade(at + step) * (at + step)) * 6 / 4000 for step in lag]
    return sum(sloped[i] * plain[i - 1] * plain[i - 2] for i in range(3)) / 3


RMS_OF_BOUND = covariance((0.0, 0.0, 0.0)) ** 0.5 / (3**0.5 / 2)


@pytest.mark.parametrize("contrast", [0.2, 1.0])
def test_textures_have_the_stated_mean_and_contrast(contrast: float) -> None:
    values = texture(1500, simulation(contrast), side=16)
    assert values.mean().item() == pytest.approx(1.0, abs=0.01 * contrast)
    assert values.std().item() == pytest.approx(contrast * RMS_OF_BOUND, rel=0.02)
    assert pytest.approx(0.22, abs=0.005) == RMS_OF_BOUND, "stated by PerlinTexture.contrast"
    assert values.min() >= 1 - contrast
    assert values.max() <= 1 + contrast
    assert values.max() > 1 + 0.6 * contrast


@pytest.mark.parametrize(
    ("geometry", "frames", "down", "right"),
    [
        pytest.param(None, 0, 0, 3, id="along x"),
        pytest.param(None, 0, 0, 8, id="along x, nearly a lattice constant"),
        pytest.param(None, 0, 4, 0, id="along y"),
        pytest.param(None, 0, 3, 5, id="diagonally"),
        pytest.param(None, 0, 0, 21, id="beyond two lattice constants"),
        pytest.param(None, 2, 0, 0, id="in time"),
        pytest.param(OBJECTIVE, 2, 0, 0, id="two planes further in an objective scan"),
        pytest.param(OBJECTIVE, 1, 0, 3, id="the next plane of an objective scan, along x"),
        pytest.param(STAGE, 1, 0, 0, id="the next plane of a stage scan"),
        pytest.param(STAGE, 1, 0, -3, id="the next plane of a stage scan, following the sample"),
        pytest.param(STAGE, 2, 2, -7, id="two planes further in a stage scan, diagonally"),
    ],
)
def test_textures_are_correlated_in_sample_coordinates(
    geometry: Geometry | None, frames: int, down: int, right: int
) -> None:
    """Covariances depend on the distance in the sample, given by lags in pixels and by the steps of the scan."""
    config = simulation(1.0, geometry=geometry)
    values = (texture(800, config, frames=3).expand(-1, 3, -1, -1) - 1).numpy() * 3**0.5 / 2
    length, side = values.shape[1], values.shape[2]
    first = values[:, : length - frames, : side - down, max(-right, 0) : side - max(right, 0)]
    second = values[:, frames:, down:, max(right, 0) : side - max(-right, 0)]
    lateral, axial = (0.0, 0.0) if geometry is None else (geometry.lateral_step_nm, geometry.axial_step_nm)
    lag_nm = (right * 100.0 + frames * lateral, down * 125.0, frames * axial)
    expected = covariance(tuple(step / FEATURE_NM for step in lag_nm))
    products = (first * second).mean(axis=(1, 2, 3), dtype=np.float64)
    error = float(products.std()) / len(products) ** 0.5
    assert 5 * error < 0.1 * covariance((0.0, 0.0, 0.0)), "the test is sensitive"
    assert products.mean() == pytest.approx(expected, abs=5 * error)


def test_the_texture_equals_its_definition_at_single_points() -> None:
    """The expected value sums over eight corners; origin and gradients are drawn in the order of the program."""
    config, generator = simulation(1.0, geometry=STAGE), random(7)
    values = draw_texture(config, 2, 3, 10, 12, random(7))
    axes = [(11 * 100 + 2 * STAGE.lateral_step_nm), 9 * 125, 2 * STAGE.axial_step_nm]
    counts = [int(length / FEATURE_NM) + 3 for length in axes]
    origin = torch.rand((3, 2), generator=generator).double().numpy()
    gradient = torch.randn((3, 2, *reversed(counts)), generator=generator).double().numpy()
    gradient /= np.linalg.norm(gradient, axis=0)
    for s, t, y, x in itertools.product((0, 1), (0, 2), (0, 9), (0, 5, 11)):
        place = np.array([x * 100 + t * STAGE.lateral_step_nm, y * 125.0, t * STAGE.axial_step_nm]) / FEATURE_NM
        place += origin[:, s]
        corner, noise = np.floor(place).astype(int), 0.0
        for more in itertools.product((0, 1), repeat=3):
            i, j, k = corner + more
            distance = place - (i, j, k)
            noise += np.prod(fade(distance)) * (gradient[:, s, k, j, i] @ distance)
        assert values[s, t, y, x].item() == pytest.approx(1 + noise * 2 / 3**0.5, abs=1e-5)


def test_the_texture_shows_no_lattice() -> None:
    """The second derivative is continuous, and all pixels vary equally."""
    fine = SimulationConfig(**{**simulation(1.0).model_dump(), "pixel_size": PixelSize(x_nm=20.0, y_nm=20.0)})
    values = draw_texture(fine, 100, 1, 1, 150, random())[:, 0, 0].double()
    curvature = values.diff(n=2) / 0.02**2
    assert curvature.abs().max() < 15
    assert curvature.diff().abs().max() < 150 * 0.02, "no jump, unlike with the fade function of 1985"
    spread = texture(3000, simulation(1.0), side=12).std(dim=0)
    assert spread.max() / spread.min() < 1.15


def test_equal_seeds_give_equal_backgrounds() -> None:
    first, again, other = (draw_background(simulation(), 3, 4, 8, 9, random(seed)) for seed in (0, 0, 1))
    assert first.shape == (3, 4, 8, 9)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0] / first[0].mean(), first[1] / first[1].mean()), "sequences differ"


# --- backgrounds in frames -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", [None, STAGE])
def test_frames_with_uniform_backgrounds_are_unchanged(geometry: Geometry | None) -> None:
    """Drawing molecules, one level per sequence, camera and counts in this order gives bit-identical frames."""
    config = simulation(None, geometry=geometry, camera=CHIP, emitters=FEW.replace(photons_mean=800.0))
    assert config == parse(
        SimulationConfig, {**config.model_dump(), "background": {"low": 5.0, "high": 15.0}}, source="as in old files"
    )
    made = simulate_frames(config, num_sequences=3, num_frames=4, height=16, width=20, generator=random(5))
    generator, size = random(5), (3, 4, 16, 20)
    molecules = sample_molecules(
        config,
        num_sequences=3,
        num_frames=4,
        height=16,
        width=20,
        margin_px=stamp_radius_px(config.psf, config.emitters.z_rendered_nm, PIXEL),
        generator=generator,
    )
    seen = expose(
        molecules,
        num_frames=4,
        geometry=geometry,
        illumination=config.illumination,
        z_range_nm=config.emitters.z_rendered_nm,
    )
    level_S = 5.0 + (15.0 - 5.0) * torch.rand(3, generator=generator)
    camera = draw_camera(config.camera, (3, 1, 16, 20), generator)
    expected = draw_photons(config, seen, *size) + level_S[:, None, None, None]
    assert torch.equal(made.photons_STYX, camera.to_photons(camera.to_adu(expected, generator)))
    assert torch.equal(made.bg_STYX, level_S[:, None, None, None].expand(size))


@pytest.mark.parametrize("context", ["none", "time", "plane"])
def test_targets_hold_the_background_of_their_own_frame(context: Any) -> None:
    config = simulation(1.0, geometry=STAGE if context == "plane" else None)
    made = simulate_batch(
        config, context=context, num_sequences=8, sequence_frames=4, height=24, width=32, generator=random()
    )
    assert made.bg_NYX.shape == (32, 24, 32)
    assert made.bg_NYX.flatten(1).std(dim=1).min() > 0.3, "the background varies within a frame"

    def chi_square(bg_NYX: Tensor) -> float:
        residual = made.photons_TYX[made.windows_N3[:, 1]] - bg_NYX
        return float((residual**2 / (bg_NYX + 4.0 / 2.0**2 + 1 / 12 / 2.0**2)).mean())

    assert chi_square(made.bg_NYX) == pytest.approx(1.0, abs=0.05)
    assert chi_square(made.bg_NYX.flip(2)) > 1.2
    changes = [not torch.equal(a, b) for a, b in itertools.pairwise(made.bg_NYX[:4])]
    assert changes == [context == "plane"] * 3, "planes of a sweep show different parts of the texture"


@pytest.mark.parametrize("planes", [1, 5])
def test_the_truth_table_gives_the_background_at_each_emitter(planes: int, tmp_path: Path) -> None:
    """The level is constant and the texture is at rest, so that the mean over volumes shows the texture."""
    config = MovieConfig(
        name="texture",
        simulation=simulation(
            geometry=STAGE if planes > 1 else None,
            background=BackgroundConfig(
                low=50.0, high=50.0, texture=PerlinTexture(feature_nm=FEATURE_NM, contrast=1.0)
            ),
            emitters=FEW.replace(z_range_nm=(-300.0, 300.0)),
        ),
        num_volumes=300 // planes,
        planes_per_volume=planes,
        height=32,
        width=40,
    )
    movie = simulate_movie(config, tmp_path)
    counts = np.asarray(zarr.open_array(str(movie.store / "0"), mode="r")).reshape(-1, planes, 32, 40)
    mean = (counts.mean(axis=0) - 100.0) / 2.0
    truth = pq.read_table(movie.truth).to_pydict()
    x, y = np.rint(np.array(truth["x_nm"]) / 100).astype(int), np.rint(np.array(truth["y_nm"]) / 125).astype(int)
    bg = np.array(truth["bg"])
    assert len(bg) > 500
    assert bg.std() > 5
    deviation = (mean[truth["plane"], y, x] - bg) / np.sqrt((bg + 1.1) / len(counts))
    assert deviation.std() == pytest.approx(1.0, abs=0.15)
    assert abs(deviation.mean()) < 0.25


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"feature_nm": 150.0}, "below two pixels", id="smaller than pixels can show"),
        pytest.param({"contrast": 1.5}, "less than or equal to 1", id="negative light"),
        pytest.param({"contrast": 0.0}, "greater than 0", id="no contrast"),
    ],
)
def test_impossible_textures_are_refused(changes: dict[str, float], words: str) -> None:
    data = simulation().model_dump()
    data["background"]["texture"] |= changes
    with pytest.raises(ConfigError, match=words):
        parse(SimulationConfig, data, source="test")


def test_a_cell_beyond_the_field_is_refused(tmp_path: Path) -> None:
    config = load(MovieConfig, find_config("demo-movie"))
    cell = config.structure.replace(membrane_share=1.0, radii_nm=(60_000.0, 60_000.0, 60_000.0))
    with pytest.raises(ConfigError, match=r"No binding site of the cell is seen in the 16 x 16 pixels"):
        simulate_movie(config.replace(height=16, width=16, planes_per_volume=2, structure=cell), tmp_path)
