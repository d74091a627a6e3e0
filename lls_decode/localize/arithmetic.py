"""Choice of the floating-point type of a run for a device, as used by ``compute.dtype: auto``.

A 16-bit type is chosen only if the device supports it in hardware (`model.hardware`).
"""

import logging

import torch

from lls_decode.config import ComputeConfig
from lls_decode.model.hardware import has_units, name_device, native_dtypes

logger = logging.getLogger(__name__)


def resolve_dtype(compute: ComputeConfig, device: torch.device) -> ComputeConfig:
    """Replace a ``compute.dtype`` of ``auto`` by the best type for the device, and log the choice."""
    if compute.dtype != "auto":
        return compute
    dtype = native_dtypes(device)[0]
    logger.info("arithmetic: %s (compute.dtype is auto; %s)", dtype, name_device(device))
    return compute.replace(dtype=dtype)


def warn_of_slow_arithmetic(compute: ComputeConfig, device: torch.device) -> None:
    """Warn if the CPU has to emulate the configured 16-bit arithmetic; float32 is faster there, and more precise."""
    if device.type == "cpu" and compute.dtype != "auto" and has_units(compute.dtype) is False:
        logger.warning(
            "compute.dtype is %s, which this CPU has to emulate, more slowly than float32; set compute.dtype to auto",
            compute.dtype,
        )
