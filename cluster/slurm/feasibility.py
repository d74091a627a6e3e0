"""Checks, before anything is submitted, that SLURM can provide what a profile asks for."""

import difflib
import re
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lls_decode.cluster.profile import GIB

from .commands import NodeInfo, SlurmError, ask, list_nodes, missing_commands
from .profile import SlurmJob, SlurmProfile
from .scripts import directives


def check_site(site: SlurmProfile) -> None:
    """Check that SLURM accepts the jobs of a profile.

    Raises
    ------
    SiteError
        SLURM does not answer, or does not offer the partition, account, qos, devices, wall time or node size.
    """
    missing = missing_commands()
    if missing:
        raise SlurmError(
            f"Command {missing[0]} is not found on this machine; run this on a machine with SLURM's commands (a login "
            "node), or give another --site."
        )
    nodes = list_nodes()
    jobs = {"worker": site.worker} | ({"driver": site.driver_job} if site.is_unattended else {})
    for name, job in jobs.items():
        _check_job(name, job, nodes)
        _check_submission(name, site, job)


def _check_job(name: str, job: SlurmJob, nodes: Sequence[NodeInfo]) -> None:
    partitions = sorted({node.partition for node in nodes})
    chosen = job.partition.split(",") if job.partition else sorted({node.partition for node in nodes if node.default})
    if not chosen:
        raise SlurmError(f"SLURM has no default partition; set {name}.partition to one of {', '.join(partitions)}.")
    for partition in chosen:
        if partition not in partitions:
            close = difflib.get_close_matches(partition, partitions, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise SlurmError(
                f"{name}.partition is {partition!r}, which does not exist{hint}; expected {', '.join(partitions)}."
            )
    there = [node for node in nodes if node.partition in chosen]
    place = f"partition {', '.join(chosen)}"
    _check_limit(f"{name}.hours", job.hours, [node.hours for node in there], f"longest wall time of {place}", "h")
    _check_limit(f"{name}.cpus", job.cpus, [node.cpus for node in there], f"largest node of {place}", "cpus")
    memory = [node.memory_mib / 1024 for node in there]
    if job.memory_bytes is not None:
        key = f"{name}.memory_gib" if job.memory_gib else f"{name}.memory_per_cpu_gib for {job.cpus} cpus"
        _check_limit(key, job.memory_bytes / GIB, memory, f"largest node of {place}", "GiB")
    if job.gres:
        _check_gres(name, job.gres, [item for node in there for item in node.gres], place)


def _check_limit(key: str, asked: float, offered: Sequence[float | None], what: str, unit: str) -> None:
    known = [value for value in offered if value is not None]
    if len(known) == len(offered) and known and asked > max(known):
        raise SlurmError(f"{key} is {asked:g}, but the {what} is {max(known):g} {unit}; lower it.")


def _check_gres(name: str, asked: str, offered: Sequence[str], place: str) -> None:
    """Check that a request such as ``gpu:2`` or ``gpu:a100:2`` fits devices of a node, such as ``gpu:a100:4``."""
    words, count = _read_gres(asked)
    fitting = [number for item, number in map(_read_gres, offered) if item[: len(words)] == words]
    kinds = ", ".join(sorted(set(offered))) or "no devices"
    if not fitting:
        raise SlurmError(
            f"{name}.gres is {asked!r}, but the nodes of {place} have {kinds}; change it, or the partition."
        )
    if count > max(fitting):
        raise SlurmError(f"{name}.gres is {asked!r}, but no node of {place} has that many ({kinds}); ask for fewer.")


def _read_gres(text: str) -> tuple[tuple[str, ...], int]:
    *words, last = text.split(":")
    return (tuple(words), int(last)) if last.isdigit() else ((*words, last), 1)


def _check_submission(name: str, site: SlurmProfile, job: SlurmJob) -> None:
    """Let SLURM test a job without submitting it: account, qos, limits and local rules of the cluster."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "empty.sh"
        script.write_text("#!/bin/bash\n:\n", encoding="utf-8")
        try:
            words = [word for line in directives(site, job) for word in shlex.split(line)]
            ask("sbatch", "--test-only", *words, str(script))
        except SlurmError as error:
            said = re.sub(r"^.*?(allocation failure|Batch job submission failed): ", "", str(error).rstrip("."))
            raise SlurmError(f"SLURM refuses the {name} job of this profile: {said}.") from error
