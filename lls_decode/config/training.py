"""What is simulated to train a network, and how it is trained."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from lls_decode.config.base import Config
from lls_decode.config.camera import EmccdCamera, ScmosCamera, ScmosChip
from lls_decode.config.geometry import Geometry, PixelSize
from lls_decode.config.network import NetworkConfig
from lls_decode.config.optics import Illumination, Psf, Widefield


class EmitterConfig(Config):
    """Statistics of the blinking emitters."""

    density_per_um2: float = Field(gt=0)
    """Mean number of target emitters (within ``z_range_nm``) per square micrometre and frame."""
    density_spread: float = Field(default=0.0, ge=0, lt=1)
    """Relative half-width of the uniform distribution of the density over training sequences."""
    photons_mean: float = Field(gt=0)
    """Mean photon flux of an emitter at full excitation, photons per frame."""
    photons_sd: float = Field(ge=0)
    """Its standard deviation."""
    photons_min: float = Field(default=50.0, ge=0)
    """Emitters with fewer photons in a frame are rendered and are not targets."""
    on_time_frames: float | None = Field(gt=0)
    """Mean of the exponential on-time in frames; None: on in every frame of a sequence."""
    whole_frames: bool = False
    """True: an emitter is on for whole frames (then on-times are geometric), as some simulated benchmarks have it."""
    z_range_nm: tuple[float, float]
    """Targets lie in this range, relative to the focus of their plane."""
    z_render_nm: tuple[float, float] | None = None
    """Emitters are rendered in this range; None: as ``z_range_nm``."""

    @property
    def z_rendered_nm(self) -> tuple[float, float]:
        """Range in which emitters exist, nm."""
        return self.z_range_nm if self.z_render_nm is None else self.z_render_nm

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.z_range_nm
        if low > high:
            raise ValueError(f"z_range_nm runs from {low:g} to {high:g}; give the lower limit first")
        if self.z_rendered_nm[0] > low or self.z_rendered_nm[1] < high:
            raise ValueError("z_render_nm must include z_range_nm")
        return self


class PerlinTexture(Config):
    """Gradient noise (Perlin 1985) that rests in the sample."""

    feature_nm: float = Field(gt=0)
    """Lattice constant of the noise, in all directions: bright and dark patches are about as large."""
    contrast: float = Field(gt=0, le=1)
    """Largest relative deviation from the mean; the r.m.s. deviation is 0.22 of it."""


class BackgroundConfig(Config):
    """Background: a level, drawn anew for each training sequence, even over the field or with a texture."""

    low: float = Field(ge=0)
    """Range of the level (the mean over the texture), photons per pixel."""
    high: float = Field(ge=0)
    texture: PerlinTexture | None = None
    """None: uniform."""

    @property
    def extremes(self) -> tuple[float, float]:
        """Least and largest background that a pixel can have."""
        contrast = 0.0 if self.texture is None else self.texture.contrast
        return self.low * (1 - contrast), self.high * (1 + contrast)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is above high ({self.high:g})")
        return self


class SimulationConfig(Config):
    """The microscope as it is simulated; photons, nm."""

    pixel_size: PixelSize
    psf: Psf
    camera: Annotated[EmccdCamera | ScmosCamera | ScmosChip, Field(discriminator="kind")]
    emitters: EmitterConfig
    background: BackgroundConfig
    illumination: Illumination = Widefield()
    geometry: Geometry | None = None
    """Needed for context along planes."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        texture, pixel_nm = self.background.texture, max(self.pixel_size.x_nm, self.pixel_size.y_nm)
        if texture is not None and texture.feature_nm < 2 * pixel_nm:
            raise ValueError(
                f"background.texture.feature_nm is {texture.feature_nm:g}, below two pixels ({2 * pixel_nm:g} nm): "
                "pixels could not show it"
            )
        return self


class TrainingConfig(Config):
    """One training run. With the seed it determines the model on one kind of machine."""

    name: str
    simulation: SimulationConfig
    network: NetworkConfig
    steps: int = Field(gt=0)
    crop_px: int = Field(default=40, ge=16, multiple_of=4)
    sequence_frames: int = Field(default=8, ge=1)
    """Consecutive target frames of one simulated sequence; each frame is a target once."""
    sequences: int = Field(default=8, ge=1)
    """Sequences in a batch: a batch has ``sequences * sequence_frames`` target frames."""
    learning_rate: float = Field(default=6e-4, gt=0)
    """Peak of the one-cycle schedule."""
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_norm: float = Field(default=0.03, gt=0)
    precision: str = Field(default="float32", pattern="^(float32|bfloat16)$")
    """Arithmetic of the network; the loss is always float32."""
    validate_every: int = Field(default=500, gt=0)
    validation_frames: int = Field(default=256, gt=0)
    checkpoint_every: int = Field(default=500, gt=0)
    seed: int = 0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.network.context == "plane" and self.simulation.geometry is None:
            raise ValueError("network.context is 'plane', which needs simulation.geometry (angle, step, motion)")
        if self.network.noise_map and isinstance(self.simulation.camera, EmccdCamera):
            raise ValueError(
                "network.noise_map needs an sCMOS camera (the pixels of an EMCCD have one read noise); leave it out"
            )
        return self
