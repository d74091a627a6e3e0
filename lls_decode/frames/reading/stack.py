"""The frames read for one block, and the frames that could not be read.

Shape letters: ``T`` frames that were read, ``N`` frames owned by the block among them, ``Y X`` pixels.
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
    """Frames of one block, including context."""

    adu_TYX: Frames
    """Camera counts in native byte order and the dtype of the array, in the order of ``block.frames`` without lost
    frames."""
    block: Block
    lost: FrameRanges = ()
    """Numbers of frames that cannot be read, including context."""
    filled: FrameRanges = ()
    """Numbers of frames in which absent chunks are replaced by the fill value."""
    reason: str = ""
    """Reason why frames are lost."""

    @cached_property
    def windows(self) -> npt.NDArray[np.int64]:
        """Positions in the stack of the previous, same and next frame for each owned frame that was read, ``(N, 3)``.

        A lost frame interrupts a sequence, like the first and the last plane: if the previous or next frame is lost,
        the frame itself takes its place.
        """
        previous, this, following = self.block.windows[self.owned].T
        previous = np.where(self._is_read[previous], previous, this)
        following = np.where(self._is_read[following], following, this)
        position = np.cumsum(self._is_read) - 1
        return np.asarray(position[np.stack([previous, this, following], axis=1)], dtype=np.int64)

    @cached_property
    def owned(self) -> npt.NDArray[np.int64]:
        """Indices, among the owned frames of the block, of the frames that were read, ``(N,)``."""
        return np.flatnonzero(self._is_read[self.block.windows[:, 1]])

    @cached_property
    def _is_read(self) -> npt.NDArray[np.bool_]:
        """Whether each frame of the block, including context, was read."""
        volume, plane = self.block.frames.T
        return ~np.isin(volume * self.block.planes_per_volume + plane, expand_ranges(self.lost))
