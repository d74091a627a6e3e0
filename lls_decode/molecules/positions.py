"""Positions of localizations in coordinates in which molecules do not move.

For a movie these are the camera coordinates. For a sweep they are the **deskewed** coordinates: the camera's axes with
their origin in plane 0. Along these axes the errors of x, y and z are independent, unlike along the sample axes, so
means can be computed axis by axis. All positions used for linking are read here. They are computed from the sample
coordinates where the table has them, so that corrections such as drift are included.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.config import Geometry
from lls_decode.errors import TableError
from lls_decode.table import TableMetadata, iter_tables, read_schema

Floats = npt.NDArray[np.float64]

_SAMPLE_COLUMNS = ("xs_nm", "ys_nm", "zs_nm")
_RAW_COLUMNS = ("x_nm", "y_nm", "z_nm")
_SIGMA_COLUMNS = ("x_sig", "y_sig", "z_sig")


def place_columns(path: Path, metadata: TableMetadata) -> tuple[str, str, str]:
    """Return the position columns that are comparable between planes: sample coordinates where the table has them.

    Raises
    ------
    TableError
        The table has planes but no sample coordinates, so positions in different planes cannot be compared.
    """
    if all(name in metadata.columns for name in _SAMPLE_COLUMNS):
        return _SAMPLE_COLUMNS
    planes = metadata.planes_per_volume or 1
    if planes > 1 and metadata.kind == "localizations":
        raise TableError(
            f"{path} has {planes} planes per volume but no columns {', '.join(_SAMPLE_COLUMNS)}, so positions in "
            "different planes cannot be compared; localize with a geometry in the run configuration."
        )
    return _RAW_COLUMNS


class Positions:
    """Reader of positions and variances from the rows of one table.

    Parameters
    ----------
    weighted
        False: sigmas are ignored and all variances are 1 nm^2, so that means are unweighted.

    Raises
    ------
    TableError
        The table has planes but no sample coordinates, so positions in different planes cannot be compared.
    """

    def __init__(self, path: Path, metadata: TableMetadata, *, weighted: bool = True) -> None:
        self._path, self.weighted = path, weighted
        places = place_columns(path, metadata)
        self.geometry = metadata.geometry if places == _SAMPLE_COLUMNS else None
        """Geometry of the sample coordinates; None for a movie."""
        self.planes_per_volume = metadata.planes_per_volume or 1
        self.columns = (*places, *_SIGMA_COLUMNS)
        """Columns that `read` needs in addition to ``frame``."""

    def read(self, rows: Mapping[str, npt.NDArray[Any]]) -> tuple[Floats, Floats]:
        """Return positions and variances ``(3, N)`` along x, y, z, in nm and nm^2.

        Where z or its sigma is unknown (2-D), z is 0 and its variance infinite.

        Raises
        ------
        TableError
            A row has no finite position in x and y, or no positive sigma in x and y although sigmas are needed.
        """
        x, y, z = (rows[name].astype(np.float64) for name in self.columns[:3])
        if self.weighted:
            variance_3N = np.stack([rows[name].astype(np.float64) ** 2 for name in _SIGMA_COLUMNS])
        else:
            variance_3N = np.ones((3, len(x)))
        if self.geometry is not None:
            x, y, z = from_sample(self.geometry, x, y, z)
        lateral = np.isfinite(x) & np.isfinite(y) & np.all((variance_3N[:2] > 0) & np.isfinite(variance_3N[:2]), axis=0)
        if not lateral.all():
            first = int(rows["frame"][np.argmin(lateral)])
            if not self.weighted:
                raise TableError(
                    f"{self._path} has rows without a position in x and y (the first in frame {first}), which linking "
                    "needs; filter them out, e.g. with 'lls-decode filter --where \"isfinite(x_nm) and "
                    "isfinite(y_nm)\"'."
                )
            raise TableError(
                f"{self._path} has rows without a position or a sigma in x and y (the first in frame {first}), which "
                "linking needs; filter them out, e.g. with 'lls-decode filter --where \"isfinite(x_nm) and "
                "isfinite(y_nm) and 0 < x_sig < 1000 and 0 < y_sig < 1000\"', or, if only sigmas are missing, link by "
                "distance alone with radius_nm (--radius-nm)."
            )
        unknown = ~(np.isfinite(z) & (variance_3N[2] > 0) & np.isfinite(variance_3N[2]))
        variance_3N[2, unknown] = np.inf
        return np.stack([x, y, np.where(unknown, 0.0, z)]), variance_3N


def has_sigmas(path: Path) -> bool:
    """Return whether every row of a table has sigmas of x and y, in one pass over these columns."""
    names = _SIGMA_COLUMNS[:2]
    if not set(names) <= set(read_schema(path).names):
        return False
    for rows in iter_tables(path, names):
        for name in names:
            sigma = rows[name].to_numpy()
            if not np.all((sigma > 0) & np.isfinite(sigma)):
                return False
    return True


def from_sample(geometry: Geometry, x_nm: Floats, y_nm: Floats, z_nm: Floats) -> tuple[Floats, Floats, Floats]:
    """Convert sample coordinates to deskewed coordinates: the inverse of the rotation in `Geometry.to_sample`."""
    zero, one = np.zeros(1), np.ones(1)
    axes = [geometry.to_sample(*unit, 0) for unit in ((one, zero, zero), (zero, one, zero), (zero, zero, one))]
    # the inverse of a rotation matrix is its transpose
    x, y, z = (u.x_nm * x_nm + u.y_nm * y_nm + u.z_nm * z_nm for u in axes)
    return x, y, z
