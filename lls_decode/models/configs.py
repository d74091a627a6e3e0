"""Convert configurations that a caller gives as an object, dictionary, path, or name of a shipped configuration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from lls_decode.config import Config, RunConfig, load, load_run_config, parse
from lls_decode.errors import ConfigError, shell_command
from lls_decode.models.files import find_config

C = TypeVar("C", bound=Config)
Given = Mapping[str, Any] | str | Path
"""Dictionary (nested or with dotted keys), path of a YAML file, or name of a shipped configuration."""
RunConfigLike = RunConfig | Given | None
"""`RunConfig`, dictionary (nested or with dotted keys), path of a YAML file, or None for the defaults."""

_TUNING_MINUTES = 20
"""Recommended duration of a training that starts with the weights of a model, minutes on two CPU cores."""


def as_config(kind: type[C], value: C | Given, *, source: str = "config") -> C:
    """Return a configuration of class ``kind``; ``source`` names the origin of a dictionary in errors.

    Raises
    ------
    ConfigError
        The file does not exist, a key is unknown, or a value is invalid.
    """
    if isinstance(value, kind):
        return value
    if isinstance(value, Mapping):
        return parse(kind, nest(value, source=source), source=source)
    if not isinstance(value, str | Path):
        raise ConfigError(
            f"{source} is of type {type(value).__name__}, expected {kind.__name__}, a dictionary, or the path of a "
            "YAML file."
        )
    return load(kind, find_config(value))


def as_run_config(value: RunConfigLike, *, source: str = "config") -> RunConfig:
    """Return a run configuration; paths in a YAML file are relative to its folder, others to the current folder.

    Raises
    ------
    ConfigError
        The file does not exist, a key is unknown, or a value is invalid.
    """
    if value is None:
        return RunConfig()
    return load_run_config(value) if isinstance(value, str | Path) else as_config(RunConfig, value, source=source)


def train_command(config: str | Path, *, name: str, init_from: str | None) -> str:
    """Return the command that trains the model ``name`` with a configuration, from the weights of a shipped model."""
    start = () if init_from is None else ("--init-from", init_from, "--minutes", str(_TUNING_MINUTES))
    return shell_command("train", "--config", config, *start, "--out", f"work/{name}")


def nest(values: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Convert dotted keys to nested dictionaries: ``{"a.b": 1}`` becomes ``{"a": {"b": 1}}``.

    Raises
    ------
    ConfigError
        A key is not text, or is given twice.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if not isinstance(key, str):
            raise ConfigError(f"{source}: key {key!r} is of type {type(key).__name__}, expected text.")
        *parents, last = key.split(".")
        part = {last: nest(value, source=source) if isinstance(value, Mapping) else value}
        for parent in reversed(parents):
            part = {parent: part}
        _add(found, part, source)
    return found


def _add(found: dict[str, Any], more: dict[str, Any], source: str, prefix: str = "") -> None:
    """Add values to a nested dictionary; raise `ConfigError` if it already contains one of them."""
    for key, value in more.items():
        if key not in found:
            found[key] = value
        elif isinstance(found[key], dict) and isinstance(value, dict):
            _add(found[key], value, source, f"{prefix}{key}.")
        else:
            raise ConfigError(f"{source}: {prefix}{key} is given twice; give it once.")
