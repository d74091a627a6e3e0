"""Triton kernels give the outputs of the plain network for all sizes, shifts and edges, computed by the interpreter.

Triton must be told to interpret kernels before it is imported. Therefore one test runs the others in a process with
``TRITON_INTERPRET=1``.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lls_decode.model.bundle import load_bundle
from lls_decode.model.fast import use_fast_graph
from lls_decode.model.network import LocNet, shift_features
from lls_decode.models import find_bundle
from tests.model.test_fast import LIGHT, NETWORKS, make_network, outputs, windows_of

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
IS_INSTALLED = importlib.util.find_spec("triton") is not None
IS_INTERPRETED = IS_INSTALLED and os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not IS_INTERPRETED, reason="needs triton (pip install triton) and TRITON_INTERPRET=1")
compiled = pytest.mark.skipif(IS_INTERPRETED, reason="TRITON_INTERPRET=1 is set")
installed = pytest.mark.skipif(not IS_INSTALLED, reason="triton is not installed (pip install triton)")
SIXTEEN_BITS = (torch.float16, torch.bfloat16)
SIZES = ((3, 12, 20), (1, 8, 4))
"""Numbers of frames, rows and columns. The first fill one tile of pixels and a part of another; shifts of `NETWORKS`
exceed both sides of the last."""


@pytest.fixture
def triton_graph(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import triton_graph

    return triton_graph


@compiled
@installed
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("marker", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_the_other_tests_pass_in_the_interpreter(marker: str) -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marker, __file__]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@compiled
def test_the_tournament_names_the_reason_where_triton_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import tournament

    case = {"variant": "light", "filters": 4, "side": 16, "dtype": "float32", "way": "triton"}
    line = tournament.run_case(torch.device("cpu"), case, 1e-4, lambda *_: 0.0, float("inf"))
    assert line["failed"] == (
        "RuntimeError: Triton kernels need a GPU, but the network is on the device cpu"
        if IS_INSTALLED
        else "ModuleNotFoundError: No module named 'triton'"
    )


@compiled
@installed
@pytest.mark.parametrize(
    ("capability", "instruction", "dtype"), [(80, "mma.sync", torch.float16), (90, "wgmma", torch.bfloat16)]
)
def test_kernels_compile_for_gpus_and_use_their_matrix_units(
    capability: int,
    instruction: str,
    dtype: torch.dtype,
    triton_graph: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Compiling needs no GPU, and checks types that the interpreter ignores."""
    import triton
    from triton.backends.compiler import GPUTarget

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")  # Triton 3.9 warns where this is unset
    function, calls = triton_graph._conv_kernel.fn, []

    class Recorder:
        def __getitem__(self, grid: object) -> Callable[..., None]:
            return lambda *arguments, **constants: calls.append((arguments, constants))

    monkeypatch.setattr(triton_graph, "_conv_kernel", Recorder())
    layers, network = triton_graph.TritonLayers(dtype), make_network("published", context="plane", shift_px=3)
    x, low = make_map((3, 48, 8, 12), dtype), make_map((3, 48, 4, 6), dtype)
    layers.elu(make_conv(48, 48, dtype, kernel_size=3, padding=1))(x)
    layers.up(make_conv(96, 48, dtype, kernel_size=3, padding=1))(x, low)
    layers.windows(network, make_conv(144, 48, dtype, kernel_size=3, padding=1))(x, windows_of(3))
    assert len(calls) == 3
    types = {torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.int64: "*i64"}
    for arguments, constants in calls:
        constants.update(zip(("PIXELS", "CHANNELS", "TERMS"), triton_graph.TILES[2], strict=False))
        kinds = [types[value.dtype] if isinstance(value, Tensor) else "i32" for value in arguments]
        signature = dict(zip(function.arg_names, kinds, strict=False)) | dict.fromkeys(constants, "constexpr")
        source = triton.compiler.ASTSource(function, signature, constants)
        assert instruction in triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["ptx"]


@interpreted
@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("variant", ["published", "light"])
@pytest.mark.parametrize("changes", NETWORKS.values(), ids=NETWORKS.keys())
def test_triton_kernels_give_the_outputs_of_the_plain_network(
    changes: dict[str, object], variant: str, size: tuple[int, int, int], triton_graph: ModuleType
) -> None:
    plain, found = make_network(variant, **changes), make_network(variant, **changes)
    triton_graph.use_triton_graph(found, torch.float32)
    check_equal(plain, found, size)


@interpreted
@pytest.mark.slow
@pytest.mark.parametrize("model", ["lls-paint", str(LIGHT)])
def test_triton_kernels_give_the_outputs_of_shipped_models(model: str, triton_graph: ModuleType) -> None:
    plain, found = (load_bundle(find_bundle(model)).network for _ in range(2))
    triton_graph.use_triton_graph(found, torch.float32)
    check_equal(plain, found, SIZES[0])


