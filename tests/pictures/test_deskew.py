"""Deskewed volumes and columns agree with volumes deskewed by other programs, including all signs."""

import numpy as np
import pytest

from lls_decode.config import Geometry, PixelSize
from lls_decode.pictures.deskew import deskew

tifffile = pytest.importorskip("tifffile")

PIXEL = PixelSize(x_nm=100, y_nm=100)
VIEWS = {
    "along x": ("x", 1, lambda volume: volume),
    "along x, backwards": ("x", -1, lambda volume: volume[:, :, ::-1]),
    "along y": ("y", 1, lambda volume: volume.transpose(0, 2, 1)),
    "along y, backwards": ("y", -1, lambda volume: volume.transpose(0, 2, 1)[:, ::-1]),
}
"""Axis and direction of four instruments, and how each would record the same pair of volumes."""


def stage(axis="x", direction=1, step_nm=300, angle_deg=31.5):
    return Geometry(
        motion="stage",
        stage_step_nm=step_nm,
        angle_deg=angle_deg,
        propagation_axis=axis,
        scan_direction=direction,
    )


@pytest.fixture(scope="module")
def pair(shared_data):
    folder = shared_data / "lls" / "deskew_pair"
    return tuple(tifffile.imread(folder / f"im_{name}_rows100-131.tif") for name in ("raw", "deskewed"))


@pytest.mark.parametrize(("axis", "direction", "view"), VIEWS.values(), ids=VIEWS)
def test_deskewing_reproduces_a_volume_of_other_software_within_one_count(axis, direction, view, pair):
    raw, expected = map(view, pair)
    found = deskew(raw, stage(axis, direction), PIXEL, fill_adu=98)
    assert found.adu_ZYX.shape == expected.shape
    # the other software rounds down to integers
    assert np.abs(np.floor(found.adu_ZYX) - expected.astype(float)).max() <= 1


@pytest.mark.parametrize(("axis", "direction", "view"), VIEWS.values(), ids=VIEWS)
def test_deskewed_columns_match_spots_in_a_volume_of_other_software(axis, direction, view, pair):
    raw, expected = map(view, pair)
    geometry = stage(axis, direction)
    origin = deskew(raw, geometry, PIXEL)
    planes, ys, xs = bright_spots(raw)
    assert len(planes) > 40
    centres = [centre(raw[k], y, x) for k, y, x in zip(planes, ys, xs, strict=True)]
    y_px, x_px = np.array(centres).T
    moved = geometry.to_deskewed(x_px * 100, y_px * 100, np.zeros(len(planes)), planes)
    at_y, at_x = moved.y_nm / 100 - origin.origin_y_px, moved.x_nm / 100 - origin.origin_x_px
    there = np.array([centre(expected[k], round(y), round(x)) for k, y, x in zip(planes, at_y, at_x, strict=True)])
    assert np.median(np.hypot(there[:, 0] - at_y, there[:, 1] - at_x)) < 0.15  # a wrong sign gives tens of pixels


def bright_spots(volume, margin=6):
    """Return local maxima well above the background."""
    from scipy.ndimage import maximum_filter

    is_peak = (volume == maximum_filter(volume, (1, 9, 9))) & (volume > np.percentile(volume, 99.5))
    is_peak[:, :margin] = is_peak[:, -margin:] = is_peak[:, :, :margin] = is_peak[:, :, -margin:] = False
    return np.nonzero(is_peak)


def centre(plane, y, x, half=3):
    """Return the centre of mass of a window after subtracting its median."""
    window = plane[y - half : y + half + 1, x - half : x + half + 1].astype(float)
    window = np.clip(window - np.median(window), 0, None)
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    return y + (window * rows).sum() / window.sum(), x + (window * columns).sum() / window.sum()


def test_a_zeiss_volume_is_at_rest_only_with_its_own_axis_and_direction(shared_data):
    volume = tifffile.imread(shared_data / "lls" / "RBC_lattice.tif").astype(float)
    pixel = PixelSize(x_nm=144.9922, y_nm=144.9922)
    views = [(axis, direction) for axis in "xy" for direction in (1, -1)]
    found = {
        view: motion_between_planes(deskew(volume, stage(*view, step_nm=300, angle_deg=30), pixel)) for view in views
    }
    first, second = sorted(found.values())[:2]
    assert found["y", 1] == first
    assert first < 0.8 * second


def motion_between_planes(deskewed):
    """Return the mean squared difference of planes four steps apart, relative to the variance."""
    planes = np.where(deskewed.adu_ZYX > 0, deskewed.adu_ZYX, np.nan)
    return np.nanmean((planes[4:] - planes[:-4]) ** 2) / np.nanvar(planes)


def test_an_objective_scan_and_a_single_plane_are_unchanged():
    volume = np.random.default_rng(0).integers(90, 140, (3, 5, 7)).astype("uint16")
    objective = Geometry(motion="objective", stage_step_nm=200)
    np.testing.assert_array_equal(deskew(volume, objective, PIXEL).adu_ZYX, volume)
    np.testing.assert_array_equal(deskew(volume[:1, :, :1], objective, PIXEL).adu_ZYX, volume[:1, :, :1])
