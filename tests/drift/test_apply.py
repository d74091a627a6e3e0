"""Applying curves that cover a part of the table, csv curves, and curves that were already applied."""

from pathlib import Path

import numpy as np
import pytest

from lls_decode.config import PixelSize
from lls_decode.drift import DriftCurve, correct_drift, correct_table, read_curve, undo_correction, write_curve
from lls_decode.drift.curve.coverage import survey_coverage
from lls_decode.drift.curve.curve import make_curve
from lls_decode.errors import ConfigError, TableError
from lls_decode.molecules import filter_table
from lls_decode.table import read_table

from .conftest import Made, wandering, write_movie

FRAMES = 60
NAMES = ("x_nm", "y_nm", "z_nm")


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return write_movie(tmp_path_factory.mktemp("movie") / "movie.parquet", 2000, wandering(FRAMES))


def positions(path: Path) -> np.ndarray:
    table = read_table(path)[0]
    return np.stack([table[name].to_numpy().astype(np.float64) for name in NAMES], axis=1)


def part_of(made: Made, first: int, last: int) -> DriftCurve:
    part = made.drift_V3[first : last + 1]
    return make_curve(first, part, np.ones_like(part), coords="raw", method="given", details={})


@pytest.mark.parametrize(("first", "last"), [(2, 57), (0, 40), (30, 59), (0, 59)])
def test_rows_beyond_the_curve_get_its_first_or_last_shift(first: int, last: int, movie: Made, tmp_path: Path) -> None:
    curve, out = part_of(movie, first, last), tmp_path / "out.parquet"
    correct_table(movie.path, curve, out)
    volume = movie.volumes()
    expected = curve.shift_nm[np.clip(volume, first, last) - first]
    np.testing.assert_allclose(positions(movie.path) - positions(out), expected, atol=0.01)
    undo_correction(out, tmp_path / "back.parquet")
    np.testing.assert_allclose(positions(tmp_path / "back.parquet"), positions(movie.path), atol=0.01)
    coverage = survey_coverage(movie.path, curve)
    assert (coverage.before, coverage.after) == ((volume < first).sum(), (volume > last).sum())
    words = coverage.words()
    if (first, last) == (0, 59):
        assert words is None
    else:
        assert words is not None
        assert str(coverage.before or coverage.after) in words


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("when", ["volume", "frame"])
@pytest.mark.parametrize("with_z", [True, False])
def test_csv_curves_of_volumes_or_frames_are_read_and_applied(
    separator: str, when: str, with_z: bool, movie: Made, tmp_path: Path
) -> None:
    names = [when, "dx_nm", "dy_nm", *(["dz_nm"] if with_z else [])]
    rows = np.column_stack([np.arange(FRAMES), movie.drift_V3])[:, : len(names)]
    path = tmp_path / "curve.csv"
    np.savetxt(path, rows, delimiter=separator, header=separator.join(names), comments="", fmt="%.6f")
    curve = read_curve(path, coords="raw", planes_per_volume=1)
    np.testing.assert_allclose(curve.shift_nm[:, : len(names) - 1], movie.drift_V3[:, : len(names) - 1], atol=0.01)
    assert with_z or not curve.shift_nm[:, 2].any()
    done = correct_drift(movie.path, apply=path, out=tmp_path / "out.parquet")
    assert done.benefit.verdict == "better"


def test_a_curve_of_frames_is_averaged_over_volumes(tmp_path: Path) -> None:
    frames = np.column_stack([np.arange(40), np.arange(40.0), np.zeros(40)])
    np.savetxt(tmp_path / "c.csv", frames, delimiter=",", header="frame,dx_nm,dy_nm", comments="")
    curve = read_curve(tmp_path / "c.csv", coords="raw", planes_per_volume=20)
    np.testing.assert_allclose(curve.shift_nm[:, 0], [9.5, 29.5])
    assert curve.first_volume == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("frame,dx_nm\n0,1\n", "no column 'dy_nm'"),
        ("t,dx_nm,dy_nm\n0,1,2\n", "no column 'volume'"),
        ("volume,dx_nm,dy_nm\n0,1,2\n3,1,2\n", "without gaps"),
        ("volume,dx_nm,dy_nm\n0,here,2\n1,1,2\n", "not numbers"),
        ("volume,dx_nm,dy_nm\n0,nan,2\n1,1,2\n", "not numbers"),
        ("volume,dx_nm,dy_nm\n", "without gaps"),
        ("", "cannot be read"),
        ("volume,dx_nm,dy_nm\n0.5,1,2\n1.5,1,2\n", "has volume 0.5; expected whole numbers"),
        ("volume,dx_nm,dy_nm\n1,1,2\n0,1,2\n", "volume 0 after volume 1.*sort its rows"),
        ("volume,dx_px,dy_px\n0,1,2\n", "does not state its pixel size"),
        ("volume,dx_nm,dy_nm,dz_px\n0,1,2,3\n", "z in pixels"),
        ("volume,dx_nm,dx_nm,dy_nm\n0,1,2,3\n", "2 columns 'dx_nm'"),
        ("volume,dx_mm,dy_mm\n0,1,2\n", "no column 'dx_nm'.*It has volume, dx_mm, dy_mm"),
    ],
)
def test_bad_csv_curves_are_refused(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "curve.csv").write_text(text)
    with pytest.raises(TableError, match=says):
        read_curve(tmp_path / "curve.csv", coords="raw")


