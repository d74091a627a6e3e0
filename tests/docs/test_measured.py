"""The pages of figures show what the benchmarks printed, and nothing else."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
_SPEC = importlib.util.spec_from_file_location("measured", ROOT / "docs" / "measured.py")
assert _SPEC is not None
assert _SPEC.loader is not None
measured = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(measured)

LINES = [
    {
        "model": "a",
        "rows": 1000,
        "rate": 1234567,
        "share": 0.981,
        "error_nm": [1.26, 2.0],
        "z": None,
        "more": {"x": 1.5},
    },
    {"model": "a", "rows": 2000, "rate": 2500, "share": 0.5, "error_nm": [3.0, 4.0], "z": 7.0, "more": {"x": 2.5}},
    {"model": "the other one", "rows": 1000, "rate": 12, "share": float("nan"), "error_nm": [5.0, 6.0], "tuned": True},
]

FIGURES = {
    "rate model=a rows=1000": "1234567",
    "rate ,d model=a rows=1000": "1\u202f234\u202f567",
    "rate .2d model=a rows=1000": "1\u202f200\u202f000",
    "rate .2M model=a rows=1000": "1.2\u202fM",
    "rate .0f tuned=true": "12",
    "rate .0f model=a tuned=null rows>1500": "2500",
    "rate model='the other one' rows<1500": "12",
    "share .1% model=a rows=1000": "98.1\u202f%",
    "share .1% tuned=true": "\N{EN DASH}",
    "z .1f model=a rows=1000": "\N{EN DASH}",
    "error_nm .1f model=a rows=1000": "1.3 2.0",
    "error_nm.1 .1f model=a rows=1000": "2.0",
    "more.x mean .1f model=a": "2.0",
    "rate min model=a": "2500",
    "rate max model=a": "1234567",
    "rate? model=b": "",
    "model tuned=true": "the other one",
}

REFUSED = {
    "rate model=b": "0 lines",
    "rate model=a": "2 lines",
    "rate? model=a": "2 lines",
    "rate modle=a": "No line of results has the key of the condition 'modle=a'",
    "speed model=a rows=1000": "no field 'speed'",
    "speed? model=a rows=1000": "no field 'speed'",
    "error_nm.2 model=a rows=1000": "no field 'error_nm.2'",
    "more.y mean model=a": "no field 'more.y'",
}


@pytest.mark.parametrize("query", FIGURES)
def test_figures(query: str) -> None:
    assert measured.show_figure(LINES, query) == FIGURES[query]


@pytest.mark.parametrize("query", REFUSED)
def test_what_was_not_measured_is_refused(query: str) -> None:
    with pytest.raises(measured.NotMeasuredError, match=re.escape(REFUSED[query])):
        measured.show_figure(LINES, query)


def test_results_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(measured.NotMeasuredError, match=r"expected speed\.jsonl"):
        measured.read_results(tmp_path, "speed")


def test_rows_of_a_table() -> None:
    table = ["| model | rate |", "|---|---|", "| its best, {more.x} | {rate .0f} | model=a rows>1500"]
    assert list(measured.fill_table(LINES, table)) == [*table[:2], "| its best, 2.5 | 2500 |"]


def test_a_row_for_each_value() -> None:
    table = ["| {model rows=1000} | {rate rows=1000} | {rate? rows=2000} | each model"]
    assert list(measured.fill_table(LINES, table)) == ["| a | 1234567 | 2500 |", "| the other one | 12 |  |"]
    table = ["| {model} {rows} | rows<1500 each model rows"]
    assert list(measured.fill_table(LINES, table)) == ["| a 1000 |", "| the other one 1000 |"]
    with pytest.raises(measured.NotMeasuredError, match="No lines of results for a row"):
        list(measured.fill_table(LINES, ["| {model} | rows>5000 each model"]))


@pytest.mark.parametrize("page", ["speed.md", "accuracy.md", "scale.md"])
def test_tables_of_the_pages_are_measured(page: str) -> None:
    """No table is typed, and every figure is among the results."""
    text = (ROOT / "docs" / "explanation" / page).read_text()
    tables = re.findall(r"^```\{measured\} (.*)\n((?:.*\n)*?)```$", text, re.MULTILINE)
    assert len(tables) > 2
    for argument, body in tables:
        name, *conditions = shlex.split(argument)
        lines = measured.select(measured.read_results(RESULTS, name), conditions)
        assert len(list(measured.fill_table(lines, body.splitlines()))) > 2
    roles = re.findall(r"\{measured\}`(\S+) ([^`]*)`", text)
    assert roles
    for name, query in roles:
        assert measured.show_figure(measured.read_results(RESULTS, name), query)
    outside = re.sub(r"^```.*\n(?:.*\n)*?```$", "", text, flags=re.MULTILINE)
    assert not [line for line in outside.splitlines() if line.lstrip().startswith("|")]


README_ROWS = {
    "the demo's cell": ("demo", "score.{} model=lls-paint"),
    "its validation frames": ("models", "{} model=lls-paint"),
    "the same frames": ("models", "{} model=lls-paint-48"),
    "NAIRR 3DAS_LD": ("nairr", "{} model=nairr-3d"),
    "the same, single frames": ("nairr", "{} model=nairr-3d-single"),
    "2-D STORM simulation": ("models", "{} model=storm-2d"),
}
"""How a row of README's table begins; the results that it shows."""
README_COLUMNS = {3: "jaccard", 4: "rmse_lateral_nm", 5: "rmse_axial_nm", 6: "efficiency"}
README_SENTENCES = {
    r"give ([\d ]+) localizations": ("storm_scmos", "localizations ,d camera='per-pixel maps'"),
    r"([\d.]+) % of them lie on the noisiest": (
        "storm_scmos",
        "share_on_noisiest_1_percent .2% camera='per-pixel maps'",
    ),
    r"differs from the stage by ([\d.]+) nm": ("beads", "z_rms_nm .1f stack='single bead, astigmatic'"),
}


