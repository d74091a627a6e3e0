"""Site for the GPUs of this machine: one worker process per GPU, which sees only this GPU."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lls_decode.cluster.profile import Request, SiteProfile, State, gib_to_bytes
from lls_decode.errors import SiteError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from distributed import Client


class CudaSite(SiteProfile):
    """One worker process for each GPU of this machine."""

    kind: Literal["cuda"] = "cuda"
    workers: int | None = Field(default=None, ge=1)
    """Number of GPUs to use; None: all visible GPUs."""
    memory_gib: float | None = Field(default=None, gt=0)
    """Host memory of one worker, GiB; None: an equal share of the machine's memory."""

    def open(self, request: Request) -> "AbstractContextManager[Client]":
        """Start one worker process for each GPU, and yield the client of these workers.

        Raises
        ------
        SiteError
            There are no GPUs, or fewer than requested.
        """
        from .processes import open_processes

        devices = visible_gpus()
        wanted = request.workers or self.workers or len(devices)
        if not devices:
            raise SiteError(
                "Site cuda needs an NVIDIA GPU, and this process sees none ('nvidia-smi -L' and CUDA_VISIBLE_DEVICES "
                "show which GPUs there are); use --site local, or a machine with a GPU."
            )
        if wanted > len(devices):
            raise SiteError(f"{wanted} workers were requested, but there are {len(devices)} GPUs; lower --workers.")
        environments = [{"CUDA_VISIBLE_DEVICES": device} for device in devices[:wanted]]
        return open_processes(environments, request, gib_to_bytes(self.memory_gib))

    def examine(self) -> Iterator[tuple[State, str]]:
        """Report the number of usable GPUs."""
        count = len(visible_gpus())
        yield ("ok" if count else "wrong"), f"{count} GPUs can be used"


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as indices or UUIDs in the notation of ``CUDA_VISIBLE_DEVICES``."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [item.strip() for item in named.split(",") if item.strip() not in ("", "-1", "NoDevFiles")]
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0
    return [str(number) for number in range(count)]
