"""Uncertainty and support of a drift curve between and beyond the times at which drift was measured."""

from pathlib import Path

import numpy as np
import pytest

from lls_decode.drift import DriftCurve, draw_curve, estimate_drift, read_curve, write_curve
from lls_decode.drift.benefit.halves import calibrate, cells_of, halve
from lls_decode.drift.correlation.windows import cut_at_gaps, cut_evenly, cut_long
from lls_decode.drift.curve.coverage import survey_coverage
from lls_decode.drift.curve.support import Knots, held, uncertainty

from .conftest import Floats, Made, wandering, write_some

FRAMES = 4000


def at_rows(made: Made, curve: DriftCurve) -> tuple[Floats, Floats, Floats]:
    """Return errors (with mean zero), uncertainties and volumes of all rows."""
    volume = made.volumes()
    error = curve.at(volume) - made.drift_V3[volume]
    return error - error.mean(axis=0), curve.sigma_nm[volume - curve.first_volume], volume


def gauged(made: Made, curve: DriftCurve) -> Floats:
    """Return errors ``(V, 3)`` of all volumes, relative to the mean error of rows."""
    volume = made.volumes()
    offset = (curve.at(volume) - made.drift_V3[volume]).mean(axis=0)
    return curve.shift_nm - made.drift_V3[curve.volume] - offset


@pytest.fixture(scope="module")
def bleached(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, DriftCurve]:
    random = np.random.default_rng(3)
    volume = np.minimum(random.exponential(FRAMES / 8, 20_000).astype(int), FRAMES - 1)
    made = write_some(tmp_path_factory.mktemp("bleached") / "t.parquet", volume, wandering(FRAMES))
    return made, estimate_drift(made.path)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, DriftCurve]:
    random = np.random.default_rng(4)
    third = FRAMES * 3 // 10
    volume = np.concatenate([random.integers(0, third, 10_000), random.integers(FRAMES - third, FRAMES, 10_000)])
    made = write_some(tmp_path_factory.mktemp("gap") / "t.parquet", volume, wandering(FRAMES))
    return made, estimate_drift(made.path)


