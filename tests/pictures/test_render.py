"""Pictures: positions, colours and blur of light, filters, sizes and optional packages."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tifffile

from lls_decode.config import Geometry
from lls_decode.errors import ConfigError, TableError
from lls_decode.pictures.canvas import MAX_PIXELS, DepthCanvas, Floats, Image
from lls_decode.pictures.colours import depth_colours, depth_index, tone_map
from lls_decode.pictures.figures import demo_figure
from lls_decode.pictures.render import render_png
from lls_decode.pictures.view import Projection, View
from lls_decode.table import TableMetadata, schema, table_writer

EXTENT = ((0.0, 1000.0), (0.0, 600.0))
RANGE = (-500.0, 500.0)


def write(path: Path, *, geometry: Geometry | None = None, **columns: object) -> Path:
    """Write a table with the given columns and zeros in the others."""
    canonical = schema(with_sample="xs_nm" in columns)
    length = len(next(iter(columns.values())))  # type: ignore[arg-type]
    values = [np.asarray(columns.get(f.name, np.zeros(length)), f.type.to_pandas_dtype()) for f in canonical]
    with table_writer(path, canonical, TableMetadata(geometry=geometry)) as writer:
        writer.write(pa.table([pa.array(value) for value in values], schema=canonical))
    return path


def draw(x_nm: Floats, y_nm: Floats, z_nm: Floats, **canvas: Any) -> Image:
    """Return a histogram of emitters."""
    made = DepthCanvas(**canvas)
    made.add(x_nm, y_nm, z_nm)
    return made.image()


def test_an_emitter_is_one_pixel_with_the_colour_of_its_depth() -> None:
    image = draw(
        np.array([105.0]), np.array([599.0]), np.array([500.0]), pixel_nm=10, extent_nm=EXTENT, z_range_nm=RANGE
    )
    assert image.shape == (60, 100, 3)
    assert np.argwhere(image.any(axis=2)).tolist() == [[59, 10]]
    red, green, blue = (int(value) for value in image[59, 10])
    assert red > green  # the highest z is red
    assert red > blue


def test_depth_colours_run_from_blue_to_red_at_similar_luminance() -> None:
    colours = depth_colours()
    assert colours[0].argmax() == 2
    assert colours[128].argmax() == 1
    assert colours[-1].argmax() == 0
    luminance = colours @ [0.2126, 0.7152, 0.0722]
    assert luminance.max() / luminance.min() < 1.5
    assert depth_index(np.array([-1e9, -500, 0, 500, 1e9, np.nan]), RANGE).tolist() == [0, 0, 128, 255, 255, 128]


def width_px(light: np.ndarray) -> tuple[float, float]:
    """Return the standard deviations along x and y, in pixels."""
    plane = light.sum(axis=0).astype(float)
    y, x = np.indices(plane.shape)
    mean = [(plane * axis).sum() / plane.sum() for axis in (x, y)]
    return tuple(math.sqrt((plane * (axis - m) ** 2).sum() / plane.sum()) for axis, m in zip((x, y), mean, strict=True))


@pytest.mark.parametrize(
    ("sigma_nm", "tolerance"),
    [(10.0, 0.02), (37.0, 0.02), (np.array([37.0]), 0.19), (np.array([80.0]), 0.02)],
    ids=["one pixel", "common sigma", "rounded to half an octave", "exactly on a level"],
)
def test_blur_has_the_requested_width(sigma_nm: float | np.ndarray, tolerance: float) -> None:
    canvas = DepthCanvas(pixel_nm=10, extent_nm=((0, 1010), (0, 1010)), z_range_nm=RANGE, vertical_blur=1.5)
    canvas.add(np.array([505.0]), np.array([505.0]), np.array([0.0]), sigma_nm=sigma_nm)
    across, down = width_px(canvas.light())
    assert across == pytest.approx(float(np.max(sigma_nm)) / 10, rel=tolerance)
    assert down == pytest.approx(1.5 * across, rel=0.02)


def test_each_emitter_is_blurred_by_its_own_sigma() -> None:
    canvas = DepthCanvas(pixel_nm=10, extent_nm=((0, 2000), (0, 1000)), z_range_nm=RANGE)
    canvas.add(np.array([500.0, 1500.0]), np.array([500.0, 500.0]), np.zeros(2), sigma_nm=np.array([10.0, 80.0]))
    light = canvas.light()
    assert width_px(light[:, :, :100])[0] == pytest.approx(1.0, rel=0.03)
    assert width_px(light[:, :, 100:])[0] == pytest.approx(8.0, rel=0.03)
    assert light[:, :, :100].sum() == pytest.approx(light[:, :, 100:].sum(), rel=1e-3)


def test_pieces_and_equal_weights_do_not_change_the_picture() -> None:
    random = np.random.default_rng(0)
    x, y, z = random.uniform(0, 1000, 500), random.uniform(0, 600, 500), random.uniform(-500, 500, 500)
    options = {"pixel_nm": 20.0, "extent_nm": EXTENT, "z_range_nm": RANGE}
    whole, pieces, doubled = (DepthCanvas(**options) for _ in range(3))  # type: ignore[arg-type]
    whole.add(x, y, z)
    for start in range(0, 500, 7):
        pieces.add(x[start : start + 7], y[start : start + 7], z[start : start + 7])
    doubled.add(x, y, z, weights=np.full(500, 2.0))
    assert np.abs(whole.image().astype(int) - pieces.image()).max() <= 1
    assert np.abs(whole.image().astype(int) - doubled.image()).max() <= 1
    assert whole.num_drawn == pieces.num_drawn == 500


def test_colours_of_overlapping_depths_mix() -> None:
    blue = np.array([-500.0])
    red = np.array([500.0])
    at = np.array([5.0])
    options = {"pixel_nm": 10.0, "extent_nm": ((0.0, 10.0), (0.0, 10.0)), "z_range_nm": RANGE}
    pure = [draw(at, at, z, **options)[0, 0].astype(int) for z in (blue, red)]  # type: ignore[arg-type]
    both = draw(np.repeat(at, 2), np.repeat(at, 2), np.concatenate([blue, red]), **options)[0, 0]  # type: ignore[arg-type]
    assert both[2] > pure[1][2] or both[0] > pure[0][0]
    assert not np.array_equal(both, pure[0])
    assert not np.array_equal(both, pure[1])


def test_a_picture_without_emitters_is_dark() -> None:
    nothing = np.zeros(0)
    assert not draw(nothing, nothing, nothing, pixel_nm=10, extent_nm=EXTENT, z_range_nm=RANGE).any()
    assert not tone_map(np.zeros((3, 4, 5), dtype=np.float32), percentile=99, gamma=0.5).any()


def test_a_picture_that_is_too_large_is_refused_with_a_suitable_pixel_size() -> None:
    with pytest.raises(ConfigError, match="use pixels of 8 nm"):
        DepthCanvas(pixel_nm=1, extent_nm=((0, 1e5), (0, 1e5)), z_range_nm=RANGE)
    assert MAX_PIXELS > (1e5 / 8.2) ** 2


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(
        tmp_path / "t.parquet",
        x_nm=[100, 900, 500, 300], y_nm=[100, 500, 300, 300], z_nm=[-400, 400, 0, 0],
        x_sig=[10, 10, 10, 60], y_sig=[10, 10, 10, 60], z_sig=[20, 20, 20, 120], prob=[1, 0.9, 0.4, 1],
    )  # fmt: skip


def test_filtered_and_outside_localizations_are_counted(table: Path, tmp_path: Path) -> None:
    drawn = render_png(table, tmp_path / "a.png")
    assert (drawn.num_drawn, drawn.num_filtered, drawn.num_outside, drawn.coords) == (4, 0, 0, "raw")
    drawn = render_png(
        table, tmp_path / "a.png", view=View(prob_min=0.5, sigma_max_nm=50), extent_nm=((0, 500), (0, 500))
    )
    assert (drawn.num_drawn, drawn.num_filtered, drawn.num_outside) == (1, 2, 1)
    with pytest.raises(TableError, match=r"No emitters are left to draw \(4 rows before the filter\)"):
        render_png(table, tmp_path / "b.png", view=View(prob_min=1.5))
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("projection", ["xy", "xz", "yz"])
@pytest.mark.parametrize(
    "how", [{}, {"mode": "histogram"}, {"blur_nm": 25.0}], ids=["own sigma", "histogram", "one sigma"]
)
def test_tiff_has_the_pixels_without_margin_and_their_size(
    table: Path, tmp_path: Path, projection: Projection, how: dict[str, Any]
) -> None:
    drawn = render_png(table, tmp_path / "a.tif", view=View(projection=projection), pixel_nm=20, **how)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        image = file.asarray()
        assert file.pages[0].tags["XResolution"].value == (50, 1)  # pixels per micrometre
    (left, right), (top, bottom) = drawn.extent_nm
    assert image.shape == (math.ceil((bottom - top) / 20), math.ceil((right - left) / 20), 3)
    assert image.any()
    if projection == "xz":  # z points upwards: the highest emitter is at x = 900
        row, column = np.argwhere(image.any(axis=2))[0]
        assert row < image.shape[0] / 4
        assert column > image.shape[1] / 2


def test_sample_coordinates_are_drawn_if_the_table_has_them(tmp_path: Path) -> None:
    columns = {"x_nm": [0.0, 100.0], "y_nm": [0.0, 50.0], "z_nm": [0.0, 10.0], "x_sig": [10, 10], "z_sig": [40, 40]}
    plain = write(tmp_path / "plain.parquet", **columns)
    with pytest.raises(ConfigError, match="has no sample coordinates"):
        render_png(plain, tmp_path / "a.png", view=View(coords="sample"))
    tilted = write(
        tmp_path / "tilted.parquet",
        geometry=Geometry(motion="stage", stage_step_nm=300, angle_deg=30),
        **columns,
        xs_nm=[5000.0, 6000.0], ys_nm=[0.0, 50.0], zs_nm=[0.0, 10.0],
    )  # fmt: skip
    drawn = render_png(tilted, tmp_path / "a.png", pixel_nm=10)
    assert drawn.coords == "sample"
    assert drawn.extent_nm[0] == (4980.0, 6020.0)
    assert render_png(tilted, tmp_path / "a.png", pixel_nm=10, view=View(coords="raw")).extent_nm[0] == (-20.0, 120.0)


def test_png_is_enlarged_and_no_temporary_file_remains(table: Path, tmp_path: Path) -> None:
    from matplotlib.image import imread

    render_png(table, tmp_path / "a.png", pixel_nm=20)
    image = imread(tmp_path / "a.png")
    assert max(image.shape) > 700
    assert image[..., :3].max() == 1.0  # text and scale bars are white
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "t.parquet"]


def test_colour_shows_the_requested_column_or_white(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", frame=[0, 99], x_nm=[0, 400], photons=[5000, 100], x_sig=[10, 10])
    found = {}
    for colour in ("time", "photons", "none"):
        how: dict[str, Any] = {
            "mode": "histogram",
            "pixel_nm": 100,
            "extent_nm": ((0, 500), (0, 100)),
            "colour": colour,
        }
        drawn = render_png(path, tmp_path / "a.tif", **how)
        found[colour] = [tuple(int(value) for value in tifffile.imread(tmp_path / "a.tif")[0, at]) for at in (0, 4)]
        assert (drawn.colour_range is None) == (colour == "none")
        render_png(path, tmp_path / "a.png", **how)
    blue, red = found["time"]
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert found["photons"] == [red, blue]
    assert found["none"] == [(255, 255, 255)] * 2


@pytest.mark.parametrize("how", [{"mode": "histogram", "blur_nm": 5.0}, {"blur_nm": 0.0}])
def test_a_blur_of_zero_or_of_a_histogram_is_refused(table: Path, tmp_path: Path, how: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"A blur of \d nm makes no"):
        render_png(table, tmp_path / "a.png", **how)


def test_an_unknown_suffix_is_refused(table: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ending '\.jpg'"):
        render_png(table, tmp_path / "a.jpg")


def test_the_demo_figure_is_drawn_with_and_without_detections(tmp_path: Path) -> None:
    from matplotlib.image import imread

    random = np.random.default_rng(0)
    truth = {
        "x_nm": random.uniform(0, 4000, 300),
        "y_nm": random.uniform(0, 3000, 300),
        "z_nm": np.linspace(0, 900, 300),
    }
    found = {name: value + random.normal(0, 20, 300) for name, value in truth.items()}
    light = {name: random.uniform(0, 4000, 5000) for name in truth} | {"weight": random.poisson(50, 5000)}
    demo_figure(tmp_path / "demo.png", light=light, truth=truth, found=found, title="A cell")
    assert min(imread(tmp_path / "demo.png").shape[:2]) > 400
    nothing = {name: np.zeros(0) for name in truth}
    demo_figure(
        tmp_path / "none.png", light={**light, "weight": np.zeros(5000)}, truth=truth, found=nothing, title="None found"
    )
    assert (tmp_path / "none.png").stat().st_size > 0


def test_missing_matplotlib_is_reported_with_the_command_to_install_it(table: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; sys.modules['matplotlib.figure'] = None\n"
        "from lls_decode.errors import ConfigError\n"
        "from lls_decode.pictures.render import render_png\n"
        "try:\n    render_png(sys.argv[1], sys.argv[2])\n"
        "except ConfigError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(table), str(tmp_path / "a.png")], capture_output=True, text=True, check=True
    )
    assert "pip install 'lls-decode[report]'" in done.stdout


def test_neither_torch_nor_matplotlib_is_imported_before_it_is_needed() -> None:
    code = (
        "import lls_decode.pictures.render, lls_decode.evaluate, lls_decode.table, sys\n"
        "print([name for name in ('torch', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
