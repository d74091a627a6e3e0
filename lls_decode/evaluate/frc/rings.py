"""Correlation of two pictures ring by ring (or shell by shell), the smoothed curve, and its first crossing."""

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.fft

Floats = npt.NDArray[np.float64]
Picture = npt.NDArray[np.float32]

THRESHOLD: Final = 1 / 7
FIRST_RING: Final = 10
"""First ring in which a crossing is searched: lower rings have so few coefficients that noise alone crosses 1/7."""
_TAPER = 1 / 8
"""Share of each side over which the picture fades out, so that its border is not a structure common to both halves."""


def correlate(halves: list[Picture], *, pixel_nm: float) -> tuple[Floats, Floats]:
    """Return ring frequencies and correlations of two pictures of equal shape. The list is emptied to save memory."""
    shape = halves[0].shape
    spectra = []
    while halves:
        spectra.append(_spectrum(halves.pop(0)))
    longest = max(shape) * pixel_nm
    num_rings = int(longest / (2 * pixel_nm))
    frequency = [scipy.fft.fftfreq(size, pixel_nm) for size in shape[:-1]] + [scipy.fft.rfftfreq(shape[-1], pixel_nm)]
    twice = np.full(len(frequency[-1]), 2.0)  # counts columns whose mirror image is not stored
    twice[0] = 1.0
    if shape[-1] % 2 == 0:
        twice[-1] = 1.0
    sums = np.zeros((3, num_rings + 1))
    others = np.meshgrid(*frequency[1:], indexing="ij")
    square = np.sum([other**2 for other in others], axis=0)
    for row, q in enumerate(frequency[0]):
        one, other = spectra[0][row], spectra[1][row]
        ring = np.minimum(np.rint(np.sqrt(square + q**2) * longest), num_rings).astype(np.int64).ravel()
        powers = (one.real * other.real + one.imag * other.imag, np.abs(one) ** 2, np.abs(other) ** 2)
        for total, power in zip(sums, powers, strict=True):
            total += np.bincount(ring, (power * twice).ravel(), minlength=num_rings + 1)
    inside = slice(1, num_rings)  # without the mean, and without the corners beyond the last ring
    both, power_one, power_other = sums[:, inside]
    norm = np.sqrt(power_one * power_other)
    return np.arange(1, num_rings) / longest, np.divide(both, norm, out=np.zeros_like(both), where=norm > 0)


def smooth(curve: Floats) -> Floats:
    """Smooth by local lines with tricube weights over a fortieth of the curve, at least five rings (LOESS)."""
    half = max(len(curve) // 80, 2) + 1
    offset = np.arange(-half, half + 1)
    weight = (1 - np.abs(offset / half) ** 3) ** 3

    def local(values: Floats, power: int) -> Floats:
        return np.convolve(values, (weight * offset**power)[::-1], mode="full")[half:-half]

    ones = np.ones(len(curve))
    w, wx, wxx = (local(ones, power) for power in range(3))
    wy, wxy = (local(curve, power) for power in range(2))
    return np.asarray((wxx * wy - wx * wxy) / (w * wxx - wx**2))


def first_crossing(q_per_nm: Floats, curve: Floats, threshold: float = THRESHOLD) -> float:
    """Return one over the frequency at which the curve first falls below the threshold, nm; NaN if it does not."""
    below = curve[FIRST_RING - 1 :] < threshold
    if not len(below) or below[0] or not below.any():
        return math.nan
    at = FIRST_RING - 1 + int(np.argmax(below))
    share = (curve[at - 1] - threshold) / (curve[at - 1] - curve[at])
    return float(1 / (q_per_nm[at - 1] + share * (q_per_nm[at] - q_per_nm[at - 1])))


def _spectrum(picture: Picture) -> npt.NDArray[np.complex64]:
    """Return the spectrum of a picture whose border is faded to its mean; the picture is overwritten."""
    picture -= picture.mean(dtype=np.float64).astype(np.float32)
    for axis, size in enumerate(picture.shape):
        ramp = np.clip((np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5) / (_TAPER * size), 0, 1)
        fade = np.sin(ramp * np.pi / 2) ** 2
        picture *= np.expand_dims(fade.astype(np.float32), [other for other in range(picture.ndim) if other != axis])
    return np.asarray(scipy.fft.rfftn(picture, overwrite_x=True))
