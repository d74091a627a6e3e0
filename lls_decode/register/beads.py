"""Map between two clouds from beads that both contain, which are matched and fitted.

A bead is a place at which something is seen in a good part of the volumes; in images of a few frames, each detection is
a bead. Beads are matched after the rough alignment of `search`, as mutual nearest neighbours. The map is the weighted
least-squares fit (closed form after linearization) to the matches that agree. The covariance is scaled by the
residuals, so it includes disagreement of beads, for example from their own precision or from a map of another kind.

The number of matches by chance is known: the search tries a certain number of places and angles, each of which gives
Poisson-distributed matches.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import cKDTree
from scipy.stats import poisson

from lls_decode.errors import TableError
from lls_decode.register.correlation import Fit
from lls_decode.register.models import Model, ModelName
from lls_decode.register.points import Cloud
from lls_decode.register.search import Candidate, Grid
from lls_decode.register.structure import Aligned

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_MIN_SHARE: Final = 0.3
"""Smallest share of volumes in which a bead is seen."""
_RADIUS_NM: Final = 250.0
"""Distance from a bead's place within which detections may belong to it."""
_CELL_NM: Final = 50.0
_MAX_CELLS: Final = 2**25
_MAX_SCATTER_NM: Final = 120.0
_MAX_BEADS: Final = 20_000
_BIN_NM: Final = (60.0, 500.0)
"""Smallest and largest bin of the rough alignment; in between, a twentieth of the distance between neighbouring
beads."""
_FIRST_REACH: Final = 4.0
"""Largest distance of matches right after the rough alignment, in bins; it then decreases."""
_OUTLIER: Final = 3.5
"""Distance of outliers from the median, in robust standard deviations."""
_SURE: Final = 1e-4
"""Largest accepted probability that chance gives this many matches anywhere in the search."""
_ROUNDS: Final = 12
_PRIOR: Final = 4.0
"""Weight of the beads' stated precision in their scatter, as a number of matches."""


@dataclass(frozen=True)
class _Matched:
    """Beads that match at one alignment."""

    num: int
    reach_nm: float
    """Distance within which they were matched."""
    fit: Fit
    chance: float = 1.0


def find_beads(cloud: Cloud) -> Cloud:
    """Return the beads of a cloud, one point each; `sigma_D` is their median precision.

    Raises
    ------
    TableError
        The field of view is too large for the grid.
    """
    if cloud.num_volumes < 4:
        return cloud
    places = _places(cloud)
    if not len(places):
        return _at(cloud, np.empty((0, cloud.num_axes)), cloud.sigma_D)
    least = _MIN_SHARE * cloud.kept * len(np.unique(cloud.volume_N))
    distance, nearest = cKDTree(places).query(cloud.position_ND[:, :2], distance_upper_bound=_RADIUS_NM)
    near = np.isfinite(distance)
    means, errors = [], []
    order = np.argsort(nearest[near], kind="stable")
    bead, position, volume = (values[near][order] for values in (nearest, cloud.position_ND, cloud.volume_N))
    for part in np.split(np.arange(len(bead)), np.flatnonzero(np.diff(bead)) + 1):
        if len(np.unique(volume[part])) < least:
            continue
        mean, scatter, number = _trimmed(position[part])
        if scatter[:2].max() < _MAX_SCATTER_NM:
            means.append(mean)
            errors.append(scatter / np.sqrt(number))
    if not means:
        return _at(cloud, np.empty((0, cloud.num_axes)), cloud.sigma_D)
    return _at(cloud, np.array(means), np.maximum(np.median(errors, axis=0), 0.1))


