"""Correction of a table by a drift curve, and its reversal.

Raw columns are moved, and sample columns are recomputed from them as when the table was made, so raw coordinates and
geometry give the sample coordinates to the last bit both before and after. A displacement of the sample is the same for
every plane of a volume; in raw coordinates it is rotated by the angle of the scan. After the correction ``z_nm`` is the
distance from the focus that the molecule would have had without drift.

The exact displacements are packed into the table's history. Undoing the correction adds the same numbers, so only
float32 rounding is lost: a coordinate returns unchanged, or differs by one unit in the last place of the larger of the
two values (0.002 nm at 20 micrometres). Rows keep their order.
"""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.drift.curve.curve import DriftCurve, pack, same, unpack
from lls_decode.drift.points import TableView, survey_volumes
from lls_decode.errors import ConfigError, TableError
from lls_decode.table import TableMetadata, iter_tables, table_writer

STEP: Final = "drift"
_KEEP_POSITIONS: Final = ("filter", "link", "import")
"""Steps of history after which a correction can still be undone row by row."""


def correct_table(table: str | Path, curve: DriftCurve, out: str | Path) -> int:
    """Write a table with its rows moved by minus the drift, with constant memory; return the number of rows.

    Rows in volumes before or after the curve get its first or last displacement.

    Parameters
    ----------
    out
        Path of the table, which is written aside and renamed; may be the table itself.

    Raises
    ------
    ConfigError
        The curve has other axes than the table, shares no volume with it, or has already corrected it.
    TableError
        The table cannot be read, or lacks a column.
    OutputError
        Full disk, read-only folder.
    """
    view = TableView.of(table)
    check_curve(view, curve)
    step = {"method": curve.method, "curve": pack(curve), **_summary(curve)}
    return _move(view, curve, out, view.metadata.with_step(STEP, **step), sign=-1)


def undo_correction(table: str | Path, out: str | Path) -> int:
    """Revert the last drift correction of a table, and return the number of rows.

    Raises
    ------
    ConfigError
        The table was not corrected, or its rows were joined or moved afterwards.
    TableError, OutputError
        As for `correct_table`.
    """
    view = TableView.of(table)
    history = view.metadata.history
    steps = [number for number, entry in enumerate(history) if entry.get("step") == STEP]
    if not steps:
        raise ConfigError(
            f"{table} was not corrected for drift (its history has no such step); there is nothing to undo."
        )
    later = [str(entry.get("step")) for entry in history[steps[-1] + 1 :]]
    if any(name not in _KEEP_POSITIONS for name in later):
        raise ConfigError(
            f"{table} was changed after its drift was corrected ({', '.join(later)}); undo the correction in the table "
            "that this one was made from."
        )
    entry = history[steps[-1]]
    curve = unpack(entry.get("curve", {}), method=str(entry.get("method", "")))
    earlier = (*history[: steps[-1]], *history[steps[-1] + 1 :])
    return _move(view, curve, out, view.metadata.model_copy(update={"history": earlier}), sign=1)


def check_curve(view: TableView, curve: DriftCurve) -> None:
    """Check that a curve can correct a table, and has not already done so.

    Raises
    ------
    ConfigError
        As for `correct_table`.
    """
    if curve.coords == "sample" and view.geometry is None:
        raise ConfigError(
            f"The drift curve is in sample coordinates, but {view.path} has none (its geometry is not known); "
            "give a curve in raw coordinates."
        )
    _check_new(view, curve)
    _check_overlap(view, curve)


def _check_new(view: TableView, curve: DriftCurve) -> None:
    """Refuse to correct twice: a second correction by the same curve would shift the rows again."""
    for entry in view.metadata.steps(STEP):
        if "curve" in entry and same(unpack(entry["curve"]), curve):
            raise ConfigError(
                f"{view.path} was already corrected by this drift curve, and would be moved twice; give the table from "
                "before the correction, or undo the correction first (--undo)."
            )


def _check_overlap(view: TableView, curve: DriftCurve) -> None:
    first, last = survey_volumes(view.path, least=1)
    if last < curve.first_volume or first > curve.last_volume:
        raise ConfigError(
            f"{view.path} has rows in volumes {first} to {last}, but the drift curve covers {curve.first_volume} to "
            f"{curve.last_volume}; give a curve of the same acquisition."
        )


def _move(view: TableView, curve: DriftCurve, out: str | Path, metadata: TableMetadata, *, sign: int) -> int:
    """Move all pieces of a table, and write them."""
    pieces = iter_tables(view.path)
    first = next(pieces, None)
    if first is None:
        raise TableError(f"{view.path} has no rows, so there is nothing to move.")
    with table_writer(Path(out), first.schema.remove_metadata(), metadata) as writer:
        writer.write(_moved(first, view, curve, sign))
        for piece in pieces:
            writer.write(_moved(piece, view, curve, sign))
        return writer.rows


def _moved(rows: pa.Table, view: TableView, curve: DriftCurve, sign: int) -> pa.Table:
    shift = tuple(curve.at(rows["volume"].to_numpy()).T)
    if curve.coords == "sample" and view.geometry is not None:
        shift = view.geometry.raw_displacement(*shift)
    moved = []
    for name, change in zip(("x_nm", "y_nm", "z_nm"), shift, strict=True):
        moved.append((rows[name].to_numpy().astype(np.float64) + sign * change).astype(np.float32))
        rows = _replaced(rows, name, moved[-1])
    if view.geometry is not None and "xs_nm" in rows.column_names:
        x, y, z = (values.astype(np.float64) for values in moved)
        sample = view.geometry.to_sample(x, y, z, rows["plane"].to_numpy())
        for name, values in zip(("xs_nm", "ys_nm", "zs_nm"), sample, strict=True):
            rows = _replaced(rows, name, values.astype(np.float32))
    return rows


def _replaced(rows: pa.Table, name: str, values: npt.NDArray[np.float32]) -> pa.Table:
    place = rows.schema.get_field_index(name)
    field = rows.schema.field(place)
    return rows.set_column(place, field, pa.array(values, type=field.type))


def _summary(curve: DriftCurve) -> dict[str, object]:
    """Return a summary of the curve for readers of the history."""
    known = np.isfinite(curve.sigma_nm).all()
    return {
        "range_nm": [round(float(v), 1) for v in np.ptp(curve.shift_nm, axis=0)],
        "sigma_nm": [round(float(v), 2) for v in np.median(curve.sigma_nm, axis=0)] if known else None,
    }
