"""What is known of molecules, as sums that add up: over the frames of a volume, over volumes, over batches.

Sums run in row order, one after the other, so that a molecule that is cut by a batch has the same sums, to the last
bit, as one that is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sightings:
    """One row a molecule, as far as it was seen: in one frame, in a volume, in all. Rows ascend in ``first_frame``."""

    weight_3N: Floats
    """Sum of 1 / sigma^2 along x, y, z; 0 where an axis is not known."""
    weighted_3N: Floats
    """Sum of position / sigma^2."""
    shared_3N: Floats
    """Sum over pairs of detections, each pair twice, of the correlation of their errors / (sigma_1 sigma_2)."""
    photons: Floats
    """Sum."""
    photons_variance: Floats
    """Sum."""
    bg: Floats
    """Sum over detections."""
    log_missed: Floats
    """Sum of log(1 - probability)."""
    prob: Floats
    """Largest detection probability."""
    first_frame: Integers
    last_frame: Integers
    num_frames: Integers
    """Detections: a molecule has one a frame."""
    num_planes: Integers
    """Most detections in one volume."""
    num_volumes: Integers
    channel: Integers
    """0 in a table without channels."""

    def __len__(self) -> int:
        return len(self.first_frame)

    @classmethod
    def from_rows(cls, rows: Mapping[str, npt.NDArray[Any]], position_3N: Floats, variance_3N: Floats) -> Self:
        """One sighting a detection, with no other that its errors are alike to."""
        one = np.ones(len(rows["frame"]), dtype=np.int64)
        frame = rows["frame"].astype(np.int64)
        probability = rows["prob"].astype(np.float64)
        with np.errstate(divide="ignore"):
            log_missed = np.log1p(-np.clip(probability, 0.0, 1.0))  # the sum over five pixels may pass 1
        return cls(
            weight_3N=1 / variance_3N,
            weighted_3N=position_3N / variance_3N,
            shared_3N=np.zeros_like(variance_3N),
            photons=rows["photons"].astype(np.float64),
            photons_variance=rows["phot_sig"].astype(np.float64) ** 2,
            bg=rows["bg"].astype(np.float64),
            log_missed=log_missed,
            prob=probability,
            first_frame=frame,
            last_frame=frame,
            num_frames=one,
            num_planes=one,
            num_volumes=one,
            channel=rows["channel"].astype(np.int64) if "channel" in rows else np.zeros(len(one), dtype=np.int64),
        )

    @property
    def position_3N(self) -> Floats:
        """Inverse-variance means, nm; 0 where an axis is not known."""
        return self.weighted_3N / np.where(self.weight_3N > 0, self.weight_3N, 1.0)

    @property
    def variance_3N(self) -> Floats:
        """Of the means, nm^2; infinite where an axis is not known.

        The variance of a sum of correlated errors, over the squared sum of weights.
        """
        with np.errstate(divide="ignore"):
            independent = 1 / self.weight_3N
        return independent * (1 + self.shared_3N / np.where(self.weight_3N > 0, self.weight_3N, 1.0))

    def combine(self, label: Integers, num: int, *, within_volume: bool) -> Self:
        """Join the sightings of each of ``num`` molecules; their numbers ascend with their first sighting.

        ``within_volume``: the sightings of a molecule are planes of one volume; else each is another volume.
        """

        def total(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return np.bincount(label, weights=values, minlength=num)  # in row order

        def count(values: Integers) -> Integers:
            return total(values).astype(np.int64)

        def largest(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            result = np.empty(num, dtype=values.dtype)
            result[label] = values
            np.maximum.at(result, label, values)
            return result

        first_frame, last_frame, channel = (np.empty(num, dtype=np.int64) for _ in range(3))
        first_frame[label[::-1]] = self.first_frame[::-1]  # the last one written is the first
        last_frame[label], channel[label] = self.last_frame, self.channel
        return type(self)(
            weight_3N=np.stack([total(values) for values in self.weight_3N]),
            weighted_3N=np.stack([total(values) for values in self.weighted_3N]),
            shared_3N=np.stack([total(values) for values in self.shared_3N]),
            photons=total(self.photons),
            photons_variance=total(self.photons_variance),
            bg=total(self.bg),
            log_missed=total(self.log_missed),
            prob=largest(self.prob),
            first_frame=first_frame,
            last_frame=last_frame,
            num_frames=count(self.num_frames),
            num_planes=count(self.num_planes) if within_volume else largest(self.num_planes),
            num_volumes=largest(self.num_volumes) if within_volume else count(self.num_volumes),
            channel=channel,
        )

    def select(self, rows: Integers) -> Self:
        """Some rows, in the order given."""
        return type(self)(**{field.name: getattr(self, field.name)[..., rows] for field in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Join, in the order given."""
        return cls(
            **{
                field.name: np.concatenate([getattr(part, field.name) for part in parts], axis=-1)
                for field in fields(cls)
            }
        )
