"""Fine alignment of two clouds: the map with the most pairs of near points, and its uncertainty.

Pairs of points are weighted by a Gaussian of their displacement (kernel correlation, Tsin and Kanade 2004), and the sum
of the weights is maximized by Newton's method. Chance pairs occur equally in all directions and cancel in the gradient
and in the second derivative, and a structure correlates with itself symmetrically around zero. So the maximum is
unbiased for any density and any share of labelled molecules.

The uncertainty of the maximum is estimated from the gradients of independent pieces of the field, which sum to zero at
the maximum: their scatter gives the covariance (the infinitesimal jackknife, or sandwich estimator). This includes
repeated detections of molecules and outliers, since each piece contains its own.

Shape letters: ``N`` moving points, ``M`` fixed points, ``K`` pairs, ``D`` axes, ``P`` parameters, ``B`` pieces.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from lls_decode.register.models import Model

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_REACH: Final = 4.0
"""Distance in kernels up to which pairs are weighted."""
_MARGIN: Final = 0.7
"""Additional distance in kernels within which pairs are collected, since the map changes."""
MAX_PAIRS: Final = 1_500_000
FEW_PAIRS: Final = 150_000
"""Limit on pairs that suffices to choose an alignment, or the width of a kernel."""
_PAIRS_AT_ONCE: Final = 200_000
_MAX_STEPS: Final = 25
_DONE: Final = 3e-3
"""Motion of the points, in kernels, below which the fit has converged."""


@dataclass(frozen=True)
class Fit:
    """An alignment at one width of the kernel."""

    values_P: Floats
    kernel_D: Floats
    """Width of the kernel, nm."""
    covariance_PP: Floats
    """Covariance of the parameters; infinite if the pieces do not determine it."""
    num_pieces: float
    """Effective number of pieces that determine the covariance."""
    converged: bool

    def error_nm(self, model: Model, position_ND: Floats) -> Floats:
        """Return the r.m.s. uncertainty ``(D,)`` of moved points."""
        jacobian_NDP = model.jacobian(position_ND, self.values_P)
        variance_D = np.einsum("ndp,pq,ndq->d", jacobian_NDP, self.covariance_PP, jacobian_NDP) / len(position_ND)
        return np.asarray(np.sqrt(np.maximum(variance_D, 0)))


class KernelCorrelation:
    """Kernel correlation of two clouds, which finds the map between them.

    Parameters
    ----------
    piece_N
        Number of the independent piece of the field that each moving point lies in.
    max_pairs
        Largest number of pairs; if there are more, only some of the moving points are used.
    """

    def __init__(
        self,
        fixed_MD: Floats,
        moving_ND: Floats,
        piece_N: Integers,
        model: Model,
        *,
        max_pairs: int = MAX_PAIRS,
        seed: int = 0,
    ) -> None:
        self._max_pairs = max_pairs
        self._fixed, self._moving, self._piece, self._model = fixed_MD, moving_ND, piece_N, model
        self.num_pieces = int(piece_N.max()) + 1
        self._order = np.random.default_rng(seed).permutation(len(moving_ND))

    def fit(self, values_P: Floats, kernel_D: Floats) -> Fit:
        """Maximize the sum of weights, starting from a map that is wrong by less than about two kernels."""
        tree = cKDTree(self._fixed / kernel_D)
        values, converged, away = values_P, False, np.inf
        for _ in range(_MAX_STEPS):
            if away > _MARGIN:
                (one, other), away = self._pairs(tree, values, kernel_D), 0.0
            gradient_BP, hessian_PP, steep_PP = self._derivatives(one, other, values, kernel_D)
            step = _newton(gradient_BP.sum(axis=0), hessian_PP, steep_PP)
            step *= min(1.0, 1.0 / max(self._largest(step, values, kernel_D), 1e-12))
            values = values + step
            moved = self._largest(step, values, kernel_D)
            away += moved
            if moved < _DONE:
                converged = True
                break
        gradient_BP, hessian_PP, _ = self._derivatives(one, other, values, kernel_D)
        weight_B = self._by_piece(one, self._weights(one, other, values, kernel_D)[0])
        covariance, num = _sandwich(gradient_BP, hessian_PP, weight_B, self._model)
        return Fit(values, kernel_D, covariance, num, converged and bool(np.isfinite(covariance).all()))

    def contrast(self, values_P: Floats, kernel_D: Floats) -> Floats:
        """Return the number of near pairs ``(B,)`` in each piece, minus those by chance."""
        tree = cKDTree(self._fixed / (2 * kernel_D))
        one, other = self._pairs(tree, values_P, 2 * kernel_D)
        _, square = self._weights(one, other, values_P, kernel_D)
        axes = self._moving.shape[1]
        weight = np.exp(-square / 2) - np.exp(-square / 8) / 2**axes
        return self._by_piece(one, weight)

    def displacements(self, values_P: Floats, reach_nm: float) -> Iterator[Floats]:
        """Give displacements ``(K, D)`` from moved to fixed points that are laterally near each other, in parts."""
        tree = cKDTree(self._fixed[:, :2] / reach_nm)
        one, other = self._pairs(tree, values_P, np.full(2, reach_nm), reach=1.0)
        moved = self._model.move(self._moving, values_P)
        for start in range(0, len(one), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            yield self._fixed[other[part]] - moved[one[part]]

    def _by_piece(self, one: Integers, value_K: Floats) -> Floats:
        """Return the sums ``(B,)`` of values over the pairs of each piece."""
        return np.bincount(self._piece[one], value_K, self.num_pieces).astype(np.float64)

    def _pairs(
        self, tree: cKDTree, values_P: Floats, kernel_D: Floats, *, reach: float = _REACH + _MARGIN
    ) -> tuple[Integers, Integers]:
        """Return the moving and fixed points of near pairs; only for some moving points if there are too many pairs."""
        axes = len(kernel_D)
        scaled = self._model.move(self._moving, values_P)[:, :axes] / kernel_D
        chosen = self._order
        sample = chosen[:2000]
        expected = cKDTree(scaled[sample]).count_neighbors(tree, reach) * len(chosen) / len(sample)
        if expected > self._max_pairs:
            chosen = chosen[: max(1000, int(len(chosen) * self._max_pairs / expected))]
        found = cKDTree(scaled[chosen]).sparse_distance_matrix(tree, reach, output_type="ndarray")
        return chosen[found["i"]], found["j"].astype(np.int64)

    def _weights(self, one: Integers, other: Integers, values_P: Floats, kernel_D: Floats) -> tuple[Floats, Floats]:
        """Return the weights ``(K,)`` of pairs, and their squared distances in kernels."""
        moved = self._model.move(self._moving, values_P)
        square = (((self._fixed[other] - moved[one]) / kernel_D) ** 2).sum(axis=1)
        return np.where(square < _REACH**2, np.exp(-square / 2), 0.0), square

    def _derivatives(
        self, one: Integers, other: Integers, values_P: Floats, kernel_D: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Return the gradient of each piece, the negative second derivative, and the never negative part of it."""
        num = len(values_P)
        gradient_BP = np.zeros((self.num_pieces, num))
        hessian_PP, steep_PP = np.zeros((num, num)), np.zeros((num, num))
        moved = self._model.move(self._moving, values_P)
        for start in range(0, len(one), _PAIRS_AT_ONCE):
            i, j = one[start : start + _PAIRS_AT_ONCE], other[start : start + _PAIRS_AT_ONCE]
            away = (self._fixed[j] - moved[i]) / kernel_D
            square = (away**2).sum(axis=1)
            weight = np.where(square < _REACH**2, np.exp(-square / 2), 0.0)
            # the point halfway between both, so that neither is favoured
            middle = self._moving[i] + away * kernel_D / 2
            jacobian = self._model.jacobian(middle, values_P) / kernel_D[:, None]
            slope_KP = np.einsum("kdp,kd->kp", jacobian, away)
            for p in range(num):
                gradient_BP[:, p] += np.bincount(self._piece[i], weight * slope_KP[:, p], self.num_pieces)
            flat = jacobian.reshape(-1, num)
            steep_PP += flat.T @ (flat * np.repeat(weight, jacobian.shape[1])[:, None])
            hessian_PP -= slope_KP.T @ (slope_KP * weight[:, None])
        return gradient_BP, hessian_PP + steep_PP, steep_PP

    def _largest(self, step_P: Floats, values_P: Floats, kernel_D: Floats) -> float:
        """Return how far, in kernels, a step moves the points of the field at most."""
        rim = self._moving[self._order[:500]]
        moves = np.einsum("ndp,p->nd", self._model.jacobian(rim, values_P), step_P) / kernel_D
        return float(np.abs(moves).max())


