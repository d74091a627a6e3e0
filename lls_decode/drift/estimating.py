"""From a table to its drift, by the method that was asked for."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypedDict

import numpy as np

from lls_decode.drift.correlation.comet import estimate_by_comet
from lls_decode.drift.correlation.rcc import estimate_by_correlation
from lls_decode.drift.curve.coverage import survey_coverage
from lls_decode.drift.curve.curve import DriftCurve
from lls_decode.drift.fiducials.beads import find_beads, read_beads
from lls_decode.drift.fiducials.fiducials import estimate_by_fiducials
from lls_decode.drift.observations import one_of_each_molecule
from lls_decode.drift.points import MAX_POINTS, Points, TableView, read_points, survey_volumes
from lls_decode.errors import ConfigError

_logger = logging.getLogger(__name__)

Method = Literal["rcc", "fiducials", "comet"]


class DriftOptions(TypedDict, total=False):
    """How drift is estimated; the keywords of `estimate_drift`."""

    method: Method
    max_shift_nm: float | None
    num_windows: int | None
    max_points: int
    fiducials: Sequence[tuple[float, float]] | str | Path | None
    radius_nm: float
    min_share: float | None
    smooth: float | None
    channel: int | None
    progress: Callable[[int, int], None] | None


def estimate_drift(
    table: str | Path,
    *,
    method: Method = "rcc",
    max_shift_nm: float | None = None,
    num_windows: int | None = None,
    max_points: int = MAX_POINTS,
    fiducials: Sequence[tuple[float, float]] | str | Path | None = None,
    radius_nm: float = 500.0,
    min_share: float | None = None,
    smooth: float | None = None,
    channel: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DriftCurve:
    """Measure how the sample moved while a table was recorded.

    In sample coordinates where the geometry is known, else in raw ones; along x and y, and along z where it tells
    something. Memory does not grow with the table.

    Parameters
    ----------
    method
        ``rcc``: redundant cross-correlation of the sample's own structure; ``fiducials``: beads; ``comet``: the package
        comet-smlm, when it is installed.
    max_shift_nm
        Largest drift. None: 2000 for ``rcc``, 300 for ``comet``.
    num_windows
        Windows of time, for ``rcc`` and ``comet``. None: as many as the drift needs (``rcc``), 100 (``comet``).
    max_points
        Rows that are used, evenly spread over the table, for ``rcc`` and ``comet``.
    fiducials
        Places of beads (x, y in nm; sample coordinates where the geometry is known), or a csv with ``x_nm,y_nm``; None:
        they are found by themselves.
    radius_nm
        How far a bead may move from its place.
    min_share
        Of the volumes in which a bead must be seen. None: 0.8 for beads that are found, 0.2 for given ones.
    smooth
        Window over which the position of beads is smoothed (standard deviation, volumes). None: by cross-validation.
    channel
        The channel whose rows tell the drift. None: all of them; each is compared with itself only, and they tell one
        curve, since the sample moves as one. Beads, which lie elsewhere in each colour, need one channel.
    progress
        Called with steps done and in all, for ``rcc``.

    Raises
    ------
    ConfigError
        Unknown method, values that cannot be meant, comet-smlm not installed.
    TableError
        The table cannot be read, or does not tell its drift.
    """
    for name, value in (("max_shift_nm", max_shift_nm), ("radius_nm", radius_nm), ("min_share", min_share)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ConfigError(f"{name} is {value}; expected more than 0.")
    if num_windows is not None and num_windows < 2:
        raise ConfigError(f"{num_windows} windows were asked for; drift is measured between two at least.")
    view = TableView.of(table, channel=channel)
    if method == "fiducials" and view.metadata.has_channels and channel is None:
        raise ConfigError(
            f"{table} has several channels, and a bead is not at the same place in each; name the one whose beads are "
            "followed (--channel 0)."
        )
    if method == "fiducials":
        return _with_support(
            view, _from_beads(view, fiducials, radius_nm=radius_nm, min_share=min_share, smooth=smooth)
        )
    points = read_points(view, max_points=max_points)
    if len(points) < points.num_rows:
        _logger.info("%d of %d rows are used, evenly spread over the table", len(points), points.num_rows)
    found = estimate_from_points(
        one_of_each_molecule(points),
        method=method,
        max_shift_nm=max_shift_nm,
        num_windows=num_windows,
        progress=progress,
    )
    return _with_support(view, found)


def estimate_from_points(
    points: Points,
    *,
    method: str,
    max_shift_nm: float | None = None,
    num_windows: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DriftCurve:
    """Drift of points that are in memory, by ``rcc`` or ``comet``; the rest as in `estimate_drift`."""
    if method == "comet":
        return estimate_by_comet(points, max_shift_nm=max_shift_nm or 300.0, num_windows=num_windows)
    if method != "rcc":
        raise ConfigError(f"{method!r} is no method; choose rcc, fiducials or comet.")
    return estimate_by_correlation(
        points, max_shift_nm=max_shift_nm or 2000.0, num_windows=num_windows, progress=progress
    )


def _from_beads(
    view: TableView,
    given: Sequence[tuple[float, float]] | str | Path | None,
    *,
    radius_nm: float,
    min_share: float | None,
    smooth: float | None,
) -> DriftCurve:
    first, last = survey_volumes(view.path)
    share = min_share if min_share is not None else (0.8 if given is None else 0.2)
    if given is not None:
        beads = read_beads(given)
    else:
        beads = find_beads(view, first_volume=first, last_volume=last, radius_nm=radius_nm, min_share=share)
    return estimate_by_fiducials(
        view, beads, first_volume=first, last_volume=last, radius_nm=radius_nm, min_share=share, smooth=smooth
    )


def _with_support(view: TableView, curve: DriftCurve) -> DriftCurve:
    """The same, which says how much of the table lies where nothing was measured."""
    if curve.supported is None:
        return curve
    shares = {
        "unsupported_rows": round(survey_coverage(view.path, curve).unsupported_share, 5),
        "unsupported_volumes": round(float(1 - curve.supported.mean()), 5),
    }
    return replace(curve, details={**curve.details, **shares})
