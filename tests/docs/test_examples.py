"""Every example of README, CONTRIBUTING and the documentation runs as printed, in an empty folder with its inputs.

README's examples run in the default tests, those of all other pages in the slow ones. Examples that cannot run here
carry a comment with the reason; their command lines are parsed all the same.
"""

import subprocess
import sys
from pathlib import Path

import click
import pytest

from lls_decode.pipelines.cli import cli

from .examples import (
    LANGUAGES,
    OTHER_NAMES,
    Example,
    find_blocks,
    find_commands,
    find_examples,
    find_inputs,
    find_pages,
    parse,
)
from .workshop import INPUTS, Workshop, environment

EXAMPLES = find_examples()
SHELL = [example for example in EXAMPLES if example.language == "sh"]
PYTHON = [example for example in EXAMPLES if example.language == "python"]
SHORTER = {"--minutes 20": "--minutes 0.02 --set validation_frames=8 --set sequences=1 --set sequence_frames=2"}
"""What is replaced in an example before it runs: twenty minutes of training are a second here."""
PATIENCE_S = 1200


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Inputs that examples name, made when they are first asked for."""
    return Workshop(tmp_path_factory.mktemp("workshop"))


def _parameters() -> list[object]:
    found: list[object] = []
    for example in EXAMPLES:
        marks = [] if example.page == "README.md" or example.reason else [pytest.mark.slow]
        found.append(pytest.param(example, marks=marks, id=example.name))
    return found


@pytest.mark.timeout(PATIENCE_S + 600)
@pytest.mark.parametrize("example", _parameters())
def test_the_example_runs(example: Example, workshop: Workshop, tmp_path: Path) -> None:
    if example.reason is not None:
        pytest.skip(f"not run: {example.reason}")
    workshop.provide(find_inputs(example, set(INPUTS)), tmp_path, example.page)
    text = example.text
    for printed, shorter in SHORTER.items():
        text = text.replace(printed, shorter)
    script = tmp_path / f"example.{example.language}"
    script.write_text(text, encoding="utf-8")
    interpreter = [sys.executable] if example.language == "python" else ["sh", "-e"]
    done = subprocess.run(
        [*interpreter, script.name],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("example", SHELL, ids=[example.name for example in SHELL])
def test_command_lines_are_valid(example: Example) -> None:
    """Commands, options and values exist, also in examples that cannot run here."""
    for words in find_commands(example.text):
        try:
            parse(words)
        except click.ClickException as error:
            pytest.fail(f"{example.name}: {' '.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("example", PYTHON, ids=[example.name for example in PYTHON])
def test_python_is_valid(example: Example) -> None:
    compile(example.text, example.name, "exec")


def test_examples_have_the_two_names() -> None:
    """A block of another name (``bash``, ``py``) would escape these tests."""
    blocks = [block for path in find_pages() for block in find_blocks(path)]
    assert [block.name for block in blocks if block.language in OTHER_NAMES] == []
    assert len([block for block in blocks if block.language in LANGUAGES]) > 40


def test_examples_of_the_help_are_valid() -> None:
    """The example at the end of each command's help."""
    for command in _commands(click.Context(cli), cli):
        for line in (command.epilog or "").replace(". Example:", "\nExample:").splitlines():
            words = next(find_commands(line.removeprefix("Example: ").rstrip(".")), [])
            parse(words)


def _commands(context: click.Context, group: click.Group) -> list[click.Command]:
    found: list[click.Command] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found += _commands(context, command) if isinstance(command, click.Group) else [command]
    return found
