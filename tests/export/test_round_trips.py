"""In every format each column of every kind of table is read back equal, or reported as left out."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import h5py
import numpy as np
import pandas as pd
import polars
import pytest
import yaml

from lls_decode.errors import ConfigError
from lls_decode.export.exporting import FORMATS, Exported, export_table
from lls_decode.export.importing import import_table
from lls_decode.pipelines.cli import main
from lls_decode.table import ChannelInfo, described_like, read_metadata, read_table, sorting

from .conftest import (
    COMING_BACK,
    GEOMETRY,
    MODEL,
    PIXEL,
    random_columns,
    random_molecules,
    write_molecules,
    write_table,
)

Columns = dict[str, np.ndarray[Any, Any]]
NUM_ROWS = 700
X_NM, Y_NM = PIXEL.x_nm, PIXEL.y_nm


# --- readers that follow the formats' documentation, independent of lls_decode ---------------------------------------


def read_picasso(path: Path) -> Columns:
    """Read square pixels and frames from 0; ``len`` is the number of frames from first to last, ``n`` of detections."""
    (about,) = yaml.safe_load_all(path.with_suffix(".yaml").read_text())
    with h5py.File(path) as file:
        locs = file["locs"][:]
    size = about["Pixelsize"]
    found = {name: locs[name] for name in locs.dtype.names}
    shift = dict(zip("xy", about["Shift (px)"], strict=True))
    found |= {f"{axis}_nm": (found.pop(axis).astype(float) - shift[axis]) * size for axis in "xy"}
    found |= {f"{axis}_sig": found.pop(f"lp{axis}") * size for axis in "xy"}
    if "len" in found:
        found["last_frame"] = found["frame"].astype(int) + found.pop("len") - 1
        np.testing.assert_allclose(found.pop("photon_rate"), found["photons"] / found["n"], rtol=1e-6)
    theirs = {"z": "z_nm", "lpz": "z_sig", "photons_unc": "phot_sig", "n": "num_frames"}
    return {theirs.get(name, name): values for name, values in found.items()}


def read_smap(path: Path) -> Columns:
    """Read positions with the first pixel's centre at one pixel, and frames from 1."""
    with h5py.File(path) as file:
        found = {name: item[0] for name, item in file["saveloc/loc"].items()}
    theirs = {"znm": "z_nm", "phot": "photons", "xnmerr": "x_sig", "ynmerr": "y_sig", "locprecznm": "z_sig",
              "photerr": "phot_sig", "groupindex": "group", "numberInGroup": "num_frames"}  # fmt: skip
    found = {theirs.get(name, name): values for name, values in found.items()}
    found |= {"x_nm": found["xnm"].astype(float) - X_NM, "y_nm": found["ynm"].astype(float) - Y_NM}
    return {**found, **{name: found[name] - 1 for name in ("frame", "last_frame") if name in found}}


def read_decode(path: Path) -> Columns:
    """Read positions whose x is the row coordinate."""
    with h5py.File(path) as file:
        data = {name: item[:] for name, item in file["data"].items() if item.shape is not None}
    place, sigma = data["xyz"].T, data["xyz_sig"].T
    found = dict(zip(("y_nm", "x_nm", "z_nm", "y_sig", "x_sig", "z_sig"), (*place, *sigma), strict=True))
    theirs = {"phot": "photons", "frame_ix": "frame", "id": "group"}
    return {**found, **{theirs.get(name, name): values for name, values in data.items()}}


def read_decode_csv(path: Path) -> Columns:
    theirs = {"x": "y_nm", "y": "x_nm", "z": "z_nm", "x_sig": "y_sig", "y_sig": "x_sig", "phot": "photons",
              "frame_ix": "frame", "id": "group"}  # fmt: skip
    return columns_of(pd.read_csv(path, comment="#").rename(columns=theirs))


def read_smlm(path: Path) -> Columns:
    with zipfile.ZipFile(path) as archive:
        (kind,) = json.loads(archive.read("manifest.json"))["formats"].values()
        rows = np.frombuffer(archive.read("table-0.bin"), list(zip(kind["headers"], kind["dtype"], strict=True)))
    theirs = {"x": "x_nm", "y": "y_nm", "z": "z_nm", "intensity": "photons", "background": "bg", "slice": "plane",
              "x_precision": "x_sig", "y_precision": "y_sig", "z_precision": "z_sig", "cluster": "group",
              "intensity_precision": "phot_sig"}  # fmt: skip
    return {theirs.get(name, name): rows[name] for name in kind["headers"]}


