"""Export to other programs' formats: columns survive a round trip, and files have the expected structure."""

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lls_decode import __version__
from lls_decode.errors import ConfigError, LlsDecodeError, TableError
from lls_decode.export.exporting import FORMATS, export_table
from lls_decode.export.importing import import_table
from lls_decode.table import read_metadata, read_table

from .conftest import (
    COMING_BACK,
    GEOMETRY,
    MODEL,
    PIXEL,
    PLANES,
    random_columns,
    random_molecules,
    write_molecules,
    write_table,
)

Columns = dict[str, np.ndarray[Any, Any]]

ALL = set(random_columns(1))
LOST = {
    "smap": set(),
    "picasso": set(),
    "decode": {"volume", "plane"},
    "smlm": set(),
    "csv": set(),
    "thunderstorm": {"volume", "plane", "phot_sig", "prob", "group"},
    "decode-csv": {"volume", "plane"},
}
"""Columns that each format cannot store."""

TOLERANCE_NM = 0.01
"""Rounding of float32 positions of 30 um after a division by the pixel size."""


def export(table: Path, format: str, **options: Any) -> Path:
    return export_table(table, table.with_name(f"out{FORMATS[format].suffix}"), format=format, **options).path


def back(path: Path, *, format: str, **options: Any) -> Columns:
    # only text formats lack the pixel size
    needs_pixel = FORMATS[format].suffix == ".csv"
    out = import_table(path, path.with_name("back.parquet"), pixel_size=PIXEL if needs_pixel else None, **options)
    return {
        name: column.to_numpy() for name, column in zip(ALL_NAMES, read_table(out, ALL_NAMES)[0].columns, strict=True)
    }


ALL_NAMES = sorted(ALL)


def in_order(columns: Columns) -> Columns:
    order = np.lexsort([columns[name] for name in ("x_nm", "y_nm", "plane", "volume")])
    return {name: np.asarray(values)[order] for name, values in columns.items()}


def expected_back(format: str, columns: Columns) -> Columns:
    expected = dict(columns)
    if format == "thunderstorm":
        both = np.sqrt((columns["x_sig"].astype(float) ** 2 + columns["y_sig"].astype(float) ** 2) / 2)
        expected |= {"x_sig": both, "y_sig": both}
    return in_order(expected)


def test_every_format_that_import_reads_is_in_the_table() -> None:
    assert set(LOST) == set(COMING_BACK)


@pytest.mark.parametrize("format", COMING_BACK)
def test_every_column_survives_a_round_trip(format: str, table: Path, columns: Columns) -> None:
    path = export(table, format)
    found = back(path, format=format, planes_per_volume=PLANES)
    expected = expected_back(format, columns)
    for name in ALL - (LOST[format] - {"volume", "plane"}):
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-6, atol=TOLERANCE_NM, err_msg=name)
    for name in LOST[format] - {"volume", "plane"}:
        fill = {"phot_sig": np.nan, "prob": 1.0, "group": -1}[name]
        np.testing.assert_array_equal(found[name], fill, err_msg=name)


@pytest.mark.parametrize("format", sorted(name for name, lost in LOST.items() if "plane" not in lost))
def test_volumes_and_planes_come_from_the_file(format: str, table: Path, columns: Columns) -> None:
    found = back(export(table, format), format=format)
    expected = expected_back(format, columns)
    np.testing.assert_array_equal(found["volume"], expected["volume"])
    np.testing.assert_array_equal(found["plane"], expected["plane"])


coordinate = st.floats(-60_000, 60_000, width=32)


