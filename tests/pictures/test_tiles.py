"""Tiled drawing: emitters are in their tile and in the margins of its neighbours, and pictures show no seams."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lls_decode.errors import ConfigError
from lls_decode.pictures.tiled import tiles
from lls_decode.pictures.tiled.tiles import Buckets, Shape, TiledCanvas, Tiling, reach_px

SHAPE: Shape = (3, 37, 50)
SIGMAS = [(0.5, 0.4), (1.2, 1.0), (2.0, 1.7)]


def emitters(number: int, shape: Shape = SHAPE, seed: int = 0) -> tuple[list[Any], npt.NDArray[np.int64]]:
    """Return random pixels, some of them outside the picture, and levels of blur."""
    random = np.random.default_rng(seed)
    pixels = [random.integers(-2, size + 2, number).astype(float) for size in shape]
    return pixels, random.integers(0, 3, number)


def draw(folder: Path, tiling: Tiling, *, pieces: int = 1, sigmas: Any = SIGMAS, number: int = 4000) -> Any:
    pixels, levels = emitters(number, tiling.shape)
    (folder / "spill").unlink(missing_ok=True)
    canvas = TiledCanvas(tiling, folder / "spill", sigmas_px=sigmas)
    for part in np.array_split(np.arange(number), pieces):
        canvas.add([pixel[part] for pixel in pixels], levels[part] if sigmas else None)
    picture = np.zeros(tiling.shape, dtype=np.float32)
    for box, light in canvas.tiles():
        assert not picture[box].any()  # each tile occurs once
        picture[box] = light
    return picture, canvas.num_drawn


@pytest.mark.parametrize("tile", [(3, 37, 50), (1, 16, 16), (2, 8, 20), (1, 7, 7), (5, 64, 64)])
@pytest.mark.parametrize("margin", [(0, 0, 0), (0, 7, 6)], ids=["points", "Gaussians"])
def test_tiled_pictures_are_bit_identical_to_whole_ones(tmp_path: Path, tile: Shape, margin: Shape) -> None:
    sigmas = SIGMAS if any(margin) else []
    whole, number = draw(tmp_path, Tiling(SHAPE, SHAPE, margin), sigmas=sigmas)
    tiled, same = draw(tmp_path, Tiling(SHAPE, tile, margin), sigmas=sigmas)
    assert np.array_equal(whole, tiled)
    assert number == same
    assert whole.any()


@pytest.mark.parametrize("pieces", [2, 7, 400])
def test_pictures_do_not_depend_on_pieces_and_memory(
    tmp_path: Path, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiling = Tiling(SHAPE, (1, 16, 16), (0, 7, 6))
    whole, _ = draw(tmp_path, tiling)
    monkeypatch.setattr(tiles, "_KEYS_IN_MEMORY", 500)
    pieced, _ = draw(tmp_path, tiling, pieces=pieces)
    assert np.array_equal(whole, pieced)


def test_a_picture_of_points_is_their_histogram(tmp_path: Path) -> None:
    picture, number = draw(tmp_path, Tiling(SHAPE, (2, 8, 20), (0, 0, 0)), sigmas=[])
    pixels, _ = emitters(4000)
    edges = [np.arange(size + 1) - 0.5 for size in SHAPE]
    expected, _ = np.histogramdd(np.stack(pixels, axis=1), edges)
    assert np.array_equal(picture, expected)
    assert picture.sum() == number


@pytest.mark.parametrize(("sigma_y", "sigma_x"), [(2.0, 3.0), (0.4, 5.0), (4.0, 4.0)])
def test_a_gaussian_has_sum_one_and_the_right_shape(tmp_path: Path, sigma_y: float, sigma_x: float) -> None:
    shape = (1, 101, 121)
    margin = (0, reach_px(sigma_y), reach_px(sigma_x))
    canvas = TiledCanvas(Tiling(shape, (1, 32, 32), margin), tmp_path / "spill", sigmas_px=[(sigma_y, sigma_x)])
    canvas.add([np.zeros(1), np.array([50.0]), np.array([63.0])])  # near the corner of tiles
    picture = np.zeros(shape)
    for box, light in canvas.tiles():
        picture[box] = light
    assert picture.sum() == pytest.approx(1.0, rel=1e-5)
    _, y, x = np.indices(shape)
    exponent = (y - 50) ** 2 / (2 * sigma_y**2) + (x - 63) ** 2 / (2 * sigma_x**2)
    inside = (np.abs(y - 50) <= margin[1]) & (np.abs(x - 63) <= margin[2])
    expected = np.where(inside, np.exp(-exponent), 0)
    assert np.allclose(picture, expected / expected.sum(), atol=1e-7)


@pytest.mark.parametrize("margin", [0, 1, 4])
def test_every_tile_contains_the_emitters_within_its_margin(margin: int) -> None:
    tiling = Tiling((1, 10, 9), (1, 4, 5), (0, margin, margin))
    y, x = (values.ravel() for values in np.indices((10, 9)))
    found = set()
    for tile, place, chosen in tiling.locate([np.zeros_like(y), y, x]):
        found |= set(zip(tile.tolist(), place.tolist(), y[chosen].tolist(), x[chosen].tolist(), strict=True))
    expected = set()
    for number in range(tiling.num_tiles):
        top, left = (part.start - margin for part in tiling.box(number)[1:])
        high, wide = tiling.padded[1:]
        expected |= {
            (number, row * wide + column, top + row, left + column)
            for row in range(high)
            for column in range(wide)
            if 0 <= top + row < 10 and 0 <= left + column < 9
        }
    assert found == expected


def test_buckets_return_the_counts_of_all_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_KEYS_IN_MEMORY", 64)
    buckets = Buckets(tmp_path / "keys", span=10)
    random = np.random.default_rng(0)
    keys = np.concatenate([random.integers(0, 30, 500), random.integers(70, 120, 300)])
    for part in np.array_split(keys, 37):
        buckets.add(part)
    buckets.flush()
    assert buckets.filled() == [0, 1, 2, *range(7, 12)]
    found = np.concatenate([buckets.counts(bucket) for bucket in range(12)])
    assert np.array_equal(found, np.bincount(keys, minlength=120))
    assert (tmp_path / "keys").stat().st_size == 8 * 800


def test_a_gaussian_wider_than_a_tile_is_refused() -> None:
    with pytest.raises(ConfigError, match="use larger pixels"):
        Tiling(SHAPE, (1, 16, 16), (0, 17, 3))
    assert reach_px(1.0) == math.floor(tiles.TRUNCATE + 0.5)
