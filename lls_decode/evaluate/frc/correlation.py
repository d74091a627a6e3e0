"""Fourier ring (2-D) and shell (3-D) correlation of a table with itself: resolution without a truth.

Frames are cut into blocks of equal length. The localizations of even and odd blocks give two pictures, whose Fourier
transforms are correlated ring by ring. The resolution is one over the frequency at which the curve falls below 1/7
(Nieuwenhuizen et al., Nat. Methods 2013; Banterle et al., J. Struct. Biol. 2013; blocks as in Speiser et al. 2021).
A molecule that stays on across blocks, or returns, is in both pictures and counts as structure.

Rows are read twice, in pieces; memory is that of the pictures, whatever the length of the table.
Shape letters: ``N`` rows, ``R`` rings, axes of pictures in the order y x, or z y x.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.fft

from lls_decode.errors import ConfigError, TableError
from lls_decode.evaluate.frc.curve import FourierCorrelation
from lls_decode.evaluate.frc.interval import Parts
from lls_decode.evaluate.frc.rings import correlate, first_crossing, smooth

Floats = npt.NDArray[np.float64]
Rows = Mapping[str, npt.ArrayLike]
Pieces = Callable[[], Iterable[Rows]]

MAX_PIXELS: Final = 2**27
"""Largest number of pixels of a picture: 0.5 GB each, of which three are held."""


def fourier_correlation(
    pieces: Pieces,
    *,
    pixel_nm: float,
    axes: str = "xy",
    blocks: int = 10,
    frames_per_volume: int = 1,
    region_nm: Mapping[str, tuple[float, float]] | None = None,
    interval: bool | None = None,
) -> FourierCorrelation:
    """Correlate the localizations of even and odd blocks of frames.

    Parameters
    ----------
    pieces
        Function that is called twice, and gives all rows in pieces with ``frame``, ``x_nm``, ``y_nm`` (and ``z_nm``),
        in any order.
    pixel_nm
        Side of a pixel (voxel): at most a quarter of the expected resolution. 5 nm in Speiser et al. (2021).
    axes
        ``xy`` or any two axes for rings; ``xyz`` for shells.
    blocks
        Even number of blocks of equal length.
    frames_per_volume
        Blocks begin with a volume.
    region_nm
        Range by axis; rows outside are left out. None, and missing axes: no limits.
    interval
        Whether to estimate the uncertainty of the resolution, which takes ten or more further curves, and memory for
        all rows. None: only for tables and pictures that are small enough for a quick estimate.

    Raises
    ------
    ConfigError
        A picture with these pixels would not fit into memory, more blocks than volumes, or an odd number of blocks.
    TableError
        There are no rows, or rows without a position.
    """
    if blocks < 2 or blocks % 2:
        raise ConfigError(
            f"The number of blocks is {blocks}; expected an even number of 2 or more, so that the halves are equal."
        )
    low, high, first, last = _extent(pieces, axes, region_nm or {})
    first, num = first // frames_per_volume, last // frames_per_volume - first // frames_per_volume + 1
    if num < blocks:
        raise ConfigError(
            f"The table spans {num} {'frames' if frames_per_volume == 1 else 'volumes'}, fewer than the {blocks} "
            "requested blocks; request fewer blocks."
        )
    shape = _shape(high - low, pixel_nm)
    halves = [np.zeros(shape, dtype=np.float32) for _ in range(2)]
    counts = [0, 0]
    parts = Parts(blocks, num, shape, wanted=interval)
    for piece in pieces():
        frame, position = _in_box(piece, axes, low, high)
        volume = frame // frames_per_volume - first
        odd = (volume * blocks // num) % 2
        place = np.ravel_multi_index(tuple(((position - low) // pixel_nm).astype(np.int64).T), shape)
        for half, picture in enumerate(halves):
            cells, times = np.unique(place[odd == half], return_counts=True)
            picture.ravel()[cells] += times.astype(np.float32)
            counts[half] += int(times.sum())
        parts.add(place, odd, volume)
    q, correlation = correlate(halves, pixel_nm=pixel_nm)
    smoothed = smooth(correlation)
    curve = FourierCorrelation(
        first_crossing(q, smoothed), q, correlation, smoothed, (counts[0], counts[1]), blocks, pixel_nm, shape
    )
    return parts.with_interval(curve)


def _extent(pieces: Pieces, axes: str, region_nm: Mapping[str, tuple[float, float]]) -> tuple[Floats, Floats, int, int]:
    """Return the lowest and highest positions of the rows, and the first and last frame of all rows.

    Axes have the order of the pictures.
    """
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
    """Return frames (N,) and positions (N, axes) of the rows in a box."""
    position = np.stack([np.asarray(piece[f"{axis}_nm"], dtype=np.float64) for axis in axes[::-1]], axis=1)
    if not np.isfinite(position).all():
        raise TableError(f"The table has rows without a finite {' or '.join(f'{a}_nm' for a in axes)}; remove them.")
    inside = ((position >= low) & (position <= high)).all(axis=1)
    return np.asarray(piece["frame"], dtype=np.int64)[inside], position[inside]


def _shape(extent_nm: Floats, pixel_nm: float) -> tuple[int, ...]:
    """Return the number of pixels along each axis that cover an extent and are fast to transform."""
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
