"""Variety of training frames: densities, brightness, backgrounds and PSFs follow closed forms."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lls_decode.config import (
    AstigmaticPsf,
    BackgroundConfig,
    EmitterConfig,
    Geometry,
    PixelSize,
    ScmosCamera,
    SimulationConfig,
    TrainingConfig,
    Variety,
    load,
    recorded_training,
)
from lls_decode.models import find_config
from lls_decode.simulate import Molecules, sample_molecules, simulate_batch, simulate_frames
from lls_decode.simulate.background import draw_background
from lls_decode.simulate.frames import draw_psf_variation
from lls_decode.simulate.molecules import draw_density, draw_flux

N = 200_000
DENSE, SPREAD, MEAN, SD, LEAST = 0.5, 0.6, 1000.0, 100.0, 50.0
ASTIGMATIC = AstigmaticPsf(
    sigma_x_nm=130.0, sigma_y_nm=130.0, focus_x_nm=-220.0, focus_y_nm=220.0, depth_x_nm=300.0, depth_y_nm=300.0
)


def emitters(**changes: Any) -> EmitterConfig:
    usual = {"density_per_um2": DENSE, "density_spread": SPREAD, "photons_mean": MEAN, "photons_sd": SD}
    more = {"photons_min": LEAST, "on_time_frames": None, "z_range_nm": (-400.0, 400.0)}
    return EmitterConfig.model_validate(usual | more | changes)


def simulation(**changes: Any) -> SimulationConfig:
    usual: dict[str, Any] = {
        "pixel_size": PixelSize(x_nm=100.0, y_nm=100.0),
        "psf": ASTIGMATIC,
        "camera": ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.0, variance_adu2=4.0),
        "emitters": emitters(),
        "background": BackgroundConfig(low=8.0, high=32.0),
    }
    return SimulationConfig(**(usual | changes))


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw_molecules(variety: Variety | None, *, geometry: Geometry | None = None, seed: int = 0) -> Molecules:
    return sample_molecules(
        simulation(emitters=emitters(density_spread=0.0), geometry=geometry),
        num_sequences=400,
        num_frames=5,
        height=40,
        width=50,
        margin_px=6,
        generator=random(seed),
        variety=variety,
    )


def mean_near(molecules: Molecules, radius_nm: float) -> float:
    """Return the mean number of other molecules of the same sequence within a lateral distance of a molecule."""
    places = torch.stack([molecules.x_nm, molecules.y_nm], dim=1)
    counts = []
    for number in range(400):
        own = places[molecules.sequence == number]
        counts.append((torch.cdist(own, own) < radius_nm).sum(1) - 1)
    return float(torch.cat(counts).double().mean())


def share_above(values: Tensor, limit: float) -> float:
    return float((values > limit).double().mean())


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_densities_mix_the_stated_and_a_log_uniform_distribution(share: float) -> None:
    variety = Variety(sparse_share=share, sparsest=0.01)
    drawn = draw_density(emitters(), N, random(), variety=variety)
    low, high = 0.01 * DENSE * 1.6, DENSE * 1.6
    assert low * 0.999 <= drawn.min()
    assert drawn.max() <= high * 1.001
    for limit in (0.01, 0.1, 0.2, 0.4, 0.7):
        stated = min(max((high - limit) / (2 * DENSE * SPREAD), 0.0), 1.0)
        sparse = math.log(high / limit) / math.log(high / low)
        expected = (1 - share) * stated + share * sparse
        assert share_above(drawn, limit) == pytest.approx(expected, abs=5 / math.sqrt(N)), limit
    assert drawn.mean() == pytest.approx(variety.mean_density(DENSE, SPREAD), rel=0.01)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_brightness_mixes_the_stated_and_a_log_uniform_distribution(share: float) -> None:
    variety = Variety(any_light_share=share, brightest=2.0)
    drawn = draw_flux(emitters(), N, random(), variety=variety)
    high = 2 * (MEAN + 2 * SD)
    for limit in (60.0, 200.0, 800.0, 1000.0, 1100.0, 2000.0, 2399.0):
        stated = 0.5 * math.erfc((limit - MEAN) / SD / math.sqrt(2))
        any_light = math.log(high / limit) / math.log(high / LEAST)
        expected = (1 - share) * stated + share * any_light
        assert share_above(drawn, limit) == pytest.approx(expected, abs=5 / math.sqrt(N)), limit
    if share == 1:
        assert drawn.min() >= LEAST * 0.999
        assert drawn.max() <= high * 1.001


def test_ranges_start_above_zero() -> None:
    """A lower limit that is 0 or very low is raised to a hundredth of the upper limit."""
    variety = Variety()
    assert variety.photons(least=0.0, mean=1000.0, sd=500.0) == pytest.approx((40.0, 4000.0))
    assert variety.photons(least=5000.0, mean=1000.0, sd=500.0) == (4000.0, 4000.0)
    assert variety.backgrounds(0.0, 10.0) == pytest.approx((0.15, 15.0))
    assert variety.backgrounds(8.0, 20.0) == pytest.approx((8 / 1.5, 30.0))


def test_background_levels_are_log_uniform_over_the_extended_range() -> None:
    variety = Variety(background=2.0)
    levels = draw_background(simulation(), N, 1, 1, 1, random(), variety=variety).flatten()
    low, high = 4.0, 64.0
    assert low * 0.999 <= levels.min()
    assert levels.max() <= high * 1.001
    for limit in (5.0, 8.0, 16.0, 32.0, 60.0):
        expected = math.log(high / limit) / math.log(high / low)
        assert share_above(levels, limit) == pytest.approx(expected, abs=5 / math.sqrt(N)), limit
    dark = simulation(background=BackgroundConfig(low=0.0, high=0.0))
    assert draw_background(dark, 5, 1, 1, 1, random(), variety=variety).abs().max() == 0


def test_psfs_vary_between_sequences_as_stated() -> None:
    found = draw_psf_variation(Variety(psf_width_sd=0.03, psf_focus_sd_nm=8.0), N, random())
    assert found is not None
    clipped = 0.9867  # standard deviation of a standard normal distribution clipped at three sigma
    for values, middle, sd in ((found.width, 1.0, 0.03), (found.focus_x_nm, 0.0, 8.0), (found.focus_y_nm, 0.0, 8.0)):
        assert values.mean() == pytest.approx(middle, abs=5 * sd / math.sqrt(N))
        assert values.std() == pytest.approx(sd * clipped, rel=0.015)
    together = torch.corrcoef(torch.stack([found.width, found.focus_x_nm, found.focus_y_nm]))
    assert (together - torch.eye(3)).abs().max() < 5 / math.sqrt(N)
    assert draw_psf_variation(Variety(psf_width_sd=0.0, psf_focus_sd_nm=0.0), 3, random()) is None


def widths(config: SimulationConfig, variety: Variety | None, count: int) -> Tensor:
    """Return variances along x (nm^2) of bright spots that are in focus along x, one spot per sequence."""
    config = config.replace(
        background=BackgroundConfig(low=0.0, high=0.0),
        emitters=emitters(
            density_per_um2=0.02, density_spread=0.0, photons_mean=1e6, photons_sd=0.0, z_range_nm=(-220.0, -220.0)
        ),
        camera=ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.0, variance_adu2=0.0),
    )
    made = simulate_frames(
        config, num_sequences=count, num_frames=1, height=48, width=48, generator=random(1), variety=variety
    )
    a, found = made.activations, []
    for sequence in range(count):
        x, y = (values[a.sequence == sequence] / 100 for values in (a.x_nm, a.y_nm))
        if len(x) == 1 and 14 < x < 33 and 14 < y < 33:  # a single spot, entirely in the frame
            light = made.photons_STYX[sequence, 0].double().clamp_min(0)
            share = light.sum(0) / light.sum()
            place = 100.0 * torch.arange(48, dtype=torch.float64)
            found.append((share @ (place - share @ place) ** 2).item())
    return torch.tensor(found)


def test_frames_show_the_varied_psf() -> None:
    """The variance of a spot in focus is sigma^2 (1 + w)^2 plus the variance of a pixel."""
    none = Variety(sparse_share=0.0, any_light_share=0.0, psf_width_sd=0.0, psf_focus_sd_nm=0.0)
    plain = widths(simulation(), none, 3000)
    assert len(plain) > 40
    expected = 130.0**2 + 100.0**2 / 12
    assert plain.mean() == pytest.approx(expected, rel=0.01)
    assert plain.std() / expected < 0.01
    varied = widths(simulation(), none.replace(psf_width_sd=0.1), 3000)
    assert varied.std() / (2 * 0.1 * 130.0**2) == pytest.approx(1.0, rel=0.25)


def test_without_variety_random_draws_are_unchanged() -> None:
    """Benchmarks and simulated movies keep the numbers of versions that had no variety."""
    stated = draw_density(emitters(), 9, random())
    again = DENSE * (1 + SPREAD * (-1 + 2 * torch.rand(9, generator=random())))
    torch.testing.assert_close(stated, again, rtol=1e-6, atol=0)
    flux = draw_flux(emitters(), 9, random())
    assert torch.equal(flux, MEAN + SD * torch.randn(9, generator=random()))


def test_a_batch_shows_the_drawn_variety() -> None:
    """A batch has sparse and dense sequences, and molecules and backgrounds outside the stated ranges."""
    size: dict[str, Any] = {"num_sequences": 150, "sequence_frames": 1, "height": 40, "width": 40}
    variety = Variety(sparse_share=0.7)
    made = simulate_batch(simulation(), context="none", generator=random(), variety=variety, **size)
    plain = simulate_batch(simulation(), context="none", generator=random(), **size)
    counts, others = (torch.bincount(b.activations.sequence, minlength=150) for b in (made, plain))
    area_um2 = 16.0
    few = 0.05 * area_um2
    assert (counts <= few).double().mean() > 0.15
    assert (others <= few).double().mean() < 0.05
    assert made.activations.photons.max() > 1800 > plain.activations.photons.max()
    assert made.bg_NYX.max() > 32 >= plain.bg_NYX.max()
    assert made.bg_NYX.min() < 8 <= plain.bg_NYX.min()


def test_mean_number_of_molecules_follows_the_mean_density() -> None:
    variety = Variety(sparse_share=0.6)
    found = sample_molecules(
        simulation(),
        num_sequences=3000,
        num_frames=1,
        height=40,
        width=40,
        margin_px=0,
        generator=random(),
        variety=variety,
    )
    expected = variety.mean_density(DENSE, SPREAD) * 16.0
    assert len(found.x_nm) / 3000 == pytest.approx(expected, rel=0.04)


SWEEP = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8, propagation_axis="x", scan_direction=1)


@pytest.mark.parametrize("geometry", [None, SWEEP], ids=["plane", "sweep"])
def test_filaments_keep_the_density_everywhere(geometry: Geometry | None) -> None:
    """Numbers of molecules agree with Poisson statistics in each tenth of the field along x, y and depth."""
    nothing = Variety(sparse_share=0.0, any_light_share=0.0, structured_share=0.0)
    expected = draw_molecules(nothing, geometry=geometry)
    found = draw_molecules(nothing.replace(structured_share=1.0, filaments_um_per_um2=(20.0, 20.0)), geometry=geometry)
    assert len(found.x_nm) == pytest.approx(len(expected.x_nm), rel=0.03)
    for axis in ("x_nm", "y_nm", "z_nm"):
        values, others = getattr(found, axis).double(), getattr(expected, axis).double()
        limits = torch.quantile(others, torch.linspace(0, 1, 11, dtype=torch.float64))
        limits[0], limits[-1] = -math.inf, math.inf
        shares = torch.histogram(values, limits.nan_to_num()).hist / len(values)
        torch.testing.assert_close(shares, torch.full_like(shares, 0.1), atol=0.022, rtol=0)  # four sd


def test_filaments_bring_molecules_together_as_their_length_predicts() -> None:
    """On long filaments, the mean number of neighbours is that of random places plus that along the own filament."""
    length, radius_nm = 2.0, 200.0
    nothing = Variety(sparse_share=0.0, any_light_share=0.0, structured_share=0.0)
    random_places = mean_near(draw_molecules(nothing), radius_nm)
    structured = nothing.replace(structured_share=1.0, filaments_um_per_um2=(length, length))
    near = mean_near(draw_molecules(structured), radius_nm)
    assert random_places == pytest.approx(DENSE * math.pi * (radius_nm / 1000) ** 2, rel=0.1)
    own = DENSE / length * 2 * radius_nm / 1000
    assert near - random_places == pytest.approx(own, rel=0.25)  # wrapped ends and the width of a filament cost some


def test_a_share_of_the_sequences_is_structured() -> None:
    nothing = Variety(sparse_share=0.0, any_light_share=0.0, structured_share=0.0)
    means = [mean_near(draw_molecules(nothing.replace(structured_share=share)), 200.0) for share in (0.0, 0.5, 1.0)]
    assert means[1] == pytest.approx((means[0] + means[2]) / 2, rel=0.15)
    assert means[2] > 2 * means[0]


@pytest.mark.parametrize("limits", [(0.0, 1.0), (2.0, 1.0)])
def test_impossible_filaments_are_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="give two positive numbers, the smaller one first"):
        Variety(filaments_um_per_um2=limits)


def test_older_trainings_had_no_filaments() -> None:
    config = load(TrainingConfig, find_config("lls-paint"))
    record = config.model_dump(mode="json")
    assert recorded_training(record, source="test").variety == config.variety
    del record["variety"]["structured_share"]
    found = recorded_training(record, source="test").variety
    assert found is not None
    assert found.structured_share == 0
