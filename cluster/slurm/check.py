"""Whether SLURM can give what a profile asks for, found out before anything is submitted; and what its words mean."""

import difflib
import re
import shlex
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from lls_decode.cluster.profile import SlurmJob, SlurmSite

from .commands import COMMANDS, NodeInfo, QueuedJob, SlurmError, ask, list_nodes, missing_commands
from .scripts import directives

REASONS = {
    "Priority": "other jobs come first",
    "Resources": "the machines are busy",
    "None": "SLURM has not looked at it yet",
    "Dependency": "it begins after the driver job has begun",
    "BeginTime": "it was requeued a moment ago, or has a start time",
    "JobArrayTaskLimit": "the array's own limit of jobs at a time",
    "Licenses": "no licence is free",
    "Reservation": "a reservation has not begun",
}
"""Why jobs wait, in words; reasons that time removes."""
HOPELESS = {
    "BadConstraints": "no node fits its constraints; change the profile",
    "DependencyNeverSatisfied": "the job that it waits for is gone; cancel it",
    "InvalidAccount": "the account is not valid; set worker.account",
    "InvalidQOS": "the qos is not valid; set worker.qos",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "it is held; 'scontrol release' lets it go",
    "JobHoldMaxRequeue": "it was requeued too often; cancel it and submit again",
    "launch failed requeued held": "it could not be started on its node; see the log, then 'scontrol release'",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "PartitionNodeLimit": "it asks for more than the partition gives; change the profile",
    "PartitionTimeLimit": "its wall time is longer than the partition allows; lower hours",
    "ReqNodeNotAvail": "the nodes that it needs are down, drained or reserved",
}
"""Reasons that do not go away by waiting."""


def check_site(site: SlurmSite) -> None:
    """Refuse what SLURM will not give.

    Raises
    ------
    SiteError
        SLURM does not answer, or has no such partition, account, qos, devices, wall time or size of node.
    """
    missing = missing_commands()
    if missing:
        raise SlurmError(
            f"Command {missing[0]} is not found on this machine; run this where SLURM's commands are (a login node), "
            "or give another --site."
        )
    if site.encrypt and find_spec("cryptography") is None:
        raise SlurmError(
            "encrypt is true, but the package cryptography is not installed; pip install 'lls-decode[slurm]', or set "
            "encrypt: false where nobody else can reach the nodes' network."
        )
    nodes = list_nodes()
    jobs = {"worker": site.worker} | ({"driver": site.driver_job} if site.mode == "unattended" else {})
    for name, job in jobs.items():
        _check_job(name, job, nodes)
        _check_submission(name, site, job)


def explain(jobs: Iterable[QueuedJob]) -> list[str]:
    """Why jobs wait, most frequent reason first: ``3 worker jobs wait: Resources (the machines are busy)``."""
    counts = Counter((job.in_array, job.reason.strip("()")) for job in jobs if job.waits)
    lines = []
    for (in_array, reason), count in counts.most_common():
        what = f"{count} worker job{'s wait' if count > 1 else ' waits'}" if in_array else "the driver job waits"
        key = re.split(r"[,(]", reason)[0].strip()
        words = REASONS.get(key) or HOPELESS.get(key)
        limit = "a limit of your account or qos is reached" if key.startswith(("Assoc", "QOS", "Max")) else None
        lines.append(f"{what}: {reason}" + (f" ({words or limit})" if words or limit else ""))
    return lines


def is_hopeless(job: QueuedJob) -> bool:
    """Whether a job waits for something that does not come by itself."""
    return job.waits and re.split(r"[,(]", job.reason.strip("()"))[0].strip() in HOPELESS.keys() - {"ReqNodeNotAvail"}


State = Literal["ok", "note", "wrong"]


def examine() -> list[tuple[State, str]]:
    """What is to be said of this machine's SLURM, for 'lls-decode doctor': state (ok, note, wrong) and words."""
    missing = missing_commands()
    if len(missing) == len(COMMANDS):
        return [("note", "no SLURM here; sites local, cuda and tcp://HOST:PORT are those to use")]
    if missing:
        return [("wrong", f"SLURM is installed in part, {', '.join(missing)} not found; mend PATH, or load its module")]
    try:
        here = _version(ask("sbatch", "--version", timeout_s=20))
        settings = ask("scontrol", "show", "config", timeout_s=20)
        nodes = list_nodes()
    except SlurmError as error:
        return [("wrong", _describe_silence(str(error).rstrip(".")))]
    found: list[tuple[State, str]] = [_describe(here, nodes)]
    there = _version(next((line for line in settings.splitlines() if line.startswith("SLURM_VERSION")), ""))
    if there and here and there[:2] != here[:2]:
        words = f"commands of SLURM {_dotted(here)} talk to a controller of {_dotted(there)}"
        newer = here[:2] > there[:2]
        found.append(("wrong", f"{words}; commands must not be newer") if newer else ("note", words))
    if find_spec("cryptography") is None:
        found.append(("note", "the package cryptography is not installed; pip install 'lls-decode[slurm]' to encrypt"))
    if re.search(r"^JobRequeue\s*=\s*0", settings, flags=re.MULTILINE):
        found.append(("note", "jobs are not requeued here (JobRequeue=0); lost workers come back as new jobs"))
    return found


