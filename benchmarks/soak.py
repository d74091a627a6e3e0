"""Check a long run with one interruption: constant speed, constant memory, and the same table as short runs.

    python benchmarks/soak.py [--scale 0.01] [--workers 2] [--filters 4] [--folder /fast/scratch]

The run processes 100 000 frames (times ``--scale``) of 128 x 128 px with a small network with random weights. Client,
scheduler and workers are separate processes. The client is interrupted when half of the blocks are done, and the same
command resumes the run. Then ten runs, each of a tenth of the frames, must give the same table.

The scheduler and its workers have Dask's profiler switched off, as those that lls-decode starts; its history grows for
an hour.

The program prints one JSON line of figures, and then one line per criterion. The exit status is 1 if a criterion is
missed. Speed and memory are meaningful only from ``--scale 0.1`` on; for smaller scales a tenth of the run takes only
seconds.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import zarr
from random_model import make_localizer

from lls_decode.model.bundle import save_bundle
from lls_decode.pipelines.journal.events import BlockDone
from lls_decode.pipelines.journal.folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAMES, SIDE, BLOCK_FRAMES = 100_000, 128, 100
PARTS = 10
SPEED_LOST = 0.05
"""Allowed loss of speed in the last tenth of the run, relative to the first tenth."""
GROWTH_MIB, GROWTH = 32.0, 0.05
"""Allowed growth of memory from the second to the last tenth of the time after the first block; the larger counts."""
SAMPLE_S = 0.5
SHORT = 10_000
"""Number of frames below which only the table is judged, because most of the time is the start of the processes."""


def main() -> int:
    """Run, stop and resume a long run, run its parts, and judge the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--filters", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="Folder for scratch files.")
    options = parser.parse_args()
    frames = max(round(FRAMES * options.scale / (PARTS * BLOCK_FRAMES)), 1) * PARTS * BLOCK_FRAMES
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        write_frames(folder / "movie.zarr", frames)
        localizer = make_localizer(torch.device("cpu"), options.filters, "float32", 1 << 20, SIDE)
        save_bundle(folder / "model.lls", localizer.bundle.network, localizer.bundle.info)
        with cluster(folder, options.workers) as (address, processes), sampled(processes) as memory:
            stop_and_resume(folder, address, processes, frames // BLOCK_FRAMES)
        with cluster(folder, options.workers) as (address, _):
            for part in range(PARTS):
                begin, end = (frames * i // PARTS for i in (part, part + 1))
                more = ("--volumes", f"{begin}:{end}")
                subprocess.run(command(folder, f"part{part}", address, *more), check=True, capture_output=True)
        return judge(folder, frames, memory, filters=options.filters, workers=options.workers)


def write_frames(path: Path, frames: int) -> None:
    """Write a movie: shifted copies of the same thousand frames of noise."""
    noise = (np.random.default_rng(0).poisson(30, (1000, SIDE, SIDE)) + 100).astype(np.uint16)
    array = zarr.create_array(
        str(path), shape=(frames, SIDE, SIDE), chunks=(BLOCK_FRAMES, SIDE, SIDE), dtype="uint16",
        dimension_names=["t", "y", "x"],
    )  # fmt: skip
    for start in range(0, frames, len(noise)):
        array[start : start + len(noise)] = np.roll(noise, start // 1000 * 7, axis=2)[: frames - start]


def command(folder: Path, out: str, address: str, *more: str) -> list[str]:
    """Return the command line of a run."""
    words = [sys.executable, "-m", "lls_decode", "run", str(folder / "movie.zarr"), "--out", str(folder / out)]
    words += ["--model", str(folder / "model.lls"), "--block-frames", str(BLOCK_FRAMES), "--device", "cpu"]
    return [*words, "--set", "compute.threads=1", "--no-report", "--site", address, *more]


@contextmanager
def cluster(folder: Path, workers: int) -> "Iterator[tuple[str, dict[str, psutil.Process]]]":
    """Start a scheduler and workers, and yield the address and the processes by name."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    quiet["env"] = {**os.environ, "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False"}
    base = [sys.executable, "-m", "dask"]
    begun = [
        subprocess.Popen(
            [*base, "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)], **quiet
        )
    ]
    try:
        while not file.exists() or not file.read_text().strip():
            time.sleep(0.1)
        processes = {"scheduler": psutil.Process(begun[0].pid)}
        for number in range(workers):
            words = [*base, "worker", "--scheduler-file", str(file), "--no-nanny", "--nthreads", "2", "--no-dashboard"]
            begun.append(subprocess.Popen(words, cwd=folder, **quiet))
            processes[f"worker {number}"] = psutil.Process(begun[-1].pid)
        yield str(json.loads(file.read_text())["address"]), processes
    finally:
        for process in reversed(begun):
            process.terminate()
            process.wait()


@contextmanager
def sampled(processes: dict[str, psutil.Process]) -> "Iterator[dict[str, list[tuple[float, float]]]]":
    """Sample the resident memory of processes: times (Unix) and MiB; clients are included while they are running."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    over = threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            for name, process in list(processes.items()):
                with suppress(psutil.Error):
                    found[name].append((time.time(), process.memory_info().rss / 2**20))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def stop_and_resume(folder: Path, address: str, processes: dict[str, psutil.Process], blocks: int) -> None:
    """Run until half of the blocks are done, interrupt the client like Ctrl-C, and rerun the same command."""
    for name, last in (("first client", blocks // 2), ("second client", blocks + 1)):
        client = subprocess.Popen(command(folder, "whole", address), stderr=subprocess.PIPE, text=True)
        processes[name] = psutil.Process(client.pid)
        said: list[str] = []
        assert client.stderr is not None
        reader = threading.Thread(target=said.extend, args=(client.stderr,))
        reader.start()
        while client.poll() is None:
            if len(done(folder)) >= last:
                client.send_signal(signal.SIGINT)
                client.wait()
            time.sleep(SAMPLE_S)
        reader.join()
        if client.returncode != (0 if last > blocks else 130):
            sys.exit(f"the {name} has ended with {client.returncode}: {''.join(said)[-1000:]}")


def done(folder: Path) -> list[BlockDone]:
    """Return the events of finished blocks in the order of their end."""
    records, _ = RunFolder(folder / "whole").read_ledger()
    return sorted((record for record in records if isinstance(record, BlockDone)), key=lambda record: record.at)


def speed(records: list[BlockDone]) -> float:
    """Return the frames per second between the ends of the first and the last of these blocks."""
    return float(sum(record.frames for record in records[1:]) / max(records[-1].at - records[0].at, 1e-3))


def judge(folder: Path, frames: int, memory: dict[str, list[tuple[float, float]]], **conditions: int) -> int:
    """Print figures and criteria, and return the exit status."""
    records = done(folder)
    tenth = max(len(records) // PARTS, 2)
    first, last = speed(records[:tenth]), speed(records[-tenth:])
    working = {name: [mib for at, mib in samples if at >= records[0].at] for name, samples in memory.items()}
    span = {name: _ends(values) for name, values in working.items()}
    whole = _rows([folder / "whole"])
    checks = {
        f"speed: {first:.1f} frames/s in the first tenth, {last:.1f} in the last": last >= (1 - SPEED_LOST) * first,
        f"table: {whole.num_rows} rows, those of {PARTS} runs": whole.num_rows > frames
        and whole.equals(_rows([folder / f"part{part}" for part in range(PARTS)])),
    }
    for name, (early, late) in span.items():
        flat = late - early <= max(GROWTH_MIB, GROWTH * early)
        checks[f"memory of {name}: {early:.0f} MiB early, {late:.0f} MiB late"] = flat
    numbers = {"first_per_s": round(first, 2), "last_per_s": round(last, 2), "memory_mib": span, "rows": whole.num_rows}
    hardware = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"part": "soak", "frames": frames, **numbers, **conditions, "hardware": hardware}))
    if frames < SHORT:
        checks = {text: holds for text, holds in checks.items() if text.startswith("table")}
        print(f"fewer than {SHORT} frames: only the table is judged")
    for text, holds in checks.items():
        print(f"{'ok    ' if holds else 'MISSED'} {text}")
    return int(not all(checks.values()))


def _ends(values: list[float]) -> tuple[float, float]:
    """Return the medians over the second and the last tenth of the samples."""
    tenth = max(len(values) // PARTS, 1)
    early, late = values[tenth : 2 * tenth] or values, values[-tenth:]
    return round(statistics.median(early), 1), round(statistics.median(late), 1)


def _rows(folders: list[Path]) -> pa.Table:
    tables = [pq.read_table(folder / "localizations.parquet").replace_schema_metadata(None) for folder in folders]
    return pa.concat_tables(tables).combine_chunks()


if __name__ == "__main__":
    sys.exit(main())
