"""Base classes of cameras, so that other code never depends on the kind of camera.

Cameras compute with NumPy arrays and torch tensors alike. Values that may differ between pixels (`BaseCamera.MAPS`) are
passed in as ``values``: a number or a map (..., Y, X) for each name, as returned by `read_values`. Random numbers come
from a `Draw`, so that this module does not import torch.
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
"""NumPy array or torch tensor."""
Values = Mapping[str, Array]
"""Number or map (..., Y, X) for each name in `BaseCamera.MAPS`."""
PixelValue = float | str
"""One number for all pixels, or the path of a map of shape (Y, X) with one number per pixel."""


class Draw(Protocol):
    """Source of random numbers, float32."""

    def poisson(self, mean: Array) -> Array:
        """Draw Poisson numbers with the given means."""

    def gamma(self, shape: Array) -> Array:
        """Draw Gamma numbers with scale 1 and the given shapes; 0 where the shape is 0."""

    def normal(self, size: Sequence[int]) -> Array:
        """Draw standard normal numbers."""

    def uniform(self, size: Sequence[int]) -> Array:
        """Draw uniform numbers from 0 to 1."""

    def log_normal(self, spread: float, size: Sequence[int]) -> Array:
        """Draw numbers whose logarithm is normal with mean 0 and standard deviation ``spread``."""

    def log_uniform(self, low: float, high: float, size: Sequence[int]) -> Array:
        """Draw numbers from ``low`` to ``high`` whose logarithm is uniform."""


class DarkLevel(NamedTuple):
    """Counts without light."""

    name: str
    """Field of the camera's configuration that holds the value."""
    adu: float
    """Median over the pixels, counts."""


class Conversion(NamedTuple):
    """Camera parameters that files of other programs hold; NaN if pixels differ."""

    e_per_adu: float
    """Electrons per count."""
    offset_adu: float
    """Counts without light."""
    em_gain: float
    """Electron-multiplying gain; 1 without."""


@dataclass(frozen=True)
class ShotNoise:
    """Statistics of the fluctuation of a camera's counts.

    A **shot unit** is the amount of light whose variance equals its mean: ``1 / units_per_photon`` photons.
    """

    quantum_efficiency: float
    excess: float
    """Squared excess noise factor: variance of the detected electrons in units of a Poisson variance."""
    kurtosis: float
    """Fourth cumulant of the shot noise in units of its mean: 1 for Poisson noise, 3 after amplification."""
    dark_e: float
    """Electrons per pixel and frame that do not come from light but have shot noise."""
    read_variance_e2: Array
    """Variance of the read noise, electrons squared; a number or a map."""

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
    """Camera for which training frames can be simulated."""

    kind: str
    NOISE_MAP: ClassVar[str | None] = None
    """Name of the field with the read noise of each pixel, for networks with a noise map; None: not supported."""

    @abstractmethod
    def nominal(self) -> "BaseCamera":
        """Return the camera of a typical pixel."""

    @abstractmethod
    def draw_values(self, size: Sequence[int], draw: Draw) -> Values:
        """Return values of the camera for frames of ``size`` (..., Y, X); random values are drawn."""


class BaseCamera(TrainableCamera):
    """Base class of cameras; a new camera implements the abstract methods and is added to `CAMERAS`."""

    MAPS: ClassVar[Mapping[str, Rule]] = {}
    """Fields of type `PixelValue`, with the rule for their numbers."""
    DARK_LEVEL: ClassVar[str]
    """Name of the field with the counts without light."""

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
        """Draw integer counts for expected photons (..., Y, X), which must not be negative."""

    @abstractmethod
    def added_adu(self, photons: Array, values: Values, draw: Draw) -> Array:
        """Draw the counts, without rounding, that additional expected photons add to recorded counts."""

    @abstractmethod
    def shot_noise(self, values: Values) -> ShotNoise:
        """Return the statistics of the fluctuation of the counts."""

    @abstractmethod
    def conversion(self) -> Conversion:
        """Return the camera parameters that files of other programs hold."""

    def read_noise(self, values: Values) -> Array:
        """Return the read noise of each pixel, photons r.m.s., for networks that take a noise map.

        Raises
        ------
        ConfigError
            The camera does not support noise maps (`NOISE_MAP`).
        """
        del values
        raise ConfigError(
            f"The model needs a map of the camera's read noise, which cameras of kind {self.kind} do not have; use a "
            "model without noise_map, or configure the sCMOS camera of the data."
        )

    def for_training(self, size: tuple[int, int] | None = None) -> TrainableCamera:
        """Return the camera to use for training, which has no maps because training frames are smaller than the chip.

        ``size`` is the size of frames (y, x), which maps must match; None: unknown.
        """
        del size
        return self

    def nominal(self) -> "BaseCamera":
        """Return the camera itself."""
        return self

    def draw_values(self, size: Sequence[int], draw: Draw) -> Values:
        """Return the camera's own values; none of them is random."""
        del draw
        return self.read_values((size[-2], size[-1]))

    def map_paths(self) -> dict[str, str]:
        """Return the path of each value that is a map, by field name."""
        values = {name: getattr(self, name) for name in self.MAPS}
        return {name: value for name, value in values.items() if isinstance(value, str)}

    def read_values(self, size: tuple[int, int] | None) -> dict[str, npt.NDArray[np.float64]]:
        """Read and check the values that may be maps; return arrays of shape (Y, X), or () for a single number.

        Parameters
        ----------
        size
            Rows and columns of a frame, which maps must match; None: unknown.

        Raises
        ------
        ConfigError
            A map cannot be read or has another shape, or a value is invalid.
        """
        return {name: read_value(name, getattr(self, name), size, rule) for name, rule in self.MAPS.items()}

    def dark_level(self, values: Values) -> DarkLevel:
        """Return the counts without light, with the name of their field."""
        level = values[self.DARK_LEVEL] if self.DARK_LEVEL in self.MAPS else getattr(self, self.DARK_LEVEL)
        return DarkLevel(self.DARK_LEVEL, float(np.median(level)))

    def describe(self) -> str:
        """Return the camera as one line of text."""
        values = (f"{name} {value}" for name, value in self.to_dict().items() if name != "kind")
        return f"{self.kind}: {', '.join(values)}"

    def resolve(self, folder: Path) -> Self:
        """Return a copy whose relative map paths are made absolute from ``folder``, that of the configuration file."""
        return self.replace(**{name: absolute(path, folder) for name, path in self.map_paths().items()})

    def identity(self) -> dict[str, Any]:
        """Return the values as plain data, with maps represented by digests of their contents instead of paths."""
        digests = {
            name: f"sha256:{hashlib.sha256(content(path)).hexdigest()[:16]}" for name, path in self.map_paths().items()
        }
        return self.to_dict() | digests
