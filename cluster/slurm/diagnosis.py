"""Checks of SLURM, and of the Python interpreter of its jobs, for 'lls-decode doctor'."""

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
"""Time in seconds that an interpreter may take to start; environments on file servers load slowly."""
_CORRECT = "correct setup, container or python in the profile"


def examine() -> list[tuple[State, str]]:
    """Check this machine's SLURM; return states (ok, note, wrong) and descriptions."""
    missing = missing_commands()
    if len(missing) == len(COMMANDS):
        return [("note", "no SLURM here; use one of the sites local, cuda and tcp://HOST:PORT")]
    if missing:
        return [("wrong", f"SLURM is incomplete, {', '.join(missing)} not found; correct PATH, or load SLURM's module")]
    try:
        here = _version(ask("sbatch", "--version", timeout_s=20))
        settings = ask("scontrol", "show", "config", timeout_s=20)
        nodes = list_nodes()
    except SlurmError as error:
        return [("wrong", _describe_silence(str(error).rstrip(".")))]
    found: list[tuple[State, str]] = [_describe(here, nodes)]
    there = _version(next((line for line in settings.splitlines() if line.startswith("SLURM_VERSION")), ""))
    if there and here and there[:2] != here[:2]:
        words = f"SLURM's commands have version {_dotted(here)}, its controller {_dotted(there)}"
        newer = here[:2] > there[:2]
        found.append(("wrong", f"{words}; commands must not be newer") if newer else ("note", words))
    if re.search(r"^JobRequeue\s*=\s*0", settings, flags=re.MULTILINE):
        found.append(("note", "SLURM does not requeue jobs (JobRequeue=0); lost workers are replaced by new jobs"))
    return found


def _describe_silence(said: str) -> str:
    """Return why SLURM does not answer: this machine is not configured for it, or the controller is down."""
    if "configuration source" in said:
        return "SLURM's commands are installed, but find no slurm.conf; run this on a login node, or set SLURM_CONF"
    if "munge" in said.lower():
        return f"this machine cannot authenticate with SLURM: {said}; check that munged is running ('munge -n')"
    return f"SLURM's controller does not answer: {said}; check that it is running ('scontrol ping')"


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
    """Check that the jobs' Python starts and has the same package versions as this Python."""
    try:
        there = interpreter_versions(site)
    except (ValueError, SyntaxError) as error:
        return "wrong", f"the jobs' Python does not start ({error}); {_CORRECT}"
    if versions.OURS not in there:
        return "wrong", f"the jobs' Python has no lls-decode; {_CORRECT}"
    differ = versions.differences(versions.versions_here(), there)
    if differ:
        words = f"the jobs' Python has other versions: {', '.join(differ.values())}; submit from the same environment"
        return ("wrong" if versions.MUST_AGREE & differ.keys() else "note"), words
    return "ok", "the jobs' Python has the same versions as this one (tested on this machine, not on a node)"


def interpreter_versions(site: SlurmProfile) -> dict[str, str]:
    """Return the package versions in the environment of a job: setup, container and interpreter of the profile.

    The environment is started on this machine, not on a node.

    Raises
    ------
    ValueError
        The environment cannot be started; the message is the last line that it printed.
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
