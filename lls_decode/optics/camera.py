"""Camera model on a device, which converts photons to counts for simulation and counts to photons for inference.

The behaviour of each kind of camera is in its class (`lls_decode.config.cameras`); this module supplies tensors and
random numbers. Shape letters: ``B`` any leading axes, ``Y X`` pixels. Maps have shape (Y, X), (B, Y, X) or ().
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
    """A number or a map for each name in ``config.MAPS``, float32; these take precedence over numbers in ``config``."""

    @property
    def read_noise(self) -> Tensor:
        """Read noise of the output of `to_photons`, in photons r.m.s.: one number, or the shape of the maps.

        Raises
        ------
        ConfigError
            The camera does not support noise maps.
        """
        noise: Tensor = self.config.read_noise(self.values)
        return noise

    @property
    def shot_noise(self) -> ShotNoise:
        """Statistics of the noise of the counts."""
        return self.config.shot_noise(self.values)

    def to_photons(self, adu: Tensor) -> Tensor:
        """Convert counts of any dtype to photons (float32), shape (..., Y, X)."""
        photons: Tensor = self.config.to_photons(adu.to(torch.float32), self.values)
        return photons

    def to_adu(self, photons: Tensor, generator: torch.Generator) -> Tensor:
        """Draw noisy counts (integers stored as float32) for expected photons, shape (..., Y, X)."""
        adu: Tensor = self.config.to_adu(photons.clamp_min(0), self.values, TorchDraw(generator))
        return adu

    def added_adu(self, photons: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the counts (float32, not rounded) that additional expected ``photons`` (..., Y, X) add to a frame."""
        adu: Tensor = self.config.added_adu(photons.clamp_min(0), self.values, TorchDraw(generator))
        return adu

    def crop(self, y: slice, x: slice) -> "CameraModel":
        """Return the camera restricted to a rectangle of the chip."""
        return CameraModel(self.config, crop_values(self.values, y, x))

    def to(self, device: torch.device) -> "CameraModel":
        """Return the same camera with its maps on a device."""
        return CameraModel(self.config, {name: value.to(device) for name, value in self.values.items()})


@dataclass(frozen=True)
class TorchDraw:
    """Source of random numbers (`lls_decode.config.Draw`) on the device of a generator."""

    generator: torch.Generator

    def poisson(self, mean: Tensor) -> Tensor:
        """Draw Poisson numbers with the given means."""
        return torch.poisson(mean, generator=self.generator)

    def gamma(self, shape: Tensor) -> Tensor:
        """Draw gamma numbers with scale 1 and the given shape parameters; 0 where the parameter is 0."""
        positive = shape > 0
        drawn = torch._standard_gamma(torch.where(positive, shape, 1.0), generator=self.generator)
        return torch.where(positive, drawn, 0.0)

    def normal(self, size: Sequence[int]) -> Tensor:
        """Draw standard normal numbers."""
        return torch.randn(tuple(size), generator=self.generator, device=self.generator.device)

    def uniform(self, size: Sequence[int]) -> Tensor:
        """Draw uniform numbers from 0 to 1."""
        return torch.rand(tuple(size), generator=self.generator, device=self.generator.device)

    def log_normal(self, spread: float, size: Sequence[int]) -> Tensor:
        """Draw numbers whose logarithm is normal with mean 0 and standard deviation ``spread``."""
        return torch.exp(spread * self.normal(size))

    def log_uniform(self, low: float, high: float, size: Sequence[int]) -> Tensor:
        """Draw numbers from ``low`` to ``high`` whose logarithm is uniform."""
        start, stop = (torch.tensor(value).log().item() for value in (low, high))
        return torch.exp(start + (stop - start) * self.uniform(size))


def build_camera(config: Camera, height: int, width: int, *, device: torch.device | None = None) -> CameraModel:
    """Load the maps of a camera, and check them against the size of the frame.

    Raises
    ------
    ConfigError
        A map cannot be read, has a different shape from the frame, or holds impossible values.
    """
    return _on_device(config, config.read_values((height, width)), device)


def draw_camera(config: TrainingCamera, size: Sequence[int], generator: torch.Generator) -> CameraModel:
    """Return a camera for frames of ``size`` (..., Y, X), with random values where ``config`` specifies statistics."""
    return _on_device(config.nominal(), config.draw_values(size, TorchDraw(generator)), generator.device)


def _on_device(config: BaseCamera, values: Values, device: torch.device | None) -> CameraModel:
    tensors = {name: torch.as_tensor(value, dtype=torch.float32, device=device) for name, value in values.items()}
    return CameraModel(config, tensors)
