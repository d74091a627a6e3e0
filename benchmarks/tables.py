"""Measure linking, filtering and import of tables: their speed, and their memory, which should not grow with the table.

    OMP_NUM_THREADS=1 python benchmarks/tables.py [--rows 1000000 10000000] [--what link-sweeps ...]

The tables are simulated piece by piece: molecules stay on for several planes (or frames) and are localized with errors
that agree with their sigmas, at about one detection in 400 pixels. Each measurement runs in its own process, whose peak
memory is ``peak_mb`` and should be the same for all lengths. The program prints one JSON line per measurement.
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
from typing import Any

import numpy as np
import pyarrow as pa

from lls_decode.config import Geometry, PixelSize
from lls_decode.export.exporting import FORMATS, export_table
from lls_decode.export.importing import import_table
from lls_decode.molecules import debias, filter_table, link
from lls_decode.table import TableMetadata, count_rows, schema, table_writer

FIELD_NM = 512 * 104.0
PLANES = 100
SEEN = 4.0
"""Mean number of planes (or frames) in which a molecule is detected."""
PER_FRAME = 650
GEOMETRY = Geometry(motion="stage", stage_step_nm=400, angle_deg=31.8, propagation_axis="x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--what", nargs="+", default=list(MEASURED), choices=list(MEASURED))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for num_rows in options.rows:
            tables: dict[bool, Path] = {}
            for what in options.what:
                call, movie = MEASURED[what]
                if movie not in tables:
                    tables[movie] = Path(folder) / ("movie.parquet" if movie else "sweeps.parquet")
                    apart(simulate, tables[movie], num_rows, movie)
                if what.startswith("import-"):
                    apart(write_foreign, tables[movie], what.removeprefix("import-"))
                result = apart(measure, call, tables[movie], Path(folder))
                record = {
                    "benchmark": "tables",
                    "what": what,
                    **result,
                    "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
                }
                print(json.dumps(record), flush=True)


def apart(function: Any, *arguments: Any) -> Any:
    """Call a function in a new process, so that its peak memory can be measured."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(call: str, table: Path, folder: Path) -> dict[str, Any]:
    rows = count_rows(table)
    (folder / "out").mkdir(exist_ok=True)
    wall, cpu = time.perf_counter(), time.process_time()
    more = globals()[call](table, folder / "out")
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "rows": rows,
        "rows_per_s": round(rows / wall),
        "rows_per_cpu_s": round(rows / cpu),
        "peak_mb": round(getrusage(RUSAGE_SELF).ru_maxrss / 1024),
        **more,
    }


def run_link(table: Path, out: Path) -> dict[str, Any]:
    made = link(table, out=out)
    return {"molecules": made.num_molecules}


def run_filter(table: Path, out: Path) -> dict[str, Any]:
    made = filter_table(table, out / "filtered.parquet", where="x_sig < 30 and prob > 0.8 and 0 <= z_nm < 400")
    return {"kept": made.num_kept}


def run_best(table: Path, out: Path) -> dict[str, Any]:
    made = filter_table(table, out / "filtered.parquet", best=0.5)
    return {"kept": made.num_kept}


def run_neighbours(table: Path, out: Path) -> dict[str, Any]:
    made = filter_table(table, out / "filtered.parquet", min_neighbours=3, radius_nm=50.0)
    return {"kept": made.num_kept}


def run_debias(table: Path, out: Path) -> dict[str, Any]:
    debias(table, out / "debiased.parquet")
    return {}


def write_foreign(table: Path, format: str) -> None:
    """Export a table in the format of another program, to a file beside the table."""
    for old in table.parent.glob("foreign*"):
        old.unlink()
    export_table(table, table.with_name(f"foreign{FORMATS[format].suffix}"), format=format)


def run_import(table: Path, out: Path) -> dict[str, Any]:
    (foreign,) = (path for path in table.parent.glob("foreign*") if path.suffix != ".yaml")
    import_table(foreign, out / "imported.parquet", pixel_size=PixelSize(x_nm=104, y_nm=104))
    return {}


MEASURED = {
    "link-sweeps": ("run_link", False),
    "link-movie": ("run_link", True),
    "filter-where": ("run_filter", False),
    "filter-best": ("run_best", False),
    "filter-neighbours": ("run_neighbours", False),
    "debias": ("run_debias", False),
    **{f"import-{name}": ("run_import", True) for name in ("smap", "picasso", "decode", "smlm", "csv")},
}


def simulate(path: Path, num_rows: int, movie: bool) -> None:
    """Write a table of about ``num_rows`` rows, one volume (or a hundred frames of a movie) at a time."""
    rng = np.random.default_rng(0)
    geometry = None if movie else GEOMETRY
    metadata = TableMetadata(
        pixel_size=PixelSize(x_nm=104, y_nm=104), geometry=geometry, planes_per_volume=1 if movie else PLANES
    )
    written = volume = 0
    with table_writer(path, schema(with_sample=not movie), metadata) as writer:
        while written < num_rows:
            piece = simulate_volume(rng, volume, geometry)
            writer.write(piece)
            written, volume = written + len(piece), volume + 1


def simulate_volume(rng: np.random.Generator, volume: int, geometry: Geometry | None) -> pa.Table:
    num = rng.poisson(PER_FRAME * PLANES / SEEN)
    first = rng.integers(0, PLANES, num)
    seen = np.minimum(rng.geometric(1 / SEEN, num), PLANES - first)
    molecule = np.repeat(np.arange(num), seen)
    plane = np.arange(len(molecule)) - np.repeat(np.cumsum(seen) - seen, seen) + first[molecule]
    (x, y), z = rng.uniform(0, FIELD_NM, (2, num)), rng.uniform(-400, 400, num)
    sigma = np.exp(rng.normal(np.log([[20], [20], [45]]), 0.3, (3, len(molecule))))
    error = rng.normal(0, sigma)
    step = geometry.axial_step_nm if geometry else 0.0
    position = [x[molecule] + error[0], y[molecule] + error[1], z[molecule] + error[2]]
    position[2] += (first[molecule] - plane) * step  # in focus in its first plane
    order = np.lexsort((position[0], position[1], plane))
    columns = dict(zip(("x_nm", "y_nm", "z_nm"), position, strict=True))
    columns |= dict(zip(("x_sig", "y_sig", "z_sig"), sigma, strict=True))
    if geometry:
        columns["x_nm"] = columns["x_nm"] + (first[molecule] - plane) * geometry.lateral_step_nm
        sample = geometry.to_sample(columns["x_nm"], columns["y_nm"], columns["z_nm"], plane)
        columns |= dict(zip(("xs_nm", "ys_nm", "zs_nm"), sample, strict=True))
    frame = volume * PLANES + plane
    columns |= {
        "frame": frame,
        "volume": np.full(len(plane), volume) if geometry else frame,
        "plane": plane if geometry else np.zeros(len(plane)),
        "photons": rng.uniform(500, 3000, len(plane)),
        "bg": rng.uniform(10, 20, len(plane)),
        "phot_sig": rng.uniform(50, 100, len(plane)),
        "prob": rng.uniform(0.5, 1.0, len(plane)),
        "group": np.full(len(plane), -1),
    }
    expected = schema(with_sample=geometry is not None)
    return pa.table(
        [pa.array(columns[field.name][order].astype(field.type.to_pandas_dtype())) for field in expected], expected
    )


if __name__ == "__main__":
    main()
