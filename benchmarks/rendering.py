"""Measure rendering: its speed, and its memory, which should grow neither with the table nor with the picture.

    OMP_NUM_THREADS=1 python benchmarks/rendering.py [--rows 1000000 4000000] [--what histogram ...] [--pixel-nm 20]
    OMP_NUM_THREADS=1 python benchmarks/rendering.py --rows 1000000 20000000 --what png tif --megapixels 4 30 120

The simulated localizations lie on filaments in a field of 53 x 53 µm, 600 nm deep, with sigmas of 5 to 40 nm. Each
measurement runs in its own process, whose peak memory is ``peak_mb``. The program prints one JSON line per measurement.
"""

import argparse
import itertools
import json
import math
import os
import platform
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
import pyarrow as pa

from lls_decode.pictures.render import render_png
from lls_decode.pictures.render_pyramid import render_pyramid
from lls_decode.pictures.view import View
from lls_decode.table import ROW_GROUP_ROWS, TableMetadata, schema, table_writer

FIELD_NM = 512 * 104.0
REGION = View(x_nm=(0, FIELD_NM), y_nm=(0, FIELD_NM))
MEASURED: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "histogram": (render_pyramid, "a.zarr", {"mode": "histogram", "view": REGION}),
    "gaussian": (render_pyramid, "a.zarr", {"mode": "gaussian", "view": REGION}),
    "volume": (render_pyramid, "a.zarr", {"mode": "histogram", "view": REGION, "z_pixel_nm": 40.0}),
    "ome-tiff": (render_pyramid, "a.ome.tif", {"mode": "histogram", "view": REGION}),
    "png histogram": (render_png, "a.png", {"mode": "histogram", "view": REGION}),
    "png": (render_png, "a.png", {"mode": "gaussian", "view": REGION}),
    "tif": (render_png, "a.tif", {"mode": "gaussian", "view": REGION}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 4_000_000])
    parser.add_argument("--what", nargs="+", default=list(MEASURED), choices=list(MEASURED))
    parser.add_argument("--pixel-nm", type=float, default=20.0)
    parser.add_argument("--megapixels", type=float, nargs="+", help="Sizes of the picture (replaces --pixel-nm).")
    options = parser.parse_args()
    sizes = [FIELD_NM / (1000 * area**0.5) for area in options.megapixels or ()] or [options.pixel_nm]
    for num_rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "table.parquet"
            apart(simulate, table, num_rows)
            for what, pixel_nm in itertools.product(options.what, sizes):
                result = apart(measure, what, table, pixel_nm)
                record = {"benchmark": "rendering", "what": what, "rows": num_rows, **result}
                print(json.dumps(record | {"hardware": f"{platform.machine()}, {os.cpu_count()} cores"}), flush=True)


def apart(function: Any, *arguments: Any) -> Any:
    """Call a function in a new process, so that its peak memory can be measured."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(what: str, table: Path, pixel_nm: float) -> dict[str, Any]:
    draw, name, how = MEASURED[what]
    with tempfile.TemporaryDirectory(dir=table.parent) as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        drawn = draw(table, Path(folder) / name, pixel_nm=pixel_nm, **how)
        written = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "pixels": drawn.shape,
        "megapixels": round(math.prod(drawn.shape) / 1e6),
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
        "rows_per_cpu_s": round(drawn.num_drawn / cpu),
        "written_mb": round(written / 1e6, 1),
        "peak_mb": round(getrusage(RUSAGE_SELF).ru_maxrss / 1024),
    }


def simulate(path: Path, num_rows: int) -> None:
    random = np.random.default_rng(0)
    canonical = schema(with_sample=False)
    start, angle = random.uniform(0, FIELD_NM, (2, 200)), random.uniform(0, np.pi, 200)
    with table_writer(path, canonical, TableMetadata()) as writer:
        for first in range(0, num_rows, ROW_GROUP_ROWS):
            number = min(ROW_GROUP_ROWS, num_rows - first)
            which, along = random.integers(0, 200, number), random.uniform(0, FIELD_NM, number)
            columns: dict[str, Any] = {
                "frame": np.arange(first, first + number) // 500,
                "x_nm": (start[0, which] + along * np.cos(angle[which]) + random.normal(0, 15, number)) % FIELD_NM,
                "y_nm": (start[1, which] + along * np.sin(angle[which]) + random.normal(0, 15, number)) % FIELD_NM,
                "z_nm": 300 * np.sin(which + along / 5000),
                "photons": random.gamma(3, 500, number),
                "prob": random.uniform(0.5, 1, number),
            } | {f"{axis}_sig": random.uniform(5, 40, number) for axis in "xyz"}
            values = [np.asarray(columns.get(f.name, np.zeros(number)), f.type.to_pandas_dtype()) for f in canonical]
            writer.write(pa.table([pa.array(value) for value in values], schema=canonical))


if __name__ == "__main__":
    main()
