"""Frozen base class of all configurations, and the only code that reads them from YAML."""

import difflib
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self, TypeVar, Union

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import core_schema

from lls_decode.documents import DocumentError, read_yaml
from lls_decode.errors import ConfigError
from lls_decode.outputs import note_read

M = TypeVar("M", bound="Config")

_LONGEST_NAME = 100
_NOT_IN_NAMES = '/\\:*?"<>|'
"""Path separators, and characters that Windows does not allow in file names."""
_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(1, 10))}
_LARGEST_INTEGER: Final = 2**63 - 1
_LARGEST_NUMBER: Final = 1e30
"""Largest absolute value of a number, which networks on 32-bit floats can still represent."""
_SMALLEST_NUMBER: Final = 1e-100
"""Smallest absolute value of a number other than 0; the inverse of its square is still a float."""
_MOST_MISTAKES = 10
"""Maximum number of mistakes that one error message lists."""
_ABSENT = object()
_DEEPEST = 8
"""Largest number of sections within each other that are searched for a similar key."""
_MOST_QUOTED = 200
"""Maximum number of characters that an error message quotes from a file."""


def check_file_name(name: str) -> str:
    """Return the name if it is a valid file name on every operating system; raise `ValueError` otherwise."""
    if not name or len(name) > _LONGEST_NAME:
        raise ValueError(f"expected a name of 1 to {_LONGEST_NAME} characters, because it is used in file names")
    bad = sorted({sign for sign in name if sign in _NOT_IN_NAMES or not sign.isprintable()})
    if bad:
        raise ValueError(f"the name is used in file names, which cannot contain {' '.join(map(repr, bad))}")
    if name.startswith((".", " ", "-")) or name.endswith((".", " ")):
        raise ValueError(
            "the name is used in file names, so it must not begin with '.', ' ' or '-', nor end with '.' or ' '"
        )
    if name.partition(".")[0].upper() in _RESERVED:
        raise ValueError("the name is used in file names, and Windows reserves this name; choose another one")
    return name


FileName = Annotated[str, AfterValidator(check_file_name)]
"""Name that is used in file names, validated by `check_file_name`."""


class Config(BaseModel):
    """Frozen, typed configuration that refuses unknown keys; ``replace`` returns a changed and validated copy.

    The string under a field is its description in commented YAML and in the JSON schema.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _check_numbers(cls, data: Any) -> Any:
        """Refuse numbers that overflow when they are computed with, and ``yes`` or ``true`` in place of a number."""
        for name, value in data.items() if isinstance(data, dict) else ():
            field = cls.model_fields.get(name) if isinstance(name, str) else None
            kinds = list(_kinds(field.annotation)) if field is not None else []
            if int not in kinds and float not in kinds:
                continue
            if isinstance(value, bool) and bool not in kinds:
                raise ValueError(f"{name} is {value}, as YAML reads yes, no, on and off; expected a number")
            _check_size(name, value)
        return data

    def replace(self, **changes: Any) -> Self:
        """Return a copy with changed values, validated."""
        return parse(type(self), {**self.model_dump(), **changes}, source=type(self).__name__)

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain values for JSON and YAML."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the configuration as YAML text, which `load` reads back as an equal configuration."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def digest(self) -> str:
        """Return sixteen hexadecimal digits that identify the values of the configuration."""
        return digest(self.to_dict())


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yield a type, or the types in a union, a tuple and other compound types."""
    yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _kinds(part)


def is_usual(value: float) -> bool:
    """Return whether a number is 0, or neither too large nor too small to compute with; NaN and infinity are not."""
    return value == 0 or _SMALLEST_NUMBER <= abs(value) <= _LARGEST_NUMBER


def _check_size(name: str, value: Any) -> None:
    """Raise `ValueError` for a number, or one in a list, that is not 0 and too large or too small to compute with."""
    if isinstance(value, list | tuple):
        for item in value:
            _check_size(name, item)
    elif isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise ValueError(f"{name} is an integer with more than 63 bits; expected a smaller one")
    elif isinstance(value, float) and math.isfinite(value) and not is_usual(value):
        limits = f"{_SMALLEST_NUMBER:g} to {_LARGEST_NUMBER:g}"
        raise ValueError(f"{name} is {value:g}, expected 0 or a number from {limits} with either sign")


