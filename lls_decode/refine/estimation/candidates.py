"""Detection of candidate spots by a matched filter for any PSF, and of those that are isolated.

Light is counted in **shot units**, in which its variance equals its mean. One unit is one photo-electron of an sCMOS
camera, and two photo-electrons of an EMCCD camera, whose amplification doubles the variance.

Shape letters: ``T`` frames of a run, ``Y X`` pixels, ``S`` side of a region of interest, ``C`` candidates.
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, max_pool2d, pad

from lls_decode.optics import CameraModel, PsfModel

NEIGHBOUR_SNR = 4.0
"""Signal-to-noise ratio above which a maximum counts as a neighbour that may disturb a fit."""
CANDIDATE_SNR = 6.0
"""Signal-to-noise ratio above which a maximum is a candidate."""
_ENCLOSED = 0.9
"""Share of the light, averaged over z, that a region of interest encloses before its rim is added."""
_LARGEST_HALF_PX = 12
_ISOLATION = 1.5
"""Smallest distance of an isolated candidate to another maximum, in half-widths of a region of interest."""
_FRAMES_AT_ONCE = 16


@dataclass(frozen=True)
class Detector:
    """Noise statistics of a camera."""

    camera: CameraModel
    variance_YX: Tensor
    """Variance of the noise that does not come from light, shot units squared."""
    photons_per_unit: float
    kurtosis: float
    """Fourth cumulant of the shot noise divided by its mean: 1 for Poisson noise, 3 after EM amplification."""

    @classmethod
    def of(cls, camera: CameraModel, height: int, width: int) -> Self:
        """Create a detector from a camera and the size of its frames."""
        noise = camera.shot_noise
        variance = torch.as_tensor(noise.read_variance + noise.dark, dtype=torch.float32)
        return cls(camera, variance.expand(height, width), noise.photons_per_unit, noise.kurtosis)

    def to_units(self, adu_TYX: npt.NDArray[np.generic]) -> Tensor:
        """Convert counts to shot units (T, Y, X) float32, with the background included and the offset removed."""
        return self.camera.to_photons(torch.from_numpy(adu_TYX.astype(np.float32))) / self.photons_per_unit


@dataclass(frozen=True)
class Candidates:
    """Local maxima of the filtered frames; all fields (C,), sorted by frame, row and column."""

    frame: npt.NDArray[np.int64]
    """Index of the frame within the run."""
    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    snr: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Self:
        """Return the candidates selected by a mask or by indices."""
        return type(self)(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})

    def nearest_px(self) -> npt.NDArray[np.float64]:
        """Return the distance to the nearest other maximum in the same frame, infinite if there is none.

        The distance is the larger of the differences in rows and columns.
        """
        apart = 10_000_000.0
        if len(self) < 2:
            return np.full(len(self), np.inf)
        places = np.stack([self.frame * apart, self.row, self.column], axis=1)
        distance = np.asarray(cKDTree(places).query(places, k=2, p=np.inf)[0][:, 1])
        return np.where(distance < apart / 2, distance, np.inf)


@dataclass(frozen=True)
class Finder:
    """Matched filter: correlation with the z-averaged PSF minus its mean, divided by the noise of the result."""

    kernel_SS: Tensor
    half: int
    """Half-width of a region of interest, pixels: ``S = 2 half + 1``."""

    @classmethod
    def of(cls, model: PsfModel, z_range_nm: tuple[float, float]) -> Self:
        """Create a finder for spots of a PSF within a range of z."""
        z = torch.linspace(*z_range_nm, 11, dtype=torch.float64)
        size = 2 * (2 * _LARGEST_HALF_PX) + 1
        middle = torch.full_like(z, size // 2)
        mean = model.shares(middle, middle, z, height=size, width=size).clamp_min(0).mean(dim=0)
        half = 2
        while half < _LARGEST_HALF_PX - 1 and _centre(mean, half).sum() < _ENCLOSED * mean.sum():
            half += 1
        half += 1
        kernel = _centre(mean, half)
        return cls((kernel - kernel.mean()).to(torch.float32), half)

    @property
    def apart_px(self) -> int:
        """Distance in pixels within which a second maximum disturbs a fit."""
        return round(_ISOLATION * self.half)

    def find(self, units_TYX: Tensor, variance_YX: Tensor) -> Candidates:
        """Return the local maxima above `NEIGHBOUR_SNR`."""
        parts = []
        reach = max(2, self.half // 2)
        for start in range(0, len(units_TYX), _FRAMES_AT_ONCE):
            snr = self._filter(units_TYX[start : start + _FRAMES_AT_ONCE], variance_YX)
            peak = (snr == max_pool2d(snr, 2 * reach + 1, stride=1, padding=reach)) & (snr > NEIGHBOUR_SNR)
            place = peak[:, 0].nonzero()
            values = snr[:, 0][tuple(place.T)].to(torch.float64)
            parts.append(torch.cat([place.to(torch.float64) + torch.tensor([start, 0, 0]), values[:, None]], dim=1))
        found = torch.cat(parts).numpy()
        frame, row, column = found[:, :3].T.astype(np.int64)
        return Candidates(frame, row, column, found[:, 3])

    def _filter(self, units_TYX: Tensor, variance_YX: Tensor) -> Tensor:
        """Return the signal-to-noise ratio (T, 1, Y, X); frames are mirrored at their border."""
        kernel = self.kernel_SS[None, None]
        light, wide = units_TYX[:, None], 2 * self.half
        local = avg_pool2d(light, 2 * wide + 1, stride=1, padding=wide, count_include_pad=False)
        noise = local.clamp_min(0) + variance_YX + 1e-3
        signal = conv2d(_mirror(light, self.half), kernel)
        return signal / conv2d(_mirror(noise, self.half), kernel.square()).sqrt()


def _centre(values: Tensor, half: int) -> Tensor:
    middle = len(values) // 2
    part = slice(middle - half, middle + half + 1)
    return values[part, part]


def _mirror(frames: Tensor, width: int) -> Tensor:
    return pad(frames, (width, width, width, width), mode="reflect")


def crop_stamps(frames_TYX: Tensor, frame: Tensor, row: Tensor, column: Tensor, half: int) -> Tensor:
    """Cut out regions of interest (C, S, S) around pixels that are at least ``half`` from the border."""
    steps = torch.arange(-half, half + 1)
    rows, columns = row[:, None, None] + steps[:, None], column[:, None, None] + steps
    return frames_TYX[frame[:, None, None], rows, columns]
