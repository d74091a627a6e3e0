"""Measure the CPU time for reading the status of a run of 100 000 blocks.

    python benchmarks/status.py [--blocks 100000]

The status is read for the first time, when nothing has changed, and after 100 new blocks; then the heat strip of the
page is computed. The run folder is artificial: it holds a record, a ledger, and empty files for shards. The program
prints one JSON line per figure.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.config import ExecutionConfig, RunConfig
from lls_decode.pipelines.journal.events import BlockDone
from lls_decode.pipelines.journal.folder import RunFolder
from lls_decode.pipelines.journal.json_lines import format_event
from lls_decode.pipelines.journal.record import ModelRecord, RunRecord
from lls_decode.pipelines.status.reader import RunReader
from lls_decode.pipelines.watch.strip import make_cells
from lls_decode.table import TableMetadata


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=100_000)
    blocks = parser.parse_args().blocks
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        write_run(out, blocks)
        add_blocks(out, 0, blocks // 2)
        first = time.process_time()
        reader = RunReader(out)
        reader.read()
        report("first look", blocks, time.process_time() - first)
        report("nothing new", blocks, median(reader.read, before=lambda _: None))
        start = blocks // 2
        report(
            "100 new blocks",
            blocks,
            median(reader.read, before=lambda n: add_blocks(out, start + 100 * n, start + 100 * n + 100)),
        )
        report("heat strip", blocks, median(lambda: make_cells(reader.blocks, reader.states), before=lambda _: None))


def write_run(out: Path, blocks: int) -> None:
    layout = Layout(num_volumes=blocks // 4, planes_per_volume=400, height=512, width=512)
    assert len(plan_blocks(layout, "plane", 100)) == blocks // 4 * 4
    (out / "shards").mkdir()
    record = RunRecord(
        run_digest="0", dataset="movie.zarr", model=ModelRecord(path="m.lls", name="m", digest="0"), identity={},
        samples=(), config=RunConfig(execution=ExecutionConfig(block_frames=100)), context="plane", layout=layout,
        num_blocks=blocks, table_metadata=TableMetadata(), notes=(), software={}, created_at=0.0, started_at=0.0,
        host="", pid=0,
    )  # fmt: skip
    RunFolder(out).write_record(record)


def add_blocks(out: Path, start: int, stop: int) -> None:
    lines = []
    for index in range(start, stop):
        name = f"b{index:06d}"
        (out / "shards" / f"{name}.parquet").touch()
        event = BlockDone(
            at=1.0 + index, block=index, block_id=name, frames=100, rows=9000, bytes=500_000, attempts=1, read_s=0.4,
            start_s=0.0, compute_s=1.7, write_s=0.1, worker=f"tcp://10.0.0.{index % 32}:40000", pid=index % 32,
        )  # fmt: skip
        lines.append(format_event(event))
    for path in (RunFolder(out).ledger, RunFolder(out).events):
        with path.open("ab") as file:
            file.writelines(lines)


def median(look: Callable[[], object], *, before: Callable[[int], None], times: int = 9) -> float:
    seconds = []
    for number in range(times):
        before(number)
        started = time.process_time()
        look()
        seconds.append(time.process_time() - started)
    return sorted(seconds)[times // 2]


def report(what: str, blocks: int, seconds: float) -> None:
    print(json.dumps({"figure": what, "blocks": blocks, "cpu_ms": round(1000 * seconds, 1)}), flush=True)


if __name__ == "__main__":
    main()
