"""Neuroglancer's precomputed annotations: a folder of points that browsers load piece by piece, however many.

The files follow Neuroglancer's documentation of the annotation format (Google, Apache-2.0): points in nm with their
properties, a spatial index with several levels, and an index by id. The id is the number of the row in the table. All
indexes are sharded, i.e. stored in a few large files that a web server has to serve by byte ranges.

The table is read three times: for its limits, to count the points in each cell of a fine grid, and to write it.
Meanwhile points wait in one scratch file (about 60 bytes each), so that points of neighbouring cells come together.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lls_decode.documents import read_json
from lls_decode.export.rows import ExportTable
from lls_decode.export.written import Written
from lls_decode.outputs import PROGRAM
from lls_decode.table.folders import folder_written_aside
from lls_decode.table.thinning import row_lot

from .annotations import Annotations
from .levels import CELL_POINTS, Floats, Grid, Integers, Level, grids, plan_levels
from .shards import Sharding, ShardWriter
from .sorting import SortedByRange

logger = logging.getLogger(__name__)

SUFFIX: Final = ".precomputed"
_TYPE: Final = "neuroglancer_annotations_v1"
_BY_ID: Final = "by_id"
_SPATIAL: Final = "spatial"
_INFO: Final = "info"
_IDS_AN_INDEX_BITS: Final = 12
_CELLS_AN_INDEX_BITS: Final = 8
_CROWD: Final = 20
"""Number of points in a cell, in multiples of `CELL_POINTS`, above which a warning is logged."""
_MOVIE: Final = dict.fromkeys(("volume", "plane"), "the table has one plane per volume")
_ROWS_AT_ONCE: Final = 500_000
"""Number of rows that are sorted in memory at a time."""


def write(table: ExportTable, out: Path) -> Written:
    """Write the annotations to the folder ``out``.

    Raises
    ------
    TableError
        Some rows have no z, or a number is too large for Neuroglancer.
    OutputError
        Full disk, read-only folder, or ``out`` exists and must not be replaced.
    """
    annotations = Annotations(table)
    low, high = annotations.bounds_nm
    all_grids = grids(high - low)
    with folder_written_aside(
        out, kind="a collection of annotations", is_of_kind=_is_collection, is_ours=_is_ours
    ) as folder:
        levels = plan_levels(_count_cells(table, annotations, all_grids[-1]), all_grids)
        _warn_of_a_crowd(table, levels[-1], low, high)
        folder.mkdir()
        by_id = Sharding.of(
            key_bits=max(table.survey.num_rows - 1, 1).bit_length(),
            num_bytes=table.survey.num_rows * annotations.dtype.itemsize,
            preshift_bits=_IDS_AN_INDEX_BITS,
        )
        ranges = [found for number, level in enumerate(levels) for found in _ranges(number, level)]
        waiting = _sort(table, annotations, levels, ranges, by_id, folder)
        spatial = [_write_level(folder, number, level, annotations, waiting, ranges)
                   for number, level in enumerate(levels)]  # fmt: skip
        info = _info(table, annotations, by_id, spatial)
        (folder / _INFO).write_text(json.dumps(info, indent=1, allow_nan=False), encoding="utf-8")
    return Written(annotations.columns, _MOVIE)


def _warn_of_a_crowd(table: ExportTable, finest: Level, low: Floats, high: Floats) -> None:
    """Warn if cells of the smallest size hold so many points that a browser has to wait for them."""
    most = float(finest.expected.max())
    if most > _CROWD * CELL_POINTS:
        size = " x ".join(f"{each:.3g}" for each in (high - low) / finest.grid.shape)
        logger.warning(
            "%s reaches from (%s) to (%s) nm, and the fullest of its smallest cells (%s nm) has about %d points in one "
            "level; if few rows lie far from all others, filter them out first",
            table.path, *(", ".join(f"{each:.0f}" for each in edge) for edge in (low, high)), size, most,
        )  # fmt: skip


@dataclass(frozen=True)
class _Range:
    """Range of cells of one level whose points are sorted together."""

    level: int
    first_key: int
    """Key of the first cell; the range ends before the next range of the level."""


def _count_cells(table: ExportTable, annotations: Annotations, grid: Grid) -> Integers:
    """Return the number of points in each cell of a grid."""
    total = np.zeros(int(np.prod(grid.shape)), dtype=np.int64)
    for rows in table.pieces():
        cell = grid.cell(annotations.position(annotations.encode(rows)), *annotations.bounds_nm)
        total += np.bincount(np.ravel_multi_index(tuple(cell), grid.shape), minlength=len(total))
    return total.reshape(grid.shape)


def _ranges(number: int, level: Level) -> list[_Range]:
    """Split the cells of a level, in the order of their keys, into ranges with about equal numbers of points."""
    order = level.grid.key(np.indices(level.grid.shape)).ravel()
    expected = np.empty(order.shape)
    expected[order] = level.expected.ravel()
    part = np.floor((np.cumsum(expected) - expected) / _ROWS_AT_ONCE)
    return [_Range(number, int(key)) for key in np.flatnonzero(np.diff(part, prepend=-1.0))]


def _sort(
    table: ExportTable,
    annotations: Annotations,
    levels: list[Level],
    ranges: list[_Range],
    by_id: Sharding,
    folder: Path,
) -> SortedByRange:
    """Write the index by id, in the order of the table, and sort the points into ranges of cells."""
    record = np.dtype([("cell", "<u4"), ("annotation", annotations.dtype), ("id", "<u8")])
    waiting = SortedByRange(folder.parent / "points", record, num_ranges=len(ranges))
    level_of, first_key = (np.array([getattr(each, name) for each in ranges]) for name in ("level", "first_key"))
    start = 0
    with ShardWriter(folder / _BY_ID, by_id) as index:
        for rows in table.pieces():
            found = np.empty(len(rows["frame"]), record)
            found["annotation"], found["id"] = annotations.encode(rows), start + np.arange(len(found))
            ids = found["id"].astype(np.int64)
            size = annotations.dtype.itemsize
            index.add(ids, np.full(len(ids), size), found["annotation"].tobytes())
            level = np.searchsorted([each.stop_lot for each in levels], row_lot(ids), side="right")
            position = annotations.position(found["annotation"])
            for number, each in enumerate(levels):
                here = np.flatnonzero(level == number)
                found["cell"][here] = each.grid.key(each.grid.cell(position[:, here], *annotations.bounds_nm))
            waiting.add(found, _range_of(level, found["cell"], level_of, first_key))
            start += len(found)
    waiting.flush()
    return waiting


def _range_of(level: Integers, cell: npt.NDArray[Any], level_of: Integers, first_key: Integers) -> Integers:
    """Return the range of each point, from its level and its cell."""
    both = (level_of.astype(np.int64) << 32) | first_key
    return np.searchsorted(both, (level.astype(np.int64) << 32) | cell.astype(np.int64), side="right") - 1


def _write_level(
    folder: Path,
    number: int,
    level: Level,
    annotations: Annotations,
    waiting: SortedByRange,
    ranges: list[_Range],
) -> dict[str, Any]:
    """Write one level of the spatial index, and return its entry in the ``info`` file."""
    low, high = annotations.bounds_nm
    sharding = Sharding.of(
        key_bits=sum(level.grid.bits),
        num_bytes=float(level.expected.sum()) * (annotations.dtype.itemsize + 8),
        preshift_bits=_CELLS_AN_INDEX_BITS,
    )
    largest = 1
    with ShardWriter(folder / f"{_SPATIAL}{number}", sharding) as index:
        for place, each in enumerate(ranges):
            if each.level == number:
                keys, sizes, values, fullest = _cells(waiting.read(place))
                index.add(keys, sizes, values)
                largest = max(largest, fullest)
    return {
        "key": f"{_SPATIAL}{number}",
        "sharding": sharding.to_json(),
        "grid_shape": list(level.grid.shape),
        "chunk_size": [float(size) for size in (high - low) / level.grid.shape],
        "limit": largest,
    }


def _cells(points: npt.NDArray[Any]) -> tuple[Integers, Integers, bytes, int]:
    """Return keys, sizes and bytes of the occupied cells (points sorted by lot), and the largest point count."""
    points = points[np.lexsort((row_lot(points["id"].astype(np.int64)), points["cell"]))]
    keys, first, count = np.unique(points["cell"], return_index=True, return_counts=True)
    values = []
    for begin, num in zip(first.tolist(), count.tolist(), strict=True):
        cell = points[begin : begin + num]
        values += [np.uint64(num).tobytes(), cell["annotation"].tobytes(), cell["id"].tobytes()]
    sizes = 8 + count * (points.dtype["annotation"].itemsize + 8)
    return keys.astype(np.int64), sizes, b"".join(values), int(count.max(initial=0))


def _info(
    table: ExportTable, annotations: Annotations, by_id: Sharding, spatial: list[dict[str, Any]]
) -> dict[str, Any]:
    low, high = annotations.bounds_nm
    return {
        "@type": _TYPE,
        "written_by": PROGRAM,
        "dimensions": {axis: [1e-9, "m"] for axis in annotations.axes},
        "lower_bound": low.tolist(),
        "upper_bound": high.tolist(),
        "annotation_type": "POINT",
        "properties": [each.to_json() for each in annotations.properties],
        "relationships": [],
        "by_id": {"key": _BY_ID, "sharding": by_id.to_json()},
        "spatial": spatial,
        "lls_decode": {"source": table.path.name, "coordinates": table.coords, "rows": table.survey.num_rows},
    }


def _read_info(folder: Path) -> dict[str, Any]:
    """Return the ``info`` of a collection; empty if there is none."""
    try:
        info = read_json(folder / _INFO)
    except (OSError, ValueError):
        return {}
    return info if isinstance(info, dict) and info.get("@type") == _TYPE else {}


def _is_collection(folder: Path) -> bool:
    """Return whether a folder holds a collection of annotations and nothing else."""
    info = _read_info(folder)
    parts = [info.get("by_id"), *info.get("spatial", []), *info.get("relationships", [])]
    known = {_INFO, *(str(part.get("key")) for part in parts if isinstance(part, dict))}
    return bool(info) and {path.name for path in folder.iterdir()} <= known


def _is_ours(folder: Path) -> bool:
    return str(_read_info(folder).get("written_by", "")).startswith("lls_decode ")
