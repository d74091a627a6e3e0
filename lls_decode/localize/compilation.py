"""The network compiled: elementwise work (biases, ELU, joins) fused into fewer passes over memory, the same numbers.

On a GPU more than half of the network's time moves memory. Compiling takes half a minute in each worker, so that it
pays for large data only; on a CPU, where arithmetic is what takes the time, it gains a tenth.
"""

import importlib.util
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lls_decode.errors import ConfigError
from lls_decode.model.network import LocNet

WORTH_PX = 2 * 10**10
"""Pixels of a dataset from which ``compute.compile: auto`` compiles: four minutes of an H100."""
_SHAPES = 64
"""Variants that are kept: with and without frames carried over, last batches, tiles at the edge. Of varying sizes the
second variant takes all, but for sizes of one."""

Part = Callable[..., Tensor]

logger = logging.getLogger(__name__)


def is_compiled(wish: bool | Literal["auto"], device: torch.device, dataset_px: int) -> bool:
    """Whether a run compiles the network: ``auto`` does on a GPU, where Triton is installed, for a large dataset."""
    if wish != "auto":
        return wish
    return device.type == "cuda" and dataset_px >= WORTH_PX and importlib.util.find_spec("triton") is not None


def compile_network(
    network: LocNet,
    *,
    required: bool = False,
    backend: str | Callable[..., Any] = "inductor",
    mode: str | None = None,
) -> None:
    """Compile what takes nearly all of a network's time, in place, at its first use; for inference.

    What cannot be compiled here (no compiler, no Triton, an unknown device) is computed as it is, and that is logged
    once. Where compiling is ``required`` it is a ConfigError, raised at the first use. ``backend`` and ``mode`` are
    those of `torch.compile`.
    """
    _keep_compiled_code()
    import torch._dynamo  # slow to import

    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, _SHAPES)
    network.wrap_parts(lambda part: _Compiled(part, required=required, backend=backend, mode=mode))


def _keep_compiled_code() -> None:
    """Have compiled code kept in the user's cache, where other workers and later runs find it.

    torch keeps it in a temporary folder by default, which each machine has for itself and loses. A folder that the
    user has chosen (``TORCHINDUCTOR_CACHE_DIR``) is used as it is; one that cannot be written is left to torch.
    """
    if "TORCHINDUCTOR_CACHE_DIR" in os.environ:
        return
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "lls-decode" / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        logger.debug("compiled code is not kept in %s: %s", folder, error)
        return
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


class _Compiled:
    """A function and its compiled twin, as long as that can be compiled."""

    def __init__(
        self, plain: Part, *, required: bool, backend: str | Callable[..., Any], mode: str | None = None
    ) -> None:
        self._plain = plain
        self._required = required
        self._now: Part = torch.compile(plain, backend=backend, mode=mode)

    def __call__(self, *arguments: Any) -> Tensor:
        try:
            return self._now(*arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            if self._now is self._plain:
                raise
            reason = _first_words(error)
            if self._required:
                raise ConfigError(
                    f"compute.compile is on, but the network cannot be compiled here ({reason}); set it to auto or off."
                ) from error
            logger.warning("the network cannot be compiled here (%s); it is computed as it is", reason)
            self._now = self._plain
        return self._plain(*arguments)


def _first_words(error: Exception) -> str:
    """What went wrong, in a line, without torch's advice on how to debug it."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = " ".join(lines[: lines.index("")] if "" in lines else lines)
    return said[:200] or type(error).__name__
