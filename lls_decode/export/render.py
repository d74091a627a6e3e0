"""Pictures of tables: filtered, in raw or sample coordinates, from above or from the side.

A table is read piece by piece, twice: for the limits, and to be drawn. Memory depends on the size of the picture only.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from lls_decode.errors import ConfigError, TableError
from lls_decode.export.canvas import DepthCanvas, Extent, Floats, Image
from lls_decode.export.figures import write_picture
from lls_decode.table import iter_tables, read_metadata, written_aside

Coords = Literal["auto", "raw", "sample"]
View = Literal["xy", "xz", "yz"]

_AXES = {"xy": ("x", "y"), "xz": ("x", "z"), "yz": ("y", "z")}


@dataclass(frozen=True)
class Rendering:
    """What a picture shows."""

    file_name: str
    num_drawn: int
    """Emitters in the picture."""
    num_filtered: int
    """Emitters left out by ``prob_min`` or ``sigma_max_nm``."""
    num_outside: int
    """Emitters left out because they lie beyond the extent."""
    coords: Literal["raw", "sample"]
    extent_nm: Extent
    z_range_nm: tuple[float, float]


def render_png(
    table: str | Path,
    out: str | Path,
    *,
    pixel_nm: float = 20.0,
    coords: Coords = "auto",
    view: View = "xy",
    blur_nm: float | None = None,
    prob_min: float = 0.0,
    sigma_max_nm: float | None = None,
    extent_nm: Extent | None = None,
    z_range_nm: tuple[float, float] | None = None,
) -> Rendering:
    """Picture of a table with scale bar and colour bar, as PNG; as TIFF (bare pixels) when ``out`` ends in ``.tif``.

    Parameters
    ----------
    coords
        ``sample`` (or deskewed) coordinates, ``raw`` camera coordinates, or ``auto``: sample where the table has them.
    view
        Horizontal and vertical axis; colour is always z.
    blur_nm
        None: every emitter a Gaussian of its own predicted sigma; 0: a histogram; else one sigma for all.
    prob_min, sigma_max_nm
        Leave out detections of lower probability, or of larger lateral sigma (r.m.s. of x and y).
    extent_nm
        Limits of the picture; None: all emitters.
    z_range_nm
        Depths of the first and last colour; None: 1st to 99th percentile.
    """
    table, out = Path(table), Path(out)
    if out.suffix.lower() not in (".png", ".tif", ".tiff"):
        raise ConfigError(f"{out} has the ending {out.suffix!r}; a picture is written as .png or .tif.")
    source = _Source(table, coords=coords, prob_min=prob_min, sigma_max_nm=sigma_max_nm)
    horizontal, vertical = _AXES[view]
    survey = _survey(source, horizontal, vertical, pixel_nm)
    extent_nm, z_range_nm = extent_nm or survey.extent_nm, z_range_nm or survey.z_range_nm
    canvas = DepthCanvas(
        pixel_nm=pixel_nm,
        extent_nm=extent_nm,
        z_range_nm=z_range_nm,
        vertical_blur=survey.vertical_blur if blur_nm is None else 1.0,
    )
    for piece in source.pieces():
        sigma = piece.sigma_nm[horizontal] if blur_nm is None else (blur_nm or None)
        canvas.add(piece.position_nm[horizontal], piece.position_nm[vertical], piece.position_nm["z"], sigma_nm=sigma)
    image = canvas.image()
    if vertical == "z":
        image = image[::-1]  # up is up
    if out.suffix.lower() == ".png":
        write_picture(
            out, image, pixel_nm=pixel_nm, z_range_nm=z_range_nm, label=f"{view}, {source.coords} coordinates"
        )
    else:
        _write_tiff(out, image, pixel_nm=pixel_nm)
    return Rendering(
        file_name=out.name,
        num_drawn=canvas.num_drawn,
        num_filtered=survey.num_filtered,
        num_outside=survey.num_rows - survey.num_filtered - canvas.num_drawn,
        coords=source.coords,
        extent_nm=extent_nm,
        z_range_nm=z_range_nm,
    )


@dataclass(frozen=True)
class _Piece:
    """Emitters of one row group that passed the filter: position and sigma by axis, nm."""

    position_nm: dict[str, Floats]
    sigma_nm: dict[str, Floats]
    num_rows: int
    """Before the filter."""

    def __len__(self) -> int:
        return len(self.position_nm["x"])


class _Source:
    """A table, read piece by piece in one frame of reference."""

    def __init__(self, path: Path, *, coords: Coords, prob_min: float, sigma_max_nm: float | None) -> None:
        metadata = read_metadata(path)
        has_sample = "xs_nm" in metadata.columns
        if coords == "sample" and not has_sample:
            raise ConfigError(
                f"{path} has no sample coordinates (the geometry was not known when it was made); use raw coordinates."
            )
        self.coords: Literal["raw", "sample"] = "raw" if coords == "raw" or not has_sample else "sample"
        self._path = path
        self._geometry = metadata.geometry if self.coords == "sample" else None
        self._prob_min = prob_min
        self._sigma_max_nm = sigma_max_nm
        positions = ["xs_nm", "ys_nm", "zs_nm"] if self.coords == "sample" else ["x_nm", "y_nm", "z_nm"]
        sigmas = [f"{axis}_sig" for axis in "xyz" if f"{axis}_sig" in metadata.columns]
        self._positions = dict(zip("xyz", positions, strict=True))
        self._columns = [*positions, *sigmas, *(["prob"] if "prob" in metadata.columns else [])]

    def pieces(self) -> Iterator[_Piece]:
        for table in iter_tables(self._path, self._columns):
            yield self._piece(table)

    def _piece(self, table: pa.Table) -> _Piece:
        values = {name: table[name].to_numpy().astype(np.float64) for name in table.column_names}
        nothing = np.full(table.num_rows, np.nan)
        sigma = {axis: values.get(f"{axis}_sig", nothing) for axis in "xyz"}
        keep = ~(values.get("prob", nothing) < self._prob_min)
        if self._sigma_max_nm is not None:
            keep &= ~(np.sqrt((sigma["x"] ** 2 + sigma["y"] ** 2) / 2) > self._sigma_max_nm)
        position = {axis: values[name][keep] for axis, name in self._positions.items()}
        sigma = {axis: value[keep] for axis, value in sigma.items()}
        if self._geometry is not None:
            along = self._geometry.propagation_axis
            sigma[along], sigma["z"] = self._geometry.sample_sigmas(sigma[along], sigma["z"])
        return _Piece(position, {axis: np.nan_to_num(value, nan=0.0) for axis, value in sigma.items()}, table.num_rows)


@dataclass(frozen=True)
class _Survey:
    """What must be known of a table before it is drawn."""

    extent_nm: Extent
    z_range_nm: tuple[float, float]
    vertical_blur: float
    num_rows: int
    num_filtered: int


def _survey(source: _Source, horizontal: str, vertical: str, pixel_nm: float) -> _Survey:
    """One pass over the table: limits, depths (from a sample of every row group), and numbers of rows."""
    low = dict.fromkeys("xyz", math.inf)
    high = dict.fromkeys("xyz", -math.inf)
    depths, ratios = [], []
    num_rows = num_kept = 0
    for piece in source.pieces():
        num_rows += piece.num_rows
        num_kept += len(piece)
        if not len(piece):
            continue
        for axis, position in piece.position_nm.items():
            low[axis], high[axis] = min(low[axis], float(position.min())), max(high[axis], float(position.max()))
        step = max(1, len(piece) // 4096)
        depths.append(piece.position_nm["z"][::step])
        ratios.append((piece.sigma_nm[vertical] / np.maximum(piece.sigma_nm[horizontal], 1e-3))[::step])
    if not num_kept:
        raise TableError(
            f"No emitters are left to draw ({num_rows} rows before the filter); lower prob_min or raise sigma_max_nm."
        )
    ratio = float(np.median(np.concatenate(ratios)))
    z_low, z_high = np.percentile(np.concatenate(depths), [1, 99])
    margin = 2 * pixel_nm
    return _Survey(
        extent_nm=(
            (low[horizontal] - margin, high[horizontal] + margin),
            (low[vertical] - margin, high[vertical] + margin),
        ),
        z_range_nm=(float(z_low), float(max(z_high, z_low + 1.0))),
        vertical_blur=ratio if ratio > 0 else 1.0,
        num_rows=num_rows,
        num_filtered=num_rows - num_kept,
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
            resolution=(pixels_per_um, pixels_per_um),
            metadata={"unit": "um"},
        )
