"""Command ``report``: draw a run as an HTML page."""

from pathlib import Path

import click

from lls_decode.pipelines.cli.guarding import OutputPath
from lls_decode.pipelines.cli.options import echo, like_option


@click.command(short_help="Draw a run as one HTML page.", epilog="Example: lls-decode report results/ --to cell.html")
@click.argument("out", type=OutputPath())
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    help="Another table of this run to draw, e.g. linked, filtered or drift-corrected.",
)
@click.option("--to", type=OutputPath(), help="HTML page to write.  [default: OUT/report.html]")
@like_option
def report(out: Path, table: Path | None, to: Path | None) -> None:
    """Draw the run in OUT as one self-contained HTML page: pictures, statistics, lost frames, speed, provenance.

    A run writes its report itself after merging its table. This command redraws it, or draws another table of the run.
    """
    from lls_decode.pipelines.report.writing import write_report

    echo(write_report(out, table=table, to=to))


def echo_report(out: Path) -> None:
    """Draw the report of a run that has merged its table, if possible, and print the path of the page."""
    from lls_decode.pipelines.report.writing import report_if_possible

    page = report_if_possible(out)
    if page is not None:
        echo(f"report     {page}", err=True)
