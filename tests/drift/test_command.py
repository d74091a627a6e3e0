"""The command ``lls-decode drift``: options, output, written files and errors."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lls_decode.pipelines.cli import main
from lls_decode.table import read_metadata

from .conftest import Made, walking_bead, wandering, write_movie

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["drift", *(str(word) for word in words)])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


def test_drift_is_estimated_corrected_applied_and_undone(small_sweeps: Made, tmp_path: Path, run: Run) -> None:
    table = tmp_path / "table.parquet"
    table.write_bytes(small_sweeps.path.read_bytes())
    status, out, _ = run(table, "--windows", "3", "--out", tmp_path / "out.parquet", "--json")
    assert status == 0
    values = json.loads(out)
    assert values["method"] == "rcc"
    assert values["num_windows"] == 3
    assert {"table_drift.parquet", "table_drift.png", "out.parquet"} == {Path(p).name for p in values["written"]}
    assert all(Path(path).exists() for path in values["written"])
    status, *_ = run(table, "--apply", tmp_path / "table_drift.parquet", "--in-place")
    assert status == 0
    assert table.read_bytes() == (tmp_path / "out.parquet").read_bytes()
    status, out, _ = run(table, "--undo", "--in-place")
    assert status == 0
    assert "3000 localizations restored" in out
    assert read_metadata(table) == read_metadata(small_sweeps.path)


def test_a_curve_of_a_part_is_applied_to_the_whole_table(tmp_path: Path, run: Run) -> None:
    """The command prints how many rows are outside the curve and which shift they got."""
    made = write_movie(tmp_path / "all.parquet", 4000, wandering(60))
    volume = made.volumes()
    rows = np.column_stack([np.arange(2, 58), made.drift_V3[2:58]])
    np.savetxt(tmp_path / "c.csv", rows, delimiter=",", header="volume,dx_nm,dy_nm,dz_nm", comments="")
    words = (made.path, "--apply", tmp_path / "c.csv", "--out", tmp_path / "out.parquet")
    status, out, _ = run(*words)
    assert status == 0
    assert f"Of 4000 rows, {(volume < 2).sum()} rows lie before the first volume of the curve" in out
    assert f"{made.drift_V3[57, 0]:.1f}" in out
    assert "it helps" in out
    status, out, _ = run(*words, "--json")
    assert status == 0
    values = json.loads(out)
    assert values["rows_after"] == (volume > 57).sum()
    assert values["helps"] == "better"
    status, _, err = run(tmp_path / "out.parquet", "--apply", tmp_path / "c.csv", "--out", tmp_path / "twice.parquet")
    assert status == 2
    assert "already" in err
    assert not (tmp_path / "twice.parquet").exists()


def test_a_correction_that_makes_the_table_worse_is_not_written(tmp_path: Path, run: Run) -> None:
    made = walking_bead(tmp_path / "t.parquet")
    words = (made, "--method", "fiducials", "--fiducials=-20000,-20000", "--radius-nm", "2000")
    status, out, _ = run(*words)
    assert status == 0
    assert "it makes the table worse" in out
    assert "is the only one" in out
    status, _, err = run(*words, "--out", tmp_path / "out.parquet")
    assert status == 3
    assert "makes the table worse" in err
    assert not (tmp_path / "out.parquet").exists()
    status, out, _ = run(*words, "--out", tmp_path / "out.parquet", "--force")
    assert status == 0
    assert (tmp_path / "out.parquet").exists()


BAD = {
    "no table": (["absent.parquet"], 3, "absent.parquet"),
    "output is the input": (["{table}", "--out", "{table}"], 2, "--in-place"),
    "two outputs": (["{table}", "--out", "x.parquet", "--in-place"], 2, "not both"),
    "undo without output": (["{table}", "--undo"], 2, "--in-place"),
    "apply without output": (["{table}", "--apply", "{table}"], 2, "--in-place"),
    "not a curve": (["{table}", "--apply", "{table}", "--out", "x.parquet"], 3, "no column 'dx_nm'"),
    "invalid position of a fiducial": (["{table}", "--method", "fiducials", "--fiducials", "here"], 2, "'here'"),
    "fiducials for another method": (["{table}", "--fiducials", "1,2"], 2, "--method fiducials"),
    "windows of a given curve": (
        ["{table}", "--apply", "c.csv", "--out", "x.parquet", "--windows", "3"],
        2,
        "--windows",
    ),
    "picture of a given curve": (["{table}", "--apply", "c.csv", "--out", "x.parquet", "--png", "c.png"], 2, "--png"),
    "undo of a given curve": (["{table}", "--undo", "--apply", "c.csv", "--in-place"], 2, "--apply has no effect"),
    "undo without correction": (["{table}", "--undo", "--out", "x.parquet"], 2, "nothing to undo"),
}


@pytest.mark.parametrize(("words", "expected", "says"), BAD.values(), ids=BAD.keys())
def test_wrong_usage_is_reported_without_a_traceback(
    words: list[str],
    expected: int,
    says: str,
    small_sweeps: Made,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run(*(word.format(table=small_sweeps.path) for word in words))
    assert status == expected
    assert says in err
    assert "Traceback" not in err


def test_no_z_is_printed_for_a_two_dimensional_table(tmp_path: Path, run: Run) -> None:
    made = write_movie(tmp_path / "t.parquet", 4000, wandering(60), flat=True)
    status, out, _ = run(made.path, "--windows", "3", "--json")
    assert status == 0
    values = json.loads(out)
    assert [len(values[name]) for name in ("range_nm", "uncertainty_nm", "residual_nm")] == [2, 2, 2]
    assert "z_nm" not in out
