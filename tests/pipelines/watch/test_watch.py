"""The heat strip, the picture and the metrics of a run's page agree with values computed independently."""

from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.config import Geometry, PixelSize
from lls_decode.pipelines.status.reader import DONE, FAILED, RETRIED, RunReader, read_status
from lls_decode.pipelines.watch.metrics import exposition
from lls_decode.pipelines.watch.picture import MOST_PIXELS, LivePicture
from lls_decode.pipelines.watch.strip import COLOURS, MOST_COLUMNS, MOST_ROWS, make_cells
from lls_decode.table.field import field_extent
from tests.pipelines.run_folders import Folder, make_folder

SHAPES = {"movie": (1, 5000, 10), "volumes": (50, 70, 50), "long volumes": (3, 300, 7), "one block": (1, 1, 1)}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return a run folder with six blocks, one for each volume of four planes."""
    return make_folder(tmp_path / "out")


@pytest.mark.parametrize(("volumes", "planes", "block_frames"), SHAPES.values(), ids=SHAPES.keys())
def test_cells_cover_each_block_once(volumes: int, planes: int, block_frames: int) -> None:
    blocks = plan_blocks(Layout(volumes, planes, 8, 8), "plane", block_frames)
    states = np.random.default_rng(0).choice([0, DONE, FAILED, RETRIED], len(blocks), p=[0.5, 0.48, 0.01, 0.01])
    cells = make_cells(blocks, states.astype(np.uint8))
    assert 0 < len(cells.left) <= MOST_COLUMNS * MOST_ROWS
    frames = np.zeros((volumes, planes), dtype=int)
    for left, right, bottom, top in zip(cells.left, cells.right, cells.bottom, cells.top, strict=True):
        frames[int(left) : int(right), int(bottom) : int(top)] += 1
    assert (frames == 1).all()
    counted = [words.split(" of ") for words in cells.words]
    assert sum(int(done) for done, _ in counted) == int((states == DONE).sum())
    assert sum(int(rest.split()[0]) for _, rest in counted) == len(blocks)


def test_one_failed_block_is_visible_among_thousands() -> None:
    blocks = plan_blocks(Layout(100_000, 1, 8, 8), "time", 1)
    states = np.full(len(blocks), DONE, dtype=np.uint8)
    states[54_321] = FAILED
    cells = make_cells(blocks, states)
    assert [colour for colour in cells.colour if colour != COLOURS["done"]] == [COLOURS["failed"]]
    column = cells.colour.index(COLOURS["failed"])
    assert cells.left[column] <= 54_321 < cells.right[column]


def test_picture_shows_emitters_at_their_positions(folder: Folder) -> None:
    """Every shard has a bright spot at x = 1.5 um, y = 3 um."""
    for index in range(4):
        folder.shard(index, np.full(300, 1500.0), np.full(300, 3000.0), np.linspace(-400, 400, 300))
    reader = RunReader(folder.out)
    reader.read()
    live = LivePicture(folder.out / "shards", reader.record, reader.blocks)
    assert live.picture() is None
    steps = 0
    while live.step(reader.states == DONE, budget_s=0.0):
        steps += 1
    picture = live.picture()
    assert picture is not None
    assert (picture.num_rows, picture.num_shards) == (1200, 4)
    assert 4 <= steps <= 12  # the picture is restarted when the range of depths becomes known
    assert picture.z_range_nm == pytest.approx((-400, 400), abs=10)
    (x0, x1), (y0, y1) = picture.extent_nm
    assert ((x0, x1), (y0, y1)) == ((-50, 5950), (-50, 3950))
    row, column = np.unravel_index(picture.image.sum(axis=2).argmax(), picture.image.shape[:2])
    assert x0 + (column + 0.5) * picture.pixel_nm == pytest.approx(1500, abs=picture.pixel_nm)
    assert y0 + (row + 0.5) * picture.pixel_nm == pytest.approx(3000, abs=picture.pixel_nm)
    assert picture.image.shape[0] * picture.image.shape[1] <= MOST_PIXELS


def test_picture_skips_shards_that_cannot_be_read(folder: Folder) -> None:
    folder.shard(0, [1000.0] * 600, [1000.0] * 600, np.linspace(0, 100, 600))
    (folder.out / "shards" / "b000001.parquet").write_bytes(b"PAR1 and nothing else")
    reader = RunReader(folder.out)
    reader.read()
    live = LivePicture(folder.out / "shards", reader.record, reader.blocks)
    for _ in range(4):
        live.step(reader.states == DONE)
    picture = live.picture()
    assert picture is not None
    assert picture.num_rows == 600


def test_field_of_a_stage_scan_is_in_sample_coordinates() -> None:
    geometry = Geometry(motion="stage", angle_deg=60, stage_step_nm=1000)
    (x0, x1), (y0, y1) = field_extent(Layout(2, 11, 10, 20), PixelSize(x_nm=100, y_nm=200), geometry)
    assert (x0, x1) == pytest.approx((-25, 10_000 + 0.5 * 1950))
    assert (y0, y1) == (-100, 1900)


def test_metrics_agree_with_the_run_folder(folder: Folder, tmp_path: Path) -> None:
    folder.done(0, 10, rows=11)
    folder.done(1, 12, rows=12, gpu_bytes=77)
    folder.failed(2, 13)
    odd = make_folder(tmp_path / 'a "folder"\\n')
    status, other = read_status(folder.out), read_status(odd.out)
    found = {
        (sample.name, sample.labels["run"], sample.labels.get("state", "")): sample.value
        for family in text_string_to_metric_families(exposition([status, other]))
        for sample in family.samples
    }
    run = str(folder.out)
    assert found["lls_decode_rows", run, ""] == 23
    assert [found["lls_decode_blocks", run, state] for state in ("done", "failed", "left")] == [2, 1, 3]
    assert [found["lls_decode_frames", run, state] for state in ("done", "lost", "left")] == [8, 4, 12]
    assert found["lls_decode_frames_per_second", run, ""] == status.frames_per_s
    assert found["lls_decode_worker_gpu_bytes", run, ""] == 77
    assert found["lls_decode_blocks", str(odd.out), "left"] == 6
    assert ("lls_decode_frames_per_second", str(odd.out), "") not in found
