"""Compilation of the network, which fuses elementwise operations (biases, ELU, joins) without changing results.

On a GPU the network spends more than half of its time on memory access, which fused operations reduce. Compiling takes
half a minute in the first worker. Later workers and runs find the compiled code in the user's cache. On a CPU, where
arithmetic dominates, compiling saves about a tenth of the time. `config.compiling` has the rule that uses these facts.
"""

import importlib.util
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lls_decode
from lls_decode.config import CompilationTarget, CompiledCode, digest
from lls_decode.errors import ConfigError
from lls_decode.model.network import LocNet

_SHAPES = 64
"""Number of compiled variants to keep. Variants arise for batches of a single frame, and for tiles at the edge."""

Part = Callable[..., Tensor]

logger = logging.getLogger(__name__)


def find_compiled_code(record: Path, device: torch.device) -> CompiledCode:
    """Return whether a device can compile the network, and whether an earlier process has left the record of its code.

    ``record`` is the path that `find_record` returns.
    """
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return "impossible"
    return "cached" if record.exists() else "absent"


def find_record(target: CompilationTarget, dtype: str, device: torch.device) -> Path:
    """Return the path of the empty file in the cache that exists once a network has been compiled for a device.

    If only the record is lost, the rule for compiling is too cautious. If only the compiled code is lost, a process
    compiles again.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    versions = (lls_decode.__version__, torch.__version__)
    size = (target.height, target.width, target.tile_px)
    identity = digest([target.network.to_dict(), size, dtype, name, versions])
    return _cache_folder() / f"network-{identity}"


def compile_network(
    network: LocNet,
    *,
    required: bool = False,
    backend: str | Callable[..., Any] = "inductor",
    mode: str | None = None,
    record: Path | None = None,
) -> None:
    """Replace the slow parts of a network, in place, by versions that are compiled at their first use for inference.

    If compilation fails (no compiler, no Triton, an unknown device), the network runs uncompiled and a warning is
    logged. If compilation is ``required``, the first use raises a ConfigError instead. ``backend`` and ``mode`` are
    passed to `torch.compile`. The file ``record`` is created when all parts have been compiled (see `find_record`).
    """
    _keep_compiled_code()
    import torch._dynamo  # slow to import

    torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, _SHAPES)
    parts: list[_Compiled] = []

    def wrap(part: Part) -> Part:
        parts.append(_Compiled(part, required=required, backend=backend, mode=mode, note=note))
        return parts[-1]

    def note() -> None:
        if record is not None and all(part.is_done for part in parts):
            _create(record)

    network.wrap_parts(wrap)


def _create(record: Path) -> None:
    try:
        record.touch()
    except OSError as error:
        logger.debug("compiled code is not recorded in %s: %s", record, error)


def _keep_compiled_code() -> None:
    """Cache compiled code in the user's cache folder, where other workers and later runs can reuse it.

    By default torch uses a temporary folder, which is local to each machine and eventually deleted. A folder chosen by
    the user (``TORCHINDUCTOR_CACHE_DIR``) takes precedence. If the user's cache folder is not writable, torch's default
    is kept.
    """
    if "TORCHINDUCTOR_CACHE_DIR" in os.environ:
        return
    folder = _cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        logger.debug("compiled code cannot be cached in %s: %s", folder, error)
        return
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)


def _cache_folder() -> Path:
    """Return the folder of compiled code: the user's choice, else that in the user's cache folder."""
    chosen = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(chosen) if chosen else base / "lls-decode" / "compiled"


class _Compiled:
    """Function that runs compiled, or uncompiled once compilation has failed."""

    is_done = False
    """Whether the function has run compiled."""

    def __init__(
        self,
        plain: Part,
        *,
        required: bool,
        backend: str | Callable[..., Any],
        mode: str | None,
        note: Callable[[], None],
    ) -> None:
        """Prepare the function; ``note`` is called after its first compiled run."""
        self._plain = plain
        self._required = required
        self._note = note
        self._now: Part = torch.compile(plain, backend=backend, mode=mode)

    def __call__(self, *arguments: Any) -> Tensor:
        _vary_batches(arguments)
        try:
            result = self._now(*arguments)
            if not self.is_done and self._now is not self._plain:
                self.is_done = True
                self._note()
            return result
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


def _vary_batches(arguments: tuple[Any, ...]) -> None:
    """Let the compiled code cover all numbers of frames and windows, except one.

    Otherwise torch compiles for the first batch size, and once more when another one follows.
    """
    for each in arguments:
        if isinstance(each, Tensor) and not (each.dim() == 2 and each.is_floating_point()):  # not the noise map (Y, X)
            torch._dynamo.maybe_mark_dynamic(each, 0)


def _first_words(error: Exception) -> str:
    """Return the error message on one line, without torch's debugging advice."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = " ".join(lines[: lines.index("")] if "" in lines else lines)
    return said[:200] or type(error).__name__
