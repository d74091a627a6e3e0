"""The command line: each command is a thin door to a Python function of the same effect.

The only folder that sees both machines (`cluster`) and work (`pipelines`). Heavy modules are imported inside the
commands that need them, so that ``--help`` is quick. A new command is a function in the module of its subject, and
appears in `SECTIONS`; paths that it writes are of type `OutputPath`.
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
"""All commands, as the help lists them."""
_MOST_SIGNS = 4000
"""Characters of a message: what files hold is quoted in it."""
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run ``lls-decode``; ends the process with the exit status of `lls_decode.errors`."""
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
        click.echo(f"{interrupt.name}: interrupted; the same command goes on.", err=True)
        sys.exit(interrupt.exit_status)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


def printable(message: str) -> str:
    """A message whose parts may come from any file: no control characters, and not longer than a screen."""
    words = "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in message[:_MOST_SIGNS])
    return words + (" ..." if len(message) > _MOST_SIGNS else "")


class SectionedGroup(click.Group):
    """A group whose help lists commands by subject."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of commands for each of `SECTIONS`."""
        width = max(len(name) for name in self.commands)
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                limit = formatter.width - width - 6
                formatter.write_dl([(f"{item.name:<{width}}", item.get_short_help_str(limit)) for item in commands])


@click.group(cls=SectionedGroup, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="lls-decode")
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def cli(verbose: bool) -> None:
    """Localize single molecules in lattice light-sheet volumes and other very large movies.

    zarr in, Parquet out. Begin with 'lls-decode demo', then 'lls-decode inspect DATASET'.
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
