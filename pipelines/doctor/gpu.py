"""Check whether the network can run on a GPU of this machine: the card, its driver, and the installed torch."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .check import Check

PCI = Path("/sys/bus/pci/devices")
_NVIDIA, _AMD, _DISPLAY = "0x10de", "0x1002", "0x03"
"""PCI vendor ids of NVIDIA and AMD, and PCI class of display controllers."""


def examine_gpu() -> Iterator[Check]:
    """Report the GPUs that torch can use, or the reason why it cannot use any."""
    import torch

    if torch.cuda.is_available():
        yield from _try_devices()
        return
    built = torch.version.cuda
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards, driver = cards_in_machine(), ask_driver()
    if driver is None and not cards:
        yield Check("gpu", "note", f"{_words_of_none()}; the network runs on the CPU, in {_cpu_dtype()}")
    elif driver is None:
        words = f"this machine has {cards} NVIDIA cards but no driver (nvidia-smi was not found); install the driver"
        yield Check("gpu", "wrong", words)
    elif not driver.startswith("GPU "):
        words = f"nvidia-smi sees no GPU: {driver}; the driver is not running, load its module or restart the machine"
        yield Check("gpu", "wrong", words)
    elif hidden is not None and hidden.strip() in ("", "-1", "NoDevFiles"):
        yield Check("gpu", "note", f"hidden (CUDA_VISIBLE_DEVICES is {hidden!r}); the network runs on the CPU")
    elif built is None:
        words = f"{driver}, but torch {torch.__version__} is a CPU build; install a CUDA build of torch"
        yield Check("gpu", "wrong", words)
    else:
        yield Check("gpu", "wrong", f"{driver}, but torch sees no GPU: {compare_cuda(built)}")


def _words_of_none() -> str:
    """Return the words for a machine without a usable GPU."""
    import torch

    if torch.backends.mps.is_available():
        return "the GPU of this Mac (MPS) is not used: the network is not tested on it"
    if not (count := cards_in_machine(vendor=_AMD)):
        return "none"
    cards = f"this machine has {count} AMD {'GPU' if count == 1 else 'GPUs'}"
    if torch.version.hip is None:
        return (
            f"{cards}, but torch {torch.__version__} is built without ROCm; if ROCm supports it, install such a build"
        )
    return (
        f"{cards}, but torch (ROCm {torch.version.hip}) sees no GPU; check that ROCm supports it, and that you may "
        "access /dev/kfd"
    )


def _cpu_dtype() -> str:
    import torch

    from lls_decode.model.hardware import native_dtypes

    return f"{native_dtypes(torch.device('cpu'))[0]} (compute.dtype: auto)"


def cards_in_machine(devices: Path | None = None, *, vendor: str = _NVIDIA) -> int:
    """Return the number of graphics cards of a vendor on the PCI bus, with or without a driver."""
    count = 0
    for device in (devices or PCI).glob("*"):
        try:
            maker, kind = (device.joinpath(name).read_text(encoding="utf-8").strip() for name in ("vendor", "class"))
        except OSError:
            continue
        count += maker == vendor and kind.startswith(_DISPLAY)
    return count


def ask_driver(*words: str) -> str | None:
    """Run nvidia-smi with arguments and return its output; None if the program is absent.

    Without arguments, the first line of its list of GPUs is returned, without the UUID.
    """
    if shutil.which("nvidia-smi") is None:
        return None
    try:
        said = subprocess.run(
            ["nvidia-smi", *(words or ("-L",))], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    text = (said.stdout + said.stderr).strip()
    return (text if words else re.sub(r" \(UUID: [^)]*\)", "", text.partition("\n")[0])) or f"status {said.returncode}"


def _try_devices() -> Iterator[Check]:
    """Compute on each GPU: torch may see a card that is too new or too old for the kernels that it was built with."""
    import torch

    from lls_decode.model.hardware import name_device, native_dtypes

    for index in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(index)
        try:
            torch.ones(1, device=f"cuda:{index}").add_(1).cpu()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            yield Check("gpu", "wrong", f"{name} cannot compute with torch {torch.__version__}: {reason}")
        else:
            built = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
            device = torch.device("cuda", index)
            words = f"{name_device(device)}, torch {torch.__version__} for {built}"
            yield Check("gpu", "ok", f"{words}; computes in {native_dtypes(device)[0]} (compute.dtype: auto)")


def compare_cuda(built: str) -> str:
    """Return why a torch that was built for a CUDA version sees none of the GPUs that the driver lists."""
    match = re.search(r"CUDA Version\s*:\s*(\d+)\.(\d+)", ask_driver("--query") or "")
    if match is None:
        return f"it is built for CUDA {built}; install a newer driver, or a torch for an older CUDA"
    has = tuple(int(part) for part in match.groups())
    needs = tuple(int(part) for part in built.split(".")[:2])
    if has[0] < needs[0]:
        advice = "install a newer driver, or a torch for an older CUDA"
        return f"its driver supports CUDA up to {has[0]}.{has[1]}, but torch is built for CUDA {built}; {advice}"
    return (
        f"driver (CUDA {has[0]}.{has[1]}) and torch (CUDA {built}) are compatible; check that you may access the "
        "devices (/dev/nvidia*)"
    )
