"""The frames of one block as they were read, and which of them could not be read.

Shape letters: ``T`` frames that were read, ``N`` of them owned by the block, ``Y X`` pixels.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.blocks import Block, FrameRanges, expand_ranges

Frames = npt.NDArray[Any]


@dataclass(frozen=True)
class FrameStack:
    """Frames of one block, context included."""

    adu_TYX: Frames
    """Camera counts, native byte order, dtype of the array; in the order of ``block.frames``, without lost ones."""
    block: Block
    lost: FrameRanges = ()
    """Numbers of frames that cannot be read, context included."""
    filled: FrameRanges = ()
    """Numbers of frames that have the fill value where chunks are absent."""
    reason: str = ""
    """Why frames are lost."""

    @cached_property
    def windows(self) -> npt.NDArray[np.int64]:
        """``(N, 3)`` positions in the stack of (previous, this, next) for each owned frame that was read.

        A lost frame ends a sequence, as the first and the last plane do: its neighbours are repeated in its place.
        """
        previous, this, following = self.block.windows[self.owned].T
        previous = np.where(self._is_read[previous], previous, this)
        following = np.where(self._is_read[following], following, this)
        position = np.cumsum(self._is_read) - 1
        return np.asarray(position[np.stack([previous, this, following], axis=1)], dtype=np.int64)

    @cached_property
    def owned(self) -> npt.NDArray[np.int64]:
        """``(N,)`` positions, among the owned frames of the block, of those that were read."""
        return np.flatnonzero(self._is_read[self.block.windows[:, 1]])

    @cached_property
    def _is_read(self) -> npt.NDArray[np.bool_]:
        """For each frame of the block, context included."""
        volume, plane = self.block.frames.T
        return ~np.isin(volume * self.block.planes_per_volume + plane, expand_ranges(self.lost))
