"""Fill the figures of benchmarks into the documentation pages, or check that none is stale.

    python docs/figures.py            # write the current figures into the pages
    python docs/figures.py --check    # exit with status 1 when a page shows other figures

The pages hold plain numbers, readable wherever Markdown is shown. HTML comments tie a number or a table to its entry
in ``figures.yaml``, which holds a section for each page:

* ``40 000<!--m steps-->`` is a figure in a sentence. The number, with its thin spaces and its percent sign, is what
  stands in front of the comment; ``steps`` is a key of the page's ``figures``.
* A table stands between the lines ``<!-- table: density -->`` and ``<!-- end -->``; ``density`` is a key of the page's
  ``tables``.

Results are JSON lines in ``benchmarks/results``, one file for each benchmark. An entry of ``figures`` is the name of
the results and a query::

    accuracy rms_nm .1f kind=beads rows<10000 stack='lattice light-sheet'

The query names a field and conditions that leave exactly one line of the results. Conditions are ``key=value``,
``key<value`` and ``key>value``; values are JSON, else text, and a missing key is null. ``min``, ``max`` and ``mean``
are taken over all lines that are left. What remains is a Python format; ``.2d`` stands for two significant digits of
a whole number and ``.2M`` for two significant digits in millions. A point leads into a nested field or a list
(``rms_nm.0``); a list is shown value by value. A field that ends with a question mark is empty where no line is left.

An entry of ``tables`` has ``results`` (a name and conditions) and ``rows``: a Markdown table whose cells hold queries
in braces. Conditions after the last bar of a row apply to all its queries; ``each KEY ...`` repeats a row for each
value of the keys, in the order of the results.
"""

import json
import math
import operator
import re
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from refilling import refill, wants_check

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "benchmarks" / "results"

Line = dict[str, Any]
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"=": operator.eq, "<": operator.lt, ">": operator.gt}
TOGETHER: dict[str, Callable[[list[Any]], Any]] = {"min": min, "max": max, "mean": statistics.fmean}
THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"
TABLE = re.compile(r"^<!-- table: (?P<name>[\w-]+) -->\n(?P<body>.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)
FIGURE = re.compile(rf"(?P<value>[^\s(>]+(?:{THIN_SPACE}[^\s(>]+)*)<!--m (?P<name>[\w.-]+)-->")
MARKER = re.compile(r"<!--m [^>]*-->|<!-- table:[^>]*-->|<!-- end -->")


class NotMeasuredError(ValueError):
    """A query that the results do not answer."""


class MarkerError(ValueError):
    """A marker of a page, or an entry of ``figures.yaml``, that has no counterpart."""


@dataclass(frozen=True)
class TableEntry:
    """Entry of ``figures.yaml`` for one table."""

    results: str
    """Name of the results, and conditions of the whole table."""
    rows: str
    """Markdown table with queries in braces."""


@dataclass(frozen=True)
class PageEntry:
    """Section of ``figures.yaml`` for one page."""

    figures: Mapping[str, str] = field(default_factory=dict)
    """Name of the results and query, by the name in the marker."""
    tables: Mapping[str, TableEntry] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill or check all pages, and return the exit status."""
    check = wants_check(__doc__, arguments)
    status = 0
    stale = "does not show the results of the benchmarks; run python docs/figures.py."
    for page, entry in read_entries().items():
        path = HERE / page
        try:
            text = fill_page(path.read_text(encoding="utf-8"), entry)
        except ValueError as error:
            print(f"{page}: {error}", file=sys.stderr)
            status = 1
        else:
            status |= refill(path, text, name=page, stale=stale, check=check)
    return status


def read_entries(path: Path = HERE / "figures.yaml") -> dict[str, PageEntry]:
    """Return the sections of ``figures.yaml`` by page."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        page: PageEntry(
            figures=section.get("figures", {}),
            tables={name: TableEntry(**table) for name, table in section.get("tables", {}).items()},
        )
        for page, section in document.items()
    }


