"""Options that say how a dataset is read; the same for every command that reads one."""

import functools
from collections.abc import Callable
from typing import Any

import click

from lls_decode.errors import ConfigError

Command = Callable[..., Any]


def input_options(command: Command) -> Command:
    """Give a command ``--array``, ``--axes``, ``--channel``, ``--select`` and ``--planes-per-volume``.

    The command takes them as one argument ``selected``: values of a run configuration by dotted key, for `change`.
    """

    @functools.wraps(command)
    def with_selection(
        *,
        array: str | None,
        axes: str | None,
        channel: int | None,
        select: tuple[str, ...],
        planes_per_volume: int | None,
        **others: Any,
    ) -> Any:
        given = {"array": array, "axes": axes, "channel": channel, "planes_per_volume": planes_per_volume}
        selected: dict[str, Any] = {f"input.{name}": value for name, value in given.items() if value is not None}
        return command(selected=selected | _read_select(select), **others)

    wrapped: Command = with_selection
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
        wrapped = option(wrapped)
    return wrapped


def _read_select(items: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for item in items:
        axis, separator, index = item.partition("=")
        if not separator or not axis.strip() or not index.strip().isdecimal():
            raise ConfigError(f"--select {item}: expected AXIS=N with a number from 0, e.g. --select p=0.")
        found[f"input.select.{axis.strip()}"] = int(index)
    return found
