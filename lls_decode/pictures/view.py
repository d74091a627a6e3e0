"""Selection of a table's emitters and point of view: filter, times, region, tilt, slab; read piece by piece.

Row groups are skipped if their statistics show that none of their rows can be in the picture.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lls_decode.axes import IndexRange, range_text
from lls_decode.errors import ConfigError
from lls_decode.table import CHANNEL_COLUMN, TableMetadata, iter_tables, read_metadata
from lls_decode.table.field import field_of_view

Floats = npt.NDArray[np.float64]
Coords = Literal["auto", "raw", "sample"]
Axis = Literal["x", "y", "z"]
Projection = Literal["xy", "xz", "yz"]
Colour = Literal["depth", "time", "photons", "channel", "none"]
Limits = tuple[float, float]

AXES: Final[Mapping[Projection, tuple[Axis, Axis, Axis]]] = {
    "xy": ("x", "y", "z"),
    "xz": ("x", "z", "y"),
    "yz": ("y", "z", "x"),
}
"""Horizontal axis, vertical axis, and normal of each view."""
COLOUR_COLUMNS: Final[Mapping[Colour, str]] = {"time": "frame", "photons": "photons", "channel": "channel"}
_SAMPLED_ROWS: Final = 1_000_000
"""Approximate number of rows, spread evenly over the table, from which typical values are computed."""


@dataclass(frozen=True, kw_only=True)
class View:
    """Which emitters of a table are drawn, and from where. All ranges and limits exclude their end."""

    coords: Coords = "auto"
    """``sample`` (or deskewed) coordinates, ``raw`` camera coordinates, or ``auto``: sample if the table has them."""
    projection: Projection = "xy"
    """Horizontal and vertical axis of the picture, after the tilt."""
    x_nm: Limits | None = None
    """Region of the table, before the tilt."""
    y_nm: Limits | None = None
    z_nm: Limits | None = None
    tilt_deg: float = 0.0
    """Angle by which everything is turned about ``tilt_axis``, right-handed: +90 degrees about z takes x to y."""
    tilt_axis: Axis = "y"
    pivot_nm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Point (x, y, z) that the tilt leaves in place."""
    slab_nm: Limits | None = None
    """Limits along the normal of the view (z of ``xy``, y of ``xz``, x of ``yz``), after the tilt."""
    volumes: IndexRange | None = None
    """Range of volumes; None for an end: from the beginning, or to the end."""
    frames: IndexRange | None = None
    channel: int | None = None
    """Only this channel; None: all channels."""
    prob_min: float = 0.0
    """Smallest detection probability."""
    sigma_max_nm: float | None = None
    """Largest lateral sigma (r.m.s. of x and y)."""

    def __post_init__(self) -> None:
        """Refuse empty limits."""
        for name in ("x_nm", "y_nm", "z_nm", "slab_nm"):
            limits = getattr(self, name)
            if limits is not None and not limits[0] < limits[1]:
                raise ConfigError(
                    f"{name} from {limits[0]:g} to {limits[1]:g} nm is empty; give the lower limit first."
                )
        for name in ("volumes", "frames"):
            start, stop = getattr(self, name) or (None, None)
            if any(bound is not None and bound < 0 for bound in (start, stop)) or (
                start is not None and stop is not None and start >= stop
            ):
                raise ConfigError(
                    f"{name} {range_text((start, stop))} is empty; expected START:STOP from 0, the end excluded."
                )

    @property
    def rotation(self) -> Floats:
        """Rotation matrix ``(3, 3)`` of positions (x, y, z) relative to the pivot."""
        cosine, sine = math.cos(math.radians(self.tilt_deg)), math.sin(math.radians(self.tilt_deg))
        first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[self.tilt_axis]
        matrix = np.eye(3)
        matrix[[first, second], [first, second]] = cosine
        matrix[first, second], matrix[second, first] = -sine, sine
        return matrix

    def limits_nm(self, axis: Axis) -> Limits | None:
        """Return the limits along an axis of the picture or its normal, as far as the view alone determines them."""
        normal = AXES[self.projection][2]
        along: Limits | None = None if self.tilt_deg else getattr(self, f"{axis}_nm")
        if axis != normal or self.slab_nm is None:
            return along
        return self.slab_nm if along is None else (max(along[0], self.slab_nm[0]), min(along[1], self.slab_nm[1]))


WHOLE: Final = View()
"""The whole table, from above."""


