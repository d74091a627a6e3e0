"""Sorting on disk: rows in any order and pieces of any size come out sorted, and temporary files are removed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lls_decode.errors import OutputError
from lls_decode.table import schema, sorted_aside, sorting
from lls_decode.table.sorting import sorted_rows

SCHEMA = schema(with_sample=False)


def rows_of(steps: list[int], *, seed: int = 0) -> pa.Table:
    """Return one row for each given frame (ten planes per volume), with its own number in ``group``."""
    random = np.random.default_rng(seed)
    step = np.asarray(steps, dtype=np.int64)
    columns = {"volume": step // 10, "plane": step % 10, "frame": step, "group": np.arange(len(step))}
    values = [columns.get(f.name, random.integers(0, 3, len(step))) for f in SCHEMA]  # positions coincide often
    return pa.table([pa.array(v.astype(f.type.to_pandas_dtype())) for v, f in zip(values, SCHEMA, strict=True)], SCHEMA)


@settings(max_examples=100, deadline=None)
@given(
    num_rows=st.integers(0, 120),
    num_steps=st.integers(1, 60),
    seed=st.integers(0, 2**32 - 1),
    piece_rows=st.integers(1, 30),
    run_rows=st.integers(1, 30),
    group_rows=st.integers(1, 9),
    ascending=st.booleans(),
)
def test_sorted_rows_do_not_depend_on_the_sizes_of_pieces(
    num_rows: int,
    num_steps: int,
    seed: int,
    piece_rows: int,
    run_rows: int,
    group_rows: int,
    ascending: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    steps = np.random.default_rng(seed).integers(0, num_steps, num_rows).tolist()
    rows = rows_of(sorted(steps) if ascending else steps)
    with pytest.MonkeyPatch.context() as patch, sorted_aside(folder / "out.parquet", SCHEMA) as sorter:
        patch.setattr(sorting, "_SECTION_ROWS", run_rows)
        patch.setattr(sorting, "_GROUP_ROWS", group_rows)
        for start in range(0, num_rows, piece_rows):
            sorter.add(rows.slice(start, piece_rows))
        pieces = list(sorter.pieces())
    assert pa.concat_tables([SCHEMA.empty_table(), *pieces]).equals(sorted_rows(rows))
    assert list(folder.iterdir()) == []


def test_sorted_input_is_merged_one_section_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each section is read only when it is needed, and no piece has more rows than a group of each of two sections."""
    monkeypatch.setattr(sorting, "_SECTION_ROWS", 20)
    monkeypatch.setattr(sorting, "_GROUP_ROWS", 5)
    load, loads = sorting._SortedSection.load, []
    monkeypatch.setattr(sorting._SortedSection, "load", lambda run: (loads.append(run), load(run)))
    with sorted_aside(tmp_path / "out.parquet", SCHEMA) as sorter:
        for start in range(0, 200, 20):
            sorter.add(rows_of(list(range(start, start + 20))))
        lengths, loaded = [], []
        for piece in sorter.pieces():
            lengths.append(len(piece))
            loaded.append(len(set(loads)))
    assert sum(lengths) == 200
    assert max(lengths) <= 10
    assert loaded[0] == 1
    assert loaded[-1] == 10


def test_temporary_files_are_removed_after_an_error(tmp_path: Path) -> None:
    def stop_half_way() -> None:
        with sorted_aside(tmp_path / "out.parquet", SCHEMA) as sorter:
            sorter.add(rows_of([3, 1]))
            raise KeyError("an error of the caller")

    with pytest.raises(KeyError, match="an error of the caller"):
        stop_half_way()
    assert list(tmp_path.iterdir()) == []


def test_sorting_into_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder does not exist"), sorted_aside(tmp_path / "a" / "out", SCHEMA):
        pass
