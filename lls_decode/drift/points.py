"""Positions of a table for drift estimation: in one coordinate system, and few enough to be held in memory.

A table of any length is read once, one row group at a time. Every n-th row of the whole table is kept, independently of
how it is divided into shards or row groups.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.config import Geometry
from lls_decode.errors import TableError
from lls_decode.table import CHANNEL_COLUMN, TableMetadata, count_rows, iter_tables, read_metadata
from lls_decode.table.positions import SIGMA_COLUMNS, Coords, Floats, coords_of, median_sigma, positions, sigmas

MAX_POINTS: Final = 2**22
"""Largest number of rows held, at 20 bytes each; more would add far less than a nanometre of precision."""
_MAX_SIGMAS: Final = 2**18
"""Smallest number of rows from which their median precision is computed, if there are as many."""

_APART_NM: Final = 20_000.0
"""Empty space between channels that are moved apart: more than twice the largest drift."""


@dataclass(frozen=True)
class Points:
    """Rows of a table in the order of their volumes. ``N`` points, ``D`` axes: x y, or x y z."""

    position_nm: npt.NDArray[np.float32]
    """(N, D), relative to ``origin_nm``."""
    origin_nm: Floats
    """(D,)"""
    volume: npt.NDArray[np.int64]
    """(N,), ascending."""
    sigma_nm: Floats
    """(D,) median of the predicted precision along each axis."""
    coords: Coords
    num_rows: int
    """Number of rows of the table."""
    first_volume: int
    last_volume: int
    apart_nm: float = 0.0
    """Distance along x by which the channels are moved apart; 0 for one channel."""

    @property
    def place_N2(self) -> Floats:
        """Lateral positions ``(N, 2)`` in nm, with all channels at their own place."""
        place = self.position_nm[:, :2].astype(np.float64)
        if self.apart_nm > 0 and len(place):
            x = place[:, 0]
            x -= self.apart_nm * np.floor((x - x.min()) / self.apart_nm)
        return np.asarray(place + self.origin_nm[:2])

    def of(self, chosen: npt.NDArray[np.bool_]) -> "Points":
        """Return the chosen points, with the same range of volumes."""
        return replace(self, position_nm=self.position_nm[chosen], volume=self.volume[chosen])

    def __len__(self) -> int:
        return len(self.volume)

    @property
    def num_axes(self) -> int:
        """2, or 3 if z varies."""
        return int(self.position_nm.shape[1])

    @property
    def num_volumes(self) -> int:
        """Number of volumes from the first to the last one that has a row."""
        return self.last_volume - self.first_volume + 1


@dataclass(frozen=True)
class TableView:
    """View of a table: which columns are positions, in which coordinates, and which channel is used."""

    path: Path
    metadata: TableMetadata
    coords: Coords
    channel: int | None = None
    """Channel whose rows are used; None: all channels."""

    @classmethod
    def of(cls, path: str | Path, *, channel: int | None = None) -> "TableView":
        """Return the view of a table in sample coordinates if the geometry is known, else in raw ones.

        Raises
        ------
        ConfigError
            A channel is given, but the table has no channels.
        TableError
            Columns are missing, or there are sample coordinates without the geometry that relates them to raw ones.
        """
        metadata = read_metadata(path)
        for name in ("volume", "plane", "x_nm", "y_nm", "z_nm"):
            if name not in metadata.columns:
                raise TableError(f"{path} has no column {name!r}, which drift correction needs.")
        if metadata.geometry is None and "xs_nm" in metadata.columns:
            raise TableError(
                f"{path} has sample coordinates, but does not state their geometry; write it again with its geometry."
            )
        metadata.check_channel(path, channel)
        return cls(Path(path), metadata, coords_of(metadata.geometry), channel)

    @property
    def geometry(self) -> Geometry | None:
        """Geometry of the scan; None for raw coordinates."""
        return self.metadata.geometry

    @property
    def columns(self) -> list[str]:
        """Columns needed for `positions` and `sigmas`."""
        known = [name for name in SIGMA_COLUMNS if name in self.metadata.columns]
        channel = [CHANNEL_COLUMN.name] if self.metadata.has_channels else []
        return ["volume", "plane", "x_nm", "y_nm", "z_nm", *known, *channel]

    def pieces(self) -> Iterator[pa.Table]:
        """Give the columns of the rows that are used, with constant memory."""
        for rows in iter_tables(self.path, self.columns):
            if self.channel is None:
                yield rows
            else:
                yield rows.filter(pa.compute.equal(rows[CHANNEL_COLUMN.name], self.channel))

    def positions(self, rows: pa.Table) -> Floats:
        """Return the positions ``(N, 3)`` in nm, in the coordinates of the view."""
        return positions(rows, self.geometry)

    def sigmas(self, rows: pa.Table) -> Floats:
        """Return the sigmas ``(N, 3)`` in nm along the axes of these coordinates.

        NaN if the table does not state them.
        """
        return sigmas(rows, self.geometry)


def read_points(view: TableView, *, max_points: int = MAX_POINTS) -> Points:
    """Read every n-th row of a table, n as small as ``max_points`` allows.

    Raises
    ------
    TableError
        The table has fewer than two volumes with rows, or cannot be read.
    """
    first, last = survey_volumes(view.path)
    num_rows = count_rows(view.path)
    stride = max(1, math.ceil(num_rows / max_points))
    position_ND = np.empty((math.ceil(num_rows / stride), 3), dtype=np.float32)
    volume = np.empty(len(position_ND), dtype=np.int64)
    channel = np.zeros(len(position_ND), dtype=np.uint16)
    each = max(1, len(position_ND) // _MAX_SIGMAS)
    precisions, origin, row, num = [], None, 0, 0
    for table in view.pieces():
        part = table.take(np.arange(-row % stride, table.num_rows, stride))
        row += table.num_rows
        position = view.positions(part)
        known = np.isfinite(position).all(axis=1)
        part, position = part.filter(known), position[known]
        if len(position) == 0:
            continue
        origin = np.floor(position[0]) if origin is None else origin
        position_ND[num : num + len(position)] = position - origin
        volume[num : num + len(position)] = part["volume"].to_numpy()
        if view.metadata.has_channels:
            channel[num : num + len(position)] = part[CHANNEL_COLUMN.name].to_numpy()
        precisions.append(view.sigmas(part.take(np.arange(-num % each, len(position), each))))
        num += len(position)
    if origin is None:
        of = "" if view.channel is None else f" of channel {view.channel}"
        raise TableError(f"{view.path} has no row{of} with a position; filter the table first.")
    position_ND, volume = position_ND[:num], volume[:num]
    apart_nm = _set_apart(position_ND, channel[:num])
    if np.any(volume[1:] < volume[:-1]):
        order = np.argsort(volume, kind="stable")
        position_ND, volume = position_ND[order], volume[order]
    num_axes = 3 if np.ptp(position_ND[:, 2]) > 0 else 2
    return Points(
        position_nm=position_ND[:, :num_axes],
        origin_nm=origin[:num_axes],
        volume=volume,
        sigma_nm=median_sigma(np.concatenate(precisions))[:num_axes],
        coords=view.coords,
        num_rows=num_rows,
        first_volume=first,
        last_volume=last,
        apart_nm=apart_nm,
    )


def survey_volumes(path: Path, *, least: int = 2) -> tuple[int, int]:
    """Return the first and the last volume that has rows.

    Raises
    ------
    TableError
        There are fewer than ``least`` (1 or 2) volumes with rows.
    """
    first, last = math.inf, -math.inf
    for table in iter_tables(path, ["volume"]):
        if table.num_rows:
            volume = table["volume"].to_numpy()
            first, last = min(first, volume.min()), max(last, volume.max())
    if first > last:
        why = "no drift can be measured in it" if least > 1 else "there is nothing to correct"
        raise TableError(f"{path} has no rows, so {why}.")
    if least > 1 and first == last:
        raise TableError(
            f"{path} has rows in fewer than two volumes (or frames), but drift is measured between two; give a longer "
            "acquisition."
        )
    return int(first), int(last)


def _set_apart(position_ND: npt.NDArray[np.float32], channel_N: npt.NDArray[np.uint16]) -> float:
    """Move channels so far apart that no point of one is compared with a point of another.

    The sample moves as a whole, so all channels show the same drift. But channels are offset if colours are not
    registered; when one channel fades while another begins, this offset would be mistaken for a drift.
    """
    _, number = np.unique(channel_N, return_inverse=True)
    if number.max() == 0:
        return 0.0
    apart_nm = float(np.ptp(position_ND[:, 0])) + _APART_NM
    position_ND[:, 0] += (number * apart_nm).astype(np.float32)
    return apart_nm
