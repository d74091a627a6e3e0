"""Simulated training batches: frames, windows and targets."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from lls_decode.axes import ContextKind
from lls_decode.config import (
    AstigmaticPsf,
    BackgroundConfig,
    EmccdCamera,
    EmitterConfig,
    GaussianPsf,
    GaussianSheet,
    Geometry,
    PixelSize,
    Scaling,
    ScmosCamera,
    ScmosChip,
    SimulationConfig,
)
from lls_decode.optics import draw_camera
from lls_decode.simulate import TrainingBatch, simulate_batch, simulate_frames
from lls_decode.simulate.frames import draw_photons

CHIP = ScmosChip(
    offset_adu=100.0,
    offset_sd_adu=3.0,
    gain_adu_per_e=2.1,
    gain_sd_adu_per_e=0.1,
    variance_adu2=5.7,
    variance_spread=0.4,
    hot_fraction=0.02,
    quantum_efficiency=0.8,
)
STAGE = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8)
HEIGHT, WIDTH, SEQUENCES, LENGTH = 24, 32, 6, 4


def simulation(**changes: Any) -> SimulationConfig:
    usual: dict[str, Any] = {
        "pixel_size": PixelSize(x_nm=100.0, y_nm=125.0),
        "psf": AstigmaticPsf(
            sigma_x_nm=130.0,
            sigma_y_nm=130.0,
            focus_x_nm=-220.0,
            focus_y_nm=220.0,
            depth_x_nm=300.0,
            depth_y_nm=300.0,
        ),
        "camera": CHIP,
        "emitters": EmitterConfig(
            density_per_um2=0.8,
            photons_mean=1000.0,
            photons_sd=300.0,
            on_time_frames=3.0,
            z_range_nm=(-400.0, 400.0),
            z_render_nm=(-600.0, 600.0),
        ),
        "background": BackgroundConfig(low=5.0, high=15.0),
    }
    return SimulationConfig(**(usual | changes))


def batch(context: ContextKind, config: SimulationConfig | None = None, seed: int = 0) -> TrainingBatch:
    if config is None:
        config = simulation(geometry=STAGE if context == "plane" else None)
    return simulate_batch(
        config,
        context=context,
        num_sequences=SEQUENCES,
        sequence_frames=LENGTH,
        height=HEIGHT,
        width=WIDTH,
        generator=torch.Generator().manual_seed(seed),
    )


CONTEXTS: tuple[ContextKind, ...] = ("none", "time", "plane")


@pytest.mark.parametrize("context", CONTEXTS)
def test_equal_seeds_give_equal_batches(context: ContextKind) -> None:
    first, again, other = batch(context), batch(context), batch(context, seed=1)
    assert torch.equal(first.photons_TYX, again.photons_TYX)
    assert torch.equal(first.windows_N3, again.windows_N3)
    assert torch.equal(first.activations.photons, again.activations.photons)
    assert not torch.equal(first.photons_TYX, other.photons_TYX)


@pytest.mark.parametrize("context", CONTEXTS)
def test_each_target_frame_has_one_window_with_its_neighbours(context: ContextKind) -> None:
    """Sequences at the start or end of an acquisition repeat their first or last frame."""
    more = 0 if context == "none" else 2
    ends = set()
    for seed in range(10):
        made = batch(context, seed=seed)
        assert made.photons_TYX.shape == (SEQUENCES * (LENGTH + more), HEIGHT, WIDTH)
        assert made.windows_N3.shape == (SEQUENCES * LENGTH, 3)
        for window, (previous, this, following) in enumerate(made.windows_N3.tolist()):
            sequence, position = divmod(window, LENGTH)
            assert this == sequence * (LENGTH + more) + position + more // 2
            first, last = position == 0, position == LENGTH - 1
            if context == "none":
                assert (previous, following) == (this, this)
            else:
                assert previous == this - 1 or (first and previous == this)
                assert following == this + 1 or (last and following == this)
                ends |= {("first", previous == this)} if first else set()
                ends |= {("last", following == this)} if last else set()
    expected = {(end, repeated) for end in ("first", "last") for repeated in (True, False)}
    assert ends == (set() if context == "none" else expected)


@pytest.mark.parametrize("context", CONTEXTS)
def test_targets_belong_to_the_middle_frame_of_their_window(context: ContextKind) -> None:
    """On average, the pixel of a bright target is brighter than the background in its own frame, not in others."""
    made = batch(context)
    config = simulation()
    scaling = Scaling(input_scale=20.0, input_offset=10.0, photons=2500.0, z_nm=480.0, bg=18.0)
    targets = made.targets(scaling, config)
    x, y = targets.x_px.round().long(), targets.y_px.round().long()
    own = made.photons_TYX[made.windows_N3[targets.window, 1], y, x] - made.bg_NYX[targets.window, y, x]
    bright = targets.photons * scaling.photons > 500
    assert bright.sum() > 50
    assert own[bright].mean() > 20
    elsewhere = (
        made.photons_TYX[made.windows_N3[targets.window.flip(0), 1], y, x] - made.bg_NYX[targets.window.flip(0), y, x]
    )
    assert elsewhere[bright].mean() < 0.5 * own[bright].mean()


@pytest.mark.parametrize("context", CONTEXTS)
def test_targets_are_bright_enough_and_within_the_field_and_z_range(context: ContextKind) -> None:
    made = batch(context)
    a = made.activations
    assert (a.photons >= 50).all()
    assert (a.z_nm.abs() <= 400).all()
    assert ((a.x_nm / 100 >= -0.5) & (a.x_nm / 100 < WIDTH - 0.5)).all()
    assert ((a.y_nm / 125 >= -0.5) & (a.y_nm / 125 < HEIGHT - 0.5)).all()
    assert ((a.sequence >= 0) & (a.sequence < SEQUENCES * LENGTH)).all()
    assert a.x_nm.min() < 300
    assert a.x_nm.max() > (WIDTH - 4) * 100, "targets reach both edges"
    assert made.bg_NYX.shape == (SEQUENCES * LENGTH, HEIGHT, WIDTH)
    of_sequences = made.bg_NYX.view(SEQUENCES, -1)
    assert (of_sequences == of_sequences[:, :1]).all()
    assert ((made.bg_NYX >= 5) & (made.bg_NYX <= 15)).all()


@pytest.mark.parametrize("context", CONTEXTS)
def test_read_noise_maps_are_those_of_the_simulated_chips(context: ContextKind) -> None:
    """Each sequence has one map for all its frames; only with its own map do residuals have the expected variance."""
    dark = simulation(
        camera=CHIP.replace(variance_adu2=40.0),
        background=BackgroundConfig(low=5.0, high=15.0),
        emitters=EmitterConfig(
            density_per_um2=1e-6, photons_mean=1.0, photons_sd=0.0, on_time_frames=1.0, z_range_nm=(0.0, 0.0)
        ),
        geometry=STAGE if context == "plane" else None,
    )
    made = batch(context, dark)
    noise = made.read_noise_TYX
    assert noise is not None
    assert noise.shape == made.photons_TYX.shape
    of_sequences = noise.view(SEQUENCES, -1, HEIGHT, WIDTH)
    assert (of_sequences == of_sequences[:, :1]).all()
    assert (of_sequences[0] != of_sequences[1]).float().mean() > 0.99
    own = made.windows_N3[:, 1]
    squared = (made.photons_TYX[own] - made.bg_NYX) ** 2

    def chi_square(noise_NYX: Tensor) -> float:
        # gain is 2.1 counts per electron within 5 %, quantum efficiency 0.8
        return float((squared / (made.bg_NYX / 0.8 + noise_NYX**2 + 1 / 12 / (2.1 * 0.8) ** 2)).mean())

    assert chi_square(noise[own]) == pytest.approx(1.0, abs=0.06)
    assert chi_square(noise[own].flip(0)) > 1.15


def test_an_scmos_camera_without_maps_has_uniform_read_noise_and_an_emccd_none() -> None:
    scmos = ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.0, variance_adu2=9.0, quantum_efficiency=0.5)
    emccd = EmccdCamera(baseline_adu=100.0, e_per_adu=45.0, em_gain=300.0, read_sigma_e=74.4)
    noise = batch("time", simulation(camera=scmos)).read_noise_TYX
    assert noise is not None
    assert (noise == 3.0).all()
    assert batch("time", simulation(camera=emccd)).read_noise_TYX is None


def test_targets_and_inputs_are_scaled_to_network_units() -> None:
    made = batch("time")
    scaling = Scaling(input_scale=20.0, input_offset=10.0, photons=2500.0, z_nm=480.0, bg=18.0)
    targets = made.targets(scaling, simulation())
    a = made.activations
    torch.testing.assert_close(targets.x_px * 100.0, a.x_nm)
    torch.testing.assert_close(targets.y_px * 125.0, a.y_nm)
    torch.testing.assert_close(targets.z * 480.0, a.z_nm)
    torch.testing.assert_close(targets.photons * 2500.0, a.photons)
    torch.testing.assert_close(targets.bg_NYX * 18.0, made.bg_NYX)
    scaling = scaling.replace(noise_offset=0.5, noise_scale=4.0)
    frames, noise = made.inputs(scaling, noise_map=True)
    assert noise is not None
    torch.testing.assert_close(frames * 20.0 + 10.0, made.photons_TYX)
    torch.testing.assert_close(noise * 4.0 + 0.5, made.read_noise_TYX)
    assert made.inputs(scaling, noise_map=False)[1] is None


def test_planes_of_a_sweep_move_and_frames_in_time_do_not() -> None:
    """Molecules move between the planes of a sweep, but stay at their place over time."""
    config = simulation(geometry=STAGE)
    for context, moves in (("time", False), ("plane", True)):
        a = batch(context, config).activations
        window, molecule = a.sequence, a.molecule
        pairs = [
            (i, j)
            for i in range(len(window))
            for j in (i + 1, i + 2)
            if j < len(window) and molecule[i] == molecule[j] and window[j] - window[i] == 1
        ]
        assert len(pairs) > 20
        for i, j in pairs:
            step = (a.x_nm[j] - a.x_nm[i]).item()
            assert step == pytest.approx(-STAGE.lateral_step_nm if moves else 0.0, abs=0.01)


@pytest.mark.parametrize("motion", ["stage", "objective"])
def test_a_sweep_obeys_its_closed_form(motion: str) -> None:
    """Between planes a molecule at rest moves by the scan's steps and has the brightness of the sheet at its depth."""
    scan = Geometry.model_validate({"motion": motion, "stage_step_nm": 250.0, "angle_deg": 31.8})
    config = simulation(
        geometry=scan,
        illumination=GaussianSheet(sigma_nm=300.0),
        emitters=EmitterConfig(
            density_per_um2=0.8,
            photons_mean=1000.0,
            photons_sd=300.0,
            on_time_frames=None,
            z_range_nm=(-400.0, 400.0),
            z_render_nm=(-600.0, 600.0),
        ),
    )
    a = batch("plane", config).activations
    pairs = ((a.molecule[:, None] == a.molecule) & (a.sequence[:, None] + 1 == a.sequence)).nonzero()
    assert len(pairs) > 80
    first, second = (a.select(rows) for rows in pairs.T)
    lateral, axial = {"stage": (math.cos, math.sin), "objective": (lambda _: 0.0, lambda _: 1.0)}[motion]
    angle = math.radians(31.8)
    torch.testing.assert_close(second.x_nm, first.x_nm - 250 * lateral(angle), atol=0.01, rtol=0)
    torch.testing.assert_close(second.y_nm, first.y_nm, atol=0.01, rtol=0)
    torch.testing.assert_close(second.z_nm, first.z_nm - 250 * axial(angle), atol=0.01, rtol=0)
    sheet = torch.exp((first.z_nm**2 - second.z_nm**2) / (2 * 300.0**2))
    torch.testing.assert_close(second.photons, first.photons * sheet, rtol=1e-4, atol=0)


