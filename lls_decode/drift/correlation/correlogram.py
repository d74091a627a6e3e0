"""Displacement between two clouds of points, from the peak of their cross-correlation.

Two classes compute the same correlogram (number of pairs of points by displacement):

* `GridCorrelator` Fourier-transforms histograms on one grid. It finds displacements of any size, but its bins are as
  coarse as the memory for a grid requires, so the peak is located only roughly.
* `NearCorrelator` finds pairs of points closer than a few kernels by way of a grid of cells. It finds only small
  displacements, but with bins of any fineness in any volume, so the peak is located exactly.

The correlation of a structure with itself is symmetric around zero, so a symmetric kernel has no bias for any
structure.
Shape letters: ``N M`` points, ``D`` axes, ``K`` pairs.
"""

import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.fft

Floats = npt.NDArray[np.float64]
Points = npt.NDArray[np.float32]

MAX_VOXELS: Final = 2**19
"""Largest number of voxels of the grid for Fourier transforms."""
_MAX_CELLS: Final = 2**20
_MAX_PAIRS: Final = 200_000
"""Largest number of candidate pairs in one correlogram; beyond it, neighbours are searched for every n-th point
only."""

_BINS: Final = 2
"""Bins of a near correlogram per kernel."""
REACH: Final = 3
"""Largest displacement that a near correlogram finds, in kernels."""
_MARGIN: Final = 3
"""Additional kernels around that range in which pairs are counted."""
_HALF: Final = (REACH + _MARGIN) * _BINS
_BACKGROUND: Final = 5.0
"""Ratio of the band-pass filter's two widths; the filter removes broad features, such as the field of view itself."""


@dataclass(frozen=True)
class Peak:
    """Displacement of one cloud of points from another."""

    shift_nm: Floats
    """(D,) displacement."""
    sigma_nm: Floats
    """(D,) standard deviation from the number of pairs, which are assumed to be independent."""


