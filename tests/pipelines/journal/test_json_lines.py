"""Events are read back as they were written; damaged lines and lines of later versions are skipped."""

import dataclasses
import json
import os
import re
import typing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lls_decode.pipelines.journal import events as events_module
from lls_decode.pipelines.journal.events import (
    BlockDone,
    BlockFailed,
    Event,
    Merged,
    RunFinished,
    RunInterrupted,
    RunStarted,
    WorkersExamined,
)
from lls_decode.pipelines.journal.json_lines import (
    EventReader,
    EventWriter,
    find_latest,
    format_event,
    parse_event,
    read_events,
)

KINDS = Event.__subclasses__()
TEXTS = st.text() | st.just("caf\udce9.zarr")
"""Texts, including a file name that is not UTF-8 in Python's representation."""
OPTIONAL: dict[type[Event], set[str]] = {
    BlockDone: {"gpu_bytes", "lost", "frames_lost", "filled", "reason"},
    WorkersExamined: {"devices", "workers", "network"},
    Merged: {"bytes", "crc32"},
}
"""Fields with a default that the examples contain."""
RANGES = st.tuples(st.integers(0, 10**9), st.integers(0, 10**9))
VALUES: dict[object, st.SearchStrategy[object]] = {
    float: st.floats(allow_nan=False, allow_infinity=False),
    int: st.integers(min_value=-(2**63), max_value=2**63 - 1),
    str: TEXTS,
    bool: st.booleans(),
    int | None: st.none() | st.integers(min_value=0, max_value=2**63 - 1),
    tuple[int, int]: RANGES,
    tuple[int, ...]: st.lists(st.integers(0, 10**9), max_size=3).map(tuple),
    tuple[str, ...]: st.lists(st.text(), max_size=3).map(tuple),
    tuple[tuple[int, int], ...]: st.lists(RANGES, max_size=3).map(tuple),
}


def events(kind: type[Event]) -> st.SearchStrategy[Event]:
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{field.name: VALUES[hints[field.name]] for field in dataclasses.fields(kind)})


def example(kind: type[Event]) -> Event:
    values = {
        float: 1.5,
        int: 3,
        str: "so",
        bool: True,
        int | None: 7,
        tuple[int, int]: (0, 2),
        tuple[int, ...]: (2, 1),
        tuple[str, ...]: ("one", "other"),
        tuple[tuple[int, int], ...]: ((3, 5),),
    }
    return kind(**{name: values[hint] for name, hint in typing.get_type_hints(kind).items()})


def test_every_kind_of_event_is_tested() -> None:
    defined = [kind for kind in vars(events_module).values() if isinstance(kind, type) and issubclass(kind, Event)]
    assert set(KINDS) == set(defined) - {Event}


@settings(deadline=None)
@given(st.one_of([events(kind) for kind in KINDS]))
def test_event_is_read_as_it_was_written(event: Event) -> None:
    line = format_event(event)
    assert line.count(b"\n") == 1
    found = parse_event(line)
    assert found == event
    assert type(found) is type(event)
    for field in dataclasses.fields(event):
        assert type(getattr(found, field.name)) is type(getattr(event, field.name))
    assert parse_event(json.dumps(dict(reversed(event.to_dict().items())), indent=None).encode()) == event


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_line_is_refused(kind: type[Event]) -> None:
    line = format_event(example(kind)).rstrip()
    for stop in range(len(line)):
        with pytest.raises(ValueError, match=r"."):
            parse_event(line[:stop])


@pytest.mark.parametrize("kind", KINDS)
def test_line_without_a_required_field_is_refused(kind: type[Event]) -> None:
    values = example(kind).to_dict()
    needed = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
    optional = OPTIONAL.get(kind, set())
    assert needed | optional | {"event"} == values.keys()
    for name in needed:
        with pytest.raises(ValueError, match=r"."):
            parse_event(json.dumps({key: value for key, value in values.items() if key != name}).encode())


