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
from .options import PrintableFormatter, echo
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
        echo(f"Error: {_shortened(str(error))}", err=True, kept="")
        sys.exit(error.exit_status)
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        echo(_shortened(said.getvalue()), err=True, nl=False)
        sys.exit(EXIT_USAGE)
    except Interrupted as interrupt:
        echo(f"{interrupt.name}: interrupted; rerun the same command to resume.", err=True)
        sys.exit(interrupt.exit_status)
    except (click.Abort, KeyboardInterrupt):
        echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        _log_traceback()
        echo(f"Error: {_shortened(_refused_by_system(error))}", err=True, kept="")
        sys.exit(EXIT_USAGE)
    except MemoryError:
        _log_traceback()
        echo(
            "Error: this computer has not enough free memory for this command; close other programs, or give it less "
            "data at a time.",
            err=True,
        )
        sys.exit(EXIT_USAGE)


def _refused_by_system(error: OSError) -> str:
    """Return a message about a path or resource that the operating system refused and no other code expected."""
    names = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return (
        f"{names or 'the operating system'}: {error.strerror or error}; check that the path is right, that you may use "
        "it, and that its disk is not full ('lls-decode -v' shows where it happened)."
    )


def _log_traceback() -> None:
    logging.getLogger(__name__).debug("unexpected error", exc_info=True)


def _shortened(message: str) -> str:
    return message[:_MOST_SIGNS] + (" ..." if len(message) > _MOST_SIGNS else "")


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
    shown = logging.StreamHandler(sys.stderr)
    shown.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[shown], force=True)


for commands in SECTIONS.values():
    for command in commands:
        guard(command)
        cli.add_command(command)