class GridCorrelator:
    """Cross-correlation of point clouds on a common grid.

    Parameters
    ----------
    low, high
        ``(D,)`` nm, extent of the points; points outside are ignored.
    kernel_nm
        ``(D,)`` nm, smallest bin size.
    max_shift_nm
        Largest displacement along each axis.
    """

    def __init__(self, low: Floats, high: Floats, *, kernel_nm: Floats, max_shift_nm: float) -> None:
        self._low = low
        extent = high - low + max_shift_nm  # an empty margin, so that displacements do not wrap around
        scale = max(1.0, float(np.prod(extent / kernel_nm) / MAX_VOXELS) ** (1 / len(low)))
        self._bin_nm = kernel_nm * scale
        self._num = np.maximum(1, np.floor((high - low) / self._bin_nm)).astype(np.int64) + 1
        self.shape = tuple(scipy.fft.next_fast_len(int(n), real=True) for n in np.ceil(extent / self._bin_nm) + 1)
        self._reach = np.minimum(np.ceil(max_shift_nm / self._bin_nm), (np.array(self.shape) - 1) // 2).astype(np.int64)
        self._filter = self._band_pass()

    def transform(self, position_ND: Points) -> npt.NDArray[np.complex64]:
        """Return the filtered Fourier transform of a histogram; its square root keeps bright spots from dominating."""
        index = ((position_ND - self._low) / self._bin_nm).astype(np.int64)
        inside = np.all((position_ND >= self._low) & (index < self._num), axis=1)
        flat = np.ravel_multi_index(tuple(index[inside].T), self.shape)
        count = np.bincount(flat, minlength=math.prod(self.shape)).astype(np.float32).reshape(self.shape)
        return np.asarray(scipy.fft.rfftn(np.sqrt(count)) * self._filter)

    def shift(self, first: npt.NDArray[np.complex64], second: npt.NDArray[np.complex64]) -> Floats:
        """Return the displacement ``(D,)`` of the second cloud from the first in nm, computed from their transforms."""
        product = scipy.fft.irfftn(np.conj(first) * second, s=self.shape)
        for axis, reach in enumerate(self._reach):
            product = np.take(product, np.arange(-reach, reach + 1), axis=axis, mode="wrap")
        return np.asarray((_highest(product)[0] - self._reach) * self._bin_nm)

    def _band_pass(self) -> npt.NDArray[np.float32]:
        """Return the filter: a Gaussian of the bin size minus a broad one; each cloud gets its square root."""
        square = np.zeros(1)
        for axis, n in enumerate(self.shape):
            last = axis == len(self.shape) - 1
            frequency = scipy.fft.rfftfreq(n) if last else scipy.fft.fftfreq(n)
            square = np.add.outer(square, frequency**2)
        low = -2 * np.pi**2 * square[0]
        return np.asarray(np.sqrt(np.exp(low) - np.exp(low * _BACKGROUND**2)), dtype=np.float32)


class NearCorrelator:
    """Cross-correlation of one cloud of points with others, for displacements of up to a few kernels.

    Parameters
    ----------
    position_ND
        Cloud that others are compared with, nm.
    kernel_nm
        ``(D,)`` nm, standard deviation of the Gaussian that weights the pairs.
    """

    def __init__(self, position_ND: Points, kernel_nm: Floats) -> None:
        self._bin_nm = kernel_nm / _BINS
        points = (position_ND / self._bin_nm).astype(np.float32)
        self._low, extent = points.min(axis=0), np.ptp(points, axis=0)
        num_cells = float(np.prod(np.maximum(extent, _HALF) / _HALF))
        self._cell = _HALF * max(1.0, num_cells / _MAX_CELLS) ** (1 / len(extent))
        # Two empty cells on each side, so that cells at the border have neighbours.
        self._shape = tuple(int(n) + 5 for n in extent // self._cell)
        cell = np.ravel_multi_index(tuple(self._index(points).T), self._shape)
        order = np.argsort(cell, kind="stable")
        self._points_DN = np.ascontiguousarray(points[order].T)
        self._starts = np.zeros(math.prod(self._shape) + 1, dtype=np.int64)
        np.cumsum(np.bincount(cell, minlength=len(self._starts) - 1), out=self._starts[1:])

    def peak(self, position_MD: Points) -> Peak | None:
        """Return the displacement of this cloud from another one; None if no pair is within reach."""
        count = self._correlogram((position_MD / self._bin_nm).astype(np.float32))
        smooth = count
        for _ in range(count.ndim):  # tensordot moves the first axis to the end, so each axis gets its turn
            smooth = np.tensordot(smooth, _SMOOTHING, axes=(0, 1))
        if not smooth.any():
            return None
        place, hessian = _highest(smooth)
        sigma = _uncertainty(count, np.rint(place).astype(np.int64) + _MARGIN * _BINS, hessian)
        return Peak((place - REACH * _BINS) * self._bin_nm, sigma * self._bin_nm)

    def _index(self, points: Points) -> npt.NDArray[np.int64]:
        return np.asarray(np.floor((points - self._low) / self._cell), dtype=np.int64) + 2

    def _correlogram(self, queries: Points) -> npt.NDArray[np.float32]:
        """Return the number of pairs by displacement, in ``2 * _HALF + 1`` bins along each axis."""
        num_axes, side = queries.shape[1], 2 * _HALF + 1
        queries, start, stop = self._neighbours(queries)
        num = stop - start
        asked = np.repeat(np.arange(len(queries)), num)
        found = np.arange(len(asked)) + np.repeat(start - np.cumsum(num) + num, num)
        flat = np.zeros(len(asked), dtype=np.int64)
        for axis in range(num_axes):
            away = self._points_DN[axis][found] - queries[asked, axis]
            near = np.abs(away) < _HALF + 0.5
            asked, found = asked[near], found[near]
            flat = flat[near] * side + np.rint(away[near]).astype(np.int64) + _HALF
        return np.bincount(flat, minlength=side**num_axes).astype(np.float32).reshape((side,) * num_axes)

    def _neighbours(self, queries: Points) -> tuple[Points, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the query points, repeated for each row of neighbouring cells, and the range of points in that row."""
        index = self._index(queries)
        inside = np.all((index >= 1) & (index < np.array(self._shape) - 1), axis=1)
        queries, index = queries[inside], index[inside]
        flat = np.ravel_multi_index(tuple(index.T), self._shape)
        offsets = list(itertools.product((-1, 0, 1), repeat=index.shape[1] - 1))
        strides = np.cumprod([1, *self._shape[:0:-1]])[::-1]
        middle = np.concatenate([flat + int(np.dot(offset, strides[:-1])) for offset in offsets])
        start, stop = self._starts[middle - 1], self._starts[middle + 2]
        asking = np.tile(np.arange(len(queries)), len(offsets))
        every = math.ceil(int((stop - start).sum()) / _MAX_PAIRS)
        chosen = (stop > start) & (asking % max(every, 1) == 0)
        return queries[asking[chosen]], start[chosen], stop[chosen]


def _highest(image: npt.NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Return the maximum's place in bins, by a paraboloid through its neighbours, and the second derivatives there."""
    best = np.unravel_index(int(np.argmax(image)), image.shape)
    centre = np.array([min(max(int(i), 1), n - 2) if n > 2 else 0 for i, n in zip(best, image.shape, strict=True)])

    def at(*steps: tuple[int, int]) -> float:
        place = centre.copy()
        for axis, step in steps:
            place[axis] += step
        return float(image[tuple(place)])

    axes = [axis for axis, n in enumerate(image.shape) if n > 2]
    gradient = np.array([(at((a, 1)) - at((a, -1))) / 2 for a in axes])
    hessian = np.empty((len(axes), len(axes)))
    for i, a in enumerate(axes):
        hessian[i, i] = at((a, 1)) - 2 * at() + at((a, -1))
        for j, b in enumerate(axes[:i]):
            mixed = at((a, 1), (b, 1)) - at((a, 1), (b, -1)) - at((a, -1), (b, 1)) + at((a, -1), (b, -1))
            hessian[i, j] = hessian[j, i] = mixed / 4
    step = np.zeros(image.ndim)
    if np.all(np.linalg.eigvalsh(hessian) < 0):
        step[axes] = np.clip(-np.linalg.solve(hessian, gradient), -1, 1)
    return centre + step, hessian


def _uncertainty(count: npt.NDArray[np.float32], centre: npt.NDArray[np.int64], hessian: Floats) -> Floats:
    """Return the spread ``(D,)`` of the maximum's place, in bins, if every bin has Poisson noise."""
    radius = _MARGIN * _BINS
    near = count[tuple(slice(c - radius, c + radius + 1) for c in centre)]
    noise = (_gradient_products(near.ndim) @ near.ravel()).reshape(near.ndim, near.ndim)
    inverse = np.linalg.pinv(hessian)
    variance = np.diag(inverse @ noise @ inverse)
    return np.sqrt(np.where(variance > 0, variance, np.inf))


@cache
def _gradient_products(num_axes: int) -> npt.NDArray[np.float32]:
    """Return products ``(D * D, bins)`` of two gradient components of the kernel, in the bins around a peak."""
    offset = np.arange(-_MARGIN * _BINS, _MARGIN * _BINS + 1) / _BINS
    weight = np.exp(-(offset**2) / 2) / (math.sqrt(2 * math.pi) * _BINS)
    gradients = []
    for along in range(num_axes):
        kernel = np.ones(())
        for axis in range(num_axes):
            kernel = np.multiply.outer(kernel, weight * offset / _BINS if axis == along else weight)
        gradients.append(kernel.ravel())
    return np.array([one * other for one in gradients for other in gradients], dtype=np.float32)


def _smoothing() -> npt.NDArray[np.float32]:
    """Return the matrix that smooths a correlogram with the kernel, at displacements within reach."""
    bins, wanted = np.arange(-_HALF, _HALF + 1), np.arange(-REACH * _BINS, REACH * _BINS + 1)
    offset = (bins[None, :] - wanted[:, None]) / _BINS
    weight = np.where(np.abs(offset) <= _MARGIN, np.exp(-(offset**2) / 2), 0.0)
    return np.asarray(weight / (math.sqrt(2 * math.pi) * _BINS), dtype=np.float32)


_SMOOTHING: Final = _smoothing()
