"""A camera on a device: photons to counts for simulation, counts to photons for inference, by the same object.

What distinguishes cameras is in their classes (`lls_decode.config.cameras`); here are tensors and random numbers.
Shape letters: ``B`` any leading axes, ``Y X`` pixels. Maps have shape (Y, X), (B, Y, X) or none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lls_decode.config import BaseCamera, Camera, ShotNoise, TrainingCamera, Values, crop_values


@dataclass(frozen=True)
class CameraModel:
    """A camera with the values of its pixels as tensors."""

    config: BaseCamera
    values: Mapping[str, Tensor]
    """A number or a map for each name of ``config.MAPS``, float32; they count, where ``config`` has numbers too."""

    @property
    def read_noise(self) -> Tensor:
        """Read noise as it is in `to_photons`, photons r.m.s.; of the shape of the maps, or one number.

        Raises
        ------
        ConfigError
            The camera does not support noise maps.
        """
        noise: Tensor = self.config.read_noise(self.values)
        return noise

    @property
    def shot_noise(self) -> ShotNoise:
        """How the counts fluctuate."""
        return self.config.shot_noise(self.values)

    def to_photons(self, adu: Tensor) -> Tensor:
        """Photons (float32) from counts of any dtype, shape (..., Y, X)."""
        photons: Tensor = self.config.to_photons(adu.to(torch.float32), self.values)
        return photons

    def to_adu(self, photons: Tensor, generator: torch.Generator) -> Tensor:
        """Noisy counts (float32 whole numbers) for expected photons, shape (..., Y, X)."""
        adu: Tensor = self.config.to_adu(photons.clamp_min(0), self.values, TorchDraw(generator))
        return adu

    def added_adu(self, photons: Tensor, generator: torch.Generator) -> Tensor:
        """Counts (float32, not rounded) that more light adds to recorded ones; ``photons`` expected, (..., Y, X)."""
        adu: Tensor = self.config.added_adu(photons.clamp_min(0), self.values, TorchDraw(generator))
        return adu

    def crop(self, y: slice, x: slice) -> "CameraModel":
        """The camera behind a rectangle of the chip."""
        return CameraModel(self.config, crop_values(self.values, y, x))

    def to(self, device: torch.device) -> "CameraModel":
        """The same camera with its maps on a device."""
        return CameraModel(self.config, {name: value.to(device) for name, value in self.values.items()})


@dataclass(frozen=True)
class TorchDraw:
    """Random numbers (`lls_decode.config.Draw`) on the device of a generator."""

    generator: torch.Generator

    def poisson(self, mean: Tensor) -> Tensor:
        """Poisson numbers of the given means."""
        return torch.poisson(mean, generator=self.generator)

    def gamma(self, shape: Tensor) -> Tensor:
        """Gamma numbers of scale 1 and the given shapes; 0 where the shape is 0."""
        positive = shape > 0
        drawn = torch._standard_gamma(torch.where(positive, shape, 1.0), generator=self.generator)
        return torch.where(positive, drawn, 0.0)

    def normal(self, size: Sequence[int]) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(tuple(size), generator=self.generator, device=self.generator.device)

    def uniform(self, size: Sequence[int]) -> Tensor:
        """Uniform numbers from 0 to 1."""
        return torch.rand(tuple(size), generator=self.generator, device=self.generator.device)

    def log_normal(self, spread: float, size: Sequence[int]) -> Tensor:
        """Numbers whose logarithm is normal with mean 0 and standard deviation ``spread``."""
        return torch.exp(spread * self.normal(size))

    def log_uniform(self, low: float, high: float, size: Sequence[int]) -> Tensor:
        """Numbers whose logarithm is uniform."""
        start, stop = (torch.tensor(value).log().item() for value in (low, high))
        return torch.exp(start + (stop - start) * self.uniform(size))


def build_camera(config: Camera, height: int, width: int, *, device: torch.device | None = None) -> CameraModel:
    """Load a camera's maps and check them against the frame.

    Raises
    ------
    ConfigError
        A map cannot be read, has another shape than the frame, or holds impossible values.
    """
    return _on_device(config, config.read_values((height, width)), device)


def draw_camera(config: TrainingCamera, size: Sequence[int], generator: torch.Generator) -> CameraModel:
    """Return a camera for frames of ``size`` (..., Y, X); its values are drawn where ``config`` has statistics."""
    return _on_device(config.nominal(), config.draw_values(size, TorchDraw(generator)), generator.device)


def _on_device(config: BaseCamera, values: Values, device: torch.device | None) -> CameraModel:
    tensors = {name: torch.as_tensor(value, dtype=torch.float32, device=device) for name, value in values.items()}
    return CameraModel(config, tensors)
