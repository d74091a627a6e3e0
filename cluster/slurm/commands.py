"""Python wrappers of SLURM's commands: list nodes, submit and cancel jobs."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lls_decode.errors import SiteError

COMMANDS = ("sbatch", "squeue", "sinfo", "scancel", "scontrol")


class SlurmError(SiteError):
    """Raised when a SLURM command fails, is missing, or does not answer."""


@dataclass(frozen=True)
class NodeInfo:
    """Node of a partition, as listed by ``sinfo``."""

    partition: str
    default: bool
    """Whether the partition is the default partition."""
    hours: float | None
    """Longest wall time of the partition in hours; None: no limit."""
    cpus: int
    memory_mib: int
    gres: tuple[str, ...]
    """Devices of the node, e.g. ``gpu:a100:4``."""
    available: bool


def missing_commands() -> list[str]:
    """Return the SLURM commands that are not on the path."""
    return [name for name in COMMANDS if shutil.which(name) is None]


def ask(*words: str, timeout_s: float = 60.0) -> str:
    """Run a SLURM command and return its standard output.

    Raises
    ------
    SlurmError
        The command is missing, failed, or did not answer in time.
    """
    try:
        result = subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError as error:
        raise SlurmError(
            f"Command {words[0]} is not found; run this on a machine with SLURM's commands (a login node), or give "
            "another --site."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{words[0]} has not answered for {timeout_s:g} s; SLURM's controller may be down.") from error
    if result.returncode:
        said = " ".join((result.stderr or result.stdout).split()) or f"exit status {result.returncode}"
        raise SlurmError(f"{words[0]}: {said.removeprefix(f'{words[0]}: ').removeprefix('error: ')}")
    return result.stdout


def list_nodes() -> list[NodeInfo]:
    """Return all nodes; a node appears once for each partition that it belongs to."""
    text = ask("sinfo", "--noheader", "--Node", "--format=%P|%l|%c|%m|%G|%T")
    return [_node(line) for line in text.splitlines() if line.count("|") == 5]


def submit(script: Path, *options: str) -> str:
    """Submit a job script and return the job id."""
    return ask("sbatch", "--parsable", *options, str(script)).strip().split(";")[0]


def cancel(*ids: str) -> None:
    """Cancel jobs by id; finished jobs are ignored."""
    if ids:
        ask("scancel", *ids)


def read_hours(text: str) -> float | None:
    """Convert a SLURM time limit ([days-]hours:minutes:seconds or minutes:seconds) to hours; None means no limit."""
    if text.strip().lower() in ("infinite", "unlimited", "n/a", ""):
        return None
    days, dash, rest = text.strip().rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
        return 24 * int(days) + hours + minutes / 60 + seconds / 3600
    if len(parts) == 1:
        return parts[0] / 60
    seconds, minutes, hours = (*reversed(parts), 0)[:3]
    return hours + minutes / 60 + seconds / 3600


def _node(line: str) -> NodeInfo:
    partition, limit, cpus, memory, gres, state = line.split("|")
    return NodeInfo(
        partition=partition.rstrip("*"),
        default=partition.endswith("*"),
        hours=read_hours(limit),
        cpus=int(cpus.rstrip("+")),
        memory_mib=int(memory.rstrip("+")),
        gres=tuple(item.partition("(")[0] for item in _split_gres(gres) if item not in ("(null)", "")),
        available=not state.startswith(("down", "drain", "fail", "inval", "unknown", "maint")),
    )


def _split_gres(text: str) -> list[str]:
    """Split a device list at commas outside of brackets, e.g. ``gpu:4(S:0,1),shard:8``."""
    parts, depth = [""], 0
    for sign in text:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return parts