@settings(max_examples=8, deadline=None)
@given(points=st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=1, max_size=8))
def test_any_position_survives_a_round_trip(points: list[tuple[float, float, float]]) -> None:
    columns = random_columns(len(points))
    columns |= dict(zip(("x_nm", "y_nm", "z_nm"), np.array(points, dtype=np.float32).T, strict=True))
    expected = in_order(columns)
    with tempfile.TemporaryDirectory() as folder:
        table = write_table(Path(folder) / "table.parquet", columns)
        for format in COMING_BACK:
            found = back(export(table, format, psf_sigma_nm=130.0), format=format, planes_per_volume=PLANES)
            found, expected = _by_photons(found), _by_photons(expected)
            for name in ("x_nm", "y_nm", "z_nm"):
                np.testing.assert_allclose(found[name], expected[name], atol=0.02, err_msg=f"{format} {name}")


def _by_photons(columns: Columns) -> Columns:
    order = np.argsort(columns["photons"])  # rows at nearly equal positions may change their order
    return {name: values[order] for name, values in columns.items()}


# --- coordinate systems ----------------------------------------------------------------------------------------------


def test_sample_coordinates_are_the_default_if_the_geometry_is_known(tmp_path: Path, columns: Columns) -> None:
    table = write_table(tmp_path / "table.parquet", columns, geometry=GEOMETRY)
    made = export_table(table, tmp_path / "out.csv")
    assert made.coords == "sample"
    found = back(made.path, format="csv")
    x, y, z = (columns[name].astype(float) for name in ("x_nm", "y_nm", "z_nm"))
    sample = GEOMETRY.to_sample(x, y, z, columns["plane"])
    cos, sin = np.cos(np.radians(31.8)), np.sin(np.radians(31.8))
    expected = in_order(
        {
            **columns,
            **dict(zip(("x_nm", "y_nm", "z_nm"), sample, strict=True)),
            "x_sig": np.hypot(cos * columns["x_sig"], sin * columns["z_sig"]),
            "z_sig": np.hypot(sin * columns["x_sig"], cos * columns["z_sig"]),
        }
    )
    for name in ("x_nm", "y_nm", "z_nm", "x_sig", "y_sig", "z_sig", "photons"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=TOLERANCE_NM, err_msg=name)


def test_raw_and_deskewed_coordinates_are_exported(tmp_path: Path, columns: Columns) -> None:
    table = write_table(tmp_path / "table.parquet", columns, geometry=GEOMETRY)
    x, y, z = (columns[name].astype(float) for name in ("x_nm", "y_nm", "z_nm"))
    for coords, position in (("raw", (x, y, z)), ("deskewed", GEOMETRY.to_deskewed(x, y, z, columns["plane"]))):
        found = back(export(table, "csv", coords=coords), format="csv")
        expected = in_order({**columns, **dict(zip(("x_nm", "y_nm", "z_nm"), position, strict=True))})
        for name in ("x_nm", "y_nm", "z_nm", "x_sig", "z_sig"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=TOLERANCE_NM, err_msg=name)


@pytest.mark.parametrize("coords", ["sample", "deskewed"])
def test_sample_and_deskewed_coordinates_need_a_geometry(coords: Any, table: Path) -> None:
    with pytest.raises(ConfigError, match="use raw coordinates"):
        export(table, "csv", coords=coords)
    assert export_table(table, table.with_name("out.csv")).coords == "raw"


# --- structure of files ----------------------------------------------------------------------------------------------


