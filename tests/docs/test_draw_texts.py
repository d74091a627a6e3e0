"""The script that draws texts to judge their English finds every kind of text, and draws evenly and reproducibly."""

from collections import Counter
from pathlib import Path

import pytest

from .scripts import load_script

draw_texts = load_script("draw_texts")

PROGRAM = '''"""A module about bread."""

# A comment that spans
# two lines of text.
LIMIT = 3
"""Largest number of loaves."""


def test_bread_is_warm(loaves: int) -> None:
    """Check the temperature."""
    print(f"There are {loaves} loaves, expected fewer.")  # a comment after the code
    click.option("--loaves", help="Number of loaves to bake.")
    x = "name"  # noqa: this is no text at all
'''
FOUND = {
    (1, "docstring", "A module about bread."),
    (3, "comment", "A comment that spans\ntwo lines of text."),
    (6, "docstring", "Largest number of loaves."),
    (9, "name of a test", "bread is warm"),
    (10, "docstring", "Check the temperature."),
    (11, "message", "There are {loaves} loaves, expected fewer."),
    (11, "comment", "a comment after the code"),
    (12, "help", "Number of loaves to bake."),
}


def test_texts_of_a_program() -> None:
    assert set(draw_texts.texts_of_program(PROGRAM)) == FOUND


PAGE = """# Heading of the page

A paragraph with
two lines.

* An item of a list,
  with a second line
* Another item of the list

```sh
this is code and no text
```

    this is code as well, and no text

| bread | taste of the bread |
|---|---|
| rye | sour, with a hard crust |
<!-- a comment is no text -->
"""


def test_texts_of_a_page() -> None:
    assert [(line, text) for line, _, text in draw_texts.texts_of_page(PAGE)] == [
        (3, "A paragraph with\ntwo lines."),
        (6, "* An item of a list,\n  with a second line"),
        (8, "* Another item of the list"),
        (16, "| bread | taste of the bread |"),
        (18, "| rye | sour, with a hard crust |"),
    ]


def texts(folder: str, number: int) -> list[object]:
    return [draw_texts.Text(Path(folder) / "file.py", line, "comment", "text") for line in range(number)]


def test_folders_are_drawn_evenly_until_they_are_used_up() -> None:
    everything = texts("large/part", 100) + texts("large/part/deeper", 100) + texts("small", 30) + texts("tiny", 2)
    drawn = draw_texts.draw(everything, 22, seed=1)
    assert Counter(text.folder for text in drawn) == {"large/part": 10, "small": 10, "tiny": 2}
    assert len(set(drawn)) == 22
    assert len(draw_texts.draw(everything, 1000, seed=1)) == len(everything)


def test_seed_determines_the_draw() -> None:
    everything = texts("one", 50) + texts("two", 50)
    assert draw_texts.draw(everything, 10, seed=3) == draw_texts.draw(everything, 10, seed=3)
    assert draw_texts.draw(everything, 10, seed=3) != draw_texts.draw(everything, 10, seed=4)


def test_command_prints_texts_of_all_kinds_with_their_places(capsys: pytest.CaptureFixture[str]) -> None:
    draw_texts.main(["--count", "30", "--seed", "5", "docs", "tests/docs"])
    output = capsys.readouterr().out
    assert output.startswith("1. ")
    assert "30. " in output
    assert "31. " not in output
    for line in output.splitlines():
        if not line.startswith("    ") and line:
            _, place, *_ = line.split()
            path, _, number = place.rpartition(":")
            assert (draw_texts.ROOT / path).is_file()
            assert int(number) > 0
