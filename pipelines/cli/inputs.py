"""Options that say how a dataset is read, as one typed argument of the command."""

import functools
from dataclasses import dataclass
from typing import Any

import click

from lls_decode.errors import ConfigError

from .options import Command


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """What the command line says of the input; None: nothing."""

    array: str | None
    axes: str | None
    channel: int | None
    planes_per_volume: int | None
    select: tuple[str, ...]
    """Entries of other axes, as ``p=0``."""

    def changes(self) -> dict[str, Any]:
        """Return the options as changes of a run configuration, by dotted keys."""
        names = ("array", "axes", "channel", "planes_per_volume")
        given = {f"input.{name}": getattr(self, name) for name in names if getattr(self, name) is not None}
        return given | {f"input.select.{axis}": index for axis, index in map(_read_entry, self.select)}


def input_options(command: Command) -> Command:
    """Give a command ``--array``, ``--axes``, ``--channel``, ``--select`` and ``--planes-per-volume``.

    The command takes them as one argument, ``inputs``.
    """

    @functools.wraps(command)
    def with_inputs(**given: Any) -> Any:
        inputs = InputOptions(**{name: given.pop(name) for name in InputOptions.__dataclass_fields__})
        return command(inputs=inputs, **given)

    made: Command = with_inputs
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
        made = option(made)
    return made


def _read_entry(item: str) -> tuple[str, int]:
    axis, separator, index = item.partition("=")
    if not separator or not axis.strip() or not index.strip().isdecimal():
        raise ConfigError(f"--select {item}: expected AXIS=N with a number from 0, e.g. --select p=0.")
    return axis.strip(), int(index)