def test_smap_files_have_the_expected_header_and_fields(table: Path, columns: Columns) -> None:
    path = export(table, "smap")
    start = path.read_bytes()[:520]
    assert start.startswith(b"MATLAB 7.3 MAT-file")
    assert start[116:124] == bytes(8)
    assert start[124:128] == b"\x00\x02IM"
    assert start[512:] == b"\x89HDF\r\n\x1a\n"
    with h5py.File(path) as file:
        loc = file["saveloc/loc"]
        assert {name: (item.shape, item.attrs["MATLAB_class"]) for name, item in loc.items() if name != "frame"} == {
            name: ((1, 500), b"double" if name == "groupindex" else b"single") for name in loc if name != "frame"
        }
        assert loc["frame"].attrs["MATLAB_class"] == b"double"
        assert loc["frame"].dtype == np.float64
        np.testing.assert_array_equal(loc["frame"][0], columns["frame"] + 1)
        np.testing.assert_allclose(loc["xnm"][0], columns["x_nm"] + 104.0, atol=TOLERANCE_NM)
        np.testing.assert_allclose(loc["ynm"][0], columns["y_nm"] + 98.0, atol=TOLERANCE_NM)
        rms = np.sqrt((columns["x_sig"] ** 2 + columns["y_sig"] ** 2) / 2)
        np.testing.assert_allclose(loc["locprecnm"][0], rms, rtol=1e-6)
        np.testing.assert_array_equal(loc["locprecznm"][0], columns["z_sig"])
        np.testing.assert_allclose(loc["LLrel"][0], columns["prob"] - 1, atol=1e-6)
        assert (np.unique(loc["channel"]), np.unique(loc["filenumber"])) == (0, 1)
        assert (np.unique(loc["PSFxnm"]), np.unique(loc["PSFynm"])) == (130, 140)
        fields = [b"".join(name).decode() for name in loc.attrs["MATLAB_fields"]]
        assert set(fields) == set(loc)
        np.testing.assert_array_equal(loc["photerr"][0], columns["phot_sig"])  # SMAP's own fits use this name
        info = file["saveloc/file/info"]
        np.testing.assert_allclose(info["cam_pixelsize_um"][:, 0], [0.104, 0.098])
        assert info["roi"].shape == (4, 1)
        assert "".join(map(chr, file["fileformat/name"][:, 0])) == "sml"
        assert (file["saveloc/file/number"][0, 0], file["saveloc/file/numberOfTif"][0, 0]) == (1, 0)


def test_import_accepts_the_name_that_smap_gives_decodes_photon_errors(table: Path, columns: Columns) -> None:
    path = export(table, "smap")
    with h5py.File(path, "r+") as file:
        file["saveloc/loc"].move("photerr", "phot_err")
    np.testing.assert_array_equal(back(path, format="smap")["phot_sig"], in_order(columns)["phot_sig"])


def test_smap_files_have_the_structure_of_a_real_file(table: Path, shared_data: Path) -> None:
    """Exported fields have the MATLAB classes and numbers of axes of the same fields in a real file."""

    def structure(file: h5py.File) -> dict[str, tuple[str, Any, int]]:
        found: dict[str, tuple[str, Any, int]] = {}

        def visit(name: str, item: Any) -> None:
            if "MATLAB_class" in item.attrs:
                found[name] = (type(item).__name__, bytes(item.attrs["MATLAB_class"]), getattr(item, "ndim", 0))

        file.visititems(visit)
        return found

    with h5py.File(export(table, "smap")) as ours, h5py.File(shared_data / "lls/lls_dstorm_smap_sml.mat") as theirs:
        mine, real = structure(ours), structure(theirs)
    common = set(mine) & set(real) - {"saveloc/loc/bg", "saveloc/history"}  # doubles, or not empty, in the real file
    assert {"saveloc/loc/xnm", "saveloc/file/info/roi", "fileformat/name", "saveloc/file/name"} <= common
    assert {name: mine[name] for name in common} == {name: real[name] for name in common}


def test_decode_h5_files_have_the_layout_of_decodes_own(table: Path, columns: Columns, shared_data: Path) -> None:
    def layout(path: Path) -> dict[str, Any]:
        with h5py.File(path) as file:
            data = {name: (item.dtype, item.shape is None or len(item.shape)) for name, item in file["data"].items()}
            order = [h5py.h5a.open(file["meta"].id, index=i).name for i in range(len(file["meta"].attrs))]
            kinds = {name: type(value) for name, value in file["meta"].attrs.items()}
            return {
                "root": list(file),
                "data": data,
                "meta": order,
                "kinds": kinds,
                "decode": list(file["decode"].attrs),
            }

    path = export(table, "decode")
    assert layout(path) == layout(shared_data / "decode_official" / "emitters.h5")
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["data/xyz"][:], np.stack([columns[f"{a}_nm"] for a in "yxz"], axis=1))
        assert file["meta"].attrs["xy_unit"] == "nm"
        np.testing.assert_array_equal(file["meta"].attrs["px_size"], np.float32([98, 104]))


