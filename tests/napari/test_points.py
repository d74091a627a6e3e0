"""Layers that the plugin passes to napari, tested without napari; ``tests/peers/test_napari.py`` runs napari itself."""

import importlib
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zarr

from lls_decode.drift import DriftCurve, write_curve
from lls_decode.errors import InputError, TableError
from lls_decode.molecules import link
from lls_decode.napari import points
from lls_decode.napari.picture import picture_layer
from lls_decode.napari.points import points_layer
from lls_decode.napari.reading import picture_reader, table_reader
from lls_decode.pictures.render_pyramid import render_pyramid
from lls_decode.table import read_table
from lls_decode.table.schema import VERSIONS
from lls_decode.table.thinning import row_lot, thinned_rows
from tests.export.conftest import GEOMETRY, random_columns, write_pieces, write_table

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "lls_decode" / "napari"


def test_a_small_table_becomes_points_with_all_rows_and_columns(tmp_path: Path) -> None:
    table = write_table(tmp_path / "cell.parquet", random_columns(300), geometry=GEOMETRY)
    data, layer, kind = points_layer(table)
    rows = read_table(table)[0]
    assert kind == "points"
    assert layer["name"] == "cell (300)"
    assert list(layer["features"]) == rows.column_names
    for number, name in enumerate(("zs_nm", "ys_nm", "xs_nm")):
        np.testing.assert_array_equal(data[:, number], rows[name].to_numpy())
    assert (layer["units"], layer["scale"]) == (("nm",) * 3, (1.0,) * 3)
    assert layer["face_color"] == "zs_nm"
    np.testing.assert_allclose(layer["face_contrast_limits"], np.percentile(rows["zs_nm"].to_numpy(), [1, 99]))


@pytest.mark.parametrize("limit", [1, 7, 100, 999])
def test_thinning_is_even_and_reproducible_and_shown_in_the_layer_name(tmp_path: Path, limit: int) -> None:
    columns = random_columns(1000)
    columns["photons"] = np.arange(1000.0)  # the number of the row
    found = []
    for name, group_rows in (("one", 1000), ("many", 37)):
        folder = tmp_path / name
        folder.mkdir()
        table = write_pieces(folder / "cell.parquet", group_rows=group_rows, **columns)
        _, layer, _ = points_layer(table, limit=limit)
        found.append(layer["features"]["photons"])
        assert layer["name"] == f"cell ({limit} of 1,000)"
        about = layer["metadata"]["lls_decode"]
        assert (about["rows"], about["rows_taken"]) == (1000, limit)
    np.testing.assert_array_equal(*found)
    parts = np.floor(found[0] * limit / 1000).astype(int)
    assert np.abs(parts - np.arange(limit)).max() <= 1  # one row from each of `limit` equal parts of the table
    assert len(np.unique(found[0])) == limit


def test_thinning_does_not_alias_with_periodic_rows() -> None:
    """If every tenth row belongs to one molecule, about a tenth of the rows that remain belong to it."""
    rows = thinned_rows(1_000_000, 100_000)
    share = np.mean(rows % 10 == 3)
    assert abs(share - 0.1) < 5 * np.sqrt(0.09 / 100_000)
    assert np.array_equal(thinned_rows(5, 9), np.arange(5))
    lots = row_lot(np.arange(100_000))
    assert abs(lots.mean() - 0.5) < 5 / np.sqrt(12 * 100_000)
    assert np.histogram(lots, 20, (0, 1))[0].min() > 4500
    assert abs(np.corrcoef(lots[1:], lots[:-1])[0, 1]) < 5 / np.sqrt(100_000)


