"""Measure every step from shards to exported files for a long run: its time, and its memory, which should not grow.

    python benchmarks/pipeline.py [--rows 1000000 50000000] [--folder /fast/scratch]

The data are sweeps of a stage scan of a simulated cell (membrane and filaments, 40 um wide) with 50 000 rows per
volume, in shards of eight volumes. Molecules are localized about four times, in each plane within 400 nm, with errors
of 15, 15 and 40 nm at 1 500 photons. The sample drifts by 300 nm over all volumes. Each step runs in its own process,
on the files of earlier steps:

simulate   write the shards
merge      merge the shards into one table, and check their checksums
drift      estimate the drift by redundant cross-correlation; ``rms_nm`` is the error of the estimated drift
correct    write a drift-corrected table
link       link molecules, and write the table with their numbers
filter     filter rows by three columns
render     render a histogram of the filtered table as OME-Zarr, with pixels of 20 nm
export     export molecules and filtered rows to files of SMAP and Picasso, and to annotations of Neuroglancer
napari     create the points layer for napari
join       join the filtered and the drift-corrected table
register   measure the rigid map from the drift-corrected table to the uncorrected one, and apply it to all rows

The program prints one JSON line per step; ``peak_mb`` is the peak memory of its process. It needs 400 bytes of disk
space per row.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lls_decode.axes import Layout
from lls_decode.blocks import Block, plan_blocks
from lls_decode.config import Cell, Geometry, PixelSize
from lls_decode.drift import correct_table, estimate_drift, read_curve, write_curve
from lls_decode.export.exporting import export_table
from lls_decode.joining.join import join_tables
from lls_decode.molecules import filter_table, link
from lls_decode.napari.points import points_layer
from lls_decode.pictures.render_pyramid import render_pyramid
from lls_decode.register.registering import register_tables
from lls_decode.simulate.structure import CellStructure, build_cell
from lls_decode.table import TableMetadata, count_rows, merge_shards, schema, write_shard

PIXEL = PixelSize(x_nm=104.0, y_nm=104.0)
GEOMETRY = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8)
PLANES = 100
SIDE = 512
ROWS_PER_VOLUME = 50_000
VOLUMES_PER_SHARD = 8
SIGMA_NM = (15.0, 15.0, 40.0)
PHOTONS = 1500.0
"""Median photons; photons and sigmas vary between localizations, because constant columns would need no space."""
SEEN_NM = 400.0
"""Distance from the focus within which a molecule is localized in a plane."""
CELL = Cell(
    radii_nm=(18_000.0, 20_000.0, 3000.0),
    membrane_share=0.5,
    num_filaments=60,
    filament_length_nm=15_000.0,
    persistence_nm=5000.0,
)
DIGEST = "benchmark"
Floats = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 50_000_000])
    parser.add_argument("--folder", type=Path, help="Folder for scratch files.")
    options = parser.parse_args()
    for num_rows in options.rows:
        num_volumes = max(20, num_rows // ROWS_PER_VOLUME)
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for step in STEPS:
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # to measure peak memory
                    record = pool.submit(measure, step.__name__, Path(folder), num_volumes).result()
                print(json.dumps(record), flush=True)


def measure(step: str, folder: Path, num_volumes: int) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    found = globals()[step](folder, num_volumes)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "benchmark": "pipeline",
        "step": step,
        **found,
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
        "rows_per_cpu_s": round(found["rows"] / cpu),
        "peak_mb": round(getrusage(RUSAGE_SELF).ru_maxrss / 1024),
        "hardware": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def simulate(folder: Path, num_volumes: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    cell = build_cell(CELL, GEOMETRY, PIXEL, layout_of(1), np.random.default_rng(7))
    drift_V3 = wandering(num_volumes)
    (folder / "shards").mkdir()
    rows = 0
    for block in blocks_of(num_volumes):
        pieces = [
            sweep(cell, volume, drift_V3[volume], random) for volume in range(block.volume_start, block.volume_stop)
        ]
        rows += write_shard(pa.concat_tables(pieces), block, folder / "shards", run_digest=DIGEST).rows
    return {"rows": rows}


def merge(folder: Path, num_volumes: int) -> dict[str, Any]:
    about = TableMetadata(
        pixel_size=PIXEL, planes_per_volume=PLANES, geometry=GEOMETRY, width=SIDE, height=SIDE,
        num_frames=num_volumes * PLANES,
    )  # fmt: skip
    made = merge_shards(
        folder / "shards", blocks_of(num_volumes), folder / "merged.parquet", run_digest=DIGEST, metadata=about
    )
    return {"rows": made.rows, "bytes_per_row": round((folder / "merged.parquet").stat().st_size / made.rows, 1)}


def drift(folder: Path, num_volumes: int) -> dict[str, Any]:
    curve = estimate_drift(folder / "merged.parquet")
    write_curve(folder / "drift.parquet", curve)
    truth = wandering(num_volumes)
    missed = curve.shift_nm - (truth - truth.mean(axis=0))
    return {
        "rows": count_rows(folder / "merged.parquet"),
        "windows": curve.details["num_windows"],
        "rms_nm": [round(float(value), 2) for value in np.sqrt(np.mean(missed**2, axis=0))],
    }


def correct(folder: Path, num_volumes: int) -> dict[str, Any]:
    curve = read_curve(folder / "drift.parquet", coords="sample")
    return {"rows": correct_table(folder / "merged.parquet", curve, folder / "corrected.parquet")}


def link_molecules(folder: Path, num_volumes: int) -> dict[str, Any]:
    (folder / "linked").mkdir()
    made = link(folder / "corrected.parquet", out=folder / "linked")
    return {"rows": count_rows(folder / "corrected.parquet"), "molecules": made.num_molecules}


def filter_rows(folder: Path, num_volumes: int) -> dict[str, Any]:
    table = linked_table(folder)
    made = filter_table(table, folder / "filtered.parquet", where="x_sig < 30 and prob > 0.6 and -300 <= z_nm < 300")
    return {"rows": count_rows(table), "kept": made.num_kept}


def render(folder: Path, num_volumes: int) -> dict[str, Any]:
    render_pyramid(folder / "filtered.parquet", folder / "picture.zarr", mode="histogram")
    return {"rows": count_rows(folder / "filtered.parquet")}


def export_smap(folder: Path, num_volumes: int) -> dict[str, Any]:
    export_table(folder / "filtered.parquet", folder / "rows_sml.mat")
    return {"rows": count_rows(folder / "filtered.parquet")}


def export_picasso(folder: Path, num_volumes: int) -> dict[str, Any]:
    export_table(folder / "filtered.parquet", folder / "rows.hdf5", format="picasso")
    return {"rows": count_rows(folder / "filtered.parquet")}


def export_molecules(folder: Path, num_volumes: int) -> dict[str, Any]:
    """Export molecules to Picasso, which includes sorting them by frame."""
    made = export_table(folder / "linked" / "molecules.parquet", folder / "molecules.hdf5", format="picasso")
    return {"rows": made.rows}


def export_molecules_smap(folder: Path, num_volumes: int) -> dict[str, Any]:
    made = export_table(folder / "linked" / "molecules.parquet", folder / "molecules_sml.mat")
    return {"rows": made.rows}


def export_neuroglancer(folder: Path, num_volumes: int) -> dict[str, Any]:
    export_table(folder / "filtered.parquet", folder / "rows.precomputed")
    return {"rows": count_rows(folder / "filtered.parquet")}


def napari_points(folder: Path, num_volumes: int) -> dict[str, Any]:
    points, _, _ = points_layer(folder / "filtered.parquet")
    return {"rows": count_rows(folder / "filtered.parquet"), "points": len(points)}


def join(folder: Path, num_volumes: int) -> dict[str, Any]:
    joined = folder / "joined.parquet"
    join_tables([folder / "filtered.parquet", folder / "corrected.parquet"], joined)
    rows = count_rows(joined)
    joined.unlink()
    return {"rows": rows}


def register(folder: Path, num_volumes: int) -> dict[str, Any]:
    made = register_tables(folder / "merged.parquet", folder / "corrected.parquet", out=folder / "registered.parquet")
    return {
        "rows": count_rows(folder / "registered.parquet"),
        "shift_nm": [round(float(value), 2) for value in made.transformation.shift_nm],
    }


STEPS: tuple[Callable[[Path, int], dict[str, Any]], ...] = (
    simulate,
    merge,
    drift,
    correct,
    link_molecules,
    filter_rows,
    render,
    export_smap,
    export_picasso,
    export_molecules,
    export_molecules_smap,
    export_neuroglancer,
    napari_points,
    join,
    register,
)


def linked_table(folder: Path) -> Path:
    """Return the path of the table with molecule numbers that `link` has written beside the table of molecules."""
    (table,) = (
        path
        for path in sorted((folder / "linked").glob("*.parquet"))
        if "group" in pq.read_schema(path).names and path.name != "molecules.parquet"
    )
    return table


def layout_of(num_volumes: int) -> Layout:
    return Layout(num_volumes=num_volumes, planes_per_volume=PLANES, height=SIDE, width=SIDE)


def blocks_of(num_volumes: int) -> tuple[Block, ...]:
    return plan_blocks(layout_of(num_volumes), "plane", VOLUMES_PER_SHARD * PLANES)


def wandering(num_volumes: int) -> Floats:
    """Return the drift of each volume in sample coordinates, in nm."""
    t = np.arange(num_volumes) / num_volumes
    return 300.0 * np.stack(
        [t + 0.25 * np.sin(8.2 * t), 0.2 * np.cos(13.2 * t) - 0.7 * t**2, 0.5 * np.sin(4 * t)], axis=1
    )


def sweep(cell: CellStructure, volume: int, drift_nm: Floats, random: np.random.Generator) -> pa.Table:
    """Simulate one volume, with each molecule localized in all planes near its focus."""
    step = GEOMETRY.axial_step_nm
    num = round(ROWS_PER_VOLUME * step / (2 * SEEN_NM))
    s, y, h = (cell.sample(num, random) + drift_nm).T
    away = GEOMETRY.raw_displacement(s, y, h)
    reach = int(SEEN_NM / step) + 1
    plane = (np.rint(away.z_nm / step).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)).ravel()
    molecule = np.repeat(np.arange(num), 2 * reach + 1)
    seen = (np.abs(away.z_nm[molecule] - plane * step) < SEEN_NM) & (plane >= 0) & (plane < PLANES)
    plane, molecule = plane[seen], molecule[seen]
    photons = PHOTONS * random.lognormal(0.0, 0.4, len(plane))
    sigma = np.outer(SIGMA_NM, np.sqrt(PHOTONS / photons)) * random.lognormal(0.0, 0.1, (3, len(plane)))
    error = random.normal(0.0, sigma)
    x = away.x_nm[molecule] - plane * GEOMETRY.lateral_step_nm + error[0]
    y = away.y_nm[molecule] + error[1]
    z = away.z_nm[molecule] - plane * step + error[2]
    columns = {"x_nm": x, "y_nm": y, "z_nm": z, "plane": plane, "frame": volume * PLANES + plane}
    columns |= dict(zip(("xs_nm", "ys_nm", "zs_nm"), GEOMETRY.to_sample(x, y, z, plane), strict=True))
    columns |= {"x_sig": sigma[0], "y_sig": sigma[1], "z_sig": sigma[2], "photons": photons}
    columns |= {"phot_sig": 2.0 * np.sqrt(photons) * random.lognormal(0.0, 0.1, len(plane))}
    columns |= {name: random.uniform(low, high, len(plane)) for name, low, high in UNIFORM}
    columns |= {"volume": np.full(len(plane), volume), "group": np.full(len(plane), -1)}
    expected = schema(with_sample=True)
    return pa.table(
        [pa.array(columns[field.name].astype(field.type.to_pandas_dtype())) for field in expected], expected
    )


UNIFORM = (("bg", 10, 20), ("prob", 0.5, 1.0))


if __name__ == "__main__":
    main()
