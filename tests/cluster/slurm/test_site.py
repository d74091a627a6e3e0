"""Requests that SLURM cannot satisfy are refused before any job is submitted, and ``doctor`` finds SLURM's faults."""

import re
from pathlib import Path
from typing import Any

import pytest

from lls_decode.cluster.diagnosis import examine_site
from lls_decode.cluster.slurm.diagnosis import examine
from lls_decode.cluster.slurm.feasibility import check_site
from lls_decode.cluster.slurm.queued_jobs import explain, list_jobs
from lls_decode.cluster.slurm.site import SlurmSite
from lls_decode.config.base import parse
from lls_decode.errors import SiteError

from .virtual import VirtualSlurm, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "partition": (
        {"partition": "mian"},
        "worker.partition is 'mian', which does not exist (did you mean 'main'?)",
    ),
    "devices": ({"gres": "gpu:a100:1"}, "worker.gres is 'gpu:a100:1', but the nodes of partition main have gpu:2"),
    "too many devices": ({"gres": "gpu:3"}, "worker.gres is 'gpu:3', but no node of partition main has that many"),
    "cpus": ({"cpus": 5}, "worker.cpus is 5, but the largest node of partition main is 4 cpus"),
    "memory": ({"memory_gib": 100}, "worker.memory_gib is 100, but the largest node of partition main is 7.8125 GiB"),
    "wall time": ({"hours": 13}, "worker.hours is 13, but the longest wall time of partition main is 12 h"),
    "a constraint that only SLURM can check": (
        {"extra": ["--constraint=a100"]},
        "SLURM refuses the worker job of this profile: ",
    ),
}


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_request_that_slurm_cannot_satisfy_is_refused(changes: dict[str, Any], words: str, nodes: VirtualSlurm) -> None:
    job = {"cpus": 1, "memory_gib": 1, "hours": 1}
    site = parse(SlurmSite, {"worker": job | changes, "driver": job}, source="test")
    with pytest.raises(SiteError, match=f"^{re.escape(words)}"):
        check_site(site)
    assert nodes.job_names() == set()


def test_request_that_slurm_can_satisfy_is_accepted_without_submitting_jobs(nodes: VirtualSlurm) -> None:
    job = {"cpus": 1, "memory_gib": 1, "hours": 1}
    check_site(parse(SlurmSite, {"worker": job | {"gres": "gpu:2"}, "driver": job}, source="test"))
    assert nodes.job_names() == set()


def test_waiting_jobs_are_explained(nodes: VirtualSlurm) -> None:
    nodes.say("sbatch", "--output=/dev/null", "--hold", "--job-name=held", "--array=0-2", "--wrap=:")
    wait_for(lambda: len(list_jobs("held")) == 3, "jobs in the queue")
    assert explain(list_jobs("held")) == [
        "3 worker jobs wait: JobHeldUser (the user holds it; release it with 'scontrol release')"
    ]


def test_doctor_lists_partitions(nodes: VirtualSlurm) -> None:
    state, words = examine()[0]
    assert state == "ok"
    assert "main (default) 4/4 nodes" in words


def test_doctor_reports_a_controller_that_does_not_answer(nodes: VirtualSlurm) -> None:
    nodes.stop_controller()
    try:
        ((state, words),) = examine()
        assert (state, "SLURM's controller does not answer" in words) == ("wrong", True)
    finally:
        nodes.start_controller()
        nodes.wait_until_up()


def test_doctor_reports_that_munge_does_not_run(nodes: VirtualSlurm) -> None:
    nodes.stop_munge()
    try:
        ((state, words),) = examine()
        assert (state, words.startswith("this machine cannot authenticate with SLURM")) == ("wrong", True)
        assert words.endswith("check that munged is running ('munge -n')")
    finally:
        nodes.start_munge()


@pytest.mark.skipif(Path("/etc/slurm/slurm.conf").exists(), reason="this machine has a SLURM of its own")
def test_doctor_reports_a_missing_configuration(nodes: VirtualSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CONF")
    ((state, words),) = examine()
    assert (state, "find no slurm.conf; run this on a login node" in words) == ("wrong", True)


def test_doctor_checks_a_profile(nodes: VirtualSlurm, tmp_path: Path) -> None:
    """``doctor`` checks whether SLURM can satisfy the profile, and the Python interpreter of the jobs."""
    path = tmp_path / "mine.yaml"
    job = "{cpus: 1, memory_gib: 1, hours: 1}"
    path.write_text(f"kind: slurm\nworker: {job}\ndriver: {job}\n")
    assert [state for state, _ in examine_site(str(path))] == ["ok", "ok"]
    path.write_text(f"kind: slurm\nworker: {job}\ndriver: {job}\npython: /opt/none/python\n")
    assert [state for state, _ in examine_site(str(path))] == ["ok", "wrong"]
    path.write_text(f"kind: slurm\nworker: {{cpus: 1, memory_gib: 1, hours: 1, partition: mian}}\ndriver: {job}\n")
    ((state, words),) = examine_site(str(path))
    assert (state, "did you mean 'main'?" in words) == ("wrong", True)
