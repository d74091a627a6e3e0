"""Fate of emitters that were added to recorded frames (spikes): matching besides the real emitters, and scores.

**Matching.** The localizations of the original frames stand for the real emitters. The localizations of the spiked
frames are matched with the union of these and the spikes, nearest first: a localization that existed before is nearer
to itself than to a spike, and counts for no spike. As with a known truth, a single localization between a spike and its
neighbour goes to the nearer one, and the other is lost. A localization that matches neither may be false, or a molecule
that was missed before. The two cannot be told apart, so there is no precision of detection here.

**Where.** Spikes lie everywhere in the field, but the user's emitters lie on structures. Spikes that are weighted by
the density of localizations around them in other frames (`own_density`) represent the user's emitters.

**Intervals.** A molecule is on in several frames, and is often found, or missed, in all of them. Intervals of the
recall are Wilson's, for the number of independent emitters that gives the variance observed between molecules (design
effect; Korn and Graubard, Surv. Methodol. 1998). All intervals are 95 % intervals.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from lls_decode.emitters import Emitters
from lls_decode.evaluate.matching import match
from lls_decode.outputs import PROGRAM

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_Z95 = 1.959964
_PER_BIN = 60
"""Number of spikes that a bin, or a cell of the map, should have."""
_OWN_LATERAL_NM = 300.0
_OWN_AXIAL_NM = 200.0
_MOST_BINS = 8
_MOST_CELLS = 12


@dataclass(frozen=True)
class SpikeMatches:
    """Spikes that were found in one block, and the fate of its other localizations."""

    found: Emitters
    """One row per spike: its localization, NaN if it was missed (``frame`` is that of the spike)."""
    is_found: Mask
    num_lost: int
    """Number of localizations of the original frames that are lost in the spiked frames."""
    num_other: int
    """Number of new localizations that belong to no spike."""


def match_spikes(
    spikes: Emitters, before: Emitters, after: Emitters, *, lateral_nm: float = 250.0, axial_nm: float = 500.0
) -> SpikeMatches:
    """Match the localizations ``after`` adding light with the spikes and the localizations ``before``."""
    pairs = match(Emitters.concatenate([before, spikes]), after, lateral_nm=lateral_nm, axial_nm=axial_nm)
    is_spike = pairs.truth >= len(before)
    rows = np.full(len(spikes), -1, dtype=np.int64)
    rows[pairs.truth[is_spike] - len(before)] = pairs.found[is_spike]
    is_found = rows >= 0
    names = [name for name in Emitters.__dataclass_fields__ if name not in ("frame", "id")]
    columns: dict[str, npt.ArrayLike] = {"frame": spikes.frame, "id": spikes.id}
    for name in names:
        values = np.full(len(spikes), np.nan)
        values[is_found] = getattr(after, name)[rows[is_found]]
        columns[name] = values
    kept = int((~is_spike).sum())
    return SpikeMatches(Emitters.from_columns(columns), is_found, len(before) - kept, len(pairs.spurious))


@dataclass(frozen=True)
class SpikeRows:
    """Spikes, their localizations, and how precisely they could be localized; all of one length."""

    spikes: Emitters
    found: Emitters
    is_found: Mask
    bound: Mapping[str, Floats]
    """Cramer-Rao bound of ``x``, ``y``, ``z`` (nm) in a single frame at the local background."""

    def __len__(self) -> int:
        return len(self.spikes)

    def select(self, keep: Mask | Integers) -> "SpikeRows":
        """Return the rows of a mask or an index."""
        bound = {name: values[keep] for name, values in self.bound.items()}
        return SpikeRows(self.spikes.select(keep), self.found.select(keep), self.is_found[keep], bound)

    @classmethod
    def concatenate(cls, parts: list["SpikeRows"]) -> "SpikeRows":
        """Join rows in the order given."""
        return cls(
            Emitters.concatenate([part.spikes for part in parts]),
            Emitters.concatenate([part.found for part in parts]),
            np.concatenate([part.is_found for part in parts]),
            {name: np.concatenate([part.bound[name] for part in parts]) for name in parts[0].bound},
        )


@dataclass(frozen=True)
class SpikeScore:
    """Detection and precision of some spikes. NaN if a number is undefined (none found, 2-D)."""

    num_spikes: int
    """Number of emitters that had to be found, counting a molecule once per frame."""
    num_molecules: int
    num_found: int
    recall: float
    recall_low: float
    recall_high: float
    rmse_x_nm: float
    rmse_y_nm: float
    rmse_z_nm: float
    rmse_x_se_nm: float
    """Standard error of ``rmse_x_nm``."""
    rmse_y_se_nm: float
    rmse_z_se_nm: float
    bias_x_nm: float
    """Mean of found minus true."""
    bias_y_nm: float
    bias_z_nm: float
    zscore_x: float
    """Standard deviation of error / predicted sigma: above 1 if the sigmas are too small."""
    zscore_y: float
    zscore_z: float
    zscore_photons: float
    photon_ratio: float
    """Median of found / true photons."""
    bound_x_nm: float
    """Root mean square Cramer-Rao bound of the found spikes, from a single frame and without neighbours."""
    bound_y_nm: float
    bound_z_nm: float
    over_bound_x: float
    """Root mean square of error / Cramer-Rao bound over emitters: 1 for an optimal fit of isolated emitters."""
    over_bound_y: float
    over_bound_z: float


@dataclass(frozen=True)
class SpikeBin:
    """Score of the spikes in a range; the upper end belongs to the next bin, except for the last one."""

    low: float
    high: float
    score: SpikeScore


@dataclass(frozen=True)
class SpikeMap:
    """Scores over the field: ``cells[i][j]`` begins at ``y_nm[i]``, ``x_nm[j]`` and ends where the next cell begins."""

    x_nm: tuple[float, ...]
    y_nm: tuple[float, ...]
    cells: tuple[tuple[SpikeScore, ...], ...]


@dataclass(frozen=True)
class SpikeReport:
    """Accuracy of a model on a user's frames, from emitters that were added to them."""

    total: SpikeScore
    """Score of emitters everywhere in the field."""
    where_own: SpikeScore | None
    """Score of the same emitters, weighted by the density of localizations around them, i.e. where the user's own
    emitters are. Neighbours make these harder to find. On structures finer than `own_density` resolves, the recall is
    still too high by some percentage points. None if the sample is too short."""
    over: Mapping[str, tuple[SpikeBin, ...]]
    """Scores by ``photons``, ``bg`` (local background, photons per pixel), ``z_nm`` (3-D), ``plane`` (sweeps),
    ``frame``."""
    field: SpikeMap
    num_before: int
    """Number of localizations in the sampled original frames."""
    num_lost: int
    """Number of these that are lost due to the light of the spikes."""
    num_other: int
    """Number of new localizations that belong to no spike."""
    num_saturated_px: int
    """Number of pixels in which the added light exceeded the range of the counts."""
    settings: Mapping[str, Any]
    """What was added where: dataset, model, frames, density, photons, camera, seed."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, with None in place of NaN."""
        plain: dict[str, Any] = _plain(asdict(self))
        return {"written_by": PROGRAM, **plain}


