"""Hostile and broken files give a message of one line and exit status 2 or 3, in bounded time and memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.hostile.files import CASES

ROOT = Path(__file__).resolve().parents[2]
MOST_S = 10.0
MOST_KB = 1_000_000 if torch.version.cuda is None else 1_400_000  # the libraries of CUDA builds take 360 MB more
PROCESSES = (
    ("yaml", "columns", "shown configurations", "lists of datasets", "bundles", "model info", "runs", "unharmed runs"),
    ("tables", "filtered tables", "csv", "datasets", "bombs", "filtered into"),
    ("models to fine-tune", "models of a batch", "run into", "chunks"),
)
"""Groups that run in the same process; the memory limit applies to the whole process."""
UNHARMED = ("unharmed runs", "bombs")
"""Groups in which the command reports the damage and succeeds."""


@pytest.fixture(scope="module", params=PROCESSES, ids=" and ".join)
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the outcome of each case of some groups."""
    folder = tmp_path_factory.mktemp("hostile")
    done = subprocess.run(
        [sys.executable, "-m", "tests.hostile.try_files", str(folder), *request.param],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == sum(len(CASES[group]) for group in request.param)
    return found


def test_each_case_ends_with_a_message_of_one_line(outcomes: list[dict[str, Any]]) -> None:
    wrong = [
        item
        for item in outcomes
        if item["status"] not in ((0,) if item["group"] in UNHARMED else (2, 3)) or "Traceback" in item["words"]
    ]
    assert wrong == []
    refused = [item["words"].strip() for item in outcomes if item["group"] not in UNHARMED]
    assert [words for words in refused if not words.startswith("Error: ") or "\n" in words] == []
    assert [words for words in refused if not words.isprintable() or len(words) > 4100] == []


def test_time_and_memory_are_bounded(outcomes: list[dict[str, Any]]) -> None:
    assert [item for item in outcomes if item["seconds"] > MOST_S] == []
    assert max(item["peak_kb"] for item in outcomes) < MOST_KB


def test_all_groups_are_run() -> None:
    assert {group for groups in PROCESSES for group in groups} == CASES.keys()
