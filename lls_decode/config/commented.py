"""Write a configuration as YAML with a comment above each value, taken from the field descriptions."""

import re
import textwrap
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from lls_decode.config.base import Config, OneOf

_WIDTH = 110
_IN_YAML = {"None": "null", "True": "true", "False": "false"}


def commented_yaml(config: Config, *, header: tuple[str, ...] = ()) -> str:
    """Return complete YAML text, including defaults, that `load` can read; ``header`` holds its first comment lines."""
    return "\n".join([*(f"# {line}".rstrip() for line in header), *_lines(config, ""), ""])


def _lines(config: Config, pad: str) -> Iterator[str]:
    plain = config.to_dict()
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        words = [field.description or ""]
        if isinstance(value, Config):
            words = [_first_sentence(type(value)), *words, _other_kinds(value, field)]
        yield from _comment(" ".join(filter(None, words)), pad)
        if isinstance(value, Config):
            yield f"{pad}{name}:"
            yield from _lines(value, pad + "  ")
        else:
            text = yaml.safe_dump([plain[name]], default_flow_style=True, width=10 * _WIDTH).strip()
            yield f"{pad}{name}: {text[1:-1]}"


def _comment(text: str, pad: str) -> list[str]:
    return textwrap.wrap(in_yaml_words(text), _WIDTH, initial_indent=f"{pad}# ", subsequent_indent=f"{pad}# ")


def in_yaml_words(text: str) -> str:
    """Return a description on one line, with None, True and False written as in YAML."""
    return re.sub(r"\b(None|True|False)\b", lambda word: _IN_YAML[word[0]], " ".join(text.replace("``", "").split()))


def _first_sentence(kind: type[Config]) -> str:
    first, *_ = re.split(r"(?<!et al)\.(?:\s|$)", " ".join((kind.__doc__ or "").split()))
    return f"{first}."


def _other_kinds(value: Config, field: FieldInfo) -> str:
    """Return a sentence that lists the other kinds that the field allows; empty if there are none."""
    members: tuple[Any, ...] = getattr(field.annotation, "__args__", ())
    annotated = [*field.metadata, *(item for member in members for item in getattr(member, "__metadata__", ()))]
    for one_of in annotated:
        if isinstance(one_of, OneOf):
            members = tuple(one_of.kinds.values())
    kinds = [getattr(member, "model_fields", {}).get("kind") for member in members]
    others = [kind.default for kind in kinds if kind is not None and kind.default != getattr(value, "kind", None)]
    return f"Other kinds: {', '.join(others)}." if others else ""
