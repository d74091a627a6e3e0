"""Command ``import``: read a localization table of another program."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lls_decode.pipelines.cli.guarding import OutputPath
from lls_decode.pipelines.cli.options import echo, like_option, square_pixel
from lls_decode.pipelines.cli.parameters import LazyChoice, LazyHelpCommand

if TYPE_CHECKING:
    from lls_decode.export.foreign.kinds import Kind


def _formats() -> list[str]:
    from lls_decode.export.importing import FORMATS

    return list(FORMATS)


def _separators() -> list[str]:
    from lls_decode.table.csv_layouts import SEPARATORS

    return list(SEPARATORS)


def _csv_programs() -> str:
    from lls_decode.export.importing import CSV_LAYOUTS

    return ", ".join(dict.fromkeys(layout.name for layout in CSV_LAYOUTS.values()))


@click.command(
    "import",
    cls=LazyHelpCommand,
    formats=_csv_programs,
    short_help="Read the table PATH of another program.",
    epilog="Example: lls-decode import old_locs.hdf5 old.parquet --pixel-nm 130. "
    "Example: lls-decode import other.csv other.parquet --columns 'frame=T,x_nm=X (px),y_nm=Y (px),photons=Int' "
    "--first-frame 1 --origin corner --pixel-nm 100",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("out", type=OutputPath())
@click.option(
    "--format", type=LazyChoice(_formats),
    help="Program that wrote the file or its columns.  [default: recognized by content; a csv by its whole header]",
)  # fmt: skip
@click.option("--pixel-nm", type=click.FloatRange(0, min_open=True), help="Pixel size, nm.  [default: from the file]")
@click.option(
    "--columns", metavar="OURS=THEIRS,...",
    help="Mapping of columns, e.g. 'x_nm=Xpos (px),photons=Int', or a YAML file. NAME= omits a column.",
)  # fmt: skip
@click.option(
    "--first-frame",
    type=int,
    metavar="N",
    help="Number of the first frame in the file.  [default: depends on the format]",
)
@click.option(
    "--origin", metavar="centre|corner|X,Y",
    help="Where x and y are 0 in the file: centre or corner of the first pixel; or X,Y of that pixel's centre, nm.  "
    "[default: depends on the format]",
)  # fmt: skip
@click.option("--channel", metavar="VALUE", help="Import only this channel.  [default: all, with a column 'channel']")
@click.option("--file", metavar="VALUE", help="Import only rows of this source file, if the table combines several.")
@click.option(
    "--kind", type=click.Choice(["localizations", "molecules"]),
    help="What a row stands for.  [default: molecules if a column counts detections per row, else localizations]",
)  # fmt: skip
@click.option(
    "--planes-per-volume", type=click.IntRange(1), help="Frames per volume.  [default: from the file, else 1]"
)
@click.option("--separator", type=LazyChoice(_separators), help="Separator of csv cells.  [default: from its header]")
@like_option
def import_table(
    path: Path,
    out: Path,
    format: str | None,
    pixel_nm: float | None,
    columns: str | None,
    first_frame: int | None,
    origin: str | None,
    channel: str | None,
    file: str | None,
    kind: "Kind | None",
    planes_per_volume: int | None,
    separator: str | None,
) -> None:
    """Convert the table PATH of another program into an lls-decode table (Parquet), e.g. to compare old results.

    --format lists the supported programs. csv and Parquet files may have the columns of: {formats}. For other columns,
    give --columns. The command prints which columns are imported and which are omitted.
    """
    from lls_decode.export.importing import import_table as read

    written = read(
        path, out,
        format=format, pixel_size=square_pixel(pixel_nm), columns=columns, first_frame=first_frame, origin=origin,
        channel=channel, file=file, kind=kind, planes_per_volume=planes_per_volume, separator=separator,
    )  # fmt: skip
    _say(written)


def _say(written: Path) -> None:
    """Print what was imported, from the metadata of the written table."""
    from lls_decode.table import count_rows, read_metadata

    about = read_metadata(written)
    restored = about.history[-1].get("dropped")
    if restored is not None:  # an lls-decode table that another program has rewritten
        echo(f"{written}: {count_rows(written)} {about.kind}, restored as lls-decode wrote them")
        echo(f"  left out: {', '.join(restored) or 'none'}")
        return
    layout = f", columns of {about.input['layout']}" if "layout" in about.input else ""
    echo(f"{written}: {count_rows(written)} {about.kind}{layout}")
    taken = (ours if ours == theirs else f"{ours} = {theirs}" for ours, theirs in about.input["columns"].items())
    echo(f"  columns: {', '.join(taken)}")
    echo(f"  left out: {', '.join(about.input['dropped']) or 'none'}")
    echo(f"  first frame: {about.input['first_frame']}; centre of the first pixel: {about.input['origin']}")
