"""Pictures of tables of any size, as pyramids; memory depends on the size of a tile only.

A table is read piece by piece, at most twice: for what the view does not say, and to be drawn.
"""

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from lls_decode.errors import ConfigError, OutputError
from lls_decode.outputs import guarded
from lls_decode.pictures.canvas import LEVELS, Extent, Floats, half_octave
from lls_decode.pictures.pyramid import TILE, Grid, write_ome_tiff, write_ome_zarr
from lls_decode.pictures.render import WHOLE, Mode, Rendering, check_mode
from lls_decode.pictures.survey import Survey, nothing_left, survey_table
from lls_decode.pictures.tiles import TiledCanvas, Tiling, reach_px
from lls_decode.pictures.view import AXES, Piece, View, ViewedTable
from lls_decode.table import written_aside
from lls_decode.table.files import TEMPORARY_PREFIX, output_error

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
    extent_nm: Extent | None = None,
) -> Rendering:
    """Picture of any size for napari, Neuroglancer, Fiji: a pyramid of float32 levels, emitters per pixel of the first.

    Written as OME-Zarr 0.5 (``.zarr``, which must not exist) or tiled OME-TIFF (``.ome.tif``), with pixel sizes in nm.
    Rows and planes ascend with their coordinate, also where that is z. A level is the mean of 2 x 2 (x 2) pixels of the
    one before. Needs room for 8 bytes an emitter beside ``out`` while it is written, an OME-TIFF for its pixels twice.

    Parameters
    ----------
    view, pixel_nm, mode, blur_nm, extent_nm
        As of `render_png`.
    z_pixel_nm
        Makes a volume (OME-Zarr, histogram, view xy) with planes of this distance along the normal.

    Raises
    ------
    ConfigError
        Options contradict each other, a Gaussian is wider than a tile.
    OutputError
        ``out`` exists (a store), the disk is full, the folder is read-only.
    TableError
        No emitters are left, the table is damaged.
    """
    out = Path(out)
    check_mode(mode, blur_nm)
    _check_pyramid(out, view, mode, z_pixel_nm)
    source = ViewedTable(table, view, colour="none")
    survey = survey_table(source, needs_sigma=mode == "gaussian", needs_normal=z_pixel_nm is not None)
    grid = _grid(survey, view, pixel_nm, z_pixel_nm, extent_nm)
    sigmas_px = _sigmas_px(survey, mode, blur_nm, pixel_nm)
    tiling = _tiling(grid, sigmas_px)
    with _scratch(out) as folder:
        canvas = TiledCanvas(tiling, folder / "emitters", sigmas_px=sigmas_px)
        num_seen = _add_all(canvas, source, grid, own_sigma=mode == "gaussian" and blur_nm is None)
        _write(out, folder / "store.zarr", grid, canvas)
    (z, y, x), (_, y_nm, x_nm) = grid.shape, grid.origin_nm
    return Rendering(
        file_name=out.name,
        num_drawn=canvas.num_drawn,
        num_filtered=source.num_rows - num_seen,
        num_outside=num_seen - canvas.num_drawn,
        coords=source.coords,
        extent_nm=((x_nm, x_nm + x * pixel_nm), (y_nm, y_nm + y * pixel_nm)),
        colour_range=None,
        shape=(z, y, x) if grid.is_volume else (y, x),
    )


