"""Least-squares drift of all windows from the displacements of pairs: overdetermined, and with some wrong pairs.

Redundant cross-correlation after Wang et al., Opt. Express 22, 15982 (2014): least squares over all pairs, excluding
pairs that do not fit the others. Here each pair is also weighted by its own precision.
Shape letters: ``W`` windows, ``K`` pairs, ``D`` axes.
"""

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lls_decode.robust import MAD_TO_SD

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MAX_PAIRS: Final = 600
_ITERATIONS: Final = 12
_TUKEY: Final = 4.685
"""Residual in robust standard deviations above which a pair has no weight; 95 % efficient for Gaussian errors."""


@dataclass(frozen=True)
class Solution:
    """Drift of the windows, relative to the mean over their points."""

    drift_nm: Floats
    """(W, D); NaN for windows that no pair connects with the others."""
    sigma_nm: Floats
    """(W, D) standard deviation, from the residuals."""
    residual_nm: Floats
    """(D,) root mean square residual of the accepted pairs."""
    num_pairs: int
    num_rejected: int

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """(W,) which windows have a drift."""
        return np.asarray(np.isfinite(self.drift_nm).all(axis=1))


def choose_pairs(num_windows: int, max_pairs: int = MAX_PAIRS) -> Integers:
    """Return pairs of windows ``(K, 2)``: all of them, or those at distances 1, 2, 4, ... up to the whole duration.

    Long distances keep the errors of short ones from accumulating; powers of two connect any two windows in few steps.
    """
    if num_windows * (num_windows - 1) // 2 <= max_pairs:
        return np.array(list(itertools.combinations(range(num_windows), 2)), dtype=np.int64).reshape(-1, 2)
    distances = [1 << power for power in range(num_windows.bit_length()) if 1 << power < num_windows]
    extra = [3 << power for power in range(num_windows.bit_length()) if 3 << power < num_windows]
    total, chosen = sum(num_windows - d for d in distances), list(distances)
    for distance in extra:
        if total + num_windows - distance <= max_pairs:
            chosen.append(distance)
            total += num_windows - distance
    return np.concatenate(
        [np.stack([np.arange(num_windows - d), np.arange(d, num_windows)], axis=1) for d in sorted(chosen)]
    )


def solve(
    pairs_K2: Integers, shift_KD: Floats, sigma_KD: Floats, num_windows: int, *, count_W: Integers | None = None
) -> Solution:
    """Solve for the drift by least squares; weights fall to zero for pairs that do not fit (Tukey's biweight).

    Parameters
    ----------
    pairs_K2
        Numbers of the two windows of each pair.
    shift_KD, sigma_KD
        Displacement of the second window from the first, nm, and its standard deviation up to a common factor.
    count_W
        Number of points in each window. Drift and uncertainty are relative to the mean over points, which a few poorly
        connected windows cannot distort. None: equal numbers.
    """
    usable = np.isfinite(shift_KD).all(axis=1) & np.isfinite(sigma_KD).all(axis=1)
    pairs, shift, sigma = pairs_K2[usable], shift_KD[usable], np.maximum(sigma_KD[usable], 1e-3)
    num_axes = shift.shape[1]
    count = np.ones(num_windows) if count_W is None else count_W.astype(np.float64)
    trust = np.ones(len(pairs))
    scale = np.ones(num_axes)
    drift, covariance = np.full((num_windows, num_axes), np.nan), np.full((num_windows, num_axes), np.nan)
    residual = np.zeros_like(shift)
    for _ in range(_ITERATIONS):
        part = _largest_part(pairs[trust > 0], num_windows)
        drift[:], covariance[:] = np.nan, np.nan
        for axis in range(num_axes):
            drift[part, axis], covariance[part, axis] = _least_squares(
                pairs, shift[:, axis], trust / sigma[:, axis] ** 2, part, count
            )
        residual = shift - (drift[pairs[:, 1]] - drift[pairs[:, 0]])
        missed = np.abs(residual) / sigma
        inside = np.isfinite(missed).all(axis=1)
        if not inside.any():
            break
        scale = np.maximum(MAD_TO_SD * np.median(missed[inside], axis=0), 1e-6)
        worst = np.max(missed / scale, axis=1)
        trust = np.where(inside & (worst < _TUKEY), (1 - np.minimum(worst / _TUKEY, 1) ** 2) ** 2, 0.0)
    accepted = trust > 0
    # There are as many unknowns as windows, minus one; they reduce the residuals, which is corrected here.
    freedom = max(1.0, len(pairs) - float(np.isfinite(drift[:, 0]).sum()) + 1) / max(1, len(pairs))
    rms = np.sqrt(np.average(residual[accepted] ** 2, axis=0)) if accepted.any() else np.full(num_axes, np.nan)
    return Solution(
        drift_nm=drift,
        sigma_nm=np.sqrt(covariance) * scale / np.sqrt(freedom),
        residual_nm=rms,
        num_pairs=len(pairs_K2),
        num_rejected=len(pairs_K2) - int(accepted.sum()),
    )


def _largest_part(pairs: Integers, num_windows: int) -> npt.NDArray[np.bool_]:
    """Return which windows belong to the largest set that is connected by pairs."""
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(num_windows, num_windows))
    _, label = connected_components(graph, directed=False)
    return np.asarray(label == np.bincount(label).argmax())


def _least_squares(
    pairs: Integers, shift: Floats, weight: Floats, part: npt.NDArray[np.bool_], count: Floats
) -> tuple[Floats, Floats]:
    """Return drift (with zero mean over points) and variances of the windows of one connected part."""
    number = np.cumsum(part) - 1
    inside = part[pairs].all(axis=1)
    (first, second), weight, shift = number[pairs[inside]].T, weight[inside], shift[inside]
    size = int(part.sum())
    normal = np.zeros((size, size))
    np.add.at(normal, (first, first), weight)
    np.add.at(normal, (second, second), weight)
    np.add.at(normal, (first, second), -weight)
    np.add.at(normal, (second, first), -weight)
    right = np.bincount(second, weight * shift, size) - np.bincount(first, weight * shift, size)
    mean = max(float(np.trace(normal)), 1e-12) / size**2  # forces the mean, which pairs do not determine, to zero
    share = count[part] / count[part].mean()
    inverse = np.linalg.inv(normal + mean * np.outer(share, share))
    return inverse @ right, np.maximum(np.diag(inverse) - 1 / (size**2 * mean), 0.0)