def align_beads(
    fixed: Cloud, moving: Cloud, name: ModelName, *, max_shift_nm: float | None, max_angle_rad: float
) -> Aligned:
    """Measure the map from moving to fixed beads; both clouds hold one point per bead.

    Raises
    ------
    TableError
        There are fewer matches than the map needs, or not clearly more than by chance.
    """
    model = Model(name, moving.position_ND.mean(axis=0) if len(moving) else np.zeros(moving.num_axes))
    needed = max(3, -(-len(model.parameters) // model.num_axes) + 2)
    for cloud in (fixed, moving):
        if len(cloud) < needed:
            raise TableError(
                f"{cloud.name} has {len(cloud)} beads, expected {needed} or more for a map of kind {name}; give a "
                "table with more beads, or use structure (--method structure)."
            )
    angle = 0.0 if name == "shift" else max_angle_rad
    grid = Grid(
        fixed.position_ND[:, :2], moving.position_ND[:, :2], model.pivot_D[:2], max_shift_nm=max_shift_nm,
        bin_nm=_bin(fixed, moving),
    )  # fmt: skip
    best: _Matched | None = None
    for candidate in grid.candidates(angle):
        found = _fitted(fixed, moving, model, candidate, _FIRST_REACH * grid.bin_nm)
        if found is None:
            continue
        found = replace(found, chance=_chance(found, fixed, moving, grid, angle))
        if best is None or found.chance < best.chance:
            best = found
    matched = 0 if best is None else best.num
    if best is None or matched < needed or best.chance > _SURE:
        raise TableError(
            f"{matched} of {len(fixed)} beads of {fixed.name} match beads of {moving.name} at the best alignment, "
            f"which may be by chance; expected {needed} or more. Give tables of the same beads, limit the search "
            "(--max-shift-nm, --max-angle-deg), or use structure (--method structure)."
        )
    words = f"{matched} of {len(fixed)} and {len(moving)} beads matched"
    return Aligned(model, best.fit, "beads", words, num_matched=matched)


def _bin(fixed: Cloud, moving: Cloud) -> float:
    area = float(np.prod(np.maximum(np.ptp(fixed.position_ND[:, :2], axis=0), 1.0)))
    return float(np.clip(0.05 * np.sqrt(area / max(len(fixed), len(moving))), *_BIN_NM))


def _fitted(fixed: Cloud, moving: Cloud, model: Model, candidate: Candidate, reach: float) -> "_Matched | None":
    """Match and fit beads, starting from a rough alignment; None if too few match."""
    rigid = Model("shift" if model.name == "shift" else "rigid", model.pivot_D)
    lateral = np.zeros(model.num_axes)
    lateral[:2] = candidate.shift_2
    values = rigid.start(candidate.angle_rad, lateral)
    sigma_D = np.hypot(fixed.sigma_D, moving.sigma_D)
    kind = rigid
    for round_ in range(_ROUNDS):
        one, other = _mutual(kind.move(moving.position_ND, values)[:, :2], fixed.position_ND[:, :2], reach)
        if len(one) < max(2, len(values) / model.num_axes):
            return None
        away = fixed.position_ND[other] - kind.move(moving.position_ND[one], values)
        if round_ == 0 and model.num_axes == 3:  # z is not known yet
            values[2] += float(np.median(away[:, 2]))
            away[:, 2] -= np.median(away[:, 2])
        kept = _agreeing(away, sigma_D)
        if kept.sum() < 2:
            return None
        step, _ = _least_squares(kind.jacobian(moving.position_ND[one[kept]], values), away[kept], 1 / sigma_D**2)
        values = values + step
        spread = 1.4826 * float(np.median(np.abs(away[kept][:, :2])))
        reach = min(reach, max(5 * spread, 20.0))
        if round_ == _ROUNDS // 2 and kind.name != model.name:
            values = model.start(float(values[-1]) if kind.name == "rigid" else 0.0, values[: model.num_axes])
            kind = model
    one, other = _mutual(kind.move(moving.position_ND, values)[:, :2], fixed.position_ND[:, :2], reach)
    away = fixed.position_ND[other] - kind.move(moving.position_ND[one], values)
    kept = _agreeing(away, sigma_D)
    residual = away[kept]
    free = len(residual) - len(values) / model.num_axes
    if free < 1:
        return None
    # The scatter of each axis is that of the residuals; if there are few, the beads' stated precision counts, too.
    square_D = (residual**2).sum(axis=0)
    pooled_D = (square_D + _PRIOR * sigma_D**2) / (free + _PRIOR)
    variance_D = np.maximum(square_D / free, pooled_D) * (free + _PRIOR) / (free + _PRIOR - 2)
    _, covariance = _least_squares(kind.jacobian(moving.position_ND[one[kept]], values), residual, 1 / variance_D)
    return _Matched(len(residual), reach, Fit(values, np.sqrt(variance_D), covariance, float(len(residual)), True))


def _least_squares(jacobian_NDP: Floats, away_ND: Floats, weight_D: Floats) -> tuple[Floats, Floats]:
    """Return the step of the parameters and their covariance."""
    flat = (jacobian_NDP * np.sqrt(weight_D)[:, None]).reshape(-1, jacobian_NDP.shape[2])
    scale = np.sqrt((flat**2).sum(axis=0)) + 1e-300
    inverse = np.linalg.pinv((flat / scale).T @ (flat / scale)) / np.outer(scale, scale)
    return inverse @ flat.T @ (away_ND * np.sqrt(weight_D)).ravel(), inverse


def _agreeing(away_ND: Floats, least_D: Floats) -> npt.NDArray[np.bool_]:
    """Return which matches ``(N,)`` are no outliers, given their own scatter or at least the expected one."""
    off = np.abs(away_ND - np.median(away_ND, axis=0))
    usual = np.maximum(1.4826 * np.median(off, axis=0), least_D)
    return np.asarray((off <= _OUTLIER * usual).all(axis=1))


def _mutual(moved_N2: Floats, fixed_M2: Floats, reach_nm: float) -> tuple[Integers, Integers]:
    """Return pairs of points that are mutual nearest neighbours."""
    distance, there = cKDTree(fixed_M2).query(moved_N2, distance_upper_bound=reach_nm)
    near = np.flatnonzero(np.isfinite(distance))
    _, back = cKDTree(moved_N2).query(fixed_M2[there[near]])
    one = near[back == near]
    return one.astype(np.int64), there[one].astype(np.int64)


def _chance(found: "_Matched", fixed: Cloud, moving: Cloud, grid: Grid, max_angle_rad: float) -> float:
    """Return the probability that chance gives this many matches at any of the alignments that were tried."""
    area = float(np.prod(np.ptp(fixed.position_ND[:, :2], axis=0) + grid.bin_nm))
    expected = len(fixed) * len(moving) * np.pi * found.reach_nm**2 / area
    tried = area / found.reach_nm**2 * max(1.0, max_angle_rad * grid.radius_nm / found.reach_nm)
    return float(min(1.0, tried * poisson.sf(found.num - 1, expected)))


def _places(cloud: Cloud) -> Floats:
    """Return the maxima ``(B, 2)`` of the density of rows that have at least the number of rows of a bead."""
    low = cloud.position_ND[:, :2].min(axis=0)
    extent = np.ptp(cloud.position_ND[:, :2], axis=0)
    cell = max(_CELL_NM, float(np.sqrt(np.prod(np.maximum(extent, 1.0)) / _MAX_CELLS)))
    index = ((cloud.position_ND[:, :2] - low) / cell).astype(np.int64)
    shape = index.max(axis=0) + 1
    count = np.bincount(np.ravel_multi_index(tuple(index.T), shape), minlength=int(np.prod(shape)))
    smooth = gaussian_filter(count.reshape(shape).astype(np.float32), 1.0, mode="constant")
    least = _MIN_SHARE * cloud.kept * len(np.unique(cloud.volume_N))
    wide = max(1, round(_RADIUS_NM / cell))
    # The rows of a bead lie in a few cells; smoothing by one cell leaves at least a twentieth of them at the maximum.
    peaks = (maximum_filter(smooth, 2 * wide + 1, mode="constant") == smooth) & (smooth > 0.05 * least)
    found = np.argwhere(peaks)
    order = np.argsort(-smooth[tuple(found.T)], kind="stable")[:_MAX_BEADS]
    return np.asarray(low + (found[order] + 0.5) * cell)


def _trimmed(position_ND: Floats) -> tuple[Floats, Floats, int]:
    """Return mean and standard deviation of the points without outliers, and their number."""
    kept = (
        position_ND[_agreeing(position_ND, np.full(position_ND.shape[1], 1e-3))]
        if len(position_ND) > 3
        else position_ND
    )
    kept = kept if len(kept) else position_ND
    return kept.mean(axis=0), kept.std(axis=0), len(kept)


def _at(cloud: Cloud, position_ND: Floats, sigma_D: Floats) -> Cloud:
    return replace(cloud, position_ND=position_ND, volume_N=np.zeros(len(position_ND), dtype=np.int64), sigma_D=sigma_D)
