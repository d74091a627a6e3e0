"""Fourier ring and shell correlations agree with closed forms of known structures.

For molecules at random places, localized ``n`` times in each half with error sigma per coordinate, the numerator is
n^2 g and the power n + n (n - 1) g, so that FRC(q) = n g / (1 + (n - 1) g) with g = exp(-4 pi^2 sigma^2 q^2).
"""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from lls_decode.errors import ConfigError, TableError
from lls_decode.evaluate import FourierCorrelation, fourier_correlation
from lls_decode.evaluate.frc import THRESHOLD, correlate, first_crossing, smooth


def rows(position: np.ndarray, frame: np.ndarray | int) -> dict[str, np.ndarray]:
    columns = {f"{axis}_nm": position[:, number] for number, axis in enumerate("xyz"[: position.shape[1]])}
    return {**columns, "frame": np.broadcast_to(frame, len(position))}


def molecules(
    *, num: int, times: int, sigma: float, size_nm: float, dimensions: int = 2, seed: int = 0
) -> list[dict[str, np.ndarray]]:
    """Return ``times`` localizations of each molecule in each of two frames."""
    random = np.random.default_rng(seed)
    site = random.uniform(0, size_nm, (num, dimensions))
    every = np.repeat(site, times, axis=0)
    return [rows(every + random.normal(0, sigma, every.shape), frame) for frame in range(2)]


def expected(curve: FourierCorrelation, *, times: int, sigma: float) -> np.ndarray:
    g = np.exp(-4 * np.pi**2 * sigma**2 * curve.q_per_nm**2)
    return np.asarray(times * g / (1 + (times - 1) * g))


@pytest.mark.parametrize(("times", "sigma"), [(1, 10.0), (1, 25.0), (5, 12.0)])
def test_ring_correlation_of_random_molecules_equals_the_closed_form(times: int, sigma: float) -> None:
    pieces = molecules(num=20_000, times=times, sigma=sigma, size_nm=4000.0)
    curve = fourier_correlation(lambda: pieces, pixel_nm=5.0, blocks=2)
    ideal = expected(curve, times=times, sigma=sigma)
    assert curve.num_localizations == (20_000 * times,) * 2
    # ring k has pi k independent coefficients, so that the spread is 1 / sqrt(2 pi k), or less where correlated
    scaled = (curve.correlation - ideal) * np.sqrt(2 * np.pi * np.arange(1, len(ideal) + 1))
    assert abs(scaled[10:].mean()) < 0.2
    assert scaled[200:].std() == pytest.approx(1, abs=0.2)
    assert np.abs(scaled[10:]).max() < 4.5
    # n g / (1 + (n - 1) g) = 1/7
    g = THRESHOLD / (times - (times - 1) * THRESHOLD)
    assert curve.resolution_nm == pytest.approx(2 * math.pi * sigma / math.sqrt(-math.log(g)), rel=0.05)


def test_shell_correlation_of_random_molecules_equals_the_closed_form() -> None:
    pieces = molecules(num=3000, times=1, sigma=20.0, size_nm=1200.0, dimensions=3)
    curve = fourier_correlation(lambda: pieces, pixel_nm=15.0, axes="xyz", blocks=2)
    assert len(curve.shape) == 3
    assert np.abs(curve.smoothed - expected(curve, times=1, sigma=20.0))[3:].max() < 0.06
    assert curve.resolution_nm == pytest.approx(2 * math.pi * 20.0 / math.sqrt(math.log(7)), rel=0.07)


def test_parallel_filaments_give_peaks_at_their_spacing() -> None:
    """With the structure factor S of the lines, the power is N + N^2 |S|^2 g and the numerator N^2 |S|^2 g.

    |S|^2 is averaged over rings in the plane of spatial frequencies.
    """
    random = np.random.default_rng(2)
    sigma, size, spacing, num = 9.0, 3000.0, 150.0, 4000
    at = np.arange(75.0, size, spacing)

    def half(frame: int) -> dict[str, np.ndarray]:
        position = np.column_stack([random.choice(at, num), random.uniform(0, size, num)])
        return rows(position + random.normal(0, sigma, position.shape), frame)

    pieces = [half(frame) for frame in range(2)]
    curve = fourier_correlation(lambda: pieces, pixel_nm=4.0, blocks=2)
    # lines along y over the whole field: S is that of a comb in x at q_y = 0; of its 2 pi q L coefficients, a ring of
    # radius q and width 1/L contains the line q_y = 0 twice
    q = curve.q_per_nm
    comb = np.abs(np.exp(2j * np.pi * q[:, None] * at).mean(axis=1)) ** 2
    signal = num * comb * np.exp(-4 * np.pi**2 * sigma**2 * q**2) / (np.pi * q * size)
    ideal = signal / (1 + signal)
    peaks = np.rint(np.arange(1, 5) / spacing * max(curve.shape) * 4.0).astype(int) - 1
    for peak, order in zip(peaks, range(1, 5), strict=True):
        near = slice(peak - 2, peak + 3)
        assert curve.correlation[near].max() == pytest.approx(ideal[near].max(), abs=0.2), order
    between = np.abs(q * spacing % 1 - 0.5) < 0.25
    assert abs(curve.correlation[between].mean()) < 0.02


