"""Site profiles: shipped profiles are valid and list every key, and invalid or contradictory profiles are refused."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lls_decode.cluster.machine.cuda import CudaSite
from lls_decode.cluster.machine.local import LocalSite
from lls_decode.cluster.running import RunningScheduler
from lls_decode.cluster.site import find_site, load_profile, shipped_profiles
from lls_decode.cluster.slurm.profile import SlurmJob
from lls_decode.cluster.slurm.site import SlurmSite
from lls_decode.config.base import parse
from lls_decode.errors import ConfigError, SiteError


def test_shipped_profiles_are_valid() -> None:
    kinds = {name: type(find_site(name)) for name in shipped_profiles()}
    assert kinds == {"local": LocalSite, "cuda": CudaSite, "slurm": SlurmSite, "slurm-gpu": SlurmSite}
    gpu = find_site("slurm-gpu")
    assert isinstance(gpu, SlurmSite)
    assert (gpu.mode, gpu.worker.gpus) == ("unattended", 1)


@pytest.mark.parametrize("name", ["local", "cuda", "slurm", "slurm-gpu"])
def test_shipped_profiles_list_every_key(name: str) -> None:
    data = yaml.safe_load(shipped_profiles()[name].read_text())
    profile = find_site(name)
    assert set(data) == set(type(profile).model_fields)
    assert name != "slurm" or set(data["worker"]) == set(SlurmJob.model_fields)


REFUSED: dict[str, tuple[str, str]] = {
    "kind": ("kind: slrum", "kind is 'slrum', expected one of local, cuda, slurm"),
    "no kind": ("workers: 3", "kind is None"),
    "unknown key": ("{kind: slurm, worker: {memroy_gib: 3}}", "unknown key 'worker.memroy_gib' (did you mean 'memory"),
    "key of another kind": ("{kind: local, partition: main}", "unknown key 'partition'"),
    "mode": ("{kind: slurm, mode: batch}", "'unattended' or 'interactive', found 'batch'"),
    "workers": ("{kind: slurm, workers_min: 5, workers_max: 2}", "workers_min is 5, which is more than workers_max"),
    "no memory": ("{kind: slurm, worker: {memory_gib: 0}}", "worker.memory_gib: Input should be greater than 0"),
    "memory in two ways": (
        "{kind: slurm, worker: {memory_gib: 16, memory_per_cpu_gib: 4}}",
        "worker: memory_gib is 16 and memory_per_cpu_gib is 4, but a job can request memory in one way only; set one"),
    "no memory for a cpu": (
        "{kind: slurm, worker: {memory_per_cpu_gib: 0}}", "worker.memory_per_cpu_gib: Input should be greater than 0"),
    "memory as an extra line": (
        "{kind: slurm, worker: {extra: [--mem-per-cpu=4G]}}", "use the key memory_per_cpu_gib"),
    "scheduler without address": ("kind: scheduler", "address: Field required"),
    "hours as text": ("{kind: slurm, worker: {hours: '08:00:00'}}", "worker.hours"),
    "notice": ("{kind: slurm, worker: {hours: 0.05}}", "notice_s is 120, more than half of worker.hours (0.05 h)"),
    "partition": ("{kind: slurm, worker: {partition: 'a b'}}", "worker.partition: expected one name"),
    "gres": ("{kind: slurm, worker: {gres: 'gpu 2'}}", "worker.gres"),
    "gres of the driver": ("{kind: slurm, driver: {gres: 'gpu:1'}}", "the driver computes nothing"),
    "extra": ("{kind: slurm, worker: {extra: [constraint=a100]}}", "'constraint=a100' is not an option of sbatch"),
    "extra with a key": (
        "{kind: slurm, worker: {extra: [--time=3]}}", "--time cannot be given in extra; use"),
    "extra that is set already": (
        "{kind: slurm, worker: {extra: [--output=x]}}", "--output cannot be given in extra; it is set"),
    "setup": ("{kind: slurm, setup: \"module load a\"}", "setup"),
    "not a mapping": ("[1, 2]", "expected a mapping"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_invalid_profile_is_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(words)):
        load_profile(path)


def test_unknown_site_name_and_missing_file_are_refused() -> None:
    with pytest.raises(SiteError, match=r"Unknown site 'slurm-gpus' \(did you mean 'slurm-gpu'\?\)"):
        find_site("slurm-gpus")
    with pytest.raises(ConfigError, match=r"absent\.yaml cannot be read"):
        find_site("absent.yaml")


GPUS = {None: 0, "gpu": 1, "gpu:2": 2, "gpu:a100": 1, "gpu:a100:4": 4, "lscratch:100": 0}


@pytest.mark.parametrize(("gres", "count"), GPUS.items())
def test_number_of_gpus_is_read_from_gres(gres: str | None, count: int) -> None:
    assert SlurmJob(gres=gres).gpus == count


def test_worker_processes_share_cpus_and_memory_of_their_job() -> None:
    site = slurm(worker={"cpus": 8, "memory_gib": 40, "gres": "gpu:4"})
    assert (site.worker_threads, site.worker_bytes) == (2, int(0.9 * 40 * 2**30) // 4)


MEMORY: dict[str, tuple[dict[str, Any], int | None]] = {
    "per job": ({"memory_gib": 8}, 8 * 2**30),
    "per cpu": ({"memory_per_cpu_gib": 1.5}, 6 * 2**30),
    "per cpu, with memory_gib null": ({"memory_gib": None, "memory_per_cpu_gib": 2}, 8 * 2**30),
    "no memory requested": ({"memory_gib": None}, None),
}


@pytest.mark.parametrize(("values", "memory"), MEMORY.values(), ids=MEMORY.keys())
def test_memory_of_a_job_follows_from_its_profile(values: dict[str, Any], memory: int | None) -> None:
    site = slurm(worker={"cpus": 4, **values})
    assert site.worker.memory_bytes == memory
    assert site.worker_bytes == (None if memory is None else int(0.9 * memory))
    assert site.replace(mode="interactive").worker == site.worker


def test_profile_of_a_running_scheduler_equals_its_address(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text("kind: scheduler\naddress: tcp://node17:8786\n")
    assert load_profile(path) == find_site("tcp://node17:8786") == RunningScheduler(address="tcp://node17:8786")


def test_driver_job_inherits_account_and_qos_of_the_workers() -> None:
    site = slurm(worker={"partition": "gpu", "account": "lab", "qos": "long"}, driver={"partition": "cpu"})
    job = site.driver_job
    assert (job.partition, job.account, job.qos) == ("cpu", "lab", "long")


def slurm(**values: Any) -> SlurmSite:
    return parse(SlurmSite, values, source="test")
