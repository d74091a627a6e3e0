"""ImageJ, OME readers and our own readers find the pixel size and position of pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from lls_decode.config import InputConfig, PixelSize
from lls_decode.frames import open_source
from lls_decode.movies import open_movie
from lls_decode.movies.choices import Choices
from lls_decode.pictures.render import render_png
from lls_decode.pictures.render_pyramid import render_pyramid
from lls_decode.pictures.tiled import tiff
from lls_decode.pictures.tiled.tiff import Placement, write_tiff
from lls_decode.pictures.view import View
from lls_decode.table.marks import kind_of
from tests.pictures.tables import filaments, write

PIXEL_NM = 25.0
PLACES = {"x_nm": [-4321.0, 3000.0, 8000.0], "y_nm": [1234.0, 2000.0, 5000.0], "z_nm": [-300.0, 0.0, 410.0]}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "t.parquet", **PLACES)


def brightest(image: Any) -> tuple[int, int]:
    """Return row and column of the emitter with the largest coordinates."""
    lit = np.argwhere(image.reshape(*image.shape[:2], -1).any(axis=2))
    row, column = max(lit.tolist(), key=lambda place: place[1])
    return row, column


@pytest.mark.parametrize("projection", ["xy", "xz", "yz"])
def test_imagej_metadata_give_coordinates(table: Path, tmp_path: Path, projection: Any) -> None:
    render_png(table, tmp_path / "a.tif", pixel_nm=PIXEL_NM, view=View(projection=projection), mode="histogram")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        facts, page, image = file.imagej_metadata, file.pages[0], file.asarray()
    assert facts is not None
    per_um = page.tags["XResolution"].value[0] / page.tags["XResolution"].value[1]
    assert (facts["unit"], 1000 / per_um) == ("um", PIXEL_NM)
    row, column = brightest(image)
    across, down = projection
    # ImageJ computes x = (column - xorigin) * width, y likewise, or (yorigin - row) * height if inverted
    x_nm = (column + 0.5 - facts["xorigin"]) * PIXEL_NM
    assert x_nm == pytest.approx(PLACES[f"{across}_nm"][-1], abs=PIXEL_NM / 2)
    inverted = facts.get("inverty", False)
    assert inverted == (down == "z")
    y_nm = (row + 0.5 - facts["yorigin"]) * PIXEL_NM * (-1 if inverted else 1)
    assert y_nm == pytest.approx(PLACES[f"{down}_nm"][-1], abs=PIXEL_NM / 2)
    assert (column + 0.5) * PIXEL_NM + facts[f"first_pixel_edge_{across}_nm"] == pytest.approx(x_nm)
    assert facts["pixel_nm"] == PIXEL_NM


@pytest.mark.parametrize("projection", ["xy", "xz"])
def test_ome_metadata_give_coordinates(table: Path, tmp_path: Path, projection: Any) -> None:
    for name in ("a.ome.tif", "a.zarr"):
        drawn = render_pyramid(
            table, tmp_path / name, pixel_nm=PIXEL_NM, view=View(projection=projection), mode="histogram"
        )
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.ome_metadata is not None
        pixels, image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"], file.asarray()
    plane = pixels["Plane"]
    assert (plane["PositionXUnit"], plane["PositionYUnit"]) == ("nm", "nm")
    row, column = brightest(image)
    across, down = projection
    assert plane["PositionX"] + column * PIXEL_NM == pytest.approx(PLACES[f"{across}_nm"][-1], abs=PIXEL_NM / 2)
    assert plane["PositionY"] + row * PIXEL_NM == pytest.approx(PLACES[f"{down}_nm"][-1], abs=PIXEL_NM / 2)
    ome: Any = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["ome"]
    _, translation = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert translation["translation"] == pytest.approx([plane["PositionY"], plane["PositionX"]])
    assert plane["PositionX"] - PIXEL_NM / 2 == pytest.approx(drawn.extent_nm[0][0])


def test_our_readers_find_the_pixel_size(tmp_path: Path) -> None:
    columns = filaments(300)
    table = write(tmp_path / "t.parquet", **columns, channel=np.arange(300) % 2)
    render_png(table, tmp_path / "a.tif", pixel_nm=12.5)
    for name in ("a.ome.tif", "a.zarr"):
        render_pyramid(table, tmp_path / name, pixel_nm=12.5)
    expected = PixelSize(x_nm=12.5, y_nm=12.5)
    for name, channel in (("a.tif", "0"), ("a.ome.tif", "channel 1")):
        assert open_movie(tmp_path / name, Choices(channel=channel)).pixel_size == expected
    assert open_source(tmp_path / "a.zarr", InputConfig(channel=0)).pixel_size == expected


def test_a_file_beyond_4_gb_is_a_bigtiff_with_the_same_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiff, "_BIG_TIFF_BYTES", 1000)
    picture = np.random.default_rng(0).integers(0, 255, (90, 70, 3)).astype(np.uint8)
    placement = Placement(20.0, -130.0, 55.0, False, "xy")
    write_tiff(tmp_path / "a.tif", [picture[:50], picture[50:]], shape=picture.shape, placement=placement)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page: Any = file.pages[0]
        assert (file.is_bigtiff, file.is_imagej) == (True, False)
        assert np.array_equal(file.asarray(), picture)
        top, bottom = page.tags["XResolution"].value
        assert (1e7 * bottom / top, page.tags["ResolutionUnit"].value) == (20.0, 3)
        assert "first_pixel_edge_x_nm=-130" in page.description
        assert "xorigin=6.5" in page.description
    assert kind_of(tmp_path / "a.tif") == "a picture (TIFF)"
