"""Notes of plans are logged where no plan is printed: in batches and by the functions of Python."""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from lls_decode.pipelines.batch import batch as batches
from lls_decode.pipelines.batch.datasets import BatchEntry
from lls_decode.pipelines.front import running
from lls_decode.pipelines.running.run import RunResult
from tests.pipelines.conftest import World, run_config

NOTE = "model time has no detection thresholds of its own"


@pytest.fixture
def without_work(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Let runs end at once, without workers."""
    caplog.set_level(logging.INFO)

    def run(*_: Any, **__: Any) -> RunResult:
        return RunResult(done=0, failed=(), rows=0, merged=None, exit_status=0)

    monkeypatch.setattr(batches, "run", run)
    monkeypatch.setattr(running, "run_plan", run)
    monkeypatch.setattr(running, "open_site", lambda *_, **__: nullcontext())
    monkeypatch.setattr(running, "attach", lambda *_: None)
    monkeypatch.setattr("lls_decode.pipelines.watch.serving.attach", lambda *_: None)


@pytest.mark.usefixtures("without_work")
def test_a_batch_logs_the_notes_of_each_dataset(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    items = [
        BatchEntry(str(world.movie), name, tmp_path / name, world.bundle(), run_config(16)) for name in ("one", "other")
    ]
    client: Any = None
    batches.batch(items, batches.plan_batch(items), client, lambda rows: None)
    assert sum(NOTE in line for line in caplog.messages) == 2


@pytest.mark.usefixtures("without_work")
def test_a_run_of_python_logs_the_notes_of_its_plan(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running.run(world.movie, world.bundle(), tmp_path / "out", config=run_config(16))
    assert sum(NOTE in line for line in caplog.messages) == 1
