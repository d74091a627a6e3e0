"""Evaluate tables on disk: this module reads the files, and `lls_decode.evaluate` computes the results."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, Unpack

import numpy as np

from lls_decode.axes import IndexRange
from lls_decode.config import Camera, PixelSize, SplinePsf
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
    """Evaluate a localization table against ground truth, both on disk.

    Only frames that the table covers count, with or without rows. A two-dimensional table is compared in x and y.
    Likely mistakes, such as exchanged axes, are reported but not corrected.

    Parameters
    ----------
    frames
        Range of frames to evaluate, end excluded; None, also for one end: all covered frames.
    change
        Transformation of the truth before the comparison.
    first_frame
        Number that the truth gives its first frame; None: the convention of its format.
    diagnosis
        Look for likely mistakes, such as exchanged axes or shifted frames.
    pixel_size
        Pixel size; None: that of the table.
    model
        Bundle with the PSF of the Cramer-Rao bound, and with its camera if the table states none or one with maps;
        None: no bound is computed.
    psf
        PSF in place of the model's.
    bg
        Background of true emitters that have none.
    report
        Path of the picture to write.
    """
    if model is None and (psf is not None or bg is not None):
        raise ConfigError(
            "--psf and --bg only affect the Cramer-Rao bound, which needs the camera of a model; give --model too."
        )
    found, metadata = read_emitters(table), _metadata(table)
    if not has_depth(table):
        found = replace(found, z_nm=np.full(len(found), np.nan), z_sig=np.full(len(found), np.nan))
    pixel = pixel_size or (None if metadata is None else metadata.pixel_size)
    planes = (None if metadata is None else metadata.planes_per_volume) or 1
    coverage = covered_frames(Path(table), metadata, found.frame, chosen=frames)
    as_read = read_truth(truth, pixel_nm=None if pixel is None else pixel.x_nm, first_frame=first_frame)
    change = change or TruthChange()
    true = change.apply(as_read, planes_per_volume=planes)
    camera = None if metadata is None else metadata.camera
    bounds = None if model is None else _bounds(true, coverage, model, psf, bg, camera)
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
    """Return the sub-pixel bias of a table in x and y, which needs no ground truth.

    Memory does not grow with the size of the table.

    Raises
    ------
    ConfigError
        The pixel size is neither in the table nor given.
    """
    pixel = pixel_size or _pixel_size(table)
    if pixel is None:
        raise ConfigError(f"{table} does not state its pixel size; give pixel_size (--pixel-nm).")
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
    """Compute the Fourier ring or shell correlation of a table on disk, and draw the curve if ``out`` is given.

    Each block contains whole volumes. The parameters are those of `lls_decode.evaluate.fourier_correlation`.

    Raises
    ------
    ConfigError
        The view or the region uses z, but the table is two-dimensional; or `fourier_correlation` rejects a parameter.
    """
    if ("z" in view or "z" in (region_nm or {})) and not has_depth(table):
        raise ConfigError(
            f"{table} is two-dimensional and has no positions along z; use --view xy, without a range of z."
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
    """Return the pixel size of a table of lls_decode; None for a table without metadata."""
    metadata = _metadata(table)
    return None if metadata is None else metadata.pixel_size


def _metadata(table: str | Path) -> TableMetadata | None:
    """Return the metadata of a table of lls_decode; None for a table without them."""
    try:
        is_ours = is_described(table)
    except TableError as error:
        raise TableError(
            f"{table} cannot be read as a localization table ({str(error).rstrip('.')}); give a .parquet file of "
            "'lls-decode run' or 'lls-decode import'."
        ) from error
    return read_metadata(table) if is_ours else None


def _photons_per_count(metadata: TableMetadata | None) -> float | None:
    """Return the photons per camera count; None unless the camera has a single gain."""
    camera = None if metadata is None else metadata.camera
    gain = getattr(camera, "gain_adu_per_e", None)
    if camera is None or not isinstance(gain, int | float):
        return None
    multiplied = getattr(camera, "em_gain", 1.0)
    efficiency = getattr(camera, "quantum_efficiency", 1.0)
    return 1 / (float(gain) * float(multiplied) * float(efficiency)) if gain > 0 else None


def _bounds(
    truth: Emitters, coverage: FrameCoverage, model: str, psf: Path | None, bg: float | None, camera: Camera | None
) -> Emitters:
    """Return the truth with Cramer-Rao bounds as sigmas; emitters outside of the evaluated frames get NaN.

    The camera is that of the table. The bound assumes identical pixels, so a camera with maps is replaced by the camera
    of the model, which stands for a typical pixel.
    """
    from lls_decode.refine import with_bounds

    info = read_bundle_info(find_bundle(model))
    chosen = info.psf if psf is None else SplinePsf(path=str(psf))
    if chosen is None:
        raise BundleError(f"Model {info.name} does not state which PSF it was trained with; give the PSF (--psf).")
    if bg is not None:
        truth = replace(truth, bg=np.where(np.isfinite(truth.bg), truth.bg, bg))
    inside = np.flatnonzero(coverage.covers(truth))
    own = info.camera if camera is None or camera.map_paths() else camera
    bounded = with_bounds(truth.select(inside), chosen, camera=own, pixel=info.pixel_size)
    columns = {}
    for name in ("x_sig", "y_sig", "z_sig", "phot_sig"):
        columns[name] = np.full(len(truth), np.nan)
        columns[name][inside] = getattr(bounded, name)
    return replace(truth, **columns)
