"""Choice of the rows that judge a drift: the other half of the table, or all rows that are not beads."""

from pathlib import Path
from typing import Final, TypedDict

import numpy as np
import numpy.typing as npt

from lls_decode.drift.benefit.benefit import Benefit, Unseen, measure_benefit
from lls_decode.drift.benefit.halves import cells_of, halve
from lls_decode.drift.curve.curve import DriftCurve
from lls_decode.drift.estimating import estimate_from_points
from lls_decode.drift.observations import one_of_each_molecule
from lls_decode.drift.points import Points, TableView, read_points
from lls_decode.errors import TableError

_MAX_POINTS: Final = 2**19


class JudgeOptions(TypedDict, total=False):
    """Keyword arguments of `judge_drift`."""

    max_shift_nm: float | None
    num_windows: int | None
    max_points: int
    radius_nm: float
    channel: int | None


def judge_drift(
    table: str | Path,
    curve: DriftCurve,
    *,
    max_shift_nm: float | None = None,
    num_windows: int | None = None,
    max_points: int = _MAX_POINTS,
    radius_nm: float = 500.0,
    channel: int | None = None,
) -> Benefit:
    """Judge whether a correction helps, from rows that the drift was not measured from.

    A drift from correlation (or COMET) is measured again from one half of the table, split by place, and judged by the
    other half, and vice versa. A drift from beads is judged by all rows that are not beads, a given curve by all rows.

    Parameters
    ----------
    max_shift_nm, num_windows, max_points, radius_nm, channel
        The options of `estimate_drift` with which the curve was measured.

    Raises
    ------
    TableError
        The table cannot be read.
    """
    view = TableView.of(table, channel=channel)
    if view.coords != curve.coords:
        return Benefit("not told", 0)
    points = one_of_each_molecule(read_points(view, max_points=min(max_points, _MAX_POINTS)))
    kernel_nm = np.sqrt(2) * points.sigma_nm
    volume = np.arange(points.first_volume, points.last_volume + 1)
    shift_VD = curve.at(volume)[:, : points.num_axes]
    cell = cells_of(points.position_nm - shift_VD[points.volume - points.first_volume], kernel_nm)
    if curve.method not in ("rcc", "comet"):
        chosen = _no_beads(points, curve, radius_nm)
        return measure_benefit([Unseen(points.of(chosen), cell[chosen], shift_VD)])
    parts, first = [], halve(cell, 0)
    for half in (first, ~first):
        try:
            told = estimate_from_points(
                points.of(half), method=curve.method, max_shift_nm=max_shift_nm, num_windows=num_windows
            )
        except TableError:
            return Benefit("not told", len(points))
        parts.append(Unseen(points.of(~half), cell[~half], told.shift_nm[:, : points.num_axes]))
    return measure_benefit(parts)


def _no_beads(points: Points, curve: DriftCurve, radius_nm: float) -> npt.NDArray[np.bool_]:
    """Return which points ``(N,)`` are away from all bead places; all points for a given curve."""
    chosen = np.ones(len(points), dtype=np.bool_)
    for place in curve.details.get("places_nm", ()):
        away = points.place_N2 - np.asarray(place)
        chosen &= np.linalg.norm(away, axis=1) > radius_nm
    return chosen
