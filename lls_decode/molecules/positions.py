"""Where a detection lies in the coordinate system in which molecules stand still.

For a movie that is the camera's. In a sweep it is the **deskewed** frame: the camera's axes in plane 0. Along these the
errors of x, y and z are independent (along those of the sample they are not), and so means can be taken axis by axis.
All positions that are linked are read here. They come from the columns of the sample where the table has them, so that
whatever was corrected in these since (drift) counts.
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
    """Columns that say where a row lies in space, whatever its plane: those of the sample where there are any.

    Raises
    ------
    TableError
        The table has planes, and nothing says where a molecule of one plane lies in the next.
    """
    if all(name in metadata.columns for name in _SAMPLE_COLUMNS):
        return _SAMPLE_COLUMNS
    planes = metadata.planes_per_volume or 1
    if planes > 1 and metadata.kind == "localizations":
        raise TableError(
            f"{path} has {planes} planes a volume and no columns {', '.join(_SAMPLE_COLUMNS)}, so that it is not known "
            "where a molecule of one plane lies in the next; localize with a geometry in the run configuration."
        )
    return _RAW_COLUMNS


class Positions:
    """Reads positions and variances from the rows of one table.

    Parameters
    ----------
    weighted
        False: sigmas are not looked at, and all variances are 1 nm^2, so that means are plain ones.

    Raises
    ------
    TableError
        The table has planes, and nothing says where a molecule of one plane lies in the next.
    """

    def __init__(self, path: Path, metadata: TableMetadata, *, weighted: bool = True) -> None:
        self._path, self.weighted = path, weighted
        places = place_columns(path, metadata)
        self.geometry = metadata.geometry if places == _SAMPLE_COLUMNS else None
        """Of the columns of the sample; None for a movie."""
        self.planes_per_volume = metadata.planes_per_volume or 1
        self.columns = (*places, *_SIGMA_COLUMNS)
        """Columns that `read` needs, besides ``frame``."""

    def read(self, rows: Mapping[str, npt.NDArray[Any]]) -> tuple[Floats, Floats]:
        """Positions and variances ``(3, N)`` along x, y, z, nm and nm^2.

        Where z or its sigma is not known (2-D), z is 0 and its variance infinite.

        Raises
        ------
        TableError
            Rows without a finite position in x and y, or without a positive sigma of these where these are needed.
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
                "linking needs; filter them out, e.g. with 'lls-decode filter --where \"0 < x_sig < 1000 and 0 < y_sig "
                "< 1000\"', or link by distance alone with radius_nm (--radius-nm)."
            )
        unknown = ~(np.isfinite(z) & (variance_3N[2] > 0) & np.isfinite(variance_3N[2]))
        variance_3N[2, unknown] = np.inf
        return np.stack([x, y, np.where(unknown, 0.0, z)]), variance_3N


def has_sigmas(path: Path) -> bool:
    """Whether each row of a table has a sigma of x and of y; one pass over these columns."""
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
    """Deskewed positions from those in sample coordinates: the rotation of `Geometry.to_sample`, backwards."""
    zero, one = np.zeros(1), np.ones(1)
    axes = [geometry.to_sample(*unit, 0) for unit in ((one, zero, zero), (zero, one, zero), (zero, zero, one))]
    # a rotation: the inverse of its matrix is the transposed one
    x, y, z = (u.x_nm * x_nm + u.y_nm * y_nm + u.z_nm * z_nm for u in axes)
    return x, y, z
