"""A compiled network gives the numbers of the plain one, whatever the sizes; where it cannot be compiled it says so."""

import logging
import shutil

import numpy as np
import pytest
import torch

from lls_decode.config import ComputeConfig, NetworkConfig
from lls_decode.errors import ConfigError
from lls_decode.localize.arithmetic import warn_of_slow_arithmetic
from lls_decode.localize.compilation import WORTH_PX, compile_network, is_compiled
from lls_decode.model.network import LocNet

CPU = torch.device("cpu")
SIZES = ((5, 24, 32), (3, 24, 32), (1, 24, 32), (4, 16, 20), (5, 24, 32))
"""Frames, rows and columns: a full batch, a last one, a single frame, a tile at the edge."""


def make_network(**changes: object) -> LocNet:
    torch.manual_seed(3)
    config = NetworkConfig.model_validate({"filters": 4, "context": "plane", "shift_px": 2, **changes})
    return LocNet(config).eval().to(memory_format=torch.channels_last)


@torch.inference_mode()
def outputs(network: LocNet, size: tuple[int, int, int], dtype: torch.dtype | None = None) -> torch.Tensor:
    frames = torch.from_numpy(np.random.default_rng(size[0]).normal(size=size).astype("f4"))
    this = torch.arange(size[0])
    windows = torch.stack([(this - 1).clamp_min(0), this, (this + 1).clamp_max(size[0] - 1)], dim=1)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        return torch.stack(list(network.decode(network.encode(frames), windows)))


def words_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("lls_decode")]


def check_same_numbers(compiled: LocNet, plain: LocNet, *, rounding: float = 1e-5) -> None:
    for size in SIZES:
        torch.testing.assert_close(outputs(compiled, size), outputs(plain, size), rtol=0, atol=rounding)
    lower, exact = (outputs(network, SIZES[0], torch.bfloat16) for network in (compiled, plain))
    torch.testing.assert_close(lower, exact, rtol=0, atol=0.05)
    assert not torch.equal(lower, outputs(plain, SIZES[0]))  # it was in 16 bits


@pytest.mark.parametrize("variant", ["published", "light"])
def test_numbers_are_those_of_the_plain_network(variant: str, caplog: pytest.LogCaptureFixture) -> None:
    """As torch captures it, with what it does for other sizes; machine code is made in the slow test."""
    network = make_network(variant=variant)
    compile_network(network, required=True, backend="eager")
    check_same_numbers(network, make_network(variant=variant))
    assert not words_of(caplog)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # torch's own
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler (g++) is installed here")
def test_machine_code_gives_the_same_numbers() -> None:
    network = make_network()
    compile_network(network, required=True)
    check_same_numbers(network, make_network(), rounding=2e-4)  # of sums in another order, over some twenty layers


def no_compiler(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> None:
    raise OSError("no compiler is installed")


def test_what_cannot_be_compiled_is_computed_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    network = make_network()
    compile_network(network, backend=no_compiler)
    with caplog.at_level(logging.WARNING):
        check_same_numbers(network, make_network())
    words = words_of(caplog)
    assert len(words) == 3  # of the frames, of the windows, and of the probability
    assert all("cannot be compiled here" in line and "no compiler is installed" in line for line in words)


def test_where_it_is_asked_for_it_is_an_error() -> None:
    network = make_network()
    compile_network(network, required=True, backend=no_compiler)
    with pytest.raises(ConfigError, match=r"compute\.compile is on, but .*no compiler is installed.*auto or off"):
        outputs(network, SIZES[0])


def test_errors_of_the_network_itself_pass() -> None:
    network = make_network()
    compile_network(network, backend="eager")
    with pytest.raises(RuntimeError, match="channels"), torch.inference_mode():
        network.decode(torch.zeros(2, 5, 8, 8), torch.zeros(2, 3, dtype=torch.int64))


def test_who_compiles() -> None:
    gpu = torch.device("cuda")
    assert is_compiled(True, CPU, 1)
    assert not is_compiled(False, gpu, WORTH_PX)
    assert not is_compiled("auto", gpu, WORTH_PX - 1)
    assert not is_compiled("auto", CPU, WORTH_PX)


def test_no_word_where_nothing_is_imitated(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_slow_arithmetic(ComputeConfig(dtype="float32"), CPU)
        warn_of_slow_arithmetic(ComputeConfig(dtype="bfloat16"), torch.device("cuda"))
    assert not caplog.records
