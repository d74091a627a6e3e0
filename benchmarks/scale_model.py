"""Predict the hours for an acquisition of any length on 1 to 64 workers from the measured cost of each part.

    python benchmarks/scale_model.py [--volumes 70000] [--planes 144] [--side 512] [--compute-mpx-s 119] ...

The figures are a model, not a measurement: every part of a run has a throughput, all parts work at the same time, and
the slowest part sets the pace. The defaults are results of the other benchmarks (`results/`), except the speed of the
file system, which is assumed. The program prints one JSON line for the dataset, one for each number of workers, and
one for each part: the time that the part needs for a block, and the number of workers that saturates it.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
WORKERS = (1, 2, 4, 8, 16, 32, 64)
BYTES_PER_PX = 2


@dataclass(frozen=True)
class Parts:
    """Throughput of each part of a run."""

    compute_mpx_s: float
    """Speed of the full network in one worker: bfloat16 on one H100, not compiled."""
    read_mb_s: float
    """Decoding speed in one worker, for pixels that blocks own."""
    storage_mb_s: float
    """Speed of the file system for all workers together, in compressed bytes."""
    compression: float
    """Ratio of the bytes of pixels to the bytes of files."""
    shard_ms: float
    """CPU time of a worker for writing one shard."""
    scheduler_ms: float
    """CPU time of the scheduler per block; one process serves all workers."""
    client_ms: float
    """CPU time of the client per block; one process serves all workers."""
    merge_rows_s: float
    """Speed of merging."""
    merge_shard_ms: float
    """Time for opening one shard while merging."""
    start_s: float
    """Time until the workers start computing."""


@dataclass(frozen=True)
class Dataset:
    """Size of a dataset and of its blocks."""

    volumes: int
    planes: int
    side: int
    block_frames: int
    rows_per_frame: float

    @property
    def frames(self) -> int:
        """Number of frames of all volumes."""
        return self.volumes * self.planes

    @property
    def blocks(self) -> int:
        """Number of blocks from `blocks.plan_blocks`, which groups whole volumes if they fit into a block."""
        per_block = max(1, self.block_frames // self.planes) * self.planes if self.planes <= self.block_frames else 0
        return -(-self.frames // per_block) if per_block else self.volumes * -(-self.planes // self.block_frames)

    @property
    def mpx(self) -> float:
        """Megapixels of all frames."""
        return self.frames * self.side**2 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("volumes", 70_000), ("planes", 144), ("side", 512), ("block-frames", 512)):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name, value in {"rows_per_frame": 100.0, **asdict(measured_parts())}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value)
    values = vars(parser.parse_args())
    data = Dataset(**{name: values[name] for name in Dataset.__dataclass_fields__})
    parts = Parts(**{name: values[name] for name in Parts.__dataclass_fields__})
    about = {"volumes": data.volumes, "planes": data.planes, "side": data.side, "frames": data.frames}
    say("dataset", **about, terabytes=data.mpx * BYTES_PER_PX / 1e6, blocks=data.blocks, **asdict(parts))
    say_hours(data, parts)
    say_saturation(data, parts)


def measured_parts() -> Parts:
    """Return the throughputs that the other benchmarks have measured; the speed of the file system is assumed."""
    run, merge = line("scale", part="run"), line("scale", part="merge")
    network = {"variant": "published", "filters": 48, "side": 64, "dtype": "bfloat16", "tuned": False}
    return Parts(
        compute_mpx_s=line("gpu-engine", **network, compiled=False)["whole_mpx_per_s"],
        read_mb_s=line("read", layout="64-plane shards of 8 planes", codecs="zarr")["mb_per_s"],
        storage_mb_s=5000.0,
        compression=2.0,
        shard_ms=run["worker_ms_per_block"],
        scheduler_ms=run["scheduler_ms_per_block"],
        client_ms=run["client_ms_per_block"],
        merge_rows_s=line("pipeline", step="merge")["rows_per_s"],
        merge_shard_ms=1000 * merge["cpu_s"] / merge["blocks"],
        start_s=60.0,
    )


def line(name: str, **conditions: object) -> dict[str, Any]:
    """Return the last line of a file of results that fulfils all conditions."""
    lines = [json.loads(text) for text in (RESULTS / f"{name}.jsonl").read_text().splitlines()]
    return [line for line in lines if all(line.get(key) == value for key, value in conditions.items())][-1]


def say(part: str, **figures: object) -> None:
    """Print a JSON line of rounded figures."""
    rounded = {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in figures.items()}
    print(json.dumps({"benchmark": "scale-model", "part": part, **rounded}))


def per_block_s(data: Dataset, parts: Parts) -> dict[str, float]:
    """Return the seconds that one block keeps each part busy; all workers share the parts except ``OF_A_WORKER``."""
    mb = data.mpx * BYTES_PER_PX / data.blocks
    return {
        "compute": data.mpx / data.blocks / parts.compute_mpx_s,
        "read": mb / parts.read_mb_s + parts.shard_ms / 1000,
        "storage": mb / parts.compression / parts.storage_mb_s,
        "scheduler": parts.scheduler_ms / 1000,
        "client": parts.client_ms / 1000,
    }


OF_A_WORKER = ("compute", "read")


def say_hours(data: Dataset, parts: Parts) -> None:
    """Print the hours, the limiting part, and the utilization of the shared parts for each number of workers."""
    busy = per_block_s(data, parts)
    merge_s = max(data.frames * data.rows_per_frame / parts.merge_rows_s, data.blocks * parts.merge_shard_ms / 1000)
    alone: float | None = None
    for workers in WORKERS:
        rates = {part: s / (workers if part in OF_A_WORKER else 1) for part, s in busy.items()}
        limit = max(rates, key=rates.__getitem__)
        total_s = parts.start_s + data.blocks * rates[limit] + merge_s
        alone = alone or total_s
        say(
            "hours",
            workers=workers,
            hours=total_s / 3600,
            merge_hours=merge_s / 3600,
            limit=limit,
            efficiency=alone / total_s / workers,
            storage_mb_s=busy["storage"] / rates[limit] * parts.storage_mb_s,
            scheduler_busy=busy["scheduler"] / rates[limit],
            client_busy=busy["client"] / rates[limit],
        )


def say_saturation(data: Dataset, parts: Parts) -> None:
    """Print the time that each part needs for a block, and the number of workers that saturates each shared part."""
    busy = per_block_s(data, parts)
    pace = max(busy[part] for part in OF_A_WORKER)
    for part, seconds in busy.items():
        shared = {} if part in OF_A_WORKER else {"saturated_by": int(pace / seconds)}
        say("block", of=part, seconds=seconds, share_of_worker=seconds / pace, **shared)


if __name__ == "__main__":
    main()