def test_resolution_of_random_filaments_is_within_its_limits() -> None:
    """The resolution of densely localized filaments lies between that of molecules with 1 and with 10 localizations.

    A molecule localized n times has 2 pi sigma / sqrt(ln(7 n - n + 1)); filaments resemble molecules localized several
    times, because neighbours closer than the resolution belong to the same structure.
    """
    random = np.random.default_rng(3)
    sigma, size, filaments, num = 8.0, 3000.0, 60, 40_000
    start, angle = random.uniform(0, size, (filaments, 2)), random.uniform(0, 2 * np.pi, filaments)

    def half(frame: int) -> dict[str, np.ndarray]:
        which, along = random.integers(0, filaments, num), random.uniform(-1500, 1500, num)
        position = start[which] + along[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])[which]
        return rows(position + random.normal(0, sigma, position.shape), frame)

    pieces = [half(frame) for frame in range(2)]
    inside = {"x": (0.0, size), "y": (0.0, size)}
    curve = fourier_correlation(lambda: pieces, pixel_nm=4.0, blocks=2, region_nm=inside)

    def resolution(times: float) -> float:
        return 2 * math.pi * sigma / math.sqrt(math.log(6 * times + 1))

    assert resolution(10) < curve.resolution_nm < resolution(1)


def test_independent_halves_are_not_correlated() -> None:
    random = np.random.default_rng(4)
    pieces = [rows(random.uniform(0, 3000, (5000, 2)), frame) for frame in range(2)]
    curve = fourier_correlation(lambda: pieces, pixel_nm=5.0, blocks=2)
    assert abs(curve.correlation[10:].mean()) < 0.01
    assert math.isnan(curve.resolution_nm)
    assert not curve.reaches_threshold


def test_the_edge_of_the_field_does_not_correlate() -> None:
    """A field that ends sharply inside the picture would, without fading, give high correlation along the axes."""
    random = np.random.default_rng(5)
    pieces = [rows(random.uniform(0, 2000, (200_000, 2)), frame) for frame in range(2)]
    curve = fourier_correlation(lambda: pieces, pixel_nm=10.0, blocks=2)
    assert np.abs(curve.smoothed[10:]).max() < 0.14


def test_identical_halves_are_fully_correlated_and_have_no_crossing() -> None:
    position = np.random.default_rng(6).uniform(0, 1000, (500, 2))
    curve = fourier_correlation(lambda: [rows(position, 0), rows(position, 1)], pixel_nm=5.0, blocks=2)
    assert curve.correlation == pytest.approx(1.0, abs=1e-4)
    assert math.isnan(curve.resolution_nm)
    assert curve.reaches_threshold


@pytest.mark.parametrize(
    ("frames", "blocks", "per_volume", "even"),
    [
        pytest.param(range(10), 10, 1, {0, 2, 4, 6, 8}, id="one frame per block"),
        pytest.param(range(10), 2, 1, set(range(5)), id="two blocks"),
        pytest.param(range(100, 112), 4, 1, {100, 101, 102, 106, 107, 108}, id="does not start at 0"),
        pytest.param(range(12), 2, 4, set(range(8)), id="three volumes: two against one"),
        pytest.param(range(6, 18), 2, 6, set(range(6, 12)), id="starts with the second volume"),
    ],
)
def test_blocks_of_frames_alternate_between_the_halves(
    frames: range, blocks: int, per_volume: int, even: set[int]
) -> None:
    # frame f has f + 1 rows, so that numbers of rows identify the frames of a half
    random = np.random.default_rng(7)
    pieces = [rows(random.uniform(0, 1000, (frame + 1, 2)), frame) for frame in frames]
    curve = fourier_correlation(lambda: pieces, pixel_nm=10.0, blocks=blocks, frames_per_volume=per_volume)
    first = sum(frame + 1 for frame in frames if frame in even)
    assert curve.num_localizations == (first, sum(frame + 1 for frame in frames) - first)


