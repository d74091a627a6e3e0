"""Rule for ``compute.compile: auto``: compile the network where this saves more time than it takes.

On an H100 the full network processes 77 Mpx/s in bfloat16, and 119 Mpx/s when it is compiled, so that compiling saves
4.6 ms per megapixel. Compiling takes half a minute, the time saved on 6.5 Gpx. A process that finds the compiled code
in the cache waits about ten times less (measured on a CPU), the time saved on 0.7 Gpx. Smaller networks save less per
pixel. For them, the rule loses at most half a minute, and only once, because later runs find the compiled code.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from lls_decode.config.network import NetworkConfig

ABSENT_PX = 6 * 10**9
"""Smallest number of pixels per worker for which the network is compiled if no compiled code is cached."""
CACHED_PX = 6 * 10**8
"""The same if the compiled code is cached."""

CompiledCode = Literal["impossible", "absent", "cached"]
"""Whether a worker can compile (only GPUs with Triton do so by default), and whether it has compiled code already."""


@dataclass(frozen=True)
class CompilationTarget:
    """Properties of a run on which the compiled code depends, besides the arithmetic and the machine."""

    network: NetworkConfig
    height: int
    """Number of rows that are read of each frame."""
    width: int
    tile_px: int


@dataclass(frozen=True)
class CompileChoice:
    """Whether a run compiles the network, and why."""

    is_on: bool
    reason: str

    def describe(self) -> str:
        """Return the choice and its reason on one line."""
        return f"{'compiled' if self.is_on else 'not compiled'} ({self.reason})"


def choose_compilation(
    wish: bool | Literal["auto"], workers: Collection[CompiledCode], num_pixels: int
) -> CompileChoice:
    """Return whether to compile the network, from ``compute.compile``, the workers, and the pixels of all workers."""
    if wish != "auto":
        return CompileChoice(wish, f"compute.compile is {str(wish).lower()}")
    able = [code for code in workers if code != "impossible"]
    if not able:
        return CompileChoice(False, "auto: this pays off only on GPUs with Triton")
    is_cached = "absent" not in able
    least, each = CACHED_PX if is_cached else ABSENT_PX, num_pixels / len(workers)
    state = "compiled code is cached" if is_cached else "no compiled code is cached"
    return CompileChoice(
        each >= least,
        f"auto: {state}, and compiling pays off from {least * 1e-9:g} Gpx per worker; each has {each * 1e-9:.2g} Gpx",
    )
