"""Cameras of tests."""

from typing import Any

import torch

from lls_decode.config import ScmosCamera
from lls_decode.optics import CameraModel


def scmos_model(offset: Any, gain: Any, variance: Any, quantum_efficiency: float = 1.0) -> CameraModel:
    """An sCMOS camera from numbers or maps in memory."""
    config = ScmosCamera(offset_adu=0.0, gain_adu_per_e=1.0, variance_adu2=0.0, quantum_efficiency=quantum_efficiency)
    values = {"offset_adu": offset, "gain_adu_per_e": gain, "variance_adu2": variance}
    return CameraModel(config, {name: torch.as_tensor(value) for name, value in values.items()})
