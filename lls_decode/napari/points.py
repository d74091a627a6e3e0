"""A table as a layer of points, thinned while it is streamed.

Positions are in nm and in the coordinates of ``lls-decode render``: those of the sample where the table has them, else
those of the camera. Axes are napari's (z, y, x), so that pictures of the same table coincide with the points.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lls_decode.errors import TableError
from lls_decode.pictures.colours import depth_colours, to_srgb
from lls_decode.table import TableMetadata, count_rows, iter_tables, read_metadata
from lls_decode.table.thinning import thinned_rows

Columns = dict[str, npt.NDArray[Any]]

MOST_POINTS: Final = 500_000
"""Points that napari still turns smoothly."""
_AXES: Final = ("z", "y", "x")
_SIZES_NM: Final = (10.0, 200.0)
"""Smallest and largest diameter of a point."""
_DEFAULT_SIZE_NM: Final = 30.0
"""Diameter of a point where no sigma is known."""
_COLOURED: Final = (1.0, 99.0)
"""Percentiles of what the colour stands for that get the first and the last colour."""


def points_layer(path: str | Path, *, limit: int = MOST_POINTS) -> tuple[Any, dict[str, Any], str]:
    """Read a table of localizations or molecules as data for a Points layer of napari.

    The table is read one row group at a time; memory depends on ``limit`` only.

    Parameters
    ----------
    limit
        Most points. Of a table with more rows, as many are taken, evenly and always the same ones
        (`lls_decode.table.thinning.thinned_rows`); the name and the metadata of the layer say so.

    Returns
    -------
    data
        ``(N, 3)`` positions along z, y, x in nm, or ``(N, 2)`` along y, x where no z is known.
    arguments
        Of ``napari.layers.Points``: all columns as features, the colour by depth (by frame without z), units.
    kind
        ``"points"``.

    Raises
    ------
    TableError
        The file is no table of ours, is of an unknown version, is damaged, or has no row with a position.
    """
    path = Path(path)
    metadata, num_rows = read_metadata(path), count_rows(path)
    columns = _read_thinned(path, thinned_rows(num_rows, limit))
    sample = "xs_nm" in columns
    position = {axis: columns[f"{axis}s_nm" if sample else f"{axis}_nm"] for axis in _AXES}
    axes = _AXES if np.isfinite(position["z"]).any() else _AXES[1:]
    data = np.stack([position[axis] for axis in axes], axis=1).astype(np.float64)
    placed: npt.NDArray[np.bool_] = np.asarray(np.isfinite(data).all(axis=1))
    if not placed.any():
        raise TableError(f"{path} has no row with a position, so that there is no point to show.")
    data, columns = data[placed], {name: values[placed] for name, values in columns.items()}
    column = "frame" if len(axes) < 3 else "zs_nm" if sample else "z_nm"
    arguments = {
        "name": _name(path, metadata, num_rows, len(placed), int(placed.sum())),
        "features": columns,
        **_coloured(column, columns[column]),
        "size": _size_nm(columns),
        "border_width": 0,
        "antialiasing": 0,  # soft edges hide what is behind them: a dark rim about each point
        "scale": (1.0,) * len(axes),
        "units": ("nm",) * len(axes),
        "axis_labels": axes,
        "metadata": {
            "lls_decode": {
                "file": str(path),
                "kind": metadata.kind,
                "coordinates": "sample" if sample else "camera",
                "rows": num_rows,
                "rows_taken": len(placed),
                "rows_without_position": int((~placed).sum()),
                "colour": column,
                "history": list(metadata.history),
            }
        },
    }
    return data, arguments, "points"


def _read_thinned(path: Path, rows: npt.NDArray[np.int64]) -> Columns:
    """The columns of some rows, which ascend."""
    taken: dict[str, list[npt.NDArray[Any]]] = {}
    start = 0
    for piece in iter_tables(path):
        first, stop = np.searchsorted(rows, (start, start + piece.num_rows))
        chosen = piece.take(rows[first:stop] - start)
        for name in chosen.column_names:
            taken.setdefault(name, []).append(np.asarray(chosen[name].to_numpy()))
        start += piece.num_rows
    return {name: np.concatenate(parts) for name, parts in taken.items()}


def _name(path: Path, metadata: TableMetadata, num_rows: int, num_taken: int, num_shown: int) -> str:
    """What the list of layers shows: the file, and how much of it is seen."""
    name = path.stem if path.stem != metadata.kind else f"{path.parent.name} {path.stem}".strip()
    return f"{name} ({num_shown:,})" if num_taken == num_rows else f"{name} ({num_shown:,} of {num_rows:,})"


def _coloured(column: str, values: npt.NDArray[Any]) -> dict[str, Any]:
    """The colours that pictures have, by a column; of borders too, which hide faces where points are small."""
    low, high = np.percentile(values, _COLOURED)
    rgb = to_srgb(depth_colours().astype(np.float32)) / 255
    colormap = {"name": "lls depth", "colors": np.column_stack([rgb, np.ones(len(rgb))])}
    limits = float(low), float(max(high, low + 1.0))
    return {
        f"{part}_{name}": value
        for part in ("face", "border")
        for name, value in (("color", column), ("colormap", colormap), ("contrast_limits", limits))
    }


def _size_nm(columns: Columns) -> float:
    """Diameter of a point: two typical lateral sigmas."""
    if not {"x_sig", "y_sig"} <= columns.keys():
        return _DEFAULT_SIZE_NM
    sigma = np.sqrt((columns["x_sig"].astype(np.float64) ** 2 + columns["y_sig"].astype(np.float64) ** 2) / 2)
    known = sigma[np.isfinite(sigma) & (sigma > 0)]
    return float(np.clip(2 * np.median(known), *_SIZES_NM)) if len(known) else _DEFAULT_SIZE_NM
