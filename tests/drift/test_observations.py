"""Consecutive frames of one molecule count as one observation, but repeated visits to a site count separately."""

from pathlib import Path

import numpy as np
import pytest

from lls_decode.drift import estimate_drift
from lls_decode.drift.observations import one_of_each_molecule
from lls_decode.drift.points import TableView, read_points

from .conftest import Floats, Made, binding_sites, wandering, write_at, write_some

FRAMES = 2000


def staying_on(path: Path, number: int, drift_V3: Floats, *, frames: float, seed: int = 0) -> Made:
    """Write molecules that stay on for ``frames`` frames on average, at most 50."""
    random = np.random.default_rng(seed)
    length = np.minimum(random.geometric(1 / frames, number), 50)
    start = random.integers(0, len(drift_V3) - 50, number)
    within = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    place = np.repeat(binding_sites(number, random, planes=1), length, axis=0)
    return write_at(path, np.repeat(start, length) + within, place, drift_V3, seed=seed, flat=True)


def revisited(path: Path, number: int, sites: int, drift_V3: Floats, *, seed: int = 0) -> Made:
    """Write sites that are visited repeatedly, for one frame each time."""
    random = np.random.default_rng(seed)
    place = binding_sites(sites, random, planes=1)[random.integers(0, sites, number)]
    return write_at(path, random.integers(0, len(drift_V3), number), place, drift_V3, seed=seed, flat=True)


@pytest.mark.parametrize("frames", [3.0, 10.0])
def test_a_molecule_counts_as_one_point(frames: float, tmp_path: Path) -> None:
    made = staying_on(tmp_path / "t.parquet", 1500, np.zeros((FRAMES, 3)), frames=frames)
    points = read_points(TableView.of(made.path))
    found = one_of_each_molecule(points)
    assert 0.9 * 1500 < len(found) < 1.3 * 1500
    assert np.all(np.diff(found.volume) >= 0)
    assert found.num_volumes == points.num_volumes


@pytest.mark.parametrize("sites", [40, 100_000])
def test_single_frames_and_repeated_visits_are_all_kept(sites: int, tmp_path: Path) -> None:
    made = revisited(tmp_path / "t.parquet", 4000, sites, np.zeros((FRAMES, 3)))
    points = read_points(TableView.of(made.path))
    assert one_of_each_molecule(points) is points


def test_permanent_emitters_are_not_reduced(tmp_path: Path) -> None:
    """A bead is as near to itself much later as in the next frame, so it is no molecule and follows the drift."""
    place = np.repeat(binding_sites(5, np.random.default_rng(0), planes=1), FRAMES, axis=0)
    made = write_at(tmp_path / "t.parquet", np.tile(np.arange(FRAMES), 5), place, np.zeros((FRAMES, 3)))
    points = read_points(TableView.of(made.path))
    assert one_of_each_molecule(points) is points


def test_long_on_times_do_not_bias_drift_or_its_uncertainty(tmp_path: Path) -> None:
    """1500 molecules at rest, each on for ten frames, give errors of a few nanometres that match the uncertainty."""
    errors, sigmas = [], []
    for seed in range(3):
        made = staying_on(tmp_path / "t.parquet", 1500, np.zeros((FRAMES, 3)), frames=10.0, seed=seed)
        curve = estimate_drift(made.path)
        assert curve.details["num_localizations"] < 0.2 * curve.details["num_rows"]
        volume = made.volumes()
        error = curve.at(volume)[:, :2]
        errors.append(error - error.mean(axis=0))
        sigmas.append(curve.sigma_nm[volume - curve.first_volume, :2])
    error, sigma = np.concatenate(errors), np.concatenate(sigmas)
    assert 0.6 < np.sqrt(np.mean((error / sigma) ** 2)) < 1.4
    assert np.all(np.sqrt(np.mean(error**2, axis=0)) < 6.0)


def test_repeated_visits_give_the_drift_and_its_uncertainty(tmp_path: Path) -> None:
    """60 sites visited about 250 times each give many pairs, which are not independent."""
    made = revisited(tmp_path / "t.parquet", 15_000, 60, wandering(FRAMES))
    curve = estimate_drift(made.path)
    volume = made.volumes()
    error = (curve.at(volume) - made.drift_V3[volume])[:, :2]
    error -= error.mean(axis=0)
    sigma = curve.sigma_nm[volume - curve.first_volume, :2]
    assert np.all(np.sqrt(np.mean(error**2, axis=0)) < 3.0)
    assert 0.6 < np.sqrt(np.mean((error / sigma) ** 2)) < 1.5


def test_all_rows_are_kept_if_chance_neighbours_are_frequent(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    made = write_some(tmp_path / "t.parquet", random.integers(0, 100, 40_000), np.zeros((100, 3)), flat=True)
    points = read_points(TableView.of(made.path))
    assert one_of_each_molecule(points) is points
