"""Summarize the contents of a localization table in numbers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.evaluate import TableSummary
from lls_decode.evaluate.counts import ValueCounts
from lls_decode.evaluate.summary import MEASURED
from lls_decode.table import TableMetadata, iter_tables, read_metadata
from lls_decode.table.depth import DEPTH_COLUMNS, has_depth


def inspect_table(path: str | Path) -> dict[str, Any]:
    """Return the number of rows, volumes and planes of a table, its extent, and the values of its columns, for JSON.

    The table is read once, and memory does not grow with its size. The summary of a two-dimensional table omits z.
    Medians are accurate to 0.2 %.

    Raises
    ------
    TableError
        The file is not a table of lls_decode.
    """
    metadata = read_metadata(path)
    deep = has_depth(path)
    columns = {name: info for name, info in metadata.columns.items() if deep or name not in DEPTH_COLUMNS}
    found = TableSummary(tuple(columns), metadata.planes_per_volume or 1)
    for rows in iter_rows(path, metadata):
        found.add(rows)
    return {
        "path": str(path),
        "version": ".".join(map(str, metadata.version)),
        "rows": found.rows,
        "first_frame": found.first_frame,
        "last_frame": found.last_frame,
        "volumes": _range(found.volumes),
        "planes": _range(found.planes),
        "planes_per_volume": metadata.planes_per_volume,
        "extent_um": _extent(found),
        "dimensions": 3 if deep else 2,
        "columns": {name: info.unit for name, info in columns.items()},
        **{name: _values(found.columns[name]) for name in found.columns},
        "linked": {"rows": found.num_grouped} if found.num_grouped else None,
        "pixel_size": metadata.pixel_size.to_dict() if metadata.pixel_size else None,
        "geometry": metadata.geometry.to_dict() if metadata.geometry else None,
        "model": metadata.model.get("name"),
        "model_digest": metadata.model_digest,
        "channels": [metadata.channel_label(number) for number in range(len(metadata.channels))],
        "input": metadata.input if deep else _without_depth(metadata.input),
        "run_digest": metadata.run_digest,
        "software": metadata.software,
        "history": [describe_step(step) for step in metadata.history],
        "missing_blocks": list(metadata.missing_blocks),
        "lost_frames": [_span(item) for item in metadata.lost_frames],
        "filled_frames": [_span(item) for item in metadata.filled_frames],
    }


def _without_depth(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return the input of a table, without the z columns that its import filled in."""
    filled = source.get("filled")
    if not isinstance(filled, Mapping):
        return dict(source)
    return {**source, "filled": {name: value for name, value in filled.items() if name not in DEPTH_COLUMNS}}


def _span(span: tuple[int, int]) -> str:
    """Return a range of frames as ``3-7``, which includes the last frame."""
    return f"{span[0]}-{span[1] - 1}" if span[1] - span[0] > 1 else str(span[0])


def iter_rows(path: str | Path, metadata: TableMetadata) -> Iterator[Mapping[str, npt.NDArray[Any]]]:
    """Yield the frame, the molecule (``group``), and the measured columns of a table, one row group at a time."""
    names = [name for name in ("frame", "group", *MEASURED) if name in metadata.columns]
    for piece in iter_tables(path, names):
        yield {name: np.asarray(piece[name].to_numpy()) for name in names}


def describe_step(step: Mapping[str, Any]) -> str:
    """Describe one processing step of a table after its run: its name, and its numbers and words."""
    details = [
        f"{name.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in step.items()
        if name != "step" and isinstance(value, str | int | float)
    ]
    if step.get("step") == "join":
        details.append("of " + ", ".join(str(given.get("name")) for given in step.get("inputs", ())))
    return f"{step.get('step', 'unknown')}: {', '.join(details)}" if details else str(step.get("step", "unknown"))


def _range(ends: tuple[int, int] | None) -> dict[str, int] | None:
    return None if ends is None else {"first": ends[0], "last": ends[1]}


def _values(counts: ValueCounts) -> dict[str, float] | None:
    """Return the statistics of a column; None if it contains no number."""
    if not counts.num:
        return None
    found = {"min": counts.low, "median": counts.quantile(0.5), "mean": counts.mean, "max": counts.high}
    return found | ({"unknown": counts.num_unknown} if counts.num_unknown else {})


def _extent(found: TableSummary) -> dict[str, float] | None:
    """Return the extent of the localizations in µm, in sample coordinates if the table has them."""
    names: Sequence[str] = [name for name in ("xs_nm", "ys_nm", "zs_nm") if name in found.columns]
    names = names or [name for name in ("x_nm", "y_nm", "z_nm") if name in found.columns]
    sizes = {name[0]: (found.columns[name].high - found.columns[name].low) / 1000 for name in names}
    known = {axis: round(size, 3) for axis, size in sizes.items() if math.isfinite(size)}
    return known or None
