"""Choice of 16-bit arithmetic for training, which is faster and equally accurate on hardware that supports it."""

import torch

from lls_decode.config import TrainingConfig


def lowers_precision(config: TrainingConfig, device: torch.device) -> bool:
    """Return whether the network is computed in bfloat16 on a device; the loss is always float32."""
    if config.precision == "auto":
        return has_bfloat16(device)
    return config.precision == "bfloat16"


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device supports bfloat16 in hardware; other devices emulate it, slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # missing in some versions of torch
    return device.type == "cpu" and asked is not None and bool(asked())
