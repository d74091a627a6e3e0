"""Properties of molecules as sums, which can be accumulated over the frames of a volume, over volumes and over batches.

Sums are accumulated in row order, so that a molecule split between batches has exactly the same sums, to the last bit,
as an unsplit one.
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
    """Sums over the sightings of molecules: in one frame, in one volume, or in total.

    There is one row per molecule; rows are sorted by ``first_frame``.
    """

    weight_3N: Floats
    """Sum of 1 / sigma^2 along x, y, z; 0 where the position along an axis is unknown."""
    weighted_3N: Floats
    """Sum of position / sigma^2."""
    shared_3N: Floats
    """Sum over pairs of localizations of rho / (sigma_1 sigma_2), where rho is the correlation of their errors; each
    pair counts twice."""
    photons: Floats
    """Sum of photons."""
    photons_variance: Floats
    """Sum of the variances of the photons."""
    bg: Floats
    """Sum of background over the localizations."""
    log_missed: Floats
    """Sum of log(1 - probability)."""
    prob: Floats
    """Largest detection probability."""
    first_frame: Integers
    last_frame: Integers
    num_frames: Integers
    """Number of localizations; a molecule has at most one per frame."""
    num_planes: Integers
    """Largest number of localizations in one volume."""
    num_volumes: Integers
    channel: Integers
    """Channel of each molecule; 0 in a table without channels."""

    def __len__(self) -> int:
        return len(self.first_frame)

    @classmethod
    def from_rows(cls, rows: Mapping[str, npt.NDArray[Any]], position_3N: Floats, variance_3N: Floats) -> Self:
        """Create one sighting per localization, without correlated errors."""
        one = np.ones(len(rows["frame"]), dtype=np.int64)
        frame = rows["frame"].astype(np.int64)
        probability = rows["prob"].astype(np.float64)
        with np.errstate(divide="ignore"):
            log_missed = np.log1p(-np.clip(probability, 0.0, 1.0))  # the sum over five pixels may exceed 1
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
        """Inverse-variance weighted means in nm; 0 where the position along an axis is unknown."""
        return self.weighted_3N / np.where(self.weight_3N > 0, self.weight_3N, 1.0)

    @property
    def variance_3N(self) -> Floats:
        """Variances of the means in nm^2; infinite where the position along an axis is unknown.

        This is the variance of a weighted sum of correlated errors, divided by the squared sum of weights.
        """
        with np.errstate(divide="ignore"):
            independent = 1 / self.weight_3N
        return independent * (1 + self.shared_3N / np.where(self.weight_3N > 0, self.weight_3N, 1.0))

    def combine(self, label: Integers, num: int, *, within_volume: bool) -> Self:
        """Combine the sightings of each of ``num`` molecules, which are numbered by first sighting.

        ``within_volume``: the sightings of a molecule are planes of one volume; otherwise each is a different volume.
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
        first_frame[label[::-1]] = self.first_frame[::-1]  # written in reverse, so the first sighting is kept
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
        """Return selected rows, in the given order."""
        return type(self)(**{field.name: getattr(self, field.name)[..., rows] for field in fields(self)})

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Concatenate several sets of sightings, in the given order."""
        return cls(
            **{
                field.name: np.concatenate([getattr(part, field.name) for part in parts], axis=-1)
                for field in fields(cls)
            }
        )
