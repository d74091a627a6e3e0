"""What a localization table holds, in numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from lls_decode.table import iter_tables, read_metadata

_RANGES = ("x_nm", "y_nm", "z_nm", "photons", "bg", "x_sig", "y_sig", "z_sig", "prob")


def inspect_table(path: str | Path) -> dict[str, Any]:
    """Rows, frames and the range and mean of the columns of a table, in one streaming pass; JSON values.

    Raises
    ------
    TableError
        The file is no table of ours.
    """
    metadata = read_metadata(path)
    rows, first, last = 0, None, None
    low = dict.fromkeys(_RANGES, np.inf)
    high = dict.fromkeys(_RANGES, -np.inf)
    total = dict.fromkeys(_RANGES, 0.0)
    for piece in iter_tables(path, ["frame", *_RANGES]):
        if not len(piece):
            continue
        rows += len(piece)
        limits = pc.min_max(piece["frame"]).as_py()
        first = limits["min"] if first is None else min(first, limits["min"])
        last = limits["max"] if last is None else max(last, limits["max"])
        for name in _RANGES:
            limits = pc.min_max(piece[name]).as_py()
            low[name], high[name] = min(low[name], limits["min"]), max(high[name], limits["max"])
            total[name] += pc.sum(piece[name], min_count=0).as_py()
    return {
        "path": str(path),
        "version": ".".join(map(str, metadata.version)),
        "rows": rows,
        "first_frame": first,
        "last_frame": last,
        "columns": {name: info.unit for name, info in metadata.columns.items()},
        **{
            name: {"min": low[name], "mean": total[name] / rows, "max": high[name]} if rows else None
            for name in _RANGES
        },
        "pixel_size": metadata.pixel_size.to_dict() if metadata.pixel_size else None,
        "geometry": metadata.geometry.to_dict() if metadata.geometry else None,
        "model": metadata.model.get("name"),
        "model_digest": metadata.model_digest,
        "input": metadata.input,
        "run_digest": metadata.run_digest,
        "software": metadata.software,
        "notes": [f"without the blocks {', '.join(metadata.missing_blocks)}"] if metadata.missing_blocks else [],
    }
