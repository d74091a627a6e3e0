"""Simulated tables for tests of pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lls_decode.table import TableMetadata, schema, table_writer

Columns = dict[str, Any]


def write(path: Path, *, group_rows: int | None = None, about: TableMetadata | None = None, **columns: Any) -> Path:
    """Write a table with the given columns and zeros in the others, in one or many row groups."""
    canonical = schema("xs_nm" in columns, "channel" in columns)
    length = len(next(iter(columns.values())))
    values = [np.asarray(columns.get(f.name, np.zeros(length)), f.type.to_pandas_dtype()) for f in canonical]
    rows = pa.table([pa.array(value) for value in values], schema=canonical)
    with table_writer(path, canonical, about or TableMetadata()) as writer:
        step = group_rows or length
        for start in range(0, length, step):
            writer.write(rows.slice(start, step))
            writer.flush()
    return path


def filaments(number: int, *, size_nm: float = 6000.0, seed: int = 0) -> Columns:
    """Return localizations with various sigmas on curves in a square field."""
    random = np.random.default_rng(seed)
    which, along = random.integers(0, 12, number), random.uniform(0, 1, number)
    x = size_nm * (0.5 + 0.45 * np.cos(which + 3 * along)) + random.normal(0, 15, number)
    y = size_nm * (0.5 + 0.45 * np.sin(1.7 * which + 2 * along)) + random.normal(0, 15, number)
    sigmas = {"x_sig": (2, 60), "y_sig": (2, 60), "z_sig": (10, 90)}
    return {
        "x_nm": x, "y_nm": y, "z_nm": 400 * np.sin(which + along), "frame": np.sort(random.integers(0, 500, number)),
        "photons": random.gamma(3, 500, number),
        **{name: random.uniform(low, high, number) for name, (low, high) in sigmas.items()},
    }  # fmt: skip
