"""What is to be said of a site before a run is begun on it, for 'lls-decode doctor --site'."""

import ast
import inspect
import shlex
import subprocess
from collections.abc import Iterator

from lls_decode.errors import LlsDecodeError

from . import versions
from .cuda import visible_gpus
from .profile import CudaSite, SlurmSite
from .site import connect, find_site
from .slurm.check import State, check_site
from .slurm.scripts import interpreter

CONNECT_S = 20.0
START_S = 120.0
"""How long an interpreter may take; environments on file servers are slow."""
_CORRECT = "correct setup, container or python in the profile"


def examine_site(name: str) -> Iterator[tuple[State, str]]:
    """Try a site without running anything on it: state (ok, note, wrong) and words."""
    try:
        profile = find_site(name)
        if isinstance(profile, str):
            with connect(profile, timeout_s=CONNECT_S) as client:
                yield "ok", f"{len(client.nthreads())} workers at {profile}, in an environment like this one"
        elif isinstance(profile, SlurmSite):
            check_site(profile)
            yield "ok", "SLURM gives what the profile asks for"
            yield examine_interpreter(profile)
        elif isinstance(profile, CudaSite):
            count = len(visible_gpus())
            yield ("ok" if count else "wrong"), f"{count} GPUs can be used"
        else:
            yield "ok", "workers on this machine"
    except LlsDecodeError as error:
        yield "wrong", str(error).rstrip(".")


def examine_interpreter(site: SlurmSite) -> tuple[State, str]:
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


def interpreter_versions(site: SlurmSite) -> dict[str, str]:
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
