"""The command that draws a run: report."""

from pathlib import Path

import click

from lls_decode.pipelines.cli.guarding import OutputPath
from lls_decode.pipelines.cli.options import like_option


@click.command(epilog="Example: lls-decode report results/ --to cell.html")
@click.argument("out", type=OutputPath())
@click.option("--table", type=click.Path(path_type=Path), help="A table of this run: linked, filtered, without drift.")
@click.option("--to", type=OutputPath(), help="The page.  [default: OUT/report.html]")
@like_option
def report(out: Path, table: Path | None, to: Path | None) -> None:
    """Draw the run in OUT as one HTML page that needs no other file: pictures, statistics, losses, speed, origin.

    A run draws its own when it has merged its table; this command draws it again, or of another table.
    """
    from lls_decode.pipelines.report.writing import write_report

    click.echo(write_report(out, table=table, to=to))


def echo_report(out: Path) -> None:
    """Draw a run that has merged its table, where that is possible, and say where the page is."""
    from lls_decode.pipelines.report.writing import report_if_possible

    page = report_if_possible(out)
    if page is not None:
        click.echo(f"report     {page}", err=True)