def score_spikes(rows: SpikeRows, weight: Floats | None = None) -> SpikeScore:
    """Score spikes that had to be found, with non-negative weights (None: equal weights)."""
    weight = np.ones(len(rows)) if weight is None else weight
    recall, low, high = recall_interval(rows.is_found, rows.spikes.id, weight)
    hit, w = rows.select(rows.is_found), weight[rows.is_found]
    true, seen = hit.spikes, hit.found
    errors = {"x": seen.x_nm - true.x_nm, "y": seen.y_nm - true.y_nm, "z": seen.z_nm - true.z_nm}
    sigmas = {"x": seen.x_sig, "y": seen.y_sig, "z": seen.z_sig}
    numbers: dict[str, float] = {}
    for axis, error in errors.items():
        bound = np.where(np.isfinite(error), hit.bound[axis], np.nan)
        numbers[f"rmse_{axis}_nm"], numbers[f"rmse_{axis}_se_nm"] = _rms(error, w)
        numbers[f"bias_{axis}_nm"] = _mean(error, w)
        numbers[f"zscore_{axis}"] = _spread(error / sigmas[axis], w)
        numbers[f"bound_{axis}_nm"] = _rms(bound, w)[0]
        numbers[f"over_bound_{axis}"] = _rms(error / bound, w)[0]
    return SpikeScore(
        num_spikes=len(rows),
        num_molecules=len(np.unique(rows.spikes.id)),
        num_found=len(hit),
        recall=recall,
        recall_low=low,
        recall_high=high,
        zscore_photons=_spread((seen.photons - true.photons) / seen.phot_sig, w),
        photon_ratio=_median(seen.photons / true.photons, w),
        **numbers,
    )


