"""Compare the speed of the network on this machine as DECODE's authors run it and as lls_decode runs it.

    python benchmarks/engine.py [--side 64] [--frames 256] [--filters 48] [--repeats 3] [--only ours]

All cases use the same frames; ``authors`` and ``ours`` use the same weights. The values of ``way``:

authors        the authors' method with the layers of lls_decode, which equal theirs: NCHW, float32, every frame encoded
               for each of its three windows, batches of 8 to 64 windows. malloc is either at its default or set to keep
               freed memory (``tuned``).
their program  the authors' own network with random weights. This case needs a checkout of their program (branch master
               or release/0.10), whose path is in the environment variable DECODE_TREE. Only the files of the network
               are imported, so that their program does not have to be installed.
ours           lls_decode, from counts to the rows of a block: in two precisions, with several batch sizes, with light
               networks in place of the published one, and at three densities with the heads other than the probability
               evaluated either everywhere or at detections only.

``is_default`` marks the settings of a run without options on this machine. ``post_share`` is the share of the CPU time
for detection (including these heads) and for placing.

Each case runs in its own process, and all cases are repeated in turn. The program prints one JSON line per case with
the median of its runs, after its last run. ``cpu_s_per_mpx`` counts all threads and is the more stable figure on a
shared machine. The last line holds the ratios.
"""

import argparse
import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from random_model import DETECTIONS_PER_PX, make_localizer

from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.frames import FrameStack
from lls_decode.localize import localizer as engine
from lls_decode.localize.memory import keep_freed_memory
from lls_decode.model.hardware import native_dtypes
from lls_decode.model.network import LocNet

Case = dict[str, Any]
DEFAULT: Case = {"way": "ours", "batch_px": 1 << 16, "malloc": "tuned"}
"""Default settings of a run, except ``dtype``, whose default depends on the machine."""


def cases() -> list[Case]:
    authors: list[Case] = [
        {"way": way, "batch": batch, "malloc": malloc}
        for way in ("authors", *(["their program"] if "DECODE_TREE" in os.environ else []))
        for malloc in ("default", "tuned")
        for batch in (64, 32, 8)
    ]
    ours: list[Case] = [
        {"way": "ours", "batch_px": batch_px, "dtype": dtype, "malloc": "tuned"}
        for dtype in ("float32", "bfloat16")
        for batch_px in (1 << 15, 1 << 16, 1 << 17)
    ]
    usual = DEFAULT
    variants: list[Case] = [
        {**usual, "dtype": "float32", "malloc": "default"},
        {**usual, "dtype": "float32", "features": "three times"},
        *({**usual, "dtype": "float32", "light": filters} for filters in (64, 32)),
        *(
            {**usual, "dtype": "bfloat16", "heads": heads, "density": density}
            for density in (0.0, 1 / 400, 1 / 60)
            for heads in ("everywhere", "at detections")
        ),
    ]
    return [*authors, *ours, *variants]


def run_authors(network: LocNet, frames: torch.Tensor, batch: int) -> Callable[[], None]:
    network.to(memory_format=torch.contiguous_format)
    last = len(frames) - 1

    def work() -> None:
        with torch.inference_mode():
            for start in range(0, len(frames), batch):
                this = torch.arange(start, min(start + batch, len(frames)))
                windows = [frames[(this + step).clamp(0, last)][:, None] for step in (-1, 0, 1)]
                features = torch.cat([network.frame_net(window) for window in windows], dim=1)
                features = network.context_net(features)
                for head in network.heads.values():
                    head(features)

    return work


def import_their_network(tree: str) -> Any:
    """Return the network class of DECODE's authors from a checkout of their program, without the rest of the program.

    Importing their package as usual imports everything, including modules that are not installed or that newer versions
    of torch do not have (``torch._six``). Empty packages of the same names avoid this.
    """
    for name in ("decode", "decode.neuralfitter", "decode.neuralfitter.models", "decode.neuralfitter.utils"):
        package = types.ModuleType(name)
        package.__path__ = [str(Path(tree, *name.split(".")))]
        sys.modules[name] = package
    return importlib.import_module("decode.neuralfitter.models.model_speced_impl").SigmaMUNet


def run_their_program(frames: torch.Tensor, filters: int, batch: int) -> Callable[[], None]:
    network = import_their_network(os.environ["DECODE_TREE"])(
        3,
        depth_shared=2,
        depth_union=2,
        initial_features=filters,
        inter_features=filters,
        upsample_mode="nearest",
        activation=torch.nn.ELU(),
    ).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and not isinstance(module.padding, str):
            module.padding = tuple(int(side) for side in module.padding)  # newer versions of torch refuse booleans
    last = len(frames) - 1

    def work() -> None:
        with torch.inference_mode():
            for start in range(0, len(frames), batch):
                this = torch.arange(start, min(start + batch, len(frames)))
                network(torch.stack([frames[(this + step).clamp(0, last)] for step in (-1, 0, 1)], dim=1))

    return work


