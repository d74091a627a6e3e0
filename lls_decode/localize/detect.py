"""From output maps to detections, by pooling and convolution only (Speiser et al. 2021, "Obtaining localizations").

**The paper's rule.** A pixel is a **candidate** when its probability is above ``confident`` (0.6), or above
``candidate`` (0.3) and a local maximum among its four neighbours. It is a **detection** when its probability summed
with its four neighbours is above ``accept`` (0.7). ``prob`` is that sum, at most 1; a
model's calibration then makes it the share of right detections (`localize.calibrated`).

Ties: of two equal neighbours the upper or left one is the maximum, so a flat pair of 0.5 gives one detection, not two.
Counted twice: two adjacent pixels above ``confident`` are two emitters, by intention, and each one's sum includes the
other; two maxima that touch at a corner share the neighbours between them. That is the paper's rule.

**The model's rule** (default) is the paper's with the thresholds that a bundle has chosen on its validation frames.

**The authors' rule** is what their program does, for models that were trained with it. A pixel is a detection when its
probability is above ``raw_th`` and the largest of its eight neighbours', or above 0.6 without being a maximum; ``prob``
is the sum with its four neighbours, at most 1, and at least ``raw_th``. Of equal neighbours each is a maximum: a flat
pair of 0.5 gives two detections with ``prob`` 1, and 0.9 beside 0.8 gives two as well.

Shape letters: ``N`` windows, ``Y X`` pixels, ``D`` detections.
"""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from lls_decode.config import CROWD_RADIUS_PX, AuthorsRule, DetectionRule, ModelRule, PaperRule
from lls_decode.model.network import OutputMaps, SparseMaps

_AUTHORS_CONFIDENT = 0.6
"""Above this any pixel is a candidate of the authors' rule; not a parameter in their program either."""
_MAPS = ("photons", "x", "y", "z", "photons_sig", "x_sig", "y_sig", "z_sig", "bg")


@dataclass(frozen=True)
class Detections:
    """Detections of some windows, in network units, on the host; all (D,), ordered by window, y, x."""

    window: npt.NDArray[np.int64]
    y_px: npt.NDArray[np.int64]
    """Pixel row of the detection."""
    x_px: npt.NDArray[np.int64]
    prob: npt.NDArray[np.float32]
    """Probability of the pixel and its four neighbours, at most 1; not calibrated."""
    photons: npt.NDArray[np.float32]
    x: npt.NDArray[np.float32]
    """Offset from the pixel's centre, pixels."""
    y: npt.NDArray[np.float32]
    z: npt.NDArray[np.float32]
    photons_sig: npt.NDArray[np.float32]
    x_sig: npt.NDArray[np.float32]
    y_sig: npt.NDArray[np.float32]
    z_sig: npt.NDArray[np.float32]
    bg: npt.NDArray[np.float32]
    near: npt.NDArray[np.float32]
    """Probability in the 5 x 5 pixels around, without that of the detection itself: other emitters, expected number."""
    crowd: npt.NDArray[np.float32]
    """The same in the square of half-width `CROWD_RADIUS_PX`."""

    def __len__(self) -> int:
        return len(self.window)

    @classmethod
    def concatenate(cls, parts: list[Self]) -> Self:
        """Join detections in the order given."""
        return cls(**{field.name: np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(cls)})

    def select(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Self:
        """The rows of a mask or an index."""
        return type(self)(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})


def candidate_maps(probability_NYX: Tensor, rule: DetectionRule) -> tuple[Tensor, Tensor]:
    """Return the mask of detections and their integrated probability, each (N, Y, X); the rule has all thresholds."""
    if isinstance(rule, AuthorsRule):
        return _authors_maps(probability_NYX, rule)
    return _paper_maps(probability_NYX, rule)


def _paper_maps(p: Tensor, rule: PaperRule | ModelRule) -> tuple[Tensor, Tensor]:
    padded = F.pad(p, (1, 1, 1, 1))
    up, down = padded[:, :-2, 1:-1], padded[:, 2:, 1:-1]
    left, right = padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]
    is_maximum = (p > up) & (p > left) & (p >= down) & (p >= right)
    integrated = p + up + down + left + right
    candidate, confident, accept = rule.thresholds
    is_candidate = (p > confident) | ((p > candidate) & is_maximum)
    return is_candidate & (integrated > accept), integrated.clamp_max(1.0)


def _authors_maps(p: Tensor, rule: AuthorsRule) -> tuple[Tensor, Tensor]:
    is_maximum = (p > rule.raw_th) & (p == F.max_pool2d(p, 3, stride=1, padding=1))
    integrated = _with_neighbours(p)
    return (is_maximum | (p > _AUTHORS_CONFIDENT)) & (integrated >= rule.raw_th), integrated.clamp_max(1.0)


def crowding_maps(p: Tensor) -> tuple[Tensor, Tensor]:
    """Return `Detections.near` and `Detections.crowd` of every pixel, each (N, Y, X).

    Sums run in the same order everywhere, so that they are equal to the bit however frames are cut into tiles.
    """
    near_rows, crowd_rows = _box_sums(p, dim=2)
    near, crowd = _box_sums(near_rows, dim=1)[0], _box_sums(crowd_rows, dim=1)[1]
    own = _with_neighbours(p)
    return (near - own).clamp_min(0.0), (crowd - own).clamp_min(0.0)


def _box_sums(values: Tensor, *, dim: int) -> tuple[Tensor, Tensor]:
    """Sums over 5 pixels, and over those within `CROWD_RADIUS_PX`, along one axis; 0 beyond the frame."""
    length, radius = values.shape[dim], CROWD_RADIUS_PX
    padded = F.pad(values, (radius, radius) if dim == 2 else (0, 0, radius, radius))
    shifted = [padded.narrow(dim, start, length) for start in range(2 * radius + 1)]
    near = sum(shifted[radius - 1 : radius + 3], shifted[radius - 2])
    return near, sum((*shifted[: radius - 2], *shifted[radius + 3 :]), near)


def _with_neighbours(p: Tensor) -> Tensor:
    """Probability of a pixel and its four neighbours."""
    padded = F.pad(p, (1, 1, 1, 1))
    return p + padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]


def detect(maps: OutputMaps | SparseMaps, rule: DetectionRule) -> Detections:
    """Detections of a batch of windows: found, gathered and packed on the device, copied to the host once."""
    probability = maps.probability
    found, integrated = candidate_maps(probability, rule)
    pixels_P3 = found.nonzero()
    values = maps.at(pixels_P3)
    summed = (integrated, *crowding_maps(probability))
    columns = [*(each[pixels_P3.unbind(dim=1)] for each in summed), *(getattr(values, name) for name in _MAPS)]
    # float64 holds whole numbers exactly, so that one array carries all.
    packed = torch.cat([pixels_P3.double().T, torch.stack(columns).double()]).cpu().numpy()
    window, y_px, x_px = packed[:3].astype(np.int64)
    named = dict(zip(("prob", "near", "crowd", *_MAPS), packed[3:].astype(np.float32), strict=True))
    return Detections(window=window, y_px=y_px, x_px=x_px, **named)
