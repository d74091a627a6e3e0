"""The track of one fiducial bead: its position and variance in each volume in which it is seen."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from lls_decode.robust import MAD_TO_SD

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_MEDIAN_VOLUMES: Final = 51
_OUTLIER_SIGMAS: Final = 5.0


@dataclass(frozen=True)
class Track:
    """One bead over time."""

    number: int
    """Number of the bead, from 0, in the order in which beads were given or found."""
    place_nm: tuple[float, float]
    """Lateral place at which the bead was searched."""
    position_V3: Floats
    """Position in nm; NaN in volumes without the bead."""
    variance_V3: Floats
    """Variance in nm^2, as measured from the bead's scatter."""
    scatter_nm: Floats
    """(3,) standard deviation from one volume to the next."""

    @property
    def share(self) -> float:
        """Share of the volumes in which the bead is seen."""
        return float(np.isfinite(self.position_V3[:, 0]).mean())

    @property
    def name(self) -> str:
        """Name of the bead in messages."""
        return f"bead {self.number + 1} at ({self.place_nm[0]:.0f}, {self.place_nm[1]:.0f}) nm"


def make_track(
    number: int, place_nm: Floats, volume_N: Integers, position_N3: Floats, sigma_N3: Floats, num_volumes: int
) -> Track | None:
    """Compute one position per volume, ignoring rows far from the running median; None for fewer than two rows."""
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
    # differences between successive volumes: noise, with hardly any drift
    steps = np.diff(mean[np.isfinite(mean[:, 0])], axis=0)
    scatter = MAD_TO_SD * np.median(np.abs(steps), axis=0) / np.sqrt(2) if len(steps) else np.full(3, np.inf)
    seen = total > 0
    predicted = np.divide(1.0, total, out=np.full_like(total, np.inf), where=seen)
    typical = np.median(predicted[seen[:, 0]], axis=0)
    # the predicted variances are right except for a factor, which is measured by the scatter
    place = (float(place_nm[0]), float(place_nm[1]))
    return Track(number, place, mean, predicted * np.maximum(scatter**2, 1e-6) / typical, scatter)
