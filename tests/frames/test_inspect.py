"""`inspect` estimates camera, saturation and deskewing correctly for simulated and real frames."""

import sys

import numpy as np
import pytest
import zarr

from lls_decode.axes import Layout
from lls_decode.config import Geometry, PixelSize
from lls_decode.frames import create_store, open_source
from lls_decode.frames.diagnostics import inspect_source
from lls_decode.frames.diagnostics.symptoms import LEAST_CORRELATION, find_saturation, has_wedge, noise_correlation
from lls_decode.pictures.deskew import deskew

STAGE = Geometry(motion="stage", stage_step_nm=400, angle_deg=31.8)
PIXEL = PixelSize(x_nm=104, y_nm=104)


def record(num_frames, *, side=64, gain, offset, read_adu=1.5, low=4, high=50, molecules=4, hot=0.0, em=None, seed=0):
    """Simulate frames of a camera with uneven illumination and molecules that change in every frame."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    light = low + (high - low) * np.exp(-((x - side / 2) ** 2 + (y - side / 2) ** 2) / (2 * (side / 3) ** 2))
    is_scmos = hot > 0
    offsets = offset + 2.0 * is_scmos * random.standard_normal((side, side))
    noise = np.where(random.random((side, side)) < hot, random.uniform(20, 45, (side, side)), read_adu)
    frames = np.empty((num_frames, side, side))
    for frame in frames:
        photons = light.copy()
        for at_x, at_y, flux in zip(*random.uniform(0, side, (2, molecules)), random.uniform(500, 2000, molecules)):  # noqa: B905
            photons += flux / (2 * np.pi * 1.7) * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * 1.7))
        electrons = random.poisson(photons).astype(float)
        if em is not None:
            electrons = random.gamma(np.maximum(electrons, 1e-9), em) / em
        frame[...] = offsets + gain * electrons + noise * random.standard_normal((side, side))
    return np.clip(np.rint(frames), 0, 65535).astype("uint16")


def store(path, frames, planes=1):
    volumes = len(frames) // planes
    array = create_store(path, Layout(volumes, planes, *frames.shape[1:]))
    array[...] = frames.reshape(array.shape)
    return open_source(path)


CAMERAS = {
    "sCMOS": ({"gain": 2.17, "offset": 98.4, "hot": 0.01}, 2.17, "sCMOS"),
    "sCMOS of small gain": ({"gain": 0.46, "offset": 100, "read_adu": 0.8, "hot": 0.01}, 0.46, "sCMOS"),
    "CCD": ({"gain": 1.2, "offset": 300, "read_adu": 6}, 1.2, "CCD or EMCCD"),
    "EMCCD": ({"gain": 40, "offset": 400, "read_adu": 10, "em": 300}, 2 * 40, "CCD or EMCCD"),
    "crowded": ({"gain": 2.17, "offset": 98.4, "molecules": 12}, 2.17, "CCD or EMCCD"),
}


@pytest.mark.parametrize(("camera", "gain", "kind"), CAMERAS.values(), ids=CAMERAS)
def test_the_camera_is_estimated_within_ten_percent(camera, gain, kind, tmp_path):
    report = inspect_source(store(tmp_path / "a.zarr", record(200, **camera)))["camera_guess"]
    assert report["gain_adu_per_e"] == pytest.approx(gain, rel=0.1)
    where_the_line_meets_zero = camera["offset"] - camera.get("read_adu", 1.5) ** 2 / gain
    assert report["offset_adu"] == pytest.approx(where_the_line_meets_zero, abs=4 * gain)
    assert report["looks_like"] == kind
    assert report["worth"].startswith("a guess")
    assert report["frames"] >= 192


def test_the_camera_estimate_compares_the_same_plane_of_several_volumes(tmp_path):
    planes = [record(48, gain=2.17, offset=98.4, low=4 + 30 * k, high=50 + 30 * k, seed=k) for k in range(5)]
    source = store(tmp_path / "a.zarr", np.stack(planes, axis=1).reshape(-1, 64, 64), planes=5)
    report = inspect_source(source)["camera_guess"]
    assert report["gain_adu_per_e"] == pytest.approx(2.17, rel=0.1)
    assert report["frames"] == 4 * 48


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        (record(100, gain=2, offset=100, low=20, high=20, molecules=0), "light"),
        (record(10, gain=2, offset=100), "fewer than 16 frames"),
        (record(1, gain=2, offset=100), "no second volume"),
        (np.full((40, 32, 32), 100, "uint16"), "same light"),
    ],
)
def test_no_camera_is_estimated_from_unsuitable_frames(frames, why, tmp_path):
    report = inspect_source(store(tmp_path / "a.zarr", frames))["camera_guess"]
    assert why in report["none_because"]
    assert "gain_adu_per_e" not in report


def bright(top, dtype="uint16", scale=1.0):
    frames = record(8, gain=2 * scale, offset=100, high=1200, molecules=2)
    return np.clip(frames, 0, top).astype(dtype)


SATURATIONS = {
    "12 bits in 16": (bright(4095, scale=2), 4095, 12),
    "14 bits in 16": (bright(16383, scale=8), 16383, 14),
    "16 bits": (bright(65535, scale=40), 65535, 16),
    "8 bits": (bright(255, "uint8"), 255, 8),
    "a full well below the converter": (bright(1800), 1800, None),
    "bright, not saturated": (bright(65535), None, None),
    "dim": (record(8, gain=2, offset=100), None, None),
    "constant": (np.full((3, 8, 8), 100, "uint16"), None, None),
    "floats": (bright(1800).astype("float32"), None, None),
}


@pytest.mark.parametrize(("frames", "level", "bits"), SATURATIONS.values(), ids=SATURATIONS)
def test_saturation_is_found_at_any_level(frames, level, bits, tmp_path):
    found = find_saturation(frames)
    if level is None:
        assert found is None
        return
    assert (found.level_adu, found.bits) == (level, bits)
    assert found.fraction == (frames == level).mean()
    array = create_store(tmp_path / "a.zarr", Layout(*frames.shape[:1], 1, *frames.shape[1:]), dtype=str(frames.dtype))
    array[...] = frames
    report = inspect_source(open_source(tmp_path / "a.zarr"))
    assert report["intensity"]["saturated_at"] == level
    (note,) = [note for note in report["notes"] if "lose photons of bright molecules" in note]
    assert (f"of a {bits}-bit camera" in note) == (bits in (12, 14))


def test_a_single_bright_pixel_is_no_saturation():
    frames = record(8, gain=2, offset=100)
    frames[3, 5, 5] = 4095
    assert find_saturation(frames) is None


SWEEPS = {"along x": STAGE, "along y": STAGE.replace(propagation_axis="y"), "back": STAGE.replace(scan_direction=-1)}


@pytest.mark.parametrize("geometry", SWEEPS.values(), ids=SWEEPS)
@pytest.mark.parametrize("fill_adu", [0, 100])
def test_deskewed_volumes_are_recognized_by_their_empty_wedges(geometry, fill_adu, tmp_path):
    raw = record(12, gain=2, offset=100)
    skewed = deskew(raw, geometry, PIXEL, fill_adu=fill_adu).adu_ZYX
    assert has_wedge(skewed)
    assert not has_wedge(raw)
    report = inspect_source(store(tmp_path / "a.zarr", np.rint(skewed).astype("uint16"), planes=12))
    assert any("looks deskewed" in note for note in report["notes"])


@pytest.mark.parametrize(("axis", "geometry"), [("x", STAGE), ("y", STAGE.replace(propagation_axis="y"))])
def test_cropped_deskewed_volumes_are_recognized_by_correlated_noise(axis, geometry, tmp_path):
    raw = record(16, side=128, gain=2, offset=100)
    skewed = np.rint(deskew(raw, geometry, PIXEL).adu_ZYX).astype("uint16")
    inner = skewed[:, :, 60:-60] if axis == "x" else skewed[:, 60:-60]
    assert not has_wedge(inner)
    report = inspect_source(store(tmp_path / "a.zarr", inner, planes=16))
    (note,) = [note for note in report["notes"] if "noise of neighbouring pixels" in note]
    assert f"correlated along {axis} (" in note


@pytest.mark.parametrize("camera", [camera for camera, _, _ in CAMERAS.values()], ids=CAMERAS)
def test_raw_frames_are_not_mistaken_for_deskewed_ones(camera, tmp_path):
    frames = record(16, **camera)
    along_x, along_y = noise_correlation(frames)
    assert abs(along_x - along_y) < LEAST_CORRELATION / 2
    notes = inspect_source(store(tmp_path / "a.zarr", frames, planes=16))["notes"]
    assert not [note for note in notes if "deskewed" in note]


def test_a_third_party_pair_is_recognized_as_raw_and_deskewed(shared_data):
    tifffile = pytest.importorskip("tifffile")
    folder = shared_data / "lls" / "deskew_pair"
    raw = tifffile.imread(folder / "im_raw_rows100-131.tif")
    deskewed = tifffile.imread(folder / "im_deskewed_rows100-131.tif")
    assert (has_wedge(raw), has_wedge(deskewed)) == (False, True)
    inner = deskewed[20:68, :, 170:310]  # region that all planes cover
    correlations = [noise_correlation(frames) for frames in (raw, inner)]
    (raw_x, raw_y), (inner_x, inner_y) = correlations
    assert abs(raw_x - raw_y) < LEAST_CORRELATION
    assert inner_x - inner_y > LEAST_CORRELATION


def test_the_report_describes_the_geometry(tmp_path):
    source = store(tmp_path / "a.zarr", record(8, gain=2, offset=100), planes=4)
    assert inspect_source(source)["geometry"].startswith("unknown")
    told = inspect_source(source, pixel_size=PIXEL, geometry=STAGE)
    assert told["geometry"] == STAGE.describe(PIXEL)
    assert told["pixel_size_nm"] == {"x": 104, "y": 104}
    assert inspect_source(source, geometry=STAGE)["geometry"] == "340 nm along x and 211 nm along z from plane to plane"
    movie = store(tmp_path / "b.zarr", record(8, gain=2, offset=100))
    assert inspect_source(movie, geometry=STAGE)["geometry"] is None


def test_the_cost_of_reading_counts_whole_chunks(tmp_path):
    source = store(tmp_path / "a.zarr", record(64, side=16, gain=2, offset=100), planes=16)
    report = inspect_source(source, block_frames=4, context="plane")
    assert source.chunks == (1, 8, 16, 16)
    assert report["decoded_bytes_per_block"] == report["read_amplification"] * 4 * 16 * 16 * 2


def test_tiny_chunks_are_read_from_few_frames(tmp_path, monkeypatch):
    """Reading 300 frames of 10 000 chunks each would take minutes."""
    monkeypatch.setattr(sys.modules["lls_decode.frames.diagnostics.inspect"], "_MOST_CHUNKS", 400)
    frames = record(200, side=32, gain=2.0, offset=100)
    array = zarr.create_array(tmp_path / "a.zarr", shape=frames.shape, chunks=(10, 4, 4), dtype="u2")
    array[...] = frames
    report = inspect_source(open_source(tmp_path / "a.zarr"))
    assert report["intensity"]["frames_sampled"] == 400 // 2 // 64
    assert report["camera_guess"]["frames"] == 2