def first_lines(path: Path, number: int) -> list[str]:
    return path.read_text().splitlines()[:number]


def test_csv_files_have_the_expected_headers(table: Path, shared_data: Path) -> None:
    thunderstorm = (
        '"id","frame","x [nm]","y [nm]","z [nm]","sigma1 [nm]","sigma2 [nm]","intensity [photon]","offset [photon]",'
        '"bkgstd [photon]","uncertainty_xy [nm]","uncertainty_z [nm]"'
    )
    assert first_lines(export(table, "thunderstorm"), 1) == [thunderstorm]
    ours = "frame,volume,plane,x_nm,y_nm,z_nm,photons,bg,x_sig,y_sig,z_sig,phot_sig,prob,group"
    assert first_lines(export(table, "csv"), 1) == [ours]
    official = first_lines(shared_data / "decode_official" / "emitters.csv", 4)
    written = first_lines(export(table, "decode-csv"), 4)
    assert (written[0], written[3]) == (official[0], official[3])
    assert written[1] == f'# {{"version": "lls_decode {__version__}"}}'
    assert written[2] == '# {"xy_unit": "nm", "px_size": [98.0, 104.0]}'


def test_thunderstorm_files_have_the_expected_rows(tmp_path: Path) -> None:
    row = {name: values[:1] for name, values in random_columns(1).items()}
    row |= {"frame": [7], "x_nm": [100.0], "y_nm": [200.0], "z_nm": [-5.0], "photons": [500.0], "bg": [16.0]}
    row |= {"x_sig": [3.0], "y_sig": [3.0], "z_sig": [9.5]}
    table = write_table(tmp_path / "table.parquet", row, model=MODEL)
    assert first_lines(export(table, "thunderstorm"), 2)[1] == "1,8,152,249,-5,130,140,500,16,4,3,9.5"


def test_thunderstorm_files_without_z_have_no_z_columns(tmp_path: Path, columns: Columns) -> None:
    """Columns without values are left out, because Picasso drops rows with empty cells."""
    nothing = np.full(500, np.nan, np.float32)
    table = write_table(tmp_path / "table.parquet", {**columns, "z_nm": nothing, "z_sig": nothing}, model=MODEL)
    path = export(table, "thunderstorm")
    names = [name.strip('"') for name in first_lines(path, 1)[0].split(",")]
    row = dict(zip(names, first_lines(path, 2)[1].split(","), strict=True))
    assert names == [
        "id", "frame", "x [nm]", "y [nm]", "sigma [nm]", "intensity [photon]", "offset [photon]", "bkgstd [photon]",
        "uncertainty_xy [nm]",
    ]  # fmt: skip
    assert all(row.values())
    assert float(row["sigma [nm]"]) == pytest.approx(np.sqrt((130**2 + 140**2) / 2))
    np.testing.assert_array_equal(back(path, format="thunderstorm")["z_nm"], 0)


def test_thunderstorm_files_without_sigma_of_z_have_no_such_column(tmp_path: Path, columns: Columns) -> None:
    table = write_table(tmp_path / "table.parquet", without(columns, "z_sig", EVERY), model=MODEL)
    names = first_lines(export(table, "thunderstorm"), 1)[0]
    assert '"z [nm]","sigma1 [nm]","sigma2 [nm]"' in names
    assert "uncertainty_z" not in names


def picasso_file(path: Path) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """Return rows and metadata, after checking that both copies of the metadata are equal."""
    (beside,) = yaml.safe_load_all(path.with_suffix(".yaml").read_text())
    with h5py.File(path) as file:
        assert json.loads(file["metadata"][()]) == [beside]
        return file["locs"][:], beside


