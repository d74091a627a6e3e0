"""Batch sizes: the number of frames per forward pass, reduced when a batch does not fit into memory."""

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from lls_decode.config import CPU_BATCH_PX
from lls_decode.errors import PlanError

GPU_BATCH_PX = 1 << 22
"""Largest batch on a GPU, in pixels; larger batches are no faster."""
_SHARE_OF_FREE_MEMORY = 0.5
_BYTES_PER_FILTER = 60
"""Memory in bytes per pixel and filter in a forward pass: at most a dozen feature maps at a time, some in float32."""
_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "bad_alloc")
"""Texts that identify out-of-memory RuntimeErrors of the CPU's allocator, oneDNN, cuDNN and cuBLAS."""

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def default_batch_px(device: torch.device, filters: int) -> int:
    """Return the default number of pixels per batch; on a GPU, as many as fit into half of its free memory."""
    if device.type != "cuda":
        return CPU_BATCH_PX
    free_bytes, _ = torch.cuda.mem_get_info(device)
    fitting = int(_SHARE_OF_FREE_MEMORY * free_bytes) // (_BYTES_PER_FILTER * filters)
    return min(max(fitting, CPU_BATCH_PX), GPU_BATCH_PX)


class BatchSize:
    """Number of pixels per forward pass (at least one frame), halved when a batch does not fit into memory."""

    def __init__(self, px: int) -> None:
        self.px = px

    def attempt(self, work: Callable[..., Result], items: Any, item_px: int, *others: Any) -> tuple[Result, int]:
        """Call ``work(items[:n], *others)`` with as many items as fit into a batch; return its result and ``n``."""
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
            # outside the except clause, because the error keeps tensors alive that occupy the memory
            self.px = count // 2 * item_px
            logger.warning("batches of %d frames do not fit into memory (%s); trying half as many", count, reason)
            torch.cuda.empty_cache()


def is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Return whether an error means that memory is exhausted, so that a smaller batch may succeed."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(word in str(error).lower() for word in _WORDS)
