"""Speed of the network on this machine: as DECODE's authors run it, and as we do, with the same weights and frames.

    python benchmarks/engine.py [--side 64] [--frames 256] [--filters 48] [--repeats 3]

The authors' way is reproduced with our layers, which are theirs one by one: NCHW, float32, every frame encoded for each
of its three windows, batches of 8 to 64 windows, malloc as it comes; and the same with malloc told to keep freed
memory. Each case runs in a process of its own, the cases in turn, repeated; one JSON line a case with the
median. ``cpu_s`` counts all threads and is the steadier figure on a machine that others use. The last line holds the
ratios.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from random_model import make_localizer

from lls_decode.localize.memory import keep_freed_memory
from lls_decode.model.network import LocNet

Case = dict[str, Any]


def cases() -> list[Case]:
    authors = [{"way": "authors", "batch": b, "malloc": m} for m in ("default", "tuned") for b in (64, 32, 8)]
    ours = [
        {"way": "ours", "batch_px": batch_px, "dtype": dtype, "malloc": "tuned"}
        for dtype in ("float32", "bfloat16")
        for batch_px in (1 << 15, 1 << 17, 1 << 18)
    ]
    return [*authors, *ours, {**ours[1], "malloc": "default"}]


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


def measure(case: Case, side: int, frames: int, filters: int) -> Case:
    """One case, in this process: seconds and CPU-seconds of the second pass."""
    if case["malloc"] == "tuned":
        keep_freed_memory()
    adu = np.random.default_rng(0).poisson(30, (frames, side, side)).astype(np.uint16) + 100
    cpu = torch.device("cpu")
    localizer = make_localizer(cpu, filters, case.get("dtype", "float32"), case.get("batch_px", 1 << 18), side)
    if case["way"] == "authors":
        work = run_authors(localizer.bundle.network, torch.from_numpy(adu.astype(np.float32) / 20), case["batch"])
    else:
        this = np.arange(frames)
        windows = np.clip(this[:, None] + np.array([-1, 0, 1]), 0, frames - 1)

        def work() -> None:
            localizer.find(adu, windows)

    work()
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    work()
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall_s": wall,
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "page_faults": after.ru_minflt - before.ru_minflt,
        "peak_mb": after.ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("side", 64), ("frames", 256), ("filters", 48), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    size = (options.side, options.frames, options.filters)
    if options.one:
        print(json.dumps(measure(json.loads(options.one), *size)))
        return
    results: list[list[Case]] = [[] for _ in cases()]
    for _ in range(options.repeats):
        for number, case in enumerate(cases()):
            command = [sys.executable, __file__, *sys.argv[1:], "--one", json.dumps(case)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results[number].append(json.loads(done.stdout))
    megapixels = options.side**2 * options.frames * 1e-6
    best: dict[str, float] = {}
    for case, runs in zip(cases(), results, strict=True):
        median = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        line = {
            "benchmark": "engine",
            **case,
            "filters": options.filters,
            "side": options.side,
            "frames": options.frames,
            "mpx_per_s": round(megapixels / median["wall_s"], 4),
            "cpu_s_per_mpx": round(median["cpu_s"] / megapixels, 2),
            "page_faults": median["page_faults"],
            "peak_mb": round(median["peak_mb"]),
            "hardware": f"{platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        }
        print(json.dumps(line), flush=True)
        way = (
            f"{case['way']} {case['malloc']}" if case["way"] == "authors" else f"ours {case['dtype']} {case['malloc']}"
        )
        best[way] = min(best.get(way, float("inf")), median["cpu_s"])
    ratios = {
        f"{ours} against {authors}": round(best[authors] / best[ours], 2)
        for ours in ("ours float32 tuned", "ours bfloat16 tuned")
        for authors in ("authors default", "authors tuned")
    }
    print(json.dumps({"benchmark": "engine", "ratio_of_cpu_seconds_at_best_batch": ratios}))


if __name__ == "__main__":
    main()
