"""Compilation of the network, which fuses elementwise operations (biases, ELU, joins) without changing results.

On a GPU the network spends more than half of its time on memory access, which fused operations reduce. Compiling takes
half a minute in each worker, so it pays off for large datasets only. On a CPU, where arithmetic dominates, it saves
about a tenth of the time.
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
"""Smallest dataset, in pixels, for which ``compute.compile: auto`` compiles: four minutes on an H100."""
_SHAPES = 64
"""Number of compiled variants to keep. Variants arise with and without carried frames, for last batches, and for tiles
at the edge. From the second variant on, compiled code covers varying sizes, except sizes of one."""

Part = Callable[..., Tensor]

logger = logging.getLogger(__name__)


def is_compiled(wish: bool | Literal["auto"], device: torch.device, dataset_px: int) -> bool:
    """Return whether a run compiles the network; ``auto`` means on a GPU with Triton, for a large dataset."""
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
    """Replace the slow parts of a network, in place, by versions that are compiled at their first use for inference.

    If compilation fails (no compiler, no Triton, an unknown device), the network runs uncompiled and a warning is
    logged. If compilation is ``required``, the first use raises a ConfigError instead. ``backend`` and ``mode`` are
    passed to `torch.compile`.
    """
    _keep_compiled_code()
    import torch._dynamo  # slow to import

    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, _SHAPES)
    network.wrap_parts(lambda part: _Compiled(part, required=required, backend=backend, mode=mode))


def _keep_compiled_code() -> None:
    """Cache compiled code in the user's cache folder, where other workers and later runs can reuse it.

    By default torch uses a temporary folder, which is local to each machine and eventually deleted. A folder chosen by
    the user (``TORCHINDUCTOR_CACHE_DIR``) takes precedence. If the user's cache folder is not writable, torch's default
    is kept.
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
        logger.debug("compiled code cannot be cached in %s: %s", folder, error)
        return
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


class _Compiled:
    """Function that runs compiled, or uncompiled once compilation has failed."""

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
            logger.warning("the network cannot be compiled here (%s); it runs uncompiled", reason)
            self._now = self._plain
        return self._plain(*arguments)


def _first_words(error: Exception) -> str:
    """Return the error message on one line, without torch's debugging advice."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = " ".join(lines[: lines.index("")] if "" in lines else lines)
    return said[:200] or type(error).__name__
