"""Compare estimated drift with simulated drift: error, stated uncertainty, time and memory.

    python benchmarks/accuracy/drift.py [--rows 1e6 1e7] [--only kinds|accuracy|scale] [--picture drift.png]

kinds     Twelve kinds of acquisition (`drift_kinds`), each with several drifts. Errors are evaluated at the
          localizations, after subtracting their mean. ``error_over_uncertainty`` is their root mean square in units of
          the stated standard deviations, over all axes and drifts of a kind.
accuracy  Sweeps of a stage scan of a simulated cell (membrane and filaments, 10 um wide). Localizations have errors of
          15, 15 and 40 nm. The drift is smooth, 300 to 500 nm, with and without a jump of 120, 84, 96 nm between two
          volumes. Errors are root mean squares over volumes along x, y, z of the sample.
scale     Time and peak memory for tables of ``--rows`` localizations, each in its own process. Times are CPU-seconds,
          because machines are shared.

The program prints one JSON line per case.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from drift_kinds import KINDS, Kind, write_kind

from lls_decode.axes import Layout
from lls_decode.config import Cell, Geometry, PixelSize
from lls_decode.drift import correct_table, draw_curve, estimate_drift
from lls_decode.simulate.structure import CellStructure, build_cell
from lls_decode.table import TableMetadata, schema, table_writer

PIXEL = PixelSize(x_nm=104.0, y_nm=104.0)
GEOMETRY = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8)
PLANES = 20
SIGMA_NM = (15.0, 15.0, 40.0)
CELL = Cell(
    radii_nm=(5000.0, 5000.0, 1200.0),
    membrane_share=0.2,
    num_filaments=25,
    filament_length_nm=6000.0,
    persistence_nm=3000.0,
)
Floats = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", type=float, default=[1e6, 1e7])
    parser.add_argument("--only", choices=["kinds", "accuracy", "scale"])
    parser.add_argument("--repeats", type=int, default=3, help="Number of drifts for each kind.")
    parser.add_argument("--picture", type=Path, help="File for a picture of one curve and its truth.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.only in (None, "kinds"):
            for kind in KINDS:
                report_kind(Path(folder), kind, options.repeats)
        if options.only in (None, "accuracy"):
            accuracy(Path(folder), options.picture)
        if options.only in (None, "scale"):
            for rows in options.rows:
                scale(Path(folder), int(rows))


def report_kind(folder: Path, kind: Kind, repeats: int) -> None:
    """Print errors and stated uncertainties at the localizations of tables of one kind."""
    start = time.process_time()
    errors, sigmas, beyond = [], [], []
    for seed in range(repeats):
        random = np.random.default_rng(seed)
        truth = kind.drift(random)
        made = kind.make(random, truth)
        write_kind(folder / "kind.parquet", made)
        curve = estimate_drift(folder / "kind.parquet", method=kind.method)
        missed = curve.at(made["volume"]) - truth[made["volume"]]
        errors.append(missed - missed.mean(axis=0))
        sigmas.append(curve.sigma_nm[np.clip(made["volume"] - curve.first_volume, 0, len(curve) - 1)])
        beyond.append(curve.details["unsupported_rows"])
    missed, sigma = np.concatenate(errors), np.concatenate(sigmas)
    emit(
        kind="kinds",
        acquisition=kind.name,
        repeats=repeats,
        rms_nm=rounded(np.sqrt(np.mean(missed**2, axis=0))),
        uncertainty_nm=rounded(np.sqrt(np.mean(sigma**2, axis=0))),
        error_over_uncertainty=round(float(np.sqrt(np.mean((missed / sigma) ** 2))), 2),
        by_drift=rounded(np.array([np.sqrt(np.mean((e / s) ** 2)) for e, s in zip(errors, sigmas, strict=True)])),
        unsupported_rows=round(float(np.mean(beyond)), 4),
        processor_seconds=round(time.process_time() - start, 1),
    )


def accuracy(folder: Path, picture: Path | None) -> None:
    for jump in (0.0, 120.0):
        for rows in (5_000, 20_000, 60_000, 200_000):
            report(folder, rows, jump, None, picture if rows == 60_000 and jump else None)
    for windows in (10, 20, 40, 80):
        report(folder, 60_000, 0.0, windows, None)


def report(folder: Path, rows: int, jump: float, windows: int | None, picture: Path | None) -> None:
    table, truth = folder / "table.parquet", wandering(200, jump)
    write_sweeps(table, rows, truth)
    start = time.process_time()
    curve = estimate_drift(table, num_windows=windows)
    missed = curve.shift_nm - (truth - truth.mean(axis=0))
    if picture is not None:
        draw_curve(picture, curve, title=f"{rows} simulated localizations", truth_nm=truth - truth.mean(axis=0))
    emit(
        kind="accuracy",
        rows=rows,
        jump_nm=jump,
        windows_asked=windows,
        windows=curve.details["num_windows"],
        rms_nm=rounded(np.sqrt(np.mean(missed**2, axis=0))),
        uncertainty_nm=rounded(np.median(curve.sigma_nm, axis=0)),
        error_over_uncertainty=rounded(np.sqrt(np.mean((missed / curve.sigma_nm) ** 2, axis=0))),
        residual_of_pairs_nm=curve.details["residual_nm"],
        processor_seconds=round(time.process_time() - start, 1),
    )


def scale(folder: Path, rows: int) -> None:
    """Measure one case in a new process, so that its peak memory can be measured."""
    truth = wandering(1000, 0.0)
    table = folder / "large.parquet"
    write_sweeps(table, rows, truth)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(measure, (table, rows, truth))
    table.unlink()


def measure(table: Path, rows: int, truth: Floats) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    curve = estimate_drift(table)
    estimated = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    correct_table(table, curve, table.with_name("corrected.parquet"))
    moved = time.process_time()
    table.with_name("corrected.parquet").unlink()
    missed = curve.shift_nm - (truth - truth.mean(axis=0))
    emit(
        kind="scale",
        rows=rows,
        localizations_used=curve.details["num_localizations"],
        windows=curve.details["num_windows"],
        rms_nm=rounded(np.sqrt(np.mean(missed**2, axis=0))),
        uncertainty_nm=rounded(np.median(curve.sigma_nm, axis=0)),
        estimate_processor_seconds=round(estimated - start, 1),
        correct_processor_seconds=round(moved - estimated, 1),
        started_at_mib=round(before / 1024),
        peak_estimate_mib=round(peak / 1024),
        peak_correct_mib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    )


def wandering(num_volumes: int, jump_nm: float) -> Floats:
    t = np.arange(num_volumes) / num_volumes
    smooth = [t + 0.25 * np.sin(8.2 * t), 0.2 * np.cos(13.2 * t) - 0.7 * t**2, 0.5 * np.sin(4 * t)]
    return np.stack(smooth, axis=1) * 300.0 + jump_nm * np.array([1.0, -0.7, 0.8]) * (t > 0.37)[:, None]


def write_sweeps(path: Path, num_rows: int, drift_V3: Floats) -> None:
    layout = Layout(num_volumes=1, planes_per_volume=PLANES, height=128, width=128)
    cell = build_cell(CELL, GEOMETRY, PIXEL, layout, np.random.default_rng(7))
    about = TableMetadata(pixel_size=PIXEL, planes_per_volume=PLANES, geometry=GEOMETRY)
    with table_writer(path, schema(with_sample=True), about) as writer:
        for columns in volumes(cell, num_rows, drift_V3):
            order = np.lexsort([columns[name] for name in ("x_nm", "y_nm", "plane", "volume")])
            arrays = [
                pa.array(columns[field.name][order].astype(field.type.to_pandas_dtype()), type=field.type)
                for field in schema(with_sample=True)
            ]
            writer.write(pa.table(arrays, schema=schema(with_sample=True)))


def volumes(cell: CellStructure, num_rows: int, drift_V3: Floats) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Yield the columns of a few volumes at a time."""
    random = np.random.default_rng(0)
    per_volume = np.bincount(random.integers(0, len(drift_V3), num_rows), minlength=len(drift_V3))
    for some in np.array_split(np.arange(len(drift_V3)), max(1, num_rows // 200_000)):
        volume = np.repeat(some, per_volume[some])
        sample = cell.sample(len(volume), random) + drift_V3[volume]
        away = GEOMETRY.raw_displacement(*sample.T)
        plane = np.rint((away.z_nm + random.uniform(-400, 400, len(volume))) / GEOMETRY.axial_step_nm)
        plane = np.clip(plane, 0, PLANES - 1).astype(np.int64)
        x, y, z = (
            position + sigma * random.standard_normal(len(volume))
            for position, sigma in zip(
                (
                    away.x_nm - plane * GEOMETRY.lateral_step_nm,
                    away.y_nm,
                    away.z_nm - plane * GEOMETRY.axial_step_nm,
                ),
                SIGMA_NM,
                strict=True,
            )
        )
        same = {"photons": 1000, "bg": 20, "phot_sig": 50, "prob": 1, "group": -1}
        same |= {f"{axis}_sig": sigma for axis, sigma in zip("xyz", SIGMA_NM, strict=True)}
        columns = {name: np.full(len(volume), value) for name, value in same.items()}
        columns |= {"frame": volume * PLANES + plane, "volume": volume, "plane": plane, "x_nm": x, "y_nm": y, "z_nm": z}
        yield columns | dict(zip(("xs_nm", "ys_nm", "zs_nm"), GEOMETRY.to_sample(x, y, z, plane), strict=True))


def rounded(values: Floats) -> list[float]:
    return [round(float(value), 2) for value in values]


def emit(**values: Any) -> None:
    print(
        json.dumps({"benchmark": "drift", **values, "machine": f"{platform.machine()}, {os.cpu_count()} cores"}),
        flush=True,
    )


if __name__ == "__main__":
    main()
