"""Options that say how a dataset is read; the same for every command that reads one."""

import json
from collections.abc import Callable
from typing import Any

import click

from lls_decode.errors import ConfigError

Command = Callable[..., Any]


def input_options(command: Command) -> Command:
    """Give a command ``--array``, ``--axes``, ``--channel``, ``--select`` and ``--planes-per-volume``."""
    for option in (
        click.option("--planes-per-volume", type=click.IntRange(1), help="For a flat stream of frames."),
        click.option(
            "--select",
            multiple=True,
            metavar="AXIS=N",
            help="Entry N, from 0, of another axis than t, c, z, y, x, e.g. p=0. Repeat for more axes.",
        ),
        click.option("--channel", type=click.IntRange(0), help="Channel, when there are several."),
        click.option("--axes", help="Axes of the array when its metadata are absent or wrong, e.g. tzyx."),
        click.option("--array", help="Path of the array inside the store, when there are several."),
    ):
        command = option(command)
    return command


def input_changes(options: dict[str, Any]) -> tuple[str, ...]:
    """Take what these options say out of ``options``, as changes of a run configuration."""
    found = {name: options.pop(name) for name in ("array", "axes", "channel", "planes_per_volume")}
    changes = [f"input.{name}={json.dumps(value)}" for name, value in found.items() if value is not None]
    for item in options.pop("select"):
        axis, separator, index = item.partition("=")
        if not separator or not axis.strip() or not index.strip().isdecimal():
            raise ConfigError(f"--select {item}: expected AXIS=N with a number from 0, e.g. --select p=0.")
        changes.append(f"input.select.{axis.strip()}={int(index)}")
    return tuple(changes)