@pytest.mark.parametrize(
    "line",
    ["", "null", "[1]", "3", '{"event":"BlockDone"', '{"event":"OfALaterVersion","at":3', "#" * 40, '{"event":"RunSta'],
)
def test_line_that_is_not_an_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_event(line.encode())


def test_value_of_a_wrong_type_is_refused() -> None:
    values = example(BlockDone).to_dict()
    for wrong in ({"rows": None}, {"rows": "many"}, {"worker": 3}, {"read_s": [1]}, {"block": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            parse_event(json.dumps({**values, **wrong}).encode())


def test_kinds_and_fields_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    path, event = tmp_path / "ledger.jsonl", example(BlockDone)
    with path.open("w") as file:
        for values in ({"event": "OfALaterVersion", "at": 3, "colour": "red"}, {"no": "kind"},
                       {**event.to_dict(), "of_a_later_version": [1]}):  # fmt: skip
            file.write(json.dumps(values) + "\n")
    assert read_events(path) == ([event], 0)
    reader = EventReader(path)
    assert list(reader.read()) == [event]
    assert (reader.broken, reader.unfinished) == (0, False)


def test_ledger_with_a_truncated_line_loses_only_this_line(tmp_path: Path) -> None:
    """The program is killed while it writes its second line, and restarted: two lines are complete, one is lost."""
    path, events_ = tmp_path / "ledger.jsonl", [dataclasses.replace(example(BlockDone), block=n) for n in range(3)]
    path.write_bytes(format_event(events_[0]) + format_event(events_[1])[:-20])
    reader = EventReader(path)
    assert list(reader.read()) == [events_[0]]
    assert (reader.broken, reader.unfinished) == (0, True)
    assert read_events(path) == ([events_[0]], 1)
    writer = EventWriter(path)
    writer(events_[2])
    writer.close()
    assert list(reader.read()) == [events_[2]]
    assert (reader.broken, reader.unfinished) == (1, False)
    assert read_events(path) == ([events_[0], events_[2]], 1)
    assert list(reader.read()) == []


def test_line_is_read_when_it_is_complete(tmp_path: Path) -> None:
    path, event = tmp_path / "events.jsonl", example(RunStarted)
    line = format_event(event)
    reader = EventReader(path)
    assert list(reader.read()) == []
    path.write_bytes(line[:30])
    assert list(reader.read()) == []
    with path.open("ab") as file:
        file.write(line[30:])
    assert list(reader.read()) == [event]
    path.write_bytes(format_event(example(RunInterrupted)))  # a shorter file was cleared for a new run
    assert list(reader.read()) == [example(RunInterrupted)]


def test_kinds_that_are_skipped_are_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    broken = b'{"event":"BlockDone",and nothing more\n'
    path.write_bytes(broken + format_event(example(RunStarted)) + format_event(example(BlockFailed)))
    reader = EventReader(path)
    assert list(reader.read(without=(BlockDone, BlockFailed))) == [example(RunStarted)]
    assert reader.broken == 0


def test_position_of_the_latest_event_of_a_kind_is_found(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert find_latest(path, RunStarted) == 0
    lines = [format_event(example(kind)) for kind in (RunStarted, RunFinished, RunStarted, RunInterrupted)]
    path.write_bytes(b"".join(lines))
    assert find_latest(path, RunStarted) == len(lines[0] + lines[1])
    assert find_latest(path, BlockDone) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("at", "NaN"), ("at", "Infinity"), ("read_s", "-Infinity"), ("rows", "1" * 30), ("attempts", "-" + "1" * 30)],
)
def test_numbers_that_cannot_be_counted_with_are_refused(name: str, value: str) -> None:
    event = example(BlockDone)
    line = re.sub(rf'"{name}":[^,}}]+', f'"{name}":{value}', format_event(event).decode())
    assert value in line
    with pytest.raises(ValueError, match="cannot be counted with"):
        parse_event(line.encode())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes need POSIX")
def test_a_pipe_in_place_of_a_file_of_events_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    os.mkfifo(path)
    assert list(EventReader(path).read()) == []
    assert find_latest(path, RunStarted) == 0
    with pytest.raises(OSError, match="named pipe"):
        read_events(path)
