"""Drift from fiducial beads: one position a bead and volume, averaged over beads and smoothed over time.

Everything is weighted by inverse variance: the detections of a bead in the planes of a sweep, the beads, and successive
volumes. How long the smoothing window is, the data say: it is the one by which each volume is best predicted from the
others (leave-one-out cross-validation).
Shape letters: ``B`` beads, ``V`` volumes, ``N`` rows near beads.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import convolve1d, median_filter

from lls_decode.drift.curve import DriftCurve, make_curve
from lls_decode.drift.points import TableView
from lls_decode.errors import TableError
from lls_decode.robust import MAD_TO_SD
from lls_decode.table import iter_tables

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_SMOOTHING_VOLUMES: Final = (
    0.0,
    0.7,
    1.0,
    1.5,
    2.0,
    3.0,
    5.0,
    7.0,
    10.0,
    15.0,
    20.0,
    30.0,
    50.0,
    70.0,
    100.0,
    200.0,
    500.0,
)
"""Standard deviations of the Gaussian window that are tried."""
_MEDIAN_VOLUMES: Final = 51
_OUTLIER_SIGMAS: Final = 5.0
_LOOSE_RATIO: Final = 4.0
"""A bead that scatters that many times more than the median bead does not stick."""
_MAX_SCATTER_NM: Final = 150.0
"""Lateral scatter from one volume to the next of something that is no bead."""
_DEFAULT_SIGMA_NM: Final = (20.0, 20.0, 50.0)


@dataclass(frozen=True)
class Track:
    """One bead over time."""

    position_V3: Floats
    """nm; NaN in volumes without it."""
    variance_V3: Floats
    """nm^2, as measured from its scatter."""
    scatter_nm: Floats
    """(3,) standard deviation from one volume to the next."""

    @property
    def share(self) -> float:
        """Of the volumes in which it is seen."""
        return float(np.isfinite(self.position_V3[:, 0]).mean())


def estimate_by_fiducials(
    view: TableView,
    beads_B2: Floats,
    *,
    first_volume: int,
    last_volume: int,
    radius_nm: float = 500.0,
    min_share: float = 0.5,
    smooth: float | None = None,
) -> DriftCurve:
    """Drift of a table from beads at rest in the sample.

    Parameters
    ----------
    beads_B2
        Their lateral places, nm, in sample coordinates where the geometry is known.
    radius_nm
        How far from there a bead is looked for.
    min_share
        Of the volumes in which a bead must be seen.
    smooth
        Standard deviation of the Gaussian window, volumes. None: by cross-validation; 0: none.

    Raises
    ------
    TableError
        None of the beads is seen often enough, or keeps its place.
    """
    volume_N, bead_N, position_N3, sigma_N3 = _rows_near(view, beads_B2, radius_nm)
    num_volumes = last_volume - first_volume + 1
    tracks = []
    for number in range(len(beads_B2)):
        mine = bead_N == number
        track = _track(volume_N[mine] - first_volume, position_N3[mine], sigma_N3[mine], num_volumes)
        if track is not None and track.share >= min_share and np.all(track.scatter_nm[:2] < _MAX_SCATTER_NM):
            tracks.append(track)
    tracks = _firm(tracks)
    if not tracks:
        raise TableError(
            f"None of {len(beads_B2)} places of beads has something that stays in {min_share:.0%} of the volumes; "
            "give other places, a larger radius, a smaller share, or measure the drift by correlation."
        )
    drift, variance = _average(tracks)
    width = _best_width(drift, variance) if smooth is None else smooth
    drift, variance = _smoothed(drift, variance, width)
    sigma = np.sqrt(variance)
    return make_curve(
        first_volume,
        _filled(drift),
        _filled(sigma),
        coords=view.coords,
        method="fiducials",
        details={
            "num_fiducials": len(tracks),
            "scatter_nm": [[round(float(v), 2) for v in track.scatter_nm] for track in tracks],
            "share": [round(track.share, 3) for track in tracks],
            "smooth_volumes": width,
        },
    )


def _rows_near(view: TableView, beads_B2: Floats, radius_nm: float) -> tuple[Integers, Integers, Floats, Floats]:
    """Volume, number of the bead, position and sigma of all rows near a bead; a row is given to the nearest."""
    parts: list[tuple[Integers, Integers, Floats, Floats]] = []
    for rows in iter_tables(view.path, view.columns):
        position = view.positions(rows)
        distance = np.linalg.norm(position[:, None, :2] - beads_B2[None], axis=2)
        nearest = distance.argmin(axis=1)
        near = (distance[np.arange(len(nearest)), nearest] <= radius_nm) & np.isfinite(position).all(axis=1)
        volume = rows["volume"].to_numpy()[near].astype(np.int64)
        parts.append((volume, nearest[near], position[near], view.sigmas(rows)[near]))
    volume, bead, position, sigma = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    sigma = np.where(np.isfinite(sigma) & (sigma > 0), sigma, _DEFAULT_SIGMA_NM)
    return volume, bead, position, sigma


def _track(volume_N: Integers, position_N3: Floats, sigma_N3: Floats, num_volumes: int) -> Track | None:
    """One position a volume; rows far off the running median are molecules that passed by."""
    if len(volume_N) < 2:
        return None
    order = np.argsort(volume_N, kind="stable")
    volume, position, sigma = volume_N[order], position_N3[order], sigma_N3[order]
    running = median_filter(position, size=(min(_MEDIAN_VOLUMES, len(position)), 1), mode="nearest")
    off = np.abs(position - running)
    spread = MAD_TO_SD * np.median(off, axis=0)
    kept = np.all(off <= np.maximum(_OUTLIER_SIGMAS * np.maximum(spread, sigma), 1e-9), axis=1)
    volume, position, weight = volume[kept], position[kept], 1 / sigma[kept] ** 2
    mean, total = np.full((num_volumes, 3), np.nan), np.zeros((num_volumes, 3))
    for axis in range(3):
        total[:, axis] = np.bincount(volume, weight[:, axis], num_volumes)
        moment = np.bincount(volume, weight[:, axis] * position[:, axis], num_volumes)
        np.divide(moment, total[:, axis], out=mean[:, axis], where=total[:, axis] > 0)
    # what one volume differs from the next: noise, and hardly drift
    steps = np.diff(mean[np.isfinite(mean[:, 0])], axis=0)
    scatter = MAD_TO_SD * np.median(np.abs(steps), axis=0) / np.sqrt(2) if len(steps) else np.full(3, np.inf)
    seen = total > 0
    predicted = np.divide(1.0, total, out=np.full_like(total, np.inf), where=seen)
    typical = np.median(predicted[seen[:, 0]], axis=0)
    # the predicted variances are right up to a factor, which the scatter tells
    return Track(mean, predicted * np.maximum(scatter**2, 1e-6) / typical, scatter)


def _firm(tracks: list[Track]) -> list[Track]:
    """Without beads that wobble, where there are others to compare with."""
    if len(tracks) < 3:
        return tracks
    scatter = np.array([track.scatter_nm for track in tracks])
    firm = np.all(scatter <= _LOOSE_RATIO * np.maximum(np.median(scatter, axis=0), 1e-3), axis=1)
    return [track for track, keep in zip(tracks, firm, strict=True) if keep]


def _average(tracks: list[Track]) -> tuple[Floats, Floats]:
    """Mean of the beads' movements and its variance, ``(V, 3)`` each; NaN and inf in volumes without a bead.

    Beads that come and go lie at different places: the place of each is what makes it fit the mean of all.
    """
    position = np.stack([track.position_V3 for track in tracks])
    seen = np.isfinite(position)
    weight = np.where(seen, 1 / np.stack([track.variance_V3 for track in tracks]), 0.0)
    position = np.where(seen, position, 0.0)
    total = weight.sum(axis=0)
    place = (weight * position).sum(axis=1) / weight.sum(axis=1)
    drift = np.zeros(position.shape[1:])
    for _ in range(20 if len(tracks) > 1 else 1):
        np.divide((weight * (position - place[:, None])).sum(axis=0), total, out=drift, where=total > 0)
        place = (weight * (position - drift)).sum(axis=1) / weight.sum(axis=1)
    known = total > 0
    variance = np.divide(1.0, total, out=np.full_like(total, np.inf), where=known)
    return np.where(known, drift, np.nan), variance


def _best_width(drift_V3: Floats, variance_V3: Floats) -> float:
    """The width by which each volume is best predicted from the others, over all axes in units of their noise."""
    errors = []
    usable = [width for width in _SMOOTHING_VOLUMES[1:] if width <= len(drift_V3) / 6]
    known = np.isfinite(drift_V3[:, 0])
    for width in usable:
        predicted, _ = _smoothed(drift_V3, variance_V3, width, leave_out=True)
        missed = (drift_V3 - predicted) ** 2 / variance_V3
        both = known & np.isfinite(predicted).all(axis=1)
        errors.append(float(missed[both].mean()) if both.sum() > known.sum() / 2 else np.inf)
    return usable[int(np.argmin(errors))] if errors and np.isfinite(min(errors)) else 0.0


def _smoothed(drift_V3: Floats, variance_V3: Floats, width: float, *, leave_out: bool = False) -> tuple[Floats, Floats]:
    """Gaussian window, weighted by inverse variance; with ``leave_out`` each volume from the others only."""
    if width == 0:
        return drift_V3, variance_V3
    reach = int(np.ceil(4 * width))
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * width**2))
    if leave_out:
        kernel[reach] = 0.0
    known = np.isfinite(drift_V3)
    weight = np.where(known, 1 / variance_V3, 0.0)

    def sums(values: Floats, window: npt.NDArray[np.float64]) -> Floats:
        return np.asarray(convolve1d(values, window, axis=0, mode="constant"))

    total = sums(weight, kernel)
    mean = np.full_like(drift_V3, np.nan)
    np.divide(sums(weight * np.where(known, drift_V3, 0.0), kernel), total, out=mean, where=total > 0)
    variance = np.divide(sums(weight, kernel**2), total**2, out=np.full_like(total, np.inf), where=total > 0)
    return mean, variance


def _filled(values_V3: Floats) -> Floats:
    """Volumes without a bead take what lies between their neighbours; beyond the outer ones, the same as these."""
    known = np.flatnonzero(np.isfinite(values_V3).all(axis=1))
    volume = np.arange(len(values_V3))
    return np.stack([np.interp(volume, known, values_V3[known, axis]) for axis in range(3)], axis=1)
