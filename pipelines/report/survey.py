"""Collect all statistics of the rows of a table for a report, in one pass with constant memory."""

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
    """Frames that a table covers."""

    frames: int
    """Number of frames."""
    volumes: tuple[int, int]
    """Range of volumes, end excluded."""
    by_plane: npt.NDArray[np.int64]
    """(P,) number of frames of each plane of a sweep."""

    @classmethod
    def of(cls, blocks: Sequence[Block], planes_per_volume: int, lost: FrameRanges = ()) -> Self:
        """Return the coverage of the frames that blocks own, without lost frames."""
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
    """Statistics from one pass over a table."""

    summary: TableSummary
    coverage: Coverage
    camera: "CameraCounts | None"
    """Positions on the camera; None without a pixel size, or if the positions are no longer those on the camera."""
    block_cuts: CutCounts | None
    """Counts next to the cuts between blocks; None if no sequence of frames is cut, or if a row has several frames."""


def survey_table(
    path: str | Path,
    metadata: TableMetadata,
    *,
    layout: Layout,
    context: ContextKind,
    blocks: Sequence[Block],
    tile_px: int,
) -> Survey:
    """Collect the statistics of a table in one pass.

    Parameters
    ----------
    layout, context, blocks, tile_px
        Values of the run that produced the table. Blocks that are missing from the table are excluded. ``tile_px`` is 0
        if frames were processed whole.
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
    """Counts of rows by position on the camera: in the field, next to cuts between tiles, and within the pixel."""

    def __init__(self, layout: Layout, pixel: PixelSize, tile_px: int) -> None:
        self.field = FieldCounts(layout.height, layout.width)
        self.tile_cuts = tile_cuts(layout.height, layout.width, tile_px)
        """Counts next to the cuts along x and along y; None if frames were not divided into tiles."""
        self._pixel = pixel
        self._subpixel = SubpixelCounts(pixel)

    @property
    def bias(self) -> tuple[SubpixelBias, SubpixelBias]:
        """Sub-pixel bias along x and y."""
        return self._subpixel.bias()

    def add(self, x_nm: npt.NDArray[Any], y_nm: npt.NDArray[Any]) -> None:
        """Add positions on the camera; NaN positions are ignored."""
        known = np.isfinite(x_nm) & np.isfinite(y_nm)
        x_nm, y_nm = x_nm[known], y_nm[known]
        self._subpixel.add(x_nm, y_nm)
        x_px, y_px = _pixels(x_nm, self._pixel.x_nm), _pixels(y_nm, self._pixel.y_nm)
        self.field.add(x_px, y_px)
        for cuts, place in zip(self.tile_cuts or (), (x_px, y_px), strict=False):
            cuts.add(place)


def _owned_by(blocks: Sequence[Block], frames: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the given frames that a block owns. The blocks are in ascending order, each with consecutive frames."""
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
    """Whether rows have their original positions on the camera: not linked to molecules, and not drift-corrected."""
    moved = any("drift" in str(step.get("step")) for step in metadata.history)
    return "plane" in metadata.columns and not moved


def _pixels(position_nm: npt.NDArray[Any], size_nm: float) -> npt.NDArray[np.float64]:
    """Return the number of the pixel that contains each position; position 0 is the centre of pixel 0."""
    return np.asarray(np.floor(position_nm.astype(np.float64) / size_nm + 0.5))
