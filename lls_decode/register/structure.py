"""Map between two clouds from a structure that both show: rough candidates, then ever finer correlation.

1. Candidates: the best few rough alignments over all shifts and angles (`search`).
2. Each candidate is refined in the plane, with a kernel that narrows. The one with the most near pairs, minus chance
   pairs, is accepted only if it is clearly the best: its lead over the next candidate is compared with the scatter over
   independent pieces of the field. Repeated patterns, and clouds without common structure, fail here.
3. In 3-D, the shift along z is found from all pairs that are near each other in the plane.
4. All axes are fitted together, with a kernel that narrows as long as the uncertainty decreases.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from lls_decode.errors import TableError
from lls_decode.register.correlation import FEW_PAIRS, Fit, KernelCorrelation
from lls_decode.register.models import Model, ModelName
from lls_decode.register.points import Cloud
from lls_decode.register.search import Candidate, Grid, best_bin

_logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MIN_CLEARNESS: Final = 4.0
"""Lead of the best alignment over the next one, in standard deviations, that is required."""
_MIN_POINTS: Final = 200
_MIN_PIECES: Final = 8.0
"""Smallest number of independent pieces of the field that must contribute."""
_PIECES: Final = 16
"""Number of pieces along the longer side of the field."""
_NARROWING: Final = 0.6
_SMALLEST_KERNEL_NM: Final = 5.0
_SEARCH_POINTS: Final = 60_000
"""Largest number of points used to choose among candidates."""
_Z_BIN_NM: Final = 20.0
_Z_KERNEL_NM: Final = 100.0
_Z_BROAD: Final = 6.0


@dataclass(frozen=True)
class Aligned:
    """Map between two clouds, and how well it is determined."""

    model: Model
    fit: Fit
    method: str
    support: str
    """How well the map is supported, in words."""
    num_matched: int | None = None
    """Number of matched beads; None for structure."""


def align_structure(
    fixed: Cloud, moving: Cloud, name: ModelName, *, max_shift_nm: float | None, max_angle_rad: float, seed: int = 0
) -> Aligned:
    """Measure the map from the moving cloud to the fixed one.

    Raises
    ------
    TableError
        There are too few points, or no alignment is clearly better than all others.
    """
    for cloud in (fixed, moving):
        if len(cloud) < _MIN_POINTS:
            raise TableError(
                f"{cloud.name} has {len(cloud)} points, expected {_MIN_POINTS} or more for alignment by structure; "
                "give more rows, or use beads (--method beads)."
            )
    pivot = moving.position_ND.mean(axis=0)
    plane = _Plane(fixed, moving, pivot[:2], seed)
    found, clearness = plane.best(max_shift_nm=max_shift_nm, max_angle_rad=0.0 if name == "shift" else max_angle_rad)
    start, kernel = found.values_P, found.kernel_D
    model = Model(name, pivot)
    piece_N = pieces(moving.position_ND, _PIECES)
    correlation = KernelCorrelation(
        fixed.position_ND, moving.position_ND, piece_N, model, max_pairs=FEW_PAIRS, seed=seed
    )
    shift, angle = start[:2], float(start[2]) if len(start) > 2 else 0.0
    if model.num_axes == 3:
        offset = _z_shift(correlation, model.start(angle, np.array([*shift, 0.0])), float(kernel[0]), fixed.name)
        shift = np.array([*shift, offset])
        kernel = np.array([*kernel, max(_Z_KERNEL_NM, 2 * float(fixed.sigma_D[2]))])
    fit = narrowed(correlation, model, model.start(angle, shift), kernel, _finest(fixed, moving), moving.position_ND)
    if fit is not None:
        last = KernelCorrelation(fixed.position_ND, moving.position_ND, piece_N, model, seed=seed)
        fit = last.fit(fit.values_P, fit.kernel_D)
    if fit is None or not fit.converged or fit.num_pieces < _MIN_PIECES:
        count = 0 if fit is None else fit.num_pieces
        raise TableError(
            f"{fixed.name} and {moving.name} have structure in common in {count:.0f} independent pieces of the field, "
            f"expected {_MIN_PIECES:.0f} or more; give larger fields, or use beads (--method beads)."
        )
    support = f"{clearness:.1f} standard deviations better than any other alignment, {fit.num_pieces:.0f} pieces"
    return Aligned(model, fit, "structure", support)


def narrowed(
    correlation: KernelCorrelation, model: Model, start_P: Floats, kernel_D: Floats, finest_D: Floats, at_ND: Floats
) -> Fit | None:
    """Return the alignment with the kernel that gives the lowest uncertainty; None if none converges."""
    at = at_ND[:: max(1, len(at_ND) // 500)]
    best: Fit | None = None
    lowest, worse, values = np.inf, 0, start_P
    while True:
        fit = correlation.fit(values, kernel_D)
        if fit.converged:
            error = float(np.sum(fit.error_nm(model, at) ** 2 / finest_D**2))
            values = fit.values_P
            if error < lowest:
                best, lowest, worse = fit, error, 0
            else:
                worse += 1
        else:
            worse += 1
        if worse >= 2 or np.all(kernel_D <= finest_D):
            return best
        kernel_D = np.maximum(kernel_D * _NARROWING, finest_D)


def pieces(position_ND: Floats, number: int) -> Integers:
    """Return the number ``(N,)`` of the square piece of the field that each point lies in."""
    plane = position_ND[:, :2]
    low, high = np.quantile(plane, [0.005, 0.995], axis=0)
    side = float((high - low).max()) / number
    index = np.clip(np.floor((plane - low) / max(side, 1e-9)), 0, number - 1).astype(np.int64)
    return np.unique(index[:, 0] * number + index[:, 1], return_inverse=True)[1]


class _Plane:
    """Choice among candidates, by points in the plane of x and y."""

    def __init__(self, fixed: Cloud, moving: Cloud, pivot_2: Floats, seed: int) -> None:
        self._fixed, self._moving = fixed.lateral(), moving.lateral()
        self._pivot, self._seed = pivot_2, seed
        self._finest = _finest(self._fixed, self._moving)

    def best(self, *, max_shift_nm: float | None, max_angle_rad: float) -> tuple[Fit, float]:
        """Return the best candidate, refined, and its lead over the next one in standard deviations."""
        grid = Grid(
            self._fixed.position_ND,
            self._moving.position_ND,
            self._pivot,
            max_shift_nm=max_shift_nm,
            bin_nm=best_bin(self._fixed.sigma_D, self._moving.sigma_D),
        )
        model = Model("rigid" if max_angle_rad > 0 else "shift", self._pivot)
        thin = [_thinned(cloud.position_ND, _SEARCH_POINTS, self._seed) for cloud in (self._fixed, self._moving)]
        correlation = KernelCorrelation(
            thin[0], thin[1], pieces(thin[1], _PIECES), model, max_pairs=FEW_PAIRS, seed=self._seed
        )
        fits = self._refined(correlation, model, grid.candidates(max_angle_rad), grid.bin_nm)
        if not fits:
            raise self._unclear("no shift and angle aligns them")
        kernel_D = np.minimum.reduce([fit.kernel_D for fit in fits])
        contrast = [correlation.contrast(fit.values_P, 2 * kernel_D) for fit in fits]
        order = np.argsort([-float(item.sum()) for item in contrast])
        first = fits[order[0]]
        others = [contrast[k] for k in order[1:] if self._differ(model, first, fits[k], 2 * kernel_D)]
        clearness = min((_clearness(contrast[order[0]], other) for other in others), default=np.inf)
        clearness = min(clearness, _clearness(contrast[order[0]], np.zeros_like(contrast[0])))
        _logger.debug("%d candidates, clearness %.1f", len(fits), clearness)
        if clearness < MIN_CLEARNESS:
            raise self._unclear(
                f"the best alignment is {clearness:.1f} standard deviations better than the next, expected "
                f"{MIN_CLEARNESS:.0f} or more"
            )
        return first, clearness

    def _refined(
        self, correlation: KernelCorrelation, model: Model, candidates: Sequence[Candidate], bin_nm: float
    ) -> list[Fit]:
        fits = []
        for candidate in candidates:
            values, fit = model.start(candidate.angle_rad, candidate.shift_2), None
            for factor in (1.5, 1.0, 0.6):
                kernel_D = np.maximum(np.full(2, factor * bin_nm), self._finest)
                fit = correlation.fit(values, kernel_D)
                values = fit.values_P
            if fit is not None:
                fits.append(fit)
        return fits

    def _differ(self, model: Model, one: Fit, other: Fit, kernel_D: Floats) -> bool:
        """Return whether two alignments put the cloud at different places."""
        at = self._moving.position_ND[:: max(1, len(self._moving) // 500)]
        away = model.move(at, one.values_P) - model.move(at, other.values_P)
        return bool(np.sqrt(np.mean(np.sum((away / kernel_D) ** 2, axis=1))) > 2)

    def _unclear(self, why: str) -> TableError:
        return TableError(
            f"The map between {self._fixed.name} and {self._moving.name} cannot be determined: {why}; give tables of "
            "the same structure, limit the search (--max-shift-nm, --max-angle-deg), or use beads (--method beads)."
        )


def _clearness(best_B: Floats, other_B: Floats) -> float:
    """Return by how many standard deviations, over pieces, one alignment has more pairs than another."""
    difference = best_B - other_B
    return float(difference.sum() / max(float(np.sqrt((difference**2).sum())), 1e-300))


def _z_shift(correlation: KernelCorrelation, values_P: Floats, reach_nm: float, name: str) -> float:
    """Return the most frequent difference along z between points that are near in the plane, nm."""
    found = np.concatenate([away[:, 2] for away in correlation.displacements(values_P, reach_nm)] or [np.empty(0)])
    if len(found) < _MIN_POINTS:
        raise TableError(
            f"{name} and the moving table have {len(found)} points near each other, too few to determine the "
            "shift along z."
        )
    low = float(found.min())
    count = np.bincount(((found - low) / _Z_BIN_NM).astype(np.int64)).astype(np.float64)
    count = np.pad(count, int(_Z_BROAD * _Z_KERNEL_NM / _Z_BIN_NM) * 2)
    width = _Z_KERNEL_NM / _Z_BIN_NM
    # broad features are chance pairs of a thick sample
    peak = gaussian_filter1d(count, width) - gaussian_filter1d(count, _Z_BROAD * width)
    place = int(np.argmax(peak)) - int(_Z_BROAD * _Z_KERNEL_NM / _Z_BIN_NM) * 2
    return low + (place + 0.5) * _Z_BIN_NM


def _finest(fixed: Cloud, moving: Cloud) -> Floats:
    """Return the narrowest kernel ``(D,)``: the expected difference of two detections of one molecule."""
    return np.maximum(np.hypot(fixed.sigma_D, moving.sigma_D), _SMALLEST_KERNEL_NM)


def _thinned(position_ND: Floats, number: int, seed: int) -> Floats:
    if len(position_ND) <= number:
        return position_ND
    chosen = np.random.default_rng(seed).choice(len(position_ND), number, replace=False)
    return np.asarray(position_ND[np.sort(chosen)])