def smap_info(path: Path) -> dict[str, Any]:
    """Return the fields of ``saveloc.file.info`` that give the size of the movie."""
    with h5py.File(path) as file:
        info = file["saveloc/file/info"]
        return {name: info[name][:].ravel().tolist() for name in ("Width", "Height", "roi", "numberOfFrames")}


DATASET = {"width": 250, "height": 240, "num_frames": 900}
"""Size of the dataset in the metadata of a table."""


def test_picasso_metadata_are_in_the_file_and_in_a_yaml_file(tmp_path: Path, columns: Columns) -> None:
    table = write_table(tmp_path / "table.parquet", columns, model=MODEL, **DATASET)
    locs, about = picasso_file(export(table, "picasso"))
    assert locs.dtype["frame"] == np.uint32
    assert {locs.dtype[name].str for name in ("x", "y", "z", "lpx", "lpy", "photons")} == {"<f4"}
    expected = {"Width": 250, "Height": 227, "Frames": 900, "Pixelsize": 104.0, "Shift (px)": [0, 0]}
    assert about.items() >= expected.items()  # 240 pixels of 98 nm are 227 of 104 nm, because Picasso has square pixels
    np.testing.assert_allclose(locs["x"] * 104, columns["x_nm"], atol=TOLERANCE_NM)
    np.testing.assert_allclose(locs["y"] * 104, columns["y_nm"], atol=TOLERANCE_NM)


def test_rows_that_picasso_will_drop_are_counted(
    tmp_path: Path, columns: Columns, caplog: pytest.LogCaptureFixture
) -> None:
    columns["y_nm"][:9] = np.float32(-0.5)
    columns["x_nm"][9:12] = 250 * 104.0
    columns["x_nm"], columns["y_nm"] = np.abs(columns["x_nm"]), np.where(columns["y_nm"] == -0.5, -0.5, 5000.0)
    table = write_table(tmp_path / "table.parquet", columns, **DATASET)
    made = export_table(table, tmp_path / "out.hdf5")
    (note,) = made.notes
    assert "12 of 500 rows lie outside" in note
    assert note in caplog.text
    again = export_table(table, tmp_path / "out.hdf5", first_px=(-1, -1), size=(253, 250))
    assert again.notes == ()  # follows the advice of the note
    _, about = picasso_file(again.path)
    assert (about["Shift (px)"], about["Width"]) == ([1, 1], 254)
    np.testing.assert_allclose(back(again.path, format="picasso")["x_nm"], in_order(columns)["x_nm"], atol=TOLERANCE_NM)


def test_the_width_for_picasso_includes_rounded_positions(tmp_path: Path) -> None:
    """Picasso drops rows at or beyond the width, so that an x rounded up to a whole pixel needs one more."""
    columns = random_columns(2)
    x = np.float32([0, np.nextafter(np.float64(104 * 503), 0)])
    columns |= {"x_nm": x, "y_nm": np.float32([5, 5]), "frame": [0, 1]}
    made = export_table(write_table(tmp_path / "table.parquet", columns), tmp_path / "out.hdf5")
    locs, about = picasso_file(made.path)
    assert locs["x"].tolist() == [0, 503]
    assert about["Width"] == 504


def test_picasso_files_without_groups_and_psf_lack_these_columns(tmp_path: Path, columns: Columns) -> None:
    columns |= {"group": np.full(500, -1)}
    with h5py.File(export(write_table(tmp_path / "table.parquet", columns), "picasso")) as file:
        assert "group" not in file["locs"].dtype.names
        assert "sx" not in file["locs"].dtype.names  # the PSF is unknown


