"""Run records are read back as they were written, and records of other versions are refused with advice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lls_decode.axes import Layout
from lls_decode.config import ExecutionConfig, PartConfig, PixelSize, ResolvedRunConfig, ScmosCamera
from lls_decode.errors import InputError, OutputError
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.record import RECORD_VERSION, ModelRecord, RunRecord
from lls_decode.table import TableMetadata
from tests.pipelines.run_folders import make_record

TEXTS = st.text() | st.just("caf\udce9.zarr")
"""Texts, including a file name that is not UTF-8 in Python's representation."""
SIZES = st.integers(1, 10**6)
TIMES = st.floats(0, 1e10)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.builds(
    RunRecord,
    run_digest=TEXTS,
    dataset=TEXTS,
    model=st.builds(ModelRecord, path=TEXTS, name=TEXTS, digest=TEXTS),
    identity=st.dictionaries(st.text(), PLAIN, max_size=3),
    samples=st.lists(TEXTS, max_size=3).map(tuple),
    config=st.builds(
        ResolvedRunConfig,
        camera=st.just(ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.0, variance_adu2=4.0)),
        pixel_size=st.just(PixelSize(x_nm=100.0, y_nm=110.0)),
        execution=st.builds(ExecutionConfig, block_frames=st.integers(1, 1000)),
        part=st.builds(PartConfig, volumes=st.none() | st.just((1, 3))),
    ),
    context=st.sampled_from(["none", "time", "plane"]),
    layout=st.builds(Layout, SIZES, SIZES, SIZES, SIZES),
    num_blocks=SIZES,
    table_metadata=st.builds(TableMetadata, run_digest=TEXTS, input=st.dictionaries(st.text(), PLAIN, max_size=2)),
    notes=st.lists(TEXTS, max_size=2).map(tuple),
    software=st.dictionaries(st.text(), TEXTS, max_size=2),
    created_at=TIMES,
    started_at=TIMES,
    host=TEXTS,
    pid=SIZES,
)
ADVICE = (
    r"another version of lls-decode has written it; read the run with that version, or localize again into another "
    r"folder\.$"
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "out")
    folder.create()
    folder.write_record(make_record(Layout(6, 4, 40, 60)))
    return folder


def rewrite(folder: RunFolder, values: object) -> None:
    folder.record.write_text(json.dumps(values))


def paths(values: Any) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all keys of a record, except keys inside the free mappings ``identity`` and ``software``."""
    for key, value in values.items():
        yield (key,)
        if isinstance(value, dict) and key not in ("identity", "software"):
            yield from ((key, *inner) for inner in paths(value))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RECORDS)
def test_record_is_read_as_it_was_written(record: RunRecord) -> None:
    assert RunRecord.from_dict(json.loads(json.dumps(record.to_dict())), source="run.json") == record


def test_record_is_stored_with_its_version_and_its_layout_can_be_updated(folder: RunFolder) -> None:
    record = folder.read_run()
    assert record == make_record(Layout(6, 4, 40, 60))
    assert len(record.plan_blocks()) == 6
    assert json.loads(folder.record.read_text())["version"] == RECORD_VERSION
    folder.note_layout(Layout(9, 4, 40, 60))
    assert folder.read_record() == make_record(Layout(9, 4, 40, 60)).model_copy(update={"num_blocks": 6})
    assert len(folder.read_run().plan_blocks()) == 9


WHOLE = make_record(Layout(6, 4, 40, 60)).to_dict()
KIND = ("config", "camera", "kind")
"""Path of the key that selects the kind of camera; its absence gives a different message."""
PLACES = [place for place in paths(WHOLE) if place != KIND]


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_record_without_a_key_is_refused(place: tuple[str, ...], folder: RunFolder) -> None:
    values = json.loads(folder.record.read_text())
    inner = values
    for key in place[:-1]:
        inner = inner[key]
    del inner[place[-1]]
    rewrite(folder, values)
    with pytest.raises(InputError, match=rf"run\.json has no '{place[-1]}': {ADVICE}"):
        folder.read_run()


@pytest.mark.parametrize("version", [RECORD_VERSION + 1, 0, "1", None])
def test_record_of_another_version_is_refused(version: object, folder: RunFolder) -> None:
    rewrite(folder, {**json.loads(folder.record.read_text()), "version": version})
    message = rf"run\.json is a record of version {version}, but this program reads version {RECORD_VERSION}: {ADVICE}"
    with pytest.raises(InputError, match=message):
        folder.read_run()


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("started_at", "yesterday", "started_at"),
        ("layout", [6, 4, 40, 60], "layout"),
        ("model", "m.lls", "model"),
        ("context", "sideways", "context"),
        ("config", WHOLE["config"] | {"colour": "red"}, "config.colour"),
        ("config", WHOLE["config"] | {"camera": {"offset_adu": 100.0}}, "config.camera"),
    ],
)
def test_record_with_an_invalid_value_is_refused(key: str, value: object, place: str, folder: RunFolder) -> None:
    rewrite(folder, {**json.loads(folder.record.read_text()), key: value})
    with pytest.raises(
        InputError, match=rf"run\.json does not have the format of this version \({place}: .*\): {ADVICE}"
    ):
        folder.read_run()


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"run"'])
def test_record_that_is_not_a_json_object_is_refused(text: str, folder: RunFolder) -> None:
    folder.record.write_text(text)
    with pytest.raises(OutputError, match=r"run\.json .*; restore it, or use another folder\."):
        folder.read_record()
    with pytest.raises(InputError, match=r"run\.json .*; restore it, or repeat the same 'lls-decode run', .*\."):
        folder.read_run()


SIZES_REFUSED = {"num_volumes": -1, "planes_per_volume": 0, "height": 0, "width": -5}


@pytest.mark.parametrize(("name", "value"), [*SIZES_REFUSED.items(), ("created_at", 1e300), ("started_at", -1.0)])
def test_sizes_and_times_that_no_run_has_are_refused(name: str, value: float) -> None:
    values = make_record(Layout(6, 4, 40, 60)).to_dict()
    (values if name in values else values["layout"])[name] = value
    with pytest.raises(InputError, match="does not have the format of this version"):
        RunRecord.from_dict(values, source="run.json")


def test_more_blocks_than_a_run_can_have_are_refused() -> None:
    """Counting them would not end."""
    record = make_record(Layout(6, 4, 40, 60)).with_layout(Layout(10**30, 4, 40, 60))
    with pytest.raises(InputError, match="more than 2,000,000 blocks; restore it"):
        record.plan_blocks()
