"""Measure the overhead of a run with very many blocks that compute nothing.

    python benchmarks/scale.py [--blocks 100000] [--workers 1] [--no-tls] [--folder /fast/scratch]

Plan, run loop, ledger, shards (of 20 rows), merge and resume are those of real runs. Scheduler and workers are separate
processes that communicate by TLS as in real runs; ``--no-tls`` shows the cost of TLS. Only the computation is omitted
(`scale_tasks.write_at_once`). CPU-seconds are those of whole processes, which depend little on other programs.
The program prints one JSON line per part:

plan    opening the dataset, dividing it into blocks, and checking the plan
run     CPU-milliseconds per block of client, scheduler and worker; resident memory of client and scheduler over time;
        the scheduler's share of a worker's time if blocks take 2 s
merge   merging all shards
resume  planning and running again when all shards exist, with the ledger and after the ledger was deleted
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import psutil
import zarr
from scale_tasks import ROWS, write_at_once

from lls_decode.cluster.security import make_security
from lls_decode.cluster.settings import DASK_SETTINGS
from lls_decode.cluster.site import connect
from lls_decode.config import ExecutionConfig, RunConfig
from lls_decode.models import find_bundle
from lls_decode.pipelines.journal.events import BlockDone, Event, Merged, MergeStarted
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.planning.plan import Plan, make_plan
from lls_decode.pipelines.running import submission
from lls_decode.pipelines.running.run import run

BLOCK_FRAMES = 8
BLOCK_S = 2.0
SAMPLES = 10
HARDWARE = f"{platform.machine()}, {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--no-tls", dest="tls", action="store_false", help="Communicate without encryption.")
    parser.add_argument("--folder", type=Path, help="Folder for scratch files.")
    options = parser.parse_args()
    submission.localize_task = write_at_once
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        scratch = Path(folder)
        zarr.create_array(
            str(scratch / "movie.zarr"), shape=(options.blocks * BLOCK_FRAMES, 16, 16), chunks=(64, 16, 16), dtype="u2"
        )
        with scheduler_and_workers(scratch, options.workers, tls=options.tls) as (address, processes):
            with Timer("plan", options.blocks):
                plan = plan_of(scratch)
            with connect(address, workers=options.workers) as client:
                watch = Watch(options.blocks, processes)
                run(plan, client, listeners=[watch])
                watch.report(options.workers, tls=options.tls)
                with Timer("resume", options.blocks, ledger=True):
                    assert run(plan_of(scratch), client).done == options.blocks
                RunFolder(scratch / "out").ledger.unlink()
                with Timer("resume", options.blocks, ledger=False):
                    assert run(plan_of(scratch), client).done == options.blocks


def plan_of(scratch: Path) -> Plan:
    config = RunConfig(execution=ExecutionConfig(block_frames=BLOCK_FRAMES))
    return make_plan(scratch / "movie.zarr", find_bundle("storm-2d"), scratch / "out", config)


class Timer:
    """Context manager that prints how long its body took."""

    def __init__(self, part: str, blocks: int, **more: object) -> None:
        self._line = {"benchmark": "scale", "part": part, "blocks": blocks, **more}

    def __enter__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        line = {**self._line, "wall_s": round(wall, 2), "cpu_s": round(cpu, 2), "hardware": HARDWARE}
        print(json.dumps(line), flush=True)


class Watch:
    """Listener that samples CPU time and memory of the processes of a run."""

    def __init__(self, blocks: int, others: dict[str, list[psutil.Process]]) -> None:
        self._every, self._blocks, self._done = max(1, blocks // SAMPLES), blocks, 0
        self._processes = {"client": [psutil.Process()], **others}
        self._memory_mb: dict[str, list[int]] = {"client": [], "scheduler": []}
        self._began, self._cpu = time.perf_counter(), self._cpu_s()
        self._ended, self._after = self._began, self._cpu
        self._merge_cpu = 0.0
        self._merged: Merged | None = None

    def __call__(self, event: Event) -> None:
        """Count finished blocks, and sample the processes at regular intervals."""
        if isinstance(event, BlockDone):
            self._done += 1
            if self._done % self._every == 0:
                for name, sizes in self._memory_mb.items():
                    sizes.append(round(self._processes[name][0].memory_info().rss / 1e6))
        elif isinstance(event, MergeStarted):
            self._ended, self._after = time.perf_counter(), self._cpu_s()
        elif isinstance(event, Merged):
            self._merged, self._merge_cpu = event, self._cpu_s()["client"] - self._after["client"]

    def report(self, workers: int, *, tls: bool) -> None:
        """Print the lines of the run and of the merge."""
        ms = {name: 1000 * (self._after[name] - self._cpu[name]) / self._blocks for name in self._cpu}
        line = {
            "benchmark": "scale",
            "part": "run",
            "blocks": self._blocks,
            "workers": workers,
            "tls": tls,
            "wall_s": round(self._ended - self._began, 1),
            **{f"{name}_ms_per_block": round(value, 3) for name, value in ms.items()},
            "scheduler_share_of_2_s_blocks": round(ms["scheduler"] / 1000 / BLOCK_S, 5),
            **{f"{name}_mb": sizes for name, sizes in self._memory_mb.items()},
            "hardware": HARDWARE,
        }
        print(json.dumps(line), flush=True)
        assert self._merged is not None
        line = {
            "benchmark": "scale",
            "part": "merge",
            "blocks": self._blocks,
            "rows": self._merged.rows,
            "rows_per_shard": ROWS,
            "wall_s": round(self._merged.merge_s, 2),
            "cpu_s": round(self._merge_cpu, 2),
            "hardware": HARDWARE,
        }
        print(json.dumps(line), flush=True)

    def _cpu_s(self) -> dict[str, float]:
        return {
            name: sum(sum(process.cpu_times()[:2]) for process in processes)
            for name, processes in self._processes.items()
        }


def tls_settings(scratch: Path) -> dict[str, str]:
    """Create keys for one cluster, write them to a file, and return the settings of Dask that name this file."""
    keys = make_security()
    (scratch / "cluster.pem").write_text(keys.tls_client_cert + keys.tls_client_key)
    place = str(scratch / "cluster.pem")
    roles = {f"distributed.comm.tls.{role}.cert": place for role in ("client", "scheduler", "worker")}
    return {"distributed.comm.tls.ca-file": place, **roles}


@contextmanager
def scheduler_and_workers(
    scratch: Path, workers: int, *, tls: bool
) -> Iterator[tuple[str, dict[str, list[psutil.Process]]]]:
    """Start a scheduler and workers as separate processes with the Dask settings of lls_decode."""
    file = scratch / "scheduler.json"
    keys = tls_settings(scratch) if tls else {}
    settings = {
        f"DASK_{key.replace('.', '__').replace('-', '_').upper()}": str(v)
        for key, v in {**DASK_SETTINGS, **keys}.items()
    }
    env = {**os.environ, **settings, "PYTHONPATH": os.pathsep.join([*sys.path[:1], os.environ.get("PYTHONPATH", "")])}

    def start(*words: str) -> psutil.Process:
        log = (scratch / f"{words[0]}.log").open("ab")
        command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:], "--no-dashboard"]
        return psutil.Process(subprocess.Popen(command, env=env, stderr=log, cwd=scratch).pid)

    dask.config.set(keys)
    protocol = ("--protocol", "tls" if tls else "tcp")
    scheduler = start("scheduler", *protocol, "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
    started = [scheduler]
    try:
        while not (file.exists() and file.read_text().endswith("}")):
            time.sleep(0.1)
        options = (*protocol, "--scheduler-file", str(file), "--nthreads", "2", "--no-nanny", "--memory-limit", "8GB")
        started += [start("worker", *options) for _ in range(workers)]
        yield json.loads(file.read_text())["address"], {"scheduler": [scheduler], "worker": started[1:]}
    finally:
        for process in reversed(started):
            process.terminate()
        for process in psutil.wait_procs(started, timeout=20)[1]:
            process.kill()


if __name__ == "__main__":
    main()