def test_smlm_files_have_the_expected_manifest_and_rows(table: Path, columns: Columns) -> None:
    path = export(table, "smlm")
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        content = archive.read("table-0.bin")
    (kind,) = manifest["formats"].values()
    (file,) = manifest["files"]
    assert manifest["format_version"] == "0.2"
    assert set(kind["dtype"]) <= {"uint8", "uint16", "uint32", "float32", "float64"}
    rows = np.frombuffer(content, np.dtype(list(zip(kind["headers"], kind["dtype"], strict=True))))
    assert len(rows) == file["rows"] == 500
    np.testing.assert_array_equal(rows["x"], columns["x_nm"])
    assert file["max"]["x"] == columns["x_nm"].max()
    again = path.read_bytes()
    assert export(table, "smlm").read_bytes() == again


# --- unknown values --------------------------------------------------------------------------------------------------


def without(columns: Columns, name: str, rows: slice) -> Columns:
    values = columns[name].copy()
    values[rows] = np.nan
    return {**columns, name: values}


SOME, EVERY = slice(3, 5), slice(None)
REFUSED = {
    "smap lateral": ("smap", "x_sig", SOME, "2 of 500 rows"),
    "smap no lateral": ("smap", "y_sig", EVERY, "locprecnm"),
    "picasso lateral": ("picasso", "y_sig", EVERY, "lpy"),
    "picasso some": ("picasso", "z_sig", SOME, "no NaN"),
    **{f"{name} position": (name, "x_nm", SOME, "without a position") for name in COMING_BACK},
}


