"""Coloured pictures, drawn in tiles and written row by row, equal those drawn on a single canvas."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from lls_decode.outputs import PROGRAM
from lls_decode.pictures import drawing_plan
from lls_decode.pictures.canvas import DepthCanvas
from lls_decode.pictures.colours import depth_colours, white
from lls_decode.pictures.render import render_png
from lls_decode.pictures.survey import survey_table
from lls_decode.pictures.tiled import light, tiff
from lls_decode.pictures.tiled.frame import Frame
from lls_decode.pictures.tiled.light import Percentile, StoredLight
from lls_decode.pictures.tiled.png import write_png
from lls_decode.pictures.view import AXES, View, ViewedTable
from lls_decode.table.marks import kind_of
from tests.pictures.tables import filaments, write

Bytes = npt.NDArray[np.uint8]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a small picture consist of many tiles, chunks, bands and strips."""
    monkeypatch.setattr(drawing_plan, "TILE", {False: (1, 96, 96)})
    monkeypatch.setattr(light, "_CHUNK", (1, 32, 96))
    monkeypatch.setattr(light, "_PIXELS_AT_ONCE", 32 * 500)
    monkeypatch.setattr(tiff, "_STRIP_BYTES", 7000)


def drawn_whole(table: Path, view: View, *, mode: str = "gaussian", blur_nm: float | None = None, colour: Any = "depth",
         pixel_nm: float = 20.0) -> Bytes:  # fmt: skip
    """Return the picture drawn on a single canvas."""
    source = ViewedTable(table, view, colour=colour)
    survey = survey_table(source)
    horizontal, vertical, _ = AXES[view.projection]
    canvas = DepthCanvas(
        pixel_nm=pixel_nm,
        extent_nm=survey.extent("all", pixel_nm),
        z_range_nm=survey.colour_range,
        vertical_blur=survey.vertical_blur if blur_nm is None else 1.0,
        colours=white() if colour == "none" else depth_colours(),
    )
    for piece in source.pieces():
        sigma = None if mode == "histogram" else blur_nm or piece.sigma_nm[horizontal]
        canvas.add(piece.position_nm[horizontal], piece.position_nm[vertical], piece.colour, sigma_nm=sigma)
    image = canvas.image()
    return image[::-1] if vertical == "z" else image


