"""Fourier ring (2-D) and shell (3-D) correlation of a table with itself: resolution without a truth.

Frames are cut into blocks of equal length; the localizations of even and odd blocks make two pictures whose Fourier
transforms are correlated ring by ring. The resolution is one over the frequency at which the curve falls below 1/7
(Nieuwenhuizen et al., Nat. Methods 2013; Banterle et al., J. Struct. Biol. 2013; blocks as in Speiser et al. 2021).
A molecule that stays on, or comes back, across blocks is in both pictures and counts as structure.

Rows come piece by piece, twice; memory is that of the pictures, whatever the length of the table.
Shape letters: ``N`` rows, ``R`` rings, axes of pictures in the order y x, or z y x.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.fft

from lls_decode.errors import ConfigError, TableError

Floats = npt.NDArray[np.float64]
Picture = npt.NDArray[np.float32]
Rows = Mapping[str, npt.ArrayLike]
Pieces = Callable[[], Iterable[Rows]]

THRESHOLD: Final = 1 / 7
MAX_PIXELS: Final = 2**27
"""Of one picture: 0.5 GB, of which three are held."""
FIRST_RING: Final = 10
"""A crossing is looked for from here on: rings below have so few coefficients that noise alone crosses 1/7."""
_TAPER = 1 / 8
"""Share of a side over which the picture fades, so that its rim is no structure that both halves share."""


@dataclass(frozen=True)
class FourierCorrelation:
    """A curve, and the resolution that it gives."""

    resolution_nm: float
    """NaN: the curve does not cross the threshold, or is below it in ring `FIRST_RING` (a tenth of the field)."""
    q_per_nm: Floats
    """(R,) spatial frequency of each ring, up to 1 / (2 pixels)."""
    correlation: Floats
    """(R,)"""
    smoothed: Floats
    """(R,) by local lines (LOESS); its first crossing of the threshold gives the resolution."""
    num_localizations: tuple[int, int]
    """In the two pictures."""
    num_blocks: int
    pixel_nm: float
    shape: tuple[int, ...]
    """Of the pictures."""

    @property
    def reaches_threshold(self) -> bool:
        """Whether the halves have anything in common; when they have, NaN is a resolution finer than two pixels."""
        return len(self.smoothed) >= FIRST_RING and bool(self.smoothed[FIRST_RING - 1] >= THRESHOLD)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "resolution_nm": None if math.isnan(self.resolution_nm) else self.resolution_nm,
            "threshold": THRESHOLD,
            "num_localizations": list(self.num_localizations),
            "num_blocks": self.num_blocks,
            "pixel_nm": self.pixel_nm,
            "shape": list(self.shape),
            "q_per_nm": self.q_per_nm.tolist(),
            "correlation": self.correlation.tolist(),
            "smoothed": self.smoothed.tolist(),
        }


def fourier_correlation(
    pieces: Pieces,
    *,
    pixel_nm: float,
    axes: str = "xy",
    blocks: int = 10,
    frames_per_volume: int = 1,
    region_nm: Mapping[str, tuple[float, float]] | None = None,
) -> FourierCorrelation:
    """Correlate the localizations of even with those of odd blocks of frames.

    Parameters
    ----------
    pieces
        Called twice; gives all rows in pieces with ``frame``, ``x_nm``, ``y_nm`` (and ``z_nm``), in any order.
    pixel_nm
        Side of a pixel (voxel): a quarter of the resolution to be found, or finer. 5 nm in Speiser et al. (2021).
    axes
        ``xy`` for rings, or any two; ``xyz`` for shells.
    blocks
        Frames are cut into so many blocks of equal length; an even number.
    frames_per_volume
        Blocks begin with a volume.
    region_nm
        Range by axis; rows outside are left out. None, and axes that are absent: all.

    Raises
    ------
    ConfigError
        A pixel for which the picture would not fit into memory, more blocks than volumes, an odd number of blocks.
    TableError
        No rows, or rows without a position.
    """
    if blocks < 2 or blocks % 2:
        raise ConfigError(
            f"{blocks} blocks were asked for; expected an even number from 2 on, so that halves are equal."
        )
    low, high, first, last = _extent(pieces, axes, region_nm or {})
    first, num = first // frames_per_volume, last // frames_per_volume - first // frames_per_volume + 1
    if num < blocks:
        raise ConfigError(
            f"The table spans {num} {'frames' if frames_per_volume == 1 else 'volumes'}, fewer than the {blocks} "
            "blocks asked for; ask for fewer blocks."
        )
    shape = _shape(high - low, pixel_nm)
    halves = [np.zeros(shape, dtype=np.float32) for _ in range(2)]
    counts = [0, 0]
    for piece in pieces():
        frame, position = _in_box(piece, axes, low, high)
        odd = ((frame // frames_per_volume - first) * blocks // num) % 2
        place = np.ravel_multi_index(tuple(((position - low) // pixel_nm).astype(np.int64).T), shape)
        for half, picture in enumerate(halves):
            cells, times = np.unique(place[odd == half], return_counts=True)
            picture.ravel()[cells] += times.astype(np.float32)
            counts[half] += int(times.sum())
    q, correlation = correlate(halves, pixel_nm=pixel_nm)
    smoothed = smooth(correlation)
    return FourierCorrelation(
        first_crossing(q, smoothed), q, correlation, smoothed, (counts[0], counts[1]), blocks, pixel_nm, shape
    )


def correlate(halves: list[Picture], *, pixel_nm: float) -> tuple[Floats, Floats]:
    """Ring frequencies and correlations of two pictures of the same shape; the list is emptied as they are used up."""
    shape = halves[0].shape
    spectra = []
    while halves:
        spectra.append(_spectrum(halves.pop(0)))
    longest = max(shape) * pixel_nm
    num_rings = int(longest / (2 * pixel_nm))
    frequency = [scipy.fft.fftfreq(size, pixel_nm) for size in shape[:-1]] + [scipy.fft.rfftfreq(shape[-1], pixel_nm)]
    twice = np.full(len(frequency[-1]), 2.0)  # columns whose mirror image is not stored
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
    """Local lines with tricube weights over a fortieth of the curve, five rings at least (LOESS)."""
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
    """One over the frequency at which a curve first falls below the threshold, nm; NaN when there is none."""
    below = curve[FIRST_RING - 1 :] < threshold
    if not len(below) or below[0] or not below.any():
        return math.nan
    at = FIRST_RING - 1 + int(np.argmax(below))
    share = (curve[at - 1] - threshold) / (curve[at - 1] - curve[at])
    return float(1 / (q_per_nm[at - 1] + share * (q_per_nm[at] - q_per_nm[at - 1])))


def _extent(pieces: Pieces, axes: str, region_nm: Mapping[str, tuple[float, float]]) -> tuple[Floats, Floats, int, int]:
    """Corner and opposite corner of what is drawn (in the order of the pictures), first and last frame of all rows."""
    names = axes[::-1]
    bounds = np.array([region_nm.get(axis, (-np.inf, np.inf)) for axis in names], dtype=np.float64).T
    low, high, first, last = np.full(len(names), np.inf), np.full(len(names), -np.inf), 2**62, -1
    for piece in pieces():
        frame = np.asarray(piece["frame"])
        if len(frame):
            first, last = min(first, int(frame.min())), max(last, int(frame.max()))
        _, position = _in_box(piece, axes, *bounds)
        if len(position):
            low, high = np.minimum(low, position.min(axis=0)), np.maximum(high, position.max(axis=0))
    if not np.isfinite(low).all():
        raise TableError("There are no localizations to correlate (in the region, if one was given).")
    return low, high, first, last


def _in_box(piece: Rows, axes: str, low: Floats, high: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """Frames (N,) and positions (N, axes) of the rows in a box."""
    position = np.stack([np.asarray(piece[f"{axis}_nm"], dtype=np.float64) for axis in axes[::-1]], axis=1)
    if not np.isfinite(position).all():
        raise TableError(f"The table has rows without a finite {' or '.join(f'{a}_nm' for a in axes)}; remove them.")
    inside = ((position >= low) & (position <= high)).all(axis=1)
    return np.asarray(piece["frame"], dtype=np.int64)[inside], position[inside]


def _shape(extent_nm: Floats, pixel_nm: float) -> tuple[int, ...]:
    """Pixels that cover an extent and are quick to transform."""
    shape = tuple(scipy.fft.next_fast_len(max(int(size // pixel_nm) + 1, 16), real=True) for size in extent_nm)
    num = math.prod(shape)
    if num > MAX_PIXELS:
        fits = pixel_nm * (num / MAX_PIXELS) ** (1 / len(shape))
        words = " x ".join(f"{value / 1000:.3g}" for value in extent_nm[::-1])
        raise ConfigError(
            f"A picture of {words} um with pixels of {pixel_nm:g} nm has {num / 1e6:.0f} million pixels, more than "
            f"{MAX_PIXELS / 1e6:.0f} million; choose pixels of {math.ceil(10.2 * fits) / 10:g} nm, or a region."
        )
    return shape


def _spectrum(picture: Picture) -> npt.NDArray[np.complex64]:
    """Of a picture whose rim fades to its mean; the picture is overwritten."""
    picture -= picture.mean(dtype=np.float64).astype(np.float32)
    for axis, size in enumerate(picture.shape):
        ramp = np.clip((np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5) / (_TAPER * size), 0, 1)
        fade = np.sin(ramp * np.pi / 2) ** 2
        picture *= np.expand_dims(fade.astype(np.float32), [other for other in range(picture.ndim) if other != axis])
    return np.asarray(scipy.fft.rfftn(picture, overwrite_x=True))
