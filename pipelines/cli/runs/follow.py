"""Options of ``run --follow``: an acquisition that is still being written."""

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
    """Give a command ``--follow``, and what ends it."""
    for option in (
        click.option(
            "--idle-timeout",
            type=click.FloatRange(1),
            help="With --follow: it is over when nothing new has come for so many seconds.  [default: 600]",
        ),
        click.option("--volumes-expected", type=click.IntRange(1), help="With --follow: it is over with so many."),
        click.option(
            "--until-file",
            type=click.Path(path_type=Path),
            help="With --follow: it is over when this file exists. OUT/STOP always does.",
        ),
        click.option("--follow", is_flag=True, help="DATASET is still being written: localize it as it comes."),
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
    """The acquisition that is to be followed; None when none is.

    Raises
    ------
    ConfigError
        Something is said of the end of an acquisition that is not followed.
    """
    from lls_decode.pipelines.running.acquisition import Acquisition, StopConditions

    if not follow:
        if until_file or volumes_expected or idle_timeout:
            raise ConfigError("--until-file, --volumes-expected and --idle-timeout go with --follow; add it.")
        return None
    ending = StopConditions(file=until_file, volumes=volumes_expected)
    if idle_timeout is not None:
        ending = replace(ending, idle_s=idle_timeout)
    return Acquisition(dataset, model, out, config, ending=ending, force=force)