def _describe_silence(said: str) -> str:
    """Why SLURM cannot be asked: the machine itself has no part in it, or the controller is away."""
    if "configuration source" in said:
        return (
            "SLURM's commands are installed here, but find no slurm.conf; run this on a login node, or set SLURM_CONF"
        )
    if "munge" in said.lower():
        return f"this machine cannot tell SLURM who you are: {said}; is munged up here ('munge -n')?"
    return f"SLURM's controller does not answer: {said}; is it up ('scontrol ping')?"


def _describe(version: tuple[int, ...], nodes: Sequence[NodeInfo]) -> tuple[State, str]:
    up = Counter(node.partition for node in nodes if node.available)
    names = ", ".join(
        f"{name}{' (default)' if any(n.default for n in nodes if n.partition == name) else ''} {up[name]}/{count} nodes"
        for name, count in Counter(node.partition for node in nodes).items()
    )
    return ("ok" if up else "wrong", f"version {_dotted(version)}; {names or 'no partitions'}")


def _version(text: str) -> tuple[int, ...]:
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in match.groups(default="0")) if match else ()


def _dotted(version: Sequence[int]) -> str:
    return f"{version[0]:02d}.{version[1]:02d}.{version[2]}" if version else "(unknown)"


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
                f"{name}.partition is {partition!r}, which SLURM does not have{hint}; it has {', '.join(partitions)}."
            )
    there = [node for node in nodes if node.partition in chosen]
    place = f"partition {', '.join(chosen)}"
    _check_limit(f"{name}.hours", job.hours, [node.hours for node in there], f"longest wall time of {place}", "h")
    _check_limit(f"{name}.cpus", job.cpus, [node.cpus for node in there], f"largest node of {place}", "cpus")
    memory = [node.memory_mib / 1024 for node in there]
    _check_limit(f"{name}.memory_gib", job.memory_gib, memory, f"largest node of {place}", "GiB")
    if job.gres:
        _check_gres(name, job.gres, [item for node in there for item in node.gres], place)


def _check_limit(key: str, asked: float, offered: Sequence[float | None], what: str, unit: str) -> None:
    known = [value for value in offered if value is not None]
    if len(known) == len(offered) and known and asked > max(known):
        raise SlurmError(f"{key} is {asked:g}, but the {what} is {max(known):g} {unit}; lower it.")


def _check_gres(name: str, asked: str, offered: Sequence[str], place: str) -> None:
    """Compare ``gpu:2`` or ``gpu:a100:2`` with what nodes have: ``gpu:a100:4``."""
    words, count = _read_gres(asked)
    fitting = [number for item, number in map(_read_gres, offered) if item[: len(words)] == words]
    kinds = ", ".join(sorted(set(offered))) or "no devices"
    if not fitting:
        raise SlurmError(
            f"{name}.gres is {asked!r}, but the nodes of {place} have {kinds}; change it, or the partition."
        )
    if count > max(fitting):
        raise SlurmError(f"{name}.gres is {asked!r}, but no node of {place} has so many ({kinds}); ask for fewer.")


def _read_gres(text: str) -> tuple[tuple[str, ...], int]:
    *words, last = text.split(":")
    return (tuple(words), int(last)) if last.isdigit() else ((*words, last), 1)


def _check_submission(name: str, site: SlurmSite, job: SlurmJob) -> None:
    """Let SLURM judge, without submitting: accounts, qos, limits and what a site's own rules add."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "empty.sh"
        script.write_text("#!/bin/bash\n:\n")
        try:
            words = [word for line in directives(site, job) for word in shlex.split(line)]
            ask("sbatch", "--test-only", *words, str(script))
        except SlurmError as error:
            said = re.sub(r"^.*?(allocation failure|Batch job submission failed): ", "", str(error).rstrip("."))
            raise SlurmError(f"SLURM refuses the {name} job of this profile: {said}.") from error
