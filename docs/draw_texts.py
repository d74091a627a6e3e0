"""Draw texts at random, evenly over all folders, to judge their English.

    python docs/draw_texts.py                        # 120 texts
    python docs/draw_texts.py --count 20 --seed 7 lls_decode/refine tests/refine

A reader sees each text alone and must understand it at first reading. Drawn are docstrings of modules, classes,
functions and fields, comments, messages, help texts of options, names of tests, and paragraphs of the documentation.
Every text is printed with its kind, file and line. The same seed draws the same texts from the same files.

Folders are drawn from in turn, so that a small folder has as many texts as a large one. A folder is a directory of at
most two levels, such as ``lls_decode/refine``, or ``README.md`` and the other pages beside it.
"""

import argparse
import ast
import io
import random
import re
import textwrap
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("lls_decode", "pipelines", "cluster", "benchmarks", "docs", "tests")
LEAST_WORDS = 4
"""Strings and comments with fewer words are names and keys rather than texts."""
_CODE_COMMENT = re.compile(r"# (noqa|type:|fmt:|pragma)")

_BODIES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Text:
    """One text, with the place where it stands."""

    path: Path
    """Path relative to the repository."""
    line: int
    kind: str
    text: str

    @property
    def folder(self) -> str:
        """Directory of at most two levels."""
        return "/".join(self.path.parent.parts[:2]) or "."


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the drawn texts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=120, help="Number of texts.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the draw.")
    parser.add_argument("paths", nargs="*", type=Path, help="Files or folders to draw from; default: all.")
    options = parser.parse_args(arguments)
    texts = [text for path in find_files(options.paths) for text in texts_of(path)]
    for number, text in enumerate(draw(texts, options.count, seed=options.seed), start=1):
        print(f"{number}. {text.path}:{text.line} ({text.kind})")
        print(textwrap.indent(text.text, "    "), end="\n\n")


def find_files(paths: Iterable[Path] = (), root: Path = ROOT) -> list[Path]:
    """Return the Python files and pages under the paths, or under all folders."""
    chosen = [path if path.is_absolute() else root / path for path in paths]
    starts = chosen or [*(root / name for name in FOLDERS), *sorted(root.glob("*.md"))]
    files = {file for start in starts for file in ([start] if start.is_file() else start.rglob("*"))}
    return sorted(file for file in files if file.suffix in (".py", ".md") and "_build" not in file.parts)


def draw(texts: Sequence[Text], count: int, *, seed: int) -> list[Text]:
    """Return texts at random without repetition; folders take turns in random order until their texts are used up."""
    chance = random.Random(seed)
    by_folder: defaultdict[str, list[Text]] = defaultdict(list)
    for text in texts:
        by_folder[text.folder].append(text)
    for folder in by_folder.values():
        chance.shuffle(folder)
    drawn: list[Text] = []
    while len(drawn) < count and by_folder:
        for name in chance.sample(sorted(by_folder), len(by_folder)):
            drawn.append(by_folder[name].pop())
            if not by_folder[name]:
                del by_folder[name]
    return drawn[:count]


def texts_of(path: Path, root: Path = ROOT) -> Iterator[Text]:
    """Yield the texts of a Python file or a page."""
    source = path.read_text(encoding="utf-8")
    found = texts_of_page(source) if path.suffix == ".md" else texts_of_program(source)
    for line, kind, text in found:
        yield Text(path.relative_to(root), line, kind, text)


def texts_of_page(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, kind and text of the paragraphs, list items and table rows of a page; code is left out."""
    paragraph: list[str] = []
    begin, fence = 1, False
    for number, line in enumerate([*source.splitlines(), ""], start=1):
        is_fence = line.lstrip().startswith("```")
        is_item = bool(re.match(r"\s*([*-]|\d+\.) |\|", line))
        ends = not line.strip() or is_fence or is_item or line.startswith(("#", "<!--"))
        if ends and paragraph:
            text = "\n".join(paragraph)
            if _is_text(text) and not re.fullmatch(r"[\s|:-]*", text):
                yield begin, "paragraph", text
            paragraph = []
        fence ^= is_fence
        if fence or is_fence or not line.strip() or line.startswith(("#", "<!--", "    ")):
            continue
        if not paragraph:
            begin = number
        paragraph.append(line)


def texts_of_program(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, kind and text of docstrings, comments, messages, help texts and names of tests."""
    tree = ast.parse(source)
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        body: list[ast.stmt] = node.body if isinstance(node, _BODIES) else []
        for before, child in zip([None, *body[:-1]], body, strict=True) if body else ():
            if isinstance(child, ast.Expr) and (text := _string(child.value)) is not None:
                docstrings.add(id(child.value))
                if before is None or isinstance(before, ast.AnnAssign | ast.Assign):
                    yield child.lineno, "docstring", _dedent(text)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.lineno, "name of a test", node.name.removeprefix("test_").replace("_", " ")
    yield from _strings(tree, docstrings)
    yield from _comments(source)


def _strings(tree: ast.AST, docstrings: set[int]) -> Iterator[tuple[int, str, str]]:
    """Yield strings of several words outside of docstrings; those of ``help=`` are help texts."""
    helps = {
        id(keyword.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "help"
    }
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in ast.walk(node) if part is not node}
        if id(node) in inside or id(node) in docstrings or not isinstance(node, ast.JoinedStr | ast.Constant):
            continue
        text = _string(node)
        if text is not None and _is_text(text):
            yield node.lineno, "help" if id(node) in helps else "message", text.strip()


def _string(node: ast.AST) -> str | None:
    """Return the value of a string; expressions in an f-string stay in braces."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr):
        return None
    parts = [
        part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
        for part in node.values
        if isinstance(part, ast.Constant | ast.FormattedValue)
    ]
    return "".join(map(str, parts))


def _comments(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield comments; those on consecutive lines of their own are one text."""
    lines = source.splitlines()
    block: list[str] = []
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or _CODE_COMMENT.match(token.string) or token.string.startswith("#!"):
            continue
        number, text = token.start[0], token.string.lstrip("# ")
        alone = lines[number - 1].lstrip().startswith("#")
        if block and not (alone and number == last + 1):
            yield from _block(block, last)
            block = []
        block.append(text)
        last = number
        if not alone:
            yield from _block(block, last)
            block = []
    yield from _block(block, last)


def _block(block: Sequence[str], last: int) -> Iterator[tuple[int, str, str]]:
    if block and _is_text(" ".join(block)):
        yield last - len(block) + 1, "comment", "\n".join(block)


def _is_text(text: str) -> bool:
    return len(re.findall(r"[^\W\d_]{2,}", text)) >= LEAST_WORDS


def _dedent(text: str) -> str:
    first, _, rest = text.partition("\n")
    return "\n".join([first, textwrap.dedent(rest)]).strip()


if __name__ == "__main__":
    main()
