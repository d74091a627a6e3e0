"""Drift measured by COMET (optional package comet-smlm, MIT), which maximizes the overlap of all windows."""

from typing import Final

import numpy as np

from lls_decode.drift.curve.curve import DriftCurve, make_curve
from lls_decode.drift.points import Points
from lls_decode.errors import ConfigError, TableError

_WINDOWS: Final = 100
_POINTS_OF_WINDOW: Final = 2_000
"""Points per window: limits the near pairs, which COMET holds in memory, to some ten millions."""


def estimate_by_comet(points: Points, *, max_shift_nm: float = 300.0, num_windows: int | None = None) -> DriftCurve:
    """Measure the drift of a table with ``comet.comet_run_kd``, which states no uncertainty.

    Parameters
    ----------
    max_shift_nm
        Largest drift; the required memory grows with its third power.
    num_windows
        Number of windows with equal numbers of volumes. None: 100, or the number of volumes if smaller.

    Raises
    ------
    ConfigError
        comet-smlm is not installed.
    TableError
        COMET cannot process these points.
    """
    try:
        import comet
    except ImportError as error:
        raise ConfigError("Drift by COMET needs comet-smlm; run: pip install 'lls-decode[drift]'.") from error
    rows = np.zeros((len(points), 4))
    rows[:, : points.num_axes] = points.position_nm
    rows[:, 3] = points.volume - points.first_volume
    windows = min(num_windows or _WINDOWS, points.num_volumes)
    try:
        drift = comet.comet_run_kd(
            rows,  # modified in place, and not used afterwards
            segmentation_mode=2,
            segmentation_var=-(-points.num_volumes // windows),
            max_locs_per_segment=_POINTS_OF_WINDOW,
            max_drift_nm=max_shift_nm,
            target_sigma_nm=float(np.sqrt(2) * points.sigma_nm[:2].mean()),
            min_max_frames=(0, points.num_volumes - 1),
            random_state=0,
        )
    except ValueError as error:
        raise TableError(f"COMET cannot measure the drift ({' '.join(str(error).split())}).") from error
    shift_VD = np.asarray(drift, dtype=np.float64)[:, : points.num_axes]
    return make_curve(
        points.first_volume,
        shift_VD,
        np.full_like(shift_VD, np.nan),
        coords=points.coords,
        method="comet",
        details={
            "num_localizations": len(points),
            "num_windows": windows,
            "software": {"comet-smlm": comet.__version__},
        },
    )
