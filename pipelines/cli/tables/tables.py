"""Commands about tables: render, export, import."""

from pathlib import Path
from typing import Any

import click

from lls_decode.errors import ConfigError
from lls_decode.pipelines.cli.options import square_pixel
from lls_decode.pipelines.cli.parts import parse_window


@click.command(epilog="Example: lls-decode render results/localizations.parquet picture.png --pixel-nm 20")
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--pixel-nm", default=20.0, show_default=True, help="Size of a pixel of the picture.")
@click.option("--z-pixel-nm", type=click.FloatRange(0, min_open=True), help="Makes a volume (.zarr) of such planes.")
@click.option("--mode", type=click.Choice(["gaussian", "histogram"]), default="gaussian", show_default=True)
@click.option("--blur-nm", type=float, help="The same sigma for all.  [default: each localization's own]")
@click.option("--colour", type=click.Choice(["depth", "time", "photons", "none"]),
              help="What hue stands for (.png, .tif).  [default: depth]")  # fmt: skip
@click.option("--colour-range", nargs=2, type=float, help="Values of the first and last colour.")
@click.option("--view", type=click.Choice(["xy", "xz", "yz"]), default="xy", show_default=True)
@click.option("--coords", type=click.Choice(["auto", "raw", "sample"]), default="auto", show_default=True)
@click.option("--x-nm", nargs=2, type=float, help="Region, from and to.")
@click.option("--y-nm", nargs=2, type=float, help="The same along y.")
@click.option("--z-nm", nargs=2, type=float, help="The same along z.")
@click.option("--tilt-deg", default=0.0, help="Turn everything about an axis before it is drawn.")
@click.option("--tilt-axis", type=click.Choice(["x", "y", "z"]), default="y", show_default=True)
@click.option("--pivot-nm", nargs=3, type=float, default=(0.0, 0.0, 0.0), help="Point that the tilt leaves in place.")
@click.option("--slab-nm", nargs=2, type=float, help="From and to along the normal of the view, after the tilt.")
@click.option("--volumes", metavar="A:B", help="Volumes A to B - 1 only, from 0; either may be left out.")
@click.option("--frames", metavar="A:B", help="The same for frames.")
@click.option("--prob-min", default=0.0, show_default=True, help="Smallest detection probability.")
@click.option("--sigma-max-nm", type=float, help="Largest lateral sigma.")
def render(table: Path, out: Path, **options: Any) -> None:
    """Draw TABLE as a picture: .png and .tif in colour, .ome.tif and .zarr as a pyramid of any size.

    PNG has a scale bar and a colour bar. Pyramids (OME-TIFF, OME-Zarr 0.5) hold localizations per pixel; with
    --z-pixel-nm a volume.
    """
    from lls_decode.pictures.render import render_png
    from lls_decode.pictures.render_pyramid import PYRAMIDS, render_pyramid
    from lls_decode.pictures.view import Cut

    options = {name: value for name, value in options.items() if value is not None}
    for name in ("volumes", "frames"):
        if name in options:
            options[name] = tuple(parse_window(options[name], option=f"--{name}"))
    cut = Cut(**{name: options.pop(name) for name in [*options] if name in Cut.__dataclass_fields__})
    is_pyramid = out.name.lower().endswith(PYRAMIDS)
    strange = {"colour", "colour_range"} if is_pyramid else {"z_pixel_nm"}
    if found := strange & options.keys():
        named = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(found))
        raise ConfigError(f"{out.name} takes no {named}; see which files it is for: lls-decode render --help.")
    picture = (render_pyramid if is_pyramid else render_png)(table, out, cut=cut, **options)
    size = " x ".join(str(number) for number in picture.shape)
    click.echo(f"{out}: {picture.num_drawn} localizations drawn, {size} pixels")


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
