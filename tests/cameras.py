"""Cameras for tests: an sCMOS camera with maps in memory, and a kind of camera that only the tests define."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from lls_decode.config import BaseCamera, Draw, ScmosCamera, ShotNoise, Values
from lls_decode.config.cameras import CAMERAS, Conversion
from lls_decode.optics import CameraModel


def scmos_model(offset: Any, gain: Any, variance: Any, quantum_efficiency: float = 1.0) -> CameraModel:
    """Return an sCMOS camera model from numbers or from maps in memory."""
    config = ScmosCamera(offset_adu=0.0, gain_adu_per_e=1.0, variance_adu2=0.0, quantum_efficiency=quantum_efficiency)
    values = {"offset_adu": offset, "gain_adu_per_e": gain, "variance_adu2": variance}
    return CameraModel(config, {name: torch.as_tensor(value) for name, value in values.items()})


class PhotonCounter(BaseCamera):
    """A camera that counts photoelectrons above a pedestal, without read noise and without losses."""

    kind: Literal["photon-counter"] = "photon-counter"
    pedestal_adu: float = Field(ge=0)
    adu_per_e: float = Field(gt=0)
    dark_e: float = Field(default=0.0, ge=0)
    quantum_efficiency: float = Field(default=1.0, gt=0, le=1)

    DARK_LEVEL: ClassVar[str] = "pedestal_adu"

    def to_photons(self, adu: Any, values: Values) -> Any:
        return ((adu - self.pedestal_adu) / self.adu_per_e - self.dark_e) / self.quantum_efficiency

    def to_adu(self, photons: Any, values: Values, draw: Draw) -> Any:
        electrons = draw.poisson(photons * self.quantum_efficiency + self.dark_e)
        return (electrons * self.adu_per_e + self.pedestal_adu).round()

    def added_adu(self, photons: Any, values: Values, draw: Draw) -> Any:
        return draw.poisson(photons * self.quantum_efficiency) * self.adu_per_e

    def shot_noise(self, values: Values) -> ShotNoise:
        return ShotNoise(
            quantum_efficiency=self.quantum_efficiency,
            excess=1.0,
            kurtosis=1.0,
            dark_e=self.dark_e,
            read_variance_e2=0.0,
        )

    def conversion(self) -> Conversion:
        return Conversion(1 / self.adu_per_e, self.pedestal_adu, 1.0)


@contextmanager
def listed(camera: type[BaseCamera]) -> Iterator[None]:
    """Make configurations accept a kind of camera while the context lasts, by adding it to ``CAMERAS``."""
    CAMERAS.append(camera)
    yield
    CAMERAS.remove(camera)
