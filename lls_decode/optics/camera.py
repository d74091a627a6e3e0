"""Cameras: photons to counts for simulation, counts to photons for inference, by the same object.

Shape letters: ``B`` any leading axes, ``Y X`` pixels. Maps have shape (Y, X), (B, Y, X) or none.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lls_decode.config import Camera, EmccdCamera, PixelValue, ScmosCamera
from lls_decode.errors import ConfigError


@dataclass(frozen=True)
class ScmosModel:
    """counts = gain * (Poisson(photons * QE) + Normal(0, variance / gain^2)) + offset, rounded, not negative."""

    offset_adu: Tensor
    gain_adu_per_e: Tensor
    variance_adu2: Tensor
    quantum_efficiency: float

    @property
    def read_noise(self) -> Tensor:
        """Read noise as it is in `to_photons`, photons r.m.s.; of the shape of the maps, or one number."""
        return self.variance_adu2.sqrt() / (self.gain_adu_per_e * self.quantum_efficiency)

    def to_photons(self, adu: Tensor) -> Tensor:
        """Photons (float32) from counts of any dtype, shape (..., Y, X)."""
        return (adu.to(torch.float32) - self.offset_adu) / (self.gain_adu_per_e * self.quantum_efficiency)

    def to_adu(self, photons: Tensor, generator: torch.Generator) -> Tensor:
        """Noisy counts (float32 whole numbers) for expected photons, shape (..., Y, X)."""
        light = self.added_adu(photons, generator)
        noise = _normal_like(light, generator) * self.variance_adu2.sqrt()
        return (light + noise + self.offset_adu).round().clamp_min(0)

    def added_adu(self, photons: Tensor, generator: torch.Generator) -> Tensor:
        """Counts (float32, not rounded) that more light adds to recorded ones; ``photons`` expected, (..., Y, X).

        The sum of independent Poisson numbers is a Poisson number: recorded counts plus these are distributed as if
        the light had been there. Offset and read noise are in the recorded counts, and do not come in again.
        """
        electrons = torch.poisson(photons.clamp_min(0) * self.quantum_efficiency, generator=generator)
        return electrons * self.gain_adu_per_e

    def crop(self, y: slice, x: slice) -> "ScmosModel":
        """The camera behind a rectangle of the chip."""

        def cut(value: Tensor) -> Tensor:
            return value[..., y, x] if value.ndim else value

        return ScmosModel(
            cut(self.offset_adu), cut(self.gain_adu_per_e), cut(self.variance_adu2), self.quantum_efficiency
        )

    def to(self, device: torch.device) -> "ScmosModel":
        """The same camera with its maps on a device."""
        return ScmosModel(
            self.offset_adu.to(device),
            self.gain_adu_per_e.to(device),
            self.variance_adu2.to(device),
            self.quantum_efficiency,
        )


@dataclass(frozen=True)
class EmccdModel:
    """counts = floor((Gamma(Poisson(photons * QE + spurious), gain) + Normal(read)) / e_per_adu) + baseline."""

    config: EmccdCamera

    @property
    def read_noise(self) -> Tensor:
        """Refused: networks with a noise map are trained for sCMOS cameras, where it tells pixels apart."""
        raise ConfigError(
            "The model takes a map of the camera's read noise, which an EMCCD camera has not (its noise is that of the "
            "amplification, the same in all pixels); use a model without noise_map, or the sCMOS camera of the data."
        )

    def to_photons(self, adu: Tensor) -> Tensor:
        """Photons (float32) from counts of any dtype, shape (..., Y, X)."""
        c = self.config
        electrons = (adu.to(torch.float32) - c.baseline_adu) * (c.e_per_adu / c.em_gain)
        return (electrons - c.spurious_e) / c.quantum_efficiency

    def to_adu(self, photons: Tensor, generator: torch.Generator) -> Tensor:
        """Noisy counts (float32 whole numbers) for expected photons, shape (..., Y, X)."""
        c = self.config
        amplified = self._amplified_e(photons.clamp_min(0) * c.quantum_efficiency + c.spurious_e, generator)
        amplified = amplified + _normal_like(amplified, generator) * c.read_sigma_e
        return ((amplified / c.e_per_adu).floor() + c.baseline_adu).clamp_min(0)

    def added_adu(self, photons: Tensor, generator: torch.Generator) -> Tensor:
        """Counts (float32, not rounded) that more light adds to recorded ones; ``photons`` expected, (..., Y, X).

        Poisson numbers add up to Poisson ones, and Gamma ones of one scale to Gamma ones: recorded counts plus these
        are distributed as if the light had been there. Baseline, spurious charge and read noise are in the recorded
        counts, and do not come in again.
        """
        expected_e = photons.clamp_min(0) * self.config.quantum_efficiency
        return self._amplified_e(expected_e, generator) / self.config.e_per_adu

    def _amplified_e(self, expected_e: Tensor, generator: torch.Generator) -> Tensor:
        """Electrons after amplification, Gamma(Poisson(expected), gain)."""
        electrons = torch.poisson(expected_e, generator=generator)
        lit = electrons > 0
        amplified = torch._standard_gamma(torch.where(lit, electrons, 1.0), generator=generator) * self.config.em_gain
        return torch.where(lit, amplified, 0.0)

    def crop(self, y: slice, x: slice) -> "EmccdModel":
        """The same camera: it has no maps."""
        del y, x
        return self

    def to(self, device: torch.device) -> "EmccdModel":
        """The same camera: it has no maps."""
        del device
        return self


CameraModel = ScmosModel | EmccdModel


def build_camera(config: Camera, height: int, width: int, *, device: torch.device | None = None) -> CameraModel:
    """Load a camera's maps and check them against the frame.

    Raises
    ------
    ConfigError
        A map cannot be read, has another shape than the frame, or holds impossible values.
    """
    if isinstance(config, EmccdCamera):
        return EmccdModel(config)
    maps = check_maps(config, height, width)
    tensors = {name: torch.as_tensor(value, dtype=torch.float32, device=device) for name, value in maps.items()}
    return ScmosModel(**tensors, quantum_efficiency=config.quantum_efficiency)


def check_maps(config: ScmosCamera, height: int, width: int) -> dict[str, np.ndarray]:
    """Offset, gain and variance as float64 arrays of shape (Y, X) or ()."""
    maps = {
        name: _load_map(name, getattr(config, name), height, width)
        for name in ("offset_adu", "gain_adu_per_e", "variance_adu2")
    }
    if not (maps["gain_adu_per_e"] > 0).all():
        raise ConfigError("The camera's gain_adu_per_e holds values of 0 or less; every pixel needs a positive gain.")
    if not (maps["variance_adu2"] >= 0).all():
        raise ConfigError("The camera's variance_adu2 holds negative values; a variance is never below 0.")
    return maps


def _load_map(name: str, value: PixelValue, height: int, width: int) -> np.ndarray:
    if isinstance(value, float | int):
        return np.asarray(float(value))
    path = Path(value)
    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"Camera map {name} cannot be read from {path} ({error}); give a .npy file.") from error
    if loaded.shape != (height, width):
        raise ConfigError(
            f"Camera map {name} in {path} has shape {loaded.shape}, expected {(height, width)} (rows, columns of a "
            f"frame); cut the map to the recorded region of the chip."
        )
    if not np.isfinite(loaded).all():
        raise ConfigError(f"Camera map {name} in {path} holds NaN or infinite values; every pixel needs a number.")
    return np.asarray(loaded, dtype=np.float64)


def _normal_like(value: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(value.shape, generator=generator, dtype=value.dtype, device=value.device)