def _check_pyramid(out: Path, view: View, mode: Mode, z_pixel_nm: float | None) -> None:
    if not out.name.lower().endswith(PYRAMIDS):
        raise ConfigError(f"{out.name} has another ending than {', '.join(PYRAMIDS)}, those of a pyramid.")
    if z_pixel_nm is not None and (mode != "histogram" or view.projection != "xy" or out.suffix.lower() != ".zarr"):
        raise ConfigError(
            "A volume is a histogram in view xy, written as .zarr; choose those (mode histogram), or no z_pixel_nm."
        )
    if out.suffix.lower() == ".zarr" and out.exists():
        raise OutputError(f"{out} exists; choose another name, or delete it.")


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder beside ``out``, deleted at the end; what the disk says against it is one sentence."""
    try:
        with tempfile.TemporaryDirectory(prefix=f"{TEMPORARY_PREFIX}{out.stem}-", dir=out.parent) as folder:
            yield Path(folder)
    except OSError as error:
        raise output_error(out, error) from error


def _grid(survey: Survey, view: View, pixel_nm: float, z_pixel_nm: float | None, extent_nm: Extent | None) -> Grid:
    horizontal, vertical, normal = AXES[view.projection]
    across, down = extent_nm or (survey.limits(horizontal, pixel_nm), survey.limits(vertical, pixel_nm))
    deep = (0.0, 1.0) if z_pixel_nm is None else survey.limits(normal, z_pixel_nm)
    sizes = (z_pixel_nm or 1.0, pixel_nm, pixel_nm)
    shape = [math.ceil((high - low) / size) if size > 0 else 0
             for (low, high), size in zip((deep, down, across), sizes, strict=True)]  # fmt: skip
    if min(shape) < 1:
        raise ConfigError(
            f"A picture of {shape[2]} x {shape[1]} pixels of {pixel_nm:g} nm is empty; give larger limits."
        )
    return Grid(
        shape=(shape[0], shape[1], shape[2]),
        pixel_nm=sizes,
        origin_nm=(deep[0], down[0], across[0]),
        axes=vertical + horizontal if z_pixel_nm is None else normal + vertical + horizontal,
    )


def _sigmas_px(survey: Survey, mode: Mode, blur_nm: float | None, pixel_nm: float) -> list[tuple[float, float]]:
    """(Along Y, along X) of every Gaussian that is drawn; none for points."""
    if mode == "histogram":
        return []
    if blur_nm is not None:
        return [(blur_nm / pixel_nm, blur_nm / pixel_nm)]
    widest = int(half_octave(np.array([survey.sigma_max_nm / pixel_nm]))[0])
    return [
        (2.0 ** (level / 2) * survey.vertical_blur, 2.0 ** (level / 2)) for level in range(LEVELS[0], widest + 1)
    ]  # fmt: skip


def _tiling(grid: Grid, sigmas_px: list[tuple[float, float]]) -> Tiling:
    """Margins as wide as the widest Gaussian reaches; none along an axis with one tile, as small as the picture."""
    reach = [0, *(max((reach_px(pair[axis]) for pair in sigmas_px), default=0) for axis in (0, 1))]
    largest = TILE[grid.is_volume]
    z, y, x = (min(size, tile) for size, tile in zip(grid.shape, largest, strict=True))
    margin = [0 if size <= tile else px for size, tile, px in zip(grid.shape, largest, reach, strict=True)]
    return Tiling(grid.shape, (z, y, x), (margin[0], margin[1], margin[2]))


def _add_all(canvas: TiledCanvas, source: ViewedTable, grid: Grid, *, own_sigma: bool) -> int:
    """Add what is seen of a table; returns how many emitters that are."""
    horizontal = AXES[source.view.projection][0]
    num_seen = 0
    for piece in source.pieces():
        num_seen += len(piece)
        level = half_octave(piece.sigma_nm[horizontal] / grid.pixel_nm[2]) - LEVELS[0] if own_sigma else None
        canvas.add(_pixels(piece, source.view, grid), level)
    if not num_seen:
        raise nothing_left(source)
    return num_seen


def _write(out: Path, store: Path, grid: Grid, canvas: TiledCanvas) -> None:
    """The picture takes its name when it is whole."""
    write_ome_zarr(store, grid, canvas.tiles(), name=out.name)
    if out.suffix.lower() == ".zarr":
        os.replace(store, out)
        return
    with written_aside(out) as temporary:
        write_ome_tiff(temporary, store, grid)


def _pixels(piece: Piece, view: View, grid: Grid) -> list[Floats]:
    """Z, Y, X of each emitter's pixel, whole numbers."""
    horizontal, vertical, normal = AXES[view.projection]
    pixels = [
        np.floor((piece.position_nm[axis] - origin) / size)
        for axis, origin, size in zip((normal, vertical, horizontal), grid.origin_nm, grid.pixel_nm, strict=True)
    ]
    return pixels if grid.is_volume else [np.zeros(len(piece)), *pixels[1:]]
