"""The packages listed in pyproject.toml are exactly the folders that hold Python files."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {"lls_decode": "lls_decode", "pipelines": "lls_decode.pipelines", "cluster": "lls_decode.cluster"}
"""Installed package of each source folder of the repository."""


def test_every_folder_is_installed() -> None:
    found = set()
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            found.add(".".join([package, *path.parent.relative_to(ROOT / folder).parts]))
    listed = SETTINGS["tool"]["setuptools"]["packages"]
    assert listed == sorted(listed)
    assert set(listed) == found


def test_every_folder_has_an_init_file() -> None:
    """A folder without ``__init__.py`` would be a namespace package, and setuptools would not install it."""
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file()


def test_folders_are_mapped_into_the_package() -> None:
    mapping = SETTINGS["tool"]["setuptools"]["package-dir"]
    assert mapping == {package: folder for folder, package in FOLDERS.items()}
