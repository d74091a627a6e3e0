"""Light of a picture, stored while it is drawn, and returned row by row as bytes.

The brightness of a picture is normalized to a percentile of its pixels, which is known only when all are drawn. So
tiles are written to a store and read again. The percentile is exact: values are counted by their upper bits while tiles
arrive, and the values that may be the percentile are counted individually in a second pass.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec

from lls_decode.pictures.colours import LIT, dimmed, to_srgb, toned
from lls_decode.pictures.tiled.tiles import Light

Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]

PERCENTILE: Final = 99.5
"""Percentile of the lit pixels that gets full brightness."""
GAMMA: Final = 0.6
_CHUNK: Final = (1, 256, 2048)
_PIXELS_AT_ONCE: Final = 1 << 21
_LOWER_BITS: Final = 15
_NUM_UPPER: Final = 1 << 16


class StoredLight:
    """Light ``(layers, Y, X)``, float32: three primaries of one picture, or channels, each normalized by itself."""

    def __init__(self, path: Path, shape: tuple[int, int, int], *, together: bool) -> None:
        """Create an empty store at ``path``; ``together``: the layers are primaries of one colour picture."""
        self.shape = shape
        self._together = together
        self._array: zarr.Array[Any] = zarr.create_array(
            path,
            shape=shape,
            dtype=np.float32,
            chunks=tuple(min(size, edge) for size, edge in zip(shape, _CHUNK, strict=True)),
            compressors=BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"),
            fill_value=0,
        )
        self._lit_rows = np.zeros(shape[1], dtype=np.bool_)
        self._percentiles = [Percentile() for _ in range(1 if together else shape[0])]
        self._full: list[np.float32 | None] = []

    def write(self, box: tuple[slice, slice, slice], light: Light) -> None:
        """Store the light of a tile, which covers some layers, rows and columns."""
        self._array[box] = light
        self._lit_rows[box[1]] = True
        if self._together:
            self._percentiles[0].add(light.max(axis=0))
            return
        for layer, of_layer in zip(range(*box[0].indices(self.shape[0])), light, strict=True):
            self._percentiles[layer].add(of_layer)

    def finish(self) -> None:
        """Determine the brightness of each layer, after the last tile."""
        waiting = [percentile for percentile in self._percentiles if percentile.begin_exact()]
        if waiting:
            for _, _, light in self._read():
                if self._together:
                    self._percentiles[0].add_exact(light.max(axis=0))
                    continue
                for percentile, of_layer in zip(self._percentiles, light, strict=True):
                    percentile.add_exact(of_layer)
        self._full = [percentile.value() for percentile in self._percentiles]

    def colour_rows(self, colours: npt.NDArray[np.float64] | None = None, *, upwards: bool = False) -> Iterator[Bytes]:
        """Give sRGB bytes ``(rows, X, 3)``, some rows at a time, from the first row on (``upwards``: from the last).

        ``colours``: linear RGB of each channel; None: the layers are the primaries.
        """
        width = self.shape[2]
        for start, stop, light in self._read(upwards=upwards, dark=True):
            if light is None:
                rows = np.zeros((stop - start, width, 3), dtype=np.uint8)
            elif colours is None:
                rows = toned(light, self._full[0], gamma=GAMMA)
            else:
                rows = _mixed(light, self._full, colours)
            yield rows[::-1] if upwards else rows

    def channel_rows(self, *, upwards: bool = False) -> Iterator[Bytes]:
        """Give the bytes ``(rows, X)`` of one channel after another, as bright as in `colour_rows`."""
        for layer, full in enumerate(self._full):
            for start, stop, light in self._read(slice(layer, layer + 1), upwards=upwards, dark=True):
                if light is None:
                    rows = np.zeros((stop - start, self.shape[2]), dtype=np.uint8)
                else:
                    rows = to_srgb(dimmed(light[0], full, gamma=GAMMA))
                yield rows[::-1] if upwards else rows

    def _read(
        self, layers: slice = slice(None), *, upwards: bool = False, dark: bool = False
    ) -> Iterator[tuple[int, int, Any]]:
        """Give ranges of rows with their light; rows without light are skipped, or have None if ``dark``."""
        height = self.shape[1]
        at_once = max(1, _PIXELS_AT_ONCE // self.shape[2])
        step = at_once // _CHUNK[1] * _CHUNK[1] or at_once
        starts = range(0, height, step)
        for start in reversed(starts) if upwards else starts:
            stop = min(start + step, height)
            if self._lit_rows[start:stop].any():
                yield start, stop, np.asarray(self._array[layers, start:stop])
            elif dark:
                yield start, stop, None


def _mixed(light: Light, full: Sequence[np.float32 | None], colours: npt.NDArray[np.float64]) -> Bytes:
    """Return the sum of all channels in their colours, as bytes."""
    total = np.zeros((3, *light.shape[1:]), dtype=np.float32)
    for of_layer, of_full, colour in zip(light, full, colours.astype(np.float32), strict=True):
        total += colour[:, None, None] * dimmed(of_layer, of_full, gamma=GAMMA)
    return to_srgb(total).transpose(1, 2, 0)


class Percentile:
    """Percentile of the lit pixels of a picture that is passed twice, piece by piece.

    The result equals that of ``numpy.percentile`` over all values above `LIT` times the largest one.
    """

    def __init__(self, percentile: float = PERCENTILE) -> None:
        self._share = percentile / 100
        self._upper = np.zeros(_NUM_UPPER, dtype=np.int64)
        self._largest = np.float32(0)
        self._wanted = np.zeros(_NUM_UPPER, dtype=np.bool_)
        self._exact: dict[int, int] = {}
        """Count of each wanted value, by its bits."""

    def add(self, light: Light) -> None:
        """Count values by their upper bits, whose order is that of positive numbers."""
        self._largest = max(self._largest, light.max(initial=np.float32(0)))
        self._upper += np.bincount(_bits(light) >> _LOWER_BITS, minlength=_NUM_UPPER)

    def begin_exact(self) -> bool:
        """Choose the values to be counted individually in a second pass; return False if there are none."""
        if not self._largest > 0:
            return False
        bin_of_lit = self._least_lit() >> _LOWER_BITS
        below = int(self._upper[:bin_of_lit].sum())
        total = int(self._upper.sum())
        ends = np.cumsum(self._upper)
        self._wanted[bin_of_lit] = True
        ranks = [self._rank(below, total)[0], self._rank(below + int(self._upper[bin_of_lit]), total)[0] + 1]
        first, last = (int(np.searchsorted(ends, min(max(rank, 0), total - 1), side="right")) for rank in ranks)
        self._wanted[first : last + 1] = True
        return True

    def add_exact(self, light: Light) -> None:
        """Count the wanted values in the same pieces again."""
        bits = _bits(light)
        values, counts = np.unique(bits[self._wanted[bits >> _LOWER_BITS]], return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self._exact[value] = self._exact.get(value, 0) + count

    def value(self) -> np.float32 | None:
        """Return the percentile; None if nothing is lit."""
        if not self._largest > 0:
            return None
        lit = self._least_lit()
        bin_of_lit = lit >> _LOWER_BITS
        below = int(self._upper[:bin_of_lit].sum())
        below += sum(count for bits, count in self._exact.items() if bits >> _LOWER_BITS == bin_of_lit and bits <= lit)
        total = int(self._upper.sum())
        if below == total:
            return None
        rank, rest = self._rank(below, total)
        low, high = self._at(rank), self._at(min(rank + 1, total - 1))
        step = high - low
        # stay in float32, which NumPy 1 leaves when it multiplies by a Python number
        return low + step * np.float32(rest) if rest < 0.5 else high - step * np.float32(1 - rest)

    def _least_lit(self) -> int:
        """Return the bits of the largest value that is not lit."""
        return int(np.float32(self._largest * LIT).view(np.int32))

    def _rank(self, below: int, total: int) -> tuple[int, float]:
        """Return the rank among all values (integer part and fraction), if ``below`` of them are not lit."""
        place = (total - below - 1) * self._share
        return below + int(place), place - int(place)

    def _at(self, rank: int) -> np.float32:
        """Return the value at a rank among all values."""
        ends = np.cumsum(self._upper)
        upper = int(np.searchsorted(ends, rank, side="right"))
        rest = rank - (int(ends[upper - 1]) if upper else 0)
        for bits in sorted(bits for bits in self._exact if bits >> _LOWER_BITS == upper):
            rest -= self._exact[bits]
            if rest < 0:
                return np.int32(bits).view(np.float32)
        raise AssertionError(f"rank {rank} was not counted")


def _bits(light: Light) -> Integers:
    """Return the bits of the positive values, as integers."""
    return light[light > 0].view(np.int32).astype(np.int64)
