"""Picture of the localizations found so far, drawn from the shards in steps of bounded duration."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.blocks import Block
from lls_decode.errors import ShardError
from lls_decode.pictures.canvas import DepthCanvas, Extent, Image
from lls_decode.pipelines.journal.record import RunRecord
from lls_decode.table.field import field_extent
from lls_decode.table.shards import UNREADABLE, open_shard

MOST_PIXELS = 250_000
SMALLEST_PIXEL_NM = 10.0
_BLUR_PX, _SMALLEST_BLUR_NM = 0.7, 12.0
_FIRST_LOOK_ROWS = 500
_SAMPLE_ROWS = 512
"""Number of depths that are sampled from each row group of a shard, to choose the range of colours."""
_MOST_SAMPLES = 64
_TOLERANCE = 0.2
"""Relative error of the range of depths above which the picture is redrawn."""


@dataclass(frozen=True)
class Picture:
    """Picture of all shards drawn so far."""

    image: Image
    """``(Y, X, 3)`` sRGB bytes; x to the right, y down."""
    extent_nm: Extent
    pixel_nm: float
    z_range_nm: tuple[float, float]
    num_rows: int
    """Number of drawn localizations, including the few outside of the field, which are not visible."""
    num_shards: int
    """Number of drawn shards."""
    sample: bool
    """Whether the coordinates are sample coordinates; otherwise they are camera coordinates."""


class LivePicture:
    """Picture that grows with the shards of a run.

    Shards are drawn in random order, so that the first few already show the whole sample. Memory is that of one small
    canvas. The range of colours covers the depths seen so far. It is checked each time that the number of rows has
    doubled, and the picture is redrawn if it has changed; in total, each row is drawn about twice at most.
    """

    def __init__(self, shards: Path, record: RunRecord, blocks: Sequence[Block]) -> None:
        """``record`` gives the size of the dataset, the pixel size and the geometry."""
        geometry, pixel = record.config.geometry, record.config.pixel_size
        assert pixel is not None  # since the configuration is resolved
        self._extent_nm = field_extent(record.layout, pixel, geometry)
        self._pixel_nm = _pixel_for(self._extent_nm)
        self._sample = geometry is not None
        self._columns = ["xs_nm", "ys_nm", "zs_nm"] if self._sample else ["x_nm", "y_nm", "z_nm"]
        self._shards = shards
        self._ids = [block.id for block in blocks]
        self._order = np.random.default_rng(0).permutation(len(blocks))
        self._depths: list[npt.NDArray[np.float64]] = []
        self._z_range_nm = (0.0, 1.0)
        self._begin()
        self._picture: Picture | None = None

    def step(self, done: npt.NDArray[np.bool_], *, budget_s: float = 0.25) -> bool:
        """Draw shards of finished blocks for about ``budget_s``, and return whether any were drawn."""
        waiting = self._order[(done & ~self._drawn)[self._order]]
        if not len(waiting):
            return False
        end = time.perf_counter() + budget_s
        for index in waiting:
            self._draw(int(index))
            if time.perf_counter() > end:
                break
        self._picture = None
        return True

    def picture(self) -> Picture | None:
        """Return the picture; None before the first rows."""
        if self._picture is None and self._canvas.num_drawn:
            self._picture = Picture(
                image=self._canvas.image(),
                extent_nm=self._extent_nm,
                pixel_nm=self._pixel_nm,
                z_range_nm=self._z_range_nm,
                num_rows=self._rows,
                num_shards=int(self._drawn.sum()),
                sample=self._sample,
            )
        return self._picture

    def _begin(self) -> None:
        self._drawn = np.zeros(len(self._ids), dtype=np.bool_)
        self._rows = 0
        self._look_at = _FIRST_LOOK_ROWS
        self._canvas = DepthCanvas(
            pixel_nm=self._pixel_nm, extent_nm=self._extent_nm, z_range_nm=self._z_range_nm, vertical_blur=1.0
        )

    def _draw(self, index: int) -> None:
        self._drawn[index] = True  # also if it cannot be read: the merge reports damaged shards
        path = self._shards / f"{self._ids[index]}.parquet"
        try:
            with open_shard(path) as shard:
                for number in range(shard.num_row_groups):
                    self._add(shard.read_row_group(number, self._columns, use_threads=False))
        except (ShardError, *UNREADABLE):
            return
        if self._rows >= self._look_at:
            self._look_at = 2 * self._rows
            self._look()

    def _add(self, table: pa.Table) -> None:
        x, y, z = (table[name].to_numpy().astype(np.float64) for name in self._columns)
        self._rows += len(z)
        self._depths.append(z[:: max(1, len(z) // _SAMPLE_ROWS)])
        if len(self._depths) > _MOST_SAMPLES:
            self._depths = [np.concatenate(self._depths)[::_MOST_SAMPLES]]
        self._canvas.add(x, y, z, sigma_nm=max(_BLUR_PX * self._pixel_nm, _SMALLEST_BLUR_NM))

    def _look(self) -> None:
        """Redraw the picture if the depths seen so far need another range of colours."""
        rows = self._rows
        low, high = (float(value) for value in np.percentile(np.concatenate(self._depths), [1, 99]))
        high = max(high, low + 1.0)
        moved = max(abs(low - self._z_range_nm[0]), abs(high - self._z_range_nm[1]))
        if moved > _TOLERANCE * (high - low):
            self._z_range_nm = (low, high)
            self._begin()
        self._look_at = 2 * rows


def _pixel_for(extent_nm: Extent) -> float:
    """Return the pixel size with which the picture of a field has about ``MOST_PIXELS`` pixels, but not more."""
    (x0, x1), (y0, y1) = extent_nm
    pixel_nm = max(math.sqrt((x1 - x0) * (y1 - y0) / MOST_PIXELS), SMALLEST_PIXEL_NM)
    while math.ceil((x1 - x0) / pixel_nm) * math.ceil((y1 - y0) / pixel_nm) > MOST_PIXELS:
        pixel_nm *= 1.01
    return pixel_nm
