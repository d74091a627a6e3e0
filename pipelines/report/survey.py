"""Everything that a report says of the rows of a table, from one pass over it with constant memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lls_decode.axes import ContextKind, Layout
from lls_decode.blocks import Block, FrameRanges, expand_ranges
from lls_decode.config import PixelSize
from lls_decode.evaluate import CutCounts, SubpixelBias, SubpixelCounts, TableSummary, block_cuts, tile_cuts
from lls_decode.evaluate.counts import FieldCounts
from lls_decode.pipelines.flows.table_inspection import iter_rows
from lls_decode.table import TableMetadata
from lls_decode.table.depth import DEPTH_COLUMNS, has_depth


@dataclass(frozen=True)
class Coverage:
    """Which frames the rows of a table can come from."""

    frames: int
    volumes: tuple[int, int]
    """First and one-past-last volume."""
    by_plane: npt.NDArray[np.int64]
    """(P,) frames of each plane of a sweep."""

    @classmethod
    def of(cls, blocks: Sequence[Block], planes_per_volume: int, lost: FrameRanges = ()) -> Self:
        """What blocks own together, but for lost frames."""
        change = np.zeros(planes_per_volume + 1, dtype=np.int64)
        for block in blocks:
            volumes = block.volume_stop - block.volume_start
            change[block.plane_start] += volumes
            change[block.plane_stop] -= volumes
        lost_planes = _owned_by(blocks, expand_ranges(lost)) % planes_per_volume
        ends = [(block.volume_start, block.volume_stop) for block in blocks] or [(0, 1)]
        return cls(
            sum(block.num_owned for block in blocks) - len(lost_planes),
            (min(start for start, _ in ends), max(stop for _, stop in ends)),
            np.cumsum(change)[:-1] - np.bincount(lost_planes, minlength=planes_per_volume),
        )


@dataclass(frozen=True)
class Survey:
    """What one pass has found."""

    summary: TableSummary
    coverage: Coverage
    camera: "CameraCounts | None"
    """None without a pixel size, and for positions that are no longer those in the frame."""
    block_cuts: CutCounts | None
    """Across sequences of frames; None when blocks hold whole sequences, and for rows that are of several frames."""


def survey_table(
    path: str | Path,
    metadata: TableMetadata,
    *,
    layout: Layout,
    context: ContextKind,
    blocks: Sequence[Block],
    tile_px: int,
) -> Survey:
    """Read a table once.

    Parameters
    ----------
    layout, context, blocks, tile_px
        Of the run that made it; rows of blocks that the table lacks are not expected. Whole frames: ``tile_px`` is 0.
    """
    pixel, missing = metadata.pixel_size, set(metadata.missing_blocks)
    done = [block for block in blocks if block.id not in missing]
    camera = CameraCounts(layout, pixel, tile_px) if pixel is not None and _is_on_camera(metadata) else None
    frames = block_cuts(blocks, done, context) if "plane" in metadata.columns else None
    deep = has_depth(path)
    columns = tuple(name for name in metadata.columns if deep or name not in DEPTH_COLUMNS)
    summary = TableSummary(columns, layout.planes_per_volume)
    for rows in iter_rows(path, metadata):
        summary.add(rows)
        if frames is not None:
            frame = rows["frame"].astype(np.int64)
            frames.add(frame // layout.planes_per_volume if context == "time" else frame % layout.planes_per_volume)
        if camera is not None:
            camera.add(rows["x_nm"], rows["y_nm"])
    coverage = Coverage.of(done, layout.planes_per_volume, metadata.lost_frames)
    return Survey(summary, coverage, camera, frames)


class CameraCounts:
    """Where rows lie on the camera: in the field, beside cuts between tiles, in the pixel."""

    def __init__(self, layout: Layout, pixel: PixelSize, tile_px: int) -> None:
        self.field = FieldCounts(layout.height, layout.width)
        self.tile_cuts = tile_cuts(layout.height, layout.width, tile_px)
        """Across x and y; None when frames were not cut."""
        self._pixel = pixel
        self._subpixel = SubpixelCounts(pixel)

    @property
    def bias(self) -> tuple[SubpixelBias, SubpixelBias]:
        """Along x and y."""
        return self._subpixel.bias()

    def add(self, x_nm: npt.NDArray[Any], y_nm: npt.NDArray[Any]) -> None:
        """Count positions on the camera; unknown ones are left out."""
        known = np.isfinite(x_nm) & np.isfinite(y_nm)
        x_nm, y_nm = x_nm[known], y_nm[known]
        self._subpixel.add(x_nm, y_nm)
        x_px, y_px = _pixels(x_nm, self._pixel.x_nm), _pixels(y_nm, self._pixel.y_nm)
        self.field.add(x_px, y_px)
        for cuts, place in zip(self.tile_cuts or (), (x_px, y_px), strict=False):
            cuts.add(place)


def _owned_by(blocks: Sequence[Block], frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Those of some frames that blocks own; a block owns a stretch of frames, in the order of the blocks."""
    if not blocks or not len(frames):
        return frames[:0]
    starts, stops = np.array(
        [
            (
                b.volume_start * b.planes_per_volume + b.plane_start,
                (b.volume_stop - 1) * b.planes_per_volume + b.plane_stop,
            )
            for b in blocks
        ],
        dtype=np.int64,
    ).T
    owner = np.searchsorted(starts, frames, side="right") - 1
    return np.asarray(frames[(owner >= 0) & (frames < stops[owner])], dtype=np.int64)


def _is_on_camera(metadata: TableMetadata) -> bool:
    """Whether rows are detections where the camera saw them: no molecules of several frames, no drift taken off."""
    moved = any("drift" in str(step.get("step")) for step in metadata.history)
    return "plane" in metadata.columns and not moved


def _pixels(position_nm: npt.NDArray[Any], size_nm: float) -> npt.NDArray[np.float64]:
    """Number of the pixel in which each position lies; 0 is the centre of pixel 0."""
    return np.asarray(np.floor(position_nm.astype(np.float64) / size_nm + 0.5))
