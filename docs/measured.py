"""Figures of the benchmarks for the pages: a query becomes what was measured, or an error.

Results are JSON lines, one file a benchmark. A query names a field of the one line that its conditions leave, and how
to show it::

    rms_nm .1f kind=accuracy rows<10000 stack='lattice light-sheet'

Conditions are ``key=value``, ``key<value`` and ``key>value`` (values are JSON, else text; a missing key is null).
``min``, ``max`` and ``mean`` are over all lines that are left. The rest is a Python format; ``.2d`` are two significant
digits of a whole number, ``.2M`` of millions. Parts of a field follow a point (``rms_nm.0``), lists are shown value by
value. A field with a question mark (``mpx_per_s?``) is left empty where no line is left. Sphinx is in `measured_pages`.
"""

import json
import math
import operator
import re
import shlex
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"=": operator.eq, "<": operator.lt, ">": operator.gt}
TOGETHER: dict[str, Callable[[list[Any]], Any]] = {"min": min, "max": max, "mean": statistics.fmean}
THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"


class NotMeasuredError(ValueError):
    """There is no such figure among the results."""


def read_results(folder: Path, name: str) -> list[Line]:
    """Lines of a benchmark's results.

    Raises
    ------
    NotMeasuredError
        There are none.
    """
    path = folder / f"{name}.jsonl"
    if not path.is_file():
        raise NotMeasuredError(f"There are no results {name!r}; expected {path.name}, as the benchmark prints it.")
    return [json.loads(text) for text in path.read_text().splitlines()]


def fill_table(lines: Sequence[Line], rows: Iterable[str]) -> Iterator[str]:
    """A Markdown table whose cells hold queries in braces.

    Behind a row's last bar stand conditions of all its queries, and ``each KEY ...`` for a row that is repeated for
    each value of the keys, in the order of the lines.

    Raises
    ------
    NotMeasuredError
        As `show_figure`.
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
    """The figure of a query.

    Raises
    ------
    NotMeasuredError
        No line is left, or several are; or the line has no such field.
    """
    field, *others = shlex.split(query)
    conditions = [other for other in others if re.search("[=<>]", other)]
    ways = [other for other in others if other in TOGETHER]
    specs = [other for other in others if other not in conditions and other not in ways]
    kept = select(lines, conditions)
    if field.endswith("?") and not kept:
        return ""
    if not kept or (len(kept) > 1 and not ways):
        raise NotMeasuredError(f"{len(kept)} lines of results for {query!r}, expected one; change its conditions.")
    values = [find(line, field.removesuffix("?")) for line in kept]
    return show(TOGETHER[ways[0]](values) if ways else values[0], "".join(specs))


def select(lines: Sequence[Line], conditions: Iterable[str]) -> list[Line]:
    """Lines for which all conditions hold.

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
    """Lines with equal values of the keys, together."""
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        groups.setdefault(tuple(json.dumps(line.get(key)) for key in keys), []).append(line)
    yield from groups.values()


def find(line: Line, field: str) -> Any:
    """A value by the path of its field."""
    value: Any = line
    for part in field.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (IndexError, KeyError, TypeError, ValueError):
            raise NotMeasuredError(f"A line of results has no field {field!r}; it has {', '.join(line)}.") from None
    return value


def show(value: Any, spec: str) -> str:
    """A value as the pages write it: 1 234 567, 47 M, 98.1 %, – where there is none."""
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
