"""Tables that pandas, polars or DuckDB rewrote are read as before, or refused by naming what was lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lls_decode.config import Geometry, PixelSize
from lls_decode.errors import TableError
from lls_decode.table import (
    ChannelInfo,
    TableMetadata,
    described_like,
    iter_tables,
    read_emitters,
    read_metadata,
    read_schema,
    read_table,
    schema,
    table_writer,
)

PIXEL = PixelSize(x_nm=104.0, y_nm=98.0)
GEOMETRY = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8)
Rewrite = Callable[[Path, Path], None]


CHANNELS = (ChannelInfo(name="tubulin", excitation_nm=560.0), ChannelInfo(excitation_nm=642.0))


@pytest.fixture(params=[False, True], ids=["one channel", "two channels"])
def ours(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Write a table of 300 localizations with sample coordinates, five of them with unknown z sigma."""
    random, canonical = np.random.default_rng(1), schema(with_sample=True, with_channel=request.param)
    frame = np.sort(random.integers(0, 200, 300))
    whole = {"frame": frame, "volume": frame // 20, "plane": frame % 20, "group": random.integers(-1, 2**40, 300)}
    whole["channel"] = random.integers(0, 2, 300)
    columns = {f.name: whole.get(f.name, random.uniform(1, 9000, 300)) for f in canonical}
    columns["z_sig"][:5] = np.nan
    rows = pa.table([pa.array(columns[f.name].astype(f.type.to_pandas_dtype())) for f in canonical], canonical)
    about = TableMetadata(pixel_size=PIXEL, planes_per_volume=20, geometry=GEOMETRY).with_step("debias", rms=1.5)
    about = about.replace(channels=CHANNELS[: 1 + request.param])
    path = tmp_path / "localizations.parquet"
    with table_writer(path, canonical, about) as writer:
        writer.write(rows)
    return path


def by_pandas(source: Path, out: Path) -> None:
    pd.read_parquet(source).query("photons > 0").to_parquet(out)


def by_pandas_nullable(source: Path, out: Path) -> None:
    pd.read_parquet(source, dtype_backend="numpy_nullable").to_parquet(out)


def by_pandas_widened(source: Path, out: Path) -> None:
    table = pd.read_parquet(source)
    attributes = table.attrs
    table = table.astype(dict.fromkeys(("frame", "volume", "plane"), "int64")).astype({"x_nm": "float64"})
    table = table[sorted(table.columns)].iloc[np.arange(len(table))]
    table.attrs = attributes
    table.to_parquet(out)


def by_pandas_indexed(source: Path, out: Path) -> None:
    table = pd.read_parquet(source)
    table[table.photons > 0].set_index("frame").to_parquet(out)


def by_categories(source: Path, out: Path) -> None:
    table = pd.read_parquet(source)
    table["plane"] = table["plane"].astype("category")
    table.to_parquet(out)


def by_polars(source: Path, out: Path) -> None:
    import polars

    polars.scan_parquet(source).filter(polars.col("photons") > 0).collect().write_parquet(out)


def by_duckdb(source: Path, out: Path) -> None:
    import duckdb

    duckdb.sql(f"copy (select * from '{source}' order by frame, y_nm, x_nm) to '{out}' (format parquet)")


def by_duckdb_decimal(source: Path, out: Path) -> None:
    import duckdb

    changed = "photons::decimal(18, 6) as photons, frame::bigint as frame"
    duckdb.sql(f"copy (select {changed}, * exclude (photons, frame) from '{source}') to '{out}' (format parquet)")


PANDAS: dict[str, Rewrite] = {
    "pandas": by_pandas,
    "nullable": by_pandas_nullable,
    "widened": by_pandas_widened,
    "indexed": by_pandas_indexed,
    "categories": by_categories,
}
OTHERS: dict[str, Rewrite] = {"polars": by_polars, "duckdb": by_duckdb, "decimal": by_duckdb_decimal}


def assert_equal(path: Path, ours: Path) -> None:
    """Check that every reader finds the same rows, in canonical columns, and the same metadata in both tables."""
    expected, about = read_table(ours)
    found, said = read_table(path)
    order = lambda rows: rows.sort_by([("frame", "ascending"), ("x_nm", "ascending")])  # noqa: E731
    assert found.schema.remove_metadata().equals(expected.schema.remove_metadata(), check_metadata=False)
    for name in expected.column_names:
        one, other = (order(rows)[name].to_numpy() for rows in (found, expected))
        np.testing.assert_allclose(one, other, rtol=1e-6, err_msg=name)
    assert read_schema(path).equals(read_schema(ours), check_metadata=True)
    assert said == read_metadata(path) == about
    pieces = pa.concat_tables(iter_tables(path))
    for name in expected.column_names:
        np.testing.assert_array_equal(pieces[name].to_numpy(), found[name].to_numpy(), err_msg=name)
    assert pa.concat_tables(iter_tables(path, ["y_nm", "frame"])).num_rows == 300
    assert len(read_emitters(path)) == 300


@pytest.mark.parametrize("rewrite", PANDAS.values(), ids=PANDAS.keys())
def test_a_table_that_pandas_rewrote_keeps_its_metadata(rewrite: Rewrite, ours: Path, tmp_path: Path) -> None:
    back = tmp_path / "back.parquet"
    rewrite(ours, back)
    assert_equal(back, ours)


@pytest.mark.parametrize("rewrite", OTHERS.values(), ids=OTHERS.keys())
def test_a_table_that_other_programs_rewrote_needs_a_table_to_describe_it(
    rewrite: Rewrite, ours: Path, tmp_path: Path
) -> None:
    back = tmp_path / "back.parquet"
    rewrite(ours, back)
    with pytest.raises(TableError, match="--like TABLE"):
        read_table(back)
    with described_like(ours):
        assert_equal(back, ours)
    with pytest.raises(TableError, match="--like TABLE"):
        read_metadata(back)


def test_like_does_not_replace_existing_metadata(ours: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    with table_writer(other, schema(False), TableMetadata(planes_per_volume=7)) as writer:
        writer.write(schema(False).empty_table())
    with described_like(other):
        assert read_metadata(ours).planes_per_volume == 20
    with pytest.raises(TableError, match="absent"), described_like(tmp_path / "absent.parquet"):
        pass


def test_like_refuses_a_table_of_another_kind(ours: Path, tmp_path: Path) -> None:
    molecules, back = tmp_path / "molecules.parquet", tmp_path / "back.parquet"
    with table_writer(molecules, schema(False), TableMetadata().of_kind("molecules")) as writer:
        writer.write(schema(False).empty_table())
    by_polars(ours, back)
    with described_like(molecules), pytest.raises(TableError, match="has the columns of localizations"):
        read_metadata(back)


def test_columns_added_by_the_user_are_kept(ours: Path, tmp_path: Path) -> None:
    back = tmp_path / "back.parquet"
    table = pd.read_parquet(ours)
    table.assign(cell=["a", "b", "c"] * 100, score=0.5, xs_nm=table.xs_nm.astype("float64")).to_parquet(back)
    rows, said = read_table(back)
    assert rows.column_names[-2:] == ["cell", "score"] == list(said.columns)[-2:]
    assert rows["cell"].to_pylist()[:3] == ["a", "b", "c"]
    assert rows.schema.field("xs_nm").type == pa.float32()


def changed(ours: Path, out: Path, **columns: Any) -> Path:
    table = pd.read_parquet(ours)
    attributes = table.attrs
    table = table.assign(**columns)
    table.attrs = attributes
    table.to_parquet(out)
    return out


BAD: dict[str, tuple[Callable[[pd.DataFrame], Any], str]] = {
    "fraction": (lambda table: table.frame + 0.5, "has frame .*5, expected whole numbers"),
    "negative": (lambda table: table.frame.astype("int64") - 999, "has frame -9.*expected whole numbers"),
    "too large": (lambda table: table.frame.astype("int64") + 2**32, "expected whole numbers that fit uint32"),
    "missing": (lambda table: table.frame.astype("Int64").where(table.frame > 100), "rows without frame.*fill"),
    "not a number": (lambda table: table.frame.astype("float64").where(table.frame > 100), "frame"),
    "text": (lambda table: table.frame.astype(str), "has column frame of type .*string, expected numbers"),
}


@pytest.mark.parametrize(("make", "says"), BAD.values(), ids=BAD.keys())
def test_values_that_do_not_fit_their_column_are_refused(
    make: Callable[[pd.DataFrame], Any], says: str, ours: Path, tmp_path: Path
) -> None:
    path = changed(ours, tmp_path / "back.parquet", frame=make)
    with pytest.raises(TableError, match=says):
        read_table(path)
    with pytest.raises(TableError, match=says):
        list(iter_tables(path))


def test_null_floats_are_read_as_nan(ours: Path, tmp_path: Path) -> None:
    path = changed(ours, tmp_path / "back.parquet", bg=lambda table: table.bg.astype("Float64").where(table.bg > 5000))
    bg = read_table(path)[0]["bg"]
    assert bg.null_count == 0
    assert np.isnan(bg.to_numpy()).sum() == (pd.read_parquet(ours).bg <= 5000).sum() > 0


def test_sample_coordinates_are_kept_or_dropped_together(ours: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(ours).drop(columns="zs_nm")
    table.to_parquet(tmp_path / "back.parquet")
    with pytest.raises(TableError, match="keep all of xs_nm, ys_nm, zs_nm"):
        read_metadata(tmp_path / "back.parquet")
    pd.read_parquet(ours).drop(columns=["xs_nm", "ys_nm", "zs_nm"]).to_parquet(tmp_path / "raw.parquet")
    assert read_metadata(tmp_path / "raw.parquet").geometry == GEOMETRY
    assert "xs_nm" not in read_schema(tmp_path / "raw.parquet").names


def test_damaged_pandas_attributes_are_refused(ours: Path, tmp_path: Path) -> None:
    path = tmp_path / "back.parquet"
    pq.write_table(pq.read_table(ours).replace_schema_metadata({b"PANDAS_ATTRS": b'{"lls_decode"'}), path)
    with pytest.raises(TableError, match="damaged metadata"):
        read_metadata(path)


def test_a_file_of_another_kind_is_refused_with_advice(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("frame,x_nm,y_nm\n0,1,2\n")
    with pytest.raises(TableError, match="lls-decode import"):
        read_table(path)


@pytest.mark.parametrize("columns", [None, ["volume", "x_nm"], ["plane"]])
def test_changed_frames_that_contradict_volumes_are_refused_until_the_advice_is_followed(
    columns: list[str] | None, ours: Path, tmp_path: Path
) -> None:
    table, out = pd.read_parquet(ours), tmp_path / "later.parquet"
    first = int(table.frame.iloc[0])
    table["frame"] += 1000
    table.to_parquet(out)
    expected = (
        f"has frame {first + 1000} with volume {first // 20} .* set volume to frame // 20 and plane to frame % 20"
    )
    for read in (read_table, lambda *given: list(iter_tables(*given))):
        with pytest.raises(TableError, match=expected):
            read(out, columns)
    table["volume"], table["plane"] = table.frame // 20, table.frame % 20
    table.to_parquet(out)
    assert read_table(out, columns)[0].num_rows == 300
    assert read_table(out, ["x_nm", "volume"])[0].column_names == ["volume", "x_nm"]
