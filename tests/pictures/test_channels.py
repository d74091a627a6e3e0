"""Pictures show channels in separate colours, along a channel axis, or only the selected one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from click.testing import CliRunner
from PIL import Image

from lls_decode.errors import ConfigError, TableError
from lls_decode.pictures.colours import channel_colours, channel_names
from lls_decode.pictures.render import render_png
from lls_decode.pictures.render_pyramid import render_pyramid
from lls_decode.pictures.view import View
from lls_decode.pipelines.cli import cli
from lls_decode.table import ChannelInfo, TableMetadata
from tests.pictures.tables import Columns, filaments, write

REGION = View(x_nm=(0, 6000), y_nm=(0, 6000))
NAMES = TableMetadata(channels=(ChannelInfo(name="actin"), ChannelInfo(emission_nm=640)))


def two_channels(number: int = 3000, numbers: tuple[int, ...] = (0, 1)) -> Columns:
    """Return localizations, a tenth of which belong to the last channel."""
    columns = filaments(number)
    share = np.r_[[0.9 / (len(numbers) - 1)] * (len(numbers) - 1), 0.1]
    return columns | {"channel": np.random.default_rng(8).choice(numbers, number, p=share)}


@pytest.fixture
def columns() -> Columns:
    return two_channels()


@pytest.fixture
def table(tmp_path: Path, columns: Columns) -> Path:
    return write(tmp_path / "t.parquet", group_rows=700, about=NAMES, **columns)


def histogram(columns: Columns, channel: int, pixel_nm: float) -> Any:
    chosen = columns["channel"] == channel
    bins = int(6000 / pixel_nm)
    places = (columns["y_nm"][chosen].astype(np.float32), columns["x_nm"][chosen].astype(np.float32))
    return np.histogram2d(*places, bins=(bins, bins), range=((0, 6000), (0, 6000)))[0]


def png_pixels(path: Path) -> Any:
    with Image.open(path) as file:
        about = json.loads(file.info["lls_decode"])
        return np.asarray(file)[about["top_px"] :, about["left_px"] :]


def test_each_channel_has_its_own_colour(table: Path, tmp_path: Path, columns: Columns) -> None:
    drawn = render_png(table, tmp_path / "a.png", view=REGION, mode="histogram", pixel_nm=6)
    assert drawn.channels == ("actin", "640 nm")
    assert (drawn.colour_range, drawn.num_drawn, drawn.notes) == (None, 3000, ())
    pixels = png_pixels(tmp_path / "a.png")[60:900, :1000]
    first, second = (histogram(columns, channel, 6)[60:900] > 0 for channel in (0, 1))
    red, green, blue = (pixels[..., part] > 0 for part in range(3))
    assert np.array_equal(green, first)
    assert np.array_equal(red, second)
    assert np.array_equal(blue, second)
    assert pixels[second][:, 0].max() == 255  # each channel has its own brightness scale


def test_a_tiff_stores_channels_separately(table: Path, tmp_path: Path) -> None:
    drawn = render_png(table, tmp_path / "a.tif", pixel_nm=20, blur_nm=25)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        facts, image = file.imagej_metadata, file.asarray()
        assert file.series[0].axes == "CYX"
    assert facts is not None
    assert (facts["channels"], facts["mode"], facts["Labels"]) == (2, "composite", ["actin", "640 nm"])
    assert [ramp[:, 255].tolist() for ramp in facts["LUTs"]] == [[0, 255, 0], [255, 0, 255]]
    extent = drawn.extent_nm
    for channel in (0, 1):
        alone = render_png(
            table, tmp_path / "b.tif", view=View(channel=channel), colour="none", extent_nm=extent, pixel_nm=20,
            blur_nm=25,
        )  # fmt: skip
        grey = tifffile.imread(tmp_path / "b.tif")[..., 0]
        assert np.abs(image[channel].astype(int) - grey).max() <= 1
        assert alone.channels == ()


@pytest.mark.parametrize("pixel_nm", [20.0, 4.0], ids=["one level", "two levels"])
def test_pyramids_have_an_axis_of_channels(table: Path, tmp_path: Path, columns: Columns, pixel_nm: float) -> None:
    for name in ("a.zarr", "a.ome.tif"):
        drawn = render_pyramid(table, tmp_path / name, view=REGION, mode="histogram", pixel_nm=pixel_nm)
        assert (drawn.channels, drawn.num_drawn) == (("actin", "640 nm"), 3000)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r")
    ome: Any = group.attrs["ome"]
    (image,) = ome["multiscales"]
    assert [(axis["name"], axis["type"]) for axis in image["axes"]] == [
        ("c", "channel"),
        ("y", "space"),
        ("x", "space"),
    ]
    assert [(one["label"], one["color"]) for one in ome["omero"]["channels"]] == [
        ("actin", "00FF00"), ("640 nm", "FF00FF"),
    ]  # fmt: skip
    assert all(one["window"]["end"] > 0 for one in ome["omero"]["channels"])
    levels = [np.asarray(group[level["path"]]) for level in image["datasets"]]
    for number, level in enumerate(levels):
        scale, translation = image["datasets"][number]["coordinateTransformations"]
        assert scale["scale"] == [1.0, pixel_nm * 2**number, pixel_nm * 2**number]
        assert translation["translation"] == pytest.approx([0.0, *[pixel_nm * 2**number / 2] * 2])
        for channel in (0, 1):
            assert level[channel].sum(dtype=float) * 4**number == np.count_nonzero(columns["channel"] == channel)
    for channel in (0, 1):
        assert np.array_equal(levels[0][channel], histogram(columns, channel, pixel_nm))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.series[0].axes == "CYX"
        assert len(file.series[0].levels) == len(levels)
        for level, same in zip(file.series[0].levels, levels, strict=True):
            assert np.array_equal(level.asarray(), same)
        assert file.ome_metadata is not None
        channels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]["Channel"]
    assert [channel["Name"] for channel in channels] == ["actin", "640 nm"]
    assert [channel["Color"] % 2**32 for channel in channels] == [0x00FF00FF, 0xFF00FFFF]


def test_channel_numbers_may_have_gaps(tmp_path: Path) -> None:
    columns = two_channels(numbers=(2, 5, 9))
    table = write(tmp_path / "t.parquet", **columns)
    drawn = render_pyramid(table, tmp_path / "a.zarr", view=REGION, mode="histogram", pixel_nm=20)
    assert drawn.channels == ("channel 2", "channel 5", "channel 9")
    level = np.asarray(zarr.open_group(tmp_path / "a.zarr", mode="r")["0"])
    for place, channel in enumerate((2, 5, 9)):
        assert np.array_equal(level[place], histogram(columns, channel, 20))
    assert render_png(table, tmp_path / "a.png").channels == drawn.channels


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.zarr", "a.ome.tif"])
def test_a_selected_channel_is_drawn_like_a_separate_table(
    table: Path, tmp_path: Path, columns: Columns, name: str
) -> None:
    draw: Any = render_png if name in ("a.png", "a.tif") else render_pyramid
    chosen = {key: values[columns["channel"] == 1] for key, values in columns.items() if key != "channel"}
    alone = draw(write(tmp_path / "alone.parquet", **chosen), tmp_path / f"alone-{name}", mode="histogram")
    drawn = draw(table, tmp_path / name, mode="histogram", view=View(channel=1))
    assert (drawn.extent_nm, drawn.num_drawn, drawn.channels) == (alone.extent_nm, alone.num_drawn, ())
    assert drawn.num_filtered == np.count_nonzero(columns["channel"] == 0)
    if name == "a.tif":
        assert np.array_equal(tifffile.imread(tmp_path / name), tifffile.imread(tmp_path / f"alone-{name}"))


def test_drawing_channels_together_gives_a_note(table: Path, tmp_path: Path) -> None:
    drawn = render_png(table, tmp_path / "a.png", colour="depth")
    assert (drawn.channels, len(drawn.notes)) == ((), 1)
    assert "the channels (actin, 640 nm) are drawn together" in drawn.notes[0]
    with pytest.raises(ConfigError, match="a volume shows one; choose it with --channel"):
        render_pyramid(table, tmp_path / "v.zarr", mode="histogram", z_pixel_nm=50)
    one = render_pyramid(table, tmp_path / "v.zarr", mode="histogram", z_pixel_nm=50, view=View(channel=0))
    assert len(one.shape) == 3


def test_missing_channels_are_refused(table: Path, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="choose another channel than 7"):
        render_png(table, tmp_path / "a.png", view=View(channel=7))
    plain = write(tmp_path / "plain.parquet", **filaments(50))
    for how in ({"view": View(channel=0)}, {"colour": "channel"}):
        with pytest.raises(ConfigError, match="column 'channel'"):
            render_png(plain, tmp_path / "a.png", **how)  # type: ignore[arg-type]


def test_a_table_with_a_single_channel_is_coloured_by_depth(tmp_path: Path) -> None:
    table = write(tmp_path / "t.parquet", **filaments(100), channel=[3] * 100)
    drawn = render_png(table, tmp_path / "a.png")
    assert drawn.channels == ()
    assert drawn.colour_range is not None
    assert render_png(table, tmp_path / "b.png", colour="channel").channels == ("channel 3",)
    assert render_pyramid(table, tmp_path / "a.zarr").channels == ()


def test_the_render_command_prints_a_legend_of_channels(table: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["render", str(table), str(tmp_path / "a.png")])
    assert "actin: green, 640 nm: magenta" in result.output, result.output
    result = CliRunner().invoke(cli, ["render", str(table), str(tmp_path / "b.png"), "--channel", "1"])
    assert result.exit_code == 0
    assert "magenta" not in result.output


@pytest.mark.parametrize("number", range(1, 12))
def test_colours_of_channels_differ_and_have_names(number: int) -> None:
    colours = channel_colours(number)
    assert colours.shape == (number, 3)
    assert len(channel_names(number)) == number
    assert len(np.unique(colours, axis=0)) == min(number, 7)
    if number in (2, 3):
        assert (colours.sum(axis=0) > 0).all()  # together they contain red, green and blue
