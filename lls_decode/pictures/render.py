"""Pictures of tables: filtered, of a region, in raw or sample coordinates, from any side, coloured.

A table is read piece by piece, twice: for the limits, and for drawing. It is drawn tile by tile and written row by row,
so memory depends on neither the number of rows nor the size of the picture.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from lls_decode.drawing import need_matplotlib
from lls_decode.errors import ConfigError
from lls_decode.outputs import PROGRAM, guarded
from lls_decode.pictures.colours import (
    channel_colours,
    depth_colours,
    depth_index,
    to_srgb,
    white,
)
from lls_decode.pictures.drawing_plan import Drawing, Mode, Rendering, check_mode, plan_drawing, scratch
from lls_decode.pictures.survey import AskedExtent
from lls_decode.pictures.tiled.frame import Frame
from lls_decode.pictures.tiled.light import StoredLight
from lls_decode.pictures.tiled.png import LONGEST_SIDE, write_png
from lls_decode.pictures.tiled.pyramid import Grid
from lls_decode.pictures.tiled.tiff import Placement, write_tiff
from lls_decode.pictures.tiled.tiles import ColouredCanvas
from lls_decode.pictures.view import AXES, WHOLE, Colour, Limits, View
from lls_decode.table import written_aside
from lls_decode.table.files import check_replaceable

PICTURES: Final = (".png", ".tif", ".tiff")
"""Endings of pictures that `render_png` writes."""
Floats = npt.NDArray[np.float64]

MAX_PIXELS: Final = 2_000_000_000
"""Number of pixels above which a picture must be a pyramid, which viewers read in parts."""
_FRAME_ROWS: Final = 480
"""Least number of rows of a PNG, around a picture of few rows."""
_COLOUR_TITLES: Final[Mapping[Colour, str]] = {"depth": "z (nm)", "time": "frame", "photons": "photons"}


@guarded
def render_png(
    table: str | Path,
    out: str | Path,
    *,
    view: View = WHOLE,
    pixel_nm: float = 20.0,
    mode: Mode = "gaussian",
    blur_nm: float | None = None,
    colour: Colour | None = None,
    extent_nm: AskedExtent = None,
    colour_range: Limits | None = None,
) -> Rendering:
    """Draw a table as PNG with scale and colour bars, or as bare TIFF if ``out`` ends in ``.tif``.

    While drawing, disk space is needed beside ``out``: 8 bytes per emitter, and 12 bytes per lit pixel before
    compression.

    Parameters
    ----------
    view
        Which emitters are seen, and from where.
    mode
        ``gaussian``: every emitter is a Gaussian; ``histogram``: every emitter is a point in its pixel.
    blur_nm
        Sigma for all emitters; None: each emitter has its own predicted sigma.
    colour
        What hue stands for; brightness is density. ``depth`` is z after the tilt, in every view. ``channel`` gives each
        channel its own colour, as bright as in a picture of this channel alone; a TIFF stores them one after another.
        None: channels if the table has several, else depth.
    extent_nm
        Limits of the picture. None: those of the view, else all emitters except strays, which are counted; ``"all"``:
        also strays.
    colour_range
        Values of the first and last colour; None: 1st and 99th percentile.

    Raises
    ------
    ConfigError
        The picture has too many pixels, the table lacks a column, or options contradict each other.
    OutputError
        The disk is full, or the folder is read-only.
    TableError
        No emitters are left, or the table is damaged.
    """
    out = Path(out)
    if out.suffix.lower() not in PICTURES:
        raise ConfigError(f"{out} has the ending {out.suffix!r}; a picture is written as {', '.join(PICTURES)}.")
    check_mode(mode, blur_nm)
    is_png = out.suffix.lower() == ".png"
    if is_png:
        need_matplotlib("Pictures with scale bars need")
    check_replaceable(out)
    drawing = plan_drawing(
        table, view, pixel_nm=pixel_nm, mode=mode, blur_nm=blur_nm, colour=colour, extent_nm=extent_nm
    )
    _check_size(drawing.grid, has_frame=is_png)
    values = colour_range or drawing.survey.colour_range
    with scratch(out) as folder:
        light, rendering = _drawn(drawing, folder, out, values)
        with written_aside(out) as temporary:
            if is_png:
                _write_png(temporary, light, drawing, rendering)
            else:
                _write_tiff(temporary, light, drawing)
    return rendering


def _check_size(grid: Grid, *, has_frame: bool) -> None:
    _, height, width = grid.shape
    longest = MAX_PIXELS // _FRAME_ROWS if has_frame else LONGEST_SIDE
    if width * height <= MAX_PIXELS and width <= longest and height <= LONGEST_SIDE:
        return
    excess = (math.sqrt(width * height / MAX_PIXELS), width / longest, height / LONGEST_SIDE)
    needed = grid.pixel_nm[2] * max(excess) * 1.01
    raise ConfigError(
        f"A picture of {width} x {height} pixels is too large; use pixels of {math.ceil(needed)} nm (--pixel-nm), draw "
        "a part of the field (--extent, --x-nm, --y-nm), or write a pyramid (.zarr)."
    )


def _drawn(drawing: Drawing, folder: Path, out: Path, values: Limits) -> tuple[StoredLight, Rendering]:
    """Return the light of all emitters, and the summary of the picture."""
    palette, channels = _palette(drawing), drawing.channels
    canvas = ColouredCanvas(drawing.tiling, folder / "emitters", colours=palette, sigmas_px=drawing.sigmas_px)
    for piece in drawing.pieces():
        kind = np.searchsorted(np.array(channels), piece.channel) if channels else depth_index(piece.colour, values)
        canvas.add(drawing.pixels(piece), drawing.levels(piece), kind)
    _, height, width = drawing.grid.shape
    light = StoredLight(folder / "light.zarr", (palette.shape[1], height, width), together=not channels)
    for (_, rows, columns), of_tile in canvas.tiles():
        light.write((slice(0, palette.shape[1]), rows, columns), of_tile)
    light.finish()
    has_range = drawing.colour not in ("none", "channel")
    return light, drawing.rendering(out, canvas.num_drawn, colour_range=values if has_range else None)


def _palette(drawing: Drawing) -> Floats:
    """Return the light of an emitter of each kind: RGB of its hue, or 1 in its own channel."""
    if drawing.channels:
        return np.eye(len(drawing.channels))
    if drawing.colour == "none":
        return white()
    return depth_colours()


def _write_png(path: Path, light: StoredLight, drawing: Drawing, rendering: Rendering) -> None:
    view, (_, height, width) = drawing.source.view, drawing.grid.shape
    label = f"{view.projection}, {drawing.source.coords} coordinates"
    label += f", turned {view.tilt_deg:g}° about {view.tilt_axis}" if view.tilt_deg else ""
    colours = channel_colours(len(drawing.channels)) if drawing.channels else None
    frame = Frame(
        height=height,
        width=width,
        pixel_nm=drawing.pixel_nm,
        label=label,
        values=rendering.colour_range,
        title=_COLOUR_TITLES.get(drawing.colour, ""),
        names=[] if colours is None else list(zip(drawing.labels, colours, strict=True)),
    )
    about = {
        "pixel_nm": drawing.pixel_nm / frame.enlarged,
        "left_px": frame.margin,
        "top_px": frame.top,
        **dict(zip(("x_axis_nm", "y_axis_nm"), rendering.extent_nm, strict=True)),
        "axes": view.projection,
        "coordinates": drawing.source.coords,
        "y_axis_upwards": drawing.upwards,
    }
    write_png(
        path,
        frame.rows(light.colour_rows(colours, upwards=drawing.upwards)),
        width=frame.shape[1],
        height=frame.shape[0],
        pixel_nm=drawing.pixel_nm / frame.enlarged,
        text={"Software": PROGRAM, "lls_decode": json.dumps(about)},
    )


def _write_tiff(path: Path, light: StoredLight, drawing: Drawing) -> None:
    """Write the bare pixels, with their size and place as Fiji reads them."""
    grid, (_, height, width) = drawing.grid, drawing.grid.shape
    _, first_nm, left_nm = grid.origin_nm
    top_nm = first_nm + height * drawing.pixel_nm if drawing.upwards else first_nm
    horizontal, vertical, _ = AXES[drawing.source.view.projection]
    placement = Placement(drawing.pixel_nm, left_nm, top_nm, drawing.upwards, horizontal + vertical)
    if not drawing.channels:
        rows = light.colour_rows(upwards=drawing.upwards)
        write_tiff(path, rows, shape=(height, width, 3), placement=placement)
        return
    colours = to_srgb(channel_colours(len(drawing.channels)).astype(np.float32)) / 255
    write_tiff(
        path,
        light.channel_rows(upwards=drawing.upwards),
        shape=(len(drawing.channels), height, width),
        placement=placement,
        labels=drawing.labels,
        colours=colours,
    )
