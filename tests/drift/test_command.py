"""``lls-decode drift`` from the outside."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lls_decode.pipelines.cli import main
from lls_decode.table import read_metadata

from .conftest import Made

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["drift", *(str(word) for word in words)])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


def test_measure_correct_apply_undo(small_sweeps: Made, tmp_path: Path, run: Run) -> None:
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
    assert "3000 localizations as they were" in out
    assert read_metadata(table) == read_metadata(small_sweeps.path)


BAD = {
    "no table": (["absent.parquet"], 3, "absent.parquet"),
    "onto itself": (["{table}", "--out", "{table}"], 2, "--in-place"),
    "both": (["{table}", "--out", "x.parquet", "--in-place"], 2, "not both"),
    "undo into nothing": (["{table}", "--undo"], 2, "--in-place"),
    "apply into nothing": (["{table}", "--apply", "{table}"], 2, "--in-place"),
    "no curve": (["{table}", "--apply", "{table}", "--out", "x.parquet"], 3, "no column 'dx_nm'"),
    "no place": (["{table}", "--method", "fiducials", "--fiducials", "here"], 2, "'here'"),
    "beads for another method": (["{table}", "--fiducials", "1,2"], 2, "--method fiducials"),
    "nothing corrected": (["{table}", "--undo", "--out", "x.parquet"], 2, "nothing to undo"),
}


@pytest.mark.parametrize(("words", "expected", "says"), BAD.values(), ids=BAD.keys())
def test_bad_usage_is_one_sentence(
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
