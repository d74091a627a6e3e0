"""Commands about tables: render, export, import."""

from pathlib import Path
from typing import Any

import click

from .options import square_pixel


@click.command(epilog="Example: lls-decode render results/localizations.parquet picture.png --pixel-nm 20")
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--pixel-nm", default=20.0, show_default=True, help="Size of a pixel of the picture.")
@click.option("--view", type=click.Choice(["xy", "xz", "yz"]), default="xy", show_default=True)
@click.option("--coords", type=click.Choice(["auto", "raw", "sample"]), default="auto", show_default=True)
@click.option("--blur-nm", type=float, help="The same sigma for all.  [default: each localization's own]")
@click.option("--prob-min", default=0.0, show_default=True, help="Smallest detection probability.")
@click.option("--sigma-max-nm", type=float, help="Largest lateral sigma.")
@click.option("--z-range-nm", nargs=2, type=float, help="Depths of the first and last colour.")
def render(table: Path, out: Path, **options: Any) -> None:
    """Draw TABLE as a picture coloured by depth (PNG)."""
    from lls_decode.export.render import render_png

    options["z_range_nm"] = options["z_range_nm"] or None
    picture = render_png(table, out, **options)
    click.echo(f"{out}: {picture.num_drawn} localizations drawn")


@click.command(epilog="Example: lls-decode export results/localizations.parquet cell_sml.mat --coords sample")
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format",
    type=click.Choice(["smap", "picasso", "decode", "smlm", "csv", "thunderstorm", "decode-csv"]),
    help="Which program's file.  [default: by the ending of OUT: _sml.mat .hdf5 .h5 .smlm .csv]",
)
@click.option(
    "--coords", type=click.Choice(["auto", "raw", "deskewed", "sample"]), default="auto", show_default=True,
    help="Frame of reference; auto: of the sample where the geometry is known.",
)  # fmt: skip
@click.option("--pixel-nm", type=click.FloatRange(0, min_open=True), help="Pixel size, nm.  [default: of the table]")
@click.option("--psf-sigma-nm", type=click.FloatRange(0, min_open=True), help="PSF width.  [default: of the model]")
@click.option("--force", is_flag=True, help="Write more than 50 million rows as text.")
def export(table: Path, out: Path, pixel_nm: float | None, **options: Any) -> None:
    """Write TABLE as the file of another program: SMAP, Picasso, DECODE, .smlm, ThunderSTORM, csv."""
    from lls_decode.export.exporting import export_table

    made = export_table(table, out, pixel_size=square_pixel(pixel_nm), **options)
    click.echo(f"{made.path}: {made.rows} localizations, {made.format}, {made.coords} coordinates")


@click.command("import", epilog="Example: lls-decode import old_locs.hdf5 old.parquet --pixel-nm 130")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format",
    type=click.Choice(["smap", "picasso", "decode", "decode-csv", "smlm", "csv"]),
    help="Which program's file.  [default: recognized by its content]",
)
@click.option("--pixel-nm", type=click.FloatRange(0, min_open=True), help="Pixel size, nm.  [default: of the file]")
@click.option("--planes-per-volume", type=click.IntRange(1), help="Frames of a volume.  [default: of the file, else 1]")
def import_table(path: Path, out: Path, pixel_nm: float | None, **options: Any) -> None:
    """Read the table PATH of another program into ours (Parquet), so that old results can be compared.

    Reads SMAP _sml.mat and csv, ThunderSTORM, Picasso, DECODE, .smlm, SMAPpy and a few csv more.
    """
    from lls_decode.export.importing import import_table as read

    click.echo(f"{read(path, out, pixel_size=square_pixel(pixel_nm), **options)} written")