@dataclass(frozen=True, eq=False)  # typing hashes it
class OneOf:
    """Annotation of a field whose value is one of several kinds of configuration, distinguished by ``kind``.

    The list of kinds is read each time a value is validated, so kinds added to the list later are accepted everywhere.
    """

    listed: Sequence[type[Config]]
    also: Sequence[type[Config]] = ()
    """Additional kinds that only this field allows."""

    @property
    def kinds(self) -> dict[str, type[Config]]:
        """Allowed configuration classes by ``kind``."""
        return {kind.model_fields["kind"].default: kind for kind in (*self.listed, *self.also)}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Validate values by `_choose`; use the union of all kinds for the JSON schema."""
        kinds: Any = Union[tuple(self.kinds.values())]  # noqa: UP007  (as many as are listed)
        union = handler.generate_schema(Annotated[kinds, Field(discriminator="kind")])
        dump = core_schema.simple_ser_schema("any")  # each kind by its own fields
        return core_schema.no_info_wrap_validator_function(self._choose, union, serialization=dump)

    def _choose(self, value: Any, _: Any) -> Config:
        kinds = self.kinds
        if isinstance(value, Config) and type(value) in kinds.values():
            return value
        name = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(name, str) or name not in kinds:
            raise ValueError(f"kind is {_short(repr(name))}, expected one of {', '.join(kinds)}")
        return kinds[name].model_validate(value)


def digest(value: Any) -> str:
    """Return sixteen hexadecimal digits that identify a JSON-serializable value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(kind: type[M], path: str | Path) -> M:
    """Read a configuration from YAML.

    Raises
    ------
    ConfigError
        The file is missing, is not a YAML mapping, or has unknown keys or invalid values.
    """
    return parse(kind, read_mapping(path), source=str(path))


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises
    ------
    ConfigError
        The file is missing or is not a YAML mapping.
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
    """Validate plain values and return a configuration; ``source`` names their origin in errors."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        mistakes: dict[tuple[str, ...], list[Any]] = {}
        for item in error.errors(include_url=False):
            mistakes.setdefault(_place(data, item["loc"], item["type"]), []).append(item)
        more = f"; and {len(mistakes) - _MOST_MISTAKES} more" if len(mistakes) > _MOST_MISTAKES else ""
        reasons = "; ".join(_explain(kind, *mistake) for mistake in list(mistakes.items())[:_MOST_MISTAKES])
        raise ConfigError(f"{source}: {reasons}{more}.") from None


def _place(data: Any, loc: tuple[int | str, ...], mistake: str) -> tuple[str, ...]:
    """Return the keys of a mistake, without the names of alternatives of a union that pydantic puts between them."""
    keys = []
    for number, part in enumerate(loc):
        inside = _inside(data, part)
        is_missing = mistake == "missing" and number == len(loc) - 1
        if inside is not _ABSENT or is_missing:
            keys.append(_short(str(part)))
            data = inside
    return tuple(keys)


def _inside(data: Any, part: int | str) -> Any:
    """Return the value under a key or index; `_ABSENT` if there is none."""
    if isinstance(data, BaseModel):
        return getattr(data, str(part), _ABSENT)
    try:
        return data[part]
    except (KeyError, IndexError, TypeError):
        return _ABSENT


def _explain(kind: type[BaseModel], keys: tuple[str, ...], items: list[Any]) -> str:
    """Describe the mistakes at one place; there are several if the value fits none of several types."""
    place, first = _short(".".join(keys)), items[0]
    if first["type"] == "extra_forbidden":
        return f"unknown key {place!r}{_hint(kind, keys)}"
    if first["type"] == "union_tag_invalid":
        tag, expected = first["ctx"]["tag"], first["ctx"]["expected_tags"]
        given = first["input"] if isinstance(first["input"], dict) else {}
        name = next((key for key, value in given.items() if value == tag), "kind")
        return f"{place}.{name} is {_short(repr(tag))}, expected one of {expected}".lstrip(".")
    words = " or: ".join(dict.fromkeys(item["msg"].removeprefix("Value error, ") for item in items))
    message = f"{place or 'configuration'}: {words}"
    if isinstance(first["input"], dict | BaseModel):
        return message
    return f"{message}, found {_short(repr(first['input']))}"


def _hint(kind: type[BaseModel], keys: tuple[str, ...]) -> str:
    """Return the most similar key as a question: its name, or its whole path if it belongs to another section."""
    name, section = keys[-1], tuple(key for key in keys[:-1] if not key.isdigit())  # without the indices of lists
    paths = _paths(kind)
    near = sorted({path[-1] for path in paths if path[:-1] == section} - {name})
    close = difflib.get_close_matches(name, near, n=1) or difflib.get_close_matches(
        name, sorted({path[-1] for path in paths}), n=1
    )
    if not close:
        return ""
    if close[0] in near:
        return f" (did you mean {close[0]!r}?)"
    if (*section, close[0]) in paths:  # a key of another kind of this section
        return f" here: {name!r} belongs to another kind of {'.'.join(section) or 'configuration'}"
    return f" (did you mean {'.'.join(min(path for path in paths if path[-1] == close[0]))!r}?)"


def _short(text: str) -> str:
    """Shorten a text for a message to `_MOST_QUOTED` characters."""
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}..."


def _paths(kind: type[BaseModel]) -> set[tuple[str, ...]]:
    """Return the paths of all fields of a configuration class and of the configurations nested in it."""
    found: set[tuple[str, ...]] = set()
    todo: list[tuple[Any, tuple[str, ...]]] = [(kind, ())]
    seen: set[tuple[int, tuple[str, ...]]] = set()
    while todo:
        item, section = todo.pop()
        if (id(item), section) in seen or len(section) > _DEEPEST:
            continue
        seen.add((id(item), section))
        if isinstance(item, type) and issubclass(item, BaseModel):
            found |= {(*section, name) for name in item.model_fields}
            todo += [(field.annotation, (*section, name)) for name, field in item.model_fields.items()]
            todo += [(each, section) for each in item.__subclasses__()]
        todo += [(each, section) for each in getattr(item, "__args__", ())]
    return found
