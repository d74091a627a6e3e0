"""The frozen base of all configuration, and the one door through which YAML comes in."""

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, Union

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetCoreSchemaHandler, ValidationError
from pydantic_core import core_schema

from lls_decode.documents import DocumentError, read_yaml
from lls_decode.errors import ConfigError
from lls_decode.outputs import note_read

M = TypeVar("M", bound="Config")

_LONGEST_NAME = 100
_NOT_IN_NAMES = '/\\:*?"<>|'
"""Separators, and what Windows does not have in names."""
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))}
_MOST_MISTAKES = 10
_MOST_QUOTED = 200
"""Mistakes that an error names, and characters that it quotes."""


def check_file_name(name: str) -> str:
    """Return a name that a file may have on every system, or refuse it before anything long is done for its sake."""
    if not name or len(name) > _LONGEST_NAME:
        raise ValueError(f"a name has 1 to {_LONGEST_NAME} characters, as files are named by it")
    bad = sorted({sign for sign in name if sign in _NOT_IN_NAMES or not sign.isprintable()})
    if bad:
        raise ValueError(f"files are named by it, and {' '.join(map(repr, bad))} cannot be part of a file's name")
    if name.startswith((".", " ", "-")) or name.endswith((".", " ")):
        raise ValueError(
            "files are named by it, so that it must not begin with '.', ' ' or '-', nor end with '.' or ' '"
        )
    if name.partition(".")[0].upper() in _RESERVED:
        raise ValueError("files are named by it, and Windows reserves this name; choose another")
    return name


FileName = Annotated[str, AfterValidator(check_file_name)]
"""A name that files are named by."""


class Config(BaseModel):
    """Frozen, typed, refuses unknown keys. ``replace`` makes a new one and validates it.

    The string under a field describes it in commented YAML and in the JSON schema.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def replace(self, **changes: Any) -> Self:
        """Copy with other values, validated."""
        return parse(type(self), {**self.model_dump(), **changes}, source=type(self).__name__)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON and YAML can hold."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Text that `load` reads back as an equal configuration."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def digest(self) -> str:
        """Sixteen hexadecimal digits that change when any value does."""
        return digest(self.to_dict())


@dataclass(frozen=True, eq=False)  # typing hashes it
class OneOf:
    """Annotation of a field whose value is one of several listed kinds of configuration, told apart by ``kind``.

    A union that is read from its list whenever a value is validated: what joins the list is known everywhere.
    """

    listed: Sequence[type[Config]]
    also: Sequence[type[Config]] = ()
    """Kinds that are allowed in this field only."""

    @property
    def kinds(self) -> dict[str, type[Config]]:
        """The allowed configurations by kind."""
        return {kind.model_fields["kind"].default: kind for kind in (*self.listed, *self.also)}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Validate by `_choose`; the union stands for all kinds in a JSON schema."""
        kinds: Any = Union[tuple(self.kinds.values())]  # noqa: UP007  (as many as are listed)
        union = handler.generate_schema(Annotated[kinds, Field(discriminator="kind")])
        dump = core_schema.simple_ser_schema("any")  # each kind by its own fields
        return core_schema.no_info_wrap_validator_function(self._choose, union, serialization=dump)

    def _choose(self, value: Any, _: Any) -> Config:
        kinds = self.kinds
        if isinstance(value, Config) and type(value) in kinds.values():
            return value
        name = value.get("kind") if isinstance(value, dict) else None
        if name not in kinds:
            raise ValueError(f"kind is {name!r}, expected one of {', '.join(kinds)}")
        return kinds[name].model_validate(value)


def digest(value: Any) -> str:
    """Sixteen hexadecimal digits of a JSON-able value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(kind: type[M], path: str | Path) -> M:
    """Read a configuration from YAML.

    Raises
    ------
    ConfigError
        The file is absent, is no YAML mapping, or holds unknown keys or impossible values.
    """
    return parse(kind, read_mapping(path), source=str(path))


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds keys and values.

    Raises
    ------
    ConfigError
        The file is absent, or is no YAML mapping.
    """
    path = Path(path)
    note_read(path)
    try:
        data = read_yaml(path)
    except OSError as error:
        raise ConfigError(
            f"Configuration {path} cannot be read ({error.strerror}); give the path of a YAML file."
        ) from error
    except DocumentError as error:
        raise ConfigError(f"Configuration {path} cannot be read: {error}.") from error
    if not isinstance(data, dict):
        raise ConfigError(f"Configuration {path} holds {type(data).__name__}, expected a mapping of keys to values.")
    return data


def parse(kind: type[M], data: Any, *, source: str) -> M:
    """Validate plain values; ``source`` names them in the error."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False)
        more = f"; and {len(found) - _MOST_MISTAKES} more" if len(found) > _MOST_MISTAKES else ""
        reasons = "; ".join(_explain(kind, item) for item in found[:_MOST_MISTAKES])
        raise ConfigError(f"{source}: {reasons}{more}.") from None


def _explain(kind: type[BaseModel], item: Any) -> str:
    place = _short(".".join(_short(str(part)) for part in item["loc"]))
    if item["type"] != "extra_forbidden":
        message = f"{place or 'configuration'}: {item['msg'].removeprefix('Value error, ')}"
        return (
            message
            if isinstance(item["input"], dict | BaseModel)
            else f"{message}, found {_short(repr(item['input']))}"
        )
    known = _keys(kind)
    close = difflib.get_close_matches(_short(str(item["loc"][-1])), sorted(known), n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"unknown key {place!r}{hint}"


def _short(text: str) -> str:
    """The beginning of what a file holds."""
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}..."


def _keys(kind: type[BaseModel]) -> set[str]:
    """All keys of a configuration and of those inside it."""
    found: set[str] = set()
    todo: list[Any] = [kind]
    seen: set[int] = set()
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, type) and issubclass(item, BaseModel):
            found |= set(item.model_fields)
            todo += [field.annotation for field in item.model_fields.values()]
            todo += item.__subclasses__()
        todo += list(getattr(item, "__args__", ()))
    return found