def test_emitters_outside_the_field_and_dim_ones_contribute_light() -> None:
    """Mean light is density times pixel area times photons, also at the border and from emitters too dim to count."""
    config = simulation(
        psf=GaussianPsf(sigma_nm=130.0),
        camera=ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.0, variance_adu2=4.0),
        emitters=EmitterConfig(
            density_per_um2=4.0,
            photons_mean=40.0,
            photons_sd=0.0,
            on_time_frames=1.0,
            whole_frames=True,
            z_range_nm=(0.0, 0.0),
        ),
        background=BackgroundConfig(low=1.0, high=1.0),
    )
    options: dict[str, Any] = {"height": HEIGHT, "width": WIDTH, "context": "time", "sequence_frames": 8}
    made = simulate_batch(config, num_sequences=100, generator=torch.Generator().manual_seed(0), **options)
    assert len(made.activations.x_nm) == 0
    light = made.photons_TYX.mean(dim=0) - 1.0
    expected = 4.0 * (0.1 * 0.125) * 40.0
    border = torch.cat([light[[0, -1]].flatten(), light[1:-1, [0, -1]].flatten()])
    assert light[3:-3, 3:-3].mean().item() == pytest.approx(expected, rel=0.02)
    assert border.mean().item() == pytest.approx(expected, rel=0.03)
    bright = config.replace(emitters=config.emitters.replace(photons_min=40.0))
    as_targets = simulate_batch(bright, num_sequences=100, generator=torch.Generator().manual_seed(0), **options)
    assert torch.equal(as_targets.photons_TYX, made.photons_TYX), "the limit for targets changes no frame"
    area_um2 = HEIGHT * 0.125 * WIDTH * 0.1
    assert len(as_targets.activations.x_nm) / 800 == pytest.approx(4.0 * area_um2, rel=0.02)


