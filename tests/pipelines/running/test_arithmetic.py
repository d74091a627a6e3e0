"""All blocks of a run use the same arithmetic, which the workers determine and a resumed run keeps."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from distributed import Client

import lls_decode.pipelines.running.run as running
from lls_decode.blocks import Block
from lls_decode.errors import ConfigError, RunConflictError, SiteError
from lls_decode.model.hardware import native_dtypes
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.planning.plan import make_plan
from lls_decode.pipelines.running.arithmetic import WorkerDevice, ask_workers, choose_dtype, settle_dtype
from lls_decode.pipelines.running.run import run
from lls_decode.pipelines.running.tasks import Task
from lls_decode.pipelines.status.reader import read_status
from lls_decode.table import read_metadata
from tests.pipelines.conftest import World, run_config, shard_identities

H100 = WorkerDevice("H100", ("float16", "bfloat16", "float32"))
P100 = WorkerDevice("P100", ("float32",))
GENOA = WorkerDevice("EPYC Genoa", ("bfloat16", "float32"))
MILAN = WorkerDevice("EPYC Milan", ("float32",))
NATIVE = native_dtypes(torch.device("cpu"))[0]


@pytest.mark.parametrize(
    ("devices", "dtype"),
    [
        pytest.param([H100, H100], "float16", id="GPUs"),
        pytest.param([GENOA, GENOA], "bfloat16", id="CPUs with 16-bit units"),
        pytest.param([MILAN], "float32", id="CPU without 16-bit units"),
        pytest.param([P100], "float32", id="old GPU"),
        pytest.param([GENOA, H100], "bfloat16", id="a GPU and a CPU that have one type in common"),
        pytest.param([H100, GENOA], "bfloat16", id="the same in the other order"),
        pytest.param([GENOA, MILAN, GENOA], "float32", id="one of three CPUs without 16-bit units"),
    ],
)
def test_the_fastest_type_common_to_all_devices_is_chosen(devices: list[WorkerDevice], dtype: str) -> None:
    found, reason = choose_dtype(devices)
    assert found == dtype
    assert all(device.name in reason for device in devices)
    assert ("faster" in reason) == any(device.dtypes[0] != dtype for device in devices)


def test_arithmetic_is_decided_by_the_workers_recorded_and_kept(world: World, client: Client, tmp_path: Path) -> None:
    plan = world.plan(tmp_path, block_frames=64, dtype="auto")
    assert plan.is_open
    assert "arithmetic auto: decided on the workers" in plan.describe()
    result = run(plan, client)
    assert result.exit_status == 0
    assert result.merged is not None
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["config"]["compute"]["dtype"] == record["identity"]["config"]["compute"]["dtype"] == NATIVE
    assert read_metadata(result.merged).configuration["compute"]["dtype"] == NATIVE
    status = read_status(tmp_path)
    assert status.dtype == NATIVE
    assert status.devices[0].startswith("2 x CPU")
    assert f"arithmetic {NATIVE} on 2 x CPU" in "\n".join(status.describe())
    assert "network    not compiled (auto: this pays off only on GPUs with Triton)" in status.describe()
    again = world.plan(tmp_path, block_frames=64, dtype="auto")
    assert (again.config.compute.dtype, again.is_adopted) == (NATIVE, True)
    assert again.run_digest == record["run_digest"]
    assert f"arithmetic {NATIVE}, adopted from the run in the folder" in again.describe()
    assert run(again, client).rows == result.rows


def test_a_run_that_is_resumed_keeps_its_arithmetic(world: World, client: Client, tmp_path: Path) -> None:
    """The arithmetic in the record is kept, even if these workers would choose another, or if no shards exist."""
    explicit = run_config(64)
    first = run(make_plan(world.movie, world.bundle(), tmp_path, explicit), client)
    plan = world.plan(tmp_path, block_frames=64, dtype="auto")
    before = shard_identities(plan)
    assert plan.config.compute.dtype == "float32"
    assert run(plan, client).rows == first.rows
    assert shard_identities(plan) == before
    for path in (tmp_path / "shards").glob("*.parquet"):
        path.unlink()
    assert run(world.plan(tmp_path, block_frames=64, dtype="auto"), client).rows == first.rows
    record = RunFolder(tmp_path).read_record()
    assert record is not None
    assert record.config.compute.dtype == "float32"
    other = run_config(64, dtype="bfloat16")
    with pytest.raises(RunConflictError, match=r"compute\.dtype: float32 -> bfloat16"):
        run(make_plan(world.movie, world.bundle(), tmp_path, other), client)
    with pytest.raises(RunConflictError, match="block_frames: 64 -> 32") as conflict:
        run(world.plan(tmp_path, block_frames=32, dtype="auto"), client)
    assert "dtype" not in str(conflict.value)


def test_machines_that_lack_the_arithmetic_of_a_resumed_run_are_refused(world: World, tmp_path: Path) -> None:
    plan = world.plan(tmp_path, block_frames=64, dtype="auto").with_dtype("bfloat16", is_adopted=True)
    assert settle_dtype(plan, [GENOA, H100]) == plan
    with pytest.raises(ConfigError, match=r"computes in bfloat16, which 1 of 2 workers \(EPYC Milan\) do not"):
        settle_dtype(plan, [GENOA, MILAN])
    chosen = world.plan(tmp_path, block_frames=64, dtype="auto").with_dtype("bfloat16")
    assert settle_dtype(chosen, [MILAN]) == chosen  # an explicit setting is not refused


def test_an_explicit_type_that_workers_have_to_emulate_gives_a_warning(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The warning appears where the user sees it: workers log theirs on other machines."""
    chosen = world.plan(tmp_path, dtype="float16")
    settle_dtype(chosen, [H100, GENOA, GENOA])
    (warning,) = caplog.messages
    assert "compute.dtype is float16, for which 2 of 3 workers (2 x EPYC Genoa) have no known hardware" in warning
    caplog.clear()
    settle_dtype(chosen, [H100])
    settle_dtype(world.plan(tmp_path, dtype="float32"), [MILAN, GENOA])
    assert not caplog.messages


