"""Linking by distance alone, for tables of other programs that have no sigmas."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lls_decode.errors import ConfigError, TableError
from lls_decode.molecules import Gate, link
from lls_decode.pipelines.cli import cli
from lls_decode.table import read_metadata, read_table

from .conftest import STAGE, WriteRows

RADIUS_NM = 60.0
Columns = dict[str, np.ndarray[Any, Any]]


def blinking(num: int = 50, per_molecule: int = 4) -> Columns:
    """Return rows, ordered by frame, of molecules 500 nm apart in four frames each, with errors of 12 nm."""
    random = np.random.default_rng(5)
    molecule = np.repeat(np.arange(num), per_molecule)
    frame = 3 * molecule + np.tile(np.arange(per_molecule), num)
    columns = {
        "frame": frame,
        "x_nm": 500.0 * molecule + random.normal(0, 12, len(frame)),
        "y_nm": 40.0 * (molecule % 2) + random.normal(0, 12, len(frame)),
        "z_nm": random.normal(0, 30, len(frame)),
        "molecule": molecule,
    }
    order = np.argsort(frame, kind="stable")
    return {name: values[order] for name, values in columns.items()}


UNKNOWN = {"zero": 0.0, "NaN": np.nan, "infinite": np.inf}


@pytest.mark.parametrize("sigma", [*UNKNOWN, "no column", "one missing"])
@pytest.mark.parametrize("planes", [1, 10])
def test_tables_without_sigmas_are_linked_by_radius_with_plain_means(
    write_rows: WriteRows, sigma: str, planes: int
) -> None:
    columns = blinking()
    molecule = columns.pop("molecule")
    if sigma in UNKNOWN:
        columns |= {f"{axis}_sig": np.full(len(molecule), UNKNOWN[sigma]) for axis in "xyz"}
    elif sigma == "one missing":
        columns["y_sig"] = np.where(np.arange(len(molecule)) == 7, np.nan, 10.0)
    geometry = STAGE.replace(stage_step_nm=1.0) if planes > 1 else None
    path = write_rows(columns, planes=planes, geometry=geometry)
    if sigma == "no column":
        rows = pq.read_table(path).drop_columns(["x_sig", "y_sig", "z_sig", "phot_sig"])
        pq.write_table(rows, path)
    before = path.read_bytes()
    with pytest.raises(TableError, match="--radius-nm"):
        link(path)
    assert path.read_bytes() == before
    made = link(path, gate=Gate(radius_nm=RADIUS_NM), volume_gap=0)
    assert not made.weighted
    rows, found = pd.read_parquet(path), pd.read_parquet(made.molecules).set_index("group").sort_index()
    np.testing.assert_array_equal(rows.group, molecule)
    assert found[["x_sig", "y_sig", "z_sig"]].isna().all(axis=None)
    for axis in "yz" if geometry is None else "y":
        means = rows.groupby("group")[f"{axis}_nm"].mean()
        np.testing.assert_allclose(found[f"{axis}_nm"], means, atol=0.01)
    assert (found.num_frames == 4).all()
    step = read_metadata(path).history[-1]
    assert (step["radius_nm"], step["weighted"]) == (RADIUS_NM, False)
    assert "sigmas" not in step


def test_tables_with_sigmas_get_weighted_means(write_rows: WriteRows) -> None:
    columns = blinking()
    molecule = columns.pop("molecule")
    sigma = np.random.default_rng(1).uniform(5, 30, len(molecule))
    path = write_rows({**columns, "x_sig": sigma, "y_sig": sigma, "z_sig": sigma})
    made = link(path, gate=Gate(radius_nm=RADIUS_NM))
    assert made.weighted
    found = pd.read_parquet(made.molecules).sort_values("group")
    weight = np.bincount(molecule, 1 / sigma**2)
    np.testing.assert_allclose(found.x_nm, np.bincount(molecule, columns["x_nm"] / sigma**2) / weight, rtol=1e-5)
    np.testing.assert_allclose(found.x_sig, weight**-0.5, rtol=1e-5)


@pytest.mark.parametrize(("apart_nm", "deep_nm", "num"), [(59.9, 0, 1), (60.1, 0, 2), (10, 499, 1), (10, 501, 2)])
def test_radius_and_depth_limit_linking(write_rows: WriteRows, apart_nm: float, deep_nm: float, num: int) -> None:
    along = apart_nm / np.sqrt(2)
    rows = {"frame": [0, 1], "x_nm": [0, along], "y_nm": [0, along], "z_nm": [0, deep_nm], "x_sig": [1, 1]}
    assert link(write_rows(rows), gate=Gate(radius_nm=RADIUS_NM)).num_molecules == num


def test_the_nearest_candidate_is_linked(write_rows: WriteRows) -> None:
    rows = {"frame": [0, 0, 1, 1], "x_nm": [0, 50, 20, 45], "x_sig": np.zeros(4), "y_sig": np.zeros(4)}
    path = write_rows(rows)
    link(path, gate=Gate(radius_nm=RADIUS_NM))
    assert pd.read_parquet(path).group.tolist() == [0, 1, 0, 1]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([1, 4]), st.integers(1, 12), st.integers(1, 12))
def test_linking_by_radius_does_not_depend_on_row_groups_and_batches(
    write_rows: WriteRows, data: st.DataObject, planes: int, piece_rows: int, batch_rows: int
) -> None:
    num = data.draw(st.integers(1, 40))
    draw = st.lists(st.integers(-6, 6), min_size=num, max_size=num)
    frame = np.sort(data.draw(st.lists(st.integers(0, 30), min_size=num, max_size=num)))
    columns = {"frame": frame, "x_nm": 7.3 * np.array(data.draw(draw)), "y_nm": 7.3 * np.array(data.draw(draw)),
               "x_sig": np.zeros(num), "y_sig": np.zeros(num), "z_sig": np.zeros(num)}  # fmt: skip
    geometry = STAGE.replace(stage_step_nm=1.0) if planes > 1 else None
    whole = write_rows(columns, planes=planes, geometry=geometry, name="whole.parquet")
    cut = write_rows(columns, planes=planes, geometry=geometry, name="cut.parquet", piece_rows=piece_rows)
    gate = Gate(radius_nm=25)
    one = link(whole, out=whole.parent / "one", gate=gate)
    two = link(cut, out=whole.parent / "two", gate=gate, batch_rows=batch_rows)
    for name in ("localizations", "molecules"):
        expected, found = (
            read_table(getattr(made, name))[0].replace_schema_metadata(None).combine_chunks() for made in (one, two)
        )
        assert found.to_pandas().equals(expected.to_pandas()), name


def run(*words: object) -> Any:
    return CliRunner().invoke(cli, [str(word) for word in words])


def test_the_advice_of_the_error_links_an_imported_table(tmp_path: Path) -> None:
    columns = blinking()
    pd.DataFrame({"frame": columns["frame"], "x_nm": columns["x_nm"], "y_nm": columns["y_nm"]}).to_csv(
        tmp_path / "theirs.csv", index=False
    )
    table = tmp_path / "ours.parquet"
    assert run("import", tmp_path / "theirs.csv", table, "--pixel-nm", 100).exit_code == 0
    failed = run("link", table)
    assert "--radius-nm" in str(failed.exception)
    linked = run("link", table, "--radius-nm", 60)
    assert linked.exit_code == 0, linked.output
    assert "50 molecules of 200 localizations" in linked.output
    assert "unweighted means" in linked.output
    failed = run("link", table, "--radius-nm", 60, "--gate", 3)
    assert isinstance(failed.exception, ConfigError)
    assert "--radius-nm replaces --gate" in str(failed.exception)
    failed = run("filter", table, tmp_path / "best.parquet", "--best", 0.5)
    assert "sig" in str(failed.exception)
    assert isinstance(failed.exception, TableError)


def test_rows_without_a_position_are_refused_by_frame(write_rows: WriteRows) -> None:
    path = write_rows({"frame": [0, 1], "x_nm": [0, np.nan], "x_sig": [0, 0]})
    with pytest.raises(TableError, match=r"without a position in x and y \(the first in frame 1\)"):
        link(path, gate=Gate(radius_nm=RADIUS_NM))
