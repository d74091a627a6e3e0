"""Measure complete runs from zarr to merged Parquet for datasets of relative length 1, 4 and 16.

    python benchmarks/end_to_end.py [--model lls-paint] [--volumes 4] [--dtype float32] [--threads N] [--rounds 5]

The runs use one worker on this machine. Figures of each run:

share_of_network     speed of the run divided by the speed of the network path alone, which is measured before and after
                     the run: the same frames through `Localizer.run` in one process with the same threads
start_s              time in which the worker imports torch, examines its device and loads the model, which does not
                     depend on the length
share_without_start  ``share_of_network`` without ``start_s``
cpu_share            the same ratio for the worker's CPU-seconds, which depend less on other programs
cpu_share_of_more    the same ratio for the additional CPU-seconds compared with the next shorter run, which excludes
                     the start and the first pass
worker_peak_mb       peak memory of the worker, which should not grow with the length
client_peak_mb       peak memory of the client, for all lengths so far

The program prints one JSON line per length, for the round with the median ``share_without_start``. ``rounds`` lists
this share for all rounds, because the speed of a shared machine varies.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

from distributed import Client

from lls_decode.blocks import plan_blocks
from lls_decode.cluster.site import connect
from lls_decode.config import ComputeConfig, ExecutionConfig, MovieConfig, load, load_run_config
from lls_decode.models import find_bundle, find_config
from lls_decode.pipelines.journal.events import BlockDone, Event, RunStarted, WorkersExamined
from lls_decode.pipelines.planning.plan import Plan, make_plan
from lls_decode.pipelines.running.run import run
from lls_decode.pipelines.running.tasks import resolve_threads
from lls_decode.pipelines.status.reader import read_status

LENGTHS = (1, 4, 16)
BLOCK_FRAMES = 64
NETWORK_BLOCKS = 8
"""Maximum number of blocks for measuring the network path alone."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lls-paint")
    parser.add_argument("--volumes", type=int, default=4, help="Volumes of the shortest dataset.")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--threads", type=int, help="CPU threads of the worker; use 1 on a busy machine.")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    # simulation and network path run in another process, so that they do not count as the client's memory
    elsewhere = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    with elsewhere, tempfile.TemporaryDirectory() as folder:
        shorter = (0, 0.0)  # frames and CPU-seconds of the next shorter run
        for times in LENGTHS:
            scratch = Path(folder) / f"x{times}"
            config = load(MovieConfig, find_config("demo-movie")).replace(num_volumes=options.volumes * times)
            elsewhere.submit(simulate, config, scratch).result()
            run_config = load_run_config(scratch / "run.yaml").replace(
                compute=ComputeConfig(dtype=options.dtype, threads=options.threads),
                execution=ExecutionConfig(block_frames=BLOCK_FRAMES),
            )
            rounds = []
            for number in range(options.rounds):
                out = scratch / f"out{number}"
                plan = make_plan(scratch / "movie.zarr", find_bundle(options.model), out, run_config)
                rounds.append(measure(plan, elsewhere, shorter))
            rounds.sort(key=lambda line: line["share_without_start"])
            line = rounds[len(rounds) // 2]
            shorter = (line["frames"], line["worker_cpu_s"])
            shares = [one["share_without_start"] for one in rounds]
            about = {"benchmark": "end-to-end", "length": times, "dtype": options.dtype}
            hardware = f"{platform.machine()}, {os.cpu_count()} cores"
            print(json.dumps({**about, **line, "rounds": shares, "hardware": hardware}), flush=True)


def measure(plan: Plan, elsewhere: ProcessPoolExecutor, shorter: tuple[int, float]) -> dict[str, Any]:
    """Measure one run, and the network path alone before and after the run."""
    network = [elsewhere.submit(network_speed, plan).result()]
    events: list[Event] = []
    with connect("local", workers=1) as client:
        before = cpu_seconds(client)
        began = time.perf_counter()
        result = run(plan, client, listeners=[events.append])
        wall = time.perf_counter() - began
        after = cpu_seconds(client)
        worker_mb = max(usage.ru_maxrss for usage in client.run(getrusage, RUSAGE_SELF).values()) / 1024
    network.append(elsewhere.submit(network_speed, plan).result())
    frames = plan.layout.num_frames
    alone_s, alone_cpu_s = (frames * (one + other) / 2 for one, other in zip(*network, strict=True))
    client_cpu_s, worker_cpu_s = (now - then for now, then in zip(after, before, strict=True))
    status = read_status(plan.out)
    [started] = (event for event in events if isinstance(event, RunStarted))
    [examined] = (event for event in events if isinstance(event, WorkersExamined))
    loading_s = sum(event.start_s for event in events if isinstance(event, BlockDone))
    start_s = examined.at - started.at + loading_s
    return {
        "frames": frames,
        "rows": result.rows,
        "frames_per_s": round(frames / wall, 1),
        "start_s": round(start_s, 2),
        "share_of_network": round(alone_s / wall, 3),
        "share_without_start": round(alone_s / (wall - start_s), 3),
        "cpu_share": round(alone_cpu_s / worker_cpu_s, 3),
        "cpu_share_of_more": round(alone_cpu_s * (1 - shorter[0] / frames) / (worker_cpu_s - shorter[1]), 3),
        "worker_cpu_s": round(worker_cpu_s, 2),
        "client_cpu_s": round(client_cpu_s, 2),
        "idle_share": round(1 - (status.compute_s + start_s) / wall, 3),
        "read_s": round(status.read_s, 2),
        "write_s": round(status.write_s, 2),
        "worker_peak_mb": round(worker_mb),
        "client_peak_mb": round(getrusage(RUSAGE_SELF).ru_maxrss / 1024),
    }


def cpu_seconds(client: Client) -> tuple[float, float]:
    """Return the CPU-seconds of this process and of its worker so far, for all threads."""
    [worker] = client.run(getrusage, RUSAGE_SELF).values()
    here, there = (usage.ru_utime + usage.ru_stime for usage in (getrusage(RUSAGE_SELF), worker))
    return here, there


def simulate(config: MovieConfig, out: Path) -> None:
    from lls_decode.simulate import simulate_movie

    simulate_movie(config, out)


def network_speed(plan: Plan) -> tuple[float, float]:
    """Measure seconds and CPU-seconds per frame of the network path alone, with as many threads as a worker."""
    from lls_decode.localize import build_localizer

    threads = resolve_threads(plan.config, 1)
    config = plan.config.replace(compute=plan.config.compute.replace(threads=threads))
    localizer = build_localizer(plan.bundle_path, config, plan.layout)
    stacks = [plan.source.read(block) for block in plan_blocks(plan.layout, "plane", BLOCK_FRAMES)[:NETWORK_BLOCKS]]
    localizer.run(stacks[0])
    began, cpu_began = time.perf_counter(), time.process_time()
    for stack in stacks:
        localizer.run(stack)
    frames = sum(stack.block.num_owned for stack in stacks)
    return (time.perf_counter() - began) / frames, (time.process_time() - cpu_began) / frames


if __name__ == "__main__":
    main()