@interpreted
@pytest.mark.slow
@pytest.mark.parametrize("dtype", SIXTEEN_BITS)
@pytest.mark.parametrize("variant", ["published", "light"])
def test_a_network_of_triton_kernels_computes_in_16_bits(
    variant: str, dtype: torch.dtype, triton_graph: ModuleType
) -> None:
    """The outputs are as close to those in float32 as the outputs of the rearranged network."""
    plain, fast, found = (make_network(variant, **NETWORKS["planes"]) for _ in range(3))
    use_fast_graph(fast, dtype)
    triton_graph.use_triton_graph(found, dtype)
    _, expected = outputs(plain, SIZES[0])
    with torch.autocast("cpu", dtype=dtype):  # for the heads that these graphs do not replace
        (features, maps), (_, usual) = outputs(found, SIZES[0]), outputs(fast, SIZES[0])
    assert features.dtype == dtype
    assert maps.dtype == torch.float32
    error, usual_error = ((values - expected).abs().mean() for values in (maps, usual))
    assert 0 < error < 1.1 * usual_error


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, *SIXTEEN_BITS])
@pytest.mark.parametrize(
    ("channels", "filters", "options"),
    [
        (1, 7, {"kernel_size": 3, "padding": 1}),
        (5, 20, {"kernel_size": 3, "padding": 1}),
        (6, 3, {"kernel_size": 3, "padding": 2, "dilation": 2}),
        (9, 17, {"kernel_size": 2, "stride": 2}),
        (40, 1, {"kernel_size": 1}),
    ],
    ids=["one channel", "several tiles of channels", "dilated", "by two pixels", "one tap"],
)
def test_a_convolution_is_rounded_once(
    channels: int, filters: int, options: dict[str, int], dtype: torch.dtype, triton_graph: ModuleType
) -> None:
    layers, conv = triton_graph.TritonLayers(dtype), make_conv(channels, filters, dtype, **options)
    x = make_map((3, channels, 10, 14), dtype)
    expected = conv(x.float())
    check_rounded(layers.conv(conv)(x), expected, dtype)
    check_rounded(layers.elu(conv)(x), F.elu(expected), dtype)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, *SIXTEEN_BITS])
def test_a_convolution_of_a_map_and_a_doubled_map_is_rounded_once(dtype: torch.dtype, triton_graph: ModuleType) -> None:
    conv = make_conv(12, 5, dtype, kernel_size=3, padding=1)
    high, low = make_map((3, 6, 10, 14), dtype), make_map((3, 6, 5, 7), dtype)
    joined = torch.cat([high, F.interpolate(low, scale_factor=2.0, mode="nearest")], dim=1)
    check_rounded(triton_graph.TritonLayers(dtype).up(conv)(high, low), F.elu(conv(joined.float())), dtype)


@interpreted
@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize(
    ("shift", "dtype"),
    [(shift, torch.float32) for shift in (0, 1, -1, 3, -3, 9, -9, 10, -40)] + [(3, dtype) for dtype in SIXTEEN_BITS],
)
def test_a_convolution_of_the_frames_of_windows_is_rounded_once(
    shift: int, axis: str, dtype: torch.dtype, triton_graph: ModuleType
) -> None:
    network = make_network("published", context="plane", shift_px=shift, shift_axis=axis)
    conv, x, windows = make_conv(24, 5, dtype, kernel_size=3, padding=1), make_map((4, 8, 10, 10), dtype), windows_of(4)
    x = x.float()

    def neighbour(place: int, shift_px: int) -> Tensor:
        """Return a map for each window: the frame itself, or a shifted neighbour."""
        moved = shift_features(x, shift_px, axis)
        return torch.stack([(x if window[place] == window[1] else moved)[window[place]] for window in windows])

    joined = torch.cat([neighbour(0, -shift), x[windows[:, 1]], neighbour(2, shift)], dim=1)
    layer = triton_graph.TritonLayers(dtype).windows(network, conv)
    check_rounded(layer(x.to(dtype), windows), F.elu(conv(joined)), dtype)


def check_equal(plain: LocNet, found: LocNet, size: tuple[int, int, int]) -> None:
    for expected, value in zip(outputs(plain, size), outputs(found, size), strict=True):
        assert expected.std() > 0.05
        torch.testing.assert_close(value, expected, rtol=2e-5, atol=2e-5 * float(expected.abs().max()))


def check_rounded(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Compare values with those in float32, which may be rounded once to ``dtype``."""
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0.505 * torch.finfo(dtype).eps, atol=1e-5)


@torch.no_grad()
def make_conv(channels: int, filters: int, dtype: torch.dtype, **options: int) -> nn.Conv2d:
    """Return a float32 convolution whose weights and biases are numbers of ``dtype``."""
    torch.manual_seed(channels)
    return nn.Conv2d(channels, filters, **options).requires_grad_(False).to(dtype).float()


def make_map(size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(size[1])).to(dtype)
