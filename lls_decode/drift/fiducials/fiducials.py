"""Drift from fiducial beads: one position per bead and volume, averaged over beads and smoothed over time.

All means are weighted by inverse variance: over the detections of a bead in the planes of a sweep, over beads, and over
successive volumes. The smoothing window is chosen by leave-one-out cross-validation: it is the one that best predicts
each volume from the others.
Shape letters: ``B`` beads, ``V`` volumes, ``N`` rows near beads.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import convolve1d, uniform_filter1d

from lls_decode.drift.curve.curve import DriftCurve, make_curve
from lls_decode.drift.curve.support import Knots, held, uncertainty
from lls_decode.drift.fiducials.agreement import disagreeing
from lls_decode.drift.fiducials.track import Track, make_track
from lls_decode.drift.points import TableView
from lls_decode.errors import TableError
from lls_decode.table.positions import DEFAULT_SIGMA_NM

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
"""Standard deviations of the Gaussian window to choose from."""
_LOOSE_RATIO: Final = 4.0
"""Scatter of a bead, relative to the median bead, above which it is regarded as loose."""
_MAX_SCATTER_NM: Final = 150.0
"""Lateral scatter from one volume to the next above which something is not a bead."""
_AVERAGED_PARTS: Final = 10
"""Number of parts of the acquisition; differences between beads are averaged over each part."""


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
    """Measure the drift of a table from beads at rest in the sample.

    Parameters
    ----------
    beads_B2
        Lateral places of the beads, nm, in sample coordinates if the geometry is known.
    radius_nm
        Distance from its place within which a bead is searched.
    min_share
        Share of the volumes in which a bead must be seen.
    smooth
        Standard deviation of the Gaussian window, volumes. None: chosen by cross-validation; 0: no smoothing.

    Raises
    ------
    TableError
        No bead is seen often enough and keeps its place.
    """
    tracks, left_out = _followed(view, beads_B2, first_volume, last_volume, radius_nm=radius_nm, min_share=min_share)
    tracks, loose, doubt = _agreeing(_firm(tracks, left_out))
    left_out += loose
    if not tracks:
        raise TableError(
            f"None of {len(beads_B2)} given or found places has a bead that is present in {min_share:.0%} of the "
            "volumes; give other places, a larger radius, a smaller share, or measure the drift by correlation."
        )
    raw, noise = _average(tracks)
    width = _best_width(raw, noise) if smooth is None else smooth
    drift, variance = _smoothed(raw, noise, width)
    variance = np.maximum(variance * _bias_factor(raw, noise, width), _scatter_of_beads(tracks, raw, width))
    known = np.isfinite(raw[:, 0])
    time = np.flatnonzero(known).astype(np.float64) + first_volume
    reach = np.full(len(time), max(0.5, 2 * width))
    knots = Knots(time, reach, drift[known], np.sqrt(variance[known]), straight=0.0)
    sigma_V3, supported_V = uncertainty(knots, first_volume, last_volume)
    return make_curve(
        first_volume,
        held(knots, first_volume, last_volume),
        sigma_V3,
        supported_V=supported_V,
        coords=view.coords,
        method="fiducials",
        details={
            "num_fiducials": len(tracks),
            "fiducials": [track.name for track in tracks],
            "places_nm": [[round(float(v), 1) for v in place] for place in beads_B2],
            "scatter_nm": [[round(float(v), 2) for v in track.scatter_nm] for track in tracks],
            "residuals_nm": [[round(float(v), 2) for v in _residual(track, drift)] for track in tracks],
            "share": [round(track.share, 3) for track in tracks],
            "smooth_volumes": width,
            "left_out": left_out,
            "doubt": doubt,
        },
    )


def _followed(
    view: TableView, beads_B2: Floats, first_volume: int, last_volume: int, *, radius_nm: float, min_share: float
) -> tuple[list[Track], list[str]]:
    """Return the tracks of beads that are seen often enough and keep their place, and why the others are left out."""
    volume_N, bead_N, position_N3, sigma_N3 = _rows_near(view, beads_B2, radius_nm)
    num_volumes = last_volume - first_volume + 1
    tracks, left_out = [], []
    for number, place in enumerate(beads_B2):
        mine = bead_N == number
        track = make_track(number, place, volume_N[mine] - first_volume, position_N3[mine], sigma_N3[mine], num_volumes)
        if track is None:
            left_out.append(f"bead {number + 1} at ({place[0]:.0f}, {place[1]:.0f}) nm was not found")
        elif track.share < min_share:
            left_out.append(f"{track.name} is seen in only {track.share:.0%} of the volumes")
        elif np.any(track.scatter_nm[:2] >= _MAX_SCATTER_NM):
            left_out.append(f"{track.name} scatters by {track.scatter_nm[:2].max():.0f} nm between volumes")
        else:
            tracks.append(track)
    return tracks, left_out


def _agreeing(tracks: list[Track]) -> tuple[list[Track], list[str], str | None]:
    """Leave out, one after another, beads that disagree with most others.

    Return the rest, the reasons, and any doubt.
    """
    loose: list[str] = []
    if len(tracks) == 1:
        return tracks, loose, f"{tracks[0].name} is the only one: whether it keeps its place in the sample is not known"
    while (found := disagreeing(tracks)) is not None:
        number, time = found
        if len(tracks) == 2:
            names = " and ".join(track.name for track in tracks)
            return tracks, loose, f"{names} disagree over {time} volumes; with only two it is not known which one moves"
        loose.append(f"{tracks[number].name} moves relative to the others over {time} volumes")
        tracks = [track for track in tracks if track is not tracks[number]]
    return tracks, loose, None


def _rows_near(view: TableView, beads_B2: Floats, radius_nm: float) -> tuple[Integers, Integers, Floats, Floats]:
    """Return volume, bead number, position and sigma of all rows near a bead; a row belongs to the nearest bead."""
    parts: list[tuple[Integers, Integers, Floats, Floats]] = []
    for rows in view.pieces():
        position = view.positions(rows)
        distance = np.linalg.norm(position[:, None, :2] - beads_B2[None], axis=2)
        nearest = distance.argmin(axis=1)
        near = (distance[np.arange(len(nearest)), nearest] <= radius_nm) & np.isfinite(position).all(axis=1)
        volume = rows["volume"].to_numpy()[near].astype(np.int64)
        parts.append((volume, nearest[near], position[near], view.sigmas(rows)[near]))
    volume, bead, position, sigma = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    sigma = np.where(np.isfinite(sigma) & (sigma > 0), sigma, DEFAULT_SIGMA_NM)
    return volume, bead, position, sigma


def _firm(tracks: list[Track], left_out: list[str]) -> list[Track]:
    """Leave out beads that wobble from volume to volume, if there are enough others to compare with."""
    if len(tracks) < 3:
        return tracks
    scatter = np.array([track.scatter_nm for track in tracks])
    firm = np.all(scatter <= _LOOSE_RATIO * np.maximum(np.median(scatter, axis=0), 1e-3), axis=1)
    left_out += [f"{tracks[number].name} wobbles from volume to volume" for number in np.flatnonzero(~firm)]
    return [track for track, keep in zip(tracks, firm, strict=True) if keep]


def _average(tracks: list[Track]) -> tuple[Floats, Floats]:
    """Return the mean motion of the beads and its variance, ``(V, 3)`` each; NaN and inf in volumes without a bead.

    Each bead's place is fitted so that its track matches the mean, since beads that come and go have different places.
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
    """Return the width that predicts each volume best from the others, over all axes in units of their noise."""
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
    """Smooth with a Gaussian window and inverse-variance weights.

    ``leave_out`` uses only the other volumes for each volume.
    """
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


