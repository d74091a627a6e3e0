"""The table of a run is bit-identical however the work is split into threads, batches, tiles and blocks.

The shipped models run on simulated frames with spots on a background.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch

import lls_decode as lls
from lls_decode.model.hardware import has_units
from lls_decode.model.layers import ExactELU, in_whole_vectors

LIGHT = Path(__file__).resolve().parents[2] / "benchmarks" / "accuracy" / "light.lls"
HEIGHT, WIDTH, PLANES = 118, 106, 3
"""Size of the frames, deliberately no multiple of 4, of a tile or of a vector."""
CUTS = {
    "two threads": {"compute.threads": 2},
    "three threads": {"compute.threads": 3},
    "small batches": {"compute.threads": 3, "compute.batch_px": 2 * HEIGHT * WIDTH},
    "tiles": {"compute.threads": 2, "compute.tile_px": 48},
    "tiles in small batches": {"compute.threads": 3, "compute.tile_px": 96, "compute.batch_px": 21_000},
    "blocks": {"compute.threads": 1, "execution.block_frames": 3},
    "blocks, tiles and batches": {"execution.block_frames": 7, "compute.tile_px": 64, "compute.batch_px": 30_000},
}
bfloat16 = pytest.param("bfloat16", marks=pytest.mark.skipif(not has_units("bfloat16"), reason="has to emulate"))


@pytest.fixture(scope="module")
def frames() -> npt.NDArray[np.uint16]:
    rng = np.random.default_rng(2)
    light = np.full((9, HEIGHT, WIDTH), 60.0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for frame in light:
        for _ in range(40):
            at_y, at_x, sigma = rng.uniform(0, HEIGHT), rng.uniform(0, WIDTH), rng.uniform(1.2, 2.2)
            spot = np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
            frame += rng.uniform(300, 3000) * spot
    return (rng.poisson(light) * 2.2 + 100).astype(np.uint16)


@pytest.fixture(autouse=True)
def threads_as_before() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def localize(frames: npt.NDArray[np.uint16], model: str, dtype: str, **cut: int) -> pa.Table:
    config = {"compute.device": "cpu", "compute.dtype": dtype, "input.planes_per_volume": PLANES, "compute.threads": 1}
    return lls.localize(frames, model, config=config | cut).replace_schema_metadata(None)


@pytest.mark.parametrize("dtype", ["float32", bfloat16])
@pytest.mark.parametrize("model", ["lls-paint", str(LIGHT)], ids=["lls-paint", "light"])
def test_a_table_does_not_depend_on_how_the_work_is_split(
    frames: npt.NDArray[np.uint16], model: str, dtype: str
) -> None:
    whole = localize(frames, model, dtype)
    assert whole.num_rows > 100
    for name, cut in CUTS.items():
        assert localize(frames, model, dtype, **cut).equals(whole), name


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(3, 4, 20, 12), (1, 4, 4, 4), (5, 48, 118, 106), (7,), (2, 131, 1009), (0, 8, 4, 4)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_elementwise_functions_give_equal_values_at_every_position(
    shape: tuple[int, ...], threads: int, layout: torch.memory_format
) -> None:
    """Each value is computed as in the middle of a full vector, which the expected value comes from."""
    if layout == torch.channels_last and len(shape) != 4:
        pytest.skip("four dimensions only")
    torch.set_num_threads(threads)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=layout)
    samples = x.flatten()[:: max(1, x.numel() // 50_000)]
    filled = samples[:, None].repeat(1, 128)
    with torch.inference_mode():
        for function, alone in ((ExactELU(), torch.nn.functional.elu), (sigmoid, torch.sigmoid)):
            found = function(x.clone(memory_format=layout)).flatten()[:: max(1, x.numel() // 50_000)]
            expected = torch.cat([alone(part)[:, 64] for part in filled.split(128)]) if len(filled) else found
            assert torch.equal(found, expected)


def sigmoid(x: torch.Tensor) -> torch.Tensor:
    return in_whole_vectors(torch.sigmoid_, x)
