"""Application of a transformation to a table: rows are moved and sigmas are transformed, with constant memory.

Raw columns are moved such that the sample columns, computed from them and the geometry as when the table was made, are
those of the moved point. For this the linear part is rotated from the sample's axes to the camera's, and applied within
each plane. Sigmas refer to the same axes after the map; correlations between them are lost, since a table cannot store
them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.config import Geometry
from lls_decode.errors import ConfigError, TableError, shell_command
from lls_decode.register.transformation import Transformation
from lls_decode.table import (
    CHANNEL_COLUMN,
    TableMetadata,
    iter_tables,
    read_metadata,
    read_schema,
    software_versions,
    table_writer,
)
from lls_decode.table.ordering import in_order
from lls_decode.table.positions import coords_of, planes_of, positions
from lls_decode.table.sorting import sorted_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

Floats = npt.NDArray[np.float64]

STEP: Final = "register"
_PLACES: Final = ("x_nm", "y_nm", "z_nm")
_SAMPLE_PLACES: Final = ("xs_nm", "ys_nm", "zs_nm")
_SIGMAS: Final = ("x_sig", "y_sig", "z_sig")
_TINY: Final = 1e-12


def apply_transformation(
    table: str | Path, transformation: Transformation, out: str | Path, *, channel: int | None = None
) -> int:
    """Write a table whose rows (those of one channel, if given) are moved, and return the number of moved rows.

    Localizations are sorted again within each frame.

    Parameters
    ----------
    out
        Path of the table, which is written aside and renamed.

    Raises
    ------
    ConfigError
        The transformation is in other coordinates than the table, has already been applied, or the table has no
        channels.
    TableError
        The table cannot be read, or is not sorted by frame.
    OutputError
        Full disk, read-only folder.
    """
    table = Path(table)
    metadata = read_metadata(table)
    metadata.check_channel(table, channel)
    _check(table, metadata, transformation, channel)
    step = {
        "map": transformation.map_digest(),
        "channel": channel,
        "fixed": transformation.fixed,
        "transformation": transformation.to_dict(),
        "software": software_versions(),
    }
    mover = _Mover(metadata, transformation, channel)
    pieces: Iterator[pa.Table] = (mover.moved(rows) for rows in iter_tables(table))
    if metadata.kind == "localizations":
        pieces = in_order([pieces], steps=_frames, arrange=sorted_rows)
    with table_writer(Path(out), read_schema(table), metadata.with_step(STEP, **step)) as writer:
        try:
            for rows in pieces:
                writer.write(rows)
        except ValueError as error:
            raise TableError(
                f"{table} is not sorted by frame; sort it with '{shell_command('import', table, 'SORTED.parquet')}'."
            ) from error
    return mover.num_moved


def _check(table: Path, metadata: TableMetadata, transformation: Transformation, channel: int | None) -> None:
    if transformation.coords != coords_of(metadata.geometry):
        raise ConfigError(
            f"The transformation is in {transformation.coords} coordinates, but {table} has "
            f"{coords_of(metadata.geometry)} ones (sample coordinates need a geometry); give a transformation that was "
            "measured in such tables."
        )
    for step in metadata.steps(STEP):
        if step.get("map") == transformation.map_digest() and step.get("channel") in (channel, None):
            raise ConfigError(
                f"{table} was already moved by this transformation, and would be moved twice; give the table from "
                "before that."
            )


class _Mover:
    """Moves the rows of a table piece by piece."""

    def __init__(self, metadata: TableMetadata, transformation: Transformation, channel: int | None) -> None:
        self._metadata, self._transformation, self._channel = metadata, transformation, channel
        self._geometry = metadata.geometry
        turned = _in_camera_axes(transformation.matrix, self._geometry)
        self._square = np.where(np.abs(turned) < _TINY, 0.0, turned) ** 2
        self.num_moved = 0

    def moved(self, rows: pa.Table) -> pa.Table:
        """Return the rows with positions and sigmas after the map."""
        chosen = np.ones(rows.num_rows, dtype=np.bool_)
        if self._channel is not None:
            chosen = rows[CHANNEL_COLUMN.name].to_numpy() == self._channel
        self.num_moved += int(chosen.sum())
        raw, sample = self._positions(rows)
        columns = dict(zip(_PLACES, raw, strict=True))
        if self._geometry is not None and _SAMPLE_PLACES[0] in rows.column_names:
            columns |= dict(zip(_SAMPLE_PLACES, sample, strict=True))
        columns |= self._sigmas(rows)
        for name, values in columns.items():
            place = rows.schema.get_field_index(name)
            field = rows.schema.field(place)
            mixed = np.where(chosen, values.astype(np.float32), rows[name].to_numpy())
            rows = rows.set_column(place, field, pa.array(mixed, type=field.type))
        return rows

    def _positions(self, rows: pa.Table) -> tuple[list[Floats], list[Floats]]:
        """Return the moved positions in raw and in sample coordinates."""
        before = positions(rows, self._geometry)
        known = np.isfinite(before[:, 2])
        after = self._transformation.apply(np.where(known[:, None], before, np.nan_to_num(before)))
        after[~known, 2] = before[~known, 2]
        if self._geometry is None:
            return list(after.T), []
        # a displacement in the sample is applied within the plane that saw the row
        change = self._geometry.raw_displacement(*(after - before).T)
        raw = [rows[name].to_numpy().astype(np.float64) + d for name, d in zip(_PLACES, change, strict=True)]
        single = [values.astype(np.float32).astype(np.float64) for values in raw]
        return raw, list(self._geometry.to_sample(single[0], single[1], single[2], planes_of(rows)))

    def _sigmas(self, rows: pa.Table) -> dict[str, Floats]:
        names = [name for name in _SIGMAS if name in rows.column_names]
        before = {name: rows[name].to_numpy().astype(np.float64) ** 2 for name in names}
        after: dict[str, Floats] = {}
        for axis, name in enumerate(_SIGMAS):
            if name not in before:
                continue
            parts = [
                factor * before[other]
                for factor, other in zip(self._square[axis], _SIGMAS, strict=True)
                if factor > 0 and other in before
            ]
            after[name] = np.sqrt(np.sum(parts, axis=0))
        return after


def _in_camera_axes(matrix: Floats, geometry: Geometry | None) -> Floats:
    """Return the linear part ``(3, 3)`` of a map of the sample, within a plane of the camera."""
    if geometry is None:
        return matrix
    units = np.eye(3)
    to_camera = np.stack([np.array(geometry.raw_displacement(*unit[:, None]))[:, 0] for unit in units], axis=1)
    return np.asarray(to_camera @ matrix @ to_camera.T)  # to_camera is a rotation, so its transpose is its inverse


def _frames(rows: pa.Table) -> npt.NDArray[np.int64]:
    return np.asarray(rows["frame"].to_numpy().astype(np.int64))
