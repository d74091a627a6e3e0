"""Filtering keeps the right rows in their order, and records the filter in the table's history."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from lls_decode.errors import ConfigError, TableError
from lls_decode.molecules import filter_table, link
from lls_decode.molecules.density import crowded, marked
from lls_decode.molecules.sigma_quantile import combined_sigma, sigma_quantile
from lls_decode.table import read_metadata, read_table, table_writer

from .conftest import STAGE, WriteRows

NUM = 500


@pytest.fixture
def table(write_rows: WriteRows) -> Path:
    random = np.random.default_rng(0)
    return write_rows(
        {
            "frame": np.arange(NUM) // 5,
            **{f"{axis}_nm": random.uniform(0, 1000, NUM) for axis in "xyz"},
            **{f"{axis}_sig": random.uniform(5, 50, NUM).astype(np.float32) for axis in "xyz"},
        },
        planes=10,
        geometry=STAGE,
        piece_rows=50,
        run_digest="feed",
    )


def test_rows_that_meet_all_conditions_are_kept(table: Path, tmp_path: Path) -> None:
    before = read_table(table)[0]
    made = filter_table(table, tmp_path / "out.parquet", where="x_sig < 20", volumes=(2, 7), planes=(None, 8))
    after, metadata = read_table(made.path)
    keep = (before["x_sig"].to_numpy() < 20) & (before["plane"].to_numpy() <= 7)
    keep &= (before["volume"].to_numpy() >= 2) & (before["volume"].to_numpy() <= 6)
    assert same(after, before.filter(keep))
    assert (made.num_rows, made.num_kept) == (NUM, keep.sum())
    # ten row groups of fifty rows, one per volume
    assert (made.row_groups_read, made.row_groups) == (5, 10)
    [step] = metadata.history
    assert {name: step[name] for name in ("step", "where", "volumes", "rows_before")} == {
        "step": "filter", "where": "x_sig < 20", "volumes": [2, 7], "rows_before": NUM,
    }  # fmt: skip
    assert metadata.run_digest == "feed"


def same(found: pa.Table, expected: pa.Table) -> bool:
    return found.replace_schema_metadata(None).combine_chunks().equals(expected.combine_chunks())


def test_a_table_may_be_filtered_in_place_and_again(table: Path) -> None:
    filter_table(table, table, where="x_sig < 40")
    filter_table(table, table, best=0.5)
    metadata = read_metadata(table)
    assert [step["step"] for step in metadata.history] == ["filter", "filter"]
    assert pq.read_table(table)["x_sig"].to_numpy().max() < 40


@pytest.mark.parametrize("where", [None, "plane < 5"])
@pytest.mark.parametrize("best", [0.001, 0.25, 0.5, 1.0])
def test_best_is_an_exact_quantile(table: Path, tmp_path: Path, best: float, where: str | None) -> None:
    made = filter_table(table, tmp_path / "out.parquet", best=best, where=where)
    before = read_table(table)[0]
    if where:
        before = before.filter(before["plane"].to_numpy() < 5)
    sigma = combined_sigma(before)
    limit = np.sort(sigma)[int(np.ceil(best * len(sigma))) - 1]
    assert made.sigma_max_nm == limit
    assert same(read_table(made.path)[0], before.filter(sigma <= limit))
    assert made.num_kept == np.ceil(best * len(sigma))


def test_quantiles_are_exact_for_sigmas_of_any_size_and_unknown_ones(write_rows: WriteRows, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    sigma = np.exp(random.normal(0, 20, 1000)).astype(np.float32)
    sigma[:10], sigma[10:20] = np.nan, np.inf
    rows = pa.table({"x_sig": sigma, "y_sig": sigma, "z_sig": np.full(1000, np.nan, dtype=np.float32)})
    combined = combined_sigma(rows)
    assert np.isinf(combined[:20]).all()
    for share in (0.001, 0.3, 0.98):
        found = sigma_quantile(lambda: iter([rows[:300], rows[300:]]), share)
        assert found == np.sort(combined)[int(np.ceil(share * 1000)) - 1]
    path = write_rows({"frame": np.arange(20), "x_sig": np.full(20, np.nan)})
    with pytest.raises(TableError, match="no row whose sigmas"):
        filter_table(path, tmp_path / "out.parquet", best=0.5)
    assert not (tmp_path / "out.parquet").exists()
    made = filter_table(path, tmp_path / "out.parquet", best=0.5, where="frame > 100")
    assert (made.num_kept, made.sigma_max_nm) == (0, None)


def test_neighbours_are_counted_in_space_regardless_of_time(table: Path, tmp_path: Path) -> None:
    made = filter_table(table, tmp_path / "out.parquet", min_neighbours=2, radius_nm=150.0, where="y_nm < 800")
    before = read_table(table)[0]
    before = before.filter(before["y_nm"].to_numpy() < 800)
    place = np.stack([before[f"{axis}s_nm"].to_numpy().astype(float) for axis in "xyz"], axis=1)
    keep = (cdist(place, place) <= 150).sum(axis=1) - 1 >= 2
    assert 0 < keep.sum() < len(keep)
    assert same(read_table(made.path)[0], before.filter(keep))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(-20, 20)] * 3), max_size=60),
    st.integers(1, 4),
    st.sampled_from([1.0, 3.0, 8.5]),
    st.integers(1, 70),
    st.integers(1, 70),
)
def test_counting_neighbours_does_not_depend_on_tiles_and_pieces(
    places: list[tuple[int, int, int]], min_neighbours: int, radius_nm: float, rows_at_once: int, piece: int
) -> None:
    position = np.array(places, dtype=np.float64).reshape(-1, 3)
    expected = (cdist(position, position) <= radius_nm).sum(axis=1) - 1 >= min_neighbours
    bits = crowded(
        lambda: (position[first : first + piece].T for first in range(0, max(len(position), 1), piece)),
        min_neighbours=min_neighbours,
        radius_nm=radius_nm,
        rows_at_once=rows_at_once,
    )
    assert marked(bits, 0, len(position)).tolist() == expected.tolist()
    for first in range(len(position)):
        assert marked(bits, first, len(position) - first).tolist() == expected[first:].tolist()


def test_rows_without_a_position_have_no_neighbours() -> None:
    position = np.array([[0.0, 0.0, np.nan, np.inf], [0.0] * 4])
    bits = crowded(lambda: iter([position]), min_neighbours=1, radius_nm=10)
    assert marked(bits, 0, 4).tolist() == [True, True, False, False]


def test_tables_of_molecules_are_filtered(write_rows: WriteRows, tmp_path: Path) -> None:
    molecules = link(write_rows({"frame": [0, 1, 9]})).molecules
    made = filter_table(molecules, tmp_path / "out.parquet", where="num_frames >= 2", min_neighbours=1, radius_nm=1)
    assert made.num_kept == 0
    made = filter_table(molecules, tmp_path / "out.parquet", where="num_frames >= 2")
    assert pq.read_table(made.path)["group"].to_pylist() == [0]
    metadata = read_metadata(made.path)
    assert metadata.kind == "molecules"
    assert [step["step"] for step in metadata.history] == ["link", "filter"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no condition": ({}, "No condition was given"),
    "unknown column": ({"where": "sigma < 3"}, "'sigma', which is not a column"),
    "no volumes": ({"volumes": (7, 7)}, "volumes 7:7 is empty or negative; expected START:STOP with the end excluded"),
    "planes from the end": ({"planes": (-3, None)}, "planes -3: is empty or negative"),
    "share above one": ({"best": 1.5}, "best is 1.5; expected a share"),
    "no radius": ({"min_neighbours": 3}, "Only one of min_neighbours"),
    "no number of neighbours": ({"radius_nm": 30}, "Only one of min_neighbours"),
    "zero neighbours": ({"min_neighbours": 0, "radius_nm": 30}, "min_neighbours is 0"),
    "zero radius": ({"min_neighbours": 1, "radius_nm": 0}, "radius_nm is 0"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_invalid_options_are_refused(table: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        filter_table(table, tmp_path / "out.parquet", **options)
    assert not (tmp_path / "out.parquet").exists()


def test_counting_neighbours_across_planes_needs_a_geometry(write_rows: WriteRows, tmp_path: Path) -> None:
    path = write_rows({"frame": [0, 1]}, planes=2)
    with pytest.raises(TableError, match="positions in different planes cannot be compared"):
        filter_table(path, tmp_path / "out.parquet", min_neighbours=1, radius_nm=30)


def test_best_takes_sigmas_of_0_or_less_for_unknown(table: Path, tmp_path: Path) -> None:
    """Other programs write 0 or -1 where they have no uncertainty; such rows are not the best ones."""
    rows, about = read_table(table)
    sigma = rows["x_sig"].to_numpy().copy()
    sigma[:20], sigma[20:40] = 0, -1
    place = rows.schema.get_field_index("x_sig")
    rows = rows.set_column(place, rows.schema.field(place), pa.array(sigma))
    path = tmp_path / "odd.parquet"
    with table_writer(path, rows.schema, about) as writer:
        writer.write(rows)
    kept, _ = read_table(filter_table(path, tmp_path / "out.parquet", best=0.25).path)
    assert kept["x_sig"].to_numpy().min() > 0
