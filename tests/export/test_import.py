"""Import of other programs' files: every file of the sample collection is read, or refused with a reason."""

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.export.exporting import FORMATS, export_table
from lls_decode.export.importing import import_table
from lls_decode.table import TableMetadata, read_emitters, read_metadata, read_table

from .conftest import COMING_BACK, PIXEL, PLANES, random_columns, write_table

PIXEL_100 = PixelSize(x_nm=100.0, y_nm=100.0)

FILES: dict[str, tuple[float | None, int | str]] = {
    "challenge_gt/activations_MT0.N1.HD.csv": (100, 31_612),
    "decode_fish/msp300_predictions.csv": (100, 2598),
    "locan/decode_dstorm_data.h5": (None, 96),
    "locan/Elyra_dstorm_data.txt": (None, 15),
    "locan/Nanoimager_dstorm_data.csv": (None, 14),
    "locan/rapidSTORM_dstorm_data.txt": (None, 14),
    "locan/SMLM_dstorm_data.smlm": (None, 10),
    "locan/Thunderstorm_dstorm_data.csv": (100, 19),
    "picasso/testdata_locs.hdf5": (None, 564),
    "picasso/testdata_locs.yaml": (None, "which match no known csv"),
    "pyme/test_hdf.hdf": (None, "Localizations, MetaData at its root"),
    "smap/cme_2um_site_uncorrected_sml.csv": (100, 4382),
    "sotilt3d/fiducial_bead_EasyDHPSF_localizations.csv": (None, 1932),
    "thunderstorm_3d/3d_localizations.csv": (100, 13_988),
    "vlume/U2OS_microtubules_ThunderSTORM_single_RiesLab.csv": (None, 2848),
    "../lls/lls_dstorm_smap_sml.mat": (None, 4884),
    "../decode_official/emitters.h5": (None, 1594),
    "../decode_official/emitters.csv": (None, 1594),
}
"""Pixel size that must be given, and the expected number of rows or error message, by file."""


def test_every_table_of_the_collection_is_listed(shared_data: Path) -> None:
    found = {str(path.relative_to(shared_data / "tables")) for path in (shared_data / "tables").rglob("*.*")}
    assert found == {name for name in FILES if not name.startswith("..")}


@pytest.mark.parametrize(("name", "pixel_nm", "expected"), [(k, *v) for k, v in FILES.items()], ids=FILES.keys())
def test_sample_files_are_read_or_refused_with_a_reason(
    name: str, pixel_nm: float | None, expected: int | str, shared_data: Path, tmp_path: Path
) -> None:
    path, out = shared_data / "tables" / name, tmp_path / "out.parquet"
    pixel = None if pixel_nm is None else PixelSize(x_nm=pixel_nm, y_nm=pixel_nm)
    if isinstance(expected, str):
        with pytest.raises(TableError, match=expected):
            import_table(path, out, pixel_size=pixel)
        assert not out.exists()
        return
    table, metadata = read_table(import_table(path, out, pixel_size=pixel))
    assert table.num_rows == expected
    assert all(np.isfinite(table[axis].to_numpy()).all() for axis in ("x_nm", "y_nm", "z_nm"))
    assert metadata.input["path"] == str(path)
    assert metadata.history[-1]["step"] == "import"
    unknown = {name for name in ("photons", "bg", "x_sig", "z_sig") if np.isnan(table[name].to_numpy()).all()}
    assert unknown == {name for name in unknown if metadata.input["filled"][name] == "NaN: not known"}
    assert len(read_emitters(out)) == expected