def read_thunderstorm(path: Path) -> Columns:
    """Read positions with the first pixel's corner at 0, and frames from 1."""
    theirs = {"x [nm]": "x_nm", "y [nm]": "y_nm", "z [nm]": "z_nm", "intensity [photon]": "photons",
              "offset [photon]": "bg", "uncertainty_z [nm]": "z_sig", "detections": "num_frames"}  # fmt: skip
    found = columns_of(pd.read_csv(path).rename(columns=theirs))
    return found | {"x_nm": found["x_nm"] - X_NM / 2, "y_nm": found["y_nm"] - Y_NM / 2, "frame": found["frame"] - 1}


def columns_of(table: pd.DataFrame) -> Columns:
    return {name: table[name].to_numpy() for name in table}


READERS: dict[str, Callable[[Path], Columns]] = {
    "picasso": read_picasso,
    "smap": read_smap,
    "decode": read_decode,
    "decode-csv": read_decode_csv,
    "smlm": read_smlm,
    "csv": lambda path: columns_of(pd.read_csv(path)),
    "thunderstorm": read_thunderstorm,
}
COUNTS = {"last_frame", "num_frames", "num_planes", "num_volumes", "prob_any"}
NO_PLACE = {
    "picasso": set(),
    "smap": set(),
    "smlm": set(),
    "csv": set(),
    "decode": {"volume", "plane", "channel", *COUNTS},
    "decode-csv": {"volume", "plane", "channel", *COUNTS},
    "thunderstorm": {
        "volume", "plane", "channel", "group", "prob", "phot_sig", "x_sig", "y_sig", *(COUNTS - {"num_frames"}),
    },
}  # fmt: skip
BY_FRAME = {"picasso", "smap", "decode", "decode-csv", "thunderstorm"}


# --- tables ----------------------------------------------------------------------------------------------------------


def a_table(path: Path, kind: str, num_channels: int, *, tilted: bool = False, **metadata: Any) -> Path:
    columns = (random_columns if kind == "localizations" else random_molecules)(NUM_ROWS)
    about: dict[str, Any] = {"model": MODEL, "geometry": GEOMETRY if tilted else None, **metadata}
    if num_channels > 1:
        columns["channel"] = np.random.default_rng(1).integers(0, num_channels, NUM_ROWS)
        about["channels"] = tuple(ChannelInfo(name=f"colour {number}") for number in range(num_channels))
    return (write_table if kind == "localizations" else write_molecules)(path, columns, **about)


def as_exported(path: Path, coords: str) -> Columns:
    """Return the columns of a table in the coordinate system of the export."""
    rows, metadata = read_table(path)
    found = {name: rows[name].to_numpy().astype(float) for name in rows.column_names}
    if coords == "sample":
        found |= {f"{axis}_nm": found.pop(f"{axis}s_nm") for axis in "xyz"}
        angle = np.radians(31.8)
        cos, sin, x_sig, z_sig = np.cos(angle), np.sin(angle), found["x_sig"], found["z_sig"]
        found |= {"x_sig": np.hypot(cos * x_sig, sin * z_sig), "z_sig": np.hypot(sin * x_sig, cos * z_sig)}
    elif coords == "deskewed" and metadata.kind == "localizations":
        place = GEOMETRY.to_deskewed(found["x_nm"], found["y_nm"], found["z_nm"], found["plane"])
        found |= dict(zip(("x_nm", "y_nm", "z_nm"), place, strict=True))
    return {name: values for name, values in found.items() if name not in ("xs_nm", "ys_nm", "zs_nm")}


def by_photons(columns: Columns) -> Columns:
    """Sort rows by photons, whose values are unique."""
    order = np.argsort(columns["photons"].astype(np.float32))
    return {name: np.asarray(values)[order] for name, values in columns.items()}


def assert_equal_or_reported(made: Exported, table: Path) -> None:
    found, expected = READERS[made.format](made.path), as_exported(table, made.coords)
    if made.format in BY_FRAME:
        assert np.all(np.diff(found["frame"].astype(int)) >= 0)
    found, expected = by_photons(found), by_photons(expected)
    named = set(made.left_out) & set(expected)
    for name, values in expected.items():
        if name in NO_PLACE[made.format]:
            assert name in made.left_out, name
        elif not (name in ("x_nm", "y_nm", "z_nm") and made.coords != "raw"):
            assert name not in named, name  # a column that the format can store is not left out
        if name not in NO_PLACE[made.format]:
            largest = np.abs(values).max()
            np.testing.assert_allclose(found[name], values, rtol=0, atol=3e-7 * largest, err_msg=name)


