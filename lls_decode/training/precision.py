"""Choice of 16-bit arithmetic for training, which is faster and equally accurate on hardware that supports it."""

import logging

import torch

from lls_decode.config import TrainingConfig
from lls_decode.model.hardware import has_units, name_device, native_dtypes

logger = logging.getLogger(__name__)


def lowers_precision(config: TrainingConfig, device: torch.device) -> bool:
    """Return whether the network is computed in bfloat16 on a device; the loss is always float32."""
    if config.precision == "auto":
        return has_bfloat16(device)
    return config.precision == "bfloat16"


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device supports bfloat16 in hardware; other devices emulate it, slower than float32."""
    return "bfloat16" in native_dtypes(device)


def log_precision(config: TrainingConfig, device: torch.device) -> None:
    """Log the number format of the network, and warn if the CPU has to emulate it."""
    dtype = "bfloat16" if lowers_precision(config, device) else "float32"
    logger.info("arithmetic: %s (precision is %s; %s)", dtype, config.precision, name_device(device))
    if dtype == "bfloat16" and device.type == "cpu" and has_units("bfloat16") is False:
        logger.warning(
            "precision is bfloat16, which this CPU has to emulate, more slowly than float32; start a training with "
            "--set precision=auto"
        )
