"""Evaluations of tables on disk: reads what belongs together, and leaves the judging to `lls_decode.evaluate`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, Unpack

import numpy as np

from lls_decode.config import PixelSize, SplinePsf
from lls_decode.emitters import Emitters
from lls_decode.errors import BundleError, ConfigError, TableError
from lls_decode.evaluate import (
    Evaluation,
    FourierCorrelation,
    SubpixelBias,
    evaluate,
    fourier_correlation,
    read_truth,
    subpixel_bias,
)
from lls_decode.evaluate.report import write_curve, write_report
from lls_decode.evaluate.score import Criteria
from lls_decode.export.rows import Coords, ExportTable
from lls_decode.model.info import read_bundle_info
from lls_decode.models import find_bundle
from lls_decode.table import iter_tables, read_emitters, read_metadata
from lls_decode.table.reading import is_described

from .channels import pieces_of


def evaluate_table(
    table: str | Path,
    truth: str | Path,
    *,
    pixel_size: PixelSize | None = None,
    model: str | None = None,
    psf: Path | None = None,
    bg: float | None = None,
    report: Path | None = None,
    **criteria: Unpack[Criteria],
) -> Evaluation:
    """Judge a table by a truth, both on disk.

    Parameters
    ----------
    pixel_size
        None: that of the table.
    model, psf, bg
        Bundle with the PSF and the camera of the Cramer-Rao bound; another PSF; the background where the truth has
        none. Without ``model`` there is no bound.
    report
        Picture to be written.
    """
    found = read_emitters(table)
    pixel = pixel_size or _pixel_size(table)
    true = read_truth(truth, pixel_nm=None if pixel is None else pixel.x_nm)
    bounds = None if model is None else _bounds(true, model, psf, bg)
    if model is None and (psf is not None or bg is not None):
        raise ConfigError("--psf and --bg belong to the Cramer-Rao bound, which needs a camera; give --model too.")
    result = evaluate(true, found, pixel=pixel, bounds=bounds, **criteria)
    if report is not None:
        write_report(report, result, title=Path(table).name)
    return result


def evaluate_subpixel(table: str | Path, *, pixel_size: PixelSize | None = None) -> tuple[SubpixelBias, SubpixelBias]:
    """What can be said of a table without a truth: its sub-pixel bias; constant memory.

    Raises
    ------
    ConfigError
        The pixel size is not in the table, and was not given.
    """
    pixel = pixel_size or _pixel_size(table)
    if pixel is None:
        raise ConfigError(f"{table} does not say how large a pixel is; give pixel_size (--pixel-nm).")
    pieces = (
        {name: part[name].to_numpy() for name in ("x_nm", "y_nm")} for part in iter_tables(table, ["x_nm", "y_nm"])
    )
    return subpixel_bias(pieces, pixel)


def frc(
    table: str | Path,
    *,
    pixel_nm: float | None = None,
    blocks: int = 10,
    coords: Coords | Literal["auto"] = "auto",
    view: Literal["xy", "xz", "yz", "xyz"] = "xy",
    region_nm: Mapping[str, tuple[float, float]] | None = None,
    channel: int | None = None,
    out: Path | None = None,
) -> FourierCorrelation:
    """Fourier ring (shell) correlation of a table on disk, and a picture of it; blocks are of whole volumes."""
    rows = ExportTable(table, coords=coords)
    curve = fourier_correlation(
        pieces_of(rows, channel),
        pixel_nm=pixel_nm or (20.0 if view == "xyz" else 5.0),
        axes=view,
        blocks=blocks,
        frames_per_volume=rows.metadata.planes_per_volume or 1,
        region_nm=region_nm,
    )
    if out is not None:
        write_curve(out, curve, title=Path(table).name)
    return curve


def _pixel_size(table: str | Path) -> PixelSize | None:
    """Of a table of ours; None for one without metadata."""
    try:
        is_ours = is_described(table)
    except TableError as error:
        raise TableError(
            f"{table} cannot be read as a localization table ({str(error).rstrip('.')}); give a .parquet file of "
            "'lls-decode run' or 'lls-decode import'."
        ) from error
    return read_metadata(table).pixel_size if is_ours else None


def _bounds(truth: Emitters, model: str, psf: Path | None, bg: float | None) -> Emitters:
    from lls_decode.refine import with_bounds

    info = read_bundle_info(find_bundle(model))
    chosen = info.psf if psf is None else SplinePsf(path=str(psf))
    if chosen is None:
        raise BundleError(f"Model {info.name} does not say which PSF it was trained with; give one (--psf).")
    if bg is not None:
        truth = replace(truth, bg=np.where(np.isfinite(truth.bg), truth.bg, bg))
    return with_bounds(truth, chosen, camera=info.camera, pixel=info.pixel_size)
