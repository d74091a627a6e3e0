"""Import of csv with semicolons, tabs or decimal commas, and of Parquet of other programs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lls_decode.config import Geometry, PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.evaluate import read_truth
from lls_decode.export.importing import import_table
from lls_decode.molecules import link
from lls_decode.table import described_like, read_metadata, read_table
from tests.export.conftest import GEOMETRY, PLANES, random_columns, write_table

X_NM = [1.5, 20.25, 300.0]


def write_csv(path: Path, *, separator: str, decimal: str = ".", header: str = "frame,x_nm,y_nm,photons") -> Path:
    rows = [header.replace(",", separator)]
    rows += [separator.join([str(n), str(x).replace(".", decimal), "7", f"1{n}00"]) for n, x in enumerate(X_NM)]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize(("separator", "name"), [(";", "semicolon"), ("\t", "tab"), (",", "comma")])
def test_separators_and_decimal_commas_are_recognized(separator: str, name: str, decimal: str, tmp_path: Path) -> None:
    if separator == decimal:
        pytest.skip("cells and decimals cannot both have a comma")
    path = write_csv(tmp_path / "rows.csv", separator=separator, decimal=decimal)
    for given in (None, name):
        out = import_table(path, tmp_path / f"{given}.parquet", separator=given)
        rows, about = read_table(out)
        assert rows["x_nm"].to_pylist() == X_NM
        assert rows["photons"].to_pylist() == [1000, 1100, 1200]
        assert any("comma" in note for note in about.input["notes"]) == (decimal == ",")
    assert read_truth(path).x_nm.tolist() == X_NM


def test_a_thunderstorm_table_saved_by_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "ts.csv"
    path.write_text('"id";"frame";"x [nm]";"y [nm]"\n1;1;150,5;50\n2;3;250;1050,25\n')
    rows, _ = read_table(import_table(path, tmp_path / "a.parquet", pixel_size=PixelSize(x_nm=100, y_nm=100)))
    assert rows["x_nm"].to_pylist() == [100.5, 200]
    assert rows["frame"].to_pylist() == [0, 2]


def test_wrong_separators_are_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", separator=";")
    with pytest.raises(TableError, match="rename the columns"):
        import_table(path, tmp_path / "a.parquet", separator="tab")
    with pytest.raises(ConfigError, match="comma, semicolon, tab"):
        import_table(path, tmp_path / "a.parquet", separator="pipe")
    table = import_table(path, tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="for a csv"):
        import_table(table, tmp_path / "b.parquet", separator="tab", format="parquet")


def test_commas_in_quoted_names_are_no_separators(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('frame;x_nm;y_nm;"a, b, c, d, e, f"\n0;1;2;3\n')
    rows, _ = read_table(import_table(path, tmp_path / "a.parquet"))
    assert rows["y_nm"].to_pylist() == [2]


def by_pandas(source: Path, out: Path) -> None:
    pd.read_parquet(source).sample(frac=1, random_state=1).to_parquet(out)


def by_polars(source: Path, out: Path) -> None:
    import polars

    polars.read_parquet(source).sample(fraction=1, shuffle=True, seed=1).write_parquet(out)


def by_duckdb(source: Path, out: Path) -> None:
    import duckdb

    duckdb.sql(f"copy (select * from '{source}' order by hash(x_nm)) to '{out}' (format parquet)")


@pytest.mark.parametrize("rewrite", [by_pandas, by_polars, by_duckdb])
def test_a_shuffled_table_is_imported_in_order(rewrite: Callable[[Path, Path], None], tmp_path: Path) -> None:
    ours = import_table(
        write_table(tmp_path / "table.parquet", random_columns(400), geometry=GEOMETRY), tmp_path / "ours.parquet"
    )
    back = tmp_path / "back.parquet"
    rewrite(ours, back)
    with described_like(ours):
        again = import_table(back, tmp_path / "again.parquet")
        with pytest.raises(TableError, match="lls-decode import"):
            link(back, out=tmp_path / "linked")
    expected, about = read_table(ours)
    found, said = read_table(again)
    assert found.replace_schema_metadata(None).equals(expected.replace_schema_metadata(None))
    assert (said.geometry, said.pixel_size, said.planes_per_volume) == (GEOMETRY, about.pixel_size, PLANES)
    assert isinstance(said.geometry, Geometry)
    assert [step["step"] for step in said.history][-1] == "import"
    link(again, out=tmp_path / "linked")


def test_planes_per_volume_of_our_tables_cannot_be_changed(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.parquet", random_columns(10))
    with pytest.raises(ConfigError, match="30 planes per volume"):
        import_table(table, tmp_path / "a.parquet", planes_per_volume=7)
    assert import_table(table, tmp_path / "a.parquet", planes_per_volume=PLANES).exists()


def test_parquet_of_other_programs_needs_a_format_or_known_columns(tmp_path: Path) -> None:
    foreign = pd.DataFrame({"frame": [2, 1], "x [nm]": [150.0, 250.0], "y [nm]": [50, 60], "cell": ["a", "b"]})
    foreign.to_parquet(tmp_path / "ts.parquet")
    with pytest.raises(TableError, match="looks like a table of ThunderSTORM, but it has 'cell'"):
        import_table(tmp_path / "ts.parquet", tmp_path / "a.parquet", pixel_size=PixelSize(x_nm=100, y_nm=100))
    out = import_table(
        tmp_path / "ts.parquet", tmp_path / "a.parquet", pixel_size=PixelSize(x_nm=100, y_nm=100), format="thunderstorm"
    )
    rows, about = read_table(out)
    assert rows["frame"].to_pylist() == [0, 1]
    assert rows["x_nm"].to_pylist() == [200, 100]
    assert about.input["format"] == "parquet"
    pd.DataFrame({"t": [1], "u": [2]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(TableError, match=r"has the columns t, u.*rename the columns"):
        import_table(tmp_path / "other.parquet", tmp_path / "b.parquet")
    foreign.assign(frame=["one", "two"]).to_parquet(tmp_path / "words.parquet")
    with pytest.raises(TableError, match="'frame' that is not numeric"):
        import_table(tmp_path / "words.parquet", tmp_path / "b.parquet", first_frame=0, origin="centre")


def test_a_rewritten_table_of_molecules_is_imported(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table.parquet", random_columns(200), geometry=GEOMETRY)
    made = link(table, out=tmp_path / "out")
    by_polars(made.molecules, tmp_path / "back.parquet")
    with described_like(made.molecules):
        out = import_table(tmp_path / "back.parquet", tmp_path / "again.parquet")
    assert read_metadata(out).kind == "molecules"
    rows, expected = read_table(out)[0], read_table(made.molecules)[0]
    assert rows.schema.types == expected.schema.types
    assert np.sort(rows["group"].to_numpy()).tolist() == np.sort(expected["group"].to_numpy()).tolist()


def test_runs_of_blanks_separate_cells(tmp_path: Path) -> None:
    """`numpy.savetxt` and Fortran pad numbers with blanks, also before the first one."""
    path = tmp_path / "fixed.txt"
    rows = "".join(f"{n:6d}  {n * 10.5:9.2f} {7:6d}  \r\n" for n in range(20_000))
    path.write_text(f"   frame      x_nm   y_nm  \r\n{rows}")
    table, _ = read_table(import_table(path, tmp_path / "a.parquet", rows_at_once=1000))
    assert table["frame"].to_pylist() == list(range(20_000))
    assert table["x_nm"].to_pylist() == pytest.approx([n * 10.5 for n in range(20_000)])


def test_names_in_a_comment_of_matlab_are_read(tmp_path: Path) -> None:
    path = tmp_path / "matlab.txt"
    path.write_text("% written by a script\n% frame,x_nm,y_nm\n0,1.5,2\n3,4.5,6\n")
    table, _ = read_table(import_table(path, tmp_path / "a.parquet"))
    assert table["frame"].to_pylist() == [0, 3]
    assert table["x_nm"].to_pylist() == [1.5, 4.5]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('"frame","x_nm","y_nm"\n"1",0,1.5,2\n"2",3,4.5,6\n', id="row names of R"),
        pytest.param("frame,x_nm,y_nm\n0,1.5,2,\n3,4.5,6,\n", id="separator at the end of rows only"),
        pytest.param("frame,x_nm,y_nm,\n0,1.5,2,\n3,4.5,6,\n", id="separator at the end of all lines"),
    ],
)
def test_a_cell_without_a_name_does_not_move_the_others(text: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    table, about = read_table(import_table(path, tmp_path / "a.parquet"))
    assert table["frame"].to_pylist() == [0, 3]
    assert table["x_nm"].to_pylist() == [1.5, 4.5]
    assert about.input["dropped"] == ["(without a name)"]


def test_a_cell_more_than_the_header_is_refused_if_it_may_be_a_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("frame,x_nm,y_nm\n1,0,1.5,2\n2,3,4.5,6\n")
    with pytest.raises(TableError, match="Expected 3 columns, got 4"):
        import_table(path, tmp_path / "a.parquet")


@pytest.mark.parametrize("column", ["frame", "x_nm"])
def test_a_rewritten_table_without_a_required_column_is_refused(column: str, tmp_path: Path) -> None:
    source = write_table(tmp_path / "a.parquet", random_columns(50))
    rows = pd.read_parquet(source).rename(columns={column: column.title()})
    rows.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(TableError, match=rf"no column {column} \(is it '{column.title()}'\?\)"):
        import_table(tmp_path / "b.parquet", tmp_path / "c.parquet")
    with pytest.raises(TableError, match=f"no column {column}"):
        read_table(tmp_path / "b.parquet")


def test_a_rewritten_table_with_rows_without_position_is_refused(tmp_path: Path) -> None:
    source = write_table(tmp_path / "a.parquet", random_columns(50))
    rows = pd.read_parquet(source)
    rows.loc[7, "x_nm"] = np.nan
    rows.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(TableError, match=r"rows without x_nm \(the first is row 8\)"):
        import_table(tmp_path / "b.parquet", tmp_path / "c.parquet")


def test_columns_that_a_restored_table_lacks_are_listed(tmp_path: Path) -> None:
    source = write_table(tmp_path / "a.parquet", random_columns(50))
    pd.read_parquet(source).sample(frac=1, random_state=0).to_parquet(tmp_path / "b.parquet")
    about = read_metadata(import_table(tmp_path / "b.parquet", tmp_path / "c.parquet"))
    assert about.history[-1]["dropped"] == ["__index_level_0__"]
