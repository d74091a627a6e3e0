"""How many frames go through the network at once: what memory holds, found out by trying where it is not known."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from lls_decode.config import CPU_BATCH_PX
from lls_decode.errors import PlanError

GPU_BATCH_PX = 1 << 22
"""Larger batches are no faster on a GPU."""
_SHARE_OF_FREE_MEMORY = 0.5
_BYTES_PER_FILTER = 60
"""Of one pixel in a forward pass: at most a dozen maps of as many channels as filters at a time, some in float32."""
_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "bad_alloc")
"""What RuntimeErrors of the CPU's allocator, of oneDNN, cuDNN and cuBLAS have in common."""

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def default_batch_px(device: torch.device, filters: int) -> int:
    """Pixels of a batch: on a GPU what half of its free memory holds, within limits."""
    if device.type != "cuda":
        return CPU_BATCH_PX
    free_bytes, _ = torch.cuda.mem_get_info(device)
    fitting = int(_SHARE_OF_FREE_MEMORY * free_bytes) // (_BYTES_PER_FILTER * filters)
    return min(max(fitting, CPU_BATCH_PX), GPU_BATCH_PX)


class BatchSize:
    """Pixels in one forward pass (a frame at least); halved when they do not fit into memory."""

    def __init__(self, px: int) -> None:
        self.px = px

    def attempt(self, work: Callable[..., Result], items: Any, item_px: int, *others: Any) -> tuple[Result, int]:
        """``work(items[:n], *others)`` with as many items as go at once, and ``n``."""
        while True:
            count = min(len(items), max(1, self.px // item_px))
            try:
                return work(items[:count], *others), count
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                if count == 1:
                    raise PlanError(
                        f"A single frame or tile of {item_px} pixels does not fit into the memory of this worker "
                        f"({reason}); set compute.tile_px (or lower it), or use larger workers."
                    ) from error
            # outside of the except clause: the error holds the tensors that are in the way
            self.px = count // 2 * item_px
            logger.warning("batches of %d frames do not fit into memory (%s); now half of that", count, reason)
            torch.cuda.empty_cache()


def is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether fewer frames at once might help."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(word in str(error).lower() for word in _WORDS)
