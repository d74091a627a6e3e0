"""Whether a training computes its network with 16 bits: where the hardware does so, it is faster and learns as well."""

import torch

from lls_decode.config import TrainingConfig


def lowers_precision(config: TrainingConfig, device: torch.device) -> bool:
    """Return whether the network is computed in bfloat16 on a device; the loss is float32 in any case."""
    if config.precision == "auto":
        return has_bfloat16(device)
    return config.precision == "bfloat16"


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 itself; others emulate it, slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # not in every version of torch
    return device.type == "cpu" and asked is not None and bool(asked())
