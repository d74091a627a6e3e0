"""Rough alignment of two clouds at any displacement: cross-correlation over all shifts and many angles.

Both clouds are histogrammed in the plane of x and y. Square roots keep bright spots from dominating, and a band-pass
filter removes broad features such as the field of view itself. One cloud is rotated in steps for which the rim of the
field moves by about two bins, and correlated by Fourier transform (Reddy and Chatterji 1996 rotate the spectra instead,
which loses the translation). The best few alignments are kept, since a repeated pattern has several; `structure`
decides which of them is right.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.fft
from scipy.ndimage import maximum_filter
from scipy.spatial import ConvexHull

from lls_decode.register.models import rotation

Floats = npt.NDArray[np.float64]
Spectrum = npt.NDArray[np.complex64]

NUM_CANDIDATES: Final = 8
_MAX_SIDE: Final = 1024
"""Largest side of the grid of the Fourier transforms, which holds both clouds side by side."""
_SMALLEST_BIN_NM: Final = 60.0
_BACKGROUND: Final = 5.0
"""Ratio of the two widths of the band-pass filter."""
_MIN_OVERLAP: Final = 0.1
"""Smallest share of the smaller field that must overlap with the other field."""
_COARSE: Final = 8
"""Size, in bins, of the cells in which the outline of the field is drawn."""
_APART_BINS: Final = 4
"""Distance, in bins, below which two candidates count as one."""


@dataclass(frozen=True)
class Candidate:
    """A rough alignment: the moving cloud rotated about its pivot, then shifted."""

    angle_rad: float
    shift_2: Floats
    """Shift along x and y, nm."""
    score: float
    """Height of the correlation, normalized by the overlap; it ranks candidates, but states no certainty."""


class Grid:
    """Histograms of two clouds of points on grids with the same bin size.

    Parameters
    ----------
    fixed_N2, moving_M2
        Positions of the two clouds, nm.
    weight
        Whether each bin counts by the square root of its points; else as one where there is any.
    """

    def __init__(
        self, fixed_N2: Floats, moving_M2: Floats, pivot_2: Floats, *, max_shift_nm: float | None, bin_nm: float
    ) -> None:
        self._pivot = pivot_2
        self._moving = moving_M2 - pivot_2
        self._low, high = _inner(fixed_N2)
        self.radius_nm = float(np.quantile(np.hypot(*self._moving.T), 0.98))
        side = (high - self._low) + 2 * self.radius_nm
        self.bin_nm = max(bin_nm, float(side.max()) / _MAX_SIDE)
        self._shape = tuple(scipy.fft.next_fast_len(int(n), real=True) for n in np.ceil(side / self.bin_nm) + 2)
        self._filter = self._band_pass()
        self._fixed = self._transform(fixed_N2 - self._low)
        self._area = scipy.fft.rfft2(self._field(fixed_N2 - self._low))
        self._max_shift = np.inf if max_shift_nm is None else max_shift_nm

    def candidates(self, max_angle_rad: float) -> list[Candidate]:
        """Return the best alignments, best first, for angles from ``-max_angle_rad`` to ``max_angle_rad``."""
        step = 2 * self.bin_nm / max(self.radius_nm, self.bin_nm)
        half = int(np.ceil(max_angle_rad / step))
        angles = np.linspace(-max_angle_rad, max_angle_rad, 2 * half + 1) if half else np.zeros(1)
        found = [candidate for angle in angles for candidate in self._at(float(angle))]
        found.sort(key=lambda candidate: -candidate.score)
        kept: list[Candidate] = []
        for candidate in found:
            if all(self._are_apart(candidate, other) for other in kept):
                kept.append(candidate)
            if len(kept) == NUM_CANDIDATES:
                break
        return kept

    def _are_apart(self, one: Candidate, other: Candidate) -> bool:
        away = float(np.hypot(*(one.shift_2 - other.shift_2))) + abs(one.angle_rad - other.angle_rad) * self.radius_nm
        return away > _APART_BINS * self.bin_nm

    def _at(self, angle_rad: float) -> list[Candidate]:
        turned = self._moving @ rotation(angle_rad).T + self.radius_nm
        spectrum = self._transform(turned)
        product = scipy.fft.irfft2(self._fixed * np.conj(spectrum), s=self._shape)
        overlap = scipy.fft.irfft2(self._area * np.conj(scipy.fft.rfft2(self._field(turned))), s=self._shape)
        overlap /= overlap.max()
        # displacement of the moving cloud's grid from the fixed one's, at each place of the product
        lag = [scipy.fft.fftfreq(n, 1 / n) * self.bin_nm for n in self._shape]
        shift_x, shift_y = (
            axis + low + self.radius_nm - pivot for axis, low, pivot in zip(lag, self._low, self._pivot, strict=True)
        )
        allowed = (overlap > _MIN_OVERLAP) & (np.hypot(shift_x[:, None], shift_y[None, :]) <= self._max_shift)
        if not allowed.any():
            return []
        score = np.where(allowed, product / np.sqrt(np.maximum(overlap, _MIN_OVERLAP)), -np.inf)
        peaks = np.argwhere((maximum_filter(score, 2 * _APART_BINS + 1, mode="wrap") == score) & allowed)
        best = peaks[np.argsort(-score[tuple(peaks.T)])[:NUM_CANDIDATES]]
        return [Candidate(angle_rad, np.array([shift_x[i], shift_y[j]]), float(score[i, j])) for i, j in best]

    def _transform(self, position_N2: Floats) -> Spectrum:
        return np.asarray(scipy.fft.rfft2(np.sqrt(self._counts(position_N2))) * self._filter)

    def _counts(self, position_N2: Floats) -> npt.NDArray[np.float32]:
        index = np.floor(position_N2 / self.bin_nm).astype(np.int64)
        inside = np.all((index >= 0) & (index < np.array(self._shape)), axis=1)
        flat = np.ravel_multi_index(tuple(index[inside].T), self._shape)
        size = self._shape[0] * self._shape[1]
        return np.bincount(flat, minlength=size).astype(np.float32).reshape(self._shape)

    def _field(self, position_N2: Floats) -> npt.NDArray[np.float32]:
        """Return the field of a cloud: the convex hull of nearly all of its points, in coarse cells."""
        low, high = np.quantile(position_N2, [0.005, 0.995], axis=0)
        inner = position_N2[((position_N2 >= low) & (position_N2 <= high)).all(axis=1)]
        middle = np.median(position_N2, axis=0)  # a small square gives every cloud an area
        square = middle + self.bin_nm * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
        sides = ConvexHull(np.concatenate([inner, square])).equations
        coarse = [(np.arange(0, n, _COARSE) + _COARSE / 2) * self.bin_nm for n in self._shape]
        x, y = np.meshgrid(*coarse, indexing="ij")
        inside = np.ones(x.shape, dtype=np.bool_)
        for a, b, c in sides:
            inside &= a * x + b * y + c <= 0
        fine = np.kron(inside, np.ones((_COARSE, _COARSE), dtype=np.bool_))
        return fine[: self._shape[0], : self._shape[1]].astype(np.float32)

    def _band_pass(self) -> npt.NDArray[np.float32]:
        """Return the filter: a Gaussian of the bin size minus a broad one; each cloud gets its square root."""
        square = scipy.fft.fftfreq(self._shape[0])[:, None] ** 2 + scipy.fft.rfftfreq(self._shape[1])[None, :] ** 2
        low = -2 * np.pi**2 * square
        return np.asarray(np.sqrt(np.exp(low) - np.exp(low * _BACKGROUND**2)), dtype=np.float32)


def best_bin(*sigmas: Floats) -> float:
    """Return the bin size for clouds of this precision, nm."""
    return max(_SMALLEST_BIN_NM, 2 * max(float(sigma[:2].max()) for sigma in sigmas))


def _inner(position_N2: Floats) -> tuple[Floats, Floats]:
    """Return the limits of nearly all points, so that stray points do not make the grid coarse."""
    low, high = np.quantile(position_N2, [0.005, 0.995], axis=0)
    margin = 0.05 * (high - low)
    return low - margin, high + margin
