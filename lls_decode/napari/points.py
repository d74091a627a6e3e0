"""Tables as a layer of points of napari, thinned while they are read.

Positions are in nm and in the coordinates of ``lls-decode render``: sample coordinates if the table has them, else
camera coordinates. The axes are napari's (z, y, x), so pictures of the same table coincide with the points.
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
"""Number of points up to which napari still rotates smoothly."""
_AXES: Final = ("z", "y", "x")
_SIZES_NM: Final = (10.0, 200.0)
"""Smallest and largest diameter of a point."""
_DEFAULT_SIZE_NM: Final = 30.0
"""Diameter of a point if no sigma is known."""
_COLOURED: Final = (1.0, 99.0)
"""Percentiles of the coloured quantity that get the first and the last colour."""


def points_layer(path: str | Path, *, limit: int = MOST_POINTS) -> tuple[Any, dict[str, Any], str]:
    """Read a table of localizations or molecules as data for a Points layer of napari.

    The table is read one row group at a time; memory depends only on ``limit``.

    Parameters
    ----------
    limit
        Largest number of points. Larger tables are thinned evenly and reproducibly
        (`lls_decode.table.thinning.thinned_rows`); the name and the metadata of the layer say so.

    Returns
    -------
    data
        ``(N, 3)`` positions along z, y, x in nm, or ``(N, 2)`` along y, x if no z is known.
    arguments
        Arguments of ``napari.layers.Points``: all columns as features, colour by depth (by frame without z), and units.
    kind
        ``"points"``.

    Raises
    ------
    TableError
        The file is not a table of ours, has an unknown version, is damaged, or has no row with a position.
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
        raise TableError(f"{path} has no row with a position, so there is no point to show.")
    data, columns = data[placed], {name: values[placed] for name, values in columns.items()}
    column = "frame" if len(axes) < 3 else "zs_nm" if sample else "z_nm"
    arguments = {
        "name": _name(path, metadata, num_rows, len(placed), int(placed.sum())),
        "features": columns,
        **_coloured(column, columns[column]),
        "size": _size_nm(columns),
        "border_width": 0,
        "antialiasing": 0,  # soft edges give each point a dark rim that hides what is behind it
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
    """Return the columns of some rows, given by their ascending numbers."""
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
    """Return the name in the list of layers: the file, and how much of it is shown."""
    name = path.stem if path.stem != metadata.kind else f"{path.parent.name} {path.stem}".strip()
    return f"{name} ({num_shown:,})" if num_taken == num_rows else f"{name} ({num_shown:,} of {num_rows:,})"


def _coloured(column: str, values: npt.NDArray[Any]) -> dict[str, Any]:
    """Return colours by a column, as in pictures.

    Borders are coloured too, since they cover the faces of small points.
    """
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
    """Return the diameter of a point: two typical lateral sigmas."""
    if not {"x_sig", "y_sig"} <= columns.keys():
        return _DEFAULT_SIZE_NM
    sigma = np.sqrt((columns["x_sig"].astype(np.float64) ** 2 + columns["y_sig"].astype(np.float64) ** 2) / 2)
    known = sigma[np.isfinite(sigma) & (sigma > 0)]
    return float(np.clip(2 * np.median(known), *_SIZES_NM)) if len(known) else _DEFAULT_SIZE_NM
