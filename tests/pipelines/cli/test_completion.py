"""Completion of names in shells, tested through click's own protocol."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from lls_decode.cluster.site import shipped_profiles
from lls_decode.models import shipped
from lls_decode.pipelines.cli import cli
from lls_decode.pipelines.flows.presets import PRESETS

MODELS, SITES = sorted(shipped(".lls")), sorted(shipped_profiles())
TRAININGS = ["astigmatism", "lls-paint", "lls-paint-48", "storm-2d"]
CASES = {
    "models of run": (("run", "cell.zarr", "--model"), "", MODELS),
    "models with a prefix": (("run", "cell.zarr", "--model"), "st", ["storm-2d"]),
    "no model with a prefix": (("run", "cell.zarr", "--model"), "my/", []),
    "models of preview": (("preview", "cell.zarr", "--model"), "", MODELS),
    "models of batch": (("batch", "cells", "--model"), "", MODELS),
    "models of spike-in": (("spike-in", "cell.zarr", "--model"), "", MODELS),
    "models of evaluate": (("evaluate", "a.csv", "b.csv", "--model"), "", MODELS),
    "models to tune": (("train", "--init-from"), "", MODELS),
    "models to distil": (("train", "--teacher"), "", MODELS),
    "models of model info": (("model", "info"), "", MODELS),
    "sites of run": (("run", "cell.zarr", "--site"), "", SITES),
    "sites with a prefix": (("batch", "cells", "--site"), "slurm", ["slurm", "slurm-gpu"]),
    "sites of demo": (("demo", "--site"), "", SITES),
    "sites of doctor": (("doctor", "--site"), "", SITES),
    "sites of cluster show": (("cluster", "show"), "c", ["cuda"]),
    "presets": (("config", "init"), "", sorted(PRESETS)),
    "trainings": (("train", "--config"), "", TRAININGS),
    "trainings to start from": (("estimate", "cell.zarr", "--base"), "", TRAININGS),
    "movies": (("simulate", "--config"), "", ["demo-movie"]),
    "configurations": (("config", "show"), "", sorted(["run", "demo-movie", *TRAININGS])),
}
"""Words typed before, the incomplete word, and the names that are offered."""


def complete(words: tuple[str, ...], begun: str) -> list[tuple[str, str]]:
    completer = ShellComplete(cli, {}, "lls-decode", "_LLS_DECODE_COMPLETE")
    return [(item.type, item.value) for item in completer.get_completions(list(words), begun)]


@pytest.mark.parametrize("case", CASES)
def test_names_are_completed(case: str) -> None:
    words, begun, expected = CASES[case]
    assert sorted(value for kind, value in complete(words, begun) if kind == "plain") == expected


def _commands(group: click.Group, *path: str) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        found += _commands(command, *path, name) if isinstance(command, click.Group) else [((*path, name), command)]
    return found


def test_files_are_completed_too() -> None:
    """Every argument that is a path requests completion of files, because the shell no longer offers them by itself."""
    for words, command in _commands(cli):
        first = next((param for param in command.params if isinstance(param, click.Argument)), None)
        if first is None or isinstance(first.type, click.Choice):
            continue
        kinds = {kind for kind, _ in complete(words, "")}
        assert kinds & {"file", "dir"}, f"{' '.join(words)} {first.name}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_documented_line_prints_a_completion_script(shell: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / "howto" / "completion.md").read_text()
    assert f"_LLS_DECODE_COMPLETE={shell}_source lls-decode" in text
    if shell == "bash" and not Path("/bin/bash").exists():
        pytest.skip("click asks bash for its version, and there is none here")
    done = _ask(f"{shell}_source")
    assert done.returncode == 0
    assert "_LLS_DECODE_COMPLETE" in done.stdout


def test_bash_completes_a_model() -> None:
    done = _ask("bash_complete", COMP_WORDS="lls-decode run x --model lls", COMP_CWORD="4")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["file,lls", *(f"plain,{name}" for name in shipped(".lls") if name.startswith("lls"))]


def _ask(instruction: str, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"_LLS_DECODE_COMPLETE": instruction} | more
    words = [sys.executable, "-c", "from lls_decode.pipelines.cli import main; main()"]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def test_python_m_runs_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "lls_decode", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("lls-decode, version ")
