"""Scan geometry agrees with its formulas and with a simulated scan, for stage and objective scans."""

import itertools
import math

import numpy as np
import pytest

from lls_decode.config import Geometry, PixelSize

PIXEL = PixelSize(x_nm=104.0, y_nm=108.0)
STEP, ANGLE = 400.0, 31.8
SCANS = [
    pytest.param(axis, direction, id=f"along {axis}, {'forwards' if direction > 0 else 'backwards'}")
    for axis, direction in itertools.product("xy", (1, -1))
]


def stage(axis: str = "x", direction: int = 1) -> Geometry:
    return Geometry.model_validate(
        {
            "motion": "stage",
            "stage_step_nm": STEP,
            "angle_deg": ANGLE,
            "propagation_axis": axis,
            "scan_direction": direction,
        }
    )


def objective(direction: int = 1) -> Geometry:
    return Geometry.model_validate({"motion": "objective", "stage_step_nm": 250.0, "scan_direction": direction})


def test_plane_shift_of_the_paint_dataset() -> None:
    assert stage().plane_shift_px(PIXEL) == pytest.approx(3.27, abs=0.005)
    assert stage().whole_shift_px(PIXEL) == 3
    assert stage("x", -1).whole_shift_px(PIXEL) == -3
    assert stage("x", -1).whole_shift_px(PIXEL, multiple=2) == -4
    assert stage("y").plane_shift_px(PIXEL) == pytest.approx(STEP * math.cos(math.radians(ANGLE)) / 108.0)
    assert objective().plane_shift_px(PIXEL) == 0.0


@pytest.mark.parametrize(("axis", "direction"), SCANS)
def test_deskewed_and_sample_coordinates_follow_the_formulas(axis: str, direction: int) -> None:
    random = np.random.default_rng(0)
    x, y, z = random.uniform(-5e4, 5e4, (3, 50))
    k = random.integers(0, 150, 50)
    c, s = math.cos(math.radians(ANGLE)), math.sin(math.radians(ANGLE))
    along, across = (x, y) if axis == "x" else (y, x)
    geometry = stage(axis, direction)

    deskewed = geometry.to_deskewed(x, y, z, k)
    moved, kept = (deskewed.x_nm, deskewed.y_nm) if axis == "x" else (deskewed.y_nm, deskewed.x_nm)
    np.testing.assert_allclose(moved, along + k * direction * STEP * c)
    np.testing.assert_array_equal(kept, across)
    np.testing.assert_allclose(deskewed.z_nm, z + k * direction * STEP * s)

    sample = geometry.to_sample(x, y, z, k)
    travel, kept = (sample.x_nm, sample.y_nm) if axis == "x" else (sample.y_nm, sample.x_nm)
    np.testing.assert_allclose(travel, k * direction * STEP + along * c + z * s)
    np.testing.assert_array_equal(kept, across)
    np.testing.assert_allclose(sample.z_nm, -along * s + z * c)


@pytest.mark.parametrize(("axis", "direction"), SCANS)
def test_sample_coordinates_are_deskewed_coordinates_rotated_by_the_angle(axis: str, direction: int) -> None:
    random = np.random.default_rng(1)
    x, y, z = random.uniform(-5e4, 5e4, (3, 50))
    k = random.integers(0, 150, 50)
    c, s = math.cos(math.radians(ANGLE)), math.sin(math.radians(ANGLE))
    deskewed, sample = stage(axis, direction).to_deskewed(x, y, z, k), stage(axis, direction).to_sample(x, y, z, k)
    at = 0 if axis == "x" else 1
    np.testing.assert_allclose(sample[at], deskewed[at] * c + deskewed.z_nm * s, atol=1e-6)
    np.testing.assert_allclose(sample.z_nm, -deskewed[at] * s + deskewed.z_nm * c, atol=1e-6)


@pytest.mark.parametrize(("axis", "direction"), SCANS)
def test_a_bead_has_one_sample_position_in_all_planes_of_a_stage_scan(axis: str, direction: int) -> None:
    """The stage moves the bead against the scan direction, and each plane cuts it at the sheet's angle."""
    c, s = math.cos(math.radians(ANGLE)), math.sin(math.radians(ANGLE))
    travel, height, across = 12_345.0, 678.0, 2_222.0  # the bead: along the scan, height, across
    k = np.arange(-20, 20)
    beneath = travel - k * direction * STEP  # the bead's distance from the objective along the scan, in each plane
    along, z = beneath * c - height * s, beneath * s + height * c  # camera coordinates of the bead
    fixed = np.full(len(k), across)
    x, y = (along, fixed) if axis == "x" else (fixed, along)

    sample = stage(axis, direction).to_sample(x, y, z, k)
    at = 0 if axis == "x" else 1
    np.testing.assert_allclose(sample[at], travel)
    np.testing.assert_allclose(sample[1 - at], across)
    np.testing.assert_allclose(sample.z_nm, height, atol=1e-6)
    deskewed = stage(axis, direction).to_deskewed(x, y, z, k)
    for coordinate in deskewed:
        np.testing.assert_allclose(coordinate, coordinate[0], atol=1e-6)


@pytest.mark.parametrize("direction", [1, -1])
def test_an_objective_scan_shifts_z_only(direction: int) -> None:
    x, y, z, k = np.array([1.0]), np.array([2.0]), np.array([3.0]), 4
    expected = (1.0, 2.0, 3.0 + 4 * 250.0 * direction)
    for positions in (objective(direction).to_sample(x, y, z, k), objective(direction).to_deskewed(x, y, z, k)):
        assert tuple(float(value[0]) for value in positions) == expected


def test_a_stage_scan_at_a_right_angle_equals_an_objective_scan() -> None:
    """A stage that moves perpendicular to the sheet shifts planes along z only, by the whole step."""
    right = Geometry(motion="stage", stage_step_nm=250.0, angle_deg=90.0)
    assert right.plane_shift_px(PIXEL) == pytest.approx(0.0, abs=1e-12)
    assert right.axial_step_nm == 250.0


def test_geometry_describes_itself_in_words() -> None:
    assert stage("x", -1).describe(PIXEL) == (
        "stage scan at 31.8 deg, plane-to-plane shift = -3.27 px along x and -211 nm along z"
    )
    assert objective().describe(PIXEL) == "objective scan, 250 nm along z from plane to plane"


@pytest.mark.parametrize("geometry", [stage("x"), stage("y", -1), objective()], ids=["along x", "along y", "objective"])
def test_raw_displacement_moves_sample_coordinates_as_requested(geometry: Geometry) -> None:
    random = np.random.default_rng(1)
    x, y, z = random.uniform(-5e3, 5e3, (3, 50))
    plane, moved = random.integers(0, 150, 50), random.uniform(-300, 300, (3, 50))
    raw = geometry.raw_displacement(*moved)
    before = np.stack(geometry.to_sample(x, y, z, plane))
    after = np.stack(geometry.to_sample(x + raw.x_nm, y + raw.y_nm, z + raw.z_nm, plane))
    np.testing.assert_allclose(after - before, moved, atol=1e-8)
