"""Detection of emitters in output maps by shifts, sums and pooling (Speiser et al. 2021, "Obtaining localizations").

**The paper's rule.** A pixel is a **candidate** if its probability is above ``confident`` (0.6), or above ``candidate``
(0.3) and a local maximum among its four neighbours. A candidate is a **detection** if the sum of its probability and
those of its four neighbours is above ``accept`` (0.7). ``prob`` is this sum, at most 1. The model's calibration turns
it into the share of correct detections (`localize.calibrated`).

Ties: of two equal neighbours, the upper or left one counts as the maximum, so two adjacent pixels of 0.5 give one
detection. Double counting is part of the paper's rule: two adjacent pixels above ``confident`` are two emitters, and
the sum of each includes the other; two maxima that touch at a corner share the neighbours between them.

**The model's rule** (default) is the paper's rule with the thresholds that were chosen on the model's validation
frames, and with one addition. The probability of an emitter near the corner of a pixel is divided among four pixels.
The paper's rule misses it if none of them is large enough, or if the diagonal one is needed for ``accept``. Therefore a
pixel is also a detection if it is the largest among its eight neighbours, if none of these nine is a detection of the
paper's rule, and if the sum of a square of 2 x 2 pixels that contains it is above both ``square`` and ``accept``. Its
``prob`` is this sum, or that of the five pixels if it is larger. Without ``square`` there are no such detections.

**The authors' rule** reproduces the program of the paper's authors, for models trained with it. A pixel is a candidate
if its probability is above ``raw_th`` and the largest among its eight neighbours, or above 0.6. A candidate is a
detection if the sum of its probability and those of its four neighbours is at least ``raw_th``. ``prob`` is this sum,
at most 1. Equal neighbours are all maxima: two adjacent pixels of 0.5 give two detections with ``prob`` 1, and so do
0.9 beside 0.8.

Shape letters: ``N`` windows, ``Y X`` pixels, ``D`` detections, ``K`` pixels that may be detections.
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
"""Probability above which any pixel is a candidate of the authors' rule; it is fixed in their program, too."""
_MAPS = ("photons", "x", "y", "z", "photons_sig", "x_sig", "y_sig", "z_sig", "bg")
_VALUES = ("prob", "near", "crowd", *_MAPS)


@dataclass(frozen=True)
class Detections:
    """Detections in a set of windows, in network units, in host memory; all fields (D,), sorted by window, y, x."""

    window: npt.NDArray[np.int64]
    y_px: npt.NDArray[np.int64]
    """Pixel row of the detection."""
    x_px: npt.NDArray[np.int64]
    prob: npt.NDArray[np.float32]
    """Summed probability of the pixel and its neighbours that the rule compares with a threshold, at most 1; not
    calibrated."""
    photons: npt.NDArray[np.float32]
    x: npt.NDArray[np.float32]
    """Offset from the pixel's centre in pixels."""
    y: npt.NDArray[np.float32]
    z: npt.NDArray[np.float32]
    photons_sig: npt.NDArray[np.float32]
    x_sig: npt.NDArray[np.float32]
    y_sig: npt.NDArray[np.float32]
    z_sig: npt.NDArray[np.float32]
    bg: npt.NDArray[np.float32]
    near: npt.NDArray[np.float32]
    """Expected number of other emitters in the surrounding 5 x 5 pixels: the summed probability minus the detection's
    own."""
    crowd: npt.NDArray[np.float32]
    """Expected number of other emitters in the surrounding square of half-width `CROWD_RADIUS_PX`."""

    def __len__(self) -> int:
        return len(self.window)

    @classmethod
    def unpack(cls, columns: Tensor) -> Self:
        """Copy the columns of `detect_on_device` to host memory, in one transfer."""
        packed = columns.cpu().numpy()
        window, y_px, x_px = packed[:3].astype(np.int64)
        named = dict(zip(_VALUES, packed[3:].astype(np.float32), strict=True))
        return cls(window=window, y_px=y_px, x_px=x_px, **named)

    @classmethod
    def concatenate(cls, parts: list[Self]) -> Self:
        """Concatenate several sets of detections, in the given order."""
        return cls(**{field.name: np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(cls)})

    def is_finite(self) -> bool:
        """Return whether all values are finite."""
        return all(np.isfinite(getattr(self, name)).all() for name in ("prob", *_MAPS))

    def select(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Self:
        """Return the detections selected by a mask or by indices."""
        return type(self)(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})


def candidate_maps(probability_NYX: Tensor, rule: DetectionRule) -> tuple[Tensor, Tensor]:
    """Return the mask of detections and the summed probability of every pixel, each (N, Y, X).

    The rule must have all its thresholds.
    """
    found, summed = _find(probability_NYX, rule)
    return found, summed.clamp_max(1.0)


def _find(p: Tensor, rule: DetectionRule) -> tuple[Tensor, Tensor]:
    """Return the maps of `candidate_maps`, with sums that may exceed 1."""
    return _authors_maps(p, rule) if isinstance(rule, AuthorsRule) else _paper_maps(p, rule)


