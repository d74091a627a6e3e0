"""Commands in texts and messages can be copied into a shell; installation commands name extras that exist."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lls_decode.errors import shell_command

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
ADVICE = re.compile(r"(?P<quote>.?)(?P<name>lls-decode|\.)\[(?P<extras>[\w,{}-]+)\](?P<end>.?)")
"""A mention of extras of this package, by name (``lls-decode[...]``) or for a checkout (``.[...]``)."""


def advice() -> Iterator[tuple[str, re.Match[str]]]:
    """Yield each mention of extras after ``pip install``, together with its file and line of text."""
    folders = ("lls_decode", "pipelines", "cluster", "docs", "benchmarks")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*"))]
    files += [ROOT / name for name in ("README.md", "CHANGELOG.md", "Makefile")]
    for path in files:
        if path.suffix not in (".py", ".md", ".yaml", ".def", "") or not path.is_file() or "_build" in path.parts:
            continue
        # join string literals, because a sentence may be split over two of them
        text = re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
        for install in re.finditer(r"pip install[^\n]*", text):
            for found in ADVICE.finditer(install.group()):
                yield f"{path.relative_to(ROOT)}: {install.group()}", found


MENTIONS = list(advice())


def test_texts_contain_installation_commands() -> None:
    assert len(MENTIONS) > 12


@pytest.mark.parametrize(("where", "found"), MENTIONS, ids=[where for where, _ in MENTIONS])
def test_extras_are_quoted_and_exist(where: str, found: re.Match[str]) -> None:
    """Extras are quoted, because zsh would expand unquoted brackets as a file pattern and fail."""
    assert (found["quote"], found["end"]) == ("'", "'"), where
    for extra in found["extras"].split(","):
        assert extra in EXTRAS or extra.startswith("{"), where


@pytest.mark.parametrize("text", ["pip install lls-decode[report]", "pip install -e .[dev]"])
def test_the_pattern_matches_extras_without_quotes(text: str) -> None:
    found = ADVICE.search(text)
    assert found is not None
    assert found["quote"] != "'"


WORDS = [
    "cell.parquet",
    "my cell.parquet",
    "it's.parquet",
    'a"b',
    "$HOME",
    "a`b",
    "hi!.lls",
    pytest.param("a\\b", marks=pytest.mark.posix("on Windows a backslash separates folders")),
    "~",
    "[1]",
    "",
    "é;rm x",
]


@pytest.mark.parametrize("word", WORDS)
def test_commands_in_messages_keep_their_words(word: str) -> None:
    assert shlex.split(shell_command("import", word, "SORTED.parquet")) == [
        "lls-decode", "import", word, "SORTED.parquet"
    ]  # fmt: skip


def test_plain_words_and_spaces_stay_readable() -> None:
    assert shell_command("export", Path("a/b.parquet"), "c.csv") == "lls-decode export a/b.parquet c.csv"
    assert shell_command("export", "my cell.parquet") == 'lls-decode export "my cell.parquet"'


SOURCES = sorted(path for folder in ("lls_decode", "pipelines", "cluster") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_with_values_are_built_by_shell_command(path: Path) -> None:
    """A value inserted into the text of a command, such as a path with spaces, would be split by a shell."""
    texts = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.JoinedStr)]
    commands = re.compile(r"lls-decode (?!that )(?:model |config |cluster )?[a-z-]+(?: [^';:]*)?\{")
    inserted = [
        "".join(part.value if isinstance(part, ast.Constant) else "{" for part in text.values) for text in texts
    ]
    assert [text for text in inserted if commands.search(text)] == []
