"""Windows, correlation and redundant least squares, each tested against known results."""

import numpy as np
import pytest

from lls_decode.drift.correlation.correlogram import GridCorrelator, NearCorrelator
from lls_decode.drift.correlation.solve import choose_pairs, solve
from lls_decode.drift.correlation.windows import MIN_POINTS, bends, cut_evenly, split


def two_clouds(num_axes: int, shift: list[float], count: int = 3000) -> list[np.ndarray]:
    """Return two sets of localizations of the same 150 spots, precise to 10 nm, the second one displaced."""
    random = np.random.default_rng(3)
    spots = random.uniform(0, 5000, (150, num_axes))
    clouds = [spots[random.integers(150, size=count)] + random.normal(0, 10, (count, num_axes)) for _ in range(2)]
    return [cloud.astype(np.float32) for cloud in (clouds[0], clouds[1] + np.array(shift))]


@pytest.mark.parametrize("shift", [[0.0, 0.0], [21.3, -9.7], [13.2, 4.1, -17.9]])
def test_correlation_of_near_points_gives_the_displacement_within_its_uncertainty(shift: list[float]) -> None:
    first, second = two_clouds(len(shift), shift)
    peak = NearCorrelator(second, np.full(len(shift), 14.0)).peak(first)
    assert peak is not None
    assert np.all(np.abs(peak.shift_nm - shift) < 1.0)
    assert np.all(peak.sigma_nm < 0.5)
    assert np.all(np.abs(peak.shift_nm - shift) < 6 * peak.sigma_nm)


def test_correlation_without_near_points_gives_none() -> None:
    first, second = two_clouds(2, [100_000.0, 0.0], count=50)
    assert NearCorrelator(second, np.full(2, 14.0)).peak(first) is None


@pytest.mark.parametrize("shift", [[1500.0, -700.0], [900.0, 1100.0, -600.0]])
def test_grid_correlation_finds_large_displacements_approximately(shift: list[float]) -> None:
    first, second = two_clouds(len(shift), shift)
    n = len(shift)
    grid = GridCorrelator(np.zeros(n), np.full(n, 6500.0), kernel_nm=np.full(n, 40.0), max_shift_nm=2000.0)
    found = grid.shift(grid.transform(first), grid.transform(second))
    assert np.all(np.abs(found - shift) < 60.0)


@pytest.mark.parametrize("num_windows", [2, 3, 30, 100, 500])
def test_pairs_of_windows_are_unique_ordered_and_of_all_distances(num_windows: int) -> None:
    pairs = choose_pairs(num_windows)
    assert len(np.unique(pairs, axis=0)) == len(pairs)
    assert np.all(pairs[:, 0] < pairs[:, 1])
    assert np.diff(pairs, axis=1).min() == 1
    assert np.diff(pairs, axis=1).max() >= num_windows // 2
    assert len(pairs) <= max(600, num_windows * num_windows.bit_length())


def redundant(num_windows: int = 20, num_wrong: int = 0) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(1)
    drift = random.normal(0, 50, (num_windows, 2))
    drift -= drift.mean(axis=0)
    pairs = choose_pairs(num_windows)
    sigma = random.uniform(0.5, 3, (len(pairs), 2))
    shift = drift[pairs[:, 1]] - drift[pairs[:, 0]] + sigma * random.standard_normal(sigma.shape)
    wrong = random.choice(len(pairs), num_wrong, replace=False)
    shift[wrong] += random.uniform(-300, 300, (num_wrong, 2))
    return drift, pairs, shift, sigma


@pytest.mark.parametrize("num_wrong", [0, 40])
def test_wrong_pairs_are_rejected_and_uncertainties_match(num_wrong: int) -> None:
    drift, pairs, shift, sigma = redundant(num_wrong=num_wrong)
    found = solve(pairs, shift, sigma, len(drift))
    assert np.abs(found.drift_nm - drift).max() < 2.0
    assert 0.6 < np.std((found.drift_nm - drift) / found.sigma_nm) < 1.5
    assert num_wrong * 0.8 <= found.num_rejected <= num_wrong + 10


def test_a_window_without_pairs_is_reported_as_unknown() -> None:
    drift, pairs, shift, sigma = redundant()
    shift[(pairs == 4).any(axis=1)] = np.nan
    found = solve(pairs, shift, sigma, len(drift))
    assert list(np.flatnonzero(~found.known)) == [4]
    off = (found.drift_nm - drift)[found.known]
    assert np.abs(off - off.mean(axis=0)).max() < 2.0


def test_windows_hold_whole_volumes_and_all_points() -> None:
    volume = np.sort(np.random.default_rng(0).integers(0, 40, 9000))
    windows = cut_evenly(volume, 7)
    finer = split(windows, np.full(len(windows), 4))
    for found in (windows, finer):
        assert (found.edges[0], found.edges[-1]) == (0, 9000)
        inner = found.edges[1:-1]
        assert np.all(volume[inner] != volume[inner - 1])
    assert finer.counts.min() >= MIN_POINTS / 2
    assert len(finer) > 2 * len(windows)


def test_one_volume_is_not_split() -> None:
    windows = cut_evenly(np.repeat([0, 1, 2], 5000), 3)
    assert len(split(windows, np.full(3, 2))) == 3


def test_bends_are_found_where_the_drift_is_not_linear() -> None:
    centres = np.arange(12.0)
    straight = (4 * centres)[:, None]
    assert not bends(centres, straight, np.full((12, 1), 0.5)).any()
    jump = straight + 50 * (centres > 5)[:, None]
    assert list(np.flatnonzero(bends(centres, jump, np.full((12, 1), 0.5))[:, 0])) == [4, 5, 6, 7]
    assert not bends(centres, jump, np.full((12, 1), 30.0)).any()
