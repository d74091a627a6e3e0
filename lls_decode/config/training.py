"""What is simulated to train a network, and how it is trained."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lls_decode.config.base import Config, parse
from lls_decode.config.cameras import TrainingCamera
from lls_decode.config.geometry import CameraPixel, Geometry
from lls_decode.config.network import NetworkConfig
from lls_decode.config.optics import AstigmaticPsf, GaussianPsf, Illumination, Psf, Widefield
from lls_decode.config.variety import Variety

_FARTHEST_DEPTHS = 4.0
"""An astigmatic spot is taken to say nothing of z where both its widths are more than this many depths out of focus."""


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

    pixel_size: CameraPixel
    psf: Psf
    camera: TrainingCamera
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


class EarlyStopConfig(Config):
    """When a training has converged. It ends then; the weights of the best validation are those of the bundle."""

    validations: int = Field(default=5, ge=1)
    """The training ends when none of this many validations was better than all before them."""
    gain: float = Field(default=0.005, ge=0)
    """A validation is better when its efficiency is higher by more than this."""


class RestartConfig(Config):
    """When a training has collapsed, and begins anew with the next seed.

    The loss is not finite, at any step; or it is above a bound at one step; or from that step on a validation finds
    nothing at all.
    """

    times: int = Field(default=5, ge=1)
    """How often at most; then the training fails."""
    after_steps: int = Field(default=1000, gt=0)
    """Step at which a network must have begun to learn."""
    loss_above: float = Field(default=100.0, gt=0)
    """Largest sum of count and localization loss at that step, per emitter; a network that knows nothing has 10."""


_BEFORE = {"variety": None, "average_decay": 0.0}
"""What trainings did before a key existed."""


def recorded_training(record: Mapping[str, Any], *, source: str) -> "TrainingConfig":
    """Return the training configuration that a bundle holds; keys that its training did not know are switched off.

    Raises
    ------
    ConfigError
        A key is unknown, or a value is impossible.
    """
    return parse(TrainingConfig, {**_BEFORE, **record}, source=source)


class TrainingConfig(Config):
    """One training run. With the seed it determines the model on one kind of machine."""

    name: str
    """Of the model; its bundle is NAME.lls."""
    simulation: SimulationConfig
    """What is expected of the microscope and its emitters."""
    variety: Variety | None = Variety()
    """How far training frames go beyond what is expected. None: they are exactly as stated."""
    network: NetworkConfig
    steps: int = Field(gt=0)
    """Batches that the network learns from."""
    minutes: float | None = Field(default=None, gt=0)
    """Limit of the training's time; pauses do not count. The learning rate is at its end when the time or the steps
    are over. None: no limit. With a limit the result depends on the speed of the machine."""
    crop_px: int = Field(default=40, ge=16, multiple_of=4)
    """Side of the training frames, pixels."""
    sequence_frames: int = Field(default=8, ge=1)
    """Consecutive target frames of one simulated sequence; each frame is a target once."""
    sequences: int = Field(default=8, ge=1)
    """Sequences in a batch: a batch has ``sequences * sequence_frames`` target frames."""
    schedule: Literal["one-cycle", "step"] = "one-cycle"
    """How the learning rate goes. ``one-cycle``: up to ``learning_rate`` in a tenth of the steps, then down to nothing
    at the last one. ``step``: begins with ``learning_rate``, times 0.9 after every 1500 steps, as published."""
    learning_rate: float = Field(default=6e-4, gt=0)
    """Largest learning rate of the schedule."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Of AdamW."""
    gradient_norm: float = Field(default=0.03, gt=0)
    """Longer gradients are cut to this length."""
    average_decay: float = Field(default=0.998, ge=0, lt=1)
    """Share of the averaged weights that a step keeps; validations and the bundle use the average, which is less noisy
    than the weights of one step. 0: the weights of the last step."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the network; the loss is always float32. ``auto``: bfloat16 where the hardware has it."""
    validate_every: int = Field(default=500, gt=0)
    """Steps from validation to validation. The first one is early, at a fifth of this."""
    validation_frames: int = Field(default=256, gt=0)
    """Frames of 64 x 64 pixels on which each validation is made."""
    checkpoint_every: int = Field(default=500, gt=0)
    """Steps from checkpoint to checkpoint."""
    seed: int = 0
    """Of the first weights and of the simulated frames."""
    early_stop: EarlyStopConfig | None = None
    """Only with ``schedule: step``; None: all steps are made, and the last weights are those of the bundle."""
    restart: RestartConfig | None = None
    """None: a training whose loss is no longer finite fails at once."""

    @property
    def mean_density_per_um2(self) -> float:
        """Mean number of targets per square micrometre and training frame."""
        emitters = self.simulation.emitters
        if self.variety is None:
            return emitters.density_per_um2
        return self.variety.mean_density(emitters.density_per_um2, emitters.density_spread)

    @property
    def brightest_photons(self) -> float | None:
        """Largest brightness that training draws beyond the stated one, photons per frame; None: nothing beyond."""
        if self.variety is None or not self.variety.any_light_share:
            return None
        return self._wide_photons()[1]

    @property
    def photons_range(self) -> tuple[float, float]:
        """Brightness that the model learns, photons per frame: 95 % of the stated emitters, or what variety adds."""
        emitters = self.simulation.emitters
        mean, sd = emitters.photons_mean, emitters.photons_sd
        stated = max(mean - 2 * sd, 0.0), mean + 2 * sd
        if self.brightest_photons is None:
            return stated
        low, high = self._wide_photons()
        return min(low, stated[0]), max(high, stated[1])

    @property
    def background_range(self) -> tuple[float, float]:
        """Range of the background level (the mean over a texture) in training frames, photons per pixel."""
        background = self.simulation.background
        if self.variety is None:
            return background.low, background.high
        return self.variety.backgrounds(background.low, background.high)

    @property
    def background_extremes(self) -> tuple[float, float]:
        """Least and largest background of a pixel in training frames, photons."""
        low, high = self.background_range
        return self.simulation.background.replace(low=low, high=high).extremes

    def _wide_photons(self) -> tuple[float, float]:
        assert self.variety is not None
        emitters = self.simulation.emitters
        return self.variety.photons(least=emitters.photons_min, mean=emitters.photons_mean, sd=emitters.photons_sd)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for contradiction in (*self._about_light(), *self._about_planes(), *self._about_steps()):
            raise ValueError(contradiction)
        return self

    def _about_light(self) -> Iterator[str]:
        emitters, psf = self.simulation.emitters, self.simulation.psf
        mean, sd, (low, high) = emitters.photons_mean, emitters.photons_sd, emitters.z_range_nm
        if mean < emitters.photons_min:
            yield (
                f"simulation.emitters.photons_mean ({mean:g}) is below photons_min ({emitters.photons_min:g}), so that "
                "few emitters would be targets; lower photons_min"
            )
        if sd > mean:
            yield (
                f"simulation.emitters.photons_sd ({sd:g}) is above photons_mean ({mean:g}), so that many emitters "
                "would have no light; lower photons_sd"
            )
        if self.network.noise_map and self.simulation.camera.NOISE_MAP is None:
            yield "network.noise_map needs an sCMOS camera (the pixels of an EMCCD have one read noise); leave it out"
        if isinstance(psf, GaussianPsf) and self.network.predict_z and low < high:
            yield (
                f"simulation.psf is gaussian, the same at every z, so that z from {low:g} to {high:g} nm cannot be "
                "told; set network.predict_z to false, or give a PSF that depends on z"
            )
        if isinstance(psf, AstigmaticPsf):
            for z_nm in (low, high):
                depths = min(abs(z_nm - psf.focus_x_nm) / psf.depth_x_nm, abs(z_nm - psf.focus_y_nm) / psf.depth_y_nm)
                if depths > _FARTHEST_DEPTHS:
                    yield (
                        f"simulation.emitters.z_range_nm reaches {z_nm:g} nm, {depths:.1f} depths out of both foci of "
                        "the astigmatic PSF, where nothing can be seen; narrow z_range_nm"
                    )

    def _about_planes(self) -> Iterator[str]:
        network, geometry, pixel = self.network, self.simulation.geometry, self.simulation.pixel_size
        if network.context != "plane":
            if network.shift_px:
                yield (
                    f"network.shift_px is {network.shift_px}, but network.context is {network.context!r}, in which the "
                    "frames do not shift; set network.shift_px to 0"
                )
            return
        if geometry is None:
            yield "network.context is 'plane', which needs simulation.geometry (angle, step, motion)"
            return
        whole, axis = geometry.whole_shift_px(pixel, multiple=network.feature_px), geometry.propagation_axis
        if whole != network.shift_px or (whole and axis != network.shift_axis):
            yield (
                f"network.shift_px is {network.shift_px} along {network.shift_axis}, but simulation.geometry shifts "
                f"planes by {geometry.plane_shift_px(pixel):.2f} px along {axis}; set network.shift_px to {whole} and "
                f"network.shift_axis to {axis}"
            )

    def _about_steps(self) -> Iterator[str]:
        if self.early_stop is not None and self.schedule == "one-cycle":
            yield (
                "early_stop was asked for with schedule one-cycle, which gains most in its last steps, when the "
                "learning rate falls to nothing; set schedule to step, or give fewer steps in place of early_stop"
            )
        if self.restart is not None and self.restart.after_steps > self.steps:
            yield (
                f"restart.after_steps ({self.restart.after_steps}) is above steps ({self.steps}), so that a collapse "
                "would not be seen; lower restart.after_steps"
            )
