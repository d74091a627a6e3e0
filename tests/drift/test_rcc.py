"""Drift from correlation of a structure with itself agrees with the simulated drift."""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lls_decode.drift import estimate_drift
from lls_decode.errors import ConfigError, TableError

from .conftest import Made, wandering, write_movie, write_sweeps


def test_drift_with_a_jump_is_estimated_from_sweeps(tmp_path: Path) -> None:
    """40 000 localizations with errors of 15, 15 and 40 nm; a jump of 120 nm between two volumes."""
    made = write_sweeps(tmp_path / "table.parquet", 40_000, wandering(120, jump_nm=120.0))
    curve = estimate_drift(made.path)
    assert curve.coords == "sample"
    assert np.all(made.errors(curve.shift_nm) <= 5.0)
    z_score = (curve.shift_nm - made.drift_V3) / curve.sigma_nm
    assert np.all(np.sqrt(np.mean(z_score**2, axis=0)) < 2.0)


def test_drift_is_estimated_in_two_dimensions(tmp_path: Path) -> None:
    made = write_movie(tmp_path / "table.parquet", 30_000, wandering(600), flat=True)
    curve = estimate_drift(made.path)
    assert curve.coords == "raw"
    assert np.all(made.errors(curve.shift_nm) <= 5.0)
    assert not curve.shift_nm[:, 2].any()


def test_without_drift_the_curve_is_zero_within_its_uncertainty(tmp_path: Path) -> None:
    made = write_sweeps(tmp_path / "table.parquet", 10_000, np.zeros((100, 3)))
    curve = estimate_drift(made.path, num_windows=12)
    assert np.all(made.errors(curve.shift_nm) < 1.5 * np.median(curve.sigma_nm, axis=0))
    assert np.all(made.errors(curve.shift_nm) < 3.0)


def test_the_curve_does_not_depend_on_row_groups(small_sweeps: Made, tmp_path: Path) -> None:
    again = tmp_path / "again.parquet"
    pq.write_table(pq.read_table(small_sweeps.path), again, row_group_size=77)
    one, other = (estimate_drift(path, num_windows=3, max_points=1001) for path in (small_sweeps.path, again))
    assert one.details["num_localizations"] == 1000
    assert np.array_equal(one.shift_nm, other.shift_nm)
    assert np.array_equal(one.sigma_nm, other.sigma_nm)


def test_tables_and_options_that_give_no_drift_are_refused(tmp_path: Path, small_sweeps: Made) -> None:
    few = write_movie(tmp_path / "few.parquet", 40, np.zeros((20, 3)))
    with pytest.raises(TableError, match="40 localizations"):
        estimate_drift(few.path)
    still = write_movie(tmp_path / "still.parquet", 40, np.zeros((1, 3)))
    with pytest.raises(TableError, match="fewer than two volumes"):
        estimate_drift(still.path)
    with pytest.raises(ConfigError, match="num_windows is 1"):
        estimate_drift(small_sweeps.path, num_windows=1)
    with pytest.raises(ConfigError, match="max_shift_nm is -3"):
        estimate_drift(small_sweeps.path, max_shift_nm=-3.0)


def test_missing_comet_is_reported_with_the_command_to_install_it(
    small_sweeps: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "comet", None)
    with pytest.raises(ConfigError, match=r"pip install 'lls-decode\[drift\]'"):
        estimate_drift(small_sweeps.path, method="comet")


@pytest.mark.slow
def test_comet_estimates_the_drift(tmp_path: Path) -> None:
    """This test is slow because COMET is compiled at its first use."""
    pytest.importorskip("comet")
    made = write_movie(tmp_path / "table.parquet", 20_000, wandering(100, amplitude_nm=60.0))
    curve = estimate_drift(made.path, method="comet", num_windows=20, max_shift_nm=150.0)
    assert np.all(made.errors(curve.shift_nm) < 8.0)
