"""Preview: one volume is localized and drawn."""

from pathlib import Path

import numpy as np
import pytest

from lls_decode.blocks import plan_blocks
from lls_decode.config import Geometry, PixelSize, RunConfig
from lls_decode.errors import ConfigError, InputError
from lls_decode.localize import build_localizer
from lls_decode.pictures.preview_figure import Spots, preview_figure
from lls_decode.pipelines.cli import main
from lls_decode.pipelines.flows.preview import MOVIE_FRAMES, preview
from lls_decode.pipelines.planning.plan import make_plan
from lls_decode.pipelines.running.arithmetic import settle_here
from tests.pipelines.conftest import HEIGHT, WIDTH, World, write_movie

pytest.importorskip("matplotlib")


def picture(path):
    from matplotlib.image import imread

    return imread(path)


def test_a_preview_finds_the_same_localizations_as_a_run_of_the_volume(world: World, tmp_path):
    pixel = PixelSize(x_nm=100, y_nm=100)
    config = RunConfig(geometry=Geometry(motion="stage", stage_step_nm=400, angle_deg=31.8), pixel_size=pixel)
    dataset, bundle = write_movie(tmp_path / "sweeps.zarr", (3, 5, HEIGHT, WIDTH)), world.bundle("plane")
    result = preview(dataset, bundle, tmp_path / "p.png", config=config, volume=1)
    plan = make_plan(dataset, bundle, tmp_path, config)
    assert plan.layout.planes_per_volume > 1
    (block,) = [
        block for block in plan_blocks(plan.layout, "plane", plan.layout.planes_per_volume) if block.volume_start == 1
    ]
    table = build_localizer(bundle, plan.config, plan.layout).run(plan.source.read(block))
    assert (result.volume, result.num_frames) == (1, plan.layout.planes_per_volume)
    assert result.num_localizations == len(table)
    assert result.notes == settle_here(plan).notes
    image = picture(tmp_path / "p.png")
    assert image.shape[0] > 700
    assert image.shape[1] > 1400


def test_a_preview_of_a_movie_shows_some_frames_from_its_middle(world, tmp_path):
    result = preview(world.movie, world.bundle("time"), tmp_path / "p.png")
    frames = make_plan(world.movie, world.bundle("time"), tmp_path, RunConfig()).layout.num_frames
    assert result.num_frames == min(MOVIE_FRAMES, frames)
    assert result.volume == (frames - result.num_frames) // 2
    assert (tmp_path / "p.png").exists()


@pytest.mark.parametrize(
    ("dataset", "name", "options", "error", "message"),
    [
        ("movie", "p.png", {"volume": 10_000}, ConfigError, "Volume 10000 does not exist"),
        ("movie", "p.jpg", {}, ConfigError, "written as .png, not as p.jpg"),
        ("nothing", "p.png", {}, InputError, "does not exist"),
    ],
)
def test_invalid_arguments_of_a_preview_are_refused(dataset, name, options, error, message, world, tmp_path):
    path = world.movie if dataset == "movie" else tmp_path / "nothing.zarr"
    with pytest.raises(error, match=message):
        preview(path, world.bundle("time"), tmp_path / name, **options)


CASES = {"nothing found": (0, (1, 40, 48)), "one": (1, (40, 20, 300)), "many": (500, (5, 300, 200))}


@pytest.mark.parametrize(("number", "shape"), CASES.values(), ids=CASES)
def test_detections_are_drawn_in_the_colours_of_their_depth(number, shape, tmp_path):
    random = np.random.default_rng(0)
    planes, height, width = shape
    spots = Spots(
        plane=random.integers(0, planes, number),
        x_px=random.uniform(-0.5, width - 0.5, number),
        y_px=random.uniform(-0.5, height - 0.5, number),
        z_nm=random.uniform(-300, 300, number),
    )
    adu = random.integers(90, 110, shape).astype("uint16")
    preview_figure(tmp_path / "p.png", adu, spots, title="a title", pixel_nm=104)
    image = picture(tmp_path / "p.png")[..., :3]
    panels = image[90:740, : int(0.93 * image.shape[1])]  # without the colour bars
    coloured = (np.ptp(panels, axis=2) > 0.2).sum()
    assert (coloured > 0) == (number > 0)


def test_the_preview_command_prints_a_summary(world, tmp_path: Path, capsys):
    out = tmp_path / "p.png"
    with pytest.raises(SystemExit) as end:
        main(["preview", str(world.movie), "--model", str(world.bundle()), "--out", str(out), "--volume", "2"])
    text = capsys.readouterr().out
    assert not end.value.code
    assert f"{out}: " in text
    assert "frames/s in this process" in text
    assert out.exists()


def test_inspect_prints_geometry_camera_and_lost_frames(tmp_path, capsys):
    """A movie in another format is converted and then inspected."""
    data = np.random.default_rng(0).poisson(np.linspace(10, 80, 32), (48, 32, 32)).astype("<u2") + 100
    (tmp_path / "a.dax").write_bytes(data.tobytes())
    (tmp_path / "a.inf").write_text("little endian\nframe dimensions = 32 x 32\nnumber of frames = 48\n")
    (tmp_path / "run.yaml").write_text(
        "pixel_size: {x_nm: 104, y_nm: 104}\ngeometry: {motion: stage, stage_step_nm: 400, angle_deg: 31.8}\n"
    )
    with pytest.raises(SystemExit):
        main(["convert", str(tmp_path / "a.dax"), str(tmp_path / "a.zarr"), "--planes-per-volume", "2"])
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path / "a.zarr"), "--config", str(tmp_path / "run.yaml"), "--verify"])
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    assert lines["geometry"].endswith("plane-to-plane shift = 3.27 px along x and 211 nm along z")
    assert "gain_adu_per_e 1." in lines["camera_guess"] or "gain_adu_per_e 0.9" in lines["camera_guess"]
    assert lines["lost_frames"] == "none"