def test_a_device_that_workers_lack_is_refused(world: World, client: Client, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    config = run_config(64, dtype="auto")
    plan = make_plan(
        world.movie, world.bundle(), tmp_path, config.replace(compute=config.compute.replace(device="cuda"))
    )
    with pytest.raises(ConfigError, match="sees no CUDA device"):
        ask_workers(client, plan, check=lambda: None, patience_s=60)


def test_missing_workers_are_an_error_after_the_timeout(world: World, tmp_path: Path) -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", processes=False) as cluster,
        Client(cluster) as idle,
        pytest.raises(SiteError, match="There have been no workers for 1 s"),
    ):
        ask_workers(idle, world.plan(tmp_path, dtype="auto"), check=lambda: None, patience_s=1)


def test_tasks_and_status_have_the_decision_to_compile(
    world: World, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that turn out to be unable to compile, as here, process their blocks uncompiled."""
    tasks: list[Task] = []

    def make_task(self: running._Run, block: Block, workers_per_host: int) -> Task:
        tasks.append(original(self, block, workers_per_host))
        return tasks[-1]

    original = running._Run._make_task
    monkeypatch.setattr(running._Run, "_make_task", make_task)
    monkeypatch.setattr("lls_decode.config.compiling.CACHED_PX", 1)
    monkeypatch.setattr(running, "ask_workers", lambda *_, **__: (replace(H100, code="cached"),))
    assert running.run(world.plan(tmp_path, block_frames=64), client).exit_status == 0
    assert [task.compiles for task in tasks] == [True, True]
    network = read_status(tmp_path).network
    assert network.startswith("compiled (auto: compiled code is cached, ")
