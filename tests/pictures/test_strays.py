"""Distant rows and rows without position are left out of a picture with a note, unless all are requested."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

from lls_decode.config import Geometry, PixelSize
from lls_decode.errors import ConfigError
from lls_decode.pictures.extent import Spread
from lls_decode.pictures.render import MAX_PIXELS, render_png
from lls_decode.pictures.render_pyramid import render_pyramid
from lls_decode.pictures.tiled.frame import Frame
from lls_decode.pictures.view import View
from lls_decode.pipelines.cli import cli
from lls_decode.table import TableMetadata
from tests.pictures.tables import Columns, filaments, write

SIDE_NM = 6000.0


def with_rows(columns: Columns, **more: list[float]) -> Columns:
    """Append rows with the given values, which equal the first rows in all other columns."""
    number = len(next(iter(more.values())))
    return {name: np.r_[values, more.get(name, values[:number])] for name, values in columns.items()}


STRAYS: dict[str, tuple[dict[str, list[float]], int, int]] = {
    "one distant row": ({"y_nm": [25e6]}, 1, 0),
    "rows with a fill value": ({"x_nm": [-1e9, -1e9, -1e9], "y_nm": [-1e9, -1e9, -1e9]}, 3, 0),
    "the largest float": ({"x_nm": [3e38]}, 1, 0),
    "a few scattered rows": ({"x_nm": [3e5, -7e6, 1e8, 2e5, -9e7], "y_nm": [9e9, 4e6, -8e8, 5e4, 2e7]}, 5, 0),
    "not a number": ({"x_nm": [np.nan, 100.0], "y_nm": [100.0, np.nan]}, 0, 2),
    "infinite": ({"x_nm": [np.inf, -np.inf]}, 0, 2),
    "rows of each kind": ({"x_nm": [np.nan, 8e7, -np.inf, 100.0], "y_nm": [1.0, 2.0, 3.0, -1e9]}, 2, 2),
    "many rows with a fill value": ({"x_nm": [-1e9] * 100}, 100, 0),
}


@pytest.mark.parametrize(("more", "beyond", "nowhere"), STRAYS.values(), ids=STRAYS)
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.zarr", "a.ome.tif"])
@pytest.mark.parametrize("group_rows", [None, 300])
def test_strays_are_left_out_with_a_note(
    tmp_path: Path, name: str, more: dict[str, list[float]], beyond: int, nowhere: int, group_rows: int | None
) -> None:
    draw = render_png if name in ("a.png", "a.tif") else render_pyramid
    columns = filaments(2000)
    clean = draw(write(tmp_path / "clean.parquet", **columns), tmp_path / f"clean-{name}", mode="histogram")
    table = write(tmp_path / "t.parquet", group_rows=group_rows, **with_rows(columns, **more))
    drawn = draw(table, tmp_path / name, mode="histogram")
    assert (drawn.extent_nm, drawn.shape) == (clean.extent_nm, clean.shape)
    assert (drawn.num_drawn, drawn.num_outside, clean.notes) == (2000, beyond + nowhere, ())
    told = "; ".join(drawn.notes)
    assert (f"left out {beyond} localization" in told) == (beyond > 0)
    assert (f"left out {nowhere} localization" in told) == (nowhere > 0)
    if beyond:
        axis, places = next(
            (axis, more[axis]) for axis in ("x_nm", "y_nm") if axis in more and max(map(abs, more[axis])) > 4e4
        )
        assert any(f"{axis[0]} {np.float32(place):.0f} nm" in told for place in places)


def test_extent_all_draws_every_row(tmp_path: Path) -> None:
    columns = with_rows(filaments(2000), y_nm=[25e6])
    table = write(tmp_path / "t.parquet", **columns)
    drawn = render_pyramid(table, tmp_path / "a.zarr", mode="histogram", extent_nm="all")
    assert (drawn.num_drawn, drawn.num_outside, drawn.notes) == (2001, 0, ())
    assert drawn.extent_nm[1][1] > 25e6
    assert float(np.asarray(zarr.open_group(tmp_path / "a.zarr", mode="r")["8"]).sum()) * 4**8 == 2001.0


def test_a_second_field_of_view_is_drawn(tmp_path: Path) -> None:
    first, second = filaments(2000), filaments(500, seed=1)
    second["x_nm"] = second["x_nm"] + 4e6
    columns = {name: np.r_[values, second[name]] for name, values in first.items()}
    drawn = render_pyramid(write(tmp_path / "t.parquet", **columns), tmp_path / "a.zarr", mode="histogram")
    assert (drawn.num_drawn, drawn.notes) == (2500, ())
    assert drawn.extent_nm[0][1] - drawn.extent_nm[0][0] > 4e6


@pytest.mark.parametrize("number", [1, 2, 7])
def test_small_tables_are_drawn_completely(tmp_path: Path, number: int) -> None:
    columns = {"x_nm": [0.0] * number + [90_000.0], "y_nm": [0.0] * (number + 1)}
    drawn = render_png(write(tmp_path / "t.parquet", **columns), tmp_path / "a.png", mode="histogram")
    assert (drawn.num_drawn, drawn.notes) == (number + 1, ())


def about(**more: Any) -> TableMetadata:
    return TableMetadata(pixel_size=PixelSize(x_nm=100, y_nm=100), width=60, height=60, **more)


def test_a_known_field_of_view_limits_the_picture(tmp_path: Path) -> None:
    columns = with_rows(filaments(2000), x_nm=[9_500.0, 6_500.0])
    unknown = render_png(write(tmp_path / "u.parquet", **columns), tmp_path / "u.tif", mode="histogram")
    assert (unknown.num_drawn, unknown.notes) == (2002, ())
    known = render_png(write(tmp_path / "k.parquet", about=about(), **columns), tmp_path / "k.tif", mode="histogram")
    assert (known.num_drawn, known.extent_nm[0][1] < 7_000) == (2001, True)
    assert "left out 1 localization beyond the limits of the picture, at x 9500 nm" in known.notes[0]


def test_a_field_of_view_that_does_not_fit_the_rows_is_ignored(tmp_path: Path) -> None:
    columns = filaments(2000)
    columns["x_nm"] = columns["x_nm"] + np.where(np.arange(2000) % 10, 0, 50_000)
    drawn = render_png(write(tmp_path / "t.parquet", about=about(), **columns), tmp_path / "a.tif", mode="histogram")
    assert (drawn.num_drawn, drawn.notes) == (2000, ())


def test_the_field_of_a_stage_scan_is_in_sample_coordinates(tmp_path: Path) -> None:
    geometry = Geometry(motion="stage", stage_step_nm=400, angle_deg=30)
    columns = with_rows(filaments(2000), x_nm=[100.0])
    sample = {
        "xs_nm": np.r_[np.linspace(0, 45_000, 2000), 80_000.0],
        "ys_nm": columns["y_nm"],
        "zs_nm": columns["z_nm"],
    }
    table = write(tmp_path / "t.parquet", about=about(geometry=geometry, planes_per_volume=100), **columns, **sample)
    drawn = render_png(table, tmp_path / "a.tif", mode="histogram")
    assert (drawn.coords, drawn.num_drawn, drawn.num_outside) == ("sample", 2000, 1)


def test_a_stray_depth_does_not_change_the_range_of_colours(tmp_path: Path) -> None:
    columns = filaments(60)
    table = write(tmp_path / "t.parquet", **with_rows(columns, z_nm=[1e9]))
    drawn = render_png(table, tmp_path / "a.png", mode="histogram")
    assert drawn.num_drawn == 61
    assert drawn.colour_range is not None
    assert drawn.colour_range[1] < 500
    assert "have the colours of the ends" in drawn.notes[0]
    side = render_png(table, tmp_path / "b.png", mode="histogram", view=View(projection="xz"))
    assert (side.num_drawn, side.num_outside, side.shape[0] < 60) == (60, 1, True)


def test_a_picture_that_is_too_large_is_refused_with_advice_that_works(tmp_path: Path) -> None:
    table = write(tmp_path / "t.parquet", **with_rows(filaments(2000), y_nm=[25e6], x_nm=[25e6]))
    with pytest.raises(ConfigError, match=r"is too large; use pixels of (\d+) nm") as caught:
        render_png(table, tmp_path / "a.png", mode="histogram", extent_nm="all", pixel_nm=2)
    pixel_nm = float(str(caught.value).split("use pixels of ")[1].split(" nm")[0])
    assert 25e6**2 / pixel_nm**2 <= MAX_PIXELS < 25e6**2 / (pixel_nm - 10) ** 2
    assert ".zarr" in str(caught.value)
    assert render_pyramid(table, tmp_path / "a.zarr", mode="histogram", extent_nm="all", pixel_nm=2).num_drawn == 2001
    part = ((0.0, SIDE_NM), (0.0, SIDE_NM))
    assert render_png(table, tmp_path / "a.png", mode="histogram", extent_nm=part, pixel_nm=20).shape == (300, 300)


@pytest.mark.parametrize("where", ["8e37", "-8e37"])
def test_positions_beyond_the_range_of_pixel_numbers_are_refused(tmp_path: Path, where: str) -> None:
    columns = with_rows(filaments(100), x_nm=[float(where)], y_nm=[float(where)])
    table = write(tmp_path / "t.parquet", **columns)
    for draw, name in ((render_png, "a.png"), (render_pyramid, "a.zarr")):
        with pytest.raises(ConfigError, match="is too large"):
            draw(table, tmp_path / name, extent_nm="all", mode="histogram")
        assert draw(table, tmp_path / name, mode="histogram").num_drawn == 100


EXTENTS = {
    "auto": (2000, "x "), "all": (2001, "x "), "0:3000,1000:5000": (None, "x 0.0 to 3000.0 nm, y 1000.0 to 5000.0 nm"),
    "0,3000,1000,5000": (None, "x 0.0 to 3000.0 nm, y 1000.0 to 5000.0 nm"),
}  # fmt: skip


@pytest.mark.parametrize(("extent", "expected"), EXTENTS.items(), ids=list(EXTENTS))
def test_the_render_command_accepts_and_prints_limits(tmp_path: Path, extent: str, expected: Any) -> None:
    table = write(tmp_path / "t.parquet", **with_rows(filaments(2000), y_nm=[2e6]))
    words = ["render", str(table), str(tmp_path / "a.tif"), "--extent", extent, "--mode", "histogram"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    number, limits = expected
    assert number is None or f"{number} localizations drawn" in result.output
    assert "pixels of 20 nm, raw coordinates" in result.output
    assert limits in result.output
    assert ("note: left out" in result.output) == (extent != "all")
    if extent != "all":
        assert "--extent all draws all" in result.output


@pytest.mark.parametrize("extent", ["1:2", "everything", "5:1,0:9", "0:nan,1:2", ""])
def test_invalid_limits_are_refused(tmp_path: Path, extent: str) -> None:
    table = write(tmp_path / "t.parquet", **filaments(50))
    result = CliRunner().invoke(cli, ["render", str(table), str(tmp_path / "a.tif"), "--extent", extent])
    assert isinstance(result.exception, ConfigError)
    assert "--extent" in str(result.exception)


@pytest.mark.parametrize("pieces", [1, 5, 200])
def test_a_spread_does_not_depend_on_pieces_and_number_of_bins(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    values = np.r_[random.normal(0, 2e4, 3000), random.uniform(-1e8, 1e8, 30), 3e38, np.nan, -np.inf]
    random.shuffle(values)
    whole, pieced = Spread(), Spread()
    whole.add(values)
    for part in np.array_split(values, pieces):
        pieced.add(part)
    assert (pieced.num, pieced.limits()) == (whole.num, whole.limits()) == (3031, whole.limits())
    assert pieced.usual_limits() == whole.usual_limits()
    assert abs(pieced.usual_limits()[1]) < 2e5
    monkeypatch.setattr("lls_decode.pictures.extent._MOST_BINS", 40)
    few = Spread()
    for part in np.array_split(values, pieces):
        few.add(part)
    assert (few.num, few.limits()) == (whole.num, whole.limits())
    assert len(few._bins) <= 40


@pytest.mark.parametrize(
    ("how", "says"),
    [
        pytest.param({"view": View(projection="xz")}, "view xz", id="side view"),
        pytest.param({"view": View(z_nm=(0, 100))}, "--z-nm", id="range of z"),
        pytest.param({"colour": "depth"}, "--colour", id="depth as colour"),
    ],
)
def test_the_depth_of_a_flat_table_is_not_drawn(how: dict[str, Any], says: str, tmp_path: Path) -> None:
    flat = write(tmp_path / "flat.parquet", **{**filaments(200), "z_nm": np.zeros(200)})
    with pytest.raises(ConfigError, match=f"is two-dimensional.*{says}"):
        render_png(flat, tmp_path / "a.png", **how)


def test_a_flat_table_is_drawn_without_colours_of_depth(tmp_path: Path) -> None:
    flat = write(tmp_path / "flat.parquet", **{**filaments(200), "z_nm": np.zeros(200)})
    assert render_png(flat, tmp_path / "a.png").colour_range is None


def test_a_limit_of_sigmas_is_refused_for_a_table_without_sigmas(tmp_path: Path) -> None:
    about = TableMetadata(input={"filled": {"x_sig": "NaN: not known", "y_sig": "NaN: not known"}})
    table = write(tmp_path / "a.parquet", about=about, **{**filaments(200), "x_sig": np.full(200, np.nan)})
    with pytest.raises(ConfigError, match="has no sigmas"):
        render_png(table, tmp_path / "a.png", view=View(sigma_max_nm=10))


def test_a_very_wide_picture_with_a_frame_is_refused(tmp_path: Path) -> None:
    table = write(tmp_path / "a.parquet", **filaments(50))
    with pytest.raises(ConfigError, match=r"100000000 x 3 pixels is too large; use pixels of 485 nm"):
        render_png(table, tmp_path / "a.png", extent_nm=((0, 2e9), (0, 60)))


def test_the_frame_of_a_wide_picture_needs_little_memory() -> None:
    """Rows around the picture are made a few at once, and the scale bar does not grow without limit."""
    frame = Frame(4, 4_000_000, 20.0)
    rows = frame.rows(iter([np.zeros((4, 4_000_000, 3), dtype=np.uint8)]))
    assert max(next(rows).nbytes for _ in range(3)) < 2**27
    assert frame._scale().rgba.shape[1] < 20_000
