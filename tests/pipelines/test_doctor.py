"""``doctor`` explains what is wrong; the tests cause each fault for real where possible."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from lls_decode.pipelines.doctor import Check, examine, examine_folder, examine_gpu
from lls_decode.pipelines.doctor.gpu import cards_in_machine, compare_cuda

H100 = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5e1c)"


def found(checks: Iterator[Check]) -> dict[str, tuple[str, str]]:
    return {check.name: (check.state, check.words) for check in checks}


# --- GPUs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that replaces nvidia-smi by a shell script."""
    if torch.cuda.is_available():
        pytest.skip("this machine's GPU works")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(script: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)

    return put


def test_torch_without_cuda_on_a_machine_with_a_gpu_is_reported(smi: Callable[[str], None]) -> None:
    if torch.version.cuda is not None:
        pytest.skip("torch is a CUDA build")
    smi(f"echo '{H100}'")
    state, words = found(examine_gpu())["gpu"]
    assert (state, words.startswith("GPU 0: NVIDIA H100 80GB HBM3, but torch")) == ("wrong", True)
    assert "is a CPU build; install a CUDA build of torch" in words
    assert "UUID" not in words


def test_driver_that_does_not_work_is_reported(smi: Callable[[str], None]) -> None:
    smi("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    state, words = found(examine_gpu())["gpu"]
    assert (state, "nvidia-smi sees no GPU: Failed to initialize NVML: Driver/library" in words) == ("wrong", True)


def test_hidden_gpus_are_noted(smi: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    smi(f"echo '{H100}'")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert found(examine_gpu())["gpu"] == (
        "note",
        "hidden (CUDA_VISIBLE_DEVICES is ''); the network runs on the CPU",
    )


def add_card(bus: Path, vendor: str, kind: str) -> None:
    device = bus / f"0000:0{len(list(bus.iterdir()))}:00.0"
    device.mkdir()
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")


@pytest.mark.parametrize(
    ("hip", "words"),
    [
        (
            None,
            "this machine has 1 AMD GPU, but torch {torch} is built without ROCm; if ROCm supports it, install such",
        ),
        ("6.2", "this machine has 1 AMD GPU, but torch (ROCm 6.2) sees no GPU; check that ROCm supports it, and that"),
    ],
)
def test_a_gpu_of_amd_that_torch_does_not_see_is_noted(
    hip: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine's GPU works")
    bus = tmp_path / "devices"
    bus.mkdir()
    add_card(bus, "0x1002", "0x030000")
    add_card(bus, "0x1002", "0x040300")  # the sound of the same card
    monkeypatch.setattr("lls_decode.pipelines.doctor.gpu.PCI", bus)
    monkeypatch.setattr("lls_decode.pipelines.doctor.gpu.ask_driver", lambda: None)
    monkeypatch.setattr(torch.version, "hip", hip)
    state, said = found(examine_gpu())["gpu"]
    assert (state, said.startswith(words.format(torch=torch.__version__))) == ("note", True), said
    assert "; the network runs on the CPU, in " in said


def test_a_working_gpu_of_amd_is_reported_with_rocm_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch calls GPUs of AMD ``cuda``; the calls to the GPU are replaced here."""
    about = SimpleNamespace(name="AMD Instinct MI300X", total_memory=206_000_000_000)
    ones = torch.ones(1)
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_name": lambda index: about.name,
        "get_device_properties": lambda device: about,
        "is_bf16_supported": lambda including_emulation: True,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch, "ones", lambda *_, **__: ones)
    monkeypatch.setattr(torch.version, "hip", "6.2")
    state, words = found(examine_gpu())["gpu"]
    assert state == "ok"
    assert words == (
        f"AMD Instinct MI300X, HIP 6.2, 206 GB, torch {torch.__version__} for ROCm 6.2; computes in float16 "
        "(compute.dtype: auto)"
    )


def test_the_gpu_of_a_mac_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine's GPU works")
    monkeypatch.setattr("lls_decode.pipelines.doctor.gpu.ask_driver", lambda: None)
    monkeypatch.setattr("lls_decode.pipelines.doctor.gpu.cards_in_machine", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    state, words = found(examine_gpu())["gpu"]
    assert state == "note"
    assert words.startswith("the GPU of this Mac (MPS) is not used: the network is not tested on it; the network runs")


@pytest.mark.parametrize(
    ("has", "words"),
    [
        ("11.8", "its driver supports CUDA up to 11.8, but torch is built for CUDA 12.6; install a newer driver"),
        ("12.4", "driver (CUDA 12.4) and torch (CUDA 12.6) are compatible; check that you may access the"),
        (None, "it is built for CUDA 12.6; install a newer driver, or a torch for an older CUDA"),
    ],
)
def test_cuda_versions_of_driver_and_torch_are_compared(
    has: str | None, words: str, smi: Callable[[str], None]
) -> None:
    smi(f"echo 'CUDA Version                              : {has}'" if has else "exit 9")
    assert compare_cuda("12.6").startswith(words)


def test_graphics_cards_are_counted_without_their_driver(tmp_path: Path) -> None:
    for number, (vendor, kind) in enumerate([("0x10de", "0x030200"), ("0x10de", "0x040300"), ("0x8086", "0x030000")]):
        device = tmp_path / f"0000:0{number}:00.0"
        device.mkdir()
        device.joinpath("vendor").write_text(f"{vendor}\n")
        device.joinpath("class").write_text(f"{kind}\n")
    assert cards_in_machine(tmp_path) == 1
    assert cards_in_machine(tmp_path / "none") == 0


# --- the output folder ------------------------------------------------------------------------------------------------


def test_good_folder_passes(tmp_path: Path) -> None:
    """For a folder that does not exist yet, the nearest existing parent is checked; no file is left behind."""
    checks = found(examine_folder(tmp_path / "not" / "yet"))
    assert checks["rename"] == ("ok", "renames are atomic, also while the file is being read")
    assert f"MB/s written to {tmp_path}" in checks["folder"][1]
    assert list(tmp_path.iterdir()) == []


def test_slow_disk_is_noted(tmp_path: Path) -> None:
    """An unrealistically high limit makes this disk count as slow."""
    state, words = found(examine_folder(tmp_path, slow_mb_per_s=1e6))["folder"]
    assert (state, words.endswith("; slow (under 1e+06)")) == ("note", True)


@pytest.mark.posix("file systems do not report their number of files")
def test_little_space_and_few_inodes_are_reported(mount_disk: Callable[[str], Path]) -> None:
    checks = found(examine_folder(mount_disk("size=2m,nr_inodes=20")))
    assert (checks["space"][0], "little: merging the shards of a run" in checks["space"][1]) == ("wrong", True)
    assert (checks["files"][0], checks["files"][1].startswith("19 more files can be created")) == ("wrong", True)
    assert (checks["folder"][0], "(No space left on device); free space" in checks["folder"][1]) == ("wrong", True)


def test_read_only_folder_is_reported(mount_disk: Callable[[str], Path]) -> None:
    state, words = found(examine_folder(mount_disk("ro")))["folder"]
    assert (state, "cannot be written (Read-only file system); give --out a folder" in words) == ("wrong", True)


def test_folder_in_which_files_cannot_be_replaced_is_reported(tmp_path: Path) -> None:
    """An append-only folder emulates a file system on which files cannot be replaced by renaming."""
    if shutil.which("chattr") is None or subprocess.run(["chattr", "+a", tmp_path], check=False).returncode:
        pytest.skip("this file system has no append-only folders")
    try:
        state, words = found(examine_folder(tmp_path))["rename"]
    finally:
        subprocess.run(["chattr", "-a", tmp_path], check=True)
    assert (state, "a finished file cannot replace another one (Operation not permitted)" in words) == ("wrong", True)


# --- all checks together ----------------------------------------------------------------------------------------------


def test_doctor_survives_a_check_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that raises an error becomes one finding, and all other checks still run."""

    def broken() -> Iterator[Check]:
        raise RuntimeError("the interpreter is gone")

    monkeypatch.setattr("lls_decode.pipelines.doctor.examine_worker", broken)
    checks = {check.name: check for check in examine(tmp_path)}
    assert checks["worker"] == Check("worker", "wrong", "RuntimeError: the interpreter is gone")
    assert [name for name, check in checks.items() if check.state == "wrong"] == ["worker"]
    assert checks.keys() >= {"python", "torch", "machine", "gpu", "space", "folder", "rename", "model"}