@pytest.mark.parametrize("tilted", [False, True], ids=["movie", "tilted"])
@pytest.mark.parametrize("num_channels", [1, 2], ids=["one channel", "two channels"])
@pytest.mark.parametrize("kind", ["localizations", "molecules"])
@pytest.mark.parametrize("format", COMING_BACK)
def test_every_column_is_equal_or_reported_as_left_out(
    format: str, kind: str, num_channels: int, tilted: bool, tmp_path: Path
) -> None:
    table = a_table(tmp_path / "table.parquet", kind, num_channels, tilted=tilted)
    made = export_table(table, tmp_path / f"out{FORMATS[format].suffix}", format=format)
    assert (made.kind, made.coords) == (kind, "sample" if tilted else "raw")
    assert_equal_or_reported(made, table)
    assert all(made.left_out.values())
    if tilted:
        assert {"x_nm", "y_nm", "z_nm"} <= set(made.left_out)


@pytest.mark.parametrize("num_channels", [1, 2], ids=["one channel", "two channels"])
@pytest.mark.parametrize("kind", ["localizations", "molecules"])
@pytest.mark.parametrize("format", sorted(name for name, format in FORMATS.items() if not format.comes_back))
def test_columns_of_formats_for_viewing_are_written_or_reported_as_left_out(
    format: str, kind: str, num_channels: int, tmp_path: Path
) -> None:
    """The tests of each such format check the values."""
    table = a_table(tmp_path / "table.parquet", kind, num_channels, tilted=False)
    made = export_table(table, tmp_path / f"out{FORMATS[format].suffix}", format=format)
    info = json.loads((made.path / "info").read_text())
    there = {each["id"] for each in info["properties"]} | {f"{axis}_nm" for axis in info["dimensions"]}
    assert there.isdisjoint(made.left_out)
    assert there | set(made.left_out) == set(read_metadata(table).columns)


@pytest.mark.parametrize("kind", ["localizations", "molecules"])
def test_deskewed_coordinates_are_exported(kind: str, tmp_path: Path) -> None:
    """Molecules are stored in deskewed coordinates, so that none of their coordinates are left out."""
    table = a_table(tmp_path / "table.parquet", kind, 1, tilted=True)
    made = export_table(table, tmp_path / "out.smlm", coords="deskewed")
    found, expected = (by_photons(columns) for columns in (read_smlm(made.path), as_exported(table, "deskewed")))
    for name in ("x_nm", "y_nm", "z_nm", "x_sig", "z_sig"):
        np.testing.assert_allclose(found[name], expected[name], atol=0.01, err_msg=name)
    camera = {"x_nm", "y_nm", "z_nm"} if kind == "localizations" else set()
    assert camera == set(made.left_out) - {"xs_nm", "ys_nm", "zs_nm"}
    assert {"xs_nm", "ys_nm", "zs_nm"} <= set(made.left_out)


def test_molecules_of_planes_have_no_camera_coordinates(tmp_path: Path) -> None:
    table = a_table(tmp_path / "table.parquet", "molecules", 1, tilted=True)
    with pytest.raises(ConfigError, match="use deskewed or sample"):
        export_table(table, tmp_path / "out.smlm", coords="raw")


