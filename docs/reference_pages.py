"""Write the parts of the reference that follow from the program, or check that none is stale.

    python docs/reference_pages.py            # write them
    python docs/reference_pages.py --check    # exit with status 1 when a page differs from the program

``reference/configuration.md`` is written as a whole from the configuration models: their fields, types, limits and
defaults, and the strings below the fields. In ``reference/formats.md`` the tables of columns are written between the
lines ``<!-- generated: NAME -->`` and ``<!-- /generated -->``.
"""

import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen, MultipleOf
from pydantic.fields import FieldInfo
from refilling import refill, wants_check

from lls_decode.cluster.site import KINDS
from lls_decode.config import Config, MovieConfig, RunConfig, TrainingConfig
from lls_decode.config.base import OneOf
from lls_decode.molecules import MOLECULE_COLUMNS
from lls_decode.pipelines.batch.datasets import BatchFile
from lls_decode.pipelines.flows.presets import PRESETS, describe_preset
from lls_decode.table import COLUMNS

HERE = Path(__file__).resolve().parent
GENERATED = re.compile(
    r"^<!-- generated: (?P<name>[\w-]+) -->\n(?P<body>.*?)^<!-- /generated -->$", re.MULTILINE | re.DOTALL
)
UNITS = {
    "per_um2": "1/µm²",
    "adu_per_e": "counts per electron",
    "adu2": "counts²",
    "adu": "counts",
    "e_per_adu": "electrons per count",
    "nm": "nm",
    "px": "pixels",
    "deg": "degrees",
    "gib": "GiB",
    "s": "s",
    "hours": "h",
    "minutes": "min",
    "frames": "frames",
}
"""Unit by the ending of a key; the longest ending that fits counts."""
SCALARS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    Path: "path",
    Any: "any value",
    type(None): "`null`",
}
_PYTHON = re.compile(r"\b(None|True|False)\b")
NAMES = {"emccd": "EMCCD", "scmos": "sCMOS", "psf": "PSF", "slurm": "SLURM", "roi": "Region of interest"}
"""Names in headings that are not written as in the code."""
IN_YAML = {"None": "null", "True": "true", "False": "false"}


@dataclass(frozen=True)
class File:
    """A kind of file that people write."""

    title: str
    text: str
    kinds: Mapping[str, type[Config]]
    """The models of the file: one, or several that ``kind`` tells apart."""


FILES = (
    File(
        "Run configuration",
        "Given as `--config run.yaml` to `run`, `batch`, `preview` and other commands, or as `config=` in Python. Keys "
        "that are absent take their defaults; a camera, pixel size or geometry that is absent comes from the dataset "
        "or the model bundle. `lls-decode config show run` prints the defaults.",
        {"": RunConfig},
    ),
    File(
        "Training configuration",
        "Given as `--config training.yaml` to `train`. `lls-decode config init PRESET` writes a commented one to edit, "
        "and `lls-decode estimate` one for your own movie.",
        {"": TrainingConfig},
    ),
    File("Simulated movie", "Given as `--config movie.yaml` to `simulate`.", {"": MovieConfig}),
    File(
        "Batch file",
        "Given to `batch` in place of a list of datasets.",
        {"": BatchFile},
    ),
    File(
        "Site profile",
        "Given as `--site mine.yaml`. `lls-decode cluster show slurm-gpu --profile` prints a shipped profile to edit. "
        "The key `kind` selects the site.",
        KINDS,
    ),
)