def run_ours(case: Case, frames: npt.NDArray[np.uint16], filters: int, post: list[float]) -> Callable[[], None]:
    """Return a function that localizes frames; it appends the CPU-seconds of detection and placing to ``post``."""
    side = frames.shape[1]
    localizer = make_localizer(
        torch.device("cpu"),
        case.get("light", filters),
        case["dtype"],
        case["batch_px"],
        side,
        density=case.get("density", DETECTIONS_PER_PX),
        variant="light" if "light" in case else "published",
    )
    network = localizer.bundle.network
    if case.get("heads") == "everywhere":
        network.decode_sparsely = network.decode  # type: ignore[method-assign, assignment]
    if case.get("features") == "three times":
        encode = network.encode
        network.encode = lambda *inputs: [encode(*inputs) for _ in range(3)][-1]  # type: ignore[method-assign]
    for name in ("detect_on_device", "place"):
        setattr(engine, name, timed(getattr(engine, name), post))
    block = plan_blocks(Layout(len(frames), 1, side, side), "time", len(frames))[0]

    def work() -> None:
        post.clear()
        found.append(localizer.run(FrameStack(frames, block)).num_rows)

    found: list[int] = case.setdefault("found", [])
    return work


def timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        began = time.process_time()
        result = function(*arguments, **named)
        spent.append(time.process_time() - began)
        return result

    return call


def measure(case: Case, side: int, frames: int, filters: int) -> Case:
    """Measure the second pass of one case in this process: seconds, CPU-seconds, page faults and memory."""
    if case["malloc"] == "tuned":
        keep_freed_memory()
    adu = np.random.default_rng(0).poisson(30, (frames, side, side)).astype(np.uint16) + 100
    post: list[float] = []
    if case["way"] == "ours":
        work = run_ours(case, adu, filters, post)
    else:
        scaled = torch.from_numpy(adu.astype(np.float32) / 20)
        if case["way"] == "authors":
            network = make_localizer(torch.device("cpu"), filters, "float32", 1 << 16, side).bundle.network
            work = run_authors(network, scaled, case["batch"])
        else:
            work = run_their_program(scaled, filters, case["batch"])
    work()
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "wall_s": wall,
        "cpu_s": cpu_s,
        "post_s": sum(post),
        "rows": case["found"][-1] if "found" in case else 0,
        "page_faults": after.ru_minflt - before.ru_minflt,
        "peak_mb": after.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("side", 64), ("frames", 256), ("filters", 48), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", choices=("authors", "their program", "ours"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = (options.side, options.frames, options.filters)
    if options.one:
        print(json.dumps(measure(json.loads(options.one), *size)))
        return
    chosen = [case for case in cases() if options.only in (None, case["way"])]
    results: list[list[Case]] = [[] for _ in chosen]
    megapixels = options.side**2 * options.frames * 1e-6
    best: dict[str, float] = {}
    for repeat in range(options.repeats):
        for number, case in enumerate(chosen):
            command = [sys.executable, __file__, *sys.argv[1:], "--one", json.dumps(case)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results[number].append(json.loads(done.stdout))
            if repeat + 1 < options.repeats:
                print(f"run {repeat + 1} of {options.repeats}: {case}", file=sys.stderr, flush=True)
                continue
            runs = results[number]
            median = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            print(json.dumps(line_of(case, median, options, megapixels)), flush=True)
            if "heads" not in case:
                way = way_of(case)
                best[way] = min(best.get(way, float("inf")), median["cpu_s"])
    ratios = {
        f"{ours} against {other}": round(best[other] / best[ours], 2)
        for ours in best
        for other in best
        if ours.startswith(("ours float32 tuned", "ours bfloat16 tuned")) and other != ours and "light" not in other
    }
    print(json.dumps({"benchmark": "engine", "ratio_of_cpu_seconds_at_best_batch": ratios}))


def way_of(case: Case) -> str:
    """Return the name of a case in the line of ratios."""
    variant = [str(case[name]) for name in ("dtype", "features", "malloc") if name in case]
    variant += [f"light {case['light']}"] if "light" in case else []
    return " ".join([case["way"], *variant])


def line_of(case: Case, median: dict[str, float], options: argparse.Namespace, megapixels: float) -> Case:
    """Return the line that is printed for a case."""
    line = {
        "benchmark": "engine",
        **case,
        "filters": options.filters,
        "side": options.side,
        "frames": options.frames,
        "mpx_per_s": round(megapixels / median["wall_s"], 4),
        "cpu_s_per_mpx": round(median["cpu_s"] / megapixels, 2),
    }
    if case["way"] == "ours":
        line["post_share"] = round(median["post_s"] / median["cpu_s"], 4)
        line["rows_per_400_px"] = round(median["rows"] * 400 / (megapixels * 1e6), 2)
        line["is_default"] = {**DEFAULT, "dtype": native_dtypes(torch.device("cpu"))[0]} == case
    return line | {
        "page_faults": median["page_faults"],
        "peak_mb": round(median["peak_mb"]),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
    }


if __name__ == "__main__":
    main()
