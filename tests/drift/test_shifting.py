"""Correcting a table by a curve moves all coordinates consistently and can be undone."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lls_decode.drift import DriftCurve, correct_table, undo_correction
from lls_decode.drift.curve.curve import make_curve
from lls_decode.errors import ConfigError, TableError
from lls_decode.table import TableMetadata, read_metadata, read_table, table_writer
from lls_decode.table.positions import Coords

from .conftest import GEOMETRY, Made, wandering, write_movie

RAW, SAMPLE = ("x_nm", "y_nm", "z_nm"), ("xs_nm", "ys_nm", "zs_nm")


def known(made: Made, coords: Coords = "sample") -> DriftCurve:
    sigma = np.ones_like(made.drift_V3)
    return make_curve(0, made.drift_V3, sigma, coords=coords, method="given", details={})


def columns(path: Path, names: tuple[str, ...]) -> np.ndarray:
    return np.stack([read_table(path)[0][name].to_numpy() for name in names])


def test_sample_and_raw_coordinates_stay_consistent(small_sweeps: Made, tmp_path: Path) -> None:
    curve = known(small_sweeps)
    rows = correct_table(small_sweeps.path, curve, tmp_path / "out.parquet")
    before, after = read_table(small_sweeps.path)[0], read_table(tmp_path / "out.parquet")[0]
    assert rows == after.num_rows == before.num_rows
    x, y, z = columns(tmp_path / "out.parquet", RAW).astype(np.float64)
    expected = np.stack(GEOMETRY.to_sample(x, y, z, after["plane"].to_numpy())).astype(np.float32)
    assert np.array_equal(columns(tmp_path / "out.parquet", SAMPLE), expected)
    moved = columns(small_sweeps.path, SAMPLE) - columns(tmp_path / "out.parquet", SAMPLE)
    np.testing.assert_allclose(moved, curve.at(before["volume"].to_numpy()).T, atol=0.02)
    for name in set(before.column_names) - {*RAW, *SAMPLE}:
        assert after[name].equals(before[name])


@pytest.mark.parametrize("in_place", [False, True])
def test_undo_restores_the_table(in_place: bool, small_sweeps: Made, tmp_path: Path) -> None:
    table = tmp_path / "table.parquet"
    table.write_bytes(small_sweeps.path.read_bytes())
    corrected = table if in_place else tmp_path / "corrected.parquet"
    correct_table(table, known(small_sweeps), corrected)
    moved = columns(corrected, (*RAW, *SAMPLE))
    undo_correction(corrected, tmp_path / "undone.parquet")
    before, after = (columns(path, (*RAW, *SAMPLE)) for path in (small_sweeps.path, tmp_path / "undone.parquet"))
    unit = np.spacing(np.maximum(np.abs(before), np.abs(moved)))
    assert np.all(np.abs(after - before)[:3] <= unit[:3])
    assert np.abs(after - before).max() < 0.01
    assert np.mean(after == before) > 0.5
    assert read_metadata(tmp_path / "undone.parquet") == read_metadata(small_sweeps.path)


def test_two_corrections_are_undone_one_by_one(small_sweeps: Made, tmp_path: Path) -> None:
    one, two, back = (tmp_path / f"{name}.parquet" for name in ("one", "two", "back"))
    correct_table(small_sweeps.path, known(small_sweeps), one)
    correct_table(one, known(small_sweeps, "raw"), two)
    undo_correction(two, back)
    np.testing.assert_allclose(columns(back, RAW), columns(one, RAW), atol=0.01)
    assert len(read_metadata(back).history) == 1


def test_a_raw_movie_is_moved_in_raw_coordinates(tmp_path: Path) -> None:
    made = write_movie(tmp_path / "movie.parquet", 500, wandering(40), flat=True)
    correct_table(made.path, known(made, "raw"), tmp_path / "out.parquet")
    volume = read_table(made.path)[0]["volume"].to_numpy()
    moved = columns(made.path, RAW) - columns(tmp_path / "out.parquet", RAW)
    np.testing.assert_allclose(moved[:2], made.drift_V3[volume].T[:2], atol=0.02)
    assert not moved[2].any()
    with pytest.raises(ConfigError, match="raw coordinates"):
        correct_table(made.path, known(made, "sample"), tmp_path / "no.parquet")


def test_a_curve_without_overlap_and_undo_without_correction_are_refused(small_sweeps: Made, tmp_path: Path) -> None:
    later = make_curve(60, np.zeros((5, 3)), np.ones((5, 3)), coords="sample", method="given", details={})
    with pytest.raises(ConfigError, match="covers 60 to 64"):
        correct_table(small_sweeps.path, later, tmp_path / "out.parquet")
    with pytest.raises(ConfigError, match="nothing to undo"):
        undo_correction(small_sweeps.path, tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("step", "fine"), [("filter", True), ("link", True), ("stretch", False)])
def test_undo_is_possible_after_some_steps_only(step: str, fine: bool, small_sweeps: Made, tmp_path: Path) -> None:
    corrected, later = tmp_path / "corrected.parquet", tmp_path / "later.parquet"
    correct_table(small_sweeps.path, known(small_sweeps), corrected)
    table, metadata = read_table(corrected)
    with table_writer(later, table.schema.remove_metadata(), metadata.with_step(step)) as writer:
        writer.write(table.slice(100, 500))
    if not fine:
        with pytest.raises(ConfigError, match="was changed after its drift was corrected"):
            undo_correction(later, tmp_path / "out.parquet")
        return
    assert undo_correction(later, tmp_path / "out.parquet") == 500
    assert [entry["step"] for entry in read_metadata(tmp_path / "out.parquet").history] == [step]


def test_a_table_without_volumes_is_refused(small_sweeps: Made, tmp_path: Path) -> None:
    table = read_table(small_sweeps.path)[0].drop_columns(["volume"])
    about = TableMetadata().with_columns(table.schema).to_schema_metadata()
    pq.write_table(table.replace_schema_metadata(about), tmp_path / "table.parquet")
    with pytest.raises(TableError, match="no column 'volume'"):
        correct_table(tmp_path / "table.parquet", known(small_sweeps), tmp_path / "out.parquet")
