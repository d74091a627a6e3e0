"""Fixtures and functions that write tables with every column filled, for export and import tests."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lls_decode.config import Geometry, PixelSize
from lls_decode.export.exporting import FORMATS
from lls_decode.molecules.schema import molecule_schema
from lls_decode.table import TableMetadata, schema, table_writer

COMING_BACK = sorted(name for name, format in FORMATS.items() if format.comes_back)
"""Formats that `import` reads."""
PLANES = 30
PIXEL = PixelSize(x_nm=104.0, y_nm=98.0)
GEOMETRY = Geometry(motion="stage", stage_step_nm=400.0, angle_deg=31.8)
MODEL = {"psf": {"kind": "astigmatic", "sigma_x_nm": 130.0, "sigma_y_nm": 140.0}}

WriteTable = Callable[..., Path]


def random_columns(num_rows: int, *, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Return random values of every canonical column except sample coordinates, sorted by frame."""
    random = np.random.default_rng(seed)
    frame = np.sort(random.integers(0, 20 * PLANES, num_rows))
    columns = {
        "frame": frame,
        "volume": frame // PLANES,
        "plane": frame % PLANES,
        "x_nm": random.uniform(-50, 26_000, num_rows),
        "y_nm": random.uniform(-50, 26_000, num_rows),
        "z_nm": random.uniform(-600, 600, num_rows),
        "photons": random.uniform(50, 9000, num_rows),
        "bg": random.uniform(5, 100, num_rows),
        "x_sig": random.uniform(2, 40, num_rows),
        "y_sig": random.uniform(2, 40, num_rows),
        "z_sig": random.uniform(10, 90, num_rows),
        "phot_sig": random.uniform(5, 300, num_rows),
        "prob": random.uniform(0.3, 1, num_rows),
        "group": random.integers(-1, 2**30, num_rows),
    }
    return {
        name: values.astype(np.float32) if values.dtype == np.float64 else values for name, values in columns.items()
    }


def random_molecules(num_rows: int, *, seed: int = 0) -> dict[str, np.ndarray[Any, Any]]:
    """Return random values of all columns of molecules but sample coordinates, sorted by last volume as in `link`."""
    random, columns = np.random.default_rng(seed), random_columns(num_rows, seed=seed)
    duration = random.integers(1, 4 * PLANES, num_rows)
    seen = random.integers(1, duration + 1)
    columns |= {"last_frame": columns["frame"] + duration - 1, "num_frames": seen, "num_planes": np.minimum(seen, 5)}
    columns |= {"num_volumes": 1 + duration // PLANES, "group": np.arange(num_rows) + 7}
    columns["prob_any"] = random.uniform(0.9, 1, num_rows).astype(np.float32)
    del columns["volume"], columns["plane"]
    order = np.argsort(columns["last_frame"] // PLANES, kind="stable")
    return {name: values[order] for name, values in columns.items()}


def write_molecules(
    path: Path, columns: Mapping[str, Any], *, geometry: Geometry | None = None, **metadata: Any
) -> Path:
    """Write molecules, with sample coordinates if there is a geometry; ``columns`` may include ``channel``."""
    columns = dict(columns)
    if geometry is not None:
        place = (np.asarray(columns[name], dtype=np.float64) for name in ("x_nm", "y_nm", "z_nm"))
        columns |= dict(zip(("xs_nm", "ys_nm", "zs_nm"), geometry.to_sample(*place, 0), strict=True))
    canonical = molecule_schema(geometry is not None, "channel" in columns)
    arrays = [pa.array(np.asarray(columns[f.name]).astype(f.type.to_pandas_dtype()), type=f.type) for f in canonical]
    values = {"pixel_size": PIXEL, "planes_per_volume": PLANES, "geometry": geometry, **metadata}
    about = TableMetadata(**values).of_kind("molecules")
    with table_writer(path, canonical, about) as writer:
        writer.write(pa.table(arrays, schema=canonical))
    return path


def write_table(path: Path, columns: Mapping[str, Any], *, geometry: Geometry | None = None, **metadata: Any) -> Path:
    """Write localizations, with sample coordinates if there is a geometry; ``columns`` may include ``channel``."""
    columns = dict(columns)
    if geometry is not None:
        x, y, z = (np.asarray(columns[name], dtype=np.float64) for name in ("x_nm", "y_nm", "z_nm"))
        sample = geometry.to_sample(x, y, z, columns["plane"])
        columns |= dict(zip(("xs_nm", "ys_nm", "zs_nm"), sample, strict=True))
    canonical = schema(geometry is not None, "channel" in columns)
    arrays = [pa.array(np.asarray(columns[f.name]).astype(f.type.to_pandas_dtype()), type=f.type) for f in canonical]
    about = TableMetadata(**{"pixel_size": PIXEL, "planes_per_volume": PLANES, "geometry": geometry, **metadata})
    with table_writer(path, canonical, about) as writer:
        writer.write(pa.table(arrays, schema=canonical))
    return path


def write_pieces(path: Path, *, group_rows: int | None = None, **columns: Any) -> Path:
    """Write a table with the given columns and zeros in the others, in one or many row groups."""
    canonical = schema(with_sample=False)
    length = len(next(iter(columns.values())))
    values = [np.asarray(columns.get(f.name, np.zeros(length)), f.type.to_pandas_dtype()) for f in canonical]
    rows = pa.table([pa.array(value) for value in values], schema=canonical)
    with table_writer(path, canonical, TableMetadata()) as writer:
        step = group_rows or length
        for start in range(0, length, step):
            writer.write(rows.slice(start, step))
            writer.flush()
    return path


@pytest.fixture
def columns() -> dict[str, np.ndarray[Any, Any]]:
    return random_columns(500)


@pytest.fixture
def table(tmp_path: Path, columns: dict[str, np.ndarray[Any, Any]]) -> Path:
    """Write a table without geometry."""
    return write_table(tmp_path / "table.parquet", columns, model=MODEL)
