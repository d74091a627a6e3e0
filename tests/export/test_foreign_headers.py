"""Import recognizes the program of a table by its whole header, otherwise asks; options of the user take precedence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.export.importing import import_table
from lls_decode.pipelines.cli import main
from lls_decode.table import TableMetadata, read_table

PIXEL = PixelSize(x_nm=100.0, y_nm=80.0)
NAMES = {"frame": "frame", "x": "x [nm]", "y": "y [nm]"}

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    """Return a function that runs the command ``import`` and returns its exit status and output."""

    def run(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main(["import", *(str(word) for word in words)])
        printed = capfd.readouterr()
        return int(end.value.code or 0), printed.out + printed.err

    return run


def columns_of(out: Path) -> tuple[dict[str, Any], TableMetadata]:
    rows, about = read_table(out)
    return {name: rows[name].to_numpy() for name in rows.column_names}, about


def text(header: str, row: str, *, separator: str = ",", rows: int = 3) -> str:
    """Return a file that repeats a row, with ``{frame}`` replaced by numbers from 3 and ``{id}`` by numbers from 0."""
    lines = [header, *(row.format(frame=3 + number, id=number) for number in range(rows))]
    return "\n".join(lines).replace(",", separator) + "\n"


# --- look-alikes -----------------------------------------------------------------------------------------------------

LOOK_ALIKES: dict[str, tuple[str, str, str]] = {
    # content of the file, format that it resembles, and the difference that the message names
    "names without quotes, ids from 0, two sigmas without z": (
        text(
            "id,frame,x [nm],y [nm],sigma1 [nm],sigma2 [nm],intensity [photon],offset [photon],uncertainty_xy [nm]",
            "{id},{frame},150,240,150,150,900,12,11",
        ),
        "thunderstorm",
        "not in quotes",
    ),
    "names without quotes only": (
        text("id,frame,x [nm],y [nm],sigma [nm]", "1,{frame},150,240,150"),
        "thunderstorm",
        "not in quotes",
    ),
    "ids from 0": (text('"id","frame","x [nm]","y [nm]"', "{id},{frame},150,240"), "thunderstorm", "its id is 0"),
    "an additional column": (
        text('"id","frame","x [nm]","y [nm]","cluster"', "1,{frame},150,240,7"), "thunderstorm", "it has 'cluster'",
    ),
    "another order": (
        text('"frame","x [nm]","y [nm]","uncertainty_xy [nm]","chi2"', "{frame},150,240,7,1"),
        "thunderstorm",
        "another order",
    ),
    "a sigma of z without z": (
        text('"frame","x [nm]","y [nm]","uncertainty_z [nm]"', "{frame},150,240,7"), "thunderstorm", "only beside",
    ),
    "tabs": (text("frame,x [nm],y [nm]", "{frame},150,240", separator="\t"), "thunderstorm", "not in quotes"),
    "semicolons": (text("frame,x [nm],y [nm]", "{frame},150,240", separator=";"), "thunderstorm", "not in quotes"),
    "SMAP and another column": (text("frame,x,y,locprec,cell", "{frame},150,240,7,1"), "smap-csv", "it has 'cell'"),
    "SMAP's fields with an additional column": (
        text("frame,xnm,ynm,cell", "{frame},150,240,1"), "smap-fields", "it has 'cell'",
    ),
    "frames of SMAP from 0": (text("frame,x,y,locprec", "0,150,240,7"), "smap-csv", "its frame is 0"),
    "the challenge with an additional column": (
        text("frame,xnano,ynano,quality", "{frame},150,240,1"), "challenge", "it has 'quality'",
    ),
    "decode_fish with an additional column": (
        text("frame_idx,x,y,int,cell", "{frame},150,240,9,1"), "decode-fish", "it has 'cell'",
    ),
    "vLUME without its line": (text("frame,x,y,z,int", "{frame},150,240,5,9"), "vlume", "does not begin with '#LUME'"),
    "locan": (text("frame,position_x,position_y", "{frame},150,240"), "locan", "the file that locan had read"),
    "a fit of splines with our names": (
        text("frame,x_pix,y_pix,z_nm,photons,background,x_nm,y_nm", "{frame},1.5,3,0,900,9,150,240"),
        "fit3dcspline",
        "its column names are also ours",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_a_table_that_resembles_a_format_needs_options_to_be_imported(name: str, call: Call, tmp_path: Path) -> None:
    content, format, says = LOOK_ALIKES[name]
    path, out = tmp_path / "rows.csv", tmp_path / "out.parquet"
    path.write_text(content)
    code, words = call(path, out, "--pixel-nm", 100)
    assert (code, out.exists()) == (3, False)
    assert "looks like a table of" in words
    assert says in words
    assert all(option in words for option in (f"--format {format}", "--first-frame", "--origin"))
    assert "Traceback" not in words
    code, words = call(path, out, "--pixel-nm", 100, "--first-frame", 0)
    assert code == 3
    assert "--first-frame N" not in words  # the message does not ask for options already given
    # every suggested option works
    low = int(next(iter(pd.read_csv(path, sep=None, engine="python", comment="#").filter(like="frame").min())))
    for first_frame, origin, shift in ((0, "centre", 0), (0, "corner", 50), (-2, "50,-1", (50, -1)), (low, "1px", 100)):
        code, words = call(path, out, "--pixel-nm", 100, "--first-frame", first_frame, "--origin", origin)
        assert code == 0, words
        found, about = columns_of(out)
        shifts = np.broadcast_to(shift, 2)
        assert (found["x_nm"][0], found["y_nm"][0]) == (150 - shifts[0], 240 - shifts[1])
        assert found["frame"].min() == low - first_frame
        assert about.input["first_frame"] == first_frame
    if "smap" not in name.lower() or "0" not in name:  # SMAP has no frame 0
        assert call(path, out, "--pixel-nm", 100, "--format", format)[0] == 0


def test_a_parquet_file_with_column_names_of_a_csv_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"frame": [3], "x [nm]": [150.0], "y [nm]": [240.0]}).to_parquet(path)
    with pytest.raises(TableError, match="it is not a csv"):
        import_table(path, tmp_path / "out.parquet", pixel_size=PIXEL)
    found, _ = columns_of(import_table(path, tmp_path / "out.parquet", first_frame=3, origin="centre"))
    assert (found["frame"][0], found["x_nm"][0], found["y_nm"][0]) == (0, 150, 240)


GENUINE: dict[str, tuple[str, dict[str, float], list[str]]] = {
    "ThunderSTORM": (
        text(
            '"id","frame","x [nm]","y [nm]","z [nm]","sigma1 [nm]","sigma2 [nm]","intensity [photon]",'
            '"offset [photon]","bkgstd [photon]","uncertainty_xy [nm]","uncertainty_z [nm]"',
            "1,{frame},150,240,-20,150,160,900,12,3,11,25",
        ),
        {"frame": 2, "x_nm": 100, "y_nm": 200, "z_nm": -20, "photons": 900, "bg": 12, "y_sig": 11, "z_sig": 25},
        ["id", "sigma1 [nm]", "sigma2 [nm]", "bkgstd [photon]"],
    ),
    "ThunderSTORM, two-dimensional": (
        text(
            '"id","frame","x [nm]","y [nm]","sigma [nm]","intensity [photon]","offset [photon]","bkgstd [photon]",'
            '"chi2","uncertainty [nm]"',
            "1,{frame},150,240,150,900,12,3,1,11",
        ),
        {"frame": 2, "x_nm": 100, "y_nm": 200, "x_sig": 11},
        ["id", "sigma [nm]", "bkgstd [photon]", "chi2"],
    ),
    "ThunderSTORM, in pixels": (
        text(
            '"id","frame","x [px]","y [px]","sigma [px]","intensity [photon]","offset [photon]","bkgstd [photon]",'
            '"uncertainty_xy [px]"',
            "1,{frame},1.5,2.4,1.5,900,12,3,0.11",
        ),
        {"frame": 2, "x_nm": 100, "y_nm": 152, "x_sig": 11, "photons": 900},
        ["id", "sigma [px]", "bkgstd [photon]"],
    ),
    "ThunderSTORM, in micrometres": (
        text(
            '"id","frame","x [um]","y [um]","z [um]","sigma1 [um]","sigma2 [um]","intensity [photon]",'
            '"offset [photon]","bkgstd [photon]","uncertainty_xy [um]","uncertainty_z [um]"',
            "1,{frame},0.15,0.24,-0.02,0.15,0.16,900,12,3,0.011,0.025",
        ),
        {"frame": 2, "x_nm": 100, "y_nm": 200, "z_nm": -20, "photons": 900, "y_sig": 11, "z_sig": 25},
        ["id", "sigma1 [um]", "sigma2 [um]", "bkgstd [photon]"],
    ),
    "Nanoimager": (
        text(
            "Channel,Frame,X (nm),Y (nm),Z (nm),X precision (nm),Y precision (nm),X (pix),Y (pix),Photons,Background",
            "1,{frame},150,240,5,11,12,1.5,3,900,12",
        ),
        {"frame": 3, "x_nm": 150, "y_nm": 240, "z_nm": 5, "x_sig": 11, "y_sig": 12, "channel": 1},
        ["X (pix)", "Y (pix)"],
    ),
    "SMAP": (
        text("phot,bg,filenumber,frame,x,y,z,locprec,locprecz,LLrel", "900,12,1,{frame},150,240,5,11,25,-1"),
        {"frame": 2, "x_nm": 50, "y_nm": 160, "z_nm": 5, "x_sig": 11, "z_sig": 25},
        ["LLrel"],
    ),
    "Picasso": (
        text("frame,x,y,photons,sx,sy,bg,lpx,lpy,net_gradient", "{frame},1.5,3,900,1,1,12,0.11,0.2,5000"),
        {"frame": 3, "x_nm": 150, "y_nm": 240, "x_sig": 11, "y_sig": 16, "photons": 900},
        ["sx", "sy", "net_gradient"],
    ),
    "N-STORM": (
        text(
            "Channel Name,X,Y,Xc,Yc,Height,Area,Width,Phi,Ax,BG,I,Frame,Length,Link,Valid,Z,Zc,Photons,"
            "Lateral Localization Accuracy,Xw,Yw,Xwc,Ywc",
            "647,150,240,151,241,1,1,1,1,1,1,1,{frame},1,0,1,5,6,900,11,1,1,1,1",
            separator="\t",
        ),
        {"frame": 3, "x_nm": 150, "y_nm": 240, "z_nm": 5, "photons": 900, "x_sig": 11, "channel": 0},
        ["Xc", "Yc", "Zc", "Length"],
    ),
    "rapidSTORM": (
        '# <localizations><field identifier="Position-0-0" unit="nanometer" /><field identifier="Position-1-0" '
        'unit="micrometer" /><field identifier="ImageNumber-0-0" unit="frame" /><field identifier="Amplitude-0-0" '
        'unit="A/D count" /></localizations>\n150 0.24 3 33290.1\n150 0.24 4 21275.4\n',
        {"frame": 3, "x_nm": 150, "y_nm": 240},
        ["Amplitude-0-0"],
    ),
    "ours, numbered by pandas": (
        text(",frame,x_nm,y_nm,prob,score", "{id},{frame},150,240,0.5,7"),
        {"frame": 3, "x_nm": 150, "y_nm": 240, "prob": 0.5},
        ["(without a name)", "score"],
    ),
}


@pytest.mark.parametrize("name", GENUINE)
def test_complete_headers_are_recognized(name: str, call: Call, tmp_path: Path) -> None:
    content, expected, dropped = GENUINE[name]
    path, out = tmp_path / "rows.csv", tmp_path / "out.parquet"
    path.write_text(content)
    assert columns_of(import_table(path, out, pixel_size=PIXEL))[1].input["layout"] in (
        name,
        *name.split(","),
        about_ours,
    )
    found, about = columns_of(out)
    for column, value in expected.items():
        assert found[column][0] == pytest.approx(value), column
    assert set(dropped) <= set(about.input["dropped"])
    assert set(about.input["dropped"]).isdisjoint(about.input["columns"].values())
    code, words = call(path, out, "--pixel-nm", 100)
    assert code == 0
    assert all(word in words for word in dropped)


about_ours = "lls-decode or SMAPpy"

# --- columns, units, first frame, origin -----------------------------------------------------------------------------

UNKNOWN = "T,Xpos,Ypos,Zpos,Int [photon],Prec\n5,1.5,3,-0.25,900,0.11\n4,1.5,3,-0.25,900,0.11\n"


def test_an_unknown_header_gives_an_error_that_suggests_options(call: Call, tmp_path: Path) -> None:
    path, out = tmp_path / "rows.csv", tmp_path / "out.parquet"
    path.write_text(UNKNOWN)
    code, words = call(path, out)
    assert (code, out.exists()) == (3, False)
    assert "T, Xpos, Ypos" in words
    assert "--columns 'frame=T,x_nm=Xpos,y_nm=Ypos'" in words
    assert all(option in words for option in ("--first-frame", "--origin"))
    code, words = call(
        path, out, "--pixel-nm", 100, "--first-frame", 4, "--origin", "corner", "--columns",
        "frame=T, x_nm=Xpos (px), y_nm=Ypos [px], z_nm=Zpos (um), photons=Int [photon], xy_sig=Prec (pixels)",
    )  # fmt: skip
    assert code == 0, words
    found, about = columns_of(out)
    assert {name: found[name][0] for name in ("frame", "x_nm", "y_nm", "z_nm", "photons", "x_sig")} == {
        "frame": 0, "x_nm": 100, "y_nm": 250, "z_nm": -250, "photons": 900, "x_sig": pytest.approx(11),
    }  # fmt: skip
    assert found["frame"].tolist() == [0, 1]
    assert (about.input["dropped"], about.input["origin"]) == ([], "0.5 px")


def test_a_column_map_can_be_a_file_or_a_mapping(tmp_path: Path) -> None:
    path, chosen = tmp_path / "rows.csv", tmp_path / "map.yaml"
    path.write_text(UNKNOWN)
    chosen.write_text("frame: T\nx_nm: Xpos (px)\ny_nm: Ypos (px)\nphotons:\n")
    found, about = columns_of(import_table(path, tmp_path / "a.parquet", columns=chosen, pixel_size=PIXEL))
    assert (found["x_nm"][0], found["y_nm"][0], found["frame"][0]) == (150, 240, 4)
    assert about.input["dropped"] == ["Zpos", "Int [photon]", "Prec"]
    assert sum("--first-frame" in note or "--origin" in note for note in about.input["notes"]) == 2  # both are stated
    given = {"frame": "T", "x_nm": "Xpos (um)", "y_nm": "Ypos (um)"}
    assert columns_of(import_table(path, tmp_path / "a.parquet", columns=given))[0]["x_nm"][0] == 1500


def test_the_unit_in_a_column_name_is_used(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("t,x (px),y [µm],z\n4,1.5,0.24,5\n".encode("latin-1"))
    given = "frame=t,x_nm=x (px),y_nm=y [µm]"
    found, _ = columns_of(import_table(path, tmp_path / "a.parquet", columns=given, pixel_size=PIXEL))
    assert (found["x_nm"][0], found["y_nm"][0]) == (150, 240)
    given = "frame=t,x_nm=x (px) (nm),y_nm=z (angstrom)"  # a unit given by the user takes precedence
    found, _ = columns_of(import_table(path, tmp_path / "a.parquet", columns=given))
    assert (found["x_nm"][0], found["y_nm"][0]) == (1.5, 0.5)


def test_a_column_map_overrides_a_known_layout(tmp_path: Path) -> None:
    """The map selects the corrected columns of EasyDHPSF and drops its molecule numbers."""
    path = tmp_path / "rows.csv"
    path.write_text(
        "frame num,molecule num,x (nm),y (nm),x fid-corrected (nm),y fid-corrected (nm)\n1,7,150,240,151,241\n"
    )
    given = "x_nm=x fid-corrected (nm),y_nm=y fid-corrected (nm),group="
    found, about = columns_of(import_table(path, tmp_path / "a.parquet", columns=given, first_frame=0, origin=(1, 1)))
    assert [found[name][0] for name in ("frame", "x_nm", "y_nm", "group")] == [1, 150, 240, -1]
    assert about.input["dropped"] == ["molecule num", "x (nm)", "y (nm)"]


def test_options_override_the_conventions_of_a_binary_file(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "locs.hdf5"
    rows = np.array([(1, 1.5, 3.0, 0.1, 0.1)], [(name, "f4") for name in ("frame", "x", "y", "lpx", "lpy")])
    with h5py.File(path, "w") as file:
        file["locs"] = rows
    found, _ = columns_of(
        import_table(
            path,
            tmp_path / "a.parquet",
            pixel_size=PIXEL,
            first_frame=1,
            origin="corner",
            columns="z_nm=lpx (um)",
        )
    )
    assert [found[name][0] for name in ("frame", "x_nm", "y_nm")] == [0, 100, 200]
    assert found["z_nm"][0] == pytest.approx(100)


def test_a_frame_below_the_first_frame_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"frame": np.array([0, 3], np.uint32), "x_nm": [1.0, 2.0], "y_nm": [1.0, 2.0]}).to_parquet(path)
    with pytest.raises(TableError, match=r"frame -1\.0 in row 1.*--first-frame N"):
        import_table(path, tmp_path / "out.parquet", first_frame=1)


def test_hdf5_of_unknown_layout_is_imported_with_a_column_map(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "table.h5"
    with h5py.File(path, "w") as file:
        file["results/fits"] = np.array([(4, 150.0, 240.0, 7)], [(name, "f8") for name in ("t", "X", "Y", "q")])
    with pytest.raises(TableError, match=r"results at its root; expected.*t, X, Y, q: --columns"):
        import_table(path, tmp_path / "a.parquet")
    found, about = columns_of(import_table(path, tmp_path / "a.parquet", columns="frame=t,x_nm=X,y_nm=Y"))
    assert [found[name][0] for name in NAMES if name in found] == [4]
    assert (found["x_nm"][0], about.input["dropped"]) == (150, ["q"])


WRONG_MAPS = {
    "unknown name of ours": ("frme=T,x_nm=Xpos,y_nm=Ypos", "did you mean 'frame'"),
    "unknown name in the file": ("frame=T,x_nm=Xpo,y_nm=Ypos", "did you mean 'Xpos'"),
    "no pairs": ("T,Xpos", "cannot be read"),
    "half a pair": ("frame=T,=Xpos", "no column 'T,=Xpos'"),
    "one of our names twice": ("frame=T,x_nm=Xpos,x_nm=Ypos", "gives x_nm twice"),
    "an unknown unit": ("frame=T,x_nm=Xpos (parsec),y_nm=Ypos", "the unit 'parsec'; expected nm, um"),
    "pixels without pixel size": ("frame=T,x_nm=Xpos (px),y_nm=Ypos", "give pixel_size (--pixel-nm)"),
    "a depth in pixels": ("frame=T,x_nm=Xpos,y_nm=Ypos,z_nm=Zpos (px)", "in 'px', which cannot be converted to z_nm"),
    "counts for photons": ("frame=T,x_nm=Xpos,y_nm=Ypos,photons=Zpos (ADU)", "which cannot be converted to photons"),
    "one column twice": ("frame=T,x_nm=Xpos,y_nm=Xpos", "as both x_nm and y_nm"),
    "no x": ("frame=T,y_nm=Ypos", "columns T, Xpos"),
}


@pytest.mark.parametrize("name", WRONG_MAPS)
def test_invalid_column_maps_are_refused(name: str, call: Call, tmp_path: Path) -> None:
    given, says = WRONG_MAPS[name]
    path, out = tmp_path / "rows.csv", tmp_path / "out.parquet"
    path.write_text(UNKNOWN)
    code, words = call(path, out, "--columns", given)
    assert code in (2, 3)
    assert says in words
    assert words.count("Error") == 1
    assert not out.exists()


@pytest.mark.parametrize("origin", ["middle", "1,2,3", "x,y", "nan,1", ""])
def test_invalid_origins_are_refused(origin: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected centre"):
        import_table(tmp_path / "rows.csv", tmp_path / "out.parquet", origin=origin)


def test_options_for_foreign_tables_are_refused_for_our_tables(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("frame,x_nm,y_nm\n0,1,2\n")
    table = import_table(path, tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="omit --columns"):
        import_table(table, tmp_path / "b.parquet", first_frame=1)


# --- unusable text files ---------------------------------------------------------------------------------------------

BAD = {
    "empty file": (b"", "is empty"),
    "only blanks": (b" \n\n", "is empty"),
    "only a header": (b"frame,x_nm,y_nm\n", "no rows"),
    "text in a number": (b"frame,x_nm,y_nm\n0,1,2\n1,one,2\n", "in column 'x_nm'"),
    "a long row": (b"frame,x_nm,y_nm\n0,1,2\n1,1,2,3\n", "Expected 3 columns, got 4"),
    "a short row": (b"frame,x_nm,y_nm\n0,1,2\n1,1\n", "Expected 3 columns, got 2"),
    "repeated column name": (b"frame,x_nm,y_nm,x_nm\n0,1,2,3\n", "2 columns 'x_nm', expected one"),
    "decimal commas between commas": (b'frame,x_nm,y_nm\n0,"1,5",2\n', "write decimals with a point"),
    "gzip": (b"\x1f\x8b\x08\x00abc", "unpack it"),
    "a workbook": (b"PK\x03\x04 xl/workbook.xml", "save it as csv"),
    "half a frame": (b"frame,x_nm,y_nm\n0,1,2\n1.5,1,2\n", "frame 1.5 in row 2; expected whole numbers from 0"),
    "no detection": (b"frame,x_nm,y_nm,num_frames\n0,1,2,3\n1,1,2,0\n", "(1 of 2 rows have others): repair or remove"),
    "camera counts": (
        b'"id","frame","x [nm]","y [nm]","intensity [ADU]"\n1,1,150,240,9\n',
        "leave it out (--columns 'photons=')",
    ),
    "only numbers": (b"0,1,2\n1,1,2\n", "without a line of column names"),
}


@pytest.mark.parametrize("name", BAD)
def test_unusable_text_files_are_refused_in_one_sentence(name: str, call: Call, tmp_path: Path) -> None:
    content, says = BAD[name]
    path, out = tmp_path / "rows.csv", tmp_path / "out.parquet"
    path.write_bytes(content)
    code, words = call(path, out)
    assert code == 3
    assert says in words
    assert words.count("Error") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_repeated_name_of_an_unused_column_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("frame,x_nm,y_nm,q,q\n0,1,2,3,4\n")
    assert columns_of(import_table(path, tmp_path / "a.parquet"))[1].input["dropped"] == ["q"]


def test_column_names_in_a_comment_and_cells_separated_by_blanks_are_read(tmp_path: Path) -> None:
    """numpy.savetxt writes such files."""
    path, rows = tmp_path / "rows.txt", np.array([[4, 1.5, 2], [3, 2.5, 2]])
    for names, separator in (("frame x_nm y_nm", " "), ("frame,x_nm,y_nm", ",")):
        np.savetxt(path, rows, delimiter=separator, header=f"made on Monday\n{names}")
        found, about = columns_of(import_table(path, tmp_path / "a.parquet"))
        assert (found["frame"].tolist(), found["x_nm"].tolist()) == ([3, 4], [2.5, 1.5])
        assert any("the comment above the rows" in note for note in about.input["notes"])
    path.write_text("frame x_nm y_nm\n4 1.5 2\n")
    found, about = columns_of(import_table(path, tmp_path / "a.parquet", separator="space"))
    assert (found["x_nm"].tolist(), about.input["notes"][0]) == ([1.5], "cells are separated by blanks")


def test_utf_16_text_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_bytes("frame\tx_nm\ty_nm\n4\t1,5\t2\n".encode("utf-16"))
    found, about = columns_of(import_table(path, tmp_path / "a.parquet"))
    assert (found["frame"][0], found["x_nm"][0]) == (4, 1.5)
    assert any("decimals have a comma" in note for note in about.input["notes"])
