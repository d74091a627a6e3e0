"""Pyramids: levels conserve the light, and metadata give the position of every pixel."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from lls_decode.errors import ConfigError, OutputError, TableError
from lls_decode.pictures import drawing_plan
from lls_decode.pictures.render_pyramid import render_pyramid as render
from lls_decode.pictures.tiled import pyramid
from lls_decode.pictures.tiled.pyramid import Grid, halved
from lls_decode.pictures.view import View
from tests.export.conftest import write_pieces

ROWS = 5000


@pytest.fixture(scope="module")
def columns() -> dict[str, Any]:
    random = np.random.default_rng(3)
    places = {f"{axis}_nm": random.uniform(0, size, ROWS).astype(np.float32)
              for axis, size in {"x": 9000, "y": 5000, "z": 800}.items()}  # fmt: skip
    return places | {f"{axis}_sig": random.uniform(5, 60, ROWS) for axis in "xyz"}


@pytest.fixture(scope="module")
def table(columns: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pieces(tmp_path_factory.mktemp("table") / "t.parquet", **columns)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a small picture consist of many tiles."""
    for name in ("TILE", "_CHUNK"):
        monkeypatch.setattr(pyramid, name, {False: (1, 64, 64), True: (16, 32, 32)})
    monkeypatch.setattr(drawing_plan, "TILE", pyramid.TILE)


def levels(path: Path) -> list[Any]:
    group = zarr.open_group(path, mode="r")
    return [np.asarray(group[str(number)]) for number in range(len(list(group.array_keys())))]


REGION = View(x_nm=(0, 9000), y_nm=(0, 5000))


@pytest.mark.usefixtures("small_tiles")
def test_a_histogram_counts_every_emitter_at_every_level(table: Path, tmp_path: Path, columns: dict[str, Any]) -> None:
    drawn = render(table, tmp_path / "a.zarr", view=REGION, mode="histogram", pixel_nm=20)
    found = levels(tmp_path / "a.zarr")
    assert [level.shape for level in found] == [(250, 450), (125, 225), (63, 113), (32, 57)]
    expected, _, _ = np.histogram2d(
        columns["y_nm"], columns["x_nm"], bins=(250, 450), range=((0, 5000), (0, 9000))
    )  # fmt: skip
    assert np.array_equal(found[0], expected)
    assert [float(level.sum() * 4**number) for number, level in enumerate(found)] == [ROWS] * 4
    assert (drawn.num_drawn, drawn.num_filtered, drawn.num_outside, drawn.shape) == (ROWS, 0, 0, (250, 450))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize(
    "how", [{"mode": "histogram"}, {}, {"blur_nm": 35.0}], ids=["points", "own sigma", "one sigma"]
)
@pytest.mark.parametrize("view", [View(), View(projection="xz"), View(tilt_deg=20, slab_nm=(-2000, 500))])
def test_pyramids_do_not_depend_on_tiles_and_row_groups(
    table: Path, columns: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Any, view: View
) -> None:
    render(table, tmp_path / "whole.zarr", view=view, **how)
    # tiles large enough for the widest margin
    monkeypatch.setattr(pyramid, "TILE", {False: (1, 128, 128)})
    monkeypatch.setattr(pyramid, "_CHUNK", {False: (1, 128, 128)})
    monkeypatch.setattr(drawing_plan, "TILE", pyramid.TILE)
    pieced = write_pieces(tmp_path / "pieced.parquet", group_rows=311, **columns)
    render(pieced, tmp_path / "tiled.zarr", view=view, **how)
    whole, tiled = levels(tmp_path / "whole.zarr"), levels(tmp_path / "tiled.zarr")
    assert len(tiled) > len(whole)  # because of the smaller chunks
    assert whole[0].any()
    assert all(np.array_equal(one, other) for one, other in zip(whole, tiled, strict=False))


