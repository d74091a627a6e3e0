"""Tables of molecules are recognized by their count of detections, and survive a round trip."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from lls_decode.config import PixelSize
from lls_decode.errors import TableError
from lls_decode.export.exporting import FORMATS, export_table
from lls_decode.export.importing import import_table
from lls_decode.molecules import filter_table
from lls_decode.pictures.render import render_png
from lls_decode.table import ChannelInfo, read_metadata, read_table, sorting

from .conftest import COMING_BACK, MODEL, PIXEL, random_molecules, write_molecules

Columns = dict[str, np.ndarray[Any, Any]]
NUM_ROWS = 600
PIXEL_100 = PixelSize(x_nm=100.0, y_nm=100.0)


def columns_of(path: Path) -> Columns:
    rows, _ = read_table(path)
    return {name: rows[name].to_numpy() for name in rows.column_names}


def by_photons(columns: Columns) -> Columns:
    order = np.argsort(columns["photons"])
    return {name: values[order] for name, values in columns.items()}


def shuffled(columns: Columns) -> Columns:
    order = np.random.default_rng(3).permutation(NUM_ROWS)
    return {name: np.asarray(values)[order] for name, values in columns.items()}


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("format", COMING_BACK)
def test_molecules_survive_a_round_trip(format: str, num_channels: int, tmp_path: Path) -> None:
    columns = random_molecules(NUM_ROWS)
    about: dict[str, Any] = {"model": MODEL}
    if num_channels > 1:
        columns["channel"] = np.random.default_rng(1).integers(0, num_channels, NUM_ROWS)
        about["channels"] = (ChannelInfo(name="red"), ChannelInfo(name="green"))
    table = write_molecules(tmp_path / "table.parquet", columns, **about)
    made = export_table(table, tmp_path / f"out{FORMATS[format].suffix}", format=format)
    needs_pixel = FORMATS[format].suffix == ".csv"
    out = import_table(made.path, tmp_path / "back.parquet", pixel_size=PIXEL if needs_pixel else None)
    found, expected = by_photons(columns_of(out)), by_photons(columns_of(table))
    said = read_metadata(out)
    assert said.kind == (
        "localizations" if format.startswith("decode") else "molecules"
    )  # DECODE cannot store molecules
    for name in expected.keys() - made.left_out.keys():
        largest = np.abs(expected[name]).max()
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=3e-7 * largest, err_msg=name)
    if said.kind == "molecules":
        order = columns_of(out)
        assert np.all(np.diff(order["last_frame"].astype(int)) >= 0)
    if format == "picasso" and num_channels > 1:
        assert [channel.name for channel in said.channels] == ["red", "green"]


def test_linked_localizations_of_picasso_are_imported_as_molecules(tmp_path: Path) -> None:
    """In Picasso ``len`` is the number of frames from first to last, and ``n`` the number with a detection."""
    path = tmp_path / "linked.hdf5"
    rows = [(9, 1.5, 3.0, 0.1, 0.1, 900.0, 5, 3, 300.0), (2, 2.5, 3.0, 0.1, 0.1, 800.0, 1, 1, 800.0)]
    names = ("frame", "x", "y", "lpx", "lpy", "photons", "len", "n", "photon_rate")
    with h5py.File(path, "w") as file:
        file["locs"] = np.array(rows, [(name, "i4" if name in ("frame", "len", "n") else "f4") for name in names])
    out = import_table(path, tmp_path / "out.parquet", pixel_size=PIXEL_100)
    found, about = columns_of(out), read_metadata(out)
    assert about.kind == "molecules"
    assert about.input["dropped"] == ["photon_rate"]
    expected = {
        "frame": [2, 9], "last_frame": [2, 13], "num_frames": [1, 3], "num_volumes": [1, 3], "num_planes": [1, 1],
        "x_nm": [250, 150], "photons": [800, 900], "group": [1, 0], "prob": [1, 1], "prob_any": [1, 1],
    }  # fmt: skip
    assert {name: found[name].tolist() for name in expected} == expected
    # other commands accept the table
    assert filter_table(out, tmp_path / "some.parquet", where="num_frames > 1").num_kept == 1
    render_png(out, tmp_path / "picture.png", pixel_nm=20)
    assert (
        read_metadata(import_table(path, tmp_path / "b.parquet", pixel_size=PIXEL_100, kind="localizations")).kind
        == "localizations"
    )
    assert {"len", "n"} < set(read_metadata(tmp_path / "b.parquet").input["dropped"])


def test_merged_molecules_of_thunderstorm_are_imported(tmp_path: Path) -> None:
    path = tmp_path / "merged.csv"
    path.write_text(
        '"id","frame","x [nm]","y [nm]","intensity [photon]","uncertainty [nm]","detections"\n'
        "1.0,7.0,150,250,900,11,3.0\n2.0,4.0,150,250,800,11,1.0\n"
    )
    out = import_table(path, tmp_path / "out.parquet", pixel_size=PIXEL_100)
    found, about = columns_of(out), read_metadata(out)
    assert about.kind == "molecules"
    assert [found[name].tolist() for name in ("frame", "last_frame", "num_frames")] == [[3, 6], [3, 8], [1, 3]]
    assert "as if these followed each other" in about.input["filled"]["last_frame"]
    planes = columns_of(import_table(path, out, pixel_size=PIXEL_100, planes_per_volume=4))
    assert [planes[name].tolist() for name in ("num_volumes", "num_planes")] == [[1, 2], [1, 2]]


def test_a_merged_table_with_single_detections_only_gives_localizations(tmp_path: Path) -> None:
    path = tmp_path / "merged.csv"
    path.write_text('"id","frame","x [nm]","y [nm]","detections"\n1,7,150,250,1\n2,8,150,250,1\n')
    about = read_metadata(import_table(path, tmp_path / "out.parquet", pixel_size=PIXEL_100))
    assert (about.kind, about.input["dropped"]) == ("localizations", ["id", "detections"])
    about = read_metadata(import_table(path, tmp_path / "b.parquet", pixel_size=PIXEL_100, kind="molecules"))
    assert about.kind == "molecules"


@pytest.mark.parametrize("grouped", [True, False])
def test_group_sizes_of_smap_are_no_molecules_if_groups_have_several_rows(grouped: bool, tmp_path: Path) -> None:
    group = np.array([1, 2, 3]) if grouped else np.repeat([1, 2, 3], [4, 1, 2])
    size = np.array([4, 1, 2])[group - 1]
    columns = {"frame": np.arange(1, len(group) + 1), "xnm": 150 + group, "ynm": 250 + group, "groupindex": group}
    path = tmp_path / "rows_sml.mat"
    with h5py.File(path, "w") as file:
        for name, values in (columns | {"numberInGroup": size, "channel": 0 * group}).items():
            file[f"saveloc/loc/{name}"] = values.reshape(1, -1).astype(float)
    about = read_metadata(import_table(path, tmp_path / "out.parquet", pixel_size=PIXEL_100, rows_at_once=2))
    assert about.kind == ("molecules" if grouped else "localizations")
    assert ("numberInGroup" in about.input["dropped"]) == (not grouped)
    assert sorted(columns_of(tmp_path / "out.parquet")["group"].tolist()) == group.tolist()


def test_molecules_need_a_count_of_detections(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("frame,x_nm,y_nm,hits\n3,1,2,4\n")
    with pytest.raises(TableError, match="--columns num_frames=THEIRS"):
        import_table(path, tmp_path / "out.parquet", kind="molecules")
    out = import_table(path, tmp_path / "out.parquet", columns="num_frames=hits")
    assert (read_metadata(out).kind, columns_of(out)["last_frame"].tolist()) == ("molecules", [6])


@pytest.mark.parametrize(
    ("row", "says"),
    [("3,1,2,0", "num_frames 0"), ("3,1,2,2.5", "num_frames 2.5"), ("3,1,2,", "num_frames nan")],
)
def test_invalid_counts_of_detections_are_refused(row: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"frame,x_nm,y_nm,num_frames\n1,1,2,5\n{row}\n")
    with pytest.raises(TableError, match=says):
        import_table(path, tmp_path / "out.parquet")


def test_a_molecule_with_last_frame_before_first_frame_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("frame,last_frame,x_nm,y_nm,num_frames\n5,4,1,2,2\n")
    with pytest.raises(TableError, match="last_frame 4"):
        import_table(path, tmp_path / "out.parquet")


@pytest.mark.parametrize("planes", [1, 30])
def test_molecules_of_large_tables_are_sorted_on_disk(
    planes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small sections force sorting on disk; the file is shuffled."""
    monkeypatch.setattr(sorting, "_SECTION_ROWS", 50)
    monkeypatch.setattr(sorting, "_GROUP_ROWS", 7)
    columns = random_molecules(NUM_ROWS)
    pd.DataFrame(shuffled(columns)).to_csv(tmp_path / "rows.csv", index=False)
    out = import_table(tmp_path / "rows.csv", tmp_path / "a.parquet", rows_at_once=40, planes_per_volume=planes)
    found = columns_of(out)
    keys = [(int(last) // planes, int(group)) for last, group in zip(found["last_frame"], found["group"], strict=True)]
    assert keys == sorted(keys)
    np.testing.assert_array_equal(by_photons(found)["group"], by_photons(columns)["group"])


def test_a_shuffled_table_of_molecules_is_imported_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_molecules(tmp_path / "table.parquet", random_molecules(NUM_ROWS))
    ours = import_table(table, tmp_path / "ours.parquet")
    pd.read_parquet(table).sample(frac=1, random_state=1).to_parquet(tmp_path / "back.parquet")
    again = import_table(tmp_path / "back.parquet", tmp_path / "again.parquet")
    assert read_metadata(again).history[-1]["dropped"] == ["__index_level_0__"]
    expected, found = read_table(ours)[0], read_table(again)[0]
    assert found.replace_schema_metadata(None).equals(expected.replace_schema_metadata(None))
    pd.read_parquet(table).drop(columns="last_frame").to_parquet(tmp_path / "lost.parquet")
    with pytest.raises(TableError, match="no column last_frame, which every table of molecules has"):
        import_table(tmp_path / "lost.parquet", tmp_path / "b.parquet")
