"""Options of ``run --follow``, which localizes an acquisition while it is being written."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lls_decode.config import RunConfig
from lls_decode.errors import ConfigError
from lls_decode.pipelines.cli.options import Command

if TYPE_CHECKING:
    from lls_decode.pipelines.running.acquisition import Acquisition


def follow_options(command: Command) -> Command:
    """Add ``--follow`` and the options that end it to a command."""
    for option in (
        click.option(
            "--idle-timeout",
            type=click.FloatRange(1),
            help="With --follow: end when no new frames have appeared for this many seconds.  [default: 600]",
        ),
        click.option("--volumes-expected", type=click.IntRange(1), help="With --follow: end after this many volumes."),
        click.option(
            "--until-file",
            type=click.Path(path_type=Path),
            help="With --follow: end when this file exists. The file OUT/STOP always ends it.",
        ),
        click.option("--follow", is_flag=True, help="Localize DATASET while it is still being written."),
    ):
        command = option(command)
    return command


def find_acquisition(
    dataset: str,
    model: Path,
    out: Path,
    config: RunConfig,
    *,
    follow: bool,
    until_file: Path | None,
    volumes_expected: int | None,
    idle_timeout: float | None,
    force: bool,
) -> "Acquisition | None":
    """Return the acquisition to follow, or None without ``--follow``.

    Raises
    ------
    ConfigError
        An option that ends ``--follow`` is given without ``--follow``.
    """
    from lls_decode.pipelines.running.acquisition import Acquisition, StopConditions

    if not follow:
        if until_file or volumes_expected or idle_timeout:
            raise ConfigError("--until-file, --volumes-expected and --idle-timeout need --follow; add it.")
        return None
    ending = StopConditions(file=until_file, volumes=volumes_expected)
    if idle_timeout is not None:
        ending = replace(ending, idle_s=idle_timeout)
    return Acquisition(dataset, model, out, config, ending=ending, force=force)