def test_readme_shows_what_was_measured() -> None:
    """Its figures are typed, since nothing fills them in where people read it; they are those of the results."""
    text = (ROOT / "README.md").read_text()
    accuracy = text[text.index("## Accuracy") : text.index("## Beside others")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in accuracy.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(README_ROWS)
    for cells, (begin, (name, query)) in zip(rows[2:], README_ROWS.items(), strict=True):
        assert cells[0].startswith(begin)
        assert f"model={cells[1].strip('`')}" == query.split()[-1]
        lines = measured.read_results(RESULTS, name)
        for column, field in README_COLUMNS.items():
            decimals = len(cells[column].partition(".")[2])
            assert cells[column] == measured.show_figure(lines, f"{query.format(field)} .{decimals}f"), cells
    for pattern, (name, query) in README_SENTENCES.items():
        (found,) = re.findall(pattern, accuracy)
        shown = measured.show_figure(measured.read_results(RESULTS, name), query)
        assert found == shown.removesuffix("%").replace(measured.THIN_SPACE, " ").strip()


PAGE = """# Page

```{{measured}} speed rows=1000
| model | rate |
|---|---|
| {{model}} | {{{field} ,d}} | each model
```

Of it all {{measured}}`speed share .1% {condition} rows=1000`.
"""


@pytest.mark.parametrize(
    ("field", "condition", "warning"),
    [
        ("rate", "model=a", ""),
        ("speed", "model=a", "index.md:3: WARNING: A line of results has no field 'speed'"),
        ("rate", "model=b", "index.md:9: WARNING: 0 lines of results for 'share .1% model=b rows=1000'"),
    ],
)
def test_a_page(field: str, condition: str, warning: str, tmp_path: Path) -> None:
    """Sphinx puts table and figure into the page; what was not measured fails the build."""
    pytest.importorskip("myst_parser")
    (tmp_path / "speed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    (tmp_path / "index.md").write_text(PAGE.format(field=field, condition=condition))
    settings = ["import sys", f"sys.path.insert(0, {str(ROOT / 'docs')!r})", f"measured_folder = {str(tmp_path)!r}"]
    (tmp_path / "conf.py").write_text("\n".join([*settings, "extensions = ['myst_parser', 'measured_pages']"]))
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "text", tmp_path, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert warning in done.stderr
    assert (done.returncode == 0) == (not warning), done.stderr
    if not warning:
        text = (tmp_path / "out" / "index.txt").read_text()
        assert re.search(r"\| model +\| rate +\|", text)
        assert re.search("\\| a +\\| 1\u202f234\u202f567 +\\|", text)
        assert re.search(r"\| the other one +\| 12 +\|", text)
        assert "Of it all 98.1\u202f%." in text
