"""Command line: each command is a thin layer over a Python function that does the same.

This is the only package that imports both `cluster` (machines) and `pipelines` (work). Commands import heavy modules
inside their functions, so that ``--help`` stays fast. To add a command, write a function in the module of its subject,
list the function in `SECTIONS`, and declare the paths that it writes as `OutputPath`.
"""

import io
import logging
import sys
from typing import NoReturn

import click

from lls_decode import __version__
from lls_decode.errors import EXIT_INTERRUPTED, EXIT_USAGE, LlsDecodeError
from lls_decode.pipelines.running.interrupts import Interrupted

from .configs import config
from .data import convert, inspect, preview
from .guarding import guard
from .machines import cluster, doctor
from .models import model
from .runs.batch import batch
from .runs.report import report
from .runs.run import demo, merge, run
from .runs.watch import status, watch
from .spike_in import spike_in
from .tables.drift import drift
from .tables.evaluation import evaluate, frc
from .tables.importing import import_table
from .tables.joining import join, register
from .tables.molecules import debias, filter_rows, link
from .tables.tables import export, render
from .training import calibrate, estimate, simulate, train

SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Begin": (demo, doctor, inspect, convert),
    "Models": (calibrate, estimate, simulate, train, model),
    "Runs": (preview, run, batch, status, watch, merge, report),
    "Tables": (join, register, drift, debias, link, filter_rows, render, export, import_table),
    "Accuracy": (evaluate, spike_in, frc),
    "Settings": (config, cluster),
}
"""All commands, by section of the top-level help."""
_MOST_SIGNS = 4000
"""Maximum length of a printed message in characters; messages quote contents of files, which can be very long."""
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run ``lls-decode`` and end the process with an exit status of `lls_decode.errors`."""
    try:
        status = cli.main(args=arguments, prog_name="lls-decode", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except LlsDecodeError as error:
        click.echo(f"Error: {printable(str(error))}", err=True)
        sys.exit(error.exit_status)
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        click.echo(printable(said.getvalue()), err=True, nl=False)
        sys.exit(EXIT_USAGE)
    except Interrupted as interrupt:
        click.echo(f"{interrupt.name}: interrupted; rerun the same command to resume.", err=True)
        sys.exit(interrupt.exit_status)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


def printable(message: str) -> str:
    """Return a message that is safe to print: control characters escaped, long texts cut at `_MOST_SIGNS`."""
    words = "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in message[:_MOST_SIGNS])
    return words + (" ..." if len(message) > _MOST_SIGNS else "")


class SectionedGroup(click.Group):
    """Command group whose help lists its commands by section."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of commands for each section of `SECTIONS`."""
        width = max(len(name) for name in self.commands)
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                limit = formatter.width - width - 6
                formatter.write_dl([(f"{item.name:<{width}}", item.get_short_help_str(limit)) for item in commands])


@click.group(cls=SectionedGroup, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="lls-decode")
@click.option("-v", "--verbose", is_flag=True, help="Log debug messages.")
def cli(verbose: bool) -> None:
    """Localize single molecules in lattice light-sheet volumes and other very large movies.

    Reads zarr, writes Parquet. Start with 'lls-decode demo', then 'lls-decode inspect DATASET'.
    """
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
        force=True,
    )


for commands in SECTIONS.values():
    for command in commands:
        guard(command)
        cli.add_command(command)
