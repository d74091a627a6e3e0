"""A whole simulated acquisition: where its molecules are, and how many frames are recorded."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lls_decode.axes import Layout
from lls_decode.config.base import Config, FileName
from lls_decode.config.training import SimulationConfig


class Homogeneous(Config):
    """Molecules everywhere, with the configured density."""

    kind: Literal["homogeneous"] = "homogeneous"


class Cell(Config):
    """A membrane (hollow ellipsoid) with filaments that leave it, in the middle of the recorded volume.

    The configured density of the emitters is the mean over all frames.
    """

    kind: Literal["cell"] = "cell"
    radii_nm: tuple[float, float, float]
    """Half-axes of the membrane along the stage travel, across, and above the coverslip."""
    membrane_share: float = Field(ge=0, le=1)
    """Share of the molecules that bind to the membrane."""
    num_filaments: int = Field(ge=0)
    filament_length_nm: float = Field(gt=0)
    persistence_nm: float = Field(gt=0)
    """Length over which a filament keeps its direction."""
    filament_radius_nm: float = Field(default=12.0, ge=0)
    """Molecules bind at this distance from a filament's axis."""


Structure = Annotated[Homogeneous | Cell, Field(discriminator="kind")]


class MovieConfig(Config):
    """One simulated acquisition; with the seed it determines every count."""

    name: FileName
    simulation: SimulationConfig
    structure: Structure = Homogeneous()
    num_volumes: int = Field(gt=0)
    planes_per_volume: int = Field(default=1, gt=0)
    height: int = Field(ge=16)
    width: int = Field(ge=16)
    seed: int = 0

    @property
    def layout(self) -> Layout:
        """Size of the dataset."""
        return Layout(self.num_volumes, self.planes_per_volume, self.height, self.width)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.planes_per_volume > 1) != (self.simulation.geometry is not None):
            raise ValueError(
                "volumes of several planes need simulation.geometry, and a movie of single planes has none"
            )
        if isinstance(self.structure, Cell) and self.simulation.geometry is None:
            raise ValueError(
                "structure 'cell' is three-dimensional: it needs planes_per_volume and simulation.geometry"
            )
        return self
