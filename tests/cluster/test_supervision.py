"""Supervision of worker jobs: detection of lost jobs, submission of replacements, and reasons why jobs wait."""

import os

import psutil
import pytest

from lls_decode.cluster.slurm.commands import _node, read_hours
from lls_decode.cluster.slurm.queued_jobs import QueuedJob, explain, is_hopeless
from lls_decode.cluster.slurm.supervision import Shortage
from lls_decode.cluster.slurm.worker import given_devices, given_memory
from lls_decode.errors import SiteError


def test_replacements_are_submitted_only_after_a_lasting_shortage() -> None:
    shortage = Shortage(wanted=4, missing_s=15)
    counts = [(0, 4), (5, 3), (15, 3), (19, 3), (20, 3), (21, 4)]
    assert [shortage.count(jobs, workers_seen=4, now=now) for now, jobs in counts] == [0, 0, 0, 0, 1, 0]


def test_requeued_job_does_not_count_as_a_shortage() -> None:
    """A requeued job may be missing from the queue for a moment."""
    shortage = Shortage(wanted=2, missing_s=15)
    assert [shortage.count(jobs, 2, now) for now, jobs in [(0, 1), (10, 2), (14, 1), (28, 1)]] == [0, 0, 0, 0]


def test_jobs_that_cannot_start_are_submitted_at_growing_intervals() -> None:
    shortage = Shortage(wanted=3, missing_s=15)
    submitted = [now for now in range(0, 1000, 5) if shortage.count(0, 0, now)]
    assert submitted == [15, 45, 105, 225, 465, 945]


def test_arriving_worker_resets_the_interval_between_submissions() -> None:
    shortage = Shortage(wanted=1, missing_s=15)
    submitted = [now for now in range(0, 400, 5) if shortage.count(0, int(now >= 300), now)]
    assert submitted == [15, 45, 105, 225, 300, 330, 390]


def queued(job: str, state: str, reason: str) -> QueuedJob:
    return QueuedJob(job, state, reason, "")


def test_reasons_of_waiting_jobs_are_explained() -> None:
    jobs = [
        queued("5", "PENDING", "Priority"),
        queued("7_0", "PENDING", "Resources"),
        queued("7_1", "RUNNING", "None"),
        queued("7_2", "PENDING", "PartitionTimeLimit"),
        queued("7_3", "PENDING", "QOSMaxGRESPerUser"),
        queued("7_4", "PENDING", "Resources"),
        queued("7_5", "PENDING", "SomethingNew"),
    ]
    assert explain(jobs) == [
        "2 worker jobs wait: Resources (the nodes are busy)",
        "the driver job waits: Priority (other jobs have priority)",
        "1 worker job waits: PartitionTimeLimit (its wall time is longer than the partition allows; lower hours)",
        "1 worker job waits: QOSMaxGRESPerUser (a limit of your account or qos is reached)",
        "1 worker job waits: SomethingNew",
    ]
    assert [job.id for job in jobs if is_hopeless(job)] == ["7_2"]


HOURS = {"infinite": None, "30": 0.5, "30:00": 0.5, "1:30:00": 1.5, "2-00:00:00": 48, "1-12": 36, "1-00:30": 24.5}


@pytest.mark.parametrize(("text", "hours"), HOURS.items())
def test_time_limits_of_slurm_are_read_as_hours(text: str, hours: float | None) -> None:
    assert read_hours(text) == hours


def test_properties_of_a_node_are_read_from_sinfo() -> None:
    node = _node("gpu*|7-00:00:00|64|515000|gpu:a100:4(S:0,1),gpu:1g.5gb:7,lscratch:3(S:0)|idle")
    assert (node.partition, node.default, node.hours, node.cpus) == ("gpu", True, 168, 64)
    assert node.gres == ("gpu:a100:4", "gpu:1g.5gb:7", "lscratch:3")
    assert node.available
    assert not _node("cpu|infinite|64+|515000+|(null)|drained*").available
    assert _node("cpu|infinite|64+|515000+|(null)|down*").gres == ()


DEVICES = {"": [""], "0": ["0"], "0,3": ["0", "3"], "GPU-1b2c,MIG-7": ["GPU-1b2c", "MIG-7"], "-1": [""]}


@pytest.mark.parametrize(("visible", "devices"), DEVICES.items())
def test_one_process_for_each_device(visible: str, devices: list[str]) -> None:
    assert given_devices(visible, wanted=0) == devices


def test_job_without_its_requested_gpus_is_refused() -> None:
    with pytest.raises(SiteError, match="requested 2 GPUs"):
        given_devices("", wanted=2)


GIB = 2**30
MACHINE = psutil.virtual_memory().total
CPUS = os.cpu_count() or 1
MEMORY = {
    "--mem": ({"SLURM_MEM_PER_NODE": "4096", "SLURM_CPUS_ON_NODE": "2"}, 4 * GIB, None),
    "--mem-per-cpu": ({"SLURM_MEM_PER_CPU": "1024", "SLURM_CPUS_ON_NODE": "3"}, 3 * GIB, None),
    "limit of a cgroup": ({"SLURM_CPUS_ON_NODE": "1"}, GIB, GIB),
    "unlimited by SLURM": ({"SLURM_MEM_PER_NODE": "0", "SLURM_CPUS_ON_NODE": "1"}, GIB, GIB),
    "share of a node": ({"SLURM_CPUS_ON_NODE": "1"}, MACHINE // CPUS, MACHINE),
    "a whole node": ({"SLURM_CPUS_ON_NODE": str(CPUS)}, MACHINE, MACHINE),
    "without information": ({}, MACHINE, MACHINE),
}


@pytest.mark.parametrize(("job", "memory", "limit"), MEMORY.values(), ids=MEMORY.keys())
def test_memory_of_a_job_is_found_from_its_environment(
    job: dict[str, str], memory: int, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without SLURM's variables, the memory is the limit of this process, shared by the CPUs of the machine.

    The parameter ``limit`` replaces the limit that Dask finds for this process.
    """
    if limit is not None:
        monkeypatch.setattr("lls_decode.cluster.slurm.worker.MEMORY_LIMIT", limit)
    assert given_memory(job) == int(0.9 * memory)
