"""In which arithmetic a device computes the network best: what ``compute.dtype: auto`` becomes.

16 bits are chosen only where the device has units for them. A CPU without such units emulates them, slower than
float32.
"""

import ctypes
import logging
from typing import Any, cast

import torch

from lls_decode.config import Arithmetic, ComputeConfig
from lls_decode.system import load_library

_CPU_FEATURES: dict[Arithmetic, tuple[str, ...]] = {
    "bfloat16": ("avx512_bf16", "amx_bf16"),
    "float16": ("amx_fp16",),
}
"""Features of a processor, as torch calls them, any of which means units for products of this type. What is called
``avx512_fp16`` sums in float16, which is not enough; the bfloat16 of ARM is not measured."""
_TENSOR_CORES = (7, 0)
"""Compute capability from which NVIDIA GPUs multiply matrices in float16 and sum in float32."""

logger = logging.getLogger(__name__)


def native_dtypes(device: torch.device) -> tuple[Arithmetic, ...]:
    """Return the types that a device has units for, the best one for a network first; float32 is always among them.

    On GPUs float16 comes before bfloat16: it is as fast, and eight times as exact.
    """
    if device.type == "cuda":
        return _native_on_gpu(device)
    return ("bfloat16", "float32") if has_units("bfloat16") else ("float32",)


def has_units(dtype: Arithmetic) -> bool | None:
    """Return whether this CPU has units for a type; None where torch cannot say."""
    if dtype == "float32":
        return True
    features = _cpu_features()
    known = [features[name] for name in _CPU_FEATURES[dtype] if name in features]
    return any(known) if known else None


def resolve_dtype(compute: ComputeConfig, device: torch.device) -> ComputeConfig:
    """Return the configuration with the type that ``auto`` means on a device, and say so in the log."""
    if compute.dtype != "auto":
        return compute
    dtype = native_dtypes(device)[0]
    logger.info("arithmetic: %s (compute.dtype is auto; %s)", dtype, name_device(device))
    return compute.replace(dtype=dtype)


def warn_of_slow_arithmetic(compute: ComputeConfig, device: torch.device) -> None:
    """Warn when a CPU has to emulate the 16-bit arithmetic that a run asks for: float32 is faster there, and exact."""
    if device.type == "cpu" and compute.dtype != "auto" and has_units(compute.dtype) is False:
        logger.warning(
            "compute.dtype is %s, which this CPU has no units for and emulates, slower than float32; set it to auto",
            compute.dtype,
        )


def name_device(device: torch.device) -> str:
    """Return what a device is, for reports: a GPU's name, driver and memory, or the processor's name."""
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
    """Return the version of the driver, or of the CUDA that torch was built for where the driver cannot be asked."""
    library = load_library("libnvidia-ml.so.1")
    if library is not None:
        text = ctypes.create_string_buffer(96)
        if library.nvmlInit_v2() == 0 and library.nvmlSystemGetDriverVersion(text, len(text)) == 0:
            return f"driver {text.value.decode()}"
    return f"CUDA {torch.version.cuda}"


def _cpu_features() -> dict[str, Any]:
    """Return what torch says of this processor; empty before torch 2.11 and on processors that it does not know."""
    asked = getattr(torch.cpu, "get_capabilities", None)
    if asked is not None:
        return dict(cast("dict[str, Any]", asked()))
    if not torch.backends.cpu.get_cpu_capability().startswith(("AVX", "DEFAULT")):
        return {}
    names = {"avx512_bf16": "_is_avx512_bf16_supported", "amx_fp16": "_is_amx_fp16_supported"}
    return {name: getattr(torch.cpu, function)() for name, function in names.items() if hasattr(torch.cpu, function)}