def _paper_maps(p: Tensor, rule: PaperRule | ModelRule) -> tuple[Tensor, Tensor]:
    padded = F.pad(p, (1, 1, 1, 1))
    up, down = padded[:, :-2, 1:-1], padded[:, 2:, 1:-1]
    left, right = padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]
    is_maximum = (p > up) & (p > left) & (p >= down) & (p >= right)
    summed = p + up + down + left + right
    candidate, confident, accept = rule.thresholds
    is_candidate = (p > confident) | ((p > candidate) & is_maximum)
    found = is_candidate & (summed > accept)
    if isinstance(rule, PaperRule) or rule.square is None:
        return found, summed
    square = max(rule.square, accept)
    # the largest of four pixels has at least a quarter of their sum
    pixels_K3 = (is_maximum & (p > square / 4) & ~found).nonzero()
    return _add_divided(p, pixels_K3, found, summed, square)


def _add_divided(p: Tensor, pixels_K3: Tensor, found: Tensor, summed: Tensor, square: float) -> tuple[Tensor, Tensor]:
    """Add emitters whose probability is divided among 2 x 2 pixels to the maps of the paper's rule.

    ``pixels_K3`` are window, row and column of the pixels that may be added.
    """
    window, y, x = (index[:, None, None] for index in pixels_K3.unbind(dim=1))
    offsets = torch.arange(3, device=p.device)
    around = (window, y + offsets[:, None], x + offsets)  # indices of 3 x 3 pixels in maps that are padded by one pixel
    p_K33, found_K33 = F.pad(p, (1, 1, 1, 1))[around], F.pad(found, (1, 1, 1, 1))[around]
    rows_K23 = p_K33[:, :2] + p_K33[:, 1:]
    largest_K = (rows_K23[:, :, :2] + rows_K23[:, :, 1:]).amax(dim=(1, 2))
    p_K9 = p_K33.flatten(1)
    own_K1 = p_K9[:, 4:5]
    is_maximum_K = (own_K1 > p_K9[:, :4]).all(dim=1) & (own_K1 >= p_K9[:, 5:]).all(dim=1)
    added_K = is_maximum_K & (largest_K > square) & ~found_K33.flatten(1).any(dim=1)
    places = pixels_K3[added_K].unbind(dim=1)
    larger = torch.maximum(summed[places], largest_K[added_K].clamp_max(1.0))
    return found.index_put(places, found.new_ones(())), summed.index_put(places, larger)


def _authors_maps(p: Tensor, rule: AuthorsRule) -> tuple[Tensor, Tensor]:
    is_maximum = (p > rule.raw_th) & (p == F.max_pool2d(p, 3, stride=1, padding=1))
    summed = _with_neighbours(p)
    return (is_maximum | (p > _AUTHORS_CONFIDENT)) & (summed >= rule.raw_th), summed


def crowding_maps(p: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Return `Detections.near` and `Detections.crowd` for every pixel, each (N, Y, X).

    ``own`` is the summed probability of a detection in each pixel, and is not part of either. Sums are computed in the
    same order for all pixels, so that the division of frames into tiles does not change them.
    """
    near_rows, crowd_rows = _box_sums(p, dim=2)
    near, crowd = _box_sums(near_rows, dim=1)[0], _box_sums(crowd_rows, dim=1)[1]
    return (near - own).clamp_min(0.0), (crowd - own).clamp_min(0.0)


def _box_sums(values: Tensor, *, dim: int) -> tuple[Tensor, Tensor]:
    """Return sums over 5 pixels, and over the pixels within `CROWD_RADIUS_PX`, along one axis; 0 beyond the frame."""
    length, radius = values.shape[dim], CROWD_RADIUS_PX
    padded = F.pad(values, (radius, radius) if dim == 2 else (0, 0, radius, radius))
    shifted = [padded.narrow(dim, start, length) for start in range(2 * radius + 1)]
    near = sum(shifted[radius - 1 : radius + 3], shifted[radius - 2])
    return near, sum((*shifted[: radius - 2], *shifted[radius + 3 :]), near)


def _with_neighbours(p: Tensor) -> Tensor:
    """Return the summed probability of each pixel and its four neighbours."""
    padded = F.pad(p, (1, 1, 1, 1))
    return p + padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1] + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]


def detect(maps: OutputMaps | SparseMaps, rule: DetectionRule) -> Detections:
    """Find the detections in a batch of windows on the device, and copy them to host memory in one transfer."""
    return Detections.unpack(detect_on_device(maps, rule))


def detect_on_device(maps: OutputMaps | SparseMaps, rule: DetectionRule) -> Tensor:
    """Return the detections in a batch of windows on the device: window, row, column and values (15, D), float64.

    float64 represents the indices exactly, so that one tensor, and one transfer, can hold all columns.
    """
    probability = maps.probability
    found, own = _find(probability, rule)
    pixels_P3 = found.nonzero()
    values = maps.at(pixels_P3)
    prob, near, crowd = (each[pixels_P3.unbind(dim=1)] for each in (own, *crowding_maps(probability, own)))
    columns = [prob.clamp_max(1.0), near, crowd, *(getattr(values, name) for name in _MAPS)]
    return torch.cat([pixels_P3.double().T, torch.stack(columns).double()])
