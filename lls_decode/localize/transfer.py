"""Transfer of frames to the device: the next batch is copied while the device computes the current one.

On a GPU, frames are copied from pinned (page-locked) memory on a stream of their own. On a CPU, nothing is copied. The
choice of the frames is the same on both, so that tests on a CPU cover it. The lines for GPUs follow the recipe of
torch's documentation (`Tensor.record_stream`); they have not run on a GPU yet.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class FrameTransfer:
    """Frames of a stack of camera counts (T, Y, X) on their way to the device."""

    def __init__(self, adu_TYX: npt.NDArray[np.generic], device: torch.device) -> None:
        self._adu_TYX, self._device = adu_TYX, device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._ahead: tuple[range, Tensor] | None = None
        """Frames that are being copied ahead, and their copy."""

    def take(self, frames: range) -> Tensor:
        """Return frames on the device."""
        counts = self._take_ahead(frames)
        if counts is None:
            counts = self._copy(frames)
        if self._stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)  # the computation waits for the copy
            counts.record_stream(current)  # the memory is not reused before the computation is done
        return counts

    def copy_ahead(self, after: range) -> None:
        """Begin to copy as many frames as in ``after``, which follow it in the stack."""
        frames = range(after.stop, min(after.stop + len(after), len(self._adu_TYX)))
        self._ahead = (frames, self._copy(frames)) if len(frames) else None

    def _take_ahead(self, frames: range) -> Tensor | None:
        """Return the frames if they have been copied ahead."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0].start != frames.start or len(ahead[0]) < len(frames):
            return None
        return ahead[1][: len(frames)]

    def _copy(self, frames: range) -> Tensor:
        counts = torch.from_numpy(_as_torch_dtype(self._adu_TYX[frames.start : frames.stop]))
        if self._stream is None:
            return counts
        with torch.cuda.stream(self._stream):
            return counts.pin_memory().to(self._device, non_blocking=True)


def _as_torch_dtype(counts: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return contiguous counts of a type that torch supports on every device; uint16 is unchanged."""
    if counts.dtype.kind == "u" and counts.dtype.itemsize > 2:
        return counts.astype(np.float32)
    return np.ascontiguousarray(counts)
