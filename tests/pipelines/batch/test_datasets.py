"""Datasets of a batch, with the settings and the run folder of each."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from lls_decode.config import ModelRule
from lls_decode.errors import BundleError, ConfigError, InputError, LlsDecodeError
from lls_decode.pipelines.batch.datasets import BatchEntry, BatchSettings, read_datasets

PATTERNS: Mapping[str, tuple[str, dict[str, str]]] = {
    "everywhere": (
        "**/*.zarr",
        {
            "a.zarr": "a",
            "day1/a.ome.zarr": "day1/a",
            "day1/b.zarr": "day1/b_zarr",  # a folder day1/b would contain the folder of the next dataset
            "day1/b/c.zarr": "day1/b/c",
            "day2/raw/a.zarr": "day2/raw/a",
        },
    ),
    "one level": ("day*/*.zarr", {"day1/a.ome.zarr": "day1/a", "day1/b.zarr": "day1/b"}),
    "below a folder name": ("**/raw/*", {"day2/raw/a.zarr": "day2/raw/a", "day2/raw/movie": "day2/raw/movie"}),
    "a single match": ("day?/[b-z].zarr", {"day1/b.zarr": "day1/b"}),
    "without a wildcard": ("day1/b.zarr", {"b.zarr": "b"}),
}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    for name in ("a.zarr", "day1/a.ome.zarr", "day1/b.zarr", "day1/b/c.zarr", "day2/raw/a.zarr", "day2/raw/movie"):
        (folder / name / "inner.zarr").mkdir(parents=True)
        (folder / name / "zarr.json").touch()
    (folder / ".trash" / "old.zarr").mkdir(parents=True)
    (folder / "loop").symlink_to(folder)
    return folder


@pytest.mark.parametrize(("pattern", "expected"), PATTERNS.values(), ids=PATTERNS.keys())
def test_datasets_of_an_archive_are_found_and_named(
    pattern: str, expected: dict[str, str], archive: Path, tmp_path: Path
) -> None:
    found = read_datasets(str(archive / pattern), tmp_path / "out", settings=BatchSettings(model="lls-paint"))
    root = archive / "day1" if pattern == "day1/b.zarr" else archive
    assert {str(Path(item.dataset).relative_to(root)): item.name for item in found} == expected
    assert all(item.out == tmp_path / "out" / item.name for item in found)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Return a function that writes a file into a folder that also holds configurations and a model."""
    (tmp_path / "run.yaml").write_text("execution: {block_frames: 100}\ndetection: {accept: 0.5}\n")
    (tmp_path / "other.yaml").write_text("execution: {block_frames: 200}\n")
    (tmp_path / "own.lls").touch()

    def call(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return call


def settings_of(item: BatchEntry, folder: Path) -> tuple[str, str, str, int, float | None]:
    assert isinstance(item.config.detection, ModelRule)
    numbers = item.config.execution.block_frames, item.config.detection.accept
    return str(Path(item.dataset).relative_to(folder)), item.name, item.model.name, *numbers


SAME = [
    ("a.zarr", "a", "lls-paint.lls", 100, 0.5),
    ("deep/b.zarr", "deep/b", "own.lls", 100, 0.8),
    ("c.zarr", "mine", "lls-paint.lls", 200, None),
    ("vol_*.zarr", "vol__", "lls-paint.lls", 64, 0.5),
]
SHEET = """\
dataset,model,config,out,detection.accept,execution.block_frames
a.zarr,,,,,
deep/b.zarr,own.lls,,,0.8,

c.zarr,,other.yaml,mine,,
vol_*.zarr,,,,,64
"""
JOB = """\
defaults: {model: lls-paint, config: run.yaml}
datasets:
  - a.zarr
  - {dataset: deep/b.zarr, model: own.lls, changes: {detection.accept: 0.8}}
  - {dataset: c.zarr, config: other.yaml, out: mine}
  - {dataset: vol_*.zarr, changes: {execution.block_frames: 64}}
"""


def test_a_csv_table_and_a_yaml_list_give_the_same_datasets(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    settings = BatchSettings(model="lls-paint", config=str(tmp_path / "run.yaml"))
    for found in (
        read_datasets(write("sheet.csv", SHEET), tmp_path / "out", settings=settings),
        read_datasets(write("job.yaml", JOB), tmp_path / "out", settings=BatchSettings()),
    ):
        assert [settings_of(item, tmp_path) for item in found] == SAME


def test_precedence_of_settings(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    """Settings of a dataset override the command line, which overrides the defaults of the file."""
    job = yaml.safe_load(JOB)
    job["defaults"]["changes"] = {"detection.accept": 0.9, "execution.block_frames": 7}
    path = write("job.yaml", json.dumps(job))
    found = read_datasets(path, tmp_path, settings=BatchSettings(model="storm-2d", changes={"detection.accept": 0.6}))
    assert [settings_of(item, tmp_path)[2:] for item in found] == [
        ("storm-2d.lls", 7, 0.6),
        ("own.lls", 7, 0.8),
        ("storm-2d.lls", 7, 0.6),
        ("storm-2d.lls", 64, 0.6),
    ]


REFUSED: Mapping[str, tuple[str, str, type[LlsDecodeError], str]] = {
    "unknown column": ("s.csv", "dataset,modle\na.zarr,x\n", ConfigError, "did you mean 'model'?"),
    "unknown key": ("s.csv", "dataset,detection.acept\na.zarr,1\n", ConfigError, "did you mean 'accept'?"),
    "no datasets": ("s.csv", "model\nx\n", ConfigError, "expected one named 'dataset'"),
    "no dataset": ("s.csv", "dataset,out\n,x\n", ConfigError, "line 2: expected a dataset"),
    "too many cells": ("s.csv", "dataset,out\na.zarr,x,y\n", ConfigError, "line 2: expected a dataset"),
    "not YAML": ("s.csv", "dataset,detection.accept\na.zarr,{\n", ConfigError, "not a table"),
    "an empty table": ("s.csv", "dataset\n", ConfigError, "datasets"),
    "no model": ("j.yaml", "datasets: [a.zarr]", ConfigError, "a.zarr has no model"),
    "no such model": ("j.yaml", "datasets: [{dataset: a.zarr, model: x.lls}]", BundleError, "x.lls does not exist"),
    "no such configuration": (
        "j.yaml",
        "datasets: [{dataset: a, model: own.lls, config: x.yaml}]",
        ConfigError,
        "x.yaml cannot be",
    ),
    "unknown word": ("j.yaml", "datasets: [{datset: a.zarr}]", ConfigError, "did you mean 'dataset'?"),
    "the same twice": ("j.yaml", "defaults: {model: own.lls}\ndatasets: [a.zarr, a.zarr]", ConfigError, "its own with"),
    "one within another": (
        "j.yaml",
        "defaults: {model: own.lls}\ndatasets: [{dataset: a, out: x}, {dataset: b, out: x/shards}]",
        ConfigError,
        "its own with 'out'",
    ),
    **{
        f"a run folder at {name!r}": (
            "s.csv",
            f'dataset,out\na.zarr,"{name}"\n',
            ConfigError,
            "inside the folder of the batch, without '..'",
        )
        for name in ("../x", "/x", "a/../../x", "C:\\x", "..", "a//b", "\x1b[2J")
    },
    "no such file": ("", "", ConfigError, "absent.csv cannot be read"),
}


@pytest.mark.parametrize(("name", "text", "error", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_invalid_list_of_datasets_is_refused(
    name: str, text: str, error: type[LlsDecodeError], words: str, write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    path = write(name, text) if name else tmp_path / "absent.csv"
    settings = BatchSettings(model="lls-paint") if name == "s.csv" else BatchSettings()
    with pytest.raises(error, match=re.escape(words)):
        read_datasets(path, tmp_path / "out", settings=settings)


def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="matches no dataset"):
        read_datasets(str(tmp_path / "**/*.zarr"), tmp_path / "out", settings=BatchSettings(model="lls-paint"))
