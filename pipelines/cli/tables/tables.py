"""Commands that draw or export a table: render, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from lls_decode.axes import IndexRange
from lls_decode.errors import ConfigError
from lls_decode.pipelines.cli.guarding import OutputPath
from lls_decode.pipelines.cli.options import echo, echo_json, json_option, like_option, square_pixel
from lls_decode.pipelines.cli.parameters import (
    ExtentType,
    IndexRangeType,
    LazyChoice,
    LazyHelpCommand,
    LazyHelpOption,
    LimitsType,
    PairType,
)

if TYPE_CHECKING:
    from lls_decode.export.rows import Coords
    from lls_decode.pictures.drawing_plan import Rendering
    from lls_decode.pictures.survey import AskedExtent

Limits = tuple[float, float]


def _picture_endings() -> str:
    from lls_decode.pictures.render import PICTURES
    from lls_decode.pictures.render_pyramid import PYRAMIDS

    return f"{', '.join(PICTURES)} in colour, or {', '.join(PYRAMIDS)} as a pyramid of any size"


@click.command(
    cls=LazyHelpCommand,
    formats=_picture_endings,
    short_help="Draw TABLE as a picture.",
    epilog="Example: lls-decode render results/localizations.parquet picture.png --pixel-nm 20",
)
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("out", type=OutputPath())
@click.option("--pixel-nm", default=20.0, show_default=True, help="Pixel size of the picture, nm.")
@click.option("--z-pixel-nm", type=click.FloatRange(0, min_open=True),
              help="Plane spacing, nm; draws a volume (.zarr) instead of a plane.")  # fmt: skip
@click.option("--mode", type=click.Choice(["gaussian", "histogram"]), default="gaussian", show_default=True,
              help="Draw each localization as a Gaussian, or count localizations per pixel.")  # fmt: skip
@click.option("--blur-nm", type=float, help="One sigma for all localizations, nm.  [default: the sigma of each]")
@click.option(
    "--colour",
    type=click.Choice(["depth", "time", "photons", "channel", "none"]),
    help="Quantity shown by hue (.png, .tif).  [default: channel if there are several, else depth if measured]",
)
@click.option("--colour-range", type=LimitsType(), help="Values shown by the first and the last colour.")
@click.option("--view", type=click.Choice(["xy", "xz", "yz"]), default="xy", show_default=True,
              help="Axes of the picture.")  # fmt: skip
@click.option("--coords", type=click.Choice(["auto", "raw", "sample"]), default="auto", show_default=True,
              help="Coordinates to draw; auto: sample coordinates if the geometry is known, else camera coordinates "
              "(raw).")  # fmt: skip
@click.option("--extent", type=ExtentType(), default="auto", show_default=True,
              help="Limits of the picture, nm; auto: all localizations except outliers, which are reported; all: "
              "outliers too.")  # fmt: skip
@click.option("--channel", type=click.IntRange(0), help="Draw only this channel.  [default: each in its own colour]")
@click.option("--x-nm", type=LimitsType(), help="Region along x, nm, e.g. 0:5000.  [default: all]")
@click.option("--y-nm", type=LimitsType(), help="Region along y, nm.  [default: all]")
@click.option("--z-nm", type=LimitsType(), help="Region along z, nm.  [default: all]")
@click.option("--tilt-deg", default=0.0, help="Angle to rotate all localizations by before drawing, degrees.")
@click.option("--tilt-axis", type=click.Choice(["x", "y", "z"]), default="y", show_default=True,
              help="Axis of the rotation.")  # fmt: skip
@click.option("--pivot-nm", nargs=3, type=float, default=(0.0, 0.0, 0.0), help="Fixed point of the rotation, nm.")
@click.option("--slab-nm", type=LimitsType(), help="Limits along the viewing direction after the rotation, nm.")
@click.option("--volumes", type=IndexRangeType(), help="Draw only these volumes, e.g. 3:7 for 3 to 6.")
@click.option("--frames", type=IndexRangeType(), help="Draw only these frames.")
@click.option("--prob-min", default=0.0, show_default=True, help="Smallest detection probability to draw.")
@click.option("--sigma-max-nm", type=float, help="Largest lateral sigma to draw, nm.")
@like_option
def render(
    table: Path,
    out: Path,
    pixel_nm: float,
    z_pixel_nm: float | None,
    mode: Literal["gaussian", "histogram"],
    blur_nm: float | None,
    colour: Literal["depth", "time", "photons", "channel", "none"] | None,
    colour_range: Limits | None,
    view: Literal["xy", "xz", "yz"],
    coords: Literal["auto", "raw", "sample"],
    extent: "AskedExtent",
    channel: int | None,
    x_nm: Limits | None,
    y_nm: Limits | None,
    z_nm: Limits | None,
    tilt_deg: float,
    tilt_axis: Literal["x", "y", "z"],
    pivot_nm: tuple[float, float, float],
    slab_nm: Limits | None,
    volumes: IndexRange | None,
    frames: IndexRange | None,
    prob_min: float,
    sigma_max_nm: float | None,
) -> None:
    """Draw TABLE as a picture: {formats}.

    PNG pictures have a scale bar and a colour bar, and each channel has its own colour. Pyramids (OME-TIFF, OME-Zarr
    0.5) hold localizations per pixel; with --z-pixel-nm, an OME-Zarr pyramid is a volume.
    """
    from lls_decode.pictures.render import render_png
    from lls_decode.pictures.render_pyramid import PYRAMIDS, render_pyramid
    from lls_decode.pictures.view import View

    seen = View(
        coords=coords, projection=view, x_nm=x_nm, y_nm=y_nm, z_nm=z_nm,
        tilt_deg=tilt_deg, tilt_axis=tilt_axis, pivot_nm=pivot_nm, slab_nm=slab_nm,
        volumes=volumes, frames=frames, channel=channel, prob_min=prob_min, sigma_max_nm=sigma_max_nm,
    )  # fmt: skip
    is_pyramid = out.name.lower().endswith(PYRAMIDS)
    unfit = {"--colour": colour, "--colour-range": colour_range} if is_pyramid else {"--z-pixel-nm": z_pixel_nm}
    if named := ", ".join(option for option, value in unfit.items() if value is not None):
        raise ConfigError(f"{named} cannot be used for {out.name}; see 'lls-decode render --help'.")
    if is_pyramid:
        picture = render_pyramid(
            table, out, view=seen, pixel_nm=pixel_nm, z_pixel_nm=z_pixel_nm, mode=mode, blur_nm=blur_nm,
            extent_nm=extent,
        )  # fmt: skip
    else:
        picture = render_png(
            table, out, view=seen, pixel_nm=pixel_nm, mode=mode, blur_nm=blur_nm,
            colour=colour, colour_range=colour_range, extent_nm=extent,
        )  # fmt: skip
    _say_what_it_shows(out, picture, view)


def _say_what_it_shows(out: Path, picture: "Rendering", view: str) -> None:
    size = " x ".join(str(number) for number in picture.shape)
    echo(f"{out}: {picture.num_drawn} localizations drawn, {size} pixels")
    limits = ", ".join(
        f"{axis} {low:.1f} to {high:.1f} nm" for axis, (low, high) in zip(view, picture.extent_nm, strict=True)
    )
    echo(f"pixels of {picture.pixel_nm:g} nm, {picture.coords} coordinates, {limits}")
    if picture.channels:
        from lls_decode.pictures.colours import channel_names

        names = channel_names(len(picture.channels))
        echo(", ".join(f"{label}: {name}" for label, name in zip(picture.channels, names, strict=True)))
    for note in picture.notes:
        echo(f"note: {note}")


def _export_formats() -> list[str]:
    from lls_decode.export.exporting import FORMATS

    return list(FORMATS)


def _export_help() -> str:
    from lls_decode.export.exporting import FORMATS

    endings = " ".join(dict.fromkeys(kind.suffix for kind in FORMATS.values()))
    return f"Program to write the file for.  [default: from the ending of OUT: {endings}]"


@click.command(
    short_help="Write a table as a file of another program.",
    epilog="Example: lls-decode export results/localizations.parquet cell_sml.mat --coords sample",
)
@click.argument("table", type=click.Path(path_type=Path))
@click.argument("out", type=OutputPath())
@click.option("--format", cls=LazyHelpOption, type=LazyChoice(_export_formats), make_help=_export_help)
@click.option(
    "--coords", type=click.Choice(["auto", "raw", "deskewed", "sample"]), default="auto", show_default=True,
    help="Coordinates to write; auto: sample coordinates if the geometry is known, else camera coordinates (raw).",
)  # fmt: skip
@click.option("--pixel-nm", type=click.FloatRange(0, min_open=True), help="Pixel size, nm.  [default: from the table]")
@click.option(
    "--psf-sigma-nm", type=click.FloatRange(0, min_open=True), help="PSF sigma, nm.  [default: that of the model]"
)
@click.option("--size", type=PairType("WIDTHxHEIGHT", "x", smallest=1),
              help="Frame size, pixels (Picasso, SMAP).  [default: that of the dataset]")  # fmt: skip
@click.option("--frames", "num_frames", type=click.IntRange(1),
              help="Number of frames (Picasso, SMAP).  [default: that of the dataset]")  # fmt: skip
@click.option("--first-pixel", "first_px", type=PairType("X,Y", ","),
              help="First pixel of the frames (Picasso, SMAP), e.g. -10,-10.  [default: of the dataset]")  # fmt: skip
@json_option
@click.option(
    "--force",
    is_flag=True,
    help="Replace files that lls-decode did not write; allow more than 50 million rows in text formats.",
)
@like_option
def export(
    table: Path,
    out: Path,
    format: str | None,
    coords: 'Coords | Literal["auto"]',
    pixel_nm: float | None,
    psf_sigma_nm: float | None,
    size: tuple[int, int] | None,
    num_frames: int | None,
    first_px: tuple[int, int] | None,
    as_json: bool,
    force: bool,
) -> None:
    """Write TABLE (localizations or molecules) as a file of another program, or as csv; see --format.

    The command prints the columns that the format cannot hold. Rows are sorted if the other program expects it.
    """
    from lls_decode.export.exporting import export_table

    made = export_table(
        table, out,
        format=format, coords=coords, pixel_size=square_pixel(pixel_nm), psf_sigma_nm=psf_sigma_nm,
        size=size, num_frames=num_frames, first_px=first_px, force=force,
    )  # fmt: skip
    if as_json:
        echo_json(made.to_dict())
        return
    echo(f"{made.path}: {made.rows} {made.kind}, {made.format}, {made.coords} coordinates")
    for reason in dict.fromkeys(made.left_out.values()):
        names = ", ".join(name for name, why in made.left_out.items() if why == reason)
        echo(f"left out: {names} ({reason})")
