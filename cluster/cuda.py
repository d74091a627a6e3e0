"""The GPUs of this machine: one worker process for each, which sees no other."""

import os
import shutil
import subprocess
from contextlib import AbstractContextManager

from distributed import Client
from distributed.system import MEMORY_LIMIT

from lls_decode.errors import SiteError

from .processes import open_processes
from .profile import GIB, CudaSite
from .request import Request


def open_cuda(profile: CudaSite, request: Request) -> AbstractContextManager[Client]:
    """Worker processes on this machine, one for each GPU, reachable from this machine only.

    Raises
    ------
    SiteError
        There are no GPUs, or fewer than were asked for.
    """
    devices = visible_gpus()
    wanted = request.workers or profile.workers or len(devices)
    if not devices:
        raise SiteError(
            "Site cuda needs an NVIDIA GPU, and this process sees none ('nvidia-smi -L' and CUDA_VISIBLE_DEVICES say "
            "which there are); use --site local, or a machine with a GPU."
        )
    if wanted > len(devices):
        raise SiteError(f"{wanted} workers were asked for, but there are {len(devices)} GPUs; lower --workers.")
    memory = request.memory_limit or (int(profile.memory_gib * GIB) if profile.memory_gib else MEMORY_LIMIT // wanted)
    return open_processes([{"CUDA_VISIBLE_DEVICES": device} for device in devices[:wanted]], request, memory)


def visible_gpus() -> list[str]:
    """GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them: indices, or UUIDs."""
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
