"""A compiled network gives the outputs of the plain one for all sizes; a failed compilation is reported."""

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lls_decode.config import CompilationTarget, ComputeConfig, NetworkConfig
from lls_decode.errors import ConfigError
from lls_decode.localize.arithmetic import warn_of_slow_arithmetic
from lls_decode.localize.compilation import compile_network, find_compiled_code, find_record
from lls_decode.model.fast import use_fast_graph
from lls_decode.model.network import LocNet

CPU = torch.device("cpu")
SIZES = ((5, 24, 32), (3, 24, 32), (1, 24, 32), (4, 16, 20), (5, 24, 32))
"""Numbers of frames, rows and columns of a full batch, the last batch, a single frame and a tile at the edge."""


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
    assert not torch.equal(lower, outputs(plain, SIZES[0]))  # the computation used 16 bits


@pytest.mark.parametrize("variant", ["published", "light"])
def test_a_compiled_network_gives_the_outputs_of_the_plain_one(variant: str, caplog: pytest.LogCaptureFixture) -> None:
    """This test checks the graph that torch captures for all sizes; the slow test also generates machine code."""
    network = make_network(variant=variant)
    compile_network(network, required=True, backend="eager")
    check_same_numbers(network, make_network(variant=variant))
    assert not words_of(caplog)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # raised by torch itself
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler (g++) is installed here")
def test_generated_machine_code_gives_the_same_outputs() -> None:
    network = make_network()
    compile_network(network, required=True)
    check_same_numbers(network, make_network(), rounding=2e-4)  # sums in another order, over about twenty layers


def no_compiler(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> None:
    raise OSError("no compiler is installed")


def test_a_network_that_cannot_be_compiled_runs_uncompiled_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    network = make_network()
    compile_network(network, backend=no_compiler)
    with caplog.at_level(logging.WARNING):
        check_same_numbers(network, make_network())
    words = words_of(caplog)
    assert len(words) == 3  # one each for the frames, the windows and the probability
    assert all("cannot be compiled here" in line and "no compiler is installed" in line for line in words)


def test_a_failed_compilation_is_an_error_if_it_was_requested() -> None:
    network = make_network()
    compile_network(network, required=True, backend=no_compiler)
    with pytest.raises(ConfigError, match=r"compute\.compile is on, but .*no compiler is installed.*auto or off"):
        outputs(network, SIZES[0])


def test_errors_of_the_network_itself_are_raised() -> None:
    network = make_network()
    compile_network(network, backend="eager")
    with pytest.raises(RuntimeError, match="channels"), torch.inference_mode():
        network.decode(torch.zeros(2, 5, 8, 8), torch.zeros(2, 3, dtype=torch.int64))


@pytest.mark.parametrize("fast", [False, True])
def test_one_compilation_covers_all_batch_sizes_but_one(fast: bool) -> None:
    network, graphs = make_network(), []
    if fast:
        use_fast_graph(network, torch.float32)

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    compile_network(network, required=True, backend=backend)
    with torch.inference_mode():
        for frames, windows, expected in ((6, 6, 3), (6, 5, 3), (3, 2, 3), (9, 8, 3), (1, 1, 6), (8, 8, 6)):
            triples = torch.zeros(windows, 3, dtype=torch.int64)
            network.decode_sparsely(network.encode(torch.zeros(frames, 16, 20)), triples)
            assert len(graphs) == expected, (frames, windows)


TARGET = CompilationTarget(NetworkConfig(filters=4), 24, 32, 0)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_a_network_is_recorded_once_all_its_parts_are_compiled(cache: Path) -> None:
    network, record = make_network(), find_record(TARGET, "float32", CPU)
    compile_network(network, backend="eager", record=record)
    with torch.inference_mode():
        features = network.encode(torch.zeros(2, 8, 8))
        assert not record.exists()
        network.decode_sparsely(features, torch.zeros(2, 3, dtype=torch.int64))
    assert list(cache.iterdir()) == [record]


def test_a_network_that_cannot_be_compiled_is_not_recorded(cache: Path) -> None:
    network, record = make_network(), find_record(TARGET, "float32", CPU)
    compile_network(network, backend=no_compiler, record=record)
    outputs(network, SIZES[0])
    outputs(network, SIZES[0])
    assert not record.exists()


def test_a_record_that_cannot_be_written_does_not_stop_the_run(tmp_path: Path) -> None:
    network = make_network()
    compile_network(network, backend="eager", record=tmp_path / "absent" / "record")
    outputs(network, SIZES[0])


def test_records_differ_by_everything_that_the_compiled_code_depends_on(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = [
        TARGET,
        replace(TARGET, network=NetworkConfig(filters=8)),
        replace(TARGET, height=28),
        replace(TARGET, width=28),
        replace(TARGET, tile_px=16),
    ]
    records = {find_record(target, dtype, CPU) for target in targets for dtype in ("float32", "bfloat16")}
    monkeypatch.setattr(torch, "__version__", "3.0")
    records.add(find_record(TARGET, "float32", CPU))
    assert len(records) == 11


def test_compiled_code_is_found_on_gpus_only(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
    half, brain = (find_record(TARGET, dtype, gpu) for dtype in ("float16", "bfloat16"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert find_compiled_code(half, gpu) == "impossible"  # no Triton
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert find_compiled_code(half, gpu) == "absent"
    half.touch()
    assert find_compiled_code(half, gpu) == "cached"
    assert find_compiled_code(brain, gpu) == "absent"
    assert find_compiled_code(half, CPU) == "impossible"


def test_the_users_cache_folder_is_used_if_no_other_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert find_record(TARGET, "float32", CPU).parent == tmp_path / "lls-decode" / "compiled"


def test_no_warning_without_emulated_arithmetic(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_slow_arithmetic(ComputeConfig(dtype="float32"), CPU)
        warn_of_slow_arithmetic(ComputeConfig(dtype="bfloat16"), torch.device("cuda"))
    assert not caplog.records
