"""The fine alignment of two clouds: the map with the most pairs of near points, and how uncertain it is.

Pairs of points are weighted by a Gaussian of their displacement (kernel correlation, Tsin and Kanade 2004), and the sum
of the weights is maximized by Newton's method. Pairs by chance, which are as many in all directions, cancel in the
gradient and in the second derivative; structure correlates with itself evenly around zero; so neither moves the
maximum, whatever the densities and the shares of labelled molecules are.

How far the maximum may be off is told by the gradients of independent pieces of the field, which at the maximum add up
to nothing: their scatter gives the covariance (the infinitesimal jackknife, or sandwich estimator). Molecules that are
seen many times, and outliers, are in it, since they are in the pieces.

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
"""Kernels up to which pairs are weighted."""
_MARGIN: Final = 0.7
"""Kernels more within which pairs are gathered, since the map changes."""
MAX_PAIRS: Final = 1_500_000
FEW_PAIRS: Final = 150_000
"""Enough to choose an alignment, or the width of a kernel."""
_PAIRS_AT_ONCE: Final = 200_000
_MAX_STEPS: Final = 25
_DONE: Final = 3e-3
"""Kernels by which points still move."""


@dataclass(frozen=True)
class Fit:
    """An alignment at one width of the kernel."""

    values_P: Floats
    kernel_D: Floats
    """nm"""
    covariance_PP: Floats
    """Infinite where the pieces do not tell."""
    num_pieces: float
    """Effective number of pieces that tell it."""
    converged: bool

    def error_nm(self, model: Model, position_ND: Floats) -> Floats:
        """``(D,)`` r.m.s. uncertainty of moved points."""
        jacobian_NDP = model.jacobian(position_ND, self.values_P)
        variance_D = np.einsum("ndp,pq,ndq->d", jacobian_NDP, self.covariance_PP, jacobian_NDP) / len(position_ND)
        return np.asarray(np.sqrt(np.maximum(variance_D, 0)))


class KernelCorrelation:
    """Two clouds that are brought together.

    Parameters
    ----------
    piece_N
        Number of the independent piece of the field that each moving point is in.
    max_pairs
        Pairs that are used; of more, those of some of the moving points.
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
        """Maximize the sum of weights, starting from a map that is off by less than about two kernels."""
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
        """``(B,)`` pairs of near points in each piece, beyond those that chance gives."""
        tree = cKDTree(self._fixed / (2 * kernel_D))
        one, other = self._pairs(tree, values_P, 2 * kernel_D)
        _, square = self._weights(one, other, values_P, kernel_D)
        axes = self._moving.shape[1]
        weight = np.exp(-square / 2) - np.exp(-square / 8) / 2**axes
        return self._by_piece(one, weight)

    def displacements(self, values_P: Floats, reach_nm: float) -> Iterator[Floats]:
        """``(K, D)`` from moved to fixed points that are laterally near each other; some at a time."""
        tree = cKDTree(self._fixed[:, :2] / reach_nm)
        one, other = self._pairs(tree, values_P, np.full(2, reach_nm), reach=1.0)
        moved = self._model.move(self._moving, values_P)
        for start in range(0, len(one), _PAIRS_AT_ONCE):
            part = slice(start, start + _PAIRS_AT_ONCE)
            yield self._fixed[other[part]] - moved[one[part]]

    def _by_piece(self, one: Integers, value_K: Floats) -> Floats:
        """``(B,)`` sums over the pairs of each piece."""
        return np.bincount(self._piece[one], value_K, self.num_pieces).astype(np.float64)

    def _pairs(
        self, tree: cKDTree, values_P: Floats, kernel_D: Floats, *, reach: float = _REACH + _MARGIN
    ) -> tuple[Integers, Integers]:
        """Moving and fixed points that are near; of some of the moving ones where there are too many pairs."""
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
        """``(K,)`` weights of pairs, and their squared distances in kernels."""
        moved = self._model.move(self._moving, values_P)
        square = (((self._fixed[other] - moved[one]) / kernel_D) ** 2).sum(axis=1)
        return np.where(square < _REACH**2, np.exp(-square / 2), 0.0), square

    def _derivatives(
        self, one: Integers, other: Integers, values_P: Floats, kernel_D: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Gradient of each piece, negative second derivative, and that part of it which is never negative."""
        num = len(values_P)
        gradient_BP = np.zeros((self.num_pieces, num))
        hessian_PP, steep_PP = np.zeros((num, num)), np.zeros((num, num))
        moved = self._model.move(self._moving, values_P)
        for start in range(0, len(one), _PAIRS_AT_ONCE):
            i, j = one[start : start + _PAIRS_AT_ONCE], other[start : start + _PAIRS_AT_ONCE]
            away = (self._fixed[j] - moved[i]) / kernel_D
            square = (away**2).sum(axis=1)
            weight = np.where(square < _REACH**2, np.exp(-square / 2), 0.0)
            # halfway between both points: neither of them is favoured
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
        """Kernels by which a step moves a point at the rim of the field."""
        rim = self._moving[self._order[:500]]
        moves = np.einsum("ndp,p->nd", self._model.jacobian(rim, values_P), step_P) / kernel_D
        return float(np.abs(moves).max())


def _newton(gradient_P: Floats, hessian_PP: Floats, steep_PP: Floats) -> Floats:
    """The step to the maximum; a shorter one where the curve is bent the wrong way."""
    scale = np.sqrt(np.maximum(np.diag(steep_PP), 1e-300))
    values, vectors = np.linalg.eigh(hessian_PP / np.outer(scale, scale))
    slopes, _ = np.linalg.eigh(steep_PP / np.outer(scale, scale))
    # a direction in which the second derivative says nothing is followed as if no pair were by chance
    safe = np.where(values > 0.02 * slopes.max(), values, slopes.max())
    return np.asarray(vectors @ ((vectors.T @ (gradient_P / scale)) / safe) / scale)


def _sandwich(gradient_BP: Floats, hessian_PP: Floats, weight_B: Floats, model: Model) -> tuple[Floats, float]:
    """Covariance from the gradients of independent pieces, and the effective number of these."""
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
