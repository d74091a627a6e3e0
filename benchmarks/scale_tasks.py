"""Tasks for benchmarks of the overhead of a run: workers write shards but do not localize."""

import os
import threading
import time
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from distributed import get_worker

from lls_decode.blocks import Block
from lls_decode.pipelines.running.tasks import Task, TaskReport
from lls_decode.table import schema, write_shard

ROWS = 20
"""Number of rows in each shard."""
_one_at_a_time: "defaultdict[str, threading.Lock]" = defaultdict(threading.Lock)
"""Locks that let each worker compute one block at a time, as in a run.

They are kept by the worker's address, because several workers may share one process.
"""


def write_at_once(task: Task) -> TaskReport:
    """Write a shard of a few artificial rows immediately."""
    return _write(task, 0.0)


def sleep_and_write(task: Task) -> TaskReport:
    """Write a shard after ``compute.tile_px`` milliseconds, during which the worker processes no other block."""
    compute_s = task.config.compute.tile_px / 1000
    with _one_at_a_time[get_worker().address]:
        time.sleep(compute_s)
    return _write(task, compute_s)


def _write(task: Task, compute_s: float) -> TaskReport:
    block = task.block
    began = time.perf_counter()
    receipt = write_shard(rows_of(block), block, Path(task.shards), run_digest=task.run_digest)
    write_s = time.perf_counter() - began
    return TaskReport(receipt, block.num_owned, 0.0, 0.0, compute_s, write_s, get_worker().address, os.getpid())


def rows_of(block: Block) -> pa.Table:
    """Return rows spread over the frames of a block of a movie."""
    table = _rows()
    volume = np.linspace(block.volume_start, block.volume_stop - 1, ROWS).astype(np.uint32)
    for name in ("frame", "volume"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), pa.array(volume))
    return table


@cache
def _rows() -> pa.Table:
    canonical = schema(with_sample=False)
    values = np.random.default_rng(0).uniform(0, 10_000, (len(canonical), ROWS))
    values[canonical.get_field_index("plane")] = 0
    columns = [pa.array(row.astype(field.type.to_pandas_dtype())) for row, field in zip(values, canonical, strict=True)]
    return pa.table(columns, schema=canonical)
