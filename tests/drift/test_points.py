"""Reading positions for drift estimation: at most a given number, without unknown ones."""

from pathlib import Path

import numpy as np
import pytest

from lls_decode.drift.points import Points, TableView, read_points

from .conftest import sigma_columns, write_rows

NUM_ROWS = 3000


def points_of(path: Path, x_nm: np.ndarray[tuple[int], np.dtype[np.float64]], **options: int) -> Points:
    """Read the points of a movie with given x, in which y is the number of the row and sigmas of x grow with it."""
    row = np.arange(len(x_nm))
    columns = {"x_nm": x_nm, "y_nm": row.astype(float), "z_nm": np.zeros(len(row)), **sigma_columns(len(row))}
    columns |= {"volume": row // 10, "plane": np.zeros(len(row), int), "frame": row // 10, "x_sig": 1.0 + row}
    return read_points(TableView.of(write_rows(path, columns, geometry=None, planes=1)), **options)


def test_rows_without_a_position_are_left_out(tmp_path: Path) -> None:
    x_nm = np.random.default_rng(0).uniform(100, 9000, NUM_ROWS)
    gone = np.arange(NUM_ROWS) % 3 == 0
    found = points_of(tmp_path / "gaps.parquet", np.where(gone, np.nan, x_nm))
    assert len(found) == len(found.position_nm) == (~gone).sum()
    assert found.num_rows == NUM_ROWS
    np.testing.assert_allclose(found.position_nm[:, 0] + found.origin_nm[0], x_nm[~gone], atol=1e-3)
    np.testing.assert_array_equal(found.volume, np.flatnonzero(~gone) // 10)


@pytest.mark.parametrize("max_points", [NUM_ROWS, 1000, 7])
def test_selected_rows_are_evenly_spaced(max_points: int, tmp_path: Path) -> None:
    found = points_of(tmp_path / "rows.parquet", np.linspace(100, 9000, NUM_ROWS), max_points=max_points)
    stride = -(-NUM_ROWS // max_points)
    np.testing.assert_array_equal(found.position_nm[:, 1] + found.origin_nm[1], np.arange(0, NUM_ROWS, stride))
    assert found.sigma_nm[0] == np.median(1.0 + np.arange(0, NUM_ROWS, stride))
