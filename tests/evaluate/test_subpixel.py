"""Sub-pixel bias is measured for positions with a known density within the pixel."""

import math

import numpy as np
import pytest

from lls_decode.config import PixelSize
from lls_decode.evaluate import subpixel_bias

PIXEL = PixelSize(x_nm=110.0, y_nm=90.0)


def positions(num: int, modulation: float, seed: int = 0) -> np.ndarray:
    """Draw positions in pixels with density 1 + modulation * cos(2 pi x) by rejection."""
    random = np.random.default_rng(seed)
    part = random.uniform(-0.5, 0.5, 3 * num)
    part = part[random.uniform(0, 1 + abs(modulation), len(part)) < 1 + modulation * np.cos(2 * np.pi * part)][:num]
    return random.integers(-3, 500, num) + part


@pytest.mark.parametrize("modulation", [0.0, 0.3, -0.2, 1.0])
def test_the_modulation_is_measured_within_its_error(modulation: float) -> None:
    num = 50_000
    rows = {"x_nm": PIXEL.x_nm * positions(num, modulation), "y_nm": PIXEL.y_nm * positions(num, 0.0, seed=1)}
    x, y = subpixel_bias([rows], PIXEL)
    assert x.num == y.num == num
    assert x.modulation == pytest.approx(modulation, abs=4 * x.modulation_error)
    assert y.modulation == pytest.approx(0, abs=4 * y.modulation_error)
    assert y.largest_deviation < 4.5
    # bins at centre and border deviate by modulation * mean, in units of sqrt(mean)
    assert x.largest_deviation == pytest.approx(abs(modulation) * math.sqrt(num / 20), abs=4.5)


def test_a_bias_to_one_side_has_an_amplitude_but_no_modulation() -> None:
    leaning = positions(50_000, 0.2) + 0.25  # density 1 + 0.2 sin(2 pi x)
    x, _ = subpixel_bias([{"x_nm": PIXEL.x_nm * leaning, "y_nm": np.zeros(50_000)}], PIXEL)
    assert x.modulation == pytest.approx(0, abs=4 * x.modulation_error)
    assert x.amplitude == pytest.approx(0.2, abs=4 * x.modulation_error)


def test_the_spread_of_the_modulation_equals_its_stated_error() -> None:
    measured = []
    for seed in range(300):
        x, _ = subpixel_bias([{"x_nm": 110 * positions(500, 0.0, seed=seed), "y_nm": np.zeros(500)}], PIXEL)
        measured.append(x.modulation / x.modulation_error)
    assert np.std(measured) == pytest.approx(1, abs=0.15)


def test_pieces_add_up_and_zero_is_the_pixel_centre() -> None:
    x, y = subpixel_bias([{"x_nm": [0.0, 220.0], "y_nm": [44.9, 45.1]}, {"x_nm": [-54.9], "y_nm": [np.nan]}], PIXEL)
    assert x.counts[10] == 2  # at the centre, in the bin that starts at 0
    assert x.counts[0] == 1  # just inside the lower border of pixel 0
    assert (y.counts[19], y.counts[0]) == (1, 1)  # on both sides of the border between pixels 0 and 1
    assert (x.num, y.num) == (3, 2)


def test_no_rows_give_no_modulation() -> None:
    x, _ = subpixel_bias([], PIXEL)
    assert x.num == 0
    assert math.isnan(x.modulation)
    assert math.isnan(x.largest_deviation)
