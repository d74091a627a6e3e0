"""Simulated emitters added to recorded frames have the right light and motion, and counts keep their type."""

from typing import Any

import numpy as np
import pytest
import torch

from lls_decode.axes import ContextKind, Layout
from lls_decode.blocks import Block, plan_blocks
from lls_decode.config import (
    BackgroundConfig,
    EmitterConfig,
    GaussianPsf,
    GaussianSheet,
    Geometry,
    PixelSize,
    ScmosCamera,
    SimulationConfig,
)
from lls_decode.optics import CameraModel, expected_photons
from lls_decode.simulate.spikes import SpikedFrames, add_counts, local_background, spike_frames
from tests.cameras import scmos_model

PIXEL = PixelSize(x_nm=100.0, y_nm=110.0)
STAGE = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8, propagation_axis="y", scan_direction=-1)
HEIGHT, WIDTH = 40, 48


def configuration(**changes: Any) -> SimulationConfig:
    emitters = {
        "density_per_um2": 0.3,
        "photons_mean": 2000.0,
        "photons_sd": 400.0,
        "on_time_frames": 3.0,
        "z_range_nm": (-400.0, 400.0),
        "z_render_nm": (-600.0, 600.0),
    }
    return SimulationConfig(
        pixel_size=PIXEL,
        psf=GaussianPsf(sigma_nm=130.0),
        camera=ScmosCamera(offset_adu=100.0, gain_adu_per_e=1.0, variance_adu2=1.0),
        emitters=EmitterConfig(**{**emitters, **changes}),
        background=BackgroundConfig(low=0.0, high=0.0),
        illumination=GaussianSheet(sigma_nm=300.0),
        geometry=STAGE,
    )


def chip() -> CameraModel:
    """Return a camera whose gain differs between pixels."""
    gain = 0.3 + 3 * torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(5))
    return scmos_model(100.0, gain, 4.0, quantum_efficiency=0.8)


def block_of(layout: Layout, context: ContextKind, size: int, number: int) -> Block:
    return plan_blocks(layout, context, size)[number]


def spike(block: Block, *, level: int = 100, seed: int = 1, **changes: Any) -> tuple[np.ndarray, SpikedFrames]:
    recorded = np.full((block.num_read, HEIGHT, WIDTH), level, dtype=np.uint16)
    generator = torch.Generator().manual_seed(seed)
    return recorded, spike_frames(recorded, block, configuration(**changes), chip(), generator=generator)


