"""Redundant cross-correlation: drift from the sample's own structure, first roughly and then finely.

1. A few windows of equal numbers of points; displacements of all pairs from Fourier transforms on a coarse grid, which
   finds any drift up to ``max_shift_nm``.
2. Points minus the curve so far; displacements of pairs of windows from points that are near each other, with a kernel
   that narrows to the precision of the localizations.
3. Windows are cut where the curve bends, and 2 repeated, until it bends nowhere by more than its uncertainty.

Each step ends with the redundant least squares of `solve`. What all pairs of a window have in common does not show in
its residuals; so in the end the drift is measured with halves of the points that have no molecule in common, and the
uncertainty of the least squares is scaled until it explains how these differ.
Shape letters: ``N`` points, ``D`` axes, ``W`` windows, ``K`` pairs, ``V`` volumes.
"""

import logging
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lls_decode.drift.benefit.halves import calibrate, cells_of, halve
from lls_decode.drift.correlation.correlogram import REACH, GridCorrelator, NearCorrelator
from lls_decode.drift.correlation.solve import Solution, choose_pairs, solve
from lls_decode.drift.correlation.windows import MIN_POINTS, Windows, bends, cut_at_gaps, cut_evenly, cut_long, split
from lls_decode.drift.curve.curve import DriftCurve, make_curve
from lls_decode.drift.curve.support import Knots, held, uncertainty
from lls_decode.drift.points import Points
from lls_decode.errors import TableError

_logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]

_COARSE_WINDOWS: Final = 12
_EVEN_WINDOWS: Final = 64
"""So many windows are made without a reason, when each has `_EVEN_POINTS`: within a window drift is not seen."""
_EVEN_POINTS: Final = 5_000
_MAX_WINDOWS: Final = 600
_MAX_LEVELS: Final = 16
_FIRST_SCALE: Final = 6.0
"""Widest kernel, in units of the narrowest: it reaches over what the coarse grid leaves."""
_NARROWING: Final = 3.0
_SMALLEST_KERNEL_NM: Final = 10.0
_MAX_WINDOW_POINTS: Final = 50_000
"""Of one window, used for a displacement; every n-th of more."""
_DIFFERENCES: Final = 200
"""Windows, over all ways to halve the points, that tell the uncertainty."""
_MAX_HALVINGS: Final = 8


