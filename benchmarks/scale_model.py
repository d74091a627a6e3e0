"""Hours for an acquisition of any length on 1 to 64 workers, from the measured cost of each part.

    python benchmarks/scale_model.py [--volumes 70000] [--planes 144] [--side 512] [--compute-mpx-s 77] ...

A model, not a measurement: every part is a throughput, parts that work at the same time hide each other, and the
slowest one sets the pace. Defaults are what the other benchmarks print (docs/scale.md says which command gives which);
only the file system is assumed. Prints a table, and with how many workers each shared part is saturated.
"""

import argparse
from dataclasses import dataclass

WORKERS = (1, 2, 4, 8, 16, 32, 64)
BYTES_PER_PX = 2


@dataclass(frozen=True)
class Parts:
    """What each part can do."""

    compute_mpx_s: float
    """One worker; the full network in bfloat16 on one H100, not compiled."""
    read_mb_s: float
    """Decoding in one worker, of pixels that blocks own."""
    storage_mb_s: float
    """File system, all workers together, compressed bytes."""
    compression: float
    """Bytes of pixels over bytes of file."""
    shard_ms: float
    """Worker's CPU to write one shard."""
    scheduler_ms: float
    """A block; one process for all workers."""
    client_ms: float
    """A block; one process for all workers."""
    merge_rows_s: float
    merge_shard_ms: float
    """Opening one shard."""
    start_s: float
    """Until the workers compute."""


@dataclass(frozen=True)
class Dataset:
    """What is to be done."""

    volumes: int
    planes: int
    side: int
    block_frames: int
    rows_per_frame: float

    @property
    def frames(self) -> int:
        """All."""
        return self.volumes * self.planes

    @property
    def blocks(self) -> int:
        """As `blocks.plan_blocks` cuts them: whole volumes while they fit."""
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
    for name, value in (
        ("rows-per-frame", 100.0),
        ("compute-mpx-s", 77.0),
        ("read-mb-s", 770.0),
        ("storage-mb-s", 5000.0),
        ("compression", 2.0),
        ("shard-ms", 7.2),
        ("scheduler-ms", 4.6),
        ("client-ms", 3.7),
        ("merge-rows-s", 2.5e6),
        ("merge-shard-ms", 1.7),
        ("start-s", 60.0),
    ):
        parser.add_argument(f"--{name}", type=float, default=value)
    values = vars(parser.parse_args())
    data = Dataset(**{name: values[name] for name in Dataset.__dataclass_fields__})
    parts = Parts(**{name: values[name] for name in Parts.__dataclass_fields__})
    print(
        f"{data.volumes} volumes x {data.planes} planes of {data.side} x {data.side}: "
        f"{data.frames / 1e6:.2f} M frames, {data.mpx * BYTES_PER_PX / 1e6:.2f} TB, {data.blocks} blocks of "
        f"{data.mpx / data.blocks / parts.compute_mpx_s:.2f} s of compute\n"
    )
    print_table(data, parts)
    print_saturation(data, parts)


def per_block_s(data: Dataset, parts: Parts) -> dict[str, float]:
    """Seconds that one block keeps each part busy; the first two in its worker, the others shared by all workers."""
    mb = data.mpx * BYTES_PER_PX / data.blocks
    return {
        "compute": data.mpx / data.blocks / parts.compute_mpx_s,
        "read": mb / parts.read_mb_s + parts.shard_ms / 1000,
        "storage": mb / parts.compression / parts.storage_mb_s,
        "scheduler": parts.scheduler_ms / 1000,
        "client": parts.client_ms / 1000,
    }


OF_A_WORKER = ("compute", "read")


def print_table(data: Dataset, parts: Parts) -> None:
    """Hours, what limits, how busy the shared parts are."""
    busy = per_block_s(data, parts)
    merge_s = max(data.frames * data.rows_per_frame / parts.merge_rows_s, data.blocks * parts.merge_shard_ms / 1000)
    print("| workers | hours | of them merge | limited by | efficiency | storage MB/s | scheduler busy | client busy |")
    print("|---|---|---|---|---|---|---|---|")
    alone: float | None = None
    for workers in WORKERS:
        rates = {part: s / (workers if part in OF_A_WORKER else 1) for part, s in busy.items()}
        limit = max(rates, key=rates.__getitem__)
        total_s = parts.start_s + data.blocks * rates[limit] + merge_s
        alone = alone or total_s
        print(
            f"| {workers} | {total_s / 3600:.2f} | {merge_s / 3600:.2f} | {limit} | {alone / total_s / workers:.0%} | "
            f"{busy['storage'] / rates[limit] * parts.storage_mb_s:.0f} | {busy['scheduler'] / rates[limit]:.2%} | "
            f"{busy['client'] / rates[limit]:.2%} |"
        )


def print_saturation(data: Dataset, parts: Parts) -> None:
    """With how many workers each shared part has no time left."""
    busy = per_block_s(data, parts)
    pace = max(busy[part] for part in OF_A_WORKER)
    print()
    for part, seconds in busy.items():
        if part in OF_A_WORKER:
            print(f"{part:<10} {seconds:8.4f} s a block in each worker, {seconds / pace:.0%} of its time")
        else:
            print(f"{part:<10} {seconds:8.4f} s a block, saturated by {pace / seconds:.0f} workers")


if __name__ == "__main__":
    main()