@dataclass
class Section:
    """One configuration model, with the places where it is used."""

    model: type[Config]
    places: dict[str, list[str]] = field(default_factory=dict)
    """Key paths, by title of the file."""
    is_alternative: bool = False
    """Whether a field holds this model or another one."""

    @property
    def prefix(self) -> str | None:
        """The path of the model where it is the same in all files; None: it differs."""
        paths = {path for paths in self.places.values() for path in paths}
        return paths.pop() if len(paths) == 1 else None

    @property
    def file(self) -> str | None:
        """Title of the file in which the model is explained; None: among the shared parts."""
        return None if self.is_alternative or self.prefix is None or len(self.places) > 1 else next(iter(self.places))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the pages, and return the exit status."""
    check = wants_check(__doc__, arguments)
    stale = "differs from the program; run python docs/reference_pages.py."
    found = [
        refill(path, text, name=path.relative_to(HERE), stale=stale, check=check) for path, text in pages().items()
    ]
    return int(any(found))


def pages() -> dict[Path, str]:
    """Return the text of each page as it must be."""
    formats = HERE / "reference" / "formats.md"
    return {
        HERE / "reference" / "configuration.md": configuration_page(),
        formats: fill_generated(formats.read_text(encoding="utf-8")),
    }


def fill_generated(text: str) -> str:
    """Return the text with its generated parts written again."""
    parts: dict[str, Callable[[], str]] = {
        "localizations": lambda: column_table(COLUMNS),
        "molecules": lambda: column_table(MOLECULE_COLUMNS),
    }
    return GENERATED.sub(
        lambda found: f"<!-- generated: {found['name']} -->\n{parts[found['name']]()}\n<!-- /generated -->", text
    )


def column_table(columns: Sequence[Any]) -> str:
    """Return a Markdown table of the columns of a Parquet table."""
    rows = [[f"`{column.name}`", str(column.type), column.unit, column.description] for column in columns]
    return markdown_table(["column", "type", "unit", "meaning"], rows)


def configuration_page() -> str:
    """Return the page about all configuration keys."""
    sections = find_sections()
    parts = [
        "# Configuration",
        "All keys of the configuration files. This page is written by `python docs/reference_pages.py` from the "
        "models that read the files; change the text there, not here.",
        "Files are YAML. Unknown keys and values outside of the limits are refused. On the command line `--set "
        "detection.accept=0.8` changes one value by the path of its key, and so does "
        '`config={"detection.accept": 0.8}` in Python. `lls-decode config schema KIND` prints a JSON schema (KIND: '
        "run, training, movie, site, batch) with which editors check and complete a file.",
    ]
    for file in FILES:
        parts += [f"## {file.title}", file.text]
        for kind, model in file.kinds.items():
            if kind:
                parts += [f"### Site of kind `{kind}`", document(model)]
            parts.append(key_table(model, "", sections))
            for section in sections.values():
                if section.file == file.title and belongs(section, model):
                    parts += section_parts(section, sections)
        if file.title == "Training configuration":
            rows = [[f"`{preset}`", describe_preset(preset)] for preset in PRESETS]
            parts += ["### Presets", "`lls-decode config init PRESET --out mine.yaml` begins with one of these:"]
            parts.append(markdown_table(["preset", "microscope"], rows))
    parts += [
        "## Shared parts",
        "These parts occur in several files, or are alternatives that `kind` or `rule` selects.",
    ]
    for section in sections.values():
        if section.file is None:
            parts += section_parts(section, sections)
    return "\n\n".join(parts) + "\n"


def belongs(section: Section, model: type[Config]) -> bool:
    """Return whether the section is part of this model, and of no other kind of its file."""
    head = (section.prefix or "").partition(".")[0].removesuffix("[]")
    return head in model.model_fields


def section_parts(section: Section, sections: Mapping[type[Config], Section]) -> Iterator[str]:
    """Yield heading, text and table of a model."""
    yield f"### {title(section.model)}"
    used = "; ".join(
        f"{', '.join(f'`{path}`' for path in paths)} in a {name.lower()}" for name, paths in section.places.items()
    )
    yield f"Used as {used}."
    yield document(section.model)
    yield key_table(section.model, section.prefix or "", sections)


def title(model: type[Config]) -> str:
    """Return the heading of a model: its kind or rule, else its name in words."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", model.__name__.removesuffix("Config")).split()
    name = " ".join(NAMES.get(word.lower(), word if word is words[0] else word.lower()) for word in words)
    for key in ("kind", "rule"):
        if key in model.model_fields:
            return f"{name} (`{key}: {model.model_fields[key].default}`)"
    return name


