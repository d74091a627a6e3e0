"""Pictures larger than memory: emitters are sorted into tiles in one pass, and the tiles are drawn one after another.

Every emitter becomes one integer (tile, sigma, pixel in the tile). These are sorted in memory, a few million at a time,
and appended to a file, so that those of a tile lie together in each sorted section. A tile is drawn from counts, with a
margin as wide as the widest Gaussian reaches, so each pixel is the same sum in the same order, whatever the tiles.

Suffixes: Z Y X planes, rows, columns of pixels; 3N a coordinate of N emitters in the order Z, Y, X.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from lls_decode.errors import ConfigError

Integers = npt.NDArray[np.int64]
Light = npt.NDArray[np.float32]
Shape = tuple[int, int, int]

TRUNCATE: Final = 3.5
"""Cutoff of a Gaussian in sigmas; the remaining weights add up to 1."""
_MOST_SIDE_PX: Final = 1 << 24
"""Largest side of a picture in pixels: 17 mm in pixels of 1 nm, more than any sensor sees. Each level of a pyramid
takes time for every emitter, so a side that is larger by mistake takes hours."""
_KEYS_IN_MEMORY: Final = 1 << 22


@dataclass(frozen=True)
class Tiling:
    """Division of a picture of Z Y X pixels into tiles, each with a margin that overlaps its neighbours."""

    shape: Shape
    tile: Shape
    margin: Shape

    def __post_init__(self) -> None:
        """Refuse margins that reach beyond the next tile."""
        if any(margin > tile for margin, tile in zip(self.margin, self.tile, strict=True)):
            raise ConfigError(
                f"Gaussians that reach over {max(self.margin)} pixels are too wide for tiles of {min(self.tile[1:])}; "
                "use larger pixels."
            )

    @property
    def tiles(self) -> Shape:
        """Number of tiles along each axis."""
        z, y, x = (-(-size // tile) for size, tile in zip(self.shape, self.tile, strict=True))
        return z, y, x

    @property
    def num_tiles(self) -> int:
        """Number of tiles."""
        return math.prod(self.tiles)

    @property
    def padded(self) -> Shape:
        """Shape of a tile with its margins."""
        z, y, x = (tile + 2 * margin for tile, margin in zip(self.tile, self.margin, strict=True))
        return z, y, x

    @property
    def area(self) -> int:
        """Pixels of a tile with its margins."""
        return math.prod(self.padded)

    def box(self, number: int) -> tuple[slice, slice, slice]:
        """Return the place of a tile in the picture; tiles at its end may be smaller."""
        places = np.unravel_index(number, self.tiles)
        z, y, x = (
            slice(int(place) * tile, min((int(place) + 1) * tile, size))
            for place, tile, size in zip(places, self.tile, self.shape, strict=True)
        )
        return z, y, x

    def locate(self, pixel_3N: Sequence[Integers]) -> Iterator[tuple[Integers, Integers, slice | Integers]]:
        """Give tile, flat index in the padded tile, and emitters: first those in the tiles, then those in margins."""
        parts = [np.divmod(pixel, tile) for pixel, tile in zip(pixel_3N, self.tile, strict=True)]
        yield *self._flat([part[0] for part in parts], [part[1] for part in parts]), slice(None)
        if not any(self.margin):
            return
        near = np.zeros(len(pixel_3N[0]), dtype=np.bool_)
        for (_, within), tile, margin in zip(parts, self.tile, self.margin, strict=True):
            near |= (within < margin) | (within >= tile - margin)
        edge = np.flatnonzero(near)
        parts = [(place[edge], within[edge]) for place, within in parts]
        steps = [(-1, 0, 1) if margin else (0,) for margin in self.margin]
        for step in itertools.product(*steps):
            if any(step):
                seen = self._seen_from(step, parts)
                places = [part[0][seen] + ahead for part, ahead in zip(parts, step, strict=True)]
                withins = [part[1][seen] - ahead * tile
                           for part, ahead, tile in zip(parts, step, self.tile, strict=True)]  # fmt: skip
                yield *self._flat(places, withins), edge[seen]

    def _seen_from(self, step: tuple[int, ...], parts: Sequence[tuple[Integers, Integers]]) -> Integers:
        """Return the emitters that lie in the margin of the tile one step away."""
        seen = np.ones(len(parts[0][0]), dtype=np.bool_)
        for axis, ahead in enumerate(step):
            place, within = parts[axis]
            if ahead < 0:
                seen &= (place > 0) & (within < self.margin[axis])
            elif ahead > 0:
                seen &= (place + 1 < self.tiles[axis]) & (within >= self.tile[axis] - self.margin[axis])
        return np.flatnonzero(seen)

    def _flat(self, places: Sequence[Integers], withins: Sequence[Integers]) -> tuple[Integers, Integers]:
        (_, rows, columns), (_, padded_y, padded_x) = self.tiles, self.padded
        z, y, x = (within + margin for within, margin in zip(withins, self.margin, strict=True))
        number = (places[0] * rows + places[1]) * columns + places[2]
        return number, (z * padded_y + y) * padded_x + x


class Buckets:
    """Any number of integers, kept in a file and read back by bucket: those from ``bucket * span`` to the next bucket.

    Memory holds only where each bucket of each sorted section begins; empty buckets cost nothing.
    """

    def __init__(self, path: Path, *, span: int) -> None:
        self._path = path
        self._span = span
        self._waiting: list[Integers] = []
        self._num_waiting = 0
        self._sections: list[tuple[Integers, Integers]] = []
        """Buckets of each sorted section, and their beginnings (and the last end) in the file."""
        self._num_written = 0

    def add(self, keys: Integers) -> None:
        """Add integers, in any order."""
        self._waiting.append(keys)
        self._num_waiting += len(keys)
        if self._num_waiting >= _KEYS_IN_MEMORY:
            self.flush()

    def flush(self) -> None:
        """Write the collected integers as one more sorted section."""
        if not self._num_waiting:
            return
        keys = np.concatenate(self._waiting)
        keys.sort()
        with self._path.open("ab") as file:
            keys.tofile(file)
        buckets, first = np.unique(keys // self._span, return_index=True)
        self._sections.append((buckets, np.append(first, len(keys)) + self._num_written))
        self._num_written += len(keys)
        self._waiting, self._num_waiting = [], 0

    def filled(self) -> list[int]:
        """Return the buckets that are not empty, in ascending order."""
        found = [buckets for buckets, _ in self._sections]
        return [int(bucket) for bucket in np.unique(np.concatenate(found))] if found else []

    def sections(self, bucket: int) -> Iterator[Integers]:
        """Give the integers of a bucket, relative to its first one, one sorted section after another."""
        for buckets, edges in self._sections:
            place = int(np.searchsorted(buckets, bucket))
            if place < len(buckets) and buckets[place] == bucket:
                with self._path.open("rb") as file:
                    file.seek(8 * int(edges[place]))
                    keys = np.fromfile(file, dtype=np.int64, count=int(edges[place + 1] - edges[place]))
                yield keys - bucket * self._span

    def counts(self, bucket: int) -> Integers:
        """Return how often each integer of a bucket was added, ``(span,)``."""
        total = np.zeros(self._span, dtype=np.int64)
        for keys in self.sections(bucket):
            total += np.bincount(keys, minlength=self._span)
        return total


class TiledCanvas:
    """Canvas of any size for emitters: points, or Gaussians of a few sigmas along Y and X."""

    _num_kinds = 1
    """Number of kinds of emitters that are distinguished within a pixel."""

    def __init__(self, tiling: Tiling, spill: Path, *, sigmas_px: Sequence[tuple[float, float]] = ()) -> None:
        """Create a canvas.

        ``spill``: path of a temporary file, 8 bytes per emitter. ``sigmas_px``: (along Y, along X); none: points.

        Raises
        ------
        ConfigError
            The picture has too many pixels along an axis, or more than can be numbered.
        """
        self.tiling = tiling
        self.num_drawn = 0
        """Number of emitters inside the picture."""
        self._sigmas_px = tuple(sigmas_px)
        self._num_levels = max(1, len(self._sigmas_px))
        self._span = tiling.area * self._num_kinds
        if max(tiling.shape) > _MOST_SIDE_PX or tiling.num_tiles * self._num_levels * self._span >= 1 << 62:
            size = " x ".join(str(length) for length in tiling.shape[::-1] if length > 1)
            raise ConfigError(
                f"A picture of {size} pixels is too large, expected at most {_MOST_SIDE_PX:,} along each axis; use "
                "larger pixels, or a part of the field."
            )
        self._buckets = Buckets(spill, span=self._span)

    def add(
        self,
        pixel_3N: Sequence[npt.NDArray[np.float64]],
        level: Integers | None = None,
        kind: Integers | None = None,
    ) -> None:
        """Add emitters by their pixels (whole numbers), with the number of each one's sigma, and its kind; None: 0."""
        inside = np.ones(len(pixel_3N[0]), dtype=np.bool_)
        for pixel, size in zip(pixel_3N, self.tiling.shape, strict=True):
            inside &= (pixel >= 0) & (pixel < size)
        self.num_drawn += int(np.count_nonzero(inside))
        pixels = [pixel[inside].astype(np.int64) for pixel in pixel_3N]
        none = np.zeros(len(pixels[0]), dtype=np.int64)
        levels, kinds = (none if value is None else value[inside] for value in (level, kind))
        for tile, place, chosen in self.tiling.locate(pixels):
            key = (tile * self._num_levels + levels[chosen]) * self._span
            self._buckets.add(key + place * self._num_kinds + kinds[chosen])

    def tiles(self) -> Iterator[tuple[tuple[slice, slice, slice], Light]]:
        """Give the place of each tile, and its light; dark tiles are skipped."""
        self._buckets.flush()
        of_tile = itertools.groupby(self._buckets.filled(), key=lambda bucket: bucket // self._num_levels)
        for number, buckets in of_tile:
            box = self.tiling.box(number)
            yield box, self._tile(list(buckets), box)

    def _tile(self, buckets: Sequence[int], box: tuple[slice, slice, slice]) -> Light:
        inner = self._inner(box)
        total = sum(self._blurred(self._counts(bucket, box), bucket)[inner] for bucket in buckets)
        return np.asarray(total, dtype=np.float32)

    def _counts(self, bucket: int, box: tuple[slice, slice, slice]) -> npt.NDArray[np.float64]:
        counts_ZYX = self._buckets.counts(bucket).reshape(self.tiling.padded)
        return counts_ZYX[self._inside(box)].astype(np.float64)

    def _inner(self, box: tuple[slice, slice, slice]) -> tuple[slice, ...]:
        """Return the place of a tile within itself and its margins."""
        return tuple(
            slice(margin, margin + part.stop - part.start) for part, margin in zip(box, self.tiling.margin, strict=True)
        )

    def _inside(self, box: tuple[slice, slice, slice]) -> tuple[slice, ...]:
        """Return the part of a tile with margins that does not extend beyond the picture."""
        return tuple(
            slice(part.stop - part.start + 2 * margin) for part, margin in zip(box, self.tiling.margin, strict=True)
        )

    def _blurred(self, light_ZYX: npt.NDArray[Any], bucket: int) -> npt.NDArray[Any]:
        if not self._sigmas_px:
            return light_ZYX
        sigma_y, sigma_x = self._sigmas_px[bucket % self._num_levels]
        return np.asarray(gaussian_filter(light_ZYX, (0, sigma_y, sigma_x), mode="constant", truncate=TRUNCATE))


class ColouredCanvas(TiledCanvas):
    """Canvas of one plane for emitters of up to a few hundred colours; tiles have the light of each primary.

    The sums equal those of `lls_decode.pictures.canvas.DepthCanvas`, in its precision, so that pixels are identical.
    """

    def __init__(
        self,
        tiling: Tiling,
        spill: Path,
        *,
        colours: npt.NDArray[np.float64],
        sigmas_px: Sequence[tuple[float, float]] = (),
    ) -> None:
        """Create a canvas; ``colours`` ``(kinds, primaries)`` are the linear light of an emitter of each kind."""
        self._colours = colours.astype(np.float32)
        self._num_kinds = len(colours)
        super().__init__(tiling, spill, sigmas_px=sigmas_px)

    def _tile(self, buckets: Sequence[int], box: tuple[slice, slice, slice]) -> Light:
        """Return the light ``(primaries, Y, X)`` of a tile."""
        _, rows, columns = self._inner(box)
        shape = [part.stop - part.start for part in (rows, columns)]
        total = np.zeros((self._colours.shape[1], *shape), dtype=np.float32)
        for bucket in buckets:
            total += self._blurred(self._light(bucket, box), bucket)[:, rows, columns]
        return total

    def _light(self, bucket: int, box: tuple[slice, slice, slice]) -> Light:
        """Return the light ``(primaries, Y, X)`` of a tile and its margins before blurring."""
        num_primaries, (_, rows, columns) = self._colours.shape[1], self._inside(box)
        total = np.zeros((num_primaries, self.tiling.area))
        for keys in self._buckets.sections(bucket):
            place, kind = np.divmod(keys, self._num_kinds)
            for primary in range(num_primaries):
                total[primary] += np.bincount(place, weights=self._colours[kind, primary], minlength=self.tiling.area)
        return total.reshape(num_primaries, *self.tiling.padded[1:])[:, rows, columns].astype(np.float32)


def reach_px(sigma_px: float) -> int:
    """Return the number of pixels that a Gaussian extends beyond its own pixel."""
    return int(TRUNCATE * sigma_px + 0.5)
