"""What every camera must answer, so that nobody asks which kind it is.

The arithmetic of a camera serves NumPy arrays and torch tensors alike. Its values that may differ from pixel to pixel
(`BaseCamera.MAPS`) are passed in as ``values``: a number or a map (..., Y, X) for each name, as `read_values` reads
them. Random numbers come from a `Draw`, so that this module needs no torch.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from lls_decode.config.base import Config
from lls_decode.config.cameras.maps import Rule, absolute, content, read_value
from lls_decode.errors import ConfigError

Array = Any
"""A NumPy array or a torch tensor."""
Values = Mapping[str, Array]
"""A number or a map (..., Y, X) for each name of `BaseCamera.MAPS`."""
PixelValue = float | str
"""One number for all pixels, or the path of a map with one number a pixel, shape (Y, X)."""


class Draw(Protocol):
    """Random numbers, float32."""

    def poisson(self, mean: Array) -> Array:
        """Poisson numbers of the given means."""

    def gamma(self, shape: Array) -> Array:
        """Gamma numbers of scale 1 and the given shapes; 0 where the shape is 0."""

    def normal(self, size: Sequence[int]) -> Array:
        """Standard normal numbers."""

    def uniform(self, size: Sequence[int]) -> Array:
        """Uniform numbers from 0 to 1."""

    def log_normal(self, spread: float, size: Sequence[int]) -> Array:
        """Numbers whose logarithm is normal with mean 0 and standard deviation ``spread``."""

    def log_uniform(self, low: float, high: float, size: Sequence[int]) -> Array:
        """Numbers whose logarithm is uniform."""


class DarkLevel(NamedTuple):
    """Counts at no light."""

    name: str
    """Field of the camera's configuration that holds the value."""
    adu: float
    """Median over the pixels."""


class Conversion(NamedTuple):
    """The numbers that other programs know of a camera; NaN where each pixel has its own."""

    e_per_adu: float
    offset_adu: float
    em_gain: float


@dataclass(frozen=True)
class ShotNoise:
    """How the counts of a camera fluctuate.

    A **shot unit** is the amount of light whose variance equals its mean: ``1 / units_per_photon`` photons.
    """

    quantum_efficiency: float
    excess: float
    """Excess noise factor squared: variance of the detected electrons, in units of a Poisson variance."""
    kurtosis: float
    """Fourth cumulant of the light's noise, in units of its mean: 1 for Poisson, 3 after amplification."""
    dark_e: float
    """Electrons per pixel and frame that no light explains, with shot noise."""
    read_variance_e2: Array
    """Variance of the read noise, electrons squared; one number or a map."""

    @property
    def units_per_photon(self) -> float:
        """Shot units per photon."""
        return self.quantum_efficiency / self.excess

    @property
    def photons_per_unit(self) -> float:
        """Photons per shot unit."""
        return self.excess / self.quantum_efficiency

    @property
    def dark(self) -> float:
        """Dark electrons, shot units."""
        return self.dark_e / self.excess

    @property
    def read_variance(self) -> Array:
        """Variance of the read noise, shot units squared."""
        return self.read_variance_e2 / self.excess**2


class TrainableCamera(Config, ABC):
    """A camera that training frames can be simulated for."""

    kind: str
    NOISE_MAP: ClassVar[str | None] = None
    """Field that holds the read noise of each pixel, for networks that take a noise map; None: not supported."""

    @abstractmethod
    def nominal(self) -> "BaseCamera":
        """Return the camera of a typical pixel."""

    @abstractmethod
    def draw_values(self, size: Sequence[int], draw: Draw) -> Values:
        """Return the values of `nominal` for frames of ``size`` (..., Y, X), drawn where they are random."""


