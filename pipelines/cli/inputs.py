"""Options that select what is read from a dataset, passed to the command as one typed argument."""

import functools
from dataclasses import dataclass
from typing import Any

import click

from lls_decode.errors import ConfigError

from .options import Command


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Values of the input options; None where an option was not given."""

    array: str | None
    axes: str | None
    channel: int | None
    planes_per_volume: int | None
    allow_gaps: bool | None
    select: tuple[str, ...]
    """Indices on other axes, each as ``AXIS=N``, e.g. ``p=0``."""

    def changes(self) -> dict[str, Any]:
        """Return the given options as changes to a run configuration, by dotted key."""
        names = ("array", "axes", "channel", "planes_per_volume", "allow_gaps")
        given = {f"input.{name}": getattr(self, name) for name in names if getattr(self, name) is not None}
        return given | {f"input.select.{axis}": index for axis, index in map(_read_entry, self.select)}


def input_options(command: Command) -> Command:
    """Add ``--array``, ``--axes``, ``--channel``, ``--select`` and the other input options to a command.

    The command receives them as one argument, ``inputs``.
    """

    @functools.wraps(command)
    def with_inputs(**given: Any) -> Any:
        inputs = InputOptions(**{name: given.pop(name) for name in InputOptions.__dataclass_fields__})
        return command(inputs=inputs, **given)

    made: Command = with_inputs
    for option in (
        click.option(
            "--allow-gaps", is_flag=True, default=None, help="Read a folder of stores although some are missing."
        ),
        click.option(
            "--planes-per-volume", type=click.IntRange(1), help="Frames per volume of a flat stream of frames."
        ),
        click.option(
            "--select",
            multiple=True,
            metavar="AXIS=N",
            help="Index N (from 0) on an axis other than t, c, z, y, x, e.g. p=0. Repeat for several axes.",
        ),
        click.option("--channel", type=click.IntRange(0), help="Channel to read (from 0), if there are several."),
        click.option("--axes", help="Axes of the array, if its metadata are missing or wrong, e.g. tzyx."),
        click.option("--array", help="Path of the array inside the store, if there are several."),
    ):
        made = option(made)
    return made


def _read_entry(item: str) -> tuple[str, int]:
    axis, separator, index = item.partition("=")
    if not separator or not axis.strip() or not index.strip().isdecimal():
        raise ConfigError(f"--select {item}: expected AXIS=N with N counted from 0, e.g. --select p=0.")
    return axis.strip(), int(index)
