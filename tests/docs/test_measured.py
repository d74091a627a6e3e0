"""Figures in the documentation and in README are those that the benchmarks printed."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from .scripts import DOCS, load_script

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
figures = load_script("figures")

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
def test_query_shows_one_figure(query: str) -> None:
    assert figures.show_figure(LINES, query) == FIGURES[query]


@pytest.mark.parametrize("query", REFUSED)
def test_query_without_an_answer_is_refused(query: str) -> None:
    with pytest.raises(figures.NotMeasuredError, match=re.escape(REFUSED[query])):
        figures.show_figure(LINES, query)


def test_missing_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(figures.NotMeasuredError, match=r"expected speed\.jsonl"):
        figures.read_results(tmp_path, "speed")


def test_conditions_of_a_row_apply_to_all_its_queries() -> None:
    table = ["| model | rate |", "|---|---|", "| its best, {more.x} | {rate .0f} | model=a rows>1500"]
    assert list(figures.fill_table(LINES, table)) == [*table[:2], "| its best, 2.5 | 2500 |"]


def test_each_repeats_a_row_for_every_value() -> None:
    table = ["| {model rows=1000} | {rate rows=1000} | {rate? rows=2000} | each model"]
    assert list(figures.fill_table(LINES, table)) == ["| a | 1234567 | 2500 |", "| the other one | 12 |  |"]
    table = ["| {model} {rows} | rows<1500 each model rows"]
    assert list(figures.fill_table(LINES, table)) == ["| a 1000 |", "| the other one 1000 |"]
    with pytest.raises(figures.NotMeasuredError, match="No lines of results for a row"):
        list(figures.fill_table(LINES, ["| {model} | rows>5000 each model"]))


ENTRIES = figures.read_entries()


@pytest.mark.parametrize("page", ENTRIES)
def test_page_shows_the_results_of_the_benchmarks(page: str) -> None:
    """The page is what ``python docs/figures.py`` writes."""
    text = (DOCS / page).read_text(encoding="utf-8")
    assert figures.fill_page(text, ENTRIES[page]) == text, "The page is stale; run python docs/figures.py."


@pytest.mark.parametrize("page", ENTRIES)
def test_every_table_of_a_page_is_measured(page: str) -> None:
    """No table of these pages is typed by hand, and each has at least one row below its header."""
    text = (DOCS / page).read_text(encoding="utf-8")
    tables = [found["body"].splitlines() for found in figures.TABLE.finditer(text)]
    assert len(tables) > 2
    assert all(len(rows) > 2 for rows in tables)
    outside = figures.TABLE.sub("", text)
    assert not [line for line in outside.splitlines() if line.lstrip().startswith("|")]


def test_pages_of_measurements_have_entries() -> None:
    assert {"explanation/accuracy.md", "explanation/speed.md", "explanation/scale.md"} <= set(ENTRIES)


@pytest.mark.parametrize("page", sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")))
def test_page_with_markers_has_an_entry(page: str) -> None:
    """A marker in a page that ``figures.yaml`` does not list would never be filled."""
    text = (DOCS / page).read_text(encoding="utf-8")
    assert page in ENTRIES or not figures.MARKER.search(text)


PAGE = """# Page

<!-- table: rates -->
| stale |
<!-- end -->

The share is ?<!--m share-->, the rate 0\u202f%<!--m rate-->.
"""
FILLED = """# Page

<!-- table: rates -->
| model         | rate      |
| ------------- | --------- |
| a             | 1\u202f234\u202f567 |
| the other one | 12        |
<!-- end -->

