"""Scores of a table: detection, precision, and the reliability of predicted sigmas.

Metrics follow Speiser et al. (Nat. Methods 2021, Methods, equations 13 to 15); true emitters that need not be found are
treated as in the SMLM challenge (Sage et al., Nat. Methods 2019).
"""

import math
from dataclasses import asdict, dataclass
from typing import TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from lls_decode.emitters import Emitters
from lls_decode.errors import ConfigError
from lls_decode.evaluate.matching import Method, match

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

ALPHA_LATERAL_PER_NM = 0.01
ALPHA_AXIAL_PER_NM = 0.005


@dataclass(frozen=True)
class Score:
    """Agreement of a table with the truth. NaN if a number is undefined (no pairs, no sigmas, 2-D)."""

    num_truth: int
    """Number of emitters that had to be found."""
    num_found: int
    """Number of detections that count: true and false positives."""
    true_positives: int
    false_positives: int
    false_negatives: int
    precision: float
    recall: float
    jaccard: float
    """TP / (TP + FP + FN), equation 14, 0 to 1."""
    efficiency: float
    """Equation 15, at most 1: mean of lateral and axial efficiency, or the lateral one for 2-D data. 0 without
    matches."""
    efficiency_lateral: float
    efficiency_axial: float
    rmse_lateral_nm: float
    """Equation 13 with d = 2: the mean square is over pairs **and** the two coordinates."""
    rmse_axial_nm: float
    """Equation 13 with d = 1."""
    rmse_volume_nm: float
    """Equation 13 with d = 3."""
    rmse_x_nm: float
    rmse_y_nm: float
    bias_x_nm: float
    """Mean of found minus true."""
    bias_y_nm: float
    bias_z_nm: float
    zscore_x: float
    """Standard deviation of error / predicted sigma: 1 if the sigmas are right, above 1 if they are too small."""
    zscore_y: float
    zscore_z: float
    zscore_photons: float
    photon_ratio: float
    """Median of found / true photons."""

    def to_dict(self) -> dict[str, float | int | None]:
        """Return plain values for JSON, with None in place of NaN."""
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(self).items()}


class Criteria(TypedDict, total=False):
    """Criteria by which a table is compared with the truth; the keyword arguments of `compare`."""

    lateral_nm: float
    axial_nm: float
    method: Method
    border_nm: float
    field_nm: tuple[float, float] | None
    photons_min: float
    z_range_nm: tuple[float, float] | None


@dataclass(frozen=True)
class Comparison:
    """Rows of both tables that count."""

    true: Emitters
    """True emitters that had to be found and were found."""
    seen: Emitters
    """Detection of each of them."""
    missed: Emitters
    """True emitters that had to be found and were missed."""
    spurious: Emitters
    """Wrong detections."""
    true_rows: Integers
    """Row numbers of ``true`` in the truth table."""


def compare(
    truth: Emitters,
    found: Emitters,
    *,
    lateral_nm: float = 250.0,
    axial_nm: float = 500.0,
    method: Method = "greedy",
    border_nm: float = 0.0,
    field_nm: tuple[float, float] | None = None,
    photons_min: float = 0.0,
    z_range_nm: tuple[float, float] | None = None,
) -> Comparison:
    """Match a table with the truth, and leave out rows that do not count.

    Some true emitters need not be found: those with fewer than ``photons_min`` photons, outside ``z_range_nm``, or
    nearer than ``border_nm`` to an edge of the field. All true emitters take part in the matching. A detection that
    matches an emitter that need not be found is neither correct nor wrong, and an unmatched detection in the border is
    not wrong (rule of the SMLM challenge, Sage et al. 2019).

    Parameters
    ----------
    lateral_nm, axial_nm, method
        As for `match`.
    border_nm, field_nm
        Width of the border, and extent (x, y) of the field that it belongs to, from 0 to ``field_nm`` along either
        axis.
    photons_min, z_range_nm
        Fewest photons, and range of z, of the true emitters that must be found.
    """
    if border_nm > 0 and field_nm is None:
        raise ConfigError(f"A border of {border_nm:g} nm was given without the extent of the field; give field_nm.")
    matches = match(truth, found, lateral_nm=lateral_nm, axial_nm=axial_nm, method=method)
    required = ~_in_border(truth, border_nm, field_nm) & ~(truth.photons < photons_min)
    if z_range_nm is not None:
        required &= ~((truth.z_nm < z_range_nm[0]) | (truth.z_nm > z_range_nm[1]))
    counted = ~_in_border(found, border_nm, field_nm)
    kept = required[matches.truth]
    rows = matches.truth[kept]
    return Comparison(
        true=truth.select(rows),
        seen=found.select(matches.found[kept]),
        missed=truth.select(matches.missed[required[matches.missed]]),
        spurious=found.select(matches.spurious[counted[matches.spurious]]),
        true_rows=rows,
    )


