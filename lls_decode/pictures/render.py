"""Pictures of tables: filtered, of a region, in raw or sample coordinates, from any side, coloured.

A table is read piece by piece, twice: for the limits, and to be drawn. Memory depends on the size of the picture only.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from lls_decode.errors import ConfigError
from lls_decode.outputs import PROGRAM, guarded
from lls_decode.pictures.canvas import DepthCanvas, Extent, Image
from lls_decode.pictures.colours import depth_colours, white
from lls_decode.pictures.figures import write_picture
from lls_decode.pictures.survey import survey_table
from lls_decode.pictures.view import AXES, Colour, Limits, View, ViewedTable
from lls_decode.table import written_aside

Mode = Literal["gaussian", "histogram"]

WHOLE: Final = View()
PICTURES: Final = (".png", ".tif", ".tiff")
"""Endings of pictures that `render_png` writes."""
_COLOUR_TITLES: Final = {"depth": "z (nm)", "time": "frame", "photons": "photons"}


@dataclass(frozen=True)
class Rendering:
    """What a picture shows."""

    file_name: str
    num_drawn: int
    """Emitters in the picture."""
    num_filtered: int
    """Emitters left out by the view."""
    num_outside: int
    """Emitters left out because they lie beyond the extent."""
    coords: Literal["raw", "sample"]
    extent_nm: Extent
    colour_range: Limits | None
    """Values of the first and last colour; None: there are no colours."""
    shape: tuple[int, ...] = ()
    """Pixels: (Y, X), or (Z, Y, X) of a volume."""


@guarded
def render_png(
    table: str | Path,
    out: str | Path,
    *,
    view: View = WHOLE,
    pixel_nm: float = 20.0,
    mode: Mode = "gaussian",
    blur_nm: float | None = None,
    colour: Colour = "depth",
    extent_nm: Extent | None = None,
    colour_range: Limits | None = None,
) -> Rendering:
    """Picture of a table with scale bar and colour bar, as PNG; as TIFF (bare pixels) when ``out`` ends in ``.tif``.

    Parameters
    ----------
    view
        Which emitters are seen, and from where.
    mode
        ``gaussian``: every emitter a Gaussian; ``histogram``: every emitter a point in its pixel.
    blur_nm
        None: Gaussians of each emitter's own predicted sigma; else one sigma for all.
    colour
        What hue stands for: ``depth`` is z after the tilt, in every view; brightness is density.
    extent_nm
        Limits of the picture; None: those of the view, else all emitters.
    colour_range
        Values of the first and last colour; None: 1st to 99th percentile.

    Raises
    ------
    ConfigError
        The picture is too large for memory, the table lacks a column, options contradict each other.
    TableError
        No emitters are left, the table is damaged.
    """
    out = Path(out)
    if out.suffix.lower() not in PICTURES:
        raise ConfigError(f"{out} has the ending {out.suffix!r}; a picture is written as {', '.join(PICTURES)}.")
    check_mode(mode, blur_nm)
    source = ViewedTable(table, view, colour=colour)
    horizontal, vertical, _ = AXES[view.projection]
    survey = survey_table(source)
    extent_nm = extent_nm or (survey.limits(horizontal, pixel_nm), survey.limits(vertical, pixel_nm))
    values = colour_range or survey.colour_range
    canvas = DepthCanvas(
        pixel_nm=pixel_nm,
        extent_nm=extent_nm,
        z_range_nm=values,
        vertical_blur=survey.vertical_blur if blur_nm is None else 1.0,
        colours=white() if colour == "none" else depth_colours(),
    )
    for piece in source.pieces():
        own = piece.sigma_nm[horizontal] if mode == "gaussian" else None
        canvas.add(
            piece.position_nm[horizontal], piece.position_nm[vertical], piece.colour, sigma_nm=blur_nm or own
        )  # fmt: skip
    image = canvas.image()
    if vertical == "z":
        image = image[::-1]  # up is up
    if out.suffix.lower() == ".png":
        label = f"{view.projection}, {source.coords} coordinates"
        label += f", turned {view.tilt_deg:g}° about {view.tilt_axis}" if view.tilt_deg else ""
        write_picture(
            out, image, pixel_nm=pixel_nm, z_range_nm=values, label=label, colour_title=_COLOUR_TITLES.get(colour)
        )
    else:
        _write_tiff(out, image, pixel_nm=pixel_nm)
    return Rendering(
        file_name=out.name,
        num_drawn=canvas.num_drawn,
        num_filtered=source.num_rows - survey.num_seen,
        num_outside=survey.num_seen - canvas.num_drawn,
        coords=source.coords,
        extent_nm=extent_nm,
        colour_range=None if colour == "none" else values,
        shape=image.shape[:2],
    )


def check_mode(mode: Mode, blur_nm: float | None) -> None:
    """Refuse a blur of points, or of nothing."""
    if blur_nm is not None and (mode == "histogram" or not blur_nm > 0):
        raise ConfigError(
            f"A blur of {blur_nm:g} nm makes no {mode}; leave it out, or give a sigma above 0 for gaussian."
        )


def _write_tiff(out: Path, image: Image, *, pixel_nm: float) -> None:
    """The bare pixels, with their size as Fiji reads it."""
    try:
        import tifffile
    except ImportError as error:
        raise ConfigError(f"{out} needs tifffile; run: pip install lls-decode[convert].") from error
    pixels_per_um = 1000.0 / pixel_nm
    with written_aside(out) as temporary:
        tifffile.imwrite(
            temporary,
            image,
            photometric="rgb",
            imagej=True,
            software=PROGRAM,
            resolution=(pixels_per_um, pixels_per_um),
            metadata={"unit": "um"},
        )
