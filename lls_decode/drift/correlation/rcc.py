"""Redundant cross-correlation: drift from the sample's own structure, first roughly, then finely.

1. Form a few windows with equal numbers of points, and find the displacements of all pairs by Fourier transforms on a
   coarse grid. This finds any drift up to ``max_shift_nm``.
2. Subtract the curve so far from the points, and find the displacements of pairs of windows from near points, with a
   kernel that narrows to the precision of the localizations.
3. Split windows where the curve bends, and repeat step 2 until no bend exceeds its uncertainty.

Each step ends with the redundant least squares of `solve`. Errors that all pairs of a window share do not show in their
residuals. So the drift is finally measured from two halves of the points that have no molecule in common, and the
uncertainty of the least squares is scaled until it explains the difference between them.
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
"""Number of windows that are formed in any case, if each has `_EVEN_POINTS`: drift within a window is not seen."""
_EVEN_POINTS: Final = 5_000
_MAX_WINDOWS: Final = 600
_MAX_LEVELS: Final = 16
_FIRST_SCALE: Final = 6.0
"""Widest kernel, in units of the narrowest; it covers the error that the coarse grid leaves."""
_NARROWING: Final = 3.0
_SMALLEST_KERNEL_NM: Final = 10.0
_MAX_WINDOW_POINTS: Final = 50_000
"""Points of a window used for one displacement; of larger windows every n-th point is used."""
_DIFFERENCES: Final = 200
"""Number of windows, summed over all divisions into halves, from which the uncertainty is calibrated."""
_MAX_HALVINGS: Final = 8


def estimate_by_correlation(
    points: Points,
    *,
    max_shift_nm: float = 2000.0,
    num_windows: int | None = None,
    progress: Progress | None = None,
) -> DriftCurve:
    """Measure the drift of a table by redundant cross-correlation.

    Parameters
    ----------
    max_shift_nm
        Largest drift along each axis between any two windows.
    num_windows
        Fixed number of windows with equal numbers of points. None: as many as the drift needs. The uncertainty does not
        include motion within a window, so too few windows look too good.
    progress
        Function that is called with the numbers of finished and of all windows; it restarts at each level.

    Raises
    ------
    TableError
        There are too few points, or windows have too little structure in common.
    """
    limit = max(2, len(points) // (2 * MIN_POINTS))
    windows = cut_evenly(points.volume, min(_COARSE_WINDOWS, limit))
    if len(points) < 4 * MIN_POINTS or len(windows) < 2:
        raise TableError(
            f"The drift of {len(points)} localizations in {len(windows)} windows of time cannot be measured by "
            f"correlation, which needs at least {4 * MIN_POINTS}; use fiducials, or a longer acquisition."
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
    """Narrow the kernel and split windows until neither changes; return the solution with the narrowest kernel."""
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
        wide = float(np.max(2 * bend_nm / (REACH * kernel_nm)))  # distance between the halves of a window with a jump
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
    """Measure the displacements that remain after subtracting the curve so far, from all or some of the points."""
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
    """Return the numbers of a window's points that are used."""
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
            f"Only {int(solution.known.sum())} of {len(windows)} windows of time have a structure in common, so "
            "the drift cannot be measured by correlation; use fiducials, or fewer windows."
        )
    return solution


def _knots(windows: Windows, known: npt.NDArray[np.bool_], drift_WD: Floats, sigma_WD: Floats) -> Knots:
    return Knots(windows.centres[known], windows.reach[known], drift_WD[known], sigma_WD[known])


def _interpolated(points: Points, windows: Windows, solution: Solution) -> Floats:
    knots = _knots(windows, solution.known, solution.drift_nm, solution.sigma_nm)
    return held(knots, points.first_volume, points.last_volume)


def _at(windows: Windows, shift_VD: Floats, points: Points) -> Floats:
    """Return the displacements ``(W, D)`` at the centres of the windows."""
    return shift_VD[np.rint(windows.centres).astype(np.int64) - points.first_volume]


def _refine(
    points: Points, windows: Windows, shift_VD: Floats, solution: Solution, kernel_nm: Floats
) -> tuple[Windows, Floats]:
    """Split windows in two where the curve bends, in four where it jumps; also return the largest bend per axis, nm."""
    bend_WD = bends(windows.centres, _at(windows, shift_VD, points), np.nan_to_num(solution.sigma_nm, nan=np.inf))
    parts = 1 + np.any(bend_WD > 0, axis=1) + 2 * np.any(bend_WD > kernel_nm, axis=1)
    finer = split(windows, parts) if parts.sum() <= _MAX_WINDOWS else windows
    return finer, bend_WD.max(axis=0) if len(finer) > len(windows) else np.zeros(bend_WD.shape[1])


def _calibrated(points: Points, windows: Windows, shift_VD: Floats, kernel_nm: Floats, solution: Solution) -> Floats:
    """Return uncertainties ``(W, D)`` in nm that explain the difference between halves without common molecules.

    The error of a drift from all points is half the difference between the drifts of two halves. A few windows give few
    differences, so the points are then divided in several ways.
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
