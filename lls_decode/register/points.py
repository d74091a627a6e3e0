"""Positions of a table, or of one of its channels: evenly thinned, in one coordinate system."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.errors import TableError
from lls_decode.table import CHANNEL_COLUMN, count_rows, iter_tables, read_metadata
from lls_decode.table.positions import SIGMA_COLUMNS, Coords, Floats, coords_of, median_sigma, positions, sigmas

Integers = npt.NDArray[np.int64]

MAX_POINTS: Final = 2**19
"""Largest number of rows of each table that are used."""


@dataclass(frozen=True)
class Cloud:
    """A cloud of points. ``N`` points, ``D`` axes: x y, or x y z."""

    name: str
    """Name of the table in messages."""
    position_ND: Floats
    """(N, D) positions, nm."""
    volume_N: Integers
    sigma_D: Floats
    """Median precision along each axis, nm."""
    coords: Coords
    num_volumes: int
    """Number of volumes from the first to the last one that has a point."""
    kept: float = 1.0
    """Share of the table's rows that are kept as points."""

    def __len__(self) -> int:
        return len(self.position_ND)

    @property
    def num_axes(self) -> int:
        """2, or 3 if z varies."""
        return int(self.position_ND.shape[1])

    def lateral(self) -> "Cloud":
        """Return the cloud without z."""
        return replace(self, position_ND=self.position_ND[:, :2], sigma_D=self.sigma_D[:2])


def read_cloud(path: str | Path, *, channel: int | None = None, max_points: int = MAX_POINTS) -> Cloud:
    """Read every n-th row of a table (of one channel), n as small as ``max_points`` allows.

    Raises
    ------
    TableError
        The table cannot be read, or has no rows (of this channel).
    ConfigError
        A channel is given, but the table has no channels.
    """
    path = Path(path)
    metadata = read_metadata(path)
    metadata.check_channel(path, channel)
    stride = max(1, math.ceil(_count(path, channel) / max_points))
    time = "frame" if metadata.kind == "molecules" else "volume"
    names = ["x_nm", "y_nm", "z_nm", time, *(("plane",) if "plane" in metadata.columns else ())]
    names += [name for name in SIGMA_COLUMNS if name in metadata.columns]
    names += [CHANNEL_COLUMN.name] if channel is not None else []
    found, volumes, precisions, row = [], [], [], 0
    for rows in iter_tables(path, names):
        if channel is not None:
            rows = rows.filter(pa.compute.equal(rows[CHANNEL_COLUMN.name], channel))
        part = rows.take(np.arange(-row % stride, rows.num_rows, stride))
        row += rows.num_rows
        found.append(positions(part, metadata.geometry).astype(np.float32))
        volumes.append(part[time].to_numpy())
        precisions.append(sigmas(part, metadata.geometry).astype(np.float32))
    if row == 0:
        of = "" if channel is None else f" of channel {channel}"
        raise TableError(f"{path} has no rows{of}; give a table, or a channel, with rows.")
    position_N3 = np.concatenate(found).astype(np.float64)
    known = np.isfinite(position_N3[:, :2]).all(axis=1)
    z = position_N3[:, 2]
    is_3d = bool(np.isfinite(z[known]).mean() > 0.5 and np.ptp(z[known & np.isfinite(z)]) > 0) if known.any() else False
    known &= np.isfinite(z) if is_3d else True
    if not known.any():
        raise TableError(f"{path} has no row with a position; filter the table first.")
    volume = np.concatenate(volumes).astype(np.int64)[known]
    axes = 3 if is_3d else 2
    label = path.name if channel is None else f"channel {metadata.channel_label(channel)!r} of {path.name}"
    return Cloud(
        label,
        position_N3[known][:, :axes],
        volume,
        median_sigma(np.concatenate(precisions)[known])[:axes],
        coords_of(metadata.geometry),
        int(np.ptp(volume)) + 1,
        1 / stride,
    )


def _count(path: Path, channel: int | None) -> int:
    if channel is None:
        return count_rows(path)
    names = [CHANNEL_COLUMN.name]
    return sum(int((rows[names[0]].to_numpy() == channel).sum()) for rows in iter_tables(path, names))