def document(model: type[Config]) -> str:
    """Return the docstring of a model as Markdown."""
    paragraphs = re.split(r"\n\s*\n", (model.__doc__ or "").strip())
    return "\n\n".join(in_markdown(paragraph) for paragraph in paragraphs)


def find_sections() -> dict[type[Config], Section]:
    """Return every model inside the files, in the order in which they are met, with its places."""
    found: dict[type[Config], Section] = {}
    roots = {model: file.title for file in FILES for model in file.kinds.values()}

    def visit(model: type[Config], path: str, file: str) -> None:
        for name, info in model.model_fields.items():
            models = inner_models(info)
            key = (f"{path}.{name}" if path else name) + ("[]" if typing.get_origin(info.annotation) is tuple else "")
            for inner in models:
                if inner in roots:
                    continue
                section = found.setdefault(inner, Section(inner))
                section.is_alternative |= len(models) > 1
                places = section.places.setdefault(file, [])
                if key not in places:
                    places.append(key)
                visit(inner, key, file)

    for file in FILES:
        for model in file.kinds.values():
            visit(model, "", file.title)
    return found


def inner_models(info: FieldInfo) -> list[type[Config]]:
    """Return the configuration models that a field may hold."""
    return list(dict.fromkeys(_models(info.annotation, info.metadata)))


def _models(annotation: Any, metadata: Sequence[Any] = ()) -> Iterator[type[Config]]:
    for item in metadata:
        if isinstance(item, OneOf):
            yield from item.kinds.values()
            return
    if typing.get_origin(annotation) is Annotated:
        inner, *more = typing.get_args(annotation)
        yield from _models(inner, more)
    elif isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    else:
        for item in typing.get_args(annotation):
            yield from _models(item)


def key_table(model: type[Config], prefix: str, sections: Mapping[type[Config], Section]) -> str:
    """Return the table of the keys of a model."""
    rows = []
    for name, info in model.model_fields.items():
        key = f"{prefix}.{name}" if prefix else name
        rows.append([f"`{key}`", type_text(info), default_text(info), unit(name, info), meaning(name, info, sections)])
    return markdown_table(["key", "type", "default", "unit", "meaning"], rows)


def type_text(info: FieldInfo) -> str:
    """Return the type and the limits of a field in words."""
    words = _type_words(info.annotation, info.metadata)
    limits = ", ".join(limit for item in info.metadata if (limit := _limit(item)))
    base, null = words.removesuffix(" or `null`"), " or `null`" if words.endswith(" or `null`") else ""
    return f"{base} {limits}{null}" if limits else words


