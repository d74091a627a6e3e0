"""Finds the examples of README, CONTRIBUTING and the documentation, and what each reads and writes.

An example is a fenced block of Python or shell. A comment on the line before it may say why it cannot run here::

    <!-- not run: needs SLURM -->
"""

import ast
import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from lls_decode.pipelines.cli import cli
from lls_decode.pipelines.cli.guarding import OutputPath

ROOT = Path(__file__).resolve().parents[2]
LANGUAGES = ("python", "sh")
"""Languages of examples; other names of a shell are refused, so that no block escapes."""
OTHER_NAMES = {"bash", "shell", "console", "zsh", "fish", "py", "pycon"}

_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.+) -->")
_FENCE = re.compile(r"```(?P<language>.*)$")
_RUN_FOLDER_READERS = {"status", "watch", "report", "merge"}
"""Commands whose argument OUT is a run that they read."""
_SECOND_IS_OUTPUT = {"join": 1, "run": 2}
"""Functions of the package, and the position of the argument that they write."""


@dataclass(frozen=True)
class Example:
    """One fenced block of a page."""

    page: str
    """Path of the page in the repository."""
    line: int
    """Line of the opening fence, counted from 1."""
    language: str
    text: str
    reason: str | None
    """Why the block cannot run here; None: it is run."""

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One command line of ``lls-decode``, parsed but not executed."""

    words: tuple[str, ...]
    """Words after the program."""
    outputs: tuple[str, ...]
    """Paths that the command writes."""


def find_pages() -> list[Path]:
    """Return README, CONTRIBUTING and all pages of the documentation."""
    pages = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in path.parts]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *pages]


def find_blocks(path: Path) -> Iterator[Example]:
    """Return all fenced blocks of a page, whatever their language."""
    lines, before = path.read_text(encoding="utf-8").splitlines(), ""
    page, number = path.relative_to(ROOT).as_posix(), 0
    while number < len(lines):
        fence = _FENCE.match(lines[number].strip())
        if fence is None:
            before, number = lines[number], number + 1
            continue
        end = next(index for index in range(number + 1, len(lines)) if lines[index].strip() == "```")
        marker = _NOT_RUN.fullmatch(before.strip())
        text = textwrap.dedent("\n".join(lines[number + 1 : end])) + "\n"
        yield Example(page, number + 1, fence["language"].strip(), text, None if marker is None else marker["reason"])
        before, number = "", end + 1


def find_examples() -> list[Example]:
    """Return the Python and shell examples of all pages."""
    return [block for path in find_pages() for block in find_blocks(path) if block.language in LANGUAGES]


def find_commands(text: str) -> Iterator[list[str]]:
    """Return the words of each simple command of a shell script; ``>`` and the file after it are words, too."""
    lines = (line for line in text.replace("\\\n", " ").splitlines() if not line.lstrip().startswith("#"))
    for line in lines:
        lexer = shlex.shlex(re.sub(r"\$\w+", "1", line), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word in (";", "&&", "||", "|", "&"):
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def parse(words: list[str]) -> Command | None:
    """Parse the words of a shell command; None if it is no command of ours.

    Raises
    ------
    click.UsageError
        The program has no such command or option, or a value is impossible.
    """
    while words and re.fullmatch(r"\w+=\S*", words[0]):
        words = words[1:]
    if not words or Path(words[0]).name != "lls-decode":
        return None
    redirected = words[words.index(">") + 1] if ">" in words else None
    arguments = words[1 : words.index(">")] if ">" in words else words[1:]
    if not arguments or arguments[0].startswith("-"):
        return Command(tuple(arguments), ())
    command: click.Command = cli
    context = click.Context(cli, info_name="lls-decode")
    rest = arguments
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, click.Context(found, parent=context, info_name=name)
    values = command.make_context(context.info_name, list(rest), parent=context.parent).params
    outputs = [
        str(values[param.name])
        for param in command.params
        if isinstance(param.type, OutputPath)
        and param.name is not None
        and values.get(param.name) is not None
        and not (command.name in _RUN_FOLDER_READERS and isinstance(param, click.Argument))
    ]
    return Command(tuple(arguments), tuple(outputs if redirected is None else [*outputs, redirected]))


def find_inputs(example: Example, known: set[str]) -> set[str]:
    """Return which of the known files and folders an example reads before it writes them."""
    steps = _shell_steps(example.text) if example.language == "sh" else _python_steps(example.text)
    written: set[str] = set()
    needed: set[str] = set()
    for words, outputs in steps:
        paths = {_normal(word) for word in words} - {_normal(path) for path in outputs}
        for name in known:
            read = any(path == name or path.startswith(f"{name}/") or name.startswith(f"{path}/") for path in paths)
            if read and not any(name == path or name.startswith(f"{path}/") for path in written):
                needed.add(name)
        written |= {_normal(path) for path in outputs}
    return needed


def _shell_steps(text: str) -> Iterator[tuple[list[str], tuple[str, ...]]]:
    for words in find_commands(text):
        command = parse(words)
        yield words, () if command is None else command.outputs


def _python_steps(text: str) -> Iterator[tuple[list[str], tuple[str, ...]]]:
    """Return the strings of each statement, and those that name an output."""
    for statement in ast.parse(text).body:
        outputs: list[ast.expr] = []
        for node in ast.walk(statement):
            if isinstance(node, ast.Call):
                outputs += [keyword.value for keyword in node.keywords if keyword.arg == "out"]
                name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                outputs += node.args[_SECOND_IS_OUTPUT[name] :][:1] if name in _SECOND_IS_OUTPUT else []
        strings = [part for node in ast.walk(statement) for part in _strings(node)]
        yield strings, tuple(text for node in outputs for text in _strings(node))


def _strings(node: ast.AST) -> list[str]:
    """Return a string literal, and each path that is quoted inside of it (a query names its file)."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return []
    return [node.value, *re.findall(r"'([^']+)'", node.value)]


def _normal(word: str) -> str:
    return word.strip().rstrip("/").partition("::")[0].removeprefix("./")