@pytest.mark.parametrize(
    "name", [name for name, (pixel_nm, rows) in FILES.items() if pixel_nm and isinstance(rows, int)]
)
def test_converting_the_origin_needs_a_pixel_size(name: str, shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give pixel_size"):
        import_table(shared_data / "tables" / name, tmp_path / "out.parquet")


def read(path: Path, tmp_path: Path, **options: Any) -> tuple[dict[str, Any], TableMetadata]:
    """Import a file and return its columns and metadata."""
    table, metadata = read_table(import_table(path, tmp_path / "out.parquet", **options))
    return {name: table[name].to_numpy() for name in table.column_names}, metadata


def by_photons(columns: dict[str, Any]) -> dict[str, Any]:
    order = np.argsort(columns["photons"], kind="stable")
    return {name: np.asarray(values)[order] for name, values in columns.items()}


# --- comparison with the numbers in the files -------------------------------------------------------------------------


def test_axes_of_decode_are_exchanged(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "tables/locan/decode_dstorm_data.h5"
    found, metadata = read(path, tmp_path)
    assert metadata.pixel_size == PixelSize(x_nm=117.0, y_nm=127.0)
    with h5py.File(path) as file:
        data = {name: item[()] for name, item in file["data"].items() if item.shape is not None}
    theirs = by_photons(
        {"photons": data["phot"], "xyz": data["xyz"], "sig": data["xyz_sig"], "frame": data["frame_ix"]}
    )
    ours = by_photons(found)
    np.testing.assert_allclose(ours["x_nm"], theirs["xyz"][:, 1] * 117, rtol=1e-5, atol=0.01)
    np.testing.assert_allclose(ours["y_nm"], theirs["xyz"][:, 0] * 127, rtol=1e-5, atol=0.01)
    np.testing.assert_array_equal(ours["z_nm"], theirs["xyz"][:, 2])
    np.testing.assert_allclose(ours["x_sig"], theirs["sig"][:, 1] * 117, rtol=1e-5)
    np.testing.assert_array_equal(ours["frame"], theirs["frame"])


def test_both_formats_of_decode_give_the_same_table(shared_data: Path, tmp_path: Path) -> None:
    hdf5, _ = read(shared_data / "decode_official/emitters.h5", tmp_path)
    text, _ = read(shared_data / "decode_official/emitters.csv", tmp_path)
    for name, values in hdf5.items():
        np.testing.assert_allclose(text[name], values, rtol=1e-5, atol=1e-3, err_msg=name)


def test_pixels_of_picasso_are_converted_to_nm(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "tables/picasso/testdata_locs.hdf5"
    found, metadata = read(path, tmp_path)
    with h5py.File(path) as file:
        locs = np.sort(file["locs"][:], order="photons")
    ours = by_photons(found)
    assert metadata.pixel_size == PixelSize(x_nm=130.0, y_nm=130.0)  # from the YAML file of the same name
    np.testing.assert_allclose(ours["x_nm"], locs["x"] * 130, rtol=1e-6)
    np.testing.assert_allclose(ours["x_sig"], locs["lpx"] * 130, rtol=1e-6)
    np.testing.assert_array_equal(ours["frame"], locs["frame"])
    np.testing.assert_array_equal(ours["z_nm"], 0)
    np.testing.assert_array_equal(ours["prob"], 1)
    bare = tmp_path / "bare.hdf5"
    bare.write_bytes(path.read_bytes())
    with pytest.raises(ConfigError, match="give pixel_size"):
        import_table(bare, tmp_path / "out.parquet")
    np.testing.assert_allclose(
        by_photons(read(bare, tmp_path, pixel_size=PIXEL_100)[0])["x_nm"], locs["x"] * 100, rtol=1e-6
    )


def test_pixels_and_frames_of_smap_are_counted_from_one(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "lls/lls_dstorm_smap_sml.mat"
    found, metadata = read(path, tmp_path)
    assert metadata.pixel_size == PixelSize(x_nm=104.0, y_nm=104.0)
    with h5py.File(path) as file:
        loc = {name: file["saveloc/loc"][name][0] for name in ("xnm", "ynm", "frame", "locprecznm", "xnmerr")}
    np.testing.assert_allclose(np.sort(found["x_nm"]), np.sort(loc["xnm"]) - 104, atol=0.01)
    np.testing.assert_allclose(np.sort(found["y_nm"]), np.sort(loc["ynm"]) - 104, atol=0.01)
    assert (found["frame"].min(), found["frame"].max()) == (0, 1000)
    np.testing.assert_array_equal(np.sort(found["z_sig"]), np.sort(loc["locprecznm"]))
    np.testing.assert_array_equal(np.sort(found["x_sig"]), np.sort(loc["xnmerr"]))


def test_a_header_in_one_quoted_cell_is_read(shared_data: Path, tmp_path: Path) -> None:
    found, metadata = read(shared_data / "tables/locan/Thunderstorm_dstorm_data.csv", tmp_path, pixel_size=PIXEL_100)
    assert any("one quoted cell" in note for note in metadata.input["notes"])
    np.testing.assert_allclose(found["x_nm"].min(), 1320.109670647555 - 50, atol=0.01)
    assert found["frame"].min() == 2000
    np.testing.assert_array_equal(found["x_sig"], found["y_sig"])


# --- small hand-made files -------------------------------------------------------------------------------------------

TEXTS: dict[str, tuple[str, dict[str, float]]] = {
    "thunderstorm": (
        '"id","frame","x [nm]","y [nm]","z [nm]","intensity [photon]","offset [photon]","uncertainty_xy [nm]"\n'
        "1,3,150,250,-20,900,11,7.5\n",
        {"frame": 2, "x_nm": 100, "y_nm": 200, "z_nm": -20, "photons": 900, "bg": 11, "x_sig": 7.5, "y_sig": 7.5},
    ),
    "SMAP": ("phot,bg,frame,x,y,locprec\n900,11,3,200,300,7.5\n", {"frame": 2, "x_nm": 100, "y_nm": 200, "x_sig": 7.5}),
    "SMAP fields": (
        "frame,xnm,ynm,znm,locprecnm\n3,200,300,5,7.5\n",
        {"frame": 2, "x_nm": 100, "z_nm": 5, "y_sig": 7.5},
    ),
    "SMAPpy": (
        "x_nm,y_nm,z_nm,frame,photons,background,xy_err_nm,z_err_nm\n100,200,5,2,900,11,7.5,20\n",
        {"frame": 2, "x_nm": 100, "y_nm": 200, "photons": 900, "bg": 11, "y_sig": 7.5, "z_sig": 20, "prob": 1},
    ),
    "ours with blanks and a byte order mark": (
        "\ufeffframe, x_nm, y_nm, prob\n2, 100, 200, 0.75\n",
        {"frame": 2, "x_nm": 100, "y_nm": 200, "prob": 0.75, "z_nm": 0, "group": -1},
    ),
    "decode_fish": ("loc_idx,frame_idx,x,y,z,prob,int\n0,2,150,250,5,0.9,12\n", {"frame": 2, "x_nm": 100, "prob": 0.9}),
    "SMLM challenge": (
        "Ground-truth,frame,xnano,ynano,znano,intensity \n1, 3, 150, 250, 5, 900\n",
        {"frame": 2, "x_nm": 100, "y_nm": 200, "z_nm": 5, "photons": 900},
    ),
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=TEXTS.keys())
def test_each_csv_format_is_converted(text: str, expected: dict[str, float], tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    found, _ = read(path, tmp_path, pixel_size=PIXEL_100)
    assert {name: found[name].tolist() for name in expected} == {
        name: [pytest.approx(value)] for name, value in expected.items()
    }


BAD: dict[str, tuple[str, str]] = {
    "missing position": ("frame,x_nm,y_nm\n0,1,2\n1,,2\n", "1 of 2 rows without x_nm .the first is row 2"),
    "fractional frame": ("frame,x_nm,y_nm\n0.5,1,2\n", "frame 0.5 in row 1"),
    "frame zero of a format from one": ('"frame","x [nm]","y [nm]"\n0,1,2\n', "frame -1"),
    "text in a number": ("frame,x_nm,y_nm\n0,one,2\n", "one"),
    "a short row": ("frame,x_nm,y_nm\n0,1,2\n1,2\n", "Expected 3 columns, got 2"),
    "a DECODE csv without frames": (
        '# DECODE EmitterSet\n# {"version": "v"}\n# {"xy_unit": "nm", "px_size": [100, 100]}\nx,y\n1,2\n',
        "no column 'frame_ix'",
    ),
    "unknown columns": ("t,a,b\n1,2,3\n", "has the columns t, a, b"),
    "not a text file": ("\x00\x01\x02", "of unknown kind"),
    "a truncated HDF5 file": ("\x89HDF\r\n\x1a\n", "damaged or incomplete"),
}


@pytest.mark.parametrize(("text", "says"), BAD.values(), ids=BAD.keys())
def test_unusable_files_are_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(TableError, match=says):
        import_table(path, tmp_path / "out.parquet", pixel_size=PIXEL_100)
    assert not (tmp_path / "out.parquet").exists()


def test_planes_per_volume_split_frames_into_volumes_and_planes(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("frame,x_nm,y_nm\n7,1,2\n12,1,2\n")
    found, metadata = read(path, tmp_path, planes_per_volume=5)
    assert (found["volume"].tolist(), found["plane"].tolist()) == ([1, 2], [2, 2])
    assert metadata.planes_per_volume == 5
    found, _ = read(path, tmp_path)
    assert (found["volume"].tolist(), found["plane"].tolist()) == ([7, 12], [0, 0])


def test_imported_rows_are_sorted(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("frame,x_nm,y_nm,photons\n2,5,1,10\n0,9,9,11\n2,4,1,12\n0,9,8,13\n")
    assert read(path, tmp_path)[0]["photons"].tolist() == [13, 11, 12, 10]


@pytest.mark.parametrize("shuffled", [False, True], ids=["sorted", "shuffled"])
@pytest.mark.parametrize("format", COMING_BACK)
def test_the_imported_table_does_not_depend_on_pieces_and_order_of_rows(
    format: str, shuffled: bool, tmp_path: Path
) -> None:
    if shuffled and format == "picasso":
        pytest.skip("Picasso's tables are sorted")
    columns = random_columns(3000)
    order = np.random.default_rng(1).permutation(3000) if shuffled else np.arange(3000)
    table = write_table(tmp_path / "t.parquet", {name: values[order] for name, values in columns.items()})
    path = export_table(table, tmp_path / f"foreign{FORMATS[format].suffix}", format=format).path
    options: dict[str, Any] = {"pixel_size": PIXEL, "planes_per_volume": PLANES}
    whole, _ = read_table(import_table(path, tmp_path / "whole.parquet", **options))
    assert whole["frame"].to_numpy().tolist() == columns["frame"].tolist()
    for rows_at_once in (7, 1000):
        parts, _ = read_table(import_table(path, tmp_path / "parts.parquet", rows_at_once=rows_at_once, **options))
        for name in whole.column_names:
            np.testing.assert_array_equal(parts[name], whole[name], err_msg=name)


def test_rows_in_errors_are_numbered_across_pieces(tmp_path: Path) -> None:
    """The text is long enough to be read in several pieces of 64 kB."""
    path = tmp_path / "table.csv"
    path.write_text("frame,x_nm,y_nm\n" + "0,1,2\n" * 30_000 + "0,,2\n" + "0,1,2\n" * 30_000 + "0,,2\n")
    with pytest.raises(TableError, match=r"2 of 60002 rows without x_nm \(the first is row 30001"):
        import_table(path, tmp_path / "out.parquet", rows_at_once=100)


def test_a_table_without_z_is_recorded_as_two_dimensional(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("frame,x_nm,y_nm,z_nm\n2,5,1,\n0,9,9,\n")
    found, metadata = read(path, tmp_path)
    assert found["z_nm"].tolist() == [0, 0]
    assert metadata.input["filled"]["z_nm"].startswith("0")


def test_missing_files_and_unknown_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("frame,x_nm,y_nm\n0,1,2\n")
    with pytest.raises(TableError, match="cannot be read"):
        import_table(tmp_path / "absent.csv", tmp_path / "b.parquet")
    with pytest.raises(ConfigError, match="choose one of"):
        import_table(path, tmp_path / "b.parquet", format="excel")


PICASSO = np.dtype([("frame", "u4"), ("x", "f4"), ("y", "f4")])
DAMAGED: dict[str, tuple[dict[str, Any], str, str]] = {
    "one record": ({"data": np.zeros(1, PICASSO)[0]}, "", "cannot be read, it is damaged"),
    "no record": ({"data": h5py.Empty(PICASSO)}, "", "cannot be read, it is damaged"),
    "NaN frames": ({"data": np.zeros(3, PICASSO)}, "Frames: .nan", "cannot be read, it is damaged"),
    "infinite frames": ({"data": np.zeros(3, PICASSO)}, "Width: .inf", "cannot be read, it is damaged"),
    "records in two dimensions": ({"data": np.zeros((2, 2), PICASSO)}, "", "expected one number in each row"),
    "text in a field": ({"data": np.zeros(3, [("frame", "S5"), ("x", "f4"), ("y", "f4")])}, "", "expected one number"),
    "vectors in a field": (
        {"data": np.zeros(3, [("frame", "u4"), ("x", "f4", (3,)), ("y", "f4")])}, "", "expected one number"
    ),
    "complex numbers": ({"data": np.zeros(3, [("frame", "c8"), ("x", "f4"), ("y", "f4")])}, "", "expected one number"),
    "a trillion rows": (
        {"shape": (10**12,), "dtype": PICASSO, "chunks": (1 << 16,), "compression": "gzip"}, "", "cannot hold more than"
    ),
    "chunks of gigabytes": (
        {"shape": (1 << 24,), "dtype": PICASSO, "chunks": (1 << 28,), "maxshape": (None,)}, "", "has chunks of"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_tables_of_picasso_are_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    dataset, text, words = DAMAGED[name]
    with h5py.File(tmp_path / "t.hdf5", "w") as file:
        file.create_dataset("locs", **dataset)
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(TableError, match=words) as caught:
        import_table(tmp_path / "t.hdf5", tmp_path / "out.parquet", pixel_size=PIXEL_100)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.parquet").exists()


def write_smlm(path: Path, units: list[str], table: np.ndarray[Any, Any], **file: Any) -> Path:
    names = table.dtype.names or ()
    kind = {"type": "table", "mode": "binary", "headers": names, "units": units, "shape": [1] * len(names)}
    kind["dtype"] = [table.dtype[name].name for name in names]
    entry = {"name": "t.bin", "type": "table", "format": "f", "rows": len(table), "offset": {}, **file}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps({"formats": {"f": kind}, "files": [entry]}))
        archive.writestr("t.bin", table.tobytes())
    return path


def test_units_and_offsets_of_smlm_files_are_applied(tmp_path: Path) -> None:
    rows = np.array([(3, 1.5, 2.0)], dtype=[("frame", "<u2"), ("x", "<f4"), ("y", "<f4")])
    path = write_smlm(tmp_path / "a.smlm", ["frame", "um", "pixel"], rows, offset={"frame": 4, "x": 0.25})
    found, _ = read(path, tmp_path, pixel_size=PIXEL_100)
    assert (found["frame"][0], found["x_nm"][0], found["y_nm"][0]) == (7, 1750, 200)
    with pytest.raises(ConfigError, match="in pixels"):
        import_table(path, tmp_path / "out.parquet")
    with pytest.raises(TableError, match="in 'inch'"):
        import_table(write_smlm(tmp_path / "b.smlm", ["", "inch", "nm"], rows), tmp_path / "out.parquet")
    with pytest.raises(TableError, match="damaged"):
        import_table(write_smlm(tmp_path / "c.smlm", ["", "nm", "nm"], rows, rows=2), tmp_path / "out.parquet")


def test_a_matlab_file_older_than_7_3_is_refused(tmp_path: Path) -> None:
    from scipy.io import savemat

    path = tmp_path / "old_sml.mat"
    savemat(path, {"saveloc": {"loc": {"xnm": [1.0]}}})
    with pytest.raises(TableError, match=r"-v7\.3"):
        import_table(path, tmp_path / "out.parquet")


def test_impossible_values_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("frame,x_nm,y_nm,x_sig,photons,prob\n0,1,2,-1,9,87\n1,1,2,0,inf,50\n2,1,2,5,9,\n")
    notes = read_metadata(import_table(path, tmp_path / "out.parquet")).input["notes"]
    assert [note for note in notes if "of 3 rows" in note] == [
        "photons is infinite in 1 of 3 rows", "x_sig is 0 or less in 2 of 3 rows", "prob is above 1 in 2 of 3 rows",
    ]  # fmt: skip


def test_metadata_record_the_source_and_filled_columns(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("frame,x_nm,y_nm,photons\n0,1,2,3\n")
    metadata = read_metadata(import_table(path, tmp_path / "out.parquet", pixel_size=PIXEL_100))
    assert metadata.pixel_size == PIXEL_100
    assert metadata.input["layout"] == "lls-decode or SMAPpy"
    assert metadata.input["filled"] == {
        "z_nm": "0: two-dimensional",
        "bg": "NaN: not known",
        "x_sig": "NaN: not known",
        "y_sig": "NaN: not known",
        "z_sig": "NaN: not known",
        "phot_sig": "NaN: not known",
        "prob": "1: accepted by the program that wrote it",
        "volume": "from frame",
        "plane": "from frame",
        "group": "-1: not linked",
    }
