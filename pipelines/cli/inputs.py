"""Options that say how a dataset is read, as one typed argument of the command."""

import functools
from dataclasses import dataclass
from typing import Any

import click

from .options import Command


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What the command line says of the input; None: nothing."""

    array: str | None
    axes: str | None
    channel: int | None
    planes_per_volume: int | None

    def changes(self) -> dict[str, Any]:
        """Return the options as changes of a run configuration, by dotted keys."""
        return {f"input.{name}": value for name, value in vars(self).items() if value is not None}


def input_options(command: Command) -> Command:
    """Give a command ``--array``, ``--axes``, ``--channel`` and ``--planes-per-volume``, as its argument ``inputs``."""

    @functools.wraps(command)
    def with_inputs(**given: Any) -> Any:
        inputs = InputOptions(**{name: given.pop(name) for name in InputOptions.__dataclass_fields__})
        return command(inputs=inputs, **given)

    made: Command = with_inputs
    for option in (
        click.option("--planes-per-volume", type=click.IntRange(1), help="For a flat stream of frames."),
        click.option("--channel", type=click.IntRange(0), help="Channel, when there are several."),
        click.option("--axes", help="Axes of the array when its metadata are absent or wrong, e.g. tzyx."),
        click.option("--array", help="Path of the array inside the store, when there are several."),
    ):
        made = option(made)
    return made