VIEWS = {"from above": View(), "from the side": View(projection="xz"), "tilted": View(tilt_deg=30, slab_nm=(-9e3, 90))}
HOW: dict[str, Any] = {
    "own sigma": {},
    "histogram": {"mode": "histogram"},
    "one sigma": {"blur_nm": 35.0},
    "time": {"colour": "time"},
    "white": {"colour": "none", "mode": "histogram"},
}


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_tiled_pictures_equal_those_of_a_single_canvas(tmp_path: Path, view: View, how: Any) -> None:
    table = write(tmp_path / "t.parquet", group_rows=700, **filaments(4000))
    drawn = render_png(table, tmp_path / "a.tif", view=view, **how)
    found, expected = tifffile.imread(tmp_path / "a.tif"), drawn_whole(table, view, **how)
    assert found.shape == expected.shape == (*drawn.shape, 3)
    assert expected.any()
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("projection", ["xy", "xz"])
@pytest.mark.parametrize("pixel_nm", [5.0, 20.0, 60.0], ids=["not enlarged", "enlarged", "enlarged more"])
def test_png_and_tiff_have_the_same_pixels(tmp_path: Path, pixel_nm: float, projection: Any) -> None:
    table = write(tmp_path / "t.parquet", **filaments(2000))
    for name in ("a.png", "a.tif"):
        drawn = render_png(table, tmp_path / name, pixel_nm=pixel_nm, view=View(projection=projection))
    expected = tifffile.imread(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.png") as file:
        picture, about = np.asarray(file.convert("RGB")), json.loads(file.info["lls_decode"])
    enlarged = round(pixel_nm / about["pixel_nm"])
    assert enlarged == max(1, -(-700 // max(drawn.shape)))
    top, left = about["top_px"], about["left_px"]
    tall, wide = drawn.shape[0] * enlarged, drawn.shape[1] * enlarged
    within = picture[top : top + tall, left : left + wide]
    large = expected.repeat(enlarged, axis=0).repeat(enlarged, axis=1)
    differing = np.argwhere((within != large).any(axis=2))
    words = np.zeros((tall, wide), dtype=bool)  # overlaid text in one corner and scale bar in the other
    scale = max(0.8, max(tall, wide) / 1000)
    words[: int(34 * scale), : int(250 * scale)] = True
    words[-int(48 * scale) :, -int(wide / 4 + 90 * scale) :] = True
    assert len(differing)
    assert words[tuple(differing.T)].all()
    assert not picture[0].any()  # the first row is a black margin


def test_a_png_records_pixel_size_and_position(tmp_path: Path) -> None:
    table = write(tmp_path / "t.parquet", **filaments(500))
    drawn = render_png(table, tmp_path / "a.png", pixel_nm=4.0)
    with Image.open(tmp_path / "a.png") as file:
        per_inch, about = file.info["dpi"][0], json.loads(file.info["lls_decode"])
        assert file.info["Software"] == PROGRAM
    assert 25.4e6 / per_inch == pytest.approx(4.0)
    assert [tuple(about[name]) for name in ("x_axis_nm", "y_axis_nm")] == list(drawn.extent_nm)
    assert (about["axes"], about["coordinates"], about["y_axis_upwards"]) == ("xy", "raw", False)
    assert kind_of(tmp_path / "a.png") == "a picture (PNG)"


@pytest.mark.parametrize("number", [1, 2, 3, 50])
@pytest.mark.parametrize("band", [1, 7, 1000])
def test_png_rows_are_read_back(tmp_path: Path, number: int, band: int) -> None:
    random = np.random.default_rng(number)
    noise = random.integers(0, 256, (number, 19, 3)).astype(np.uint8)
    slope = np.add.outer(np.arange(number), np.arange(57)).reshape(number, 19, 3).astype(np.uint8)
    for picture in (noise, slope, noise // 200 * 200):
        bands = [picture[start : start + band] for start in range(0, number, band)]
        write_png(tmp_path / "a.png", bands, width=19, height=number, pixel_nm=5, text={"Software": "x"})
        with Image.open(tmp_path / "a.png") as file:
            assert np.array_equal(np.asarray(file), picture)
    with pytest.raises(ValueError, match="rows were given for a picture of"):
        write_png(tmp_path / "a.png", bands, width=19, height=number + 1, pixel_nm=5, text={})


@pytest.mark.parametrize("shape", [(50, 20, 3), (2, 50, 60)], ids=["colour", "two channels"])
@pytest.mark.parametrize("num_rows", [1, 7, 50])
@pytest.mark.parametrize("band", [1, 9, 50])
def test_strips_contain_the_rows_in_order(shape: tuple[int, ...], num_rows: int, band: int) -> None:
    whole = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    pages = [whole] if shape[2] == 3 else list(whole)
    bands = [page[start : start + band] for page in pages for start in range(0, 50, band)]
    strips = list(tiff._strips(bands, num_rows, 50))
    assert [len(strip) for strip in strips] == ([num_rows] * (50 // num_rows) + [50 % num_rows][: 50 % num_rows]) * len(
        pages
    )
    assert np.array_equal(np.concatenate(strips), np.concatenate(pages))


KINDS: dict[str, Any] = {
    "spread": lambda random: random.lognormal(0, 3, 5000),
    "counts": lambda random: random.poisson(0.4, 5000),
    "few values": lambda random: random.uniform(0, 1, 3),
    "one value": lambda random: np.array([0.3]),
    "equal values": lambda random: np.full(400, 2.5),
    "one large value at the end": lambda random: np.r_[random.uniform(0, 1e-3, 3000), 10.0],
    "just above darkness": lambda random: np.r_[np.full(500, 1e-4), np.nextafter(np.float32(1e-4), np.float32(1)), 1.0],
    "dark": lambda random: np.zeros(10),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("percentile", [99.5, 50.0, 100.0, 0.0])
def test_the_percentile_over_pieces_equals_that_of_all_pixels(make: Any, percentile: float) -> None:
    values = make(np.random.default_rng(5)).astype(np.float32)
    lit = values[values > values.max() * 1e-4]
    found = Percentile(percentile)
    pieces = np.array_split(values, 7)
    for piece in pieces:
        found.add(piece)
    if found.begin_exact():
        for piece in pieces:
            found.add_exact(piece)
    value = found.value()
    assert value == (np.float32(np.percentile(lit, percentile)) if len(lit) else None)
    assert value is None or value.dtype == np.float32


@pytest.mark.usefixtures("small_tiles")
def test_dark_rows_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = StoredLight(tmp_path / "light.zarr", (3, 10_000, 40), together=True)
    stored.write((slice(0, 3), slice(9000, 9040), slice(0, 40)), np.ones((3, 40, 40), np.float32))
    stored.finish()
    read = []
    monkeypatch.setattr(stored, "_array", _Noted(stored._array, read))
    rows = np.concatenate(list(stored.colour_rows(upwards=True)))
    assert rows.shape == (10_000, 40, 3)
    assert np.flatnonzero(rows.any(axis=(1, 2))).tolist() == list(range(960, 1000))
    assert len(read) <= 2


class _Noted:
    """Array that records which parts are read."""

    def __init__(self, array: Any, read: list[Any]) -> None:
        self._array, self._read = array, read

    def __getitem__(self, part: Any) -> Any:
        self._read.append(part)
        return self._array[part]


def test_scale_bar_and_colour_bar_are_at_their_places() -> None:
    frame = Frame(height=900, width=1200, pixel_nm=10, label="xy", values=(-100.0, 100.0), title="z (nm)")
    rows = np.concatenate(list(frame.rows([np.zeros((900, 1200, 3), dtype=np.uint8)])))
    assert rows.shape == (*frame.shape, 3)
    picture = rows[frame.top : frame.top + 900, frame.margin : frame.margin + 1200]
    white_px = np.argwhere((picture == 255).all(axis=2))
    bar = max(np.bincount(white_px[:, 0]))
    assert bar == 200  # 2 um in pixels of 10 nm, a sixth of the width
    assert white_px[:, 1].min() > 900
    beside = rows[:, frame.margin + 1202 :]
    assert len(np.unique(beside.reshape(-1, 3), axis=0)) > 100  # the colours of depths


def test_a_long_thin_picture_is_written(tmp_path: Path) -> None:
    table = write(tmp_path / "t.parquet", x_nm=[0, 1_000_000], y_nm=[0, 100], x_sig=[10, 10], y_sig=[10, 10])
    drawn = render_png(table, tmp_path / "a.png", extent_nm="all", pixel_nm=20)
    with Image.open(tmp_path / "a.png") as file:
        assert file.size[0] > drawn.shape[1] == 50_004
        assert file.size[1] > drawn.shape[0] == 9
    assert zlib.crc32((tmp_path / "a.png").read_bytes()[-8:-4]) == 0xAE426082
