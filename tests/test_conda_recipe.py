"""The recipe for conda-forge has the version, dependencies, entry point and licence of pyproject.toml."""

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
RECIPE: dict[str, Any] = yaml.safe_load((ROOT / "packaging" / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
ON_CONDA_FORGE = {"torch": "pytorch", "dask": "dask-core", "matplotlib": "matplotlib-base"}
"""Names of packages on conda-forge that differ from those on PyPI by more than case."""


def requirement(text: str) -> tuple[str, str]:
    """Return name and versions of a requirement of either form: ``zarr>=3.1,<4``, ``zarr >=3.1,<4``."""
    found = re.fullmatch(r"([\w.-]+)\s*(.*)", text)
    assert found is not None
    name = found[1].lower()
    return ON_CONDA_FORGE.get(name, name), found[2]


def test_versions_and_names_agree() -> None:
    assert str(RECIPE["context"]["version"]) == PROJECT["version"]
    assert RECIPE["package"]["name"] == PROJECT["name"]
    assert RECIPE["about"]["license"] == PROJECT["license"]
    assert RECIPE["about"]["summary"] == PROJECT["description"]
    (script,) = PROJECT["scripts"].items()
    assert RECIPE["build"]["python"]["entry_points"] == [" = ".join(script)]


def test_run_dependencies_are_those_of_pyproject_and_of_the_report() -> None:
    python, *dependencies = RECIPE["requirements"]["run"]
    assert python == "python >=${{ python_min }}"
    declared = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["report"]]
    assert sorted(map(requirement, dependencies)) == sorted(map(requirement, declared))


def test_build_dependencies_are_those_of_pyproject() -> None:
    python, pip, *others = RECIPE["requirements"]["host"]
    assert (python, pip) == ("python ${{ python_min }}.*", "pip")
    assert list(map(requirement, others)) == list(map(requirement, PYPROJECT["build-system"]["requires"]))
