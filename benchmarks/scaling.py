"""Measure how the number of blocks per second grows with the number of workers.

    python benchmarks/scaling.py [--blocks 10] [--block-s 2] [--repeats 3] [--volumes 16] [--parts compute sleep]

compute  Run the demo's dataset and model with one and with two worker processes of one thread each, in turns.
         ``efficiency`` is the speed with two workers divided by twice the speed with one (medians).
         ``cpu_efficiency`` compares the workers' CPU-seconds, which depend less on other programs: it shows the cost of
         sharing memory and caches, but not of sharing cores.
sleep    Run 1 to 64 workers whose blocks only sleep for 2 s and then write a shard of 20 rows. This shows how many
         workers the scheduler and the client can supply. The figure is pessimistic, because scheduler, client and all
         workers run in a single process on one core.

The program prints one JSON line per figure.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import dask
import zarr
from distributed import Client, LocalCluster
from scale_tasks import sleep_and_write

from lls_decode.cluster.settings import DASK_SETTINGS
from lls_decode.cluster.site import connect
from lls_decode.config import ComputeConfig, ExecutionConfig, MovieConfig, RunConfig, load, load_run_config
from lls_decode.models import find_bundle, find_config
from lls_decode.pipelines.planning.plan import make_plan
from lls_decode.pipelines.running import submission
from lls_decode.pipelines.running.run import run

WORKERS = (1, 4, 16, 64)
HARDWARE = f"{platform.machine()}, {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=10, help="Blocks per sleeping worker.")
    parser.add_argument("--block-s", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--volumes", type=int, default=16, help="Volumes of the dataset for 'compute'.")
    parser.add_argument("--parts", nargs="+", default=["compute", "sleep"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if "compute" in options.parts:
            measure_computing(Path(folder), options.volumes, options.repeats)
        if "sleep" in options.parts:
            submission.localize_task = sleep_and_write
            for workers in WORKERS:
                measure_sleeping(Path(folder) / f"sleep{workers}", workers, options.blocks, options.block_s)


def measure_computing(scratch: Path, volumes: int, repeats: int) -> None:
    from lls_decode.simulate import simulate_movie

    simulate_movie(load(MovieConfig, find_config("demo-movie")).replace(num_volumes=volumes), scratch)
    config = load_run_config(scratch / "run.yaml").replace(
        compute=ComputeConfig(threads=1), execution=ExecutionConfig(block_frames=32)
    )
    wall: dict[int, list[float]] = {1: [], 2: []}
    cpu: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(repeats):
        for workers in (1, 2):
            warm = make_plan(
                scratch / "movie.zarr", find_bundle("lls-paint"), scratch / f"warm{repeat}{workers}", config
            )
            plan = make_plan(
                scratch / "movie.zarr", find_bundle("lls-paint"), scratch / f"out{repeat}{workers}", config
            )
            with connect("local", workers=workers) as client:
                run(warm, client)  # loads torch, builds the model, and makes the first pass
                before, began = cpu_seconds(client), time.perf_counter()
                run(plan, client)
                wall[workers].append(time.perf_counter() - began)
                cpu[workers].append(cpu_seconds(client) - before)
    one, two = (statistics.median(wall[workers]) for workers in (1, 2))
    cpu_one, cpu_two = (statistics.median(cpu[workers]) for workers in (1, 2))
    line = {
        "benchmark": "scaling-compute",
        "blocks": len(plan.blocks),
        "one_worker_s": round(one, 2),
        "two_workers_s": round(two, 2),
        "efficiency": round(one / two / 2, 3),
        "one_worker_cpu_s": round(cpu_one, 2),
        "two_workers_cpu_s": round(cpu_two, 2),
        "cpu_efficiency": round(cpu_one / cpu_two, 3),
        "hardware": HARDWARE,
    }
    print(json.dumps(line), flush=True)


def cpu_seconds(client: Client) -> float:
    """Return the CPU-seconds of all workers so far."""
    return sum(usage.ru_utime + usage.ru_stime for usage in client.run(getrusage, RUSAGE_SELF).values())


def measure_sleeping(scratch: Path, workers: int, blocks_per_worker: int, block_s: float) -> None:
    blocks = workers * blocks_per_worker
    zarr.create_array(str(scratch / "movie.zarr"), shape=(blocks * 8, 16, 16), chunks=(64, 16, 16), dtype="u2")
    config = RunConfig(compute=ComputeConfig(tile_px=round(1000 * block_s)), execution=ExecutionConfig(block_frames=8))
    plan = make_plan(scratch / "movie.zarr", find_bundle("storm-2d"), scratch / "out", config)
    few_ticks = {
        "distributed.admin.tick.interval": "2 s"
    }  # otherwise the self-monitoring of 64 event loops would be measured
    with (
        dask.config.set({**DASK_SETTINGS, **few_ticks}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=2,
            processes=False,
            protocol="tcp",
            memory_limit=None,
            dashboard_address=":0",
        ) as cluster,
        Client(cluster) as client,
    ):
        began, cpu_began = time.perf_counter(), time.process_time()
        result = run(plan, client)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    assert result.done == blocks
    line = {
        "benchmark": "scaling-sleep",
        "workers": workers,
        "blocks": blocks,
        "block_s": block_s,
        "wall_s": round(wall, 2),
        "efficiency": round(blocks_per_worker * block_s / wall, 3),
        "cpu_ms_per_block": round(1000 * cpu / blocks, 2),
        "hardware": HARDWARE,
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
