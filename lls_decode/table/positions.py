"""Positions and precisions of rows, for everything that compares the positions of many rows.

Coordinates are sample coordinates if the geometry is known, else camera coordinates.
"""

from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.config import Geometry

Floats = npt.NDArray[np.float64]
Coords = Literal["raw", "sample"]

SIGMA_COLUMNS: Final = ("x_sig", "y_sig", "z_sig")
DEFAULT_SIGMA_NM: Final = (20.0, 20.0, 50.0)
"""Precision that is assumed if the table does not state one."""


def coords_of(geometry: Geometry | None) -> Coords:
    """Return the name of the coordinates in which tables with this geometry are compared."""
    return "raw" if geometry is None else "sample"


def positions(rows: pa.Table, geometry: Geometry | None) -> Floats:
    """Return the positions ``(N, 3)`` in nm, computed from the camera coordinates and the plane."""
    x, y, z = (rows[name].to_numpy().astype(np.float64) for name in ("x_nm", "y_nm", "z_nm"))
    if geometry is None:
        return np.stack([x, y, z], axis=1)
    return np.stack(geometry.to_sample(x, y, z, planes_of(rows)), axis=1)


def planes_of(rows: pa.Table) -> npt.NDArray[np.generic]:
    """Return the plane ``(N,)`` of each row; 0 for molecules, whose coordinates refer to plane 0."""
    return np.asarray(rows["plane"].to_numpy()) if "plane" in rows.column_names else np.zeros(rows.num_rows)


def sigmas(rows: pa.Table, geometry: Geometry | None) -> Floats:
    """Return the sigmas ``(N, 3)`` in nm along the axes of the coordinates; NaN if the table does not state them."""
    sigma = np.full((rows.num_rows, 3), np.nan)
    for axis, name in enumerate(SIGMA_COLUMNS):
        if name in rows.column_names:
            sigma[:, axis] = rows[name].to_numpy()
    if geometry is not None:
        along = "xy".index(geometry.propagation_axis)
        sigma[:, along], sigma[:, 2] = geometry.sample_sigmas(sigma[:, along], sigma[:, 2])
    return sigma


def median_sigma(sigma_N3: npt.NDArray[np.floating[Any]]) -> Floats:
    """Return the median ``(3,)`` of the known, positive sigmas along each axis, nm."""
    median = np.array(DEFAULT_SIGMA_NM)
    for axis in range(3):
        known = sigma_N3[:, axis][np.isfinite(sigma_N3[:, axis]) & (sigma_N3[:, axis] > 0)]
        if len(known):
            median[axis] = float(np.median(known))
    return median