def _type_words(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    if list(_models(annotation, metadata)):
        if typing.get_origin(annotation) is tuple:
            return "list of sections"
        return "section or `null`" if type(None) in typing.get_args(annotation) else "section"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        words = _type_words(arguments[0])
        limits = ", ".join(limit for item in _flat(arguments[1:]) if (limit := _limit(item)))
        return f"{words} {limits}" if limits else words
    if origin is Literal:
        return " or ".join(f"`{_yaml(value)}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type_words(item) for item in arguments))
    if origin in (tuple, list, Sequence):
        if len(arguments) == 2 and arguments[1] is not Ellipsis and arguments[0] == arguments[1]:
            return f"two values: {_type_words(arguments[0])}"
        if arguments[1:] in ((), (Ellipsis,)):
            return f"list of {_type_words(arguments[0])}"
        return f"{len(arguments)} values: {_type_words(arguments[0])}"
    if origin in (dict, Mapping):
        return f"mapping of {_type_words(arguments[0])} to {_type_words(arguments[1])}"
    return SCALARS.get(annotation, str(getattr(annotation, "__name__", annotation)))


def _flat(metadata: Sequence[Any]) -> Iterator[Any]:
    for item in metadata:
        yield from item.metadata if isinstance(item, FieldInfo) else [item]


def _limit(item: Any) -> str:
    for kind, name, sign in ((Gt, "gt", ">"), (Ge, "ge", "≥"), (Lt, "lt", "<"), (Le, "le", "≤")):
        if isinstance(item, kind):
            return f"{sign} {getattr(item, name):g}"
    if isinstance(item, MultipleOf):
        return f"a multiple of {item.multiple_of:g}"
    if isinstance(item, MinLen):
        return "not empty" if item.min_length == 1 else f"length ≥ {item.min_length}"
    if isinstance(item, MaxLen):
        return f"length ≤ {item.max_length}"
    return ""


def _default(info: FieldInfo) -> Any:
    """Return the default of a field; older versions of pydantic call a factory only with the values of other fields."""
    return info.default if info.default_factory is None else info.default_factory()  # type: ignore[call-arg]


def default_text(info: FieldInfo) -> str:
    """Return the default of a field as YAML, or that it has none."""
    if info.is_required():
        return "**required**"
    value = _default(info)
    if isinstance(value, Config):
        plain, usual = value.to_dict(), {}
        for name, inner in type(value).model_fields.items():
            if not inner.is_required() and name not in ("kind", "rule"):
                usual[name] = _default(inner)
        changed = {name: plain[name] for name in plain if name not in usual or getattr(value, name) != usual[name]}
        return ", ".join(f"`{name}: {_yaml(item)}`" for name, item in changed.items()) or "as in its section"
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(_yaml(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_yaml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, float):
        return f"{value:g}"
    return IN_YAML.get(str(value), str(value))


def unit(name: str, info: FieldInfo) -> str:
    """Return the unit that the ending of a key names; a yes or no has none."""
    if info.annotation is bool:
        return ""
    for ending in sorted(UNITS, key=len, reverse=True):
        if name == ending or name.endswith(f"_{ending}"):
            return UNITS[ending]
    return ""


def meaning(name: str, info: FieldInfo, sections: Mapping[type[Config], Section]) -> str:
    """Return the description of a field, with links to the sections of its value."""
    words = in_markdown(info.description or "")
    models = inner_models(info)
    if models:
        if not words and len(models) == 1:
            words = in_markdown(_first_sentence(models[0]))
        heads = [title(model) if model in sections else _file_title(model) for model in models]
        links = ", ".join(f"[{_plain(head)}](#{slug(head)})" for head in heads)
        words = f"{words} {'One of' if len(models) > 1 else 'See'} {links}.".strip()
    if not words and name in ("kind", "rule"):
        words = "Selects this alternative."
    return words


def _file_title(model: type[Config]) -> str:
    return next(file.title for file in FILES if model in file.kinds.values())


def _first_sentence(model: type[Config]) -> str:
    first, *_ = re.split(r"(?<!et al)\.(?:\s|$)", " ".join((model.__doc__ or "").split()))
    return f"{first}."


def _plain(text: str) -> str:
    return text.replace("`", "").partition(" (")[0]


def slug(heading: str) -> str:
    """Return the anchor of a heading, as code hosts and the site make it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def in_markdown(text: str) -> str:
    """Return a docstring on one line as Markdown, with the words of YAML for None, True and False."""
    text = " ".join(text.split()).replace("``", "`")
    parts = text.split("`")
    parts[::2] = [
        _PYTHON.sub(lambda word: f"`{IN_YAML[word[0]]}`", re.sub(r"([*|])", r"\\\1", part)) for part in parts[::2]
    ]
    parts[1::2] = [_PYTHON.sub(lambda word: IN_YAML[word[0]], part) for part in parts[1::2]]
    return "`".join(parts)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; columns that are empty everywhere are left out."""
    kept = [column for column in range(len(header)) if any(row[column] for row in rows)]
    lines = [[header[column] for column in kept], ["---"] * len(kept)]
    lines += [[row[column].replace("\n", " ") for column in kept] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
