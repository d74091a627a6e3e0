"""Positions of a table, or of one of its channels: evenly thinned, in one coordinate system."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.errors import ConfigError, TableError
from lls_decode.table import CHANNEL_COLUMN, TableMetadata, count_rows, iter_tables, read_metadata

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Coords = Literal["raw", "sample"]

MAX_POINTS: Final = 2**19
"""Rows of each table that are used."""
_SIGMA_NAMES: Final = ("x_sig", "y_sig", "z_sig")
_DEFAULT_SIGMA_NM: Final = (20.0, 20.0, 50.0)
"""Precision that is assumed where the table does not say."""


@dataclass(frozen=True)
class Cloud:
    """Points. ``N`` points, ``D`` axes: x y, or x y z."""

    name: str
    """Of the table, for messages."""
    position_ND: Floats
    """nm"""
    volume_N: Integers
    sigma_D: Floats
    """Median precision along each axis, nm."""
    coords: Coords
    num_volumes: int
    """From the first to the last that has a point."""
    kept: float = 1.0
    """Share of the rows of the table that are points."""

    def __len__(self) -> int:
        return len(self.position_ND)

    @property
    def num_axes(self) -> int:
        """2, or 3 where z tells something."""
        return int(self.position_ND.shape[1])

    def lateral(self) -> "Cloud":
        """The same without z."""
        return replace(self, position_ND=self.position_ND[:, :2], sigma_D=self.sigma_D[:2])


def coords_of(metadata: TableMetadata) -> Coords:
    """Sample coordinates where the geometry is known, else raw ones."""
    return "raw" if metadata.geometry is None else "sample"


def positions(rows: pa.Table, metadata: TableMetadata) -> Floats:
    """``(N, 3)`` nm, in sample coordinates where the geometry is known."""
    x, y, z = (rows[name].to_numpy().astype(np.float64) for name in ("x_nm", "y_nm", "z_nm"))
    if metadata.geometry is None:
        return np.stack([x, y, z], axis=1)
    return np.stack(metadata.geometry.to_sample(x, y, z, planes_of(rows)), axis=1)


def planes_of(rows: pa.Table) -> npt.NDArray[np.generic]:
    """``(N,)`` plane of each row; molecules are in the coordinates of plane 0."""
    return np.asarray(rows["plane"].to_numpy()) if "plane" in rows.column_names else np.zeros(rows.num_rows)


def check_channel(path: Path, metadata: TableMetadata, channel: int | None) -> None:
    """Refuse a channel of a table that has no such column."""
    if channel is not None and not metadata.has_channels:
        raise ConfigError(
            f"{path} has no column {CHANNEL_COLUMN.name!r}, so that there is no channel {channel} in it; leave the "
            "channel out, or join the tables of several channels first ('lls-decode join --same-frames')."
        )


def read_cloud(path: str | Path, *, channel: int | None = None, max_points: int = MAX_POINTS) -> Cloud:
    """Read every n-th row of a table (of one channel), n as small as ``max_points`` allows.

    Raises
    ------
    TableError
        The table cannot be read, or has no such rows.
    ConfigError
        It has no channels.
    """
    path = Path(path)
    metadata = read_metadata(path)
    check_channel(path, metadata, channel)
    stride = max(1, math.ceil(_count(path, channel) / max_points))
    time = "frame" if metadata.kind == "molecules" else "volume"
    names = ["x_nm", "y_nm", "z_nm", time, *(("plane",) if "plane" in metadata.columns else ())]
    names += [name for name in _SIGMA_NAMES if name in metadata.columns]
    names += [CHANNEL_COLUMN.name] if channel is not None else []
    found, volumes, sigmas, row = [], [], [], 0
    for rows in iter_tables(path, names):
        if channel is not None:
            rows = rows.filter(pa.compute.equal(rows[CHANNEL_COLUMN.name], channel))
        part = rows.take(np.arange(-row % stride, rows.num_rows, stride))
        row += rows.num_rows
        found.append(positions(part, metadata).astype(np.float32))
        volumes.append(part[time].to_numpy())
        sigmas.append(_sigmas(part, metadata))
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
        _median(np.concatenate(sigmas)[known])[:axes],
        coords_of(metadata),
        int(np.ptp(volume)) + 1,
        1 / stride,
    )


def _count(path: Path, channel: int | None) -> int:
    if channel is None:
        return count_rows(path)
    names = [CHANNEL_COLUMN.name]
    return sum(int((rows[names[0]].to_numpy() == channel).sum()) for rows in iter_tables(path, names))


def _sigmas(rows: pa.Table, metadata: TableMetadata) -> npt.NDArray[np.float32]:
    """``(N, 3)`` nm along the axes of the coordinate system; NaN where the table does not say."""
    sigma = np.full((rows.num_rows, 3), np.nan, dtype=np.float32)
    for axis, name in enumerate(_SIGMA_NAMES):
        if name in rows.column_names:
            sigma[:, axis] = rows[name].to_numpy()
    if metadata.geometry is not None:
        along = "xy".index(metadata.geometry.propagation_axis)
        sigma[:, along], sigma[:, 2] = metadata.geometry.sample_sigmas(sigma[:, along], sigma[:, 2])
    return sigma


def _median(sigma_N3: npt.NDArray[np.float32]) -> Floats:
    median = np.array(_DEFAULT_SIGMA_NM)
    for axis in range(3):
        known = sigma_N3[:, axis][np.isfinite(sigma_N3[:, axis]) & (sigma_N3[:, axis] > 0)]
        if len(known):
            median[axis] = float(np.median(known))
    return median
