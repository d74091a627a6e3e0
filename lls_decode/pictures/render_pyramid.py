"""Pictures of tables of any size, as pyramids; memory depends only on the size of a tile.

A table is read piece by piece, at most twice: for limits that the view does not state, and for drawing.
"""

from pathlib import Path
from typing import Final

from lls_decode.errors import ConfigError, OutputError
from lls_decode.outputs import guarded
from lls_decode.pictures.drawing_plan import Drawing, Mode, Rendering, check_mode, plan_drawing, scratch
from lls_decode.pictures.survey import AskedExtent
from lls_decode.pictures.tiled.pyramid import write_ome_tiff, write_ome_zarr
from lls_decode.pictures.tiled.tiles import TiledCanvas
from lls_decode.pictures.view import WHOLE, View
from lls_decode.system import replace
from lls_decode.table import written_aside

PYRAMIDS: Final = (".ome.tif", ".ome.tiff", ".zarr")
"""Endings of pictures that `render_pyramid` writes."""


@guarded
def render_pyramid(
    table: str | Path,
    out: str | Path,
    *,
    view: View = WHOLE,
    pixel_nm: float = 20.0,
    z_pixel_nm: float | None = None,
    mode: Mode = "gaussian",
    blur_nm: float | None = None,
    extent_nm: AskedExtent = None,
) -> Rendering:
    """Draw a pyramid of any size for napari, Neuroglancer or Fiji: float32 levels with emitters per finest pixel.

    The file is OME-Zarr 0.5 (``.zarr``, which must not exist) or a tiled OME-TIFF (``.ome.tif``), with pixel sizes in
    nm. Rows and planes ascend with their coordinate, even if that is z. Each level is the mean of 2 x 2 (x 2) pixels of
    the level before. While drawing, disk space is needed beside ``out``: 8 bytes per emitter, and twice the pixels of
    an OME-TIFF.

    Parameters
    ----------
    view, pixel_nm, mode, blur_nm, extent_nm
        As for `render_png`.
    z_pixel_nm
        Distance of the planes of a volume along the normal (only OME-Zarr, histogram, view xy); None: a picture.

    Raises
    ------
    ConfigError
        Options contradict each other, or a Gaussian is wider than a tile.
    OutputError
        ``out`` exists (a store), the disk is full, or the folder is read-only.
    TableError
        No emitters are left, or the table is damaged.
    """
    out = Path(out)
    check_mode(mode, blur_nm)
    _check_pyramid(out, view, mode, z_pixel_nm)
    drawing = plan_drawing(
        table, view, pixel_nm=pixel_nm, z_pixel_nm=z_pixel_nm, mode=mode, blur_nm=blur_nm,
        colour=None, extent_nm=extent_nm, channels_apart=True,
    )  # fmt: skip
    with scratch(out) as folder:
        canvas = TiledCanvas(drawing.tiling, folder / "emitters", sigmas_px=drawing.sigmas_px)
        for piece in drawing.pieces():
            canvas.add(drawing.pixels(piece), drawing.levels(piece))
        _write(out, folder / "store.zarr", drawing, canvas)
    return drawing.rendering(out, canvas.num_drawn)


def _check_pyramid(out: Path, view: View, mode: Mode, z_pixel_nm: float | None) -> None:
    if not out.name.lower().endswith(PYRAMIDS):
        raise ConfigError(f"{out.name} does not end like a pyramid; expected {', '.join(PYRAMIDS)}.")
    if z_pixel_nm is not None and (mode != "histogram" or view.projection != "xy" or out.suffix.lower() != ".zarr"):
        raise ConfigError(
            "A volume is a histogram in view xy, written as .zarr; choose these (mode histogram), or omit z_pixel_nm."
        )
    if out.suffix.lower() == ".zarr" and out.exists():
        raise OutputError(f"{out} exists; choose another name, or delete it.")


def _write(out: Path, store: Path, drawing: Drawing, canvas: TiledCanvas) -> None:
    """Write the picture, which gets its final name when it is complete."""
    write_ome_zarr(store, drawing.grid, canvas.tiles(), name=out.name, channels=drawing.labels)
    if out.suffix.lower() == ".zarr":
        replace(store, out)
        return
    with written_aside(out) as temporary:
        write_ome_tiff(temporary, store, drawing.grid, channels=drawing.labels)