def _newton(gradient_P: Floats, hessian_PP: Floats, steep_PP: Floats) -> Floats:
    """Return the step to the maximum; a shorter one where the curvature has the wrong sign."""
    scale = np.sqrt(np.maximum(np.diag(steep_PP), 1e-300))
    values, vectors = np.linalg.eigh(hessian_PP / np.outer(scale, scale))
    slopes, _ = np.linalg.eigh(steep_PP / np.outer(scale, scale))
    # where the second derivative gives no information, take the step as if no pair were due to chance
    safe = np.where(values > 0.02 * slopes.max(), values, slopes.max())
    return np.asarray(vectors @ ((vectors.T @ (gradient_P / scale)) / safe) / scale)


def _sandwich(gradient_BP: Floats, hessian_PP: Floats, weight_B: Floats, model: Model) -> tuple[Floats, float]:
    """Return the covariance from the gradients of independent pieces, and the effective number of pieces."""
    num = len(hessian_PP)
    total = float((weight_B**2).sum())
    effective = float(weight_B.sum() ** 2 / total) if total > 0 else 0.0
    spent = num / model.num_axes
    scale = np.sqrt(np.abs(np.diag(hessian_PP)))
    unknown = np.full((num, num), np.inf)
    if effective <= spent + 1 or np.any(scale == 0):
        return unknown, effective
    scaled = hessian_PP / np.outer(scale, scale)
    if np.linalg.eigvalsh(scaled).min() < 1e-6:
        return unknown, effective
    inverse = np.linalg.inv(scaled) / np.outer(scale, scale)
    covariance = inverse @ (gradient_BP.T @ gradient_BP) @ inverse * effective / (effective - spent)
    return covariance, effective
