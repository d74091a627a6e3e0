"""Spline PSFs reproduce the function that they interpolate; calibration files are read and written."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lls_decode.config import AstigmaticPsf, PixelSize, SplinePsf
from lls_decode.errors import ConfigError
from lls_decode.optics import (
    CubicSpline,
    PsfModel,
    SplineModel,
    build_psf,
    content_digest,
    expected_photons,
    read_spline,
    spline_from_volume,
    write_smap,
)
from lls_decode.optics.psf import stamp_radius_px
from lls_decode.optics.spline_files import write_volume

PIXEL = PixelSize(x_nm=100.0, y_nm=125.0)
ASTIGMATIC = AstigmaticPsf(
    sigma_x_nm=140.0, sigma_y_nm=170.0, focus_x_nm=-220.0, focus_y_nm=250.0, depth_x_nm=400.0, depth_y_nm=350.0
)
SIZE, SLICES, STEP = 21, 25, 50.0
PLACE = {"focus": 11.0, "centre_x": 10.3, "centre_y": 9.8}
Z = (torch.arange(SLICES, dtype=torch.float64) - PLACE["focus"]) * STEP


def volume() -> np.ndarray:
    """Return slices of an astigmatic spot whose centre is neither in the middle of the slices nor on a pixel."""
    x, y = (torch.full((SLICES,), PLACE[f"centre_{axis}"], dtype=torch.float64) for axis in "xy")
    return build_psf(ASTIGMATIC, pixel=PIXEL).shares(x, y, Z, height=SIZE, width=SIZE).numpy()


def spline() -> CubicSpline:
    return spline_from_volume(volume(), z_step_nm=STEP, pixel=PIXEL, **PLACE)


def model(of: CubicSpline) -> SplineModel:
    return SplineModel(of, dtype=torch.float64)


def anywhere(count: int, low: float = 8.0, high: float = 12.0) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    x, y, z = torch.rand(3, count, generator=draw, dtype=torch.float64)
    return low + (high - low) * x, low + (high - low) * y, -500 + 1000 * z


def test_the_spline_equals_the_volume_at_its_voxels() -> None:
    x, y = (torch.full((SLICES,), PLACE[f"centre_{axis}"], dtype=torch.float64) for axis in "xy")
    drawn = model(spline()).shares(x, y, Z, height=SIZE, width=SIZE).numpy()
    scale = drawn.sum() / volume().sum()
    np.testing.assert_allclose(drawn, scale * volume(), atol=1e-12)


def test_the_spline_approximates_the_sampled_function_between_voxels() -> None:
    x, y, z = anywhere(200)
    smooth = build_psf(ASTIGMATIC, pixel=PIXEL).shares(x, y, z, height=SIZE, width=SIZE)
    drawn = model(spline()).shares(x, y, z, height=SIZE, width=SIZE)
    torch.testing.assert_close(drawn, smooth, atol=0.01 * smooth.max().item(), rtol=0)


def test_light_in_focus_is_normalised_to_one() -> None:
    assert spline().light_in_focus() == pytest.approx(1.0)
    twice = spline_from_volume(7 * volume(), z_step_nm=STEP, pixel=PIXEL, **PLACE)
    np.testing.assert_allclose(twice.coefficients_ZYX444, spline().coefficients_ZYX444, atol=1e-12)


@pytest.mark.parametrize("kind", ["spline", "astigmatic"])
def test_gradients_match_finite_differences(kind: str) -> None:
    psf: PsfModel = model(spline()) if kind == "spline" else build_psf(ASTIGMATIC, pixel=PIXEL)
    place = anywhere(50)
    shares, gradient = psf.shares_and_gradient(*place, height=17, width=SIZE)
    torch.testing.assert_close(shares, psf.shares(*place, height=17, width=SIZE))
    for axis, step in enumerate((1e-4, 1e-4, 1e-2)):
        above, below = ([p + (sign * step if i == axis else 0) for i, p in enumerate(place)] for sign in (1, -1))
        slope = psf.shares(*above, height=17, width=SIZE) - psf.shares(*below, height=17, width=SIZE)
        torch.testing.assert_close(gradient[:, axis], slope / (2 * step), atol=1e-7, rtol=1e-6)


def test_value_slope_and_curvature_are_continuous_at_the_nodes() -> None:
    """Across the boundary of a pixel or a slice only third derivatives may jump."""
    psf, h = model(spline()), 1e-3
    steps = torch.arange(-4, 4, dtype=torch.float64)[:, None] * h + 0.5 * h
    for axis, unit in enumerate((1.0, 1.0, STEP)):
        at = [torch.full((8,), value, dtype=torch.float64) for value in (10.3, 9.8, 100.0)]
        at[axis] = at[axis].round() + 0.3 * (axis == 0) - 0.2 * (axis == 1) + steps[:, 0] * unit
        values = psf.shares(*at, height=SIZE, width=SIZE)
        curvature = values.diff(n=2, dim=0) / h**2
        third = curvature.diff(dim=0).abs().max() / h
        assert third < 1.0  # a jump in curvature of 0.001 of the peak would give 0.05 / h = 50


def test_beyond_the_calibrated_z_range_the_spot_stays_that_of_the_limit() -> None:
    psf = model(spline())
    low, high = psf.z_range_nm
    assert (low, high) == (-550.0, 650.0)
    x, y = torch.full((2,), 10.2, dtype=torch.float64), torch.full((2,), 9.9, dtype=torch.float64)
    ends = psf.shares(x, y, torch.tensor([low, high], dtype=torch.float64), height=SIZE, width=SIZE)
    beyond = torch.tensor([low - 77.0, high + 333.0], dtype=torch.float64)
    shares, gradient = psf.shares_and_gradient(x, y, beyond, height=SIZE, width=SIZE)
    torch.testing.assert_close(shares, ends, atol=0, rtol=0)
    assert gradient[:, 2].abs().max() == 0
    assert gradient[:, :2].abs().max() > 0


def test_stamps_are_complete_wherever_the_emitter_lies_in_its_pixel(tmp_path: Path) -> None:
    """Moving an emitter by whole pixels moves its spot unchanged, on both sides of pixel and frame edges."""
    write(tmp_path / "psf.npz")
    psf = SplinePsf(path=str(tmp_path / "psf.npz"))
    radius = stamp_radius_px(psf, (-500.0, 500.0), PIXEL)

    def draw(x_px: float, y_px: float, height: int = 60, width: int = 64) -> Tensor:
        return expected_photons(
            psf,
            frame=torch.tensor([1]),
            x_nm=torch.tensor([x_px * PIXEL.x_nm]),
            y_nm=torch.tensor([y_px * PIXEL.y_nm]),
            z_nm=torch.tensor([120.0]),
            photons=torch.tensor([1000.0]),
            pixel=PIXEL,
            radius_px=radius,
            num_frames=2,
            height=height,
            width=width,
        )[1]

    for fraction in (0.0, 0.2999, 0.3, 0.3001, 0.5, 0.7999, 0.8001, 0.9999):
        here, there = draw(30 + fraction, 28 + fraction), draw(32 + fraction, 31 + fraction)
        torch.testing.assert_close(here[:-3, :-2], there[3:, 2:], atol=2e-4, rtol=0)
        assert here.sum() == pytest.approx(1000.0, rel=2e-3)
        inside = draw(2 + fraction, 1 + fraction, height=20, width=24)
        torch.testing.assert_close(inside, here[27:47, 28:52], atol=2e-4, rtol=0)
        below = draw(-3 + fraction, 22 + fraction, height=20, width=24)
        torch.testing.assert_close(below, here[6:26, 33:57], atol=2e-4, rtol=0)
        assert below.sum() > 1


def test_a_float32_spline_agrees_with_float64() -> None:
    x, y, z = anywhere(100)
    exact = model(spline()).shares(x, y, z, height=SIZE, width=SIZE)
    single = SplineModel(spline()).shares(x.float(), y.float(), z.float(), height=SIZE, width=SIZE)
    torch.testing.assert_close(single.double(), exact, atol=1e-6, rtol=0)


def test_a_spline_accepts_zero_emitters() -> None:
    none = torch.zeros(0, dtype=torch.float64)
    shares, gradient = model(spline()).shares_and_gradient(none, none, none, height=9, width=7)
    assert (shares.shape, gradient.shape) == ((0, 9, 7), (0, 3, 9, 7))


# --- files -----------------------------------------------------------------------------------------------------------


def write(path: Path) -> None:
    write_volume(path, volume(), z_step_nm=STEP, pixel=PIXEL, record={"beads": 1}, **PLACE)


def test_npz_round_trip(tmp_path: Path) -> None:
    write(tmp_path / "psf.npz")
    read = read_spline(tmp_path / "psf.npz", content=content_digest(tmp_path / "psf.npz"))
    np.testing.assert_allclose(read.coefficients_ZYX444, spline().coefficients_ZYX444, atol=1e-6)
    assert (read.focus, read.centre_x, read.z_step_nm, read.pixel) == (11.0, 11.3, STEP, PIXEL)


def test_an_overwritten_calibration_file_is_read_again(tmp_path: Path) -> None:
    psf = SplinePsf(path=str(tmp_path / "psf.npz"))
    write(tmp_path / "psf.npz")
    before = build_psf(psf, pixel=PIXEL)
    assert build_psf(psf, pixel=PIXEL) is before
    write_volume(tmp_path / "psf.npz", volume()[2:], z_step_nm=STEP, pixel=PIXEL, record={}, **PLACE)
    assert build_psf(psf, pixel=PIXEL).z_range_nm == (-550.0, 550.0)


@pytest.mark.parametrize("z_step_nm", [STEP, -STEP])
def test_smap_round_trip(tmp_path: Path, z_step_nm: float) -> None:
    path = tmp_path / "bead_3dcal.mat"
    written = spline_from_volume(volume(), z_step_nm=z_step_nm, pixel=PIXEL, focus=11.0, centre_x=10.0, centre_y=9.0)
    write_smap(path, written)
    x, y, z = anywhere(50)
    expected = model(written).shares(x, y, z, height=SIZE, width=SIZE)
    read = model(read_spline(path)).shares(x, y, z, height=SIZE, width=SIZE)
    torch.testing.assert_close(read, expected, atol=1e-7, rtol=0)


def test_smap_has_one_centre_for_both_axes(tmp_path: Path) -> None:
    """A PSF centred at (10.3, 9.8) is resampled with its centre on a pixel before it is written."""
    write_smap(tmp_path / "bead_3dcal.mat", spline())
    x, y, z = anywhere(50)
    expected = model(spline()).shares(x, y, z, height=SIZE, width=SIZE)
    read = model(read_spline(tmp_path / "bead_3dcal.mat")).shares(x, y, z, height=SIZE, width=SIZE)
    torch.testing.assert_close(read, expected, atol=0.02 * expected.max().item(), rtol=0)


def smap_value(coeff: np.ndarray, u: float, v: float, w: float) -> float:
    """Evaluate the cubic spline of one pixel as DECODE does, written out as a sum."""
    cell = coeff[int(u), int(v), int(w)]
    return float(
        sum(
            cell[16 * c + 4 * b + a] * (u % 1) ** a * (v % 1) ** b * (w % 1) ** c
            for a in range(4)
            for b in range(4)
            for c in range(4)
        )
    )


@pytest.mark.parametrize("version", ["v7", "v7.3"])
def test_smap_files_are_evaluated_as_decode_does(tmp_path: Path, version: str) -> None:
    """Random coefficients reveal swapped axes, a wrong sign of z and a wrong order of coefficients."""
    rng = np.random.default_rng(0)
    coeff, x0, z0, dz = rng.random((9, 9, 6, 64)), 5.0, 2.5, 40.0
    path = tmp_path / "random_3dcal.mat"
    if version == "v7":
        from scipy.io import savemat

        cell = np.empty((1, 1), dtype=object)
        cell[0, 0] = coeff
        savemat(path, {"SXY": {"cspline": {"coeff": cell, "x0": x0, "z0": z0, "dz": dz}, "gauss": 0}})
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w", userblock_size=512) as file:
            stored = file.create_dataset("#refs#/a", data=coeff.T)
            group = file.create_group("SXY/cspline")
            group["coeff"] = np.array([[stored.ref]], dtype=h5py.ref_dtype)
            for name, value in (("x0", x0), ("z0", z0), ("dz", dz)):
                group[name] = [[value]]
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file")
    psf = model(read_spline(path))
    row, column, z = 6.3, 7.9, -31.0
    drawn = psf.shares(*(torch.tensor([value], dtype=torch.float64) for value in (column, row, z)), height=12, width=13)
    values = {
        (i, j): smap_value(coeff, i - row + x0 - 1, j - column + x0 - 1, z0 - z / dz)
        for i, j in [(3, 4), (5, 9), (10, 11)]
    }
    light = values[3, 4] / drawn[0, 3, 4].item()
    for (i, j), value in values.items():
        assert drawn[0, i, j].item() * light == pytest.approx(value)
    assert drawn[0, 0].abs().sum() == 0  # row 0 is outside the footprint
    assert psf.spline.light_in_focus() == pytest.approx(1.0)


def test_a_psf_volume_measured_by_other_software_is_reproduced(shared_data: Path) -> None:
    import tifffile

    measured = tifffile.imread(shared_data / "beads" / "pyme_psf" / "psf_astig.tif")[20:41, 15:46, 15:46]
    psf = model(spline_from_volume(measured, z_step_nm=50.0, pixel=PixelSize(x_nm=74.0, y_nm=72.0)))
    middle = torch.full((1,), 15.0, dtype=torch.float64)
    drawn = psf.shares(middle, middle, torch.zeros(1, dtype=torch.float64), height=31, width=31)[0]
    np.testing.assert_allclose(drawn.numpy(), measured[10] / measured[10].sum(), atol=1e-7)


REFUSED = [
    pytest.param(np.ones((9, 9)), {}, "(9, 9)", id="two dimensions"),
    pytest.param(np.ones((2, 9, 9)), {}, "at least 4", id="two slices"),
    pytest.param(np.full((9, 9, 9), np.nan), {}, "NaN", id="NaN"),
    pytest.param(np.ones((9, 9, 9)), {"z_step_nm": 0.0}, "0 nm", id="no step"),
    pytest.param(-np.ones((9, 9, 9)), {}, "positive", id="no light"),
    pytest.param(np.ones((9, 500, 500), np.float32), {}, "2,250,000 voxels, expected at most", id="large"),
]


@pytest.mark.parametrize(("values", "changes", "words"), REFUSED)
def test_unusable_volumes_are_refused(values: np.ndarray, changes: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        spline_from_volume(values, **{"z_step_nm": 50.0, "pixel": PIXEL, **changes})  # type: ignore[arg-type]
    assert words in str(raised.value)


def test_unusable_calibration_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "psf.npz")
    (tmp_path / "text.mat").write_text("nothing")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "psf.npz").read_bytes()[:500])
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    flipped = bytearray((tmp_path / "psf.npz").read_bytes())
    flipped[len(flipped) // 3 : len(flipped) // 3 + 30] = bytes(30)
    (tmp_path / "flipped.npz").write_bytes(flipped)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("volume_ZYX.npy", bytes(513 << 20))
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "psf.txt").write_text("")
    cases = {
        "absent.npz": "cannot be read",
        "text.mat": "not a SMAP calibration",
        "cut.npz": "not a PSF calibration",
        "other.npz": "not a PSF calibration",
        "flipped.npz": "not a PSF calibration",
        "bomb.npz": "holds 537,919,488 bytes or more, expected at most",
        "pipe.npz": "is a named pipe",
        "psf.txt": "unknown type '.txt'",
    }
    for name, words in cases.items():
        with pytest.raises(ConfigError, match=words):
            read_spline(tmp_path / name)
    with pytest.raises(ConfigError, match="expected 0123456789abcdef"):
        read_spline(tmp_path / "psf.npz", content="0123456789abcdef")
    with pytest.raises(ConfigError, match="pixels of 100 x 125 nm"):
        build_psf(SplinePsf(path=str(tmp_path / "psf.npz")), pixel=PixelSize(x_nm=100.0, y_nm=100.0))
