"""Commands about several tables: join, register."""

from pathlib import Path

import click

from lls_decode.pipelines.cli.guarding import OutputPath
from lls_decode.pipelines.cli.options import echo_json, json_option, like_option, progress_bar


@click.command(
    epilog="Example: lls-decode join day1.parquet day2.parquet --out both.parquet. "
    "Example: lls-decode join c560.parquet c642.parquet --same-frames --channels tubulin,actin --out cell.parquet"
)
@click.argument("tables", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=OutputPath(), help="The joined table.")
@click.option("--same-frames", is_flag=True, help="TABLES are channels of the same frames, which keep their numbers.")
@click.option(
    "--channels", metavar="NAME,NAME",
    help="Channel of each table; equal names are one channel.  [default: what the tables say]",
)  # fmt: skip
@like_option
@json_option
def join(tables: tuple[Path, ...], out: Path, same_frames: bool, channels: str | None, as_json: bool) -> None:
    """Write several TABLES (localizations, or molecules) as one, their frames one after another.

    The joined table remembers the name, digest and first frame of each. Numbers of molecules stay apart. Tables of
    different pixel size, geometry or columns are refused. Tables of several channels give a table with a column
    'channel'.
    """
    from lls_decode.joining import join_tables

    names = None if channels is None else [name.strip() for name in channels.split(",")]
    with progress_bar("joining rows") as progress:
        made = join_tables(tables, out, same_frames=same_frames, channels=names, progress=progress)
    if as_json:
        echo_json({**vars(made), "inputs": [vars(given) for given in made.inputs]})
        return
    for given in made.inputs:
        last = given.first_frame + given.num_frames - 1
        labels = ", ".join(made.channels[number] for number in given.channels if made.channels)
        click.echo(
            f"{given.name}: {given.rows} rows, frames {given.first_frame} to {last}" + (f", {labels}" if labels else "")
        )
    click.echo(f"{made.path}: {made.num_rows} rows, {made.num_frames} frames")