class BaseCamera(TrainableCamera):
    """A camera. A new one implements the abstract methods and is added to `lls_decode.config.cameras.CAMERAS`."""

    MAPS: ClassVar[Mapping[str, Rule]] = {}
    """Fields of type `PixelValue`, and which numbers they may hold."""
    DARK_LEVEL: ClassVar[str]
    """Field that holds the counts at no light."""

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        for name, rule in self.MAPS.items():
            value = getattr(self, name)
            if not isinstance(value, str) and not rule.allows(np.asarray(value)):
                raise ValueError(f"{name} is {value:g}, but {rule.words}")
        return self

    @abstractmethod
    def to_photons(self, adu: Array, values: Values) -> Array:
        """Convert floating-point counts (..., Y, X) to photons."""

    @abstractmethod
    def to_adu(self, photons: Array, values: Values, draw: Draw) -> Array:
        """Draw whole counts for expected photons (..., Y, X), which are not negative."""

    @abstractmethod
    def added_adu(self, photons: Array, values: Values, draw: Draw) -> Array:
        """Draw the counts, not rounded, that additional expected photons add to recorded counts."""

    @abstractmethod
    def shot_noise(self, values: Values) -> ShotNoise:
        """Return how the counts fluctuate."""

    @abstractmethod
    def conversion(self) -> Conversion:
        """Return the numbers that other programs know of a camera."""

    def read_noise(self, values: Values) -> Array:
        """Return the read noise of each pixel, photons r.m.s., for networks that take a noise map.

        Raises
        ------
        ConfigError
            The camera does not support noise maps (`NOISE_MAP`).
        """
        del values
        raise ConfigError(
            f"The model takes a map of the camera's read noise, which cameras of kind {self.kind} do not have; use a "
            "model without noise_map, or give the sCMOS camera of the data."
        )

    def for_training(self, size: tuple[int, int] | None = None) -> TrainableCamera:
        """Return the camera to train with. Training frames are smaller than the chip, so it must not hold maps.

        ``size`` is that of the frames (y, x), which maps must have; None: unknown.
        """
        del size
        return self

    def nominal(self) -> "BaseCamera":
        """Return the camera itself."""
        return self

    def draw_values(self, size: Sequence[int], draw: Draw) -> Values:
        """Return the camera's own values, of which none is random."""
        del draw
        return self.read_values((size[-2], size[-1]))

    def map_paths(self) -> dict[str, str]:
        """Return the path of each value that is a map."""
        values = {name: getattr(self, name) for name in self.MAPS}
        return {name: value for name, value in values.items() if isinstance(value, str)}

    def read_values(self, size: tuple[int, int] | None) -> dict[str, npt.NDArray[np.float64]]:
        """Read and check the values that may be maps: arrays (Y, X), or () for one number.

        Parameters
        ----------
        size
            Rows and columns of a frame, which maps must have; None: unknown.

        Raises
        ------
        ConfigError
            A map cannot be read or has another shape, or a value is impossible.
        """
        return {name: read_value(name, getattr(self, name), size, rule) for name, rule in self.MAPS.items()}

    def dark_level(self, values: Values) -> DarkLevel:
        """Return the name and the value of the counts at no light."""
        level = values[self.DARK_LEVEL] if self.DARK_LEVEL in self.MAPS else getattr(self, self.DARK_LEVEL)
        return DarkLevel(self.DARK_LEVEL, float(np.median(level)))

    def describe(self) -> str:
        """Return the camera in words, on one line."""
        values = (f"{name} {value}" for name, value in self.to_dict().items() if name != "kind")
        return f"{self.kind}: {', '.join(values)}"

    def resolve(self, folder: Path) -> Self:
        """Make relative map paths relative to ``folder`` (where the configuration lies)."""
        return self.replace(**{name: absolute(path, folder) for name, path in self.map_paths().items()})

    def identity(self) -> dict[str, Any]:
        """Return the values as plain data, with maps by content instead of by path."""
        digests = {
            name: f"sha256:{hashlib.sha256(content(path)).hexdigest()[:16]}" for name, path in self.map_paths().items()
        }
        return self.to_dict() | digests