def test_pieces_in_any_order_and_size_give_the_same_curve() -> None:
    whole = molecules(num=500, times=2, sigma=10.0, size_nm=1000.0)
    together = {name: np.concatenate([piece[name] for piece in whole]) for name in whole[0]}
    order = np.random.default_rng(8).permutation(len(together["frame"]))

    def shuffled() -> Iterator[dict[str, np.ndarray]]:
        for part in np.array_split(order, 7):
            yield {name: values[part] for name, values in together.items()}

    one = fourier_correlation(lambda: whole, pixel_nm=5.0, blocks=2)
    other = fourier_correlation(shuffled, pixel_nm=5.0, blocks=2)
    assert np.array_equal(one.correlation, other.correlation)


def test_a_region_limits_every_axis() -> None:
    pieces = molecules(num=4000, times=1, sigma=10.0, size_nm=2000.0, dimensions=3)
    curve = fourier_correlation(lambda: pieces, pixel_nm=5.0, blocks=2, region_nm={"x": (0, 500), "y": (500, 1500)})
    assert curve.shape[0] == pytest.approx(1000 / 5, abs=8)
    assert curve.shape[1] == pytest.approx(500 / 5, abs=8)
    inside = [
        int(((piece["x_nm"] >= 0) & (piece["x_nm"] <= 500) & (piece["y_nm"] >= 500) & (piece["y_nm"] <= 1500)).sum())
        for piece in pieces
    ]
    assert curve.num_localizations == tuple(inside)


def test_ring_correlation_equals_sums_over_a_plain_transform() -> None:
    """Sums over the whole plane, after fading and subtracting the mean, agree for odd and even sides."""
    for shape in ((22, 30), (25, 27)):
        random = np.random.default_rng(9)
        first = random.normal(size=shape).astype(np.float32)
        second = (first + random.normal(size=shape)).astype(np.float32)
        q, found = correlate([first.copy(), second.copy()], pixel_nm=2.0)
        fade = [np.sin(np.clip((np.minimum(np.arange(n), np.arange(n)[::-1]) + 0.5) / (n / 8), 0, 1) * np.pi / 2) ** 2
                for n in shape]  # fmt: skip
        one, other = (np.fft.fft2((half - half.mean()) * np.outer(*fade)) for half in (first, second))
        radius = np.hypot(np.fft.fftfreq(shape[0], 2.0)[:, None], np.fft.fftfreq(shape[1], 2.0)[None, :])
        ring = np.rint(radius * max(shape) * 2.0).astype(int)
        for number, value in zip(range(1, len(q) + 1), found, strict=True):
            a, b = one[ring == number], other[ring == number]
            plain = (a * b.conj()).sum().real / math.sqrt((abs(a) ** 2).sum() * (abs(b) ** 2).sum())
            assert value == pytest.approx(plain, abs=1e-4)
            assert q[number - 1] == pytest.approx(number / (max(shape) * 2.0))


def test_smoothing_keeps_lines_and_crossings_are_interpolated() -> None:
    line = 0.9 - 0.002 * np.arange(400)
    assert smooth(line) == pytest.approx(line)
    noisy = line + np.random.default_rng(10).normal(0, 0.05, 400)
    assert (smooth(noisy) - line).std() < 0.03
    q = np.arange(1, 401) / 1000
    # 0.9 - 0.002 k = 1/7
    assert first_crossing(q, line) == pytest.approx(1000 / (1 + (0.9 - 1 / 7) / 0.002))
    assert math.isnan(first_crossing(q, line - 0.8))
    assert math.isnan(first_crossing(q, line + 0.9))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param(
            {"blocks": 3}, ConfigError, "The number of blocks is 3; expected an even number", id="odd number of blocks"
        ),
        pytest.param({"blocks": 4}, ConfigError, "spans 2 frames, fewer than the 4 requested blocks", id="few frames"),
        pytest.param({"blocks": 2, "frames_per_volume": 2}, ConfigError, "spans 1 volumes", id="few volumes"),
        pytest.param(
            {"blocks": 2, "pixel_nm": 0.01}, ConfigError, "choose pixels of 0.1 nm, or a region", id="picture too large"
        ),
        pytest.param(
            {"blocks": 2, "region_nm": {"x": (9e3, 9e4)}},
            TableError,
            "no localizations",
            id="region without localizations",
        ),
    ],
)
def test_unsuitable_options_are_refused(options: dict, error: type[Exception], message: str) -> None:
    pieces = molecules(num=100, times=1, sigma=1.0, size_nm=1000.0)
    with pytest.raises(error, match=message):
        fourier_correlation(lambda: pieces, **{"pixel_nm": 5.0, **options})


def test_rows_without_a_position_are_refused() -> None:
    with pytest.raises(TableError, match="without a finite x_nm or y_nm"):
        fourier_correlation(lambda: [rows(np.array([[0.0, np.nan]]), 0)], pixel_nm=5.0)