def score_over(
    rows: SpikeRows, values: npt.ArrayLike, *, limits: tuple[float, float] | None = None
) -> tuple[SpikeBin, ...]:
    """Return scores in bins over a value of each spike, with about equal numbers, or of equal width between limits."""
    values = np.asarray(values, dtype=np.float64)
    number = int(np.clip(len(rows) // _PER_BIN, 1, _MOST_BINS))
    if not len(rows):
        return ()
    if limits is not None:
        edges = np.linspace(*limits, number + 1)
    else:
        edges = np.unique([_rounded(edge) for edge in np.quantile(values, np.linspace(0, 1, number + 1)[1:-1])])
        edges = np.array([values.min(), *edges[(edges > values.min()) & (edges < values.max())], values.max()])
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(len(edges) - 2, 0))
    return tuple(
        SpikeBin(float(edges[i]), float(edges[i + 1]), score_spikes(rows.select(place == i)))
        for i in range(len(edges) - 1)
        if (place == i).any()
    )


def score_field(rows: SpikeRows, *, extent_x_nm: tuple[float, float], extent_y_nm: tuple[float, float]) -> SpikeMap:
    """Return scores on a grid of nearly square cells, as fine as the number of spikes allows."""
    wide, tall = extent_x_nm[1] - extent_x_nm[0], extent_y_nm[1] - extent_y_nm[0]
    side = math.sqrt(wide * tall * _PER_BIN / max(len(rows), 1))
    columns, lines = (int(np.clip(round(length / side), 1, _MOST_CELLS)) for length in (wide, tall))
    x_nm, y_nm = np.linspace(*extent_x_nm, columns + 1), np.linspace(*extent_y_nm, lines + 1)
    column = np.clip(np.searchsorted(x_nm, rows.spikes.x_nm, side="right") - 1, 0, columns - 1)
    line = np.clip(np.searchsorted(y_nm, rows.spikes.y_nm, side="right") - 1, 0, lines - 1)
    cells = tuple(
        tuple(score_spikes(rows.select((line == i) & (column == j))) for j in range(columns)) for i in range(lines)
    )
    return SpikeMap(tuple(map(float, x_nm)), tuple(map(float, y_nm)), cells)


def recall_interval(is_found: Mask, molecule: Integers, weight: Floats | None = None) -> tuple[float, float, float]:
    """Return the share that was found and its 95 % interval (Wilson's), for weighted emitters grouped by molecule."""
    w = np.ones(len(is_found)) if weight is None else weight
    if not w.sum() > 0:
        return math.nan, math.nan, math.nan
    p = float((w * is_found).sum() / w.sum())
    _, number = np.unique(molecule, return_inverse=True)
    of_molecule = np.bincount(number, weights=w)
    M = int((of_molecule > 0).sum())
    fewest = w.sum() ** 2 / (of_molecule**2).sum()  # if each molecule is found, or missed, in all its frames
    most = w.sum() ** 2 / (w**2).sum()
    n = fewest
    if 0 < p < 1 and M > 1:
        residual = np.bincount(number, weights=w * (is_found - p))
        variance = M / (M - 1) * (residual**2).sum() / w.sum() ** 2
        n = min(max(p * (1 - p) / variance, fewest), most)
    centre = (p + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    half = _Z95 / (1 + _Z95**2 / n) * math.sqrt(p * (1 - p) / n + _Z95**2 / (4 * n**2))
    return p, float(max(centre - half, 0.0)), float(min(centre + half, 1.0))


def own_density(spikes: Emitters, own: Emitters, sampled: Integers, *, planes_per_volume: int, apart: int) -> Floats:
    """Return the density of localizations around each spike in *other* sampled frames, per square micrometre.

    Localizations of the original frames are counted within 300 nm laterally and 200 nm axially, in the same plane of
    volumes more than ``apart`` away. Structures finer than that are blurred, and seem less dense than they are; with a
    smaller range, a few spikes would carry all the weight. The spike's own frames are left out: weighted by chance
    neighbours, a spike would have more of them than an emitter of the sample has. NaN if no other frame was sampled.
    """
    P, gap = planes_per_volume, 10 * _OWN_LATERAL_NM

    def tree(emitters: Emitters) -> cKDTree:
        return cKDTree(np.stack([emitters.frame % P * gap, emitters.x_nm, emitters.y_nm], axis=1))

    near = tree(spikes).sparse_distance_matrix(tree(own), _OWN_LATERAL_NM, output_type="ndarray")
    i, j = near["i"].astype(np.int64), near["j"].astype(np.int64)
    counted = np.abs(spikes.frame[i] // P - own.frame[j] // P) > apart
    counted &= np.nan_to_num(np.abs(spikes.z_nm[i] - own.z_nm[j])) <= _OWN_AXIAL_NM
    found = np.bincount(i[counted], minlength=len(spikes))
    frames = np.zeros(len(spikes))
    for plane in range(P):
        rows = spikes.frame % P == plane
        volumes = np.sort(sampled[sampled % P == plane] // P)
        volume = spikes.frame[rows] // P
        within = np.searchsorted(volumes, volume + apart, "right") - np.searchsorted(volumes, volume - apart, "left")
        frames[rows] = len(volumes) - within
    area_um2 = math.pi * _OWN_LATERAL_NM**2 * 1e-6
    return np.where(frames > 0, found / (np.maximum(frames, 1) * area_um2), np.nan)


def _usable(values: Floats, weight: Floats) -> tuple[Floats, Floats]:
    usable = np.isfinite(values) & (weight > 0)
    return values[usable], weight[usable]


def _mean(values: Floats, weight: Floats) -> float:
    values, weight = _usable(values, weight)
    return float(np.average(values, weights=weight)) if len(values) else math.nan


def _rms(error: Floats, weight: Floats) -> tuple[float, float]:
    """Return the root mean square and its standard error, without assuming Gaussian errors."""
    error, weight = _usable(error, weight)
    if not len(error):
        return math.nan, math.nan
    squared, share = error**2, weight / weight.sum()
    root = math.sqrt((share * squared).sum())
    spread = math.sqrt((share**2 * (squared - root**2) ** 2).sum())
    return root, spread / (2 * root) if root else 0.0


def _spread(values: Floats, weight: Floats) -> float:
    values, weight = _usable(values, weight)
    if not len(values):
        return math.nan
    return math.sqrt(np.average((values - np.average(values, weights=weight)) ** 2, weights=weight))


def _median(values: Floats, weight: Floats) -> float:
    values, weight = _usable(values, weight)
    if not len(values):
        return math.nan
    order = np.argsort(values)
    share = np.cumsum(weight[order]) - weight[order] / 2
    return float(np.interp(weight.sum() / 2, share, values[order]))


def _rounded(value: float) -> float:
    """Round to two significant digits, since people read the edges."""
    return float(f"{value:.2g}")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