def test_frames_contain_the_light_of_their_true_emitters() -> None:
    """On average, photons in a frame are background plus the light of the activations, with the expected variance."""
    config = simulation(camera=ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.0, variance_adu2=4.0))
    made = simulate_frames(
        config, num_sequences=4, num_frames=3, height=64, width=64, generator=torch.Generator().manual_seed(0)
    )
    assert made.photons_STYX.shape == (4, 3, 64, 64)
    expected = draw_photons(config, made.activations, 4, 3, 64, 64) + made.bg_STYX
    residual = made.photons_STYX - expected
    variance = expected + 4.0 / 2.0**2 + 1 / 12 / 2.0**2
    assert (residual / variance.sqrt()).mean().abs() < 5 / residual.numel() ** 0.5
    assert (residual**2 / variance).mean().item() == pytest.approx(1.0, abs=0.03)
    assert expected.sum(dim=(2, 3)).min() > 64 * 64 * 5


def test_a_simulated_chip_has_the_stated_statistics() -> None:
    chip = draw_camera(CHIP, (500, 500), torch.Generator().manual_seed(0))
    offset, gain, variance = (chip.values[name] for name in ("offset_adu", "gain_adu_per_e", "variance_adu2"))
    assert offset.mean().item() == pytest.approx(100.0, abs=0.05)
    assert offset.std().item() == pytest.approx(3.0, rel=0.02)
    assert gain.std().item() == pytest.approx(0.1, rel=0.02)
    assert variance.median().item() == pytest.approx(5.7, rel=0.03)
    hot = variance >= 100
    assert hot.float().mean().item() == pytest.approx(0.02, rel=0.1)
    assert variance.max() <= 2000 * 1.001
    assert chip.config.quantum_efficiency == 0.8


def test_each_sequence_uses_a_different_part_of_the_chip() -> None:
    """Otherwise the network could learn fixed positions of hot pixels."""
    dark = simulation(
        emitters=EmitterConfig(
            density_per_um2=1e-6, photons_mean=1.0, photons_sd=0.0, on_time_frames=1.0, z_range_nm=(0.0, 0.0)
        )
    )
    made = simulate_frames(
        dark, num_sequences=2, num_frames=200, height=32, width=32, generator=torch.Generator().manual_seed(0)
    )
    spread = made.photons_STYX.std(dim=1)
    hot = spread > 2.5 * spread.median()
    assert (hot.sum(dim=(1, 2)) > 3).all()
    assert not torch.equal(hot[0], hot[1])
