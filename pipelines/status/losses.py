"""Frames that finished blocks could not read."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lls_decode.blocks import Block, FrameRanges, expand_ranges
from lls_decode.frames.mapping.frame_map import name_frames
from lls_decode.pipelines.journal.events import BlockDone

from .run_status import LostFrames


def volumes_of(lost: Sequence[tuple[Block, BlockDone]]) -> npt.NDArray[np.int64]:
    """Return the volumes in which blocks have lost frames that they own."""
    owned = [_owned_frames(block, event.lost)[:, 0] for block, event in lost]
    return np.unique(np.concatenate([np.arange(0), *owned])).astype(np.int64)


def lost_frames(block: Block, event: BlockDone) -> LostFrames:
    """Return the lost frames of a block as they are reported to users."""
    frames = _owned_frames(block, event.lost)
    (v0, k0), (v1, k1) = frames.min(axis=0).tolist(), frames.max(axis=0).tolist()
    return LostFrames(
        block_id=block.id,
        frames=len(frames),
        volumes=(v0, v1 + 1),
        planes=(k0, k1 + 1),
        cause="ChunkError",
        reason=event.reason or "they could not be read when the block was processed; rerun the same command to retry.",
        named=name_frames(frames, block.planes_per_volume),
    )


def _owned_frames(block: Block, ranges: FrameRanges) -> npt.NDArray[np.int64]:
    """Return volume and plane, ``(n, 2)``, of those frames in the ranges that a block owns."""
    numbers = np.intersect1d(block.owned_frames, expand_ranges(ranges))
    return np.stack(np.divmod(numbers, block.planes_per_volume), axis=1)
