"""Files of a run folder are read only through the types of ``journal/``; no other module uses the keys of these files.

mypy refuses a string as the index of a record or an event. These tests also find lookups in values of type ``Any``, and
modules that read the JSON files without the journal.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
READING = {"read_record", "read_run", "read_ledger", "read_events", "read_own_record", "parse_event", "EventReader"}
"""Functions and classes that return a record or events."""
FILES = ("run.json", "ledger.jsonl", "events.jsonl", '{"event"')
SOURCES = sorted(
    path
    for folder in ("pipelines", "cluster", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if path.parent != ROOT / "pipelines" / "journal"
)


def reads(node: ast.AST, known: set[str]) -> bool:
    """Return whether an expression uses a record or an event."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and inner.id in known | READING:
            return True
        if isinstance(inner, ast.Attribute) and inner.attr in READING | {"record", "_record"}:
            return True
    return False


def names(target: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}


def known_names(function: ast.AST) -> set[str]:
    """Return the names of records and events in a function, by convention or because of their assignment."""
    known = {"record", "event", "ledger"}
    for _ in range(3):  # repeated, because in a loop a name may be used above the line that assigns it
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and reads(node.value, known):
                known |= {name for target in node.targets for name in names(target)}
            elif isinstance(node, ast.For | ast.comprehension) and reads(node.iter, known):
                known |= names(node.target)
    return known


def journal_is_used(tree: ast.AST) -> bool:
    """Return whether a module imports the journal or a module that reads it."""
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return any(module.endswith(("reader", "ownership")) or ".journal" in module for module in modules)


def is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def direct(node: ast.AST, known: set[str]) -> bool:
    """Return whether an expression is a record or an event, or an item or field of one.

    Results of other functions that take a record or an event do not count.
    """
    while isinstance(node, ast.Subscript | ast.Attribute):
        if isinstance(node, ast.Attribute):
            return node.attr in {"record", "_record"}
        node = node.value
    if isinstance(node, ast.Call):
        return reads(node.func, set())
    return isinstance(node, ast.Name) and node.id in known


def find_untyped(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that look up a string key in a record or an event."""
    if not journal_is_used(tree):
        return
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for function in functions:
        known = known_names(function)
        for node in ast.walk(function):
            if isinstance(node, ast.Subscript) and is_string(node.slice) and direct(node.value, known):
                yield node.lineno
            call = node.func if isinstance(node, ast.Call) and node.args and is_string(node.args[0]) else None
            if isinstance(call, ast.Attribute) and call.attr == "get" and direct(call.value, known):
                yield node.lineno


def find_files(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that name a file of the journal, or the beginning of its lines, outside of texts."""
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Constant) else None
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        if isinstance(text, str) and text.startswith(FILES) and " " not in text:
            yield node.lineno


UNTYPED = {
    "record by key": 'record = folder.read_record()\n    return record["dataset"]',
    "record by get": 'found = RunFolder(out).read_run()\n    return found.get("dataset")',
    "in one expression": 'return folder.read_run()["dataset"]',
    "attribute": 'return reader.record["layout"]',
    "nested": 'return reader.record["model"]["name"]',
    "line of a ledger": 'lines, broken = folder.read_ledger()\n    return [line["rows"] for line in lines]',
    "loop": 'for line in EventReader(path).read():\n        print(line.get("at", 0))',
    "argument": 'return event["at"]',
}
TYPED = {
    "record": "return folder.read_run().dataset",
    "inside of a record": 'return folder.read_run().table_metadata.input.get("identity")',
    "event": "return [event.rows for event in folder.read_ledger()[0]]",
    "another mapping": 'record = folder.read_run()\n    return cells["rows"] or manifest.get("rows")',
}


def module(body: str) -> ast.AST:
    return ast.parse(f"from lls_decode.pipelines.journal.folder import RunFolder\ndef f(event):\n    {body}\n")


@pytest.mark.parametrize("body", UNTYPED.values(), ids=UNTYPED.keys())
def test_lookup_by_a_string_is_found(body: str) -> None:
    assert list(find_untyped(module(body)))


@pytest.mark.parametrize("body", TYPED.values(), ids=TYPED.keys())
def test_typed_reading_is_allowed(body: str) -> None:
    assert not list(find_untyped(module(body)))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_records_and_events_are_read_by_their_types(path: Path) -> None:
    lines = list(find_untyped(ast.parse(path.read_text())))
    assert not lines, f"{path}:{lines} look up a key of a run record or an event; read it as RunRecord or as its event"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_journal_names_its_files(path: Path) -> None:
    lines = list(find_files(ast.parse(path.read_text())))
    assert not lines, f"{path}:{lines} name a file of the journal; use the paths and functions of RunFolder"
