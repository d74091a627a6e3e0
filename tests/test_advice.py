"""What texts and messages tell a reader to install: it can be typed as it stands, and exists."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
ADVICE = re.compile(r"(?P<quote>.?)(?P<name>lls-decode|\.)\[(?P<extras>[\w,{}-]+)\](?P<end>.?)")
"""Extras of this package by name, or of the checkout (``.``)."""


def advice() -> Iterator[tuple[str, re.Match[str]]]:
    """Each mention of extras behind ``pip install``, with where it stands."""
    folders = ("lls_decode", "pipelines", "cluster", "docs", "benchmarks")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*"))]
    files += [ROOT / name for name in ("README.md", "CHANGELOG.md", "Makefile")]
    for path in files:
        if path.suffix not in (".py", ".md", ".yaml", ".def", "") or not path.is_file() or "_build" in path.parts:
            continue
        # words of one sentence may stand in two strings
        text = re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
        for install in re.finditer(r"pip install[^\n]*", text):
            for found in ADVICE.finditer(install.group()):
                yield f"{path.relative_to(ROOT)}: {install.group()}", found


MENTIONS = list(advice())


def test_there_is_advice() -> None:
    assert len(MENTIONS) > 12


@pytest.mark.parametrize(("where", "found"), MENTIONS, ids=[where for where, _ in MENTIONS])
def test_extras_are_quoted_and_exist(where: str, found: re.Match[str]) -> None:
    """Without quotes zsh takes the brackets for a pattern, and finds no file."""
    assert (found["quote"], found["end"]) == ("'", "'"), where
    for extra in found["extras"].split(","):
        assert extra in EXTRAS or extra.startswith("{"), where


@pytest.mark.parametrize("text", ["pip install lls-decode[report]", "pip install -e .[dev]"])
def test_the_pattern_finds_what_is_not_quoted(text: str) -> None:
    found = ADVICE.search(text)
    assert found is not None
    assert found["quote"] != "'"
