"""Drift from fiducials, which are found or given, in movies, sweeps and real data."""

from pathlib import Path

import numpy as np
import pytest

from lls_decode.config import Geometry
from lls_decode.drift import estimate_drift
from lls_decode.drift.fiducials.beads import find_beads, read_beads
from lls_decode.drift.points import TableView
from lls_decode.errors import ConfigError, TableError

from .conftest import GEOMETRY, Made, sigma_columns, wandering, write_beads, write_rows

REAL = Path(__file__).resolve().parents[3] / "shared/data/tables/sotilt3d/fiducial_bead_EasyDHPSF_localizations.csv"


@pytest.mark.parametrize("geometry", [None, GEOMETRY], ids=["movie", "sweeps"])
def test_fiducials_are_found_and_give_the_drift(geometry: Geometry | None, tmp_path: Path) -> None:
    made, beads = write_beads(tmp_path / "beads.parquet", wandering(400, jump_nm=60.0), geometry=geometry)
    places = find_beads(TableView.of(made.path), first_volume=0, last_volume=399, radius_nm=500.0, min_share=0.8)
    assert len(places) >= 3
    distance = np.linalg.norm(beads[:, None, :2] - places[None], axis=2).min(axis=1)
    assert np.all(distance < 600.0)
    curve = estimate_drift(made.path, method="fiducials")
    assert curve.details["num_fiducials"] == 3
    assert curve.coords == ("raw" if geometry is None else "sample")
    assert np.all(made.errors(curve.shift_nm) < 5.0)
    z_score = (curve.shift_nm - made.drift_V3) / curve.sigma_nm
    assert np.all(np.median(np.abs(z_score), axis=0) < 1.2)


def test_given_fiducials_give_a_smooth_drift(tmp_path: Path) -> None:
    """A slow drift is smoothed over several volumes, which makes it more precise than single positions."""
    made, beads = write_beads(tmp_path / "beads.parquet", wandering(400), geometry=None)
    (tmp_path / "beads.csv").write_text("name,x_nm,y_nm\n" + "".join(f"7,{x},{y}\n" for x, y, _ in beads[:2]))
    curve = estimate_drift(made.path, method="fiducials", fiducials=tmp_path / "beads.csv")
    assert curve.details["num_fiducials"] == 2
    assert curve.details["smooth_volumes"] >= 2
    assert np.all(made.errors(curve.shift_nm) < np.array([2.0, 2.0, 5.0]))
    same = estimate_drift(made.path, method="fiducials", fiducials=[(x, y) for x, y, _ in beads[:2]])
    assert np.array_equal(same.shift_nm, curve.shift_nm)


def test_fiducials_visible_in_some_volumes_give_the_drift(tmp_path: Path) -> None:
    made, beads = write_beads(tmp_path / "beads.parquet", wandering(400), geometry=None, share=0.4)
    places = [(float(x), float(y)) for x, y, _ in beads]
    curve = estimate_drift(made.path, method="fiducials", fiducials=places)
    assert np.all(made.errors(curve.shift_nm) < 5.0)


def test_molecules_are_not_taken_for_fiducials(small_sweeps: Made) -> None:
    with pytest.raises(TableError, match="no place at which something is seen in 80%"):
        estimate_drift(small_sweeps.path, method="fiducials", radius_nm=100.0)
    with pytest.raises(TableError, match="None of 1 given or found places"):
        estimate_drift(small_sweeps.path, method="fiducials", fiducials=[(0.0, 0.0)])


