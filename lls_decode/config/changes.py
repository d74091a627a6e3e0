"""Single values of a configuration, by dotted keys: ``detection.accept``."""

from collections.abc import Mapping
from typing import Any, TypeVar

from lls_decode.config.base import Config, parse
from lls_decode.errors import ConfigError

C = TypeVar("C", bound=Config)
_CHOICES = ("kind", "rule")
"""Keys that say which of several kinds a part is; each kind has its own other keys."""


def change(config: C, changes: Mapping[str, Any], *, source: str) -> C:
    """A configuration with other values; ``source`` names them in errors.

    Another kind or rule comes first, whatever the order, and begins with its own defaults.

    Raises
    ------
    ConfigError
        There is no such key, or it cannot have the value.
    """
    data = config.model_dump()
    for key in sorted(changes, key=lambda key: key.rpartition(".")[2] not in _CHOICES):
        *parents, last = key.split(".")
        place = data
        for parent in parents:
            place = place.setdefault(parent, {}) if isinstance(place.get(parent), dict | None) else place[parent]
            if not isinstance(place, dict):
                raise ConfigError(f"{source} {key}: {parent!r} has no parts; see 'lls-decode config show'.")
        if last in _CHOICES and place.get(last) != changes[key]:
            place.clear()
        place[last] = changes[key]
    return parse(type(config), data, source=source)
