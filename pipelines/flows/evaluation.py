"""Evaluations of tables on disk: reads what belongs together, and leaves the judging to `lls_decode.evaluate`."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, Unpack

import numpy as np

from lls_decode.axes import IndexRange
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
from lls_decode.evaluate.coverage import FrameCoverage
from lls_decode.evaluate.diagnosis import TruthChange, diagnose
from lls_decode.evaluate.report import write_curve, write_report
from lls_decode.evaluate.score import Criteria
from lls_decode.evaluate.truth import first_frame_of
from lls_decode.export.rows import Coords, ExportTable
from lls_decode.model.info import read_bundle_info
from lls_decode.models import find_bundle
from lls_decode.pipelines.flows.covered_frames import covered_frames
from lls_decode.table import TableMetadata, iter_tables, read_emitters, read_metadata
from lls_decode.table.depth import has_depth
from lls_decode.table.reading import is_described

from .channels import pieces_of


def evaluate_table(
    table: str | Path,
    truth: str | Path,
    *,
    frames: IndexRange | None = None,
    change: TruthChange | None = None,
    first_frame: int | None = None,
    diagnosis: bool = True,
    pixel_size: PixelSize | None = None,
    model: str | None = None,
    psf: Path | None = None,
    bg: float | None = None,
    report: Path | None = None,
    **criteria: Unpack[Criteria],
) -> Evaluation:
    """Judge a table by a truth, both on disk.

    Only frames that the table covers count, whether they have rows or not. A two-dimensional table is compared in x and
    y. What is probably wrong between the two is named, and not applied.

    Parameters
    ----------
    frames
        Count only these frames, first and one past the last; None, and None for either end: all that are covered.
    change, first_frame
        What to do to the truth before it is compared; what it calls its first frame (None: what its format does).
    diagnosis
        Look for likely mistakes, such as exchanged axes or shifted frames.
    pixel_size
        None: that of the table.
    model, psf, bg
        Bundle with the PSF and the camera of the Cramer-Rao bound; another PSF; the background where the truth has
        none. Without ``model`` there is no bound.
    report
        Picture to be written.
    """
    if model is None and (psf is not None or bg is not None):
        raise ConfigError("--psf and --bg belong to the Cramer-Rao bound, which needs a camera; give --model too.")
    found, metadata = read_emitters(table), _metadata(table)
    if not has_depth(table):
        found = replace(found, z_nm=np.full(len(found), np.nan), z_sig=np.full(len(found), np.nan))
    pixel = pixel_size or (None if metadata is None else metadata.pixel_size)
    planes = (None if metadata is None else metadata.planes_per_volume) or 1
    coverage = covered_frames(Path(table), metadata, found.frame, chosen=frames)
    as_read = read_truth(truth, pixel_nm=None if pixel is None else pixel.x_nm, first_frame=first_frame)
    change = change or TruthChange()
    true = change.apply(as_read, planes_per_volume=planes)
    bounds = None if model is None else _bounds(true, coverage, model, psf, bg)
    result = evaluate(true, found, pixel=pixel, bounds=bounds, coverage=coverage, **criteria)
    if diagnosis:
        named = diagnose(
            as_read,
            found,
            coverage=coverage,
            pixel=pixel,
            planes_per_volume=planes,
            start=change,
            first_frame=first_frame_of(truth) if first_frame is None else first_frame,
            photons_per_count=_photons_per_count(metadata),
            criteria=criteria,
        )
        result = replace(result, diagnosis=named)
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
    interval: bool | None = None,
    channel: int | None = None,
    out: Path | None = None,
) -> FourierCorrelation:
    """Fourier ring (shell) correlation of a table on disk, and a picture of it; blocks are of whole volumes.

    Parameters are those of `lls_decode.evaluate.fourier_correlation`.

    Raises
    ------
    ConfigError
        A view or a range along z of a two-dimensional table, besides what the correlation refuses.
    """
    if ("z" in view or "z" in (region_nm or {})) and not has_depth(table):
        raise ConfigError(
            f"{table} is two-dimensional: there is nothing along the third axis; use --view xy, without a range of z."
        )
    rows = ExportTable(table, coords=coords)
    curve = fourier_correlation(
        pieces_of(rows, channel),
        pixel_nm=pixel_nm or (20.0 if view == "xyz" else 5.0),
        axes=view,
        blocks=blocks,
        frames_per_volume=rows.metadata.planes_per_volume or 1,
        region_nm=region_nm,
        interval=interval,
    )
    if out is not None:
        write_curve(out, curve, title=Path(table).name)
    return curve


def _pixel_size(table: str | Path) -> PixelSize | None:
    """Of a table of ours; None for one without metadata."""
    metadata = _metadata(table)
    return None if metadata is None else metadata.pixel_size


def _metadata(table: str | Path) -> TableMetadata | None:
    """What a table of ours says of itself; None for one that says nothing."""
    try:
        is_ours = is_described(table)
    except TableError as error:
        raise TableError(
            f"{table} cannot be read as a localization table ({str(error).rstrip('.')}); give a .parquet file of "
            "'lls-decode run' or 'lls-decode import'."
        ) from error
    return read_metadata(table) if is_ours else None


def _photons_per_count(metadata: TableMetadata | None) -> float | None:
    """Photons of one camera count, where the camera has one gain."""
    camera = None if metadata is None else metadata.camera
    gain = getattr(camera, "gain_adu_per_e", None)
    if camera is None or not isinstance(gain, int | float):
        return None
    multiplied = getattr(camera, "em_gain", 1.0)
    efficiency = getattr(camera, "quantum_efficiency", 1.0)
    return 1 / (float(gain) * float(multiplied) * float(efficiency)) if gain > 0 else None


def _bounds(truth: Emitters, coverage: FrameCoverage, model: str, psf: Path | None, bg: float | None) -> Emitters:
    """Bounds of the truths that count; the others keep no sigma."""
    from lls_decode.refine import with_bounds

    info = read_bundle_info(find_bundle(model))
    chosen = info.psf if psf is None else SplinePsf(path=str(psf))
    if chosen is None:
        raise BundleError(f"Model {info.name} does not say which PSF it was trained with; give one (--psf).")
    if bg is not None:
        truth = replace(truth, bg=np.where(np.isfinite(truth.bg), truth.bg, bg))
    inside = np.flatnonzero(coverage.covers(truth))
    bounded = with_bounds(truth.select(inside), chosen, camera=info.camera, pixel=info.pixel_size)
    columns = {}
    for name in ("x_sig", "y_sig", "z_sig", "phot_sig"):
        columns[name] = np.full(len(truth), np.nan)
        columns[name][inside] = getattr(bounded, name)
    return replace(truth, **columns)