def test_gaussians_sum_to_the_number_of_emitters(table: Path, tmp_path: Path) -> None:
    extent = ((-2000.0, 11000.0), (-2000.0, 7000.0))  # includes all light
    render(table, tmp_path / "a.zarr", extent_nm=extent)
    for number, level in enumerate(levels(tmp_path / "a.zarr")):
        assert level.sum(dtype=float) * 4**number == pytest.approx(ROWS, rel=1e-5)


@pytest.mark.usefixtures("small_tiles")
def test_a_volume_counts_emitters_at_every_level(table: Path, tmp_path: Path, columns: dict[str, Any]) -> None:
    view = View(x_nm=(0, 9000), y_nm=(0, 5000), slab_nm=(100, 700))
    drawn = render(table, tmp_path / "a.ome.zarr", view=view, mode="histogram", pixel_nm=50, z_pixel_nm=40)
    found = levels(tmp_path / "a.ome.zarr")
    assert [level.shape for level in found] == [(15, 100, 180), (8, 50, 90), (4, 25, 45), (2, 13, 23)]
    places = np.stack([columns[f"{axis}_nm"] for axis in "zyx"], axis=1)
    expected, _ = np.histogramdd(places, bins=(15, 100, 180), range=((100, 700), (0, 5000), (0, 9000)))
    assert np.array_equal(found[0], expected)
    assert [float(level.sum() * 8**number) for number, level in enumerate(found)] == [expected.sum()] * 4
    assert (drawn.shape, drawn.num_drawn) == ((15, 100, 180), expected.sum())
    ome: Any = zarr.open_group(tmp_path / "a.ome.zarr", mode="r").attrs["ome"]
    (image,) = ome["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["z", "y", "x"]
    scale, translation = image["datasets"][1]["coordinateTransformations"]
    assert (scale["scale"], translation["translation"]) == ([80.0, 100.0, 100.0], [140.0, 50.0, 50.0])


@pytest.mark.parametrize(("projection", "axes"), [("xy", "yx"), ("xz", "zx"), ("yz", "zy")])
@pytest.mark.usefixtures("small_tiles")
def test_ome_metadata_give_scale_and_position_of_every_level(
    table: Path, tmp_path: Path, projection: Any, axes: str
) -> None:
    drawn = render(table, tmp_path / "a.zarr", view=View(projection=projection), mode="histogram", pixel_nm=25)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    ome: Any = group.attrs["ome"]
    assert ome["version"] == "0.5"
    (image,) = ome["multiscales"]
    assert [(axis["name"], axis["type"], axis["unit"]) for axis in image["axes"]] == [
        (axis, "space", "nanometer") for axis in axes
    ]
    first_nm = [drawn.extent_nm[1][0], drawn.extent_nm[0][0]]
    for number, level in enumerate(image["datasets"]):
        array: Any = group[level["path"]]
        assert array.metadata.dimension_names == tuple(axes)
        assert array.shape == tuple(math.ceil(size / 2**number) for size in drawn.shape)
        scale, translation = level["coordinateTransformations"]
        assert scale["scale"] == [25.0 * 2**number] * 2
        assert translation["translation"] == pytest.approx([edge + 12.5 * 2**number for edge in first_nm])
    assert len(image["datasets"]) == len(list(group.array_keys()))


@pytest.mark.usefixtures("small_tiles")
def test_ome_metadata_give_a_brightness_window(table: Path, tmp_path: Path) -> None:
    render(table, tmp_path / "a.zarr", mode="gaussian")
    ome: Any = zarr.open_group(tmp_path / "a.zarr", mode="r").attrs["ome"]
    (channel,) = ome["omero"]["channels"]
    light = levels(tmp_path / "a.zarr")[0]
    window = channel["window"]
    assert (window["min"], window["start"], window["max"]) == (0, 0, light.max())
    assert np.mean(light[light > 0] > window["end"]) == pytest.approx(0.005, abs=0.002)


@pytest.mark.parametrize("mode", ["histogram", "gaussian"])
@pytest.mark.parametrize("pixel_nm", [5.0, 20.0], ids=["three levels", "one level"])
def test_ome_tiff_has_the_same_levels(table: Path, tmp_path: Path, mode: Any, pixel_nm: float) -> None:
    for name in ("a.zarr", "a.ome.tif"):
        render(table, tmp_path / name, view=REGION, mode=mode, pixel_nm=pixel_nm)
    expected = levels(tmp_path / "a.zarr")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        (series,) = file.series
        assert file.is_ome
        assert series.axes == "YX"
        assert len(series.levels) == len(expected)
        for level, same in zip(series.levels, expected, strict=True):
            assert np.array_equal(level.asarray(), same)
            page: Any = level.pages[0]
            assert page.is_tiled
            assert page.tags["ResolutionUnit"].value == 3  # centimetres
        assert file.ome_metadata is not None
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (pixel_nm, "nm")
    assert (pixels["PhysicalSizeY"], pixels["SizeX"]) == (pixel_nm, expected[0].shape[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ome.tif", "a.zarr"]


def test_a_picture_larger_than_memory_is_written(tmp_path: Path) -> None:
    """The picture has 400 by 400 thousand pixels, or 640 GB, but only two tiles contain light."""
    path = write_pieces(tmp_path / "t.parquet", x_nm=[0, 2e6], y_nm=[0, 2e6], x_sig=[10, 10], y_sig=[10, 10])
    drawn = render(path, tmp_path / "a.zarr", pixel_nm=5, mode="histogram")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert drawn.shape == (400_004, 400_004)
    level: Any = group["9"]
    assert float(np.asarray(level).sum()) * 4**9 == 2.0
    assert len(list((tmp_path / "a.zarr").rglob("c/*/*"))) == 2 * 8 + 3  # a single chunk per level from level 8 on


@pytest.mark.parametrize("by", [(1, 2, 2), (2, 2, 2), (2, 1, 2)])
def test_halving_averages_pixels_and_pads_with_zeros(by: Any) -> None:
    light = np.random.default_rng(0).integers(0, 99, (3, 5, 6)).astype(np.float32)
    shape = [-(-size // step) for size, step in zip(light.shape, by, strict=True)]
    padded = np.zeros([size * step for size, step in zip(shape, by, strict=True)])
    padded[:3, :5, :6] = light
    blocks = padded.reshape(shape[0], by[0], shape[1], by[1], shape[2], by[2])
    assert np.array_equal(halved(light, by), blocks.mean(axis=(1, 3, 5)))
    assert Grid((1, 1, 1), (1, 1, 1), (0, 0, 0), "yx").levels() == [((1, 1, 1), (1, 1, 1))]


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("a.png", {}, "does not end like a pyramid"),
        ("a.zarr", {"z_pixel_nm": 10.0}, "A volume is a histogram"),
        ("a.ome.tif", {"z_pixel_nm": 10.0, "mode": "histogram"}, "written as .zarr"),
        ("a.zarr", {"mode": "histogram", "blur_nm": 10.0}, "makes no histogram"),
        ("a.zarr", {"blur_nm": 1500.0, "pixel_nm": 2.0}, "use larger pixels"),
        ("a.zarr", {"pixel_nm": 1e-5, "mode": "histogram"}, "expected at most 16,777,216 along each axis"),
        ("a.zarr", {"extent_nm": ((0.0, 0.0), (0.0, 1.0))}, "give larger limits"),
    ],
)
def test_impossible_pyramids_are_refused(table: Path, tmp_path: Path, name: str, how: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        render(table, tmp_path / name, **how)
    assert not list(tmp_path.iterdir())


def test_failed_drawing_overwrites_nothing_and_leaves_no_files(table: Path, tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(OutputError, match="exists"):
        render(table, tmp_path / "a.zarr")
    with pytest.raises(OutputError, match="the folder does not exist"):
        render(table, tmp_path / "nowhere" / "b.zarr")
    with pytest.raises(TableError, match="No emitters are left"):
        render(table, tmp_path / "b.zarr", view=View(x_nm=(-9, -5), y_nm=(-9, -5)), mode="histogram")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