@pytest.mark.parametrize(("format", "name", "rows", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_unknown_values_that_a_format_requires_are_refused(
    format: str, name: str, rows: slice, says: str, tmp_path: Path, columns: Columns
) -> None:
    table = write_table(tmp_path / "table.parquet", without(columns, name, rows))
    with pytest.raises(TableError, match=says):
        export(table, format)
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]


def test_unknown_values_are_written_as_empty_or_nan(tmp_path: Path, columns: Columns) -> None:
    columns = without(without(columns, "phot_sig", EVERY), "z_sig", SOME)
    table = write_table(tmp_path / "table.parquet", columns)
    with h5py.File(export(table, "decode")) as file:
        assert file["data/phot_sig"].shape is None
        assert np.isnan(file["data/xyz_sig"][3:5, 2]).all()
    with h5py.File(export(table, "smap")) as file:
        assert "photerr" not in file["saveloc/loc"]
    row = first_lines(export(table, "csv"), 5)[4].split(",")
    assert (row[10], row[11]) == ("", "")
    found = back(export(table, "decode-csv"), format="decode-csv", planes_per_volume=PLANES)
    assert np.isnan(found["phot_sig"]).all()
    assert np.isnan(found["z_sig"]).sum() == 2


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.parquet", random_columns(0))
    with pytest.raises(TableError, match="no rows"):
        export(table, "csv")


def test_formats_that_need_a_pixel_size_ask_for_it(tmp_path: Path, columns: Columns) -> None:
    table = write_table(tmp_path / "table.parquet", columns, pixel_size=None)
    with pytest.raises(ConfigError, match="does not state the pixel size"):
        export(table, "smap")
    assert export(table, "smap", pixel_size=PIXEL).exists()
    assert export(table, "smlm").exists()  # SMLM has our origin and needs no pixel size


WRONG = {
    "wrong name for SMAP": ("out.mat", {"format": "smap"}, "_sml.mat"),
    "unknown format": ("out.csv", {"format": "excel"}, "thunderstorm"),
    "unknown suffix": ("out.xlsx", {}, ".smlm"),
    "output is the input": ("table.parquet", {"format": "csv"}, "the table itself"),
}


@pytest.mark.parametrize(("out", "options", "says"), WRONG.values(), ids=WRONG.keys())
def test_wrong_usage_is_refused(out: str, options: dict[str, Any], says: str, table: Path) -> None:
    before = table.read_bytes()
    with pytest.raises(ConfigError, match=says):
        export_table(table, table.with_name(out), **options)
    assert table.read_bytes() == before


def test_too_many_rows_for_a_text_format_need_force(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {name: kind.__class__(kind.write, kind.suffix, kind.max_rows and 499) for name, kind in FORMATS.items()}
    monkeypatch.setattr("lls_decode.export.exporting.FORMATS", small)
    with pytest.raises(ConfigError, match="500 rows"):
        export(table, "thunderstorm")
    assert export(table, "thunderstorm", force=True).exists()
    assert export(table, "smlm").exists()


def test_rows_that_smap_will_drop_are_counted(
    tmp_path: Path, columns: Columns, caplog: pytest.LogCaptureFixture
) -> None:
    columns["x_sig"][:7] = 800
    export(write_table(tmp_path / "table.parquet", columns), "smap")
    assert "7 of 500 rows" in caplog.text


def test_hdf5_formats_without_h5py_are_refused_with_advice(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    for format in ("smap", "picasso", "decode"):
        with pytest.raises(ConfigError, match=r"pip install 'lls-decode\[export\]'"):
            export(table, format)
    assert export(table, "csv").exists()


def test_the_export_and_import_commands_report_what_they_do(
    tmp_path: Path, columns: Columns, capsys: pytest.CaptureFixture[str]
) -> None:
    from lls_decode.pipelines.cli import main

    table = write_table(tmp_path / "table.parquet", columns, geometry=GEOMETRY)

    def call(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out + err

    status, text = call("export", table, tmp_path / "cell_sml.mat", "--coords", "raw")
    assert (status, "500 localizations, smap, raw coordinates" in text) == (0, True)
    status, text = call("import", tmp_path / "cell_sml.mat", tmp_path / "again.parquet")
    assert status == 0
    assert read_metadata(tmp_path / "again.parquet").input["format"] == "smap"
    status, text = call("export", table, tmp_path / "cell.mat", "--format", "smap")
    assert (status, "Error: " in text) == (2, True)


# --- memory ----------------------------------------------------------------------------------------------------------

MEASURE = """
import sys
from pathlib import Path
from lls_decode.export.exporting import FORMATS, export_table
small, large, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
def peak_mb():
    # not resource.ru_maxrss, which a process inherits from its parent
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
out = small.with_name("out" + FORMATS[name].suffix)
export_table(small, out, format=name)
before = peak_mb()
export_table(large, out, format=name)
print(peak_mb() - before)
"""
PIECE_ROWS = 32_768


def in_small_pieces(path: Path, num_rows: int, kind: str) -> Path:
    """Write a table with small row groups, so that a piece is small compared with the table."""
    if kind == "molecules":
        whole = pq.read_table(write_molecules(path, random_molecules(num_rows), model=MODEL))
    else:
        whole = pq.read_table(write_table(path, random_columns(num_rows), model=MODEL))
    pq.write_table(whole, path, row_group_size=PIECE_ROWS)
    return path


@pytest.fixture(scope="module", params=["localizations", "molecules"])
def growing(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """Write a table with as many pieces as are sorted at a time, and one with a million rows."""
    folder = tmp_path_factory.mktemp("growing")
    small, large = (
        in_small_pieces(folder / f"{name}.parquet", num_rows, request.param)
        for name, num_rows in (("small", 10 * PIECE_ROWS), ("large", 1_000_000))
    )
    return small, large


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("format", ["smap", "picasso", "decode", "smlm", "thunderstorm"])
def test_memory_does_not_grow_with_the_table(format: str, growing: tuple[Path, Path]) -> None:
    """Holding the additional 670 thousand rows would take 80 MB of float64."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *growing, format], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 40, f"{format}: {done.stdout} MB more"


def test_exporting_into_a_missing_folder_raises_our_error(table: Path) -> None:
    with pytest.raises(LlsDecodeError):
        export_table(table, table.parent / "absent" / "out.csv")
