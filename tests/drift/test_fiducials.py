"""Beads: found or given, in movies and sweeps, and a real one."""

from pathlib import Path

import numpy as np
import pytest

from lls_decode.config import Geometry
from lls_decode.drift import estimate_drift
from lls_decode.drift.beads import find_beads, read_beads
from lls_decode.drift.points import TableView
from lls_decode.errors import ConfigError, TableError

from .conftest import GEOMETRY, Made, sigma_columns, wandering, write_beads, write_rows

REAL = Path(__file__).resolve().parents[3] / "shared/data/tables/sotilt3d/fiducial_bead_EasyDHPSF_localizations.csv"


@pytest.mark.parametrize("geometry", [None, GEOMETRY], ids=["movie", "sweeps"])
def test_beads_are_found_and_followed(geometry: Geometry | None, tmp_path: Path) -> None:
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


def test_given_beads_and_a_smooth_drift(tmp_path: Path) -> None:
    """A slow drift is smoothed over many volumes, to a part of the precision of one."""
    made, beads = write_beads(tmp_path / "beads.parquet", wandering(400), geometry=None)
    (tmp_path / "beads.csv").write_text("name,x_nm,y_nm\n" + "".join(f"7,{x},{y}\n" for x, y, _ in beads[:2]))
    curve = estimate_drift(made.path, method="fiducials", fiducials=tmp_path / "beads.csv")
    assert curve.details["num_fiducials"] == 2
    assert curve.details["smooth_volumes"] >= 2
    assert np.all(made.errors(curve.shift_nm) < np.array([2.0, 2.0, 5.0]))
    same = estimate_drift(made.path, method="fiducials", fiducials=[(x, y) for x, y, _ in beads[:2]])
    assert np.array_equal(same.shift_nm, curve.shift_nm)


def test_beads_that_come_and_go(tmp_path: Path) -> None:
    made, beads = write_beads(tmp_path / "beads.parquet", wandering(400), geometry=None, share=0.4)
    places = [(float(x), float(y)) for x, y, _ in beads]
    curve = estimate_drift(made.path, method="fiducials", fiducials=places)
    assert np.all(made.errors(curve.shift_nm) < 5.0)


def test_molecules_are_no_beads(small_sweeps: Made) -> None:
    with pytest.raises(TableError, match="no place at which something is seen in 80%"):
        estimate_drift(small_sweeps.path, method="fiducials", radius_nm=100.0)
    with pytest.raises(TableError, match="None of 1 places"):
        estimate_drift(small_sweeps.path, method="fiducials", fiducials=[(0.0, 0.0)])


def test_bad_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "beads.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="'x_nm,y_nm'"):
        read_beads(tmp_path / "beads.csv")
    with pytest.raises(ConfigError, match="no bead"):
        read_beads([])


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL} is not here")
def test_a_real_bead_predicts_itself(tmp_path: Path) -> None:
    """Drift from every second frame of a real bead, against its positions in the others."""
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
    # what is left is the noise of single positions, not the drift of the whole track
    assert np.all(left[kept].std(axis=0) < 1.5 * scatter)
    assert np.any(np.ptp(curve.shift_nm, axis=0) > 2 * scatter)