def _bias_factor(drift_V3: Floats, variance_V3: Floats, width: float) -> Floats:
    """Return the factor ``(3,)`` by which smoothing increases the variance, from prediction errors beyond the noise."""
    if width == 0:
        return np.ones(3)
    predicted, stated = _smoothed(drift_V3, variance_V3, width, leave_out=True)
    both = np.isfinite(drift_V3).all(axis=1) & np.isfinite(predicted).all(axis=1)
    if not both.any():
        return np.ones(3)
    excess = np.mean((drift_V3[both] - predicted[both]) ** 2 - variance_V3[both], axis=0)
    return np.asarray(np.maximum(1.0, excess / np.mean(stated[both], axis=0)))


def _residual(track: Track, drift_V3: Floats) -> Floats:
    """Return the root mean square deviation ``(3,)`` of a bead from the drift, around its own place, nm."""
    off = track.position_V3 - drift_V3
    off = off[np.isfinite(off).all(axis=1)]
    return np.asarray(np.std(off, axis=0)) if len(off) else np.full(3, np.nan)


def _scatter_of_beads(tracks: list[Track], raw_V3: Floats, width: float) -> Floats:
    """Return the variance ``(V, 3)`` of the mean over beads, from their slow differences after smoothing.

    For two beads it is the square of half their difference, whichever of them has moved.
    """
    if len(tracks) < 2:
        return np.zeros(raw_V3.shape)
    total = np.zeros(raw_V3.shape)
    weights = np.zeros(raw_V3.shape)
    for track in tracks:
        seen = np.isfinite(track.position_V3)
        weights += np.where(seen, 1 / track.variance_V3, 0.0)
    for track in tracks:
        seen = np.isfinite(track.position_V3)
        weight = np.divide(
            np.where(seen, 1 / track.variance_V3, 0.0), weights, out=np.zeros_like(weights), where=weights > 0
        )
        off = track.position_V3 - raw_V3
        off -= np.nanmean(off, axis=0)
        slow, _ = _smoothed(off, track.variance_V3, width)
        total += weight**2 * np.nan_to_num(slow) ** 2
    over = max(1, len(raw_V3) // _AVERAGED_PARTS)
    return np.asarray(uniform_filter1d(total, over, axis=0, mode="nearest") * len(tracks) / (len(tracks) - 1))
