"""A whole run, zarr to committed Parquet, over datasets 1x, 4x and 16x long: speed, idle share, peak memory.

    python benchmarks/end_to_end.py [--model lls-paint] [--volumes 4]

One worker on this machine. ``share_of_network`` is the speed of the run over that of the network path alone (the same
frames through `Localizer.run` in one process, same threads); ``peak_mb`` of worker and client should not grow with the
length. One JSON line a length.
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

from lls_decode.blocks import plan_blocks
from lls_decode.cluster.site import connect
from lls_decode.config import ExecutionConfig, MovieConfig, load, load_run_config
from lls_decode.models import find_bundle, find_config
from lls_decode.pipelines.plan import Plan, make_plan
from lls_decode.pipelines.run import run
from lls_decode.pipelines.status import read_status
from lls_decode.pipelines.tasks import resolve_threads

LENGTHS = (1, 4, 16)
BLOCK_FRAMES = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lls-paint")
    parser.add_argument("--volumes", type=int, default=4, help="Volumes of the shortest dataset.")
    options = parser.parse_args()
    # simulation and the network alone run elsewhere, so that they do not count as the client's memory
    elsewhere = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    with elsewhere, tempfile.TemporaryDirectory() as folder:
        for times in LENGTHS:
            scratch = Path(folder) / f"x{times}"
            config = load(MovieConfig, find_config("demo-movie")).replace(num_volumes=options.volumes * times)
            elsewhere.submit(simulate, config, scratch).result()
            run_config = load_run_config(scratch / "run.yaml").replace(
                execution=ExecutionConfig(block_frames=BLOCK_FRAMES)
            )
            plan = make_plan(scratch / "movie.zarr", find_bundle(options.model), scratch / "out", run_config)
            network = elsewhere.submit(network_rate, plan).result()
            with connect("local", workers=1) as client:
                began = time.perf_counter()
                result = run(plan, client)
                wall = time.perf_counter() - began
                worker_mb = (
                    max(client.run(getrusage, RUSAGE_SELF).values(), key=lambda usage: usage.ru_maxrss).ru_maxrss / 1024
                )
            status = read_status(scratch / "out")
            rate = plan.layout.num_frames / wall
            print(
                json.dumps(
                    {
                        "benchmark": "end-to-end",
                        "length": times,
                        "frames": plan.layout.num_frames,
                        "rows": result.rows,
                        "frames_per_s": round(rate, 1),
                        "share_of_network": round(rate / network, 3),
                        "idle_share": round(1 - status.compute_s / wall, 3),
                        "read_s": round(status.read_s, 2),
                        "write_s": round(status.write_s, 2),
                        "worker_peak_mb": round(worker_mb),
                        "client_peak_mb": round(getrusage(RUSAGE_SELF).ru_maxrss / 1024),
                        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
                    }
                ),
                flush=True,
            )


def simulate(config: MovieConfig, out: Path) -> None:
    from lls_decode.simulate import simulate_movie

    simulate_movie(config, out)


def network_rate(plan: Plan) -> float:
    """Frames per second of the network path alone, in this process with a worker's threads."""
    from lls_decode.localize import build_localizer

    threads = resolve_threads(plan.config, 1)
    config = plan.config.replace(compute=plan.config.compute.replace(threads=threads))
    localizer = build_localizer(plan.bundle_path, config, plan.layout)
    stacks = [plan.source.read(block) for block in plan_blocks(plan.layout, "plane", BLOCK_FRAMES)[:4]]
    localizer.run(stacks[0])
    began = time.perf_counter()
    for stack in stacks:
        localizer.run(stack)
    return sum(stack.block.num_owned for stack in stacks) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
