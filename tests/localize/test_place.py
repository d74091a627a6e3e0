"""Conversion of detections in pixels and network units to table rows in nm and photons."""

import numpy as np
import pytest

from lls_decode.axes import ContextKind
from lls_decode.blocks import Block
from lls_decode.config import Geometry, PixelSize, Scaling
from lls_decode.localize import Detections, place
from lls_decode.localize.place import physical_columns, to_emitters
from lls_decode.table import schema

SCALING = Scaling(input_scale=1.0, input_offset=0.0, photons=5000.0, z_nm=600.0, bg=30.0)
PIXEL = PixelSize(x_nm=100.0, y_nm=110.0)
STAGE = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8, propagation_axis="y")


def block(context: ContextKind) -> Block:
    """Return a block of two volumes in the middle of a dataset."""
    return Block(7, 4, 6, 0, 3, num_volumes=10, planes_per_volume=3, context=context)


def detections(**columns: object) -> Detections:
    """Return one detection in the middle of the first pixel, or detections with the given columns."""
    length = max((len(value) for value in columns.values() if isinstance(value, list)), default=1)
    whole = {name: np.zeros(length, dtype=np.int64) for name in ("window", "y_px", "x_px")}
    parts = ("prob", "photons", "x", "y", "z", "photons_sig", "x_sig", "y_sig", "z_sig", "bg", "near", "crowd")
    values = whole | {name: np.zeros(length, dtype=np.float32) for name in parts}
    for name, value in columns.items():
        values[name] = np.asarray(value, dtype=values[name].dtype) * np.ones(length, dtype=values[name].dtype)
    return Detections(**values)


def rows(found: Detections, context: ContextKind = "plane", geometry: Geometry | None = None) -> dict[str, list[float]]:
    table = place(found, block(context), scaling=SCALING, pixel=PIXEL, geometry=geometry)
    assert table.schema == schema(with_sample=geometry is not None)
    return table.to_pydict()


def test_zero_is_the_centre_of_the_first_pixel() -> None:
    row = rows(detections())
    assert (row["x_nm"], row["y_nm"], row["z_nm"]) == ([0.0], [0.0], [0.0])


def test_network_units_are_converted_to_nm_and_photons() -> None:
    found = detections(
        x_px=3, x=-0.25, y_px=2, y=0.5, z=-0.5, photons=0.5, bg=0.1, x_sig=0.1, y_sig=0.2, z_sig=0.05, photons_sig=0.02
    )
    row = {name: values[0] for name, values in rows(found).items()}
    assert row["x_nm"] == pytest.approx(275.0)
    assert row["y_nm"] == pytest.approx(275.0)
    assert row["z_nm"] == pytest.approx(-300.0)
    assert row["photons"] == pytest.approx(2500.0)
    assert row["bg"] == pytest.approx(3.0)
    assert (row["x_sig"], row["y_sig"], row["z_sig"]) == pytest.approx((10.0, 22.0, 30.0))
    assert row["phot_sig"] == pytest.approx(100.0)
    assert row["group"] == -1


def test_each_sigma_is_multiplied_by_its_factor() -> None:
    """Factors change no other column."""
    found = detections(x=0.3, z=-0.5, photons=0.5, x_sig=0.1, y_sig=0.2, z_sig=0.05, photons_sig=0.02)
    factors = {"x_sig": 1.5, "y_sig": 2.0, "z_sig": 3.0, "photons_sig": 4.0}
    columns = physical_columns(found, SCALING.replace(**factors), PIXEL)
    assert columns["x_sig"] == pytest.approx(15.0)
    assert columns["y_sig"] == pytest.approx(44.0)
    assert columns["z_sig"] == pytest.approx(90.0)
    assert columns["phot_sig"] == pytest.approx(400.0)
    usual = physical_columns(found, SCALING, PIXEL)
    for name in ("x_nm", "y_nm", "z_nm", "photons", "bg", "prob"):
        assert columns[name] == usual[name]


def test_positions_far_from_the_origin_are_exact() -> None:
    """Adding offsets to pixel numbers in float32 would round to 1e-4 px at column 2000."""
    row = rows(detections(x_px=2047, x=0.123456))
    assert row["x_nm"][0] == pytest.approx(np.float32(2047 * 100 + 12.3456), abs=0.016)


@pytest.mark.parametrize(
    ("context", "frames"),
    [
        # Windows number the owned frames in stack order: volume by volume along planes, plane by plane along time.
        pytest.param("plane", [(4, 0), (4, 1), (4, 2), (5, 0), (5, 1), (5, 2)], id="plane"),
        pytest.param("none", [(4, 0), (4, 1), (4, 2), (5, 0), (5, 1), (5, 2)], id="none"),
        pytest.param("time", [(4, 0), (5, 0), (4, 1), (5, 1), (4, 2), (5, 2)], id="time"),
    ],
)
def test_windows_map_to_volumes_planes_and_frames(context: ContextKind, frames: list[tuple[int, int]]) -> None:
    for window, (volume, plane) in enumerate(frames):
        row = rows(detections(window=window), context)
        assert (row["volume"], row["plane"], row["frame"]) == ([volume], [plane], [3 * volume + plane])


@pytest.mark.parametrize("context", ["plane", "time", "none"])
def test_rows_are_sorted(context: ContextKind) -> None:
    random = np.random.default_rng(0)
    found = detections(
        window=random.integers(0, 6, 200).tolist(),
        y_px=random.integers(0, 4, 200).tolist(),
        x_px=random.integers(0, 50, 200).tolist(),
        y=random.uniform(-1, 1, 200).round(0).tolist(),
        prob=random.uniform(0, 1, 200).tolist(),
    )
    row = rows(found, context)
    keys = list(zip(row["volume"], row["plane"], row["y_nm"], row["x_nm"], strict=True))
    assert keys == sorted(keys)
    assert sorted(row["prob"]) == sorted(found.prob.tolist()), "whole rows are sorted, none is lost"


def test_sample_coordinates_follow_the_geometry() -> None:
    found = detections(window=[1, 5], x_px=[10, 20], y_px=[30, 40], z=[0.5, -0.25])
    row = rows(found, geometry=STAGE)
    x, y, z = (np.array(row[name]) for name in ("x_nm", "y_nm", "z_nm"))
    expected = STAGE.to_sample(x, y, z, np.array(row["plane"]))
    for name, values in zip(("xs_nm", "ys_nm", "zs_nm"), expected, strict=True):
        np.testing.assert_allclose(row[name], values, rtol=1e-6)
    assert row["xs_nm"] == row["x_nm"], "the sheet propagates along y"
    assert "xs_nm" not in rows(found)


def test_no_detections_give_no_rows() -> None:
    empty = detections().select(np.zeros(1, dtype=bool))
    assert rows(empty, geometry=STAGE)["frame"] == []


def test_to_emitters_uses_the_window_as_frame() -> None:
    found = detections(window=[3, 4], x_px=[1, 2], photons=0.5)
    emitters = to_emitters(found, SCALING, PIXEL)
    assert emitters.frame.tolist() == [3, 4]
    assert emitters.x_nm.tolist() == [100.0, 200.0]
    assert emitters.photons.tolist() == [2500.0, 2500.0]