def fill_page(text: str, entry: PageEntry, folder: Path = RESULTS) -> str:
    """Return the text of a page with the figures and tables of its entry.

    Raises
    ------
    NotMeasuredError
        The results do not answer a query.
    MarkerError
        A marker has no entry, or none of the right form; or an entry has no marker.
    """
    used: set[str] = set()

    def table(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in entry.tables:
            raise MarkerError(f"The table {name!r} is not in figures.yaml; add it to this page's tables.")
        used.add(f"table {name}")
        results, *conditions = shlex.split(entry.tables[name].results)
        lines = select(read_results(folder, results), conditions)
        rows = align(fill_table(lines, entry.tables[name].rows.splitlines()))
        return "\n".join([f"<!-- table: {name} -->", *rows, "<!-- end -->"])

    def figure(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in entry.figures:
            raise MarkerError(f"The figure {name!r} is not in figures.yaml; add it to this page's figures.")
        used.add(f"figure {name}")
        results, _, query = entry.figures[name].partition(" ")
        shown = show_figure(read_results(folder, results), query)
        if not re.fullmatch(FIGURE, f"{shown}<!--m {name}-->"):
            raise MarkerError(f"The figure {name!r} is {shown!r}, expected one number or word; show it in a table.")
        return f"{shown}<!--m {name}-->"

    rest = FIGURE.sub("", TABLE.sub("", text))
    if stray := MARKER.search(rest):
        raise MarkerError(
            f"The marker {stray[0]} marks nothing; expected VALUE<!--m NAME-->, or a table between the lines "
            "<!-- table: NAME --> and <!-- end -->."
        )
    filled = FIGURE.sub(figure, TABLE.sub(table, text))
    known = {f"figure {name}" for name in entry.figures} | {f"table {name}" for name in entry.tables}
    if unused := sorted(known - used):
        raise MarkerError(f"The page has no marker for {', '.join(unused)}; remove the entries from figures.yaml.")
    return filled


def align(rows: Iterable[str]) -> list[str]:
    """Return the rows of a Markdown table with cells padded to the width of their column."""
    cells = [[cell.strip() for cell in row.strip().removeprefix("|").removesuffix("|").split("|")] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return [f"| {' | '.join(map(_pad, row, widths))} |" for row in cells]


def _pad(cell: str, width: int) -> str:
    return "-" * width if re.fullmatch("-+", cell) else cell.ljust(width)


def read_results(folder: Path, name: str) -> list[Line]:
    """Return the lines of a benchmark's results.

    Raises
    ------
    NotMeasuredError
        The file does not exist.
    """
    path = folder / f"{name}.jsonl"
    if not path.is_file():
        raise NotMeasuredError(f"There are no results {name!r}; expected {path.name}, as the benchmark prints it.")
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]


def fill_table(lines: Sequence[Line], rows: Iterable[str]) -> Iterator[str]:
    """Yield the rows of a Markdown table with figures in place of the queries in braces.

    Raises
    ------
    NotMeasuredError
        The lines do not answer a query, or a row with ``each`` has no lines.
    """
    for row in rows:
        cells, bar, behind = row.rpartition("|")
        conditions, each, keys = behind.partition("each ")
        kept = select(lines, shlex.split(conditions))
        if each and not kept:
            raise NotMeasuredError(f"No lines of results for a row of {cells!r}; change its conditions.")
        for some in split_by(kept, keys.split()) if each else [kept]:
            parts = re.split(r"\{(.*?)\}", cells + bar)
            parts[1::2] = [show_figure(some, query) for query in parts[1::2]]
            yield "".join(parts)


def show_figure(lines: Sequence[Line], query: str) -> str:
    """Return the figure that a query names, as text.

    Raises
    ------
    NotMeasuredError
        The conditions leave no line or several lines, or the line has no such field.
    """
    name, *others = shlex.split(query)
    conditions = [other for other in others if re.search("[=<>]", other)]
    ways = [other for other in others if other in TOGETHER]
    specs = [other for other in others if other not in conditions and other not in ways]
    kept = select(lines, conditions)
    if name.endswith("?") and not kept:
        return ""
    if not kept or (len(kept) > 1 and not ways):
        raise NotMeasuredError(f"{len(kept)} lines of results for {query!r}, expected one; change its conditions.")
    values = [find(line, name.removesuffix("?")) for line in kept]
    return show(TOGETHER[ways[0]](values) if ways else values[0], "".join(specs))


def select(lines: Sequence[Line], conditions: Iterable[str]) -> list[Line]:
    """Return the lines that meet all conditions.

    Raises
    ------
    NotMeasuredError
        No line has the key of a condition.
    """
    kept = list(lines)
    for condition in conditions:
        key, sign, text = re.split("([=<>])", condition, maxsplit=1)
        if not any(key in line for line in lines):
            raise NotMeasuredError(f"No line of results has the key of the condition {condition!r}.")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        comparable = [line for line in kept if sign == "=" or isinstance(line.get(key), int | float)]
        kept = [line for line in comparable if OPERATORS[sign](line.get(key), value)]
    return kept


def split_by(lines: Sequence[Line], keys: Sequence[str]) -> Iterator[list[Line]]:
    """Yield the lines grouped by their values of the keys."""
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        groups.setdefault(tuple(json.dumps(line.get(key)) for key in keys), []).append(line)
    yield from groups.values()


def find(line: Line, path: str) -> Any:
    """Return the value of a field, which may lie inside other fields."""
    value: Any = line
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (IndexError, KeyError, TypeError, ValueError):
            raise NotMeasuredError(f"A line of results has no field {path!r}; it has {', '.join(line)}.") from None
    return value


def show(value: Any, spec: str) -> str:
    """Return a value as the pages write it: 1 234 567, 47 M, 98.1 %, – for a missing value."""
    if isinstance(value, list):
        return " ".join(show(one, spec) for one in value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "\N{EN DASH}"
    if isinstance(value, str):
        return value
    if spec.startswith(".") and spec.endswith("M"):
        return f"{value / 1e6:{spec[:-1]}g}{THIN_SPACE}M"
    if spec.startswith(".") and spec.endswith("d"):
        value, spec = float(f"{value:{spec[:-1]}g}"), ",.0f"
    return format(value, spec).replace(",", THIN_SPACE).replace("%", f"{THIN_SPACE}%")


if __name__ == "__main__":
    sys.exit(main())
