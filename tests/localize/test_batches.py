"""Batches that do not fit into memory are halved, with a warning and without a change of results."""

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

from lls_decode.config import CPU_BATCH_PX
from lls_decode.errors import PlanError
from lls_decode.localize.batches import BatchSize, default_batch_px, is_out_of_memory

FITTING = 3


def work(items: np.ndarray, factor: int) -> np.ndarray:
    if len(items) > FITTING:
        torch.empty(1 << 60, dtype=torch.uint8)  # the allocator's own error
    return items * factor


def test_a_batch_is_halved_until_it_fits(caplog: pytest.LogCaptureFixture) -> None:
    batch = BatchSize(20 * 100)
    done: list[int] = []
    with caplog.at_level(logging.WARNING):
        while len(done) < 17:
            result, count = batch.attempt(work, np.arange(17)[len(done) :], 100, 2)
            done += result.tolist()
            assert count == len(result)
    assert done == list(range(0, 34, 2))
    assert batch.px == 2 * 100, "sizes 17, 8 and 4 fail, and the size that fits is kept"
    assert [record.args[0] for record in caplog.records if record.args] == [17, 8, 4]
    assert "not enough memory" in caplog.text or "can't allocate memory" in caplog.text


def test_the_number_of_frames_per_batch_depends_on_their_size() -> None:
    batch = BatchSize(1000)
    assert [batch.attempt(len, range(50), px)[1] for px in (10, 100, 600, 5000)] == [50, 10, 1, 1]


def test_a_single_frame_that_does_not_fit_is_an_error() -> None:
    def nothing_fits(items: np.ndarray) -> None:
        raise MemoryError

    with pytest.raises(PlanError, match=r"of 4096 pixels does not fit .* set compute\.tile_px"):
        BatchSize(10**6).attempt(nothing_fits, np.arange(8), 4096)


def test_other_errors_are_not_retried() -> None:
    calls = []

    def wrong(items: np.ndarray) -> None:
        calls.append(len(items))
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        BatchSize(10**6).attempt(wrong, np.arange(8), 10)
    assert calls == [8]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), id="CUDA"),
        pytest.param(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), id="cuDNN"),
        pytest.param(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), id="cuBLAS"),
        pytest.param(MemoryError(), id="numpy"),
    ],
)
def test_out_of_memory_errors_of_all_allocators_are_recognized(error: RuntimeError | MemoryError) -> None:
    assert is_out_of_memory(error)


def test_a_cpu_has_a_fixed_batch_size() -> None:
    assert default_batch_px(torch.device("cpu"), 48) == CPU_BATCH_PX


@pytest.mark.gpu
def test_the_batch_size_of_a_gpu_follows_its_free_memory() -> None:
    device = torch.device("cuda")
    free_bytes, _ = torch.cuda.mem_get_info(device)
    assert CPU_BATCH_PX <= default_batch_px(device, 48) * 48 <= max(free_bytes, 48 * CPU_BATCH_PX)


SCRIPT = """
import json, logging, resource, sys
import numpy as np
import torch
from lls_decode.axes import Layout
from lls_decode.config import ComputeConfig, RunConfig
from lls_decode.localize import build_localizer
from lls_decode.model.info import read_bundle_info
from lls_decode.models import find_bundle

messages = []
logging.getLogger("lls_decode").addHandler(handler := logging.Handler())
handler.emit = lambda record: messages.append(record.getMessage())
bundle = find_bundle("lls-paint")
info = read_bundle_info(bundle)
side, frames = 64, 24
adu = np.random.default_rng(0).poisson(40, (frames, side, side)).astype(np.uint16) + 100
adu[:, 8::16, 8::16] += 900
windows = np.clip(np.arange(frames)[:, None] + [-1, 0, 1], 0, frames - 1)

def find(batch_px):
    compute = ComputeConfig(device="cpu", batch_px=batch_px, threads=1)
    config = RunConfig(camera=info.camera, pixel_size=info.pixel_size, compute=compute)
    return build_localizer(bundle, config, Layout(1, frames, side, side)).find(adu, windows)

expected = find(2 * side * side)
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (40 << 20), resource.RLIM_INFINITY))
found = find(frames * side * side)
same = [bool(np.allclose(getattr(found, name), getattr(expected, name), atol=1e-4)) for name in vars(expected)]
print(json.dumps({"expected": len(expected), "found": len(found), "same": same, "messages": messages}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the address space exist on Linux only")
def test_a_process_short_of_memory_continues_with_smaller_batches() -> None:
    """A process whose address space is nearly used up runs the shipped network with equal results."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["found"] == result["expected"] > 100
    assert all(result["same"])
    assert any("do not fit into memory" in message for message in result["messages"]), result["messages"]
