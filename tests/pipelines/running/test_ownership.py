"""A run folder written by another version is refused, and is discarded only with ``--force``."""

import json
from pathlib import Path

import pytest

from lls_decode.errors import RunConflictError
from lls_decode.pipelines.batch.batch import plan_batch
from lls_decode.pipelines.batch.datasets import BatchEntry
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.planning.plan import Plan
from lls_decode.pipelines.running.ownership import read_own_record, refuse_conflict, take_ownership
from tests.pipelines.conftest import World

CHANGES = {"a later version": {"version": 99}, "an earlier version with fewer keys": {"samples": None}}


@pytest.fixture(params=CHANGES.values(), ids=CHANGES.keys())
def plan(world: World, tmp_path: Path, request: pytest.FixtureRequest) -> Plan:
    """Return the plan of a run that another version has started in the same folder."""
    plan = world.plan(tmp_path / "out")
    folder = RunFolder(plan.out)
    folder.create()
    take_ownership(plan, folder, force=False)
    values = {**json.loads(folder.record.read_text()), **request.param}
    folder.record.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    return plan


def test_record_of_the_same_run_is_kept(world: World, tmp_path: Path) -> None:
    plan = world.plan(tmp_path / "out")
    folder = RunFolder(plan.out)
    folder.create()
    assert read_own_record(plan, folder) is None
    take_ownership(plan, folder, force=False)
    first = folder.read_run()
    assert (first.run_digest, first.config, first.layout) == (plan.run_digest, plan.config, plan.layout)
    assert first.plan_blocks() == plan.blocks
    take_ownership(plan, folder, force=False)
    again = folder.read_run()
    assert again.created_at == first.created_at
    assert again.started_at > first.started_at
    assert read_own_record(plan, folder) == again
    assert read_own_record(world.plan(tmp_path / "out", block_frames=8), folder) is None


def test_record_of_another_version_is_refused(plan: Plan) -> None:
    assert "which contains a run of another version" in plan.describe()[-1]
    message = r"another version of lls-decode has written it; .* into another folder, or --force to discard it\.$"
    with pytest.raises(RunConflictError, match=message):
        refuse_conflict(plan, force=False)
    with pytest.raises(RunConflictError, match=message):
        take_ownership(plan, RunFolder(plan.out), force=False)


def test_record_of_another_version_is_discarded_with_force(plan: Plan, caplog: pytest.LogCaptureFixture) -> None:
    dataset = BatchEntry(plan.dataset, "out", plan.out, Path(plan.bundle_path), plan.config)
    assert [(row.status, "another version" in row.reason) for row in plan_batch([dataset])] == [("failed", True)]
    assert [(row.status, row.reason) for row in plan_batch([dataset], force=True)] == [("new", "discards another run")]
    take_ownership(plan, RunFolder(plan.out), force=True)
    assert f"discarding the run (unknown) in {plan.out}" in caplog.text
    assert RunFolder(plan.out).read_run().run_digest == plan.run_digest
    assert [row.status for row in plan_batch([dataset])] == ["unfinished"]
