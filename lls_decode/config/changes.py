"""Changes of single values of a configuration by dotted key, e.g. ``detection.accept``."""

from collections.abc import Mapping
from typing import Any, TypeVar

from lls_decode.config.base import Config, parse
from lls_decode.errors import ConfigError

C = TypeVar("C", bound=Config)
_CHOICES = ("kind", "rule")
"""Keys that select one of several kinds of a section; each kind has different other keys."""


def change(config: C, changes: Mapping[str, Any], *, source: str) -> C:
    """Return a configuration with changed values; ``source`` names their origin in errors.

    A changed kind or rule is applied before other changes, in any order of the mapping, and resets its section to
    defaults.

    Raises
    ------
    ConfigError
        A key does not exist, or its value is invalid.
    """
    data = config.model_dump()
    for key in sorted(changes, key=lambda key: key.rpartition(".")[2] not in _CHOICES):
        *parents, last = key.split(".")
        place = data
        for parent in parents:
            if place.get(parent) is None:  # also for a section that may be absent, such as the camera of a run
                place[parent] = {}
            place = place[parent]
            if not isinstance(place, dict):
                raise ConfigError(
                    f"{source} {key}: {parent!r} is a single value without keys; see 'lls-decode config show'."
                )
        if last in _CHOICES and place.get(last) != changes[key]:
            place.clear()
        place[last] = changes[key]
    return parse(type(config), data, source=source)


_ABSENT = object()


def describe_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Return the differences between nested plain values as text by dotted key, e.g. ``0.7 -> 0.6``."""
    before, after = _flatten(old), _flatten(new)
    pairs = {key: (before.get(key, _ABSENT), after.get(key, _ABSENT)) for key in sorted({**before, **after})}
    return {key: f"{_word(one)} -> {_word(other)}" for key, (one, other) in pairs.items() if one != other}


def _word(value: Any) -> str:
    return "(absent)" if value is _ABSENT else str(value)


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return found
