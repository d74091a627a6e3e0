"""Floating-point types that a device supports in hardware, and the name of a device.

A device without hardware support for a 16-bit type emulates it, which is slower than float32.
"""

import ctypes
from typing import Any, cast

import torch

from lls_decode.config import Arithmetic
from lls_decode.system import load_library

_CPU_FEATURES: dict[Arithmetic, tuple[str, ...]] = {
    "bfloat16": ("avx512_bf16", "amx_bf16"),
    "float16": ("amx_fp16",),
}
"""Processor features, by their torch names, any of which means hardware support for products of this type.
``avx512_fp16`` is not listed because it sums in float16, which is too inexact. bfloat16 on ARM was not measured."""
_TENSOR_CORES = (7, 0)
"""Smallest compute capability of NVIDIA GPUs that multiply matrices in float16 and sum in float32."""


def native_dtypes(device: torch.device) -> tuple[Arithmetic, ...]:
    """Return the types that a device supports in hardware, best first; float32 is always included.

    On GPUs float16 precedes bfloat16, because it is as fast and eight times as precise. On CPUs bfloat16 is first,
    because float16 was not measured on them.
    """
    if device.type == "cuda":
        return _native_on_gpu(device)
    if device.type != "cpu":
        return ("float32",)
    known: tuple[Arithmetic, ...] = ("bfloat16", "float16", "float32")
    return tuple(dtype for dtype in known if has_units(dtype))


def has_units(dtype: Arithmetic) -> bool | None:
    """Return whether this CPU supports a type in hardware; None if torch does not know."""
    if dtype == "float32":
        return True
    features = _cpu_features()
    known = [features[name] for name in _CPU_FEATURES[dtype] if name in features]
    return any(known) if known else None


def name_device(device: torch.device) -> str:
    """Describe a device for reports: name, driver and memory of a GPU, or the name of the processor."""
    if device.type != "cuda":
        return f"CPU {_cpu_features().get('cpu_name', '')}".strip()
    about = torch.cuda.get_device_properties(device)
    driver = f"HIP {torch.version.hip}" if torch.version.hip else _nvidia_driver()
    return f"{about.name}, {driver}, {about.total_memory / 1e9:.0f} GB"


def _native_on_gpu(device: torch.device) -> tuple[Arithmetic, ...]:
    bfloat16: tuple[Arithmetic, ...] = ()
    if torch.cuda.is_bf16_supported(including_emulation=False):
        bfloat16 = ("bfloat16",)
    if torch.version.hip or torch.cuda.get_device_capability(device) >= _TENSOR_CORES:
        return ("float16", *bfloat16, "float32")
    return ("float32",)


def _nvidia_driver() -> str:
    """Return the driver version or, if it cannot be queried, the CUDA version that torch was built for."""
    library = load_library("libnvidia-ml.so.1")
    if library is not None:
        text = ctypes.create_string_buffer(96)
        if library.nvmlInit_v2() == 0 and library.nvmlSystemGetDriverVersion(text, len(text)) == 0:
            return f"driver {text.value.decode()}"
    return f"CUDA {torch.version.cuda}"


def _cpu_features() -> dict[str, Any]:
    """Return the features of this processor that torch reports; empty if torch does not report any."""
    asked = getattr(torch.cpu, "get_capabilities", None)
    if asked is not None:
        return dict(cast("dict[str, Any]", asked()))
    if not torch.backends.cpu.get_cpu_capability().startswith(("AVX", "DEFAULT")):
        return {}
    names = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_fp16": "_is_amx_fp16_supported"}
    return {name: getattr(torch.cpu, function)() for name, function in names.items() if hasattr(torch.cpu, function)}