@dataclass(frozen=True)
class Piece:
    """Emitters of one row group that are in view: positions and sigmas along the (turned) axes, nm."""

    position_nm: dict[Axis, Floats]
    sigma_nm: dict[Axis, Floats]
    """Sigmas; 0 if not known."""
    colour: Floats
    """Quantity that the colour stands for; NaN if there is none."""
    channel: npt.NDArray[np.int64]
    """Channel; 0 if the table has no channels."""
    typical: npt.NDArray[np.bool_]
    """Whether a row belongs to a sample that is independent of the row groups."""

    def __len__(self) -> int:
        return len(self.position_nm["x"])


class ViewedTable:
    """A table, read piece by piece through a `View`."""

    def __init__(self, path: str | Path, view: View, *, colour: Colour = "depth") -> None:
        self._path = Path(path)
        self.view = view
        self._metadata = read_metadata(path)
        has_sample = "xs_nm" in self._metadata.columns
        if view.coords == "sample" and not has_sample:
            raise ConfigError(
                f"{path} has no sample coordinates (the geometry was not known when it was made); use raw coordinates."
            )
        self.coords: Literal["raw", "sample"] = "raw" if view.coords == "raw" or not has_sample else "sample"
        self._geometry = self._metadata.geometry if self.coords == "sample" else None
        self._places: dict[Axis, str] = {
            axis: f"{axis}s_nm" if self.coords == "sample" else f"{axis}_nm" for axis in ("x", "y", "z")
        }
        self.has_channels = self._metadata.has_channels
        self._colour = COLOUR_COLUMNS.get(colour)
        self.colour_is_depth = colour == "depth"
        self._columns = _columns(self._path, self._metadata, view, [*self._places.values()], self._colour)
        with pq.ParquetFile(self._path) as file:
            self.num_rows = int(file.metadata.num_rows)
            self._starts = np.cumsum(
                [0, *(file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups))]
            )
            self._row_groups = [
                number for number in range(file.metadata.num_row_groups)
                if _may_have(file.metadata.row_group(number), self._column_limits())
            ]  # fmt: skip

    @property
    def num_row_groups_read(self) -> int:
        """Number of row groups that are read in each pass."""
        return len(self._row_groups)

    def field_nm(self, axis: Axis) -> Limits | None:
        """Return the limits along an axis of what the camera saw; None if not known, or if everything is turned."""
        field = None if self.view.tilt_deg else field_of_view(self._metadata, sample=self.coords == "sample")
        return None if field is None or axis == "z" else field["xy".index(axis)]

    def channel_label(self, number: int) -> str:
        """Return the name of a channel in words."""
        return self._metadata.channel_label(number)

    def pieces(self) -> Iterator[Piece]:
        """Give the emitters in view, one row group after another."""
        tables = iter_tables(self._path, self._columns, row_groups=self._row_groups)
        for number, table in zip(self._row_groups, tables, strict=True):
            yield self._piece(table, int(self._starts[number]))

    def _column_limits(self) -> dict[str, Limits]:
        """Return the limits (end excluded) by column of rows that can be in view."""
        view = self.view
        limits: dict[str, Limits] = {}
        for name, window in (("volume", view.volumes), ("frame", view.frames)):
            if window is not None:
                start, stop = window
                limits[name] = (-math.inf if start is None else start, math.inf if stop is None else stop)
        if view.channel is not None:
            limits[CHANNEL_COLUMN.name] = (view.channel, view.channel + 1)
        for axis, name in self._places.items():
            along: Limits | None = getattr(view, f"{axis}_nm") if view.tilt_deg else view.limits_nm(axis)
            if along is not None:
                limits[name] = along
        return limits

    def _piece(self, table: pa.Table, start: int) -> Piece:
        values = {name: table[name].to_numpy().astype(np.float64) for name in table.column_names}
        keep = self._kept(values, table.num_rows)
        position: dict[Axis, Floats] = {axis: values[name][keep] for axis, name in self._places.items()}
        unknown = np.zeros(len(position["x"]))
        sigma: dict[Axis, Floats] = {
            axis: np.nan_to_num(values[f"{axis}_sig"][keep], nan=0.0) if f"{axis}_sig" in values else unknown
            for axis in self._places
        }
        if self._geometry is not None:
            along = self._geometry.propagation_axis
            sigma[along], sigma["z"] = self._geometry.sample_sigmas(sigma[along], sigma["z"])
        if self.view.tilt_deg:
            position, sigma = _turned(position, sigma, self.view)
        colour = position["z"] if self.colour_is_depth else np.full(len(unknown), np.nan)
        if self._colour is not None:
            colour = values[self._colour][keep]
        channel = values[CHANNEL_COLUMN.name][keep] if self.has_channels else unknown
        step = max(1, self.num_rows // _SAMPLED_ROWS)
        typical = (np.flatnonzero(keep) + start) % step == 0
        piece = Piece(position, sigma, colour, channel.astype(np.int64), typical)
        return _sliced(piece, self.view) if self.view.slab_nm is not None and self.view.tilt_deg else piece

    def _kept(self, values: dict[str, Floats], num_rows: int) -> npt.NDArray[np.bool_]:
        keep = np.ones(num_rows, dtype=np.bool_)
        if "prob" in values and self.view.prob_min > 0:
            keep &= ~(values["prob"] < self.view.prob_min)
        if self.view.sigma_max_nm is not None and {"x_sig", "y_sig"} <= values.keys():
            keep &= ~(np.sqrt((values["x_sig"] ** 2 + values["y_sig"] ** 2) / 2) > self.view.sigma_max_nm)
        for name, (first, stop) in self._column_limits().items():
            keep &= (values[name] >= first) & (values[name] < stop)
        return keep


def _columns(path: Path, metadata: TableMetadata, view: View, places: list[str], colour: str | None) -> list[str]:
    """Return the columns that must be read; refuse requested columns that do not exist."""
    windows = [name for name, window in (("volume", view.volumes), ("frame", view.frames)) if window is not None]
    for name in [*windows, *([colour] if colour else [])]:
        if name not in metadata.columns:
            raise ConfigError(
                f"{path} ({metadata.kind}) has no column {name!r}, which the picture needs; omit that option."
            )
    if view.sigma_max_nm is not None:
        filled = metadata.input.get("filled") or {}
        unknown = [name for name in ("x_sig", "y_sig") if name not in metadata.columns or name in filled]
        if unknown:
            raise ConfigError(
                f"{path} has no sigmas ({', '.join(unknown)}), by which sigma_max_nm (--sigma-max-nm) chooses rows; "
                "omit that option."
            )
    metadata.check_channel(path, view.channel)
    wanted = [*places, "x_sig", "y_sig", "z_sig", "prob", "channel", *windows, *([colour] if colour else [])]
    return [name for name in dict.fromkeys(wanted) if name in metadata.columns]


def _may_have(group: pq.RowGroupMetaData, limits: Mapping[str, Limits]) -> bool:
    """Return False if the statistics of a column show that no row of a row group is within its limits."""
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema in limits and column.statistics is not None and column.statistics.has_min_max:
            first, stop = limits[column.path_in_schema]
            if column.statistics.max < first or column.statistics.min >= stop:
                return False
    return True


def _turned(
    position_nm: dict[Axis, Floats], sigma_nm: dict[Axis, Floats], view: View
) -> tuple[dict[Axis, Floats], dict[Axis, Floats]]:
    """Return positions and sigmas after the tilt; correlations of sigmas, which a rotation causes, are lost."""
    axes: tuple[Axis, ...] = ("x", "y", "z")
    centred = [position_nm[axis] - centre for axis, centre in zip(axes, view.pivot_nm, strict=True)]
    variance = [sigma_nm[axis] ** 2 for axis in axes]
    position, sigma = {}, {}
    for axis, centre, row in zip(axes, view.pivot_nm, view.rotation, strict=True):
        # written out, since the rounding of a matrix product depends on the number of rows
        position[axis] = row[0] * centred[0] + row[1] * centred[1] + row[2] * centred[2] + centre
        sigma[axis] = np.sqrt(row[0] ** 2 * variance[0] + row[1] ** 2 * variance[1] + row[2] ** 2 * variance[2])
    return position, sigma


def _sliced(piece: Piece, view: View) -> Piece:
    assert view.slab_nm is not None
    normal_nm = piece.position_nm[AXES[view.projection][2]]
    inside = (normal_nm >= view.slab_nm[0]) & (normal_nm < view.slab_nm[1])
    return Piece(
        {axis: value[inside] for axis, value in piece.position_nm.items()},
        {axis: value[inside] for axis, value in piece.sigma_nm.items()},
        piece.colour[inside],
        piece.channel[inside],
        piece.typical[inside],
    )
