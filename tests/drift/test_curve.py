from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lls_decode.drift import DriftCurve, draw_curve, read_curve, write_curve
from lls_decode.drift.curve.curve import make_curve, pack, unpack
from lls_decode.drift.curve.support import Knots, held
from lls_decode.errors import ConfigError, TableError


@pytest.fixture
def curve() -> DriftCurve:
    random = np.random.default_rng(0)
    shift = np.cumsum(random.normal(0, 5, (300, 3)), axis=0)
    details = {"residual_nm": [1.0, 2.0, 3.0], "window_centres": [20.0, 80.0, 250.0]}
    return make_curve(7, shift, np.full((300, 3), 2.0), coords="sample", method="rcc", details=details)


def test_a_packed_curve_is_exact_and_small(curve: DriftCurve) -> None:
    again = unpack(pack(curve))
    assert np.array_equal(again.shift_nm, curve.shift_nm)
    assert (again.first_volume, again.coords) == (7, "sample")
    slow = 300 * np.sin(np.arange(70_000) / 9000)[:, None] * np.ones(3)
    smooth = make_curve(0, slow, np.ones_like(slow), coords="raw", method="rcc", details={})
    assert len(pack(smooth)["shifts"]) < 100_000


def test_a_damaged_packed_curve_is_refused() -> None:
    with pytest.raises(TableError, match="damaged"):
        unpack({"shifts": "AAAA", "first_volume": 0, "num_volumes": 3, "coords": "raw"})


def test_a_curve_round_trips_through_its_file(curve: DriftCurve, tmp_path: Path) -> None:
    again = read_curve(write_curve(tmp_path / "curve.parquet", curve), coords="raw")
    assert np.array_equal(again.shift_nm, curve.shift_nm)
    assert np.array_equal(again.sigma_nm, curve.sigma_nm)
    assert (again.first_volume, again.coords, again.method) == (7, "sample", "rcc")
    assert again.details == curve.details


def test_a_curve_has_mean_zero(curve: DriftCurve) -> None:
    assert np.abs(curve.shift_nm.mean(axis=0)).max() < 0.01


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"volume": [0, 1], "dx_nm": [0.0, 1.0], "dy_nm": [0.0, 1.0]}, "no column 'dz_nm'"),
        ({"volume": [0, 2], "dx_nm": [0.0, 1.0], "dy_nm": [0.0, 1.0], "dz_nm": [0.0, 0.0]}, "without gaps"),
        ({"volume": [0, 1], "dx_nm": [0.0, np.nan], "dy_nm": [0.0, 1.0], "dz_nm": [0.0, 0.0]}, "not numbers"),
    ],
)
def test_bad_curves_are_refused(columns: dict[str, list[float]], says: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(columns), tmp_path / "curve.parquet")
    with pytest.raises(TableError, match=says):
        read_curve(tmp_path / "curve.parquet", coords="raw")


def test_a_later_version_is_refused(curve: DriftCurve, tmp_path: Path) -> None:
    table = pq.read_table(write_curve(tmp_path / "curve.parquet", curve))
    pq.write_table(table.replace_schema_metadata({b"lls_decode_drift": b'{"version": 9}'}), tmp_path / "curve.parquet")
    with pytest.raises(ConfigError, match="version 9"):
        read_curve(tmp_path / "curve.parquet", coords="raw")


def test_interpolation_has_no_overshoot_at_a_jump_and_is_linear_at_the_ends() -> None:
    centres = np.array([5.0, 15.0, 25.0, 35.0])
    reach, sigma = np.full(4, 5.0), np.ones((4, 1))
    values = held(Knots(centres, reach, np.array([[0.0], [0.0], [100.0], [100.0]]), sigma), 0, 40)
    assert values.min() == 0.0
    assert values.max() == 100.0
    line = held(Knots(centres, reach, 3 * centres[:, None], sigma), 0, 40)
    np.testing.assert_allclose(line[:, 0], 3 * np.arange(41), atol=1e-9)


def test_a_curve_is_drawn_as_png(curve: DriftCurve, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw_curve(tmp_path / "curve.png", curve, title="a table")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