@pytest.mark.parametrize("num_groups", [4, 40])
def test_memory_does_not_grow_with_the_table(tmp_path: Path, num_groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a table is read, Arrow holds less than four row groups, whatever their number."""
    group_rows = 5000
    table = write_pieces(tmp_path / "cell.parquet", group_rows=group_rows, **random_columns(group_rows * num_groups))
    group_bytes = read_table(table)[0].nbytes / num_groups
    before, held, read = pa.total_allocated_bytes(), [], points.iter_tables

    def watched(path: Path) -> Iterator[pa.Table]:
        for piece in read(path):
            held.append(pa.total_allocated_bytes() - before)
            yield piece

    monkeypatch.setattr(points, "iter_tables", watched)
    points_layer(table, limit=200)
    assert len(held) == num_groups
    assert max(held) < 4 * group_bytes


def test_points_without_z_are_coloured_by_frame(tmp_path: Path) -> None:
    columns = random_columns(50)
    columns["z_nm"] = np.full(50, np.nan)
    data, layer, _ = points_layer(write_table(tmp_path / "movie.parquet", columns))
    assert data.shape == (50, 2)
    assert layer["face_color"] == "frame"
    assert layer["axis_labels"] == ("y", "x")


def test_rows_without_a_position_are_left_out_and_counted(tmp_path: Path) -> None:
    columns = random_columns(50)
    columns["z_nm"][:3] = np.nan
    data, layer, _ = points_layer(write_table(tmp_path / "t.parquet", columns))
    assert len(data) == len(layer["features"]["frame"]) == 47
    assert layer["metadata"]["lls_decode"]["rows_without_position"] == 3
    columns["x_nm"][:] = np.nan
    with pytest.raises(TableError, match="no row with a position"):
        points_layer(write_table(tmp_path / "none.parquet", columns))


@pytest.mark.parametrize("sigma", [np.nan, 0.0])
def test_points_without_sigmas_have_the_default_size(tmp_path: Path, sigma: float) -> None:
    columns = random_columns(50) | {name: np.full(50, sigma, np.float32) for name in ("x_sig", "y_sig")}
    assert points_layer(write_table(tmp_path / "t.parquet", columns))[1]["size"] == 30


def test_the_reader_accepts_tables_of_localizations_and_molecules_only(tmp_path: Path) -> None:
    table = write_table(tmp_path / "localizations.parquet", random_columns(50), geometry=GEOMETRY)
    molecules = link(table, out=tmp_path / "linked").molecules
    (tmp_path / "text.parquet").write_text("no Parquet")
    pq.write_table(pa.table({"frame": [0], "x_nm": [1.0]}), tmp_path / "theirs.parquet")
    write_curve(tmp_path / "curve.parquet", DriftCurve(0, np.zeros((4, 3)), np.ones((4, 3)), "raw", "rcc"))
    for path in (table, molecules):
        reader = table_reader(str(path))
        assert reader is not None
        ((_, layer, kind),) = reader(str(path))
        assert kind == "points"
        assert layer["metadata"]["lls_decode"]["kind"] == path.stem
        assert layer["name"].startswith(f"{path.parent.name} {path.stem} (")
    for name in ("text.parquet", "theirs.parquet", "curve.parquet", "absent.parquet"):
        assert table_reader(str(tmp_path / name)) is None
    assert table_reader([str(table), str(molecules)]) is None  # several files are a stack


def test_the_reader_accepts_a_table_that_pandas_wrote(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.parquet", random_columns(50))
    pd.read_parquet(table).query("photons > 0").to_parquet(tmp_path / "back.parquet")
    reader = table_reader(str(tmp_path / "back.parquet"))
    assert reader is not None
    assert len(reader(str(tmp_path / "back.parquet"))[0][0]) == 50


def test_the_reader_accepts_a_table_of_a_newer_version_and_raises_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_table(tmp_path / "t.parquet", random_columns(50))
    monkeypatch.setitem(VERSIONS, "localizations", (99, 0))
    reader = table_reader(str(table))
    assert reader is not None
    with pytest.raises(TableError, match="use an lls-decode that knows"):
        reader(str(table))


@pytest.mark.parametrize("deep", [False, True], ids=["picture", "volume"])
def test_a_picture_is_aligned_with_the_points_of_its_table(tmp_path: Path, deep: bool) -> None:
    table = write_table(tmp_path / "t.parquet", random_columns(3000), geometry=GEOMETRY)
    out = tmp_path / "p.zarr"
    render_pyramid(table, out, mode="histogram", pixel_nm=40, z_pixel_nm=230 if deep else None)
    reader = picture_reader(str(out))
    assert reader is not None
    ((levels, layer, kind),) = reader(str(out))
    data, _, _ = points_layer(table)
    assert kind == "image"
    assert layer["multiscale"]
    assert len(levels) > 1
    data = data[:, -levels[0].ndim :]
    pixel = np.rint((data - layer["translate"]) / layer["scale"])
    counts, _ = np.histogramdd(pixel, bins=[np.arange(size + 1) - 0.5 for size in levels[0].shape])
    assert np.abs(counts - np.asarray(levels[0])).sum() <= 2  # rounding may move points on the edge of a pixel
    assert counts.sum() == 3000
    assert layer["units"] == ("nm",) * levels[0].ndim
    assert 0 == layer["contrast_limits"][0] < layer["contrast_limits"][1]


def test_stores_of_other_programs_are_declined_and_damaged_pictures_are_named(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.parquet", random_columns(300))
    out = tmp_path / "p.zarr"
    render_pyramid(table, out, mode="histogram", pixel_nm=200)
    zarr.create_group(tmp_path / "theirs.zarr", attributes={"ome": {"multiscales": [{"type": "mean"}]}})
    for name in ("theirs.zarr", "absent.zarr", "t.parquet"):
        assert picture_reader(str(tmp_path / name)) is None
    shutil.rmtree(out / "0")
    with pytest.raises(InputError, match="render it again"):
        picture_layer(out)


def test_every_command_of_the_manifest_exists() -> None:
    manifest = yaml.safe_load((PLUGIN / "napari.yaml").read_text())
    commands = {command["id"]: command["python_name"] for command in manifest["contributions"]["commands"]}
    for name in commands.values():
        module, _, function = name.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
    assert {reader["command"] for reader in manifest["contributions"]["readers"]} == set(commands)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["project"]["entry-points"]["napari.manifest"] == {manifest["name"]: "lls_decode.napari:napari.yaml"}
    assert "napari.yaml" in settings["tool"]["setuptools"]["package-data"]["lls_decode.napari"]


def test_the_reader_imports_neither_napari_nor_torch(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.parquet", random_columns(50))
    script = (
        "import sys\n"
        "sys.modules['napari'] = sys.modules['npe2'] = None\n"
        "from lls_decode.napari.reading import picture_reader, table_reader\n"
        f"assert len(table_reader({str(table)!r})({str(table)!r})) == 1\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
