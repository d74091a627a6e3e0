"""Frames that could not be read, of blocks that are done without them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lls_decode.blocks import Block, FrameRanges, expand_ranges
from lls_decode.frames.mapping.frame_map import name_frames
from lls_decode.pipelines.journal.events import BlockDone

from .run_status import LostFrames


def volumes_of(lost: Sequence[tuple[Block, BlockDone]]) -> npt.NDArray[np.int64]:
    """Return the volumes of which blocks have lost frames of their own."""
    owned = [_owned_frames(block, event.lost)[:, 0] for block, event in lost]
    return np.unique(np.concatenate([np.arange(0), *owned])).astype(np.int64)


def lost_frames(block: Block, event: BlockDone) -> LostFrames:
    """Return what of a block is lost, for people."""
    frames = _owned_frames(block, event.lost)
    (v0, k0), (v1, k1) = frames.min(axis=0).tolist(), frames.max(axis=0).tolist()
    return LostFrames(
        block_id=block.id,
        frames=len(frames),
        volumes=(v0, v1 + 1),
        planes=(k0, k1 + 1),
        cause="ChunkError",
        reason=event.reason or "they could not be read when the block was done; the same command tries them again.",
        named=name_frames(frames, block.planes_per_volume),
    )


def _owned_frames(block: Block, ranges: FrameRanges) -> npt.NDArray[np.int64]:
    """``(n, 2)`` volume and plane of the frames in some ranges that a block owns."""
    numbers = np.intersect1d(block.owned_frames, expand_ranges(ranges))
    return np.stack(np.divmod(numbers, block.planes_per_volume), axis=1)