CASES: dict[str, tuple[Layout, ContextKind, int, int]] = {
    "movie": (Layout(100, 1, HEIGHT, WIDTH), "time", 20, 2),
    "planes through time": (Layout(12, 4, HEIGHT, WIDTH), "time", 16, 1),
    "sweeps": (Layout(5, 24, HEIGHT, WIDTH), "plane", 48, 1),
    "part of a sweep": (Layout(3, 60, HEIGHT, WIDTH), "plane", 20, 4),
    "single frames": (Layout(60, 1, HEIGHT, WIDTH), "none", 20, 1),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_added_light_matches_the_table_of_emitters(case: tuple[Layout, ContextKind, int, int]) -> None:
    """Light rendered from the rows explains mean and Poisson variance of the added counts in each owned frame."""
    block = block_of(*case)
    recorded, spiked = spike(block)
    added = spiked.adu_TYX.astype(float) - recorded
    rows = spiked.spikes
    assert set(rows.frame) <= set(block.owned_frames)
    frames, place = np.unique(rows.frame, return_inverse=True)
    expected = expected_photons(
        configuration().psf,
        frame=torch.from_numpy(place),
        **{name: torch.from_numpy(getattr(rows, name)) for name in ("x_nm", "y_nm", "z_nm", "photons")},
        pixel=PIXEL,
        radius_px=6,
        num_frames=len(frames),
        height=HEIGHT,
        width=WIDTH,
    ).numpy()
    of_frame = {number: added[i] for number, i in zip(block.owned_frames, block.windows[:, 1], strict=True)}
    gain = chip().values["gain_adu_per_e"].numpy()
    electrons = 0.8 * expected
    residual = (np.stack([of_frame[number] for number in frames]) - gain * electrons) / gain
    lit = electrons > 0.5
    assert lit.sum() > 2000
    for frame_residual, frame_electrons, frame_lit in zip(residual, electrons, lit, strict=True):
        if frame_lit.any():
            total = frame_electrons[frame_lit].sum()
            assert abs(frame_residual[frame_lit].sum()) < 6 * np.sqrt(total + 3 * frame_lit.sum())
    rounding = 1 / 6 / gain**2  # mean variance of random rounding up or down
    spread = (residual**2 / (electrons + rounding))[lit]
    assert spread.mean() == pytest.approx(1.0, abs=6 * np.sqrt(2.5 / lit.sum()))


def test_in_a_stage_scan_spikes_move_by_the_geometry_and_follow_the_light_sheet() -> None:
    block = block_of(Layout(5, 24, HEIGHT, WIDTH), "plane", 48, 1)
    _, spiked = spike(block, on_time_frames=None)
    rows = spiked.spikes
    order = np.lexsort((rows.frame, rows.id))
    rows = rows.select(order)
    same = np.diff(rows.id) == 0
    assert same.sum() > 100
    assert (np.diff(rows.frame)[same] == 1).all()  # from plane to plane of one volume
    assert (np.diff(rows.frame // 24)[same] == 0).all()
    np.testing.assert_allclose(np.diff(rows.x_nm)[same], 0.0, atol=0.01)
    np.testing.assert_allclose(np.diff(rows.y_nm)[same], -STAGE.lateral_step_nm, atol=0.01)
    np.testing.assert_allclose(np.diff(rows.z_nm)[same], -STAGE.axial_step_nm, atol=0.01)
    flux = rows.photons / np.exp(-0.5 * (rows.z_nm / 300.0) ** 2)
    np.testing.assert_allclose(np.diff(flux)[same] / flux[1:][same], 0.0, atol=1e-4)


def test_spikes_over_time_stay_in_their_plane() -> None:
    _, spiked = spike(block_of(Layout(12, 4, HEIGHT, WIDTH), "time", 16, 1))
    rows = spiked.spikes.select(np.lexsort((spiked.spikes.frame, spiked.spikes.id)))
    same = np.diff(rows.id) == 0
    assert same.sum() > 50
    assert (np.diff(rows.frame)[same] == 4).all()  # the same plane of the next volume
    for name in ("x_nm", "y_nm", "z_nm"):
        np.testing.assert_array_equal(np.diff(getattr(rows, name))[same], 0.0)


def test_context_frames_get_light_but_the_table_lists_only_owned_frames() -> None:
    block = block_of(Layout(100, 1, HEIGHT, WIDTH), "time", 20, 2)
    recorded, spiked = spike(block)
    changed = (spiked.adu_TYX != recorded).any(axis=(1, 2))
    assert changed.all()
    assert (spiked.spikes.frame.min(), spiked.spikes.frame.max()) == (40, 59)


def test_spikes_have_the_stated_density() -> None:
    block = block_of(Layout(400, 1, HEIGHT, WIDTH), "none", 400, 0)
    _, spiked = spike(block)
    rows = spiked.spikes
    inside = (np.abs(rows.z_nm) <= 400) & (rows.x_nm > -50) & (rows.x_nm < 47.5 * 100)
    inside &= (rows.y_nm > -55) & (rows.y_nm < 39.5 * 110)
    expected = 0.3 * 4.8 * 4.4 * 400
    assert inside.sum() == pytest.approx(expected, abs=5 * np.sqrt(expected))


def test_the_same_seed_gives_the_same_frames() -> None:
    block = block_of(Layout(100, 1, HEIGHT, WIDTH), "time", 20, 2)
    one, other, another = (spike(block, seed=seed)[1].adu_TYX for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, other)
    assert (one != another).any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_counts_keep_their_dtype_and_mean(dtype: str) -> None:
    """Added light of 0.24 counts per pixel is rounded at random, because rounding to nearest would lose all of it."""
    adu = np.full((200, 200), 20, dtype=dtype)
    added = np.full((200, 200), 0.24, dtype=np.float32)
    added[:100] = 0.0
    spiked, lost = add_counts(adu, added, torch.Generator().manual_seed(0))
    assert (spiked.dtype, lost) == (np.dtype(dtype), 0)
    assert (spiked[:100] == 20).all()
    assert spiked[100:].mean() == pytest.approx(20.24, abs=5 * (0.24 * 0.76 / 20_000) ** 0.5)


def test_saturated_pixels_are_clipped_and_counted() -> None:
    adu = np.array([[250, 250, 255, 255]], dtype=np.uint8)
    spiked, lost = add_counts(adu, np.array([[5, 6, 0, 1]], np.float32), torch.Generator().manual_seed(0))
    assert spiked.tolist() == [[255, 255, 255, 255]]
    assert lost == 2
    assert adu.tolist() == [[250, 250, 255, 255]]


def test_local_background_ignores_a_bright_neighbour() -> None:
    random = np.random.default_rng(0)
    frame = random.poisson(np.where(np.arange(80) < 40, 2.0, 30.0), (60, 80)).astype(float)
    frame[28:33, 12:17] += 400.0
    found = local_background(frame, np.array([10.0, 60.0, 79.4]), np.array([30.0, 30.0, -0.4]))
    np.testing.assert_allclose(found, [2.0, 30.0, 30.0], rtol=0.12)