def test_invalid_lists_of_fiducials_are_refused(tmp_path: Path) -> None:
    (tmp_path / "beads.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="'x_nm,y_nm'"):
        read_beads(tmp_path / "beads.csv")
    with pytest.raises(ConfigError, match="No bead was given"):
        read_beads([])


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is missing")
def test_the_drift_of_a_real_bead_predicts_its_other_frames(tmp_path: Path) -> None:
    """Drift estimated from every second frame of a real bead explains its positions in the other frames."""
    frame, molecule, *position = np.genfromtxt(REAL, delimiter=",", skip_header=1, usecols=range(5)).T
    use = (molecule == 1) & np.isfinite(position).all(axis=0)
    frame, position_N3 = frame[use].astype(int) - 1, np.stack(position, axis=1)[use]
    even = frame % 2 == 0
    columns = dict(zip(("x_nm", "y_nm", "z_nm"), position_N3[even].T, strict=True))
    columns |= {"volume": frame[even], "plane": np.zeros(even.sum(), dtype=int)}
    columns |= sigma_columns(int(even.sum()), (10.0, 10.0, 20.0))
    table = write_rows(tmp_path / "bead.parquet", columns, geometry=None, planes=1)
    place = np.median(position_N3, axis=0)
    curve = estimate_drift(table, method="fiducials", fiducials=[(float(place[0]), float(place[1]))], radius_nm=2000.0)
    inside = ~even & (frame >= curve.first_volume) & (frame <= curve.last_volume)
    left = position_N3[inside] - curve.at(frame[inside])
    kept = np.all(np.abs(left - np.median(left, axis=0)) < 200, axis=1)
    assert kept.mean() > 0.97
    scatter = np.array(curve.details["scatter_nm"][0])
    # residuals are the noise of single positions, much smaller than the drift
    assert np.all(left[kept].std(axis=0) < 1.5 * scatter)
    assert np.any(np.ptp(curve.shift_nm, axis=0) > 2 * scatter)


def beads_with_a_moving_one(path: Path, count: int, *, step_nm: float = 2.0, late: bool = False) -> Made:
    """Write beads in most of 1200 frames, the second of which moves randomly, always or in the last quarter only."""
    random, frames = np.random.default_rng(count), 1200
    drift = wandering(frames)
    walk = np.cumsum(random.normal(0, step_nm, (frames, 3)) * (np.arange(frames)[:, None] > 900 * late), axis=0)
    volume, position = [], []
    for number in range(count):
        seen = np.flatnonzero(random.uniform(size=frames) < 0.95)
        own = walk[seen] if number == 1 else 0.0
        volume.append(seen)
        noise = random.normal(0, 1, (len(seen), 3)) * np.array([3.0, 3.0, 6.0])
        position.append(np.array([6000.0 * number, 3000.0 * (number % 2), 0.0]) + drift[seen] + own + noise)
    columns = dict(zip(("x_nm", "y_nm", "z_nm"), np.concatenate(position).T, strict=True))
    rows = np.concatenate(volume)
    columns |= {"volume": rows, "plane": np.zeros(len(rows), dtype=int), **sigma_columns(len(rows), (3.0, 3.0, 6.0))}
    return Made(write_rows(path, columns, geometry=None, planes=1), drift - drift.mean(axis=0))


@pytest.mark.parametrize("count", [3, 4, 6])
@pytest.mark.parametrize("late", [False, True])
def test_a_bead_that_disagrees_is_reported_and_excluded(count: int, late: bool, tmp_path: Path) -> None:
    made = beads_with_a_moving_one(tmp_path / "t.parquet", count, late=late)
    places = [(6000.0 * number, 3000.0 * (number % 2)) for number in range(count)]
    curve = estimate_drift(made.path, method="fiducials", fiducials=places, radius_nm=900.0)
    assert curve.details["num_fiducials"] == count - 1
    assert len(curve.details["left_out"]) == 1
    assert "bead 2 at (6000, 3000) nm moves relative to the others" in curve.details["left_out"][0]
    assert len(curve.details["residuals_nm"]) == count - 1
    assert np.all(made.errors(curve.shift_nm) < np.array([2.0, 2.0, 4.0]))


def test_two_beads_that_disagree_widen_the_uncertainty(tmp_path: Path) -> None:
    made = beads_with_a_moving_one(tmp_path / "t.parquet", 2)
    curve = estimate_drift(made.path, method="fiducials", fiducials=[(0.0, 0.0), (6000.0, 3000.0)], radius_nm=900.0)
    assert curve.details["num_fiducials"] == 2
    assert "it is not known which one moves" in curve.details["doubt"]
    z_score = (curve.shift_nm - made.drift_V3) / curve.sigma_nm
    assert 0.6 < np.sqrt(np.mean(z_score**2)) < 1.5


@pytest.mark.parametrize("count", [2, 3, 5])
def test_beads_that_agree_are_all_kept(count: int, tmp_path: Path) -> None:
    made = beads_with_a_moving_one(tmp_path / "t.parquet", count, step_nm=0.0)
    places = [(6000.0 * number, 3000.0 * (number % 2)) for number in range(count)]
    curve = estimate_drift(made.path, method="fiducials", fiducials=places, radius_nm=900.0)
    assert curve.details["num_fiducials"] == count
    assert curve.details["left_out"] == []
    assert curve.details["doubt"] is None
    z_score = (curve.shift_nm - made.drift_V3) / curve.sigma_nm
    assert 0.7 < np.sqrt(np.mean(z_score**2)) < 1.4


def test_a_single_bead_is_reported_as_doubtful(tmp_path: Path) -> None:
    made = beads_with_a_moving_one(tmp_path / "t.parquet", 1)
    curve = estimate_drift(made.path, method="fiducials", fiducials=[(0.0, 0.0)], radius_nm=900.0)
    assert "is the only one" in curve.details["doubt"]