def estimate_by_correlation(
    points: Points,
    *,
    max_shift_nm: float = 2000.0,
    num_windows: int | None = None,
    progress: Progress | None = None,
) -> DriftCurve:
    """Drift of a table by redundant cross-correlation.

    Parameters
    ----------
    max_shift_nm
        Largest drift along each axis between any two windows.
    num_windows
        Fixed number of windows of equal numbers of points. None: as many as the drift needs. What happens within a
        window is in no uncertainty, which is why too few of them look too good.
    progress
        Called with windows done and in all, at each level anew.

    Raises
    ------
    TableError
        Too few points, or no structure by which windows could be brought together.
    """
    limit = max(2, len(points) // (2 * MIN_POINTS))
    windows = cut_evenly(points.volume, min(_COARSE_WINDOWS, limit))
    if len(points) < 4 * MIN_POINTS or len(windows) < 2:
        raise TableError(
            f"The drift of {len(points)} localizations in {len(windows)} windows of time cannot be measured by "
            f"correlation, which takes {4 * MIN_POINTS} at least; use fiducials, or a longer acquisition."
        )
    kernel_nm = np.maximum(math.sqrt(2) * points.sigma_nm, _SMALLEST_KERNEL_NM)
    shift_VD = _interpolated(points, windows, _measure_coarsely(points, windows, kernel_nm, max_shift_nm))
    evenly = min(max(_COARSE_WINDOWS, len(points) // _EVEN_POINTS), _EVEN_WINDOWS)
    windows = cut_evenly(points.volume, min(num_windows or evenly, limit))
    if num_windows is None:
        windows = cut_long(cut_at_gaps(windows))
    windows, shift_VD, solution = _follow(
        points, windows, shift_VD, kernel_nm, fixed=num_windows is not None, progress=progress
    )
    sigma_WD = _calibrated(points, windows, shift_VD, kernel_nm, solution)
    knots = _knots(windows, solution.known, _at(windows, shift_VD, points), sigma_WD)
    sigma_VD, supported_V = uncertainty(knots, points.first_volume, points.last_volume)
    return make_curve(
        points.first_volume,
        shift_VD,
        sigma_VD,
        supported_V=supported_V,
        coords=points.coords,
        method="rcc",
        details=_details(points, windows, solution, kernel_nm),
    )


def _follow(
    points: Points, windows: Windows, shift_VD: Floats, kernel_nm: Floats, *, fixed: bool, progress: Progress | None
) -> tuple[Windows, Floats, Solution]:
    """Narrow the kernel and cut windows until neither changes any more; the last solution is that of the narrowest."""
    scale = _FIRST_SCALE
    for level in range(_MAX_LEVELS):
        solution = _measure_finely(points, windows, shift_VD, scale * kernel_nm, progress=progress)
        shift_VD = shift_VD + _interpolated(points, windows, solution)
        _logger.debug("%d windows, kernel x %.3g, residual %s nm", len(windows), scale, solution.residual_nm.round(2))
        finer, bend_nm = windows, np.zeros_like(kernel_nm)
        if not fixed and level < _MAX_LEVELS - 4:  # the last levels only narrow the kernel
            finer, bend_nm = _refine(points, windows, shift_VD, solution, kernel_nm)
        if scale == 1.0 and len(finer) == len(windows):
            break
        wide = float(np.max(2 * bend_nm / (REACH * kernel_nm)))  # halves of a window with a jump lie that far apart
        windows, scale = finer, min(max(1.0, scale / _NARROWING, wide), _FIRST_SCALE)
    return windows, shift_VD, solution


def _measure_coarsely(points: Points, windows: Windows, kernel_nm: Floats, max_shift_nm: float) -> Solution:
    low, high = np.percentile(points.position_nm[:: max(1, len(points) // 100_000)], [0.5, 99.5], axis=0)
    grid = GridCorrelator(low, high, kernel_nm=2 * kernel_nm, max_shift_nm=max_shift_nm)
    transforms = [grid.transform(points.position_nm[windows.part(number)]) for number in range(len(windows))]
    pairs = choose_pairs(len(windows))
    shift = np.array([grid.shift(transforms[i], transforms[j]) for i, j in pairs])
    return _solved(pairs, shift, np.ones_like(shift), windows)


def _measure_finely(
    points: Points,
    windows: Windows,
    shift_VD: Floats,
    kernel_nm: Floats,
    *,
    chosen: npt.NDArray[np.bool_] | None = None,
    progress: Progress | None = None,
) -> Solution:
    """Displacements that the curve so far has left, of all points or of some of them."""
    clouds = [_at_rest(points, _numbers(windows.part(number), chosen), shift_VD) for number in range(len(windows))]
    pairs = choose_pairs(len(windows))
    shift, sigma = np.full((2, len(pairs), len(kernel_nm)), np.nan)
    for second in range(1, len(windows)):
        if not len(clouds[second]):
            continue
        correlator = NearCorrelator(clouds[second], kernel_nm)
        for row in np.flatnonzero(pairs[:, 1] == second):
            peak = correlator.peak(clouds[pairs[row, 0]])
            if peak is not None:
                shift[row], sigma[row] = peak.shift_nm, peak.sigma_nm
        if progress is not None:
            progress(second + 1, len(windows))
    return _solved(pairs, shift, sigma, windows)


def _numbers(part: slice, chosen: npt.NDArray[np.bool_] | None) -> Integers:
    """Numbers of the points of a window that are used."""
    number = np.arange(part.start, part.stop)
    if chosen is not None:
        number = number[chosen[part]]
    return number[:: max(1, math.ceil(len(number) / _MAX_WINDOW_POINTS))]


def _at_rest(points: Points, number: Integers, shift_VD: Floats) -> npt.NDArray[np.float32]:
    moved = points.position_nm[number] - shift_VD[points.volume[number] - points.first_volume]
    return moved.astype(np.float32)


def _solved(pairs: Integers, shift_KD: Floats, sigma_KD: Floats, windows: Windows) -> Solution:
    solution = solve(pairs, shift_KD, sigma_KD, len(windows), count_W=windows.counts)
    if solution.known.sum() < max(2, len(windows) / 2):
        raise TableError(
            f"Only {int(solution.known.sum())} of {len(windows)} windows of time have a structure in common, so that "
            "the drift cannot be measured by correlation; use fiducials, or fewer windows."
        )
    return solution


def _knots(windows: Windows, known: npt.NDArray[np.bool_], drift_WD: Floats, sigma_WD: Floats) -> Knots:
    return Knots(windows.centres[known], windows.reach[known], drift_WD[known], sigma_WD[known])


def _interpolated(points: Points, windows: Windows, solution: Solution) -> Floats:
    knots = _knots(windows, solution.known, solution.drift_nm, solution.sigma_nm)
    return held(knots, points.first_volume, points.last_volume)


def _at(windows: Windows, shift_VD: Floats, points: Points) -> Floats:
    """``(W, D)`` displacements in the volumes at the centres of windows."""
    return shift_VD[np.rint(windows.centres).astype(np.int64) - points.first_volume]


def _refine(
    points: Points, windows: Windows, shift_VD: Floats, solution: Solution, kernel_nm: Floats
) -> tuple[Windows, Floats]:
    """Windows cut in two where the curve bends, in four where it jumps, and the largest bend along each axis, nm."""
    bend_WD = bends(windows.centres, _at(windows, shift_VD, points), np.nan_to_num(solution.sigma_nm, nan=np.inf))
    parts = 1 + np.any(bend_WD > 0, axis=1) + 2 * np.any(bend_WD > kernel_nm, axis=1)
    finer = split(windows, parts) if parts.sum() <= _MAX_WINDOWS else windows
    return finer, bend_WD.max(axis=0) if len(finer) > len(windows) else np.zeros(bend_WD.shape[1])


def _calibrated(points: Points, windows: Windows, shift_VD: Floats, kernel_nm: Floats, solution: Solution) -> Floats:
    """``(W, D)`` nm, uncertainties that explain how the drifts of halves without common molecules differ.

    The error of a mean over all points is half of the difference between two over halves. Few windows tell little, so
    that the points are then halved in several ways.
    """
    cells = cells_of(_at_rest(points, np.arange(len(points)), shift_VD), kernel_nm)
    off, stated = [], []
    for seed in range(min(_MAX_HALVINGS, -(-_DIFFERENCES // len(windows)))):
        first = halve(cells, seed)
        one, other = (_measure_finely(points, windows, shift_VD, kernel_nm, chosen=half) for half in (first, ~first))
        known = one.known & other.known & solution.known
        off.append((one.drift_nm[known] - other.drift_nm[known]) / 2)
        stated.append(solution.sigma_nm[known])
    return calibrate(solution.sigma_nm, np.concatenate(stated), np.concatenate(off))


def _details(points: Points, windows: Windows, solution: Solution, kernel_nm: Floats) -> dict[str, Any]:
    return {
        "num_localizations": len(points),
        "num_rows": points.num_rows,
        "num_windows": len(windows),
        "window_centres": [round(float(v), 1) for v in windows.centres],
        "num_pairs": solution.num_pairs,
        "num_rejected": solution.num_rejected,
        "residual_nm": [round(float(v), 3) for v in solution.residual_nm],
        "kernel_nm": [round(float(v), 1) for v in kernel_nm],
    }