The share is 98.1\u202f%<!--m share-->, the rate 1\u202f234\u202f567<!--m rate-->.
"""
TABLES = {
    "rates": {"results": "speed rows=1000", "rows": "| model | rate |\n|---|---|\n| {model} | {rate ,d} | each model"}
}
QUERIES = {"share": "speed share .1% model=a rows=1000", "rate": "speed rate ,d model=a rows=1000"}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with the results ``speed``."""
    (tmp_path / "speed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return tmp_path


def fill(
    text: str,
    folder: Path,
    *,
    queries: Mapping[str, str] = QUERIES,
    tables: Mapping[str, Mapping[str, str]] = TABLES,
) -> str:
    """Return the text with the figures of these entries."""
    entry = figures.PageEntry(queries, {name: figures.TableEntry(**table) for name, table in tables.items()})
    filled: str = figures.fill_page(text, entry, folder)
    return filled


def test_filling_replaces_figures_and_tables(results: Path) -> None:
    assert fill(PAGE, results) == FILLED


def test_filling_a_filled_page_changes_nothing(results: Path) -> None:
    assert fill(FILLED, results) == FILLED


STRAY = {
    "<!--m share--> of them": "marks nothing",
    "of them all\n<!--m share-->": "marks nothing",
    "0<!--m unknown-->": "The figure 'unknown' is not in figures.yaml",
    "<!-- table: unknown -->\n<!-- end -->": "The table 'unknown' is not in figures.yaml",
    "<!-- table: rates -->\n| no end |": "marks nothing",
    "<!-- end -->": "marks nothing",
}


@pytest.mark.parametrize("text", STRAY)
def test_marker_without_counterpart_is_refused(text: str, results: Path) -> None:
    with pytest.raises(figures.MarkerError, match=STRAY[text]):
        fill(f"{PAGE}\n{text}\n", results)


def test_entry_without_marker_is_refused(results: Path) -> None:
    with pytest.raises(figures.MarkerError, match="no marker for figure more"):
        fill(PAGE, results, queries={**QUERIES, "more": "speed share .1% tuned=true"})


def test_figure_of_several_words_is_refused(results: Path) -> None:
    with pytest.raises(figures.MarkerError, match="'the other one', expected one number or word"):
        fill(PAGE, results, queries={**QUERIES, "rate": "speed model tuned=true"})


def test_page_with_a_query_without_answer_is_refused(results: Path) -> None:
    with pytest.raises(figures.NotMeasuredError, match=r"0 lines of results for 'share \.1% model=b'"):
        fill(PAGE, results, queries={**QUERIES, "share": "speed share .1% model=b"})
    with pytest.raises(figures.NotMeasuredError, match=r"expected slow\.jsonl"):
        fill(PAGE, results, queries={**QUERIES, "share": "slow share .1% model=b"})


def test_check_passes_for_the_committed_pages() -> None:
    """``python docs/figures.py --check`` exits with status 0 and prints nothing."""
    done = subprocess.run([sys.executable, DOCS / "figures.py", "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_check_names_a_stale_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check exits with status 1 and writes nothing; filling writes the page, after which the check passes."""
    entry = figures.PageEntry(QUERIES, {name: figures.TableEntry(**table) for name, table in TABLES.items()})
    (tmp_path / "speed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    (tmp_path / "page.md").write_text(PAGE)
    monkeypatch.setattr(figures, "HERE", tmp_path)
    monkeypatch.setattr(figures, "read_entries", lambda: {"page.md": entry})
    monkeypatch.setattr(figures.fill_page, "__defaults__", (tmp_path,))
    assert figures.main(["--check"]) == 1
    assert "page.md does not show the results of the benchmarks; run python docs/figures.py." in capsys.readouterr().err
    assert (tmp_path / "page.md").read_text() == PAGE
    assert figures.main([]) == 0
    assert (tmp_path / "page.md").read_text() == FILLED
    assert figures.main(["--check"]) == 0


README_ROWS = {
    "the demo's cell": ("demo", "score.{} model=lls-paint"),
    "its validation frames": ("models", "{} model=lls-paint"),
    "frames of even density": ("models", "{} model=lls-paint-48"),
    "NAIRR 3DAS_LD": ("nairr", "{} model=nairr-3d"),
    "the same, single frames": ("nairr", "{} model=nairr-3d-single"),
    "2-D STORM simulation": ("models", "{} model=storm-2d"),
}
"""Beginning of each row of README's table; its results and query."""
README_COLUMNS = {3: "jaccard", 4: "rmse_lateral_nm", 5: "rmse_axial_nm", 6: "efficiency"}
README_SENTENCES = {
    r"give ([\d ]+) localizations": ("storm_scmos", "localizations ,d camera='per-pixel maps'"),
    r"([\d.]+) % of them lie on the noisiest": (
        "storm_scmos",
        "share_on_noisiest_1_percent .2% camera='per-pixel maps'",
    ),
    r"differs from the stage by ([\d.]+) nm": ("beads", "z_rms_nm .1f stack='single bead, astigmatic'"),
}


def test_readme_shows_the_results_of_the_benchmarks() -> None:
    """Figures in README are typed by hand, and equal the results to the decimals that README shows."""
    text = (ROOT / "README.md").read_text()
    accuracy = text[text.index("## Accuracy") : text.index("## Beside others")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in accuracy.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(README_ROWS)
    for cells, (begin, (name, query)) in zip(rows[2:], README_ROWS.items(), strict=True):
        assert cells[0].startswith(begin)
        assert f"model={cells[1].strip('`')}" == query.split()[-1]
        lines = figures.read_results(RESULTS, name)
        for column, field in README_COLUMNS.items():
            decimals = len(cells[column].partition(".")[2])
            assert cells[column] == figures.show_figure(lines, f"{query.format(field)} .{decimals}f"), cells
    for pattern, (name, query) in README_SENTENCES.items():
        (found,) = re.findall(pattern, accuracy)
        shown = figures.show_figure(figures.read_results(RESULTS, name), query)
        assert found == shown.removesuffix("%").replace(figures.THIN_SPACE, " ").strip()
