"""Compare ways to compute the network on a GPU; `gpu.py --only engine` runs this comparison.

The ways are the plain network, its rearranged form (`lls_decode/model/fast.py`), both also compiled by `torch.compile`,
and Triton kernels (`triton_graph.py`).

The first round measures every way for the full network and for a light one, with small frames in float16. The second
round measures the two best ways of each network with other sizes of frames, and in bfloat16. A way is excluded, with
the reason, if it fails or if its detections differ from those of the plain network. Results are yielded as soon as
they are available. No case starts that would end after the deadline, judged by earlier cases compiled in the same mode.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from random_model import count_work, make_localizer
from torch import Tensor

from lls_decode.axes import NetworkVariant
from lls_decode.localize import Localizer, detect
from lls_decode.localize.compilation import compile_network
from lls_decode.model.fast import use_fast_graph
from lls_decode.model.network import LocNet

NETWORKS: tuple[tuple[NetworkVariant, int], ...] = (("published", 48), ("light", 64))
TOLERANCE = 0.01
"""Allowed loss of agreement with the detections in float32, compared with the plain network in the same type.

With random weights, probabilities are close to the threshold everywhere, so that some detections always differ. Three
standard errors of their number are allowed in addition. Trained models are checked against the limits of
`accuracy/precision.py`.
"""
MODES = {"compiled": None, "CUDA graphs": "reduce-overhead", "max-autotune": "max-autotune-no-cudagraphs"}
"""Modes of `torch.compile`; the slowest one comes last, so that the others have been measured when time runs out."""
WAYS: dict[str, tuple[str, str | None]] = {
    "plain": ("plain", None),
    "fast": ("fast", None),
    "triton": ("triton", None),
    **{f"{graph}, {mode}": (graph, mode) for mode in MODES for graph in ("plain", "fast")},
}
"""Graph of each way, and the mode in which it is compiled (None: not compiled)."""
SIDES = (64, 256, 512, 1024, 2048)
PX = 1 << 23
"""Number of pixels in each case."""


def tournament(device: torch.device, scale: float, floor: Callable[..., float], minutes: float) -> Iterator[Any]:
    """Yield a line for each case, then one for the winner of each network.

    Parameters
    ----------
    floor
        Function that returns the least possible seconds per pixel on the device, from FLOP per pixel, values per pixel
        and bytes per value.
    """
    end = time.monotonic() + 60 * minutes
    for variant, filters in NETWORKS:
        filters = filters if scale == 1 else 8
        usual = {"variant": variant, "filters": filters, "side": SIDES[0], "dtype": "float16"}
        if device.type == "cpu":
            usual["dtype"] = "bfloat16"  # float16 is slow on CPUs
        network_end = time.monotonic() + (end - time.monotonic()) / (2 if variant == NETWORKS[0][0] else 1)
        lines: list[dict[str, Any]] = []
        took_s: dict[str | None, float] = {}
        for way, (_, mode) in WAYS.items():
            lines.append(run_case(device, {**usual, "way": way}, scale, floor, network_end - took_s.get(mode, 0.0)))
            took_s[mode] = lines[-1].get("took_s", took_s.get(mode, 0.0))
            yield lines[-1]
        ranked = sorted((line for line in lines if line.get("passes")), key=lambda line: -line["whole_mpx_per_s"])
        for side in SIDES if scale == 1 else SIDES[:1]:
            for dtype in ("float16", "bfloat16") if scale == 1 else ("float32",):
                for line in ranked[:2]:
                    case = {**usual, "way": line["way"], "side": side, "dtype": dtype}
                    if case != {**usual, "way": line["way"]}:
                        yield run_case(device, case, scale, floor, network_end - line["took_s"])
        yield {
            "what": "winner",
            "variant": variant,
            "filters": filters,
            "way": ranked[0]["way"] if ranked else None,
            "whole_mpx_per_s": ranked[0]["whole_mpx_per_s"] if ranked else None,
            "share_of_floor": ranked[0]["share_of_floor"] if ranked else None,
            "slower": {line["way"]: round(line["whole_mpx_per_s"], 2) for line in ranked[1:]},
            "failed": {line["way"]: line.get("failed", "detections differ") for line in lines if line not in ranked},
        }


def run_case(
    device: torch.device, case: dict[str, Any], scale: float, floor: Callable[..., float], end: float
) -> dict[str, Any]:
    """Measure one case, and return its line, which names the error if the case fails."""
    if time.monotonic() > end:
        return {**case, "failed": "no time was left"}
    frames = max(4, int(PX * scale) // case["side"] ** 2)
    began = time.monotonic()
    try:
        rates = measure(device, frames=frames, **case)
    except Exception as error:  # compilers raise errors of many types
        return {**case, "failed": f"{type(error).__name__}: {error}"[:300], "took_s": time.monotonic() - began}
    flop_per_px, values_per_px = count_work(case["filters"], case["variant"])
    floor_s = floor(flop_per_px, values_per_px, 4 if case["dtype"] == "float32" else 2)
    share = rates["whole_mpx_per_s"] * 1e6 * floor_s
    return {**case, "frames": frames, **rates, "share_of_floor": share, "took_s": time.monotonic() - began}


def measure(
    device: torch.device, *, variant: NetworkVariant, filters: int, side: int, frames: int, dtype: str, way: str
) -> dict[str, Any]:
    """Return the Mpx/s of the parts and of the whole path, and the agreement of the detections with float32."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = dtype != "float32"
    localizer = make_localizer(device, filters, dtype, 1 << 22, side, variant=variant)
    network = localizer.bundle.network
    adu = np.random.default_rng(0).poisson(30, (frames, side, side)).astype(np.uint16) + 100
    this = np.arange(frames)
    windows = np.clip(this[:, None] + np.array([-1, 0, 1]), 0, frames - 1)
    few = slice(0, max(1, min(frames, (1 << 19) // side**2)))
    expected = found_pixels(
        make_localizer(device, filters, "float32", 1 << 20, side, variant=variant), adu, windows[few]
    )
    usual = share_of_equals(found_pixels(localizer, adu, windows[few]), expected)
    prepare(network, way, getattr(torch, dtype))
    began = time.perf_counter()
    found = found_pixels(localizer, adu, windows[few])
    first_s = time.perf_counter() - began
    same = share_of_equals(found, expected)
    by_chance = 3 * ((1 - usual) / max(1, len(expected))) ** 0.5
    batch = max(4, min(frames, (1 << 22) // side**2))
    inputs = torch.randn(batch, side, side, device=device)
    inside = torch.arange(batch, device=device)
    triples = torch.stack([(inside - 1).clamp_min(0), inside, (inside + 1).clamp_max(batch - 1)], dim=1)
    pixels, whole = batch * side**2 * 1e-6, frames * side**2 * 1e-6
    repeats = 10 if device.type == "cuda" else 1
    with torch.inference_mode():
        with torch.autocast(device.type, dtype=getattr(torch, dtype), enabled=dtype != "float32"):
            features = network.encode(inputs)
            encode_s = seconds(lambda: network.encode(inputs), device, repeats)
            decode_s = seconds(lambda: network.decode_sparsely(features, triples), device, repeats)
            maps = network.decode_sparsely(features, triples)
        detect_s = seconds(lambda: detect(maps, localizer.rule), device, repeats)
        whole_s = seconds(lambda: localizer.find(adu, windows), device, min(3, repeats))
    return {
        "encode_mpx_per_s": pixels / encode_s,
        "decode_mpx_per_s": pixels / decode_s,
        "detect_mpx_per_s": pixels / detect_s,
        "whole_mpx_per_s": whole / whole_s,
        "first_s": first_s,
        "same_detections": same,
        "same_detections_plain": usual,
        "passes": same >= usual - TOLERANCE - by_chance,
        "peak_device_GB": torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0,
    }


def prepare(network: LocNet, way: str, dtype: torch.dtype) -> None:
    """Modify a network in place so that it is computed in one of the ways."""
    graph, mode = WAYS[way]
    if graph == "fast":
        use_fast_graph(network, dtype)
    if graph == "triton":
        from triton_graph import use_triton_graph  # fails where triton is not installed

        use_triton_graph(network, dtype)
    if mode is None:
        return
    compile_network(network, required=True, mode=MODES[mode])
    if mode == "CUDA graphs":
        network.wrap_parts(kept)


def kept(part: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function that copies the result of a replayed graph, because the next replay overwrites it."""

    def call(*arguments: Any) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return part(*arguments).clone()

    return call


def share_of_equals(one: set[tuple[int, int, int]], other: set[tuple[int, int, int]]) -> float:
    """Return the Jaccard index of two sets of detections."""
    return len(one & other) / max(1, len(one | other))


def found_pixels(localizer: Localizer, adu: np.ndarray, windows: np.ndarray) -> set[tuple[int, int, int]]:
    """Return window, row and column of all detections."""
    found = localizer.find(adu[: int(windows.max()) + 1], windows)
    return set(zip(found.window.tolist(), found.y_px.tolist(), found.x_px.tolist(), strict=True))


def seconds(work: Callable[[], Any], device: torch.device, repeats: int = 10) -> float:
    """Return the median time of one call, after two calls for warming up (one on a CPU)."""
    warm, taken = (2 if device.type == "cuda" else 1), []
    for _ in range(repeats + warm):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[warm:])