def score(truth: Emitters, found: Emitters, **criteria: Unpack[Criteria]) -> Score:
    """Return the scores of a table compared with the truth; for the keyword arguments see `compare`."""
    return summarize(compare(truth, found, **criteria))


def _in_border(emitters: Emitters, border_nm: float, field_nm: tuple[float, float] | None) -> Mask:
    outside = np.zeros(len(emitters), dtype=np.bool_)
    if field_nm is None or border_nm <= 0:
        return outside
    for position, extent in zip((emitters.x_nm, emitters.y_nm), field_nm, strict=True):
        outside |= (position < border_nm) | (position > extent - border_nm)
    return outside


def summarize(comparison: Comparison) -> Score:
    """Return the scores of rows that were already compared."""
    true, seen = comparison.true, comparison.seen
    tp, fp, fn = len(true), len(comparison.spurious), len(comparison.missed)
    dx, dy, dz = seen.x_nm - true.x_nm, seen.y_nm - true.y_nm, seen.z_nm - true.z_nm
    dn = seen.photons - true.photons
    deep = np.isfinite(dz)
    jaccard = _ratio(tp, tp + fp + fn)
    lateral = _rms(np.concatenate([dx, dy]))
    axial = _rms(dz[deep])
    efficiency_lateral = _efficiency(jaccard, lateral, ALPHA_LATERAL_PER_NM, dimensions=2)
    efficiency_axial = _efficiency(jaccard, axial, ALPHA_AXIAL_PER_NM, dimensions=1) if deep.any() else math.nan
    return Score(
        num_truth=tp + fn,
        num_found=tp + fp,
        true_positives=tp,
        false_positives=fp,
        false_negatives=fn,
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        jaccard=jaccard,
        efficiency=(efficiency_lateral + efficiency_axial) / 2 if deep.any() else efficiency_lateral,
        efficiency_lateral=efficiency_lateral,
        efficiency_axial=efficiency_axial,
        rmse_lateral_nm=lateral,
        rmse_axial_nm=axial,
        rmse_volume_nm=_rms(np.concatenate([dx[deep], dy[deep], dz[deep]])),
        rmse_x_nm=_rms(dx),
        rmse_y_nm=_rms(dy),
        bias_x_nm=_mean(dx),
        bias_y_nm=_mean(dy),
        bias_z_nm=_mean(dz[deep]),
        zscore_x=_spread(dx, seen.x_sig),
        zscore_y=_spread(dy, seen.y_sig),
        zscore_z=_spread(dz, seen.z_sig),
        zscore_photons=_spread(dn, seen.phot_sig),
        photon_ratio=_median_ratio(seen.photons, true.photons),
    )


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _efficiency(jaccard: float, rmse_nm: float, alpha_per_nm: float, *, dimensions: int) -> float:
    """Return equation 15. Without pairs there is no r.m.s.e., and the efficiency is 0."""
    if math.isnan(rmse_nm):
        return math.nan if math.isnan(jaccard) else 0.0
    return 1.0 - math.sqrt((1.0 - jaccard) ** 2 + alpha_per_nm**2 * dimensions * rmse_nm**2)


def _rms(error: Floats) -> float:
    return float(np.sqrt(np.mean(error**2))) if len(error) else math.nan


def _mean(error: Floats) -> float:
    return float(np.mean(error)) if len(error) else math.nan


def _spread(error: Floats, sigma: Floats) -> float:
    """Return the standard deviation of error / sigma over the rows that have both."""
    usable = np.isfinite(error) & np.isfinite(sigma) & (sigma > 0)
    return float(np.std(error[usable] / sigma[usable])) if usable.any() else math.nan


def _median_ratio(found: Floats, true: Floats) -> float:
    usable = np.isfinite(found) & np.isfinite(true) & (true > 0)
    return float(np.median(found[usable] / true[usable])) if usable.any() else math.nan
