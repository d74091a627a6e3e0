"""Simulated molecules and their light in frames: density, on-time, geometry and light sheet follow closed forms."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lls_decode.config import (
    BackgroundConfig,
    EmitterConfig,
    GaussianPsf,
    GaussianSheet,
    Geometry,
    PixelSize,
    ScmosCamera,
    SimulationConfig,
    Widefield,
)
from lls_decode.simulate import Activations, Molecules, expose, sample_molecules

PIXEL = PixelSize(x_nm=100.0, y_nm=125.0)
HEIGHT, WIDTH = 40, 48
AREA_UM2 = HEIGHT * 0.125 * WIDTH * 0.1
FRAMES = 5


def emitters(**changes: Any) -> EmitterConfig:
    usual = {
        "density_per_um2": 0.8,
        "photons_mean": 1000.0,
        "photons_sd": 0.0,
        "photons_min": 0.0,
        "on_time_frames": 3.0,
        "z_range_nm": (-400.0, 500.0),
        "z_render_nm": (-700.0, 800.0),
    }
    return EmitterConfig.model_validate(usual | changes)


def simulation(geometry: Geometry | None = None, **changes: Any) -> SimulationConfig:
    return SimulationConfig(
        pixel_size=PIXEL,
        psf=GaussianPsf(sigma_nm=150.0),
        camera=ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.0, variance_adu2=4.0),
        emitters=emitters(**changes),
        background=BackgroundConfig(low=5.0, high=15.0),
        geometry=geometry,
    )


def scan(motion: str, axis: str, direction: int) -> Geometry:
    return Geometry.model_validate(
        {
            "motion": motion,
            "stage_step_nm": 300.0,
            "angle_deg": 31.8,
            "propagation_axis": axis,
            "scan_direction": direction,
        }
    )


def molecules(config: SimulationConfig, num_sequences: int = 300, seed: int = 0) -> Molecules:
    return sample_molecules(
        config,
        num_sequences=num_sequences,
        num_frames=FRAMES,
        height=HEIGHT,
        width=WIDTH,
        margin_px=7,
        generator=torch.Generator().manual_seed(seed),
    )


def seen(config: SimulationConfig, found: Molecules) -> Activations:
    return expose(
        found,
        num_frames=FRAMES,
        geometry=config.geometry,
        illumination=config.illumination,
        z_range_nm=config.emitters.z_rendered_nm,
    )


def in_field(a: Activations, margin_px: float = 0.0) -> Tensor:
    x, y = a.x_nm / PIXEL.x_nm, a.y_nm / PIXEL.y_nm
    m = margin_px + 0.5
    return (x >= -m) & (x < WIDTH - 1 + m) & (y >= -m) & (y < HEIGHT - 1 + m)


WORLDS = [
    pytest.param(simulation(), id="fractional on-times"),
    pytest.param(simulation(whole_frames=True), id="whole frames"),
    pytest.param(simulation(whole_frames=True, on_time_frames=1.0), id="one frame each"),
    pytest.param(simulation(on_time_frames=0.3), id="blinks shorter than a frame"),
    pytest.param(simulation(on_time_frames=None), id="always on"),
    pytest.param(simulation(density_spread=0.7), id="density differs between sequences"),
    pytest.param(simulation(z_range_nm=(0.0, 0.0), z_render_nm=None), id="two dimensions"),
    *(
        pytest.param(simulation(scan(motion, axis, direction)), id=f"{motion} scan along {axis}, {direction:+d}")
        for motion, axis, direction in itertools.product(("stage", "objective"), "xy", (1, -1))
    ),
]


@pytest.mark.parametrize("config", WORLDS)
def test_every_frame_has_the_stated_density_of_targets(config: SimulationConfig) -> None:
    sequences = 300
    a = seen(config, molecules(config, sequences))
    low, high = config.emitters.z_range_nm
    target = in_field(a) & (a.z_nm >= low) & (a.z_nm <= high)
    expected = config.emitters.density_per_um2 * AREA_UM2
    for frame in range(FRAMES):
        number = int((target & (a.frame == frame)).sum())
        # Poisson noise and the spread of densities; by design 0.7 % of long-lived molecules are omitted.
        spread = config.emitters.density_spread / math.sqrt(3) / math.sqrt(sequences)
        tolerance = 4 * (1 / math.sqrt(expected * sequences) + spread) + 0.007
        assert number / sequences == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("config", WORLDS)
def test_density_is_uniform_over_the_field_its_margin_and_z(config: SimulationConfig) -> None:
    """In a sweep the density is also uniform where molecules move into the field from the side."""
    a = seen(config, molecules(config))
    z_low, z_high = config.emitters.z_rendered_nm
    low, high = config.emitters.z_range_nm
    deeper = (z_high - z_low) / (high - low) if high > low else 1.0
    number = int(in_field(a, margin_px=7).sum()) / 300 / FRAMES
    wider = (HEIGHT + 14) * (WIDTH + 14) / (HEIGHT * WIDTH)
    assert number == pytest.approx(config.emitters.density_per_um2 * AREA_UM2 * wider * deeper, rel=0.05)
    inside = a.select(in_field(a, margin_px=7))
    spans = [(inside.x_nm, -750.0, WIDTH * 100.0 + 650.0), (inside.y_nm, -937.5, HEIGHT * 125.0 + 812.5)]
    if high > low:
        spans.append((inside.z_nm, z_low, z_high))
    for values, first, last in spans:
        quarters = torch.histc(values, bins=4, min=first, max=last)
        assert quarters.sum() == len(values)
        assert quarters.max() / quarters.min() < 1.12


@pytest.mark.parametrize(("axis", "direction"), list(itertools.product("xy", (1, -1))))
@pytest.mark.parametrize("motion", ["stage", "objective"])
def test_a_molecule_at_rest_has_one_sample_position_in_all_planes(motion: str, axis: str, direction: int) -> None:
    geometry = scan(motion, axis, direction)
    found = molecules(simulation(geometry, on_time_frames=None))
    a = seen(simulation(geometry), found)
    assert torch.bincount(a.molecule).max() > 2, "some molecules are visible in several planes"
    place = geometry.to_deskewed(
        a.x_nm.double().numpy(), a.y_nm.double().numpy(), a.z_nm.double().numpy(), a.frame.numpy()
    )
    for found_nm, true_nm in zip(place, (found.x_nm, found.y_nm, found.z_nm), strict=True):
        torch.testing.assert_close(torch.from_numpy(found_nm), true_nm[a.molecule].double(), atol=0.01, rtol=0)


def one(on_frame: float, off_frame: float, z_nm: float = 0.0) -> Molecules:
    zero = torch.zeros(1)
    return Molecules(
        sequence=torch.zeros(1, dtype=torch.int64),
        x_nm=zero,
        y_nm=zero,
        z_nm=zero + z_nm,
        on_frame=zero + on_frame,
        off_frame=zero + off_frame,
        flux=zero + 1000.0,
    )


@pytest.mark.parametrize(
    ("on_frame", "off_frame", "photons"),
    [
        pytest.param(1.25, 3.5, {1: 750.0, 2: 1000.0, 3: 500.0}, id="parts of frames"),
        pytest.param(2.25, 2.5, {2: 250.0}, id="within one frame"),
        pytest.param(-3.0, 0.5, {0: 500.0}, id="on since before the first frame"),
        pytest.param(3.0, 99.0, {3: 1000.0, 4: 1000.0}, id="on until after the last frame"),
        pytest.param(-3.0, 0.0, {}, id="ends before the first frame"),
        pytest.param(5.0, 7.0, {}, id="begins after the last frame"),
    ],
)
def test_a_frame_gets_light_in_proportion_to_the_on_time_within_it(
    on_frame: float, off_frame: float, photons: dict[int, float]
) -> None:
    a = expose(
        one(on_frame, off_frame), num_frames=5, geometry=None, illumination=Widefield(), z_range_nm=(-100.0, 100.0)
    )
    assert dict(zip(a.frame.tolist(), a.photons.tolist(), strict=True)) == pytest.approx(photons)


def test_photons_follow_the_profile_of_the_light_sheet() -> None:
    sheet = GaussianSheet(sigma_nm=300.0)
    geometry = scan("stage", "x", 1)
    step = geometry.axial_step_nm
    a = expose(
        one(0.0, 9.0, z_nm=2 * step), num_frames=9, geometry=geometry, illumination=sheet, z_range_nm=(-400.0, 400.0)
    )
    expected = {k: 1000.0 * math.exp(-0.5 * ((2 - k) * step / 300.0) ** 2) for k in range(9)}
    assert dict(zip(a.frame.tolist(), a.photons.tolist(), strict=True)) == pytest.approx(
        {k: v for k, v in expected.items() if abs((2 - k) * step) <= 400}, rel=1e-5
    )


@pytest.mark.parametrize(
    ("whole_frames", "on_time"), [(False, 3.0), (False, 0.3), (True, 3.0), (True, 1.0), (True, 12.0)]
)
def test_on_times_have_the_stated_mean_and_distribution(whole_frames: bool, on_time: float) -> None:
    found = molecules(simulation(whole_frames=whole_frames, on_time_frames=on_time))
    duration = (found.off_frame - found.on_frame).double()
    assert duration.mean().item() == pytest.approx(on_time, rel=0.05)
    if whole_frames:
        assert (found.on_frame == found.on_frame.floor()).all()
        assert (duration == duration.round()).all()
        assert duration.min() >= 1
        assert duration.var().item() == pytest.approx(on_time * (on_time - 1), rel=0.15)  # geometric
    else:
        assert duration.var().item() == pytest.approx(on_time**2, rel=0.15)  # exponential


def test_flux_has_the_stated_distribution_and_is_never_negative() -> None:
    flux = molecules(simulation(photons_mean=1000.0, photons_sd=200.0)).flux.double()
    assert flux.mean().item() == pytest.approx(1000.0, rel=0.01)
    assert flux.std().item() == pytest.approx(200.0, rel=0.02)
    assert molecules(simulation(photons_mean=100.0, photons_sd=500.0)).flux.min() == 0