@pytest.mark.parametrize(
    ("names", "factors"),
    [
        (("dx_um", "dy_um", "dz_um"), (1e-3, 1e-3, 1e-3)),
        (("dx (um)", "dy [nm]", "dz (\u00b5m)"), (1e-3, 1.0, 1e-3)),
        (("dx_px", "dy [px]", "dz_nm"), (1 / 104, 1 / 98, 1.0)),
    ],
)
def test_displacements_in_other_units_are_converted(
    names: tuple[str, ...], factors: tuple[float, ...], movie: Made, tmp_path: Path
) -> None:
    rows, path = np.column_stack([np.arange(FRAMES), movie.drift_V3 * factors]), tmp_path / "curve.csv"
    np.savetxt(path, rows, delimiter=",", header=",".join(["frame", *names]), comments="", fmt="%.9f")
    curve = read_curve(path, coords="raw", pixel_size=PixelSize(x_nm=104, y_nm=98))
    np.testing.assert_allclose(curve.shift_nm, movie.drift_V3, atol=0.01)


def test_curves_with_decimal_commas_comments_or_runs_of_blanks_are_read(movie: Made, tmp_path: Path) -> None:
    rows, path = np.column_stack([np.arange(FRAMES), movie.drift_V3]), tmp_path / "curve.txt"
    np.savetxt(path, rows, fmt="%12.4f", header="frame dx_nm dy_nm dz_nm")  # after '# '
    np.testing.assert_allclose(read_curve(path, coords="raw").shift_nm, movie.drift_V3, atol=0.01)
    lines = [";".join(f"{value:.4f}".replace(".", ",") for value in row) for row in rows]
    path.write_text("\n".join(["volume;dx_nm;dy_nm;dz_nm", *lines]))
    np.testing.assert_allclose(read_curve(path, coords="raw").shift_nm, movie.drift_V3, atol=0.01)


@pytest.mark.parametrize("as_csv", [False, True])
def test_a_curve_is_not_applied_twice(as_csv: bool, movie: Made, tmp_path: Path) -> None:
    """It is recognized as csv, and with another zero; once it is undone it can be applied again."""
    curve, one = part_of(movie, 0, FRAMES - 1), tmp_path / "one.parquet"
    path = write_curve(tmp_path / "curve.parquet", curve)
    correct_drift(movie.path, apply=path, out=one)
    if as_csv:
        path = tmp_path / "curve.csv"
        rows = np.column_stack([curve.volume, curve.shift_nm + 7.0])
        np.savetxt(path, rows, delimiter=",", header="volume,dx_nm,dy_nm,dz_nm", comments="", fmt="%.2f")
    with pytest.raises(ConfigError, match=r"already corrected by this drift curve.*--undo"):
        correct_drift(one, apply=path, out=tmp_path / "two.parquet")
    assert not (tmp_path / "two.parquet").exists()
    undo_correction(one, tmp_path / "back.parquet")
    assert correct_drift(tmp_path / "back.parquet", apply=path, out=tmp_path / "again.parquet").rows == 2000


def test_another_curve_can_be_applied_afterwards(movie: Made, tmp_path: Path) -> None:
    correct_table(movie.path, part_of(movie, 0, FRAMES - 1), tmp_path / "one.parquet")
    other = make_curve(0, wandering(FRAMES) * 0.1, np.ones((FRAMES, 3)), coords="raw", method="given", details={})
    assert correct_table(tmp_path / "one.parquet", other, tmp_path / "two.parquet") == 2000


def test_a_curve_is_applied_to_the_rows_of_a_single_volume(movie: Made, tmp_path: Path) -> None:
    """They cannot tell whether it helps; a table without rows is refused, because nothing is to be corrected."""
    path = write_curve(tmp_path / "curve.parquet", part_of(movie, 0, FRAMES - 1))
    filter_table(movie.path, tmp_path / "one.parquet", volumes=(7, 8))
    done = correct_drift(tmp_path / "one.parquet", apply=path, out=tmp_path / "out.parquet")
    moved = positions(tmp_path / "one.parquet") - positions(tmp_path / "out.parquet")
    np.testing.assert_allclose(moved, np.tile(movie.drift_V3[7], (len(moved), 1)), atol=0.01)
    assert done.rows == len(moved) > 1
    assert "to tell whether it helps" in done.benefit.words()
    filter_table(movie.path, tmp_path / "none.parquet", where="photons < 0")
    with pytest.raises(TableError, match="has no rows, so there is nothing to correct"):
        correct_drift(tmp_path / "none.parquet", apply=path, out=tmp_path / "out.parquet")
