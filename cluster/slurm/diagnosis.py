"""What is to be said of SLURM, and of the interpreter of its jobs, for 'lls-decode doctor'."""

import ast
import inspect
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Sequence

from lls_decode.cluster import versions
from lls_decode.cluster.profile import State

from .commands import COMMANDS, NodeInfo, SlurmError, ask, list_nodes, missing_commands
from .profile import SlurmProfile
from .scripts import interpreter

START_S = 120.0
"""How long an interpreter may take; environments on file servers are slow."""
_CORRECT = "correct setup, container or python in the profile"


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


def examine_interpreter(site: SlurmProfile) -> tuple[State, str]:
    """Whether the jobs' Python starts, and has the packages that this one has."""
    try:
        there = interpreter_versions(site)
    except (ValueError, SyntaxError) as error:
        return "wrong", f"Python of the jobs does not start ({error}); {_CORRECT}"
    if versions.OURS not in there:
        return "wrong", f"Python of the jobs has no lls-decode; {_CORRECT}"
    differ = versions.differences(versions.versions_here(), there)
    if differ:
        words = f"Python of the jobs has other versions: {', '.join(differ.values())}; submit from the same environment"
        return ("wrong" if versions.MUST_AGREE & differ.keys() else "note"), words
    return "ok", "Python of the jobs has the versions of this one (asked here, not on a node)"


def interpreter_versions(site: SlurmProfile) -> dict[str, str]:
    """Versions in the environment of a job, asked on this machine: setup, container and interpreter of the profile.

    Raises
    ------
    ValueError
        It cannot be started; with the last line that it said.
    """
    code = inspect.getsource(versions) + "\nprint(versions_here())\n"
    command = " ".join([*([site.container] if site.container else []), shlex.join([*interpreter(site), "-c", code])])
    script = "\n".join([*site.setup, command])
    try:
        said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=START_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"no answer within {START_S:g} s") from error
    lines = said.stdout.strip().splitlines()
    if said.returncode or not lines:
        raise ValueError((said.stderr.strip().splitlines() or [f"exit status {said.returncode}"])[-1])
    found: dict[str, str] = ast.literal_eval(lines[-1])
    return found
