"""Types and names of GPUs, as torch and the driver report them; no GPU is needed."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lls_decode.model import hardware
from lls_decode.model.hardware import name_device, native_dtypes

GPU = torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Make torch report an H100, and return the object that changes what it reports."""
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    about = SimpleNamespace(name="NVIDIA H100 80GB HBM3", total_memory=85_000_000_000)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: about)
    return monkeypatch


def test_float16_is_the_first_choice_on_gpus(gpu: pytest.MonkeyPatch) -> None:
    assert native_dtypes(GPU) == ("float16", "bfloat16", "float32")


def test_gpus_without_tensor_cores_compute_in_float32(gpu: pytest.MonkeyPatch) -> None:
    gpu.setattr(torch.cuda, "get_device_capability", lambda device: (6, 0))
    gpu.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    assert native_dtypes(GPU) == ("float32",)


def test_gpus_of_amd_compute_in_float16(gpu: pytest.MonkeyPatch) -> None:
    """Their compute capability has another meaning, and does not count."""
    gpu.setattr(torch.version, "hip", "6.2.41133")
    gpu.setattr(torch.cuda, "get_device_capability", lambda device: (0, 0))
    assert native_dtypes(GPU) == ("float16", "bfloat16", "float32")


class Nvml:
    """Stand-in for NVIDIA's library that reports the driver."""

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlSystemGetDriverVersion(self, text: Any, length: int) -> int:
        text.value = b"550.54.15"[: length - 1]
        return 0


@pytest.mark.parametrize(
    ("library", "hip", "driver"),
    [
        pytest.param(Nvml(), None, "driver 550.54.15", id="NVIDIA"),
        pytest.param(None, None, f"CUDA {torch.version.cuda}", id="NVIDIA, unknown driver"),
        pytest.param(None, "6.2", "HIP 6.2", id="AMD"),
    ],
)
def test_a_gpu_is_described_by_name_driver_and_memory(
    library: Nvml | None, hip: str | None, driver: str, gpu: pytest.MonkeyPatch
) -> None:
    gpu.setattr(torch.version, "hip", hip)
    gpu.setattr(hardware, "load_library", lambda name: library)
    assert name_device(GPU) == f"NVIDIA H100 80GB HBM3, {driver}, 85 GB"
