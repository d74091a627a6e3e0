"""Compare Parquet encodings of the same rows: bytes per row, and rows per second when writing and reading.

    OMP_NUM_THREADS=1 python benchmarks/storage.py [--volumes 40] [--repeats 3]

The rows come from the simulation of `pipeline.py` (50 000 per volume). They are written in row groups of the size that
lls_decode uses, on one thread. ``ours`` is the encoding that lls_decode writes. The best of the repeats counts. The
program prints one JSON line per encoding.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pipeline import merge, simulate

from lls_decode.table.schema import ROW_GROUP_ROWS
from lls_decode.table.shards import write_options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volumes", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        simulate(folder, options.volumes)
        merge(folder, options.volumes)
        rows = pq.read_table(folder / "merged.parquet")
        for name, encoding in encodings(rows.schema).items():
            print(json.dumps(measure(rows, folder / "copy.parquet", name, encoding, options.repeats)), flush=True)


def encodings(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    ours = write_options(schema)
    plain = {**ours, "column_encoding": None}
    return {
        "ours": ours,
        "split, zstd 1": {**ours, "compression_level": 1},
        "split, lz4": {**ours, "compression": "lz4", "compression_level": None},
        "split, none": {**ours, "compression": "none", "compression_level": None},
        "plain, zstd 1": {**plain, "compression_level": 1},
        "plain, zstd -1": plain,
        "pyarrow without options": {},
    }


def measure(rows: pa.Table, path: Path, name: str, encoding: dict[str, Any], repeats: int) -> dict[str, Any]:
    written, read = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        with pq.ParquetWriter(path, rows.schema, **encoding) as writer:
            writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        written.append(time.perf_counter() - start)
        start = time.perf_counter()
        back = pq.read_table(path, use_threads=False)
        read.append(time.perf_counter() - start)
    assert back.equals(rows)
    return {
        "benchmark": "storage",
        "encoding": name,
        "rows": rows.num_rows,
        "bytes_per_row": round(path.stat().st_size / rows.num_rows, 1),
        "written_rows_per_s": round(rows.num_rows / min(written)),
        "read_rows_per_s": round(rows.num_rows / min(read)),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
    }


if __name__ == "__main__":
    main()
