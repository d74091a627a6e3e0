"""Configuration of a simulated acquisition: where its molecules are, and how many frames it has."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lls_decode.axes import Layout
from lls_decode.config.base import Config, FileName
from lls_decode.config.training import SimulationConfig


class Homogeneous(Config):
    """Molecules spread uniformly over the volume, with the configured density."""

    kind: Literal["homogeneous"] = "homogeneous"


class Cell(Config):
    """Cell in the middle of the recorded volume: a membrane (hollow ellipsoid) with filaments that start from it.

    The configured density of emitters is the mean over all frames.
    """

    kind: Literal["cell"] = "cell"
    radii_nm: tuple[float, float, float]
    """Half-axes of the membrane along the stage travel, across it, and perpendicular to the coverslip, nm."""
    membrane_share: float = Field(ge=0, le=1)
    """Fraction of the molecules that bind to the membrane; the others bind to filaments."""
    num_filaments: int = Field(ge=0)
    """Number of filaments."""
    filament_length_nm: float = Field(gt=0)
    """Length of each filament, nm."""
    persistence_nm: float = Field(gt=0)
    """Persistence length of the filaments, over which they keep their direction, nm."""
    filament_radius_nm: float = Field(default=12.0, ge=0)
    """Distance from the axis of a filament at which molecules bind, nm; default: about the radius of a microtubule."""


Structure = Annotated[Homogeneous | Cell, Field(discriminator="kind")]


class MovieConfig(Config):
    """Configuration of one simulated acquisition; together with the seed it determines every camera count."""

    name: FileName
    """Name of the acquisition, used in file names."""
    simulation: SimulationConfig
    """Microscope, camera and emitters to simulate."""
    structure: Structure = Homogeneous()
    """Distribution of the molecules in the sample."""
    num_volumes: int = Field(gt=0)
    """Number of volumes; of frames, if a volume has one plane."""
    planes_per_volume: int = Field(default=1, gt=0)
    """Number of planes per volume; 1: a movie of single planes."""
    height: int = Field(ge=16)
    """Height of a frame, pixels."""
    width: int = Field(ge=16)
    """Width of a frame, pixels."""
    seed: int = 0
    """Seed of all random numbers."""

    @property
    def layout(self) -> Layout:
        """Number of volumes, planes, rows and columns of the dataset."""
        return Layout(self.num_volumes, self.planes_per_volume, self.height, self.width)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.planes_per_volume > 1) != (self.simulation.geometry is not None):
            raise ValueError(
                "volumes of several planes need simulation.geometry, and a movie of single planes must not have it"
            )
        if isinstance(self.structure, Cell) and self.simulation.geometry is None:
            raise ValueError(
                "structure 'cell' is three-dimensional: it needs planes_per_volume and simulation.geometry"
            )
        return self
