"""A drift curve and a table: rows moved to where they would be in a sample at rest, and moved back.

Raw columns are moved, and sample columns are computed from them as when the table was made: raw coordinates and the
geometry give those of the sample to the last bit, before and after. A displacement in the sample is the same
displacement for every plane of a volume; in raw coordinates it is turned by the angle of the scan. What ``z_nm`` says
afterwards is the distance from the focus that the molecule would have had.

The displacements go into the table's history, packed and exact. Moving back adds the same numbers, so that what is lost
is the rounding of float32: a coordinate comes back equal, or off by a unit in the last place of the larger of the two
values (0.002 nm at 20 micrometres). Rows keep their order.
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
"""Later steps of history after which rows can still be moved back one by one."""


def correct_table(table: str | Path, curve: DriftCurve, out: str | Path) -> int:
    """Write a table whose rows are moved by minus the drift; returns the number of rows. Constant memory.

    Rows in volumes before the first or after the last one of the curve are moved as those in that one.

    Parameters
    ----------
    out
        Written aside and renamed; may be the table itself.

    Raises
    ------
    ConfigError
        The curve has other axes than the table, none of its volumes, or has corrected it already.
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
    """Write a table whose rows are where they were before its last drift correction; returns the number of rows.

    Raises
    ------
    ConfigError
        There was no correction, or rows were joined or moved after it.
    TableError, OutputError
        As `correct_table`.
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
    """Check that a curve can correct a table, and has not done so.

    Raises
    ------
    ConfigError
        As `correct_table`.
    """
    if curve.coords == "sample" and view.geometry is None:
        raise ConfigError(
            f"The drift curve is in coordinates of the sample, but {view.path} has none (its geometry is not known); "
            "give a curve in raw coordinates."
        )
    _check_new(view, curve)
    _check_overlap(view, curve)


def _check_new(view: TableView, curve: DriftCurve) -> None:
    """A correction is made once: a second one moves the rows as far off as they were."""
    for entry in view.metadata.steps(STEP):
        if "curve" in entry and same(unpack(entry["curve"]), curve):
            raise ConfigError(
                f"{view.path} was corrected by this drift curve already, and would be moved twice; give the table from "
                "before the correction, or take the correction out first (--undo)."
            )


def _check_overlap(view: TableView, curve: DriftCurve) -> None:
    first, last = survey_volumes(view.path, least=1)
    if last < curve.first_volume or first > curve.last_volume:
        raise ConfigError(
            f"{view.path} has rows in volumes {first} to {last}, the drift curve covers {curve.first_volume} to "
            f"{curve.last_volume}, none of them; give a curve of the same acquisition."
        )


def _move(view: TableView, curve: DriftCurve, out: str | Path, metadata: TableMetadata, *, sign: int) -> int:
    """Stream a table through `_moved`."""
    pieces = iter_tables(view.path)
    first = next(pieces, None)
    if first is None:
        raise TableError(f"{view.path} has no rows, so that there is nothing to move.")
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
    """What a reader of the history wants to know of a curve."""
    known = np.isfinite(curve.sigma_nm).all()
    return {
        "range_nm": [round(float(v), 1) for v in np.ptp(curve.shift_nm, axis=0)],
        "sigma_nm": [round(float(v), 2) for v in np.median(curve.sigma_nm, axis=0)] if known else None,
    }