def test_uncertainty_grows_where_few_rows_are_left(bleached: tuple[Made, DriftCurve]) -> None:
    made, curve = bleached
    error, sigma, volume = at_rows(made, curve)
    assert 0.6 < np.sqrt(np.mean((error / sigma) ** 2)) < 1.5
    assert np.all(np.sqrt(np.mean(error[volume < FRAMES // 4] ** 2, axis=0)) < 5.0)
    off = gauged(made, curve)
    assert np.mean(np.abs(off) > 4 * curve.sigma_nm) < 0.05
    late = slice(int(0.9 * len(curve)), None)
    assert np.all(curve.sigma_nm[late].mean(axis=0) > 5 * curve.sigma_nm[: FRAMES // 4].mean(axis=0))


def test_a_gap_is_bridged_and_reported_as_unsupported(interrupted: tuple[Made, DriftCurve]) -> None:
    made, curve = interrupted
    error, sigma, volume = at_rows(made, curve)
    assert 0.6 < np.sqrt(np.mean((error / sigma) ** 2)) < 1.5
    assert curve.supported is not None
    assert 0.35 < np.mean(~curve.supported) < 0.45
    assert curve.details["unsupported_volumes"] == pytest.approx(np.mean(~curve.supported), abs=1e-4)
    assert curve.details["unsupported_rows"] < 0.02
    assert survey_coverage(made.path, curve).unsupported == curve.unsupported(volume).sum()
    middle = curve.sigma_nm[FRAMES // 2 - curve.first_volume]
    assert np.all(middle > 5 * np.median(sigma, axis=0))
    inside = slice(FRAMES * 3 // 10, FRAMES * 7 // 10)
    off = np.abs(gauged(made, curve))[inside]
    assert np.mean(off > 3 * curve.sigma_nm[inside]) < 0.05


def test_support_is_stored_in_the_file_and_drawn(interrupted: tuple[Made, DriftCurve], tmp_path: Path) -> None:
    _, curve = interrupted
    again = read_curve(write_curve(tmp_path / "curve.parquet", curve), coords="raw")
    assert curve.supported is not None
    assert again.supported is not None
    assert np.array_equal(again.supported, curve.supported)
    pytest.importorskip("matplotlib")
    draw_curve(tmp_path / "with.png", curve)
    draw_curve(tmp_path / "without.png", DriftCurve(curve.first_volume, curve.shift_nm, curve.sigma_nm, "raw", "rcc"))
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "without.png").read_bytes()


def test_beyond_the_data_the_curve_is_constant_with_growing_uncertainty() -> None:
    random = np.random.default_rng(0)
    time = np.arange(50.0, 1000.0, 10.0)
    drift = np.cumsum(random.normal(0, 3, (len(time), 2)), axis=0)
    knots = Knots(time, np.full(len(time), 5.0), drift, np.full(drift.shape, 0.5))
    shift, (sigma, supported) = held(knots, 0, 1999), uncertainty(knots, 0, 1999)
    assert np.all(shift[1100:] == shift[1001])
    assert np.all(np.diff(sigma[1001:], axis=0) > 0)
    edges = np.flatnonzero(np.diff(supported.astype(int)))
    assert len(edges) == 2
    assert np.all(np.abs(edges - [44, 995]) <= 1)
    # a random walk: 3 nm after 10 volumes, 30 nm after 1000
    assert np.all((sigma[1995] > 15) & (sigma[1995] < 60))


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_uncertainty_between_knots_matches_a_random_walk(scale: float) -> None:
    """Knots every 50 volumes are compared with random walks that are known in each volume."""
    random = np.random.default_rng(1)
    walk = np.cumsum(random.normal(0, scale, (5000, 3)), axis=0)
    time = np.arange(25, 5000, 50)
    sigma_W = np.full((len(time), 3), 0.2)
    drift = walk[time] + 0.2 * random.normal(size=(len(time), 3))
    knots = Knots(time.astype(float), np.full(len(time), 25.0), drift, sigma_W)
    inside = slice(25, 4975)
    sigma, _ = uncertainty(knots, 0, 4999)
    error = (held(knots, 0, 4999) - walk)[inside]
    assert 0.8 < np.sqrt(np.mean((error / sigma[inside]) ** 2)) < 1.25


def test_uncertainty_of_a_smooth_drift_matches_that_of_its_knots() -> None:
    time = np.arange(25.0, 5000.0, 50.0)
    drift = 200 * np.sin(time[:, None] / 900 + np.arange(3))
    knots = Knots(time, np.full(len(time), 25.0), drift, np.full((len(time), 3), 0.5))
    sigma, supported = uncertainty(knots, 25, 4975)
    assert np.all(sigma.max(axis=0) < 1.0)
    assert supported.all()


def test_a_jump_is_uncertain_only_near_the_jump() -> None:
    time = np.arange(25.0, 2000.0, 50.0)
    drift = np.where(time[:, None] > 1000, 100.0, 0.0) + np.random.default_rng(2).normal(0, 0.5, (len(time), 1))
    knots = Knots(time, np.full(len(time), 25.0), drift, np.full((len(time), 1), 0.5))
    sigma, _ = uncertainty(knots, 0, 1999)
    assert sigma[1000, 0] > 30
    assert np.all(sigma[100:900, 0] < 2)


def test_windows_do_not_span_gaps_and_are_not_too_long() -> None:
    random = np.random.default_rng(0)
    volume = np.sort(np.concatenate([random.integers(0, 300, 3000), random.integers(900, 1000, 900)]))
    windows = cut_at_gaps(cut_evenly(volume, 5))
    ends = volume[windows.edges[1:-1] - 1], volume[windows.edges[1:-1]]
    assert np.any((ends[0] < 300) & (ends[1] >= 900))
    tail = np.sort(np.minimum(random.exponential(100, 20_000), 999).astype(int))
    even, finer = cut_evenly(tail, 12), cut_long(cut_evenly(tail, 12))
    assert finer.reach[-2] < even.reach[-1] / 3
    same = cut_evenly(np.arange(20_000), 12)
    assert len(cut_long(cut_at_gaps(same))) == len(same)


def test_halves_share_no_cell_and_have_similar_sizes() -> None:
    position = np.random.default_rng(0).uniform(0, 20_000, (5000, 3))
    cell = cells_of(position, np.array([17.0, 17.0, 34.0]))
    first = halve(cell, 0)
    assert not set(cell[first]) & set(cell[~first])
    assert 0.4 < first.mean() < 0.6
    assert np.any(first != halve(cell, 1))


def test_uncertainties_are_calibrated_as_a_function_of_their_size() -> None:
    random = np.random.default_rng(0)
    stated = np.exp(random.uniform(-1, 2, (400, 2)))
    truth = 3.0 * stated ** np.array([1.0, 0.5])
    found = calibrate(stated, stated, truth * random.normal(size=stated.shape))
    assert np.all(np.abs(np.log(found / truth)) < 0.3)
