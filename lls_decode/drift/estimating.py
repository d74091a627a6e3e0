"""Estimation of the drift of a table by the chosen method."""

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
    """Options of the drift estimate; the keyword arguments of `estimate_drift`."""

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

    The drift is in sample coordinates if the geometry is known, else in raw ones; along x and y, and also along z if z
    varies. Memory does not grow with the table.

    Parameters
    ----------
    method
        ``rcc``: redundant cross-correlation of the sample's own structure; ``fiducials``: beads; ``comet``: the package
        comet-smlm, if it is installed.
    max_shift_nm
        Largest drift. None: 2000 for ``rcc``, 300 for ``comet``.
    num_windows
        Number of windows of time, for ``rcc`` and ``comet``. None: as many as the drift needs (``rcc``), 100
        (``comet``).
    max_points
        Largest number of rows used by ``rcc`` and ``comet``, evenly spread over the table.
    fiducials
        Places of beads (x, y in nm; sample coordinates if the geometry is known), or a csv with ``x_nm,y_nm``. None:
        beads are detected.
    radius_nm
        Largest distance of a bead from its place.
    min_share
        Share of the volumes in which a bead must be seen. None: 0.8 for detected beads, 0.2 for given ones.
    smooth
        Standard deviation, in volumes, of the window that smooths bead positions. None: chosen by cross-validation.
    channel
        Channel whose rows are used. None: all channels. Each channel is compared with itself only, and all give one
        curve, since the sample moves as a whole. Beads have different places in each colour and need one channel.
    progress
        Function that is called with the numbers of finished and of all steps, for ``rcc``.

    Raises
    ------
    ConfigError
        Unknown method, invalid values, or comet-smlm is not installed.
    TableError
        The table cannot be read, or the drift cannot be measured from it.
    """
    for name, value in (("max_shift_nm", max_shift_nm), ("radius_nm", radius_nm), ("min_share", min_share)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ConfigError(f"{name} is {value}; expected more than 0.")
    if num_windows is not None and num_windows < 2:
        raise ConfigError(f"num_windows is {num_windows}; drift is measured between windows, so give at least 2.")
    view = TableView.of(table, channel=channel)
    if method == "fiducials" and view.metadata.has_channels and channel is None:
        raise ConfigError(
            f"{table} has several channels, and a bead is not at the same place in each; name the channel whose beads "
            "are followed (--channel 0)."
        )
    if method == "fiducials":
        return _with_support(
            view, _from_beads(view, fiducials, radius_nm=radius_nm, min_share=min_share, smooth=smooth)
        )
    points = read_points(view, max_points=max_points)
    if len(points) < points.num_rows:
        _logger.info("Using %d of %d rows, evenly spread over the table", len(points), points.num_rows)
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
    """Measure the drift of points in memory, by ``rcc`` or ``comet``; see `estimate_drift` for the parameters."""
    if method == "comet":
        return estimate_by_comet(points, max_shift_nm=max_shift_nm or 300.0, num_windows=num_windows)
    if method != "rcc":
        raise ConfigError(f"{method!r} is not a method; choose rcc, fiducials or comet.")
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
    """Return a copy whose details state how much of the table lies where nothing was measured."""
    if curve.supported is None:
        return curve
    shares = {
        "unsupported_rows": round(survey_coverage(view.path, curve).unsupported_share, 5),
        "unsupported_volumes": round(float(1 - curve.supported.mean()), 5),
    }
    return replace(curve, details={**curve.details, **shares})