def test_rows_of_large_tables_are_sorted_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sections force sorting on disk; rows of one frame keep their order."""
    columns = random_molecules(NUM_ROWS)
    columns["photons"] = np.arange(NUM_ROWS, dtype=np.float32)
    columns["frame"] = np.random.default_rng(2).integers(0, 50, NUM_ROWS)
    columns["last_frame"] = columns["frame"] + 10
    table = write_molecules(tmp_path / "table.parquet", columns)
    monkeypatch.setattr(sorting, "_SECTION_ROWS", 60)
    monkeypatch.setattr(sorting, "_GROUP_ROWS", 7)
    in_pieces = read_table(table)[0]
    monkeypatch.setattr(
        "lls_decode.export.rows.iter_tables",
        lambda path, names: (in_pieces.select(names).slice(start, 20) for start in range(0, NUM_ROWS, 20)),
    )
    found = read_picasso(export_table(table, tmp_path / "out.hdf5").path)
    order = np.argsort(columns["frame"], kind="stable")
    np.testing.assert_array_equal(found["photons"], columns["photons"][order])
    np.testing.assert_array_equal(found["frame"], columns["frame"][order])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.hdf5", "out.yaml", "table.parquet"]


def test_picasso_files_store_channel_names(tmp_path: Path) -> None:
    table = a_table(tmp_path / "table.parquet", "molecules", 2)
    export_table(table, tmp_path / "out.hdf5")
    (about,) = yaml.safe_load_all((tmp_path / "out.yaml").read_text())
    assert about["Channels"] == ["colour 0", "colour 1"]


def test_columns_of_the_user_are_reported_as_left_out(tmp_path: Path) -> None:
    """The table has a column added with pandas, and a column without any value."""
    frame = pd.read_parquet(write_table(tmp_path / "table.parquet", random_columns(50), model=MODEL))
    frame["score"], frame["phot_sig"] = 1.5, np.float32("nan")
    frame.to_parquet(tmp_path / "scored.parquet")
    for format in sorted(FORMATS):
        made = export_table(tmp_path / "scored.parquet", tmp_path / f"{format}{FORMATS[format].suffix}", format=format)
        assert made.left_out["score"] == f"{format} has no place for it"
        is_written = format == "csv"  # a column of empty cells
        assert made.left_out.get("phot_sig") == (None if is_written else "not known in any row")


def test_the_export_command_prints_columns_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = a_table(tmp_path / "table.parquet", "molecules", 2)

    def call(*words: object) -> str:
        with pytest.raises(SystemExit) as end:
            main(["export", str(table), *map(str, words)])
        assert not end.value.code
        return capsys.readouterr().out

    text = call(tmp_path / "out.h5")
    assert "700 molecules, decode, raw coordinates" in text
    assert "left out: last_frame, num_frames, num_planes, num_volumes, prob_any, channel (decode has no" in text
    found = json.loads(call(tmp_path / "out.csv", "--format", "thunderstorm", "--json"))
    assert set(found["left_out"]) == NO_PLACE["thunderstorm"] - {"volume", "plane"}
    assert found["left_out"]["channel"] == "thunderstorm has no place for it"
    assert found["left_out"]["x_sig"] == "uncertainty_xy is the root mean square of x_sig and y_sig"
    assert (found["kind"], found["rows"], found["format"]) == ("molecules", 700, "thunderstorm")
    found = json.loads(call(tmp_path / "out.hdf5", "--size", "300x200", "--frames", "5000", "--json"))
    assert (found["left_out"], read_metadata(table).kind) == ({}, "molecules")
    (about,) = yaml.safe_load_all((tmp_path / "out.yaml").read_text())
    assert (about["Width"], about["Height"], about["Frames"]) == (300, 189, 5000)


# --- round trip through import ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_channels", [1, 2], ids=["one channel", "two channels"])
@pytest.mark.parametrize("format", ["picasso", "smap", "smlm", "csv", "thunderstorm"])
def test_molecules_survive_a_round_trip_through_import(format: str, num_channels: int, tmp_path: Path) -> None:
    table = a_table(tmp_path / "table.parquet", "molecules", num_channels)
    made = export_table(table, tmp_path / f"out{FORMATS[format].suffix}", format=format)
    is_text = FORMATS[format].suffix == ".csv"  # text formats lack the pixel size
    back = import_table(made.path, tmp_path / "back.parquet", pixel_size=PIXEL if is_text else None)
    rows, metadata = read_table(back)
    assert metadata.kind == "molecules"
    found = by_photons({name: rows[name].to_numpy() for name in rows.column_names})
    expected = by_photons(as_exported(table, "raw"))
    lost = NO_PLACE[format]
    assert ("channel" in found) == ("channel" in expected and "channel" not in lost)
    for name, values in expected.items():
        if name not in lost:
            np.testing.assert_allclose(found[name], values, rtol=0, atol=3e-7 * np.abs(values).max(), err_msg=name)


# --- tables rewritten by other programs ------------------------------------------------------------------------------


def by_pandas(source: Path, out: Path) -> None:
    pd.read_parquet(source).sort_values("photons").to_parquet(out)


def by_polars(source: Path, out: Path) -> None:
    polars.scan_parquet(source).sort("photons").collect().write_parquet(out)


def by_duckdb(source: Path, out: Path) -> None:
    duckdb.sql(f"copy (select * from '{source}' order by photons) to '{out}' (format parquet)")


@pytest.mark.parametrize("tilted", [False, True], ids=["movie", "tilted"])
@pytest.mark.parametrize("num_channels", [1, 2], ids=["one channel", "two channels"])
@pytest.mark.parametrize("kind", ["localizations", "molecules"])
@pytest.mark.parametrize("rewrite", [by_pandas, by_polars, by_duckdb])
def test_tables_rewritten_by_other_programs_give_the_same_export(
    rewrite: Callable[[Path, Path], None], kind: str, num_channels: int, tilted: bool, tmp_path: Path
) -> None:
    """After pandas, polars or DuckDB reorder the rows, every column and the exported file are the same."""
    table, back = tmp_path / "table.parquet", tmp_path / "back.parquet"
    a_table(table, kind, num_channels, tilted=tilted)
    rewrite(table, back)
    with described_like(None if rewrite is by_pandas else table):
        found, metadata = read_table(back)
        made = export_table(back, tmp_path / "out.hdf5")
        expected, about = read_table(table)
        assert (metadata, found.schema.names) == (about, expected.schema.names)
        assert found.sort_by("photons").equals(expected.sort_by("photons"))
        assert_equal_or_reported(made, back)
    assert made.left_out == export_table(table, tmp_path / "straight.hdf5").left_out
    one, other = (by_photons(read_picasso(tmp_path / name)) for name in ("out.hdf5", "straight.hdf5"))
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)
