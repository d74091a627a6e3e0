"""Modules import only from lower floors (STYLE.md, "Floors"), and only folders that need torch import it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS = {
    "lls_decode": 0,
    "lls_decode.errors": 0,
    "lls_decode.axes": 0,
    "lls_decode.addresses": 1,
    "lls_decode.outputs": 0.5,
    "lls_decode.documents": 0,
    "lls_decode.robust": 0,
    "lls_decode.system": 0,
    "lls_decode.unpacking": 0.5,
    "lls_decode.config": 1,
    "lls_decode.drawing": 1,
    "lls_decode.blocks": 1,
    "lls_decode.emitters": 1,
    "lls_decode.pairs": 1,
    "lls_decode.naming": 1,
    "lls_decode.models": 2,
    "lls_decode.frames": 2,
    "lls_decode.optics": 2,
    "lls_decode.table": 2,
    "lls_decode.movies": 3,
    "lls_decode.pictures": 3,
    "lls_decode.napari": 4,
    "lls_decode.model": 4,
    "lls_decode.simulate": 4,
    "lls_decode.refine": 4,
    "lls_decode.evaluate": 4,
    "lls_decode.export": 4,
    "lls_decode.molecules": 4,
    "lls_decode.drift": 4,
    "lls_decode.joining": 4,
    "lls_decode.register": 4,
    "lls_decode.localize": 5,
    "lls_decode.training": 5,
    "lls_decode.cluster": 6,
    "lls_decode.pipelines": 6,
    "lls_decode.pipelines.doctor": 6,
    "lls_decode.pipelines.journal": 6,
    "lls_decode.pipelines.planning": 7,
    "lls_decode.pipelines.status": 7,
    "lls_decode.pipelines.running": 8,
    "lls_decode.pipelines.flows": 9,
    "lls_decode.pipelines.watch": 9,
    "lls_decode.pipelines.batch": 10,
    "lls_decode.pipelines.report": 10,
    "lls_decode.pipelines.front": 11,
    "lls_decode.pipelines.cli": 12,
    "lls_decode.__main__": 13,
}
KNOWN_TO_CLUSTER = {
    "lls_decode", "lls_decode.errors", "lls_decode.documents", "lls_decode.config.base", "lls_decode.system",
}  # fmt: skip
"""Modules of lls_decode that ``cluster/`` may import: errors, YAML and JSON documents, system calls, and the base class
of configurations. None of them concerns microscopy."""

TORCH_FOLDERS = {f"lls_decode.{name}" for name in ("optics", "model", "simulate", "refine", "localize", "training")}
TORCH_FREE = {"lls_decode.model", "lls_decode.model.info", "lls_decode.model.weights"}
"""Modules of torch folders that must not import torch, because planning imports them."""
TORCH_LATE = {name for name in FLOORS if name.startswith("lls_decode.pipelines")}
"""Folders that may import torch inside functions only: for a worker's first task, and for the checks of ``doctor``."""

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@cache
def sources() -> dict[str, Path]:
    """Return the file of every module of lls_decode by its installed name."""
    found = {}
    for folder, package in (("lls_decode", ()), ("pipelines", ("lls_decode",)), ("cluster", ("lls_decode",))):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = [*package, *path.relative_to(ROOT).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def unit(module: str) -> str:
    """Return the entry of ``FLOORS`` that a module belongs to."""
    name = module
    while name not in FLOORS:
        name, _, last = name.rpartition(".")
        if name in ("", "lls_decode"):
            raise AssertionError(f"{module}: {last!r} has no floor; add it to STYLE.md and to FLOORS")
    return name


def imports(module: str, path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each module that a module imports, and whether importing the module imports it at once."""
    tree = ast.parse(path.read_text())
    lazy = {id(node) for function in ast.walk(tree) if isinstance(function, FUNCTIONS) for node in ast.walk(function)}
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        at_once = id(node) not in lazy
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield (inner if inner in sources() else base), at_once


def ours(module: str) -> list[str]:
    return [name for name, _ in imports(module, sources()[module]) if name.split(".")[0] == "lls_decode"]


@pytest.mark.parametrize("module", sorted(sources()))
def test_imports_point_down(module: str) -> None:
    here = unit(module)
    upward = {name for name in ours(module) if unit(name) != here and FLOORS[unit(name)] >= FLOORS[here]}
    assert not upward, f"{module} (floor {FLOORS[here]}) imports {sorted(upward)}; pass it in, or move it down"


@pytest.mark.parametrize("module", [name for name in sorted(sources()) if unit(name) == "lls_decode.cluster"])
def test_cluster_knows_nothing_of_microscopy(module: str) -> None:
    foreign = {name for name in ours(module) if unit(name) != "lls_decode.cluster"} - KNOWN_TO_CLUSTER
    assert not foreign


@pytest.mark.parametrize("module", sorted(sources()))
def test_only_folders_of_the_method_import_torch(module: str) -> None:
    allowed = unit(module) in TORCH_FOLDERS and module not in TORCH_FREE
    torches = [at_once for name, at_once in imports(module, sources()[module]) if name.split(".")[0] == "torch"]
    if unit(module) in TORCH_LATE:
        assert not any(torches), f"{module} may import torch inside a function only"
    elif not allowed:
        assert not torches, f"{module} imports torch"


def test_planning_merging_and_help_run_without_torch() -> None:
    """No module that planning, merging and ``--help`` need imports torch, directly or through other modules."""
    light = [name for name in sorted(sources()) if unit(name) not in TORCH_FOLDERS or name in TORCH_FREE]
    assert {"lls_decode.model.info", "lls_decode.table", "lls_decode.frames", "lls_decode.evaluate"} <= set(light)
    script = (
        "import importlib, sys\n"
        f"for name in {light!r}:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules:\n"
        "        sys.exit(f'importing {name} imports torch')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT.parent, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", ["pipelines", "cluster"])
def test_folders_refuse_to_be_imported_by_another_name(folder: str) -> None:
    """``import pipelines`` fails in the repository root, because it would load a second copy of every class."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode != 0
    assert f"installed as lls_decode.{folder}" in done.stderr
