"""Configuration of the simulation that a network is trained on, and of the training itself."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lls_decode.config.base import Config, FileName, parse
from lls_decode.config.cameras import TrainingCamera
from lls_decode.config.geometry import CameraPixel, Geometry
from lls_decode.config.network import NetworkConfig
from lls_decode.config.optics import AstigmaticPsf, GaussianPsf, Illumination, Psf, Widefield
from lls_decode.config.variety import Variety

_FARTHEST_DEPTHS = 4.0
"""Number of depths out of both foci beyond which an astigmatic spot is assumed to contain no information about z."""


class EmitterConfig(Config):
    """Statistics of blinking emitters."""

    density_per_um2: float = Field(gt=0)
    """Mean number of target emitters (within ``z_range_nm``) per square micrometre and frame."""
    density_spread: float = Field(default=0.0, ge=0, lt=1)
    """Relative half-width of the uniform distribution of the density over training sequences."""
    photons_mean: float = Field(gt=0)
    """Mean photon flux of an emitter at full excitation, photons per frame."""
    photons_sd: float = Field(ge=0)
    """Standard deviation of the photon flux between emitters, photons per frame."""
    photons_min: float = Field(default=50.0, ge=0)
    """Smallest number of photons in a frame that makes an emitter a target; dimmer emitters are rendered only."""
    on_time_frames: float | None = Field(gt=0)
    """Mean of the exponentially distributed on-time, in frames; None: on in every frame of a sequence."""
    whole_frames: bool = False
    """Whether emitters are on for whole frames (on-times are then geometric), as in some simulated benchmarks."""
    z_range_nm: tuple[float, float]
    """Range of z of the targets, relative to the focus of their plane, nm."""
    z_render_nm: tuple[float, float] | None = None
    """Range of z in which emitters are rendered, nm; None: same as ``z_range_nm``."""

    @property
    def z_rendered_nm(self) -> tuple[float, float]:
        """Range of z in which emitters are rendered, nm."""
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
    """Texture of gradient noise (Perlin 1985) that is fixed in the sample."""

    feature_nm: float = Field(gt=0)
    """Lattice constant of the noise in all directions, nm: the approximate size of bright and dark patches."""
    contrast: float = Field(gt=0, le=1)
    """Largest relative deviation from the mean; the r.m.s. deviation is 0.22 times this."""


class BackgroundConfig(Config):
    """Background with a random level for each training sequence, uniform over the field or with a texture."""

    low: float = Field(ge=0)
    """Lowest level (mean over the texture), photons per pixel."""
    high: float = Field(ge=0)
    """Highest level (mean over the texture), photons per pixel."""
    texture: PerlinTexture | None = None
    """Variation over the field; None: uniform background."""

    @property
    def extremes(self) -> tuple[float, float]:
        """Smallest and largest background that a pixel can have, photons."""
        contrast = 0.0 if self.texture is None else self.texture.contrast
        return self.low * (1 - contrast), self.high * (1 + contrast)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is above high ({self.high:g})")
        return self


class SimulationConfig(Config):
    """Simulated microscope and emitters; light in photons, lengths in nm."""

    pixel_size: CameraPixel
    psf: Psf
    camera: TrainingCamera
    emitters: EmitterConfig
    background: BackgroundConfig
    illumination: Illumination = Widefield()
    geometry: Geometry | None = None
    """Required for context along planes; None: movies of single planes."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        texture, pixel_nm = self.background.texture, max(self.pixel_size.x_nm, self.pixel_size.y_nm)
        if texture is not None and texture.feature_nm < 2 * pixel_nm:
            raise ValueError(
                f"background.texture.feature_nm is {texture.feature_nm:g}, below two pixels ({2 * pixel_nm:g} nm): "
                "camera pixels cannot resolve it"
            )
        return self


class EarlyStopConfig(Config):
    """Criterion for ending a converged training early; the bundle then holds the weights of the best validation."""

    validations: int = Field(default=5, ge=1)
    """Number of consecutive validations without improvement after which the training ends."""
    gain: float = Field(default=0.005, ge=0)
    """Smallest increase of the efficiency that counts as improvement."""


class RestartConfig(Config):
    """Criterion for restarting a collapsed training with the next seed.

    A training has collapsed if its loss is not finite at any step, if its loss exceeds ``loss_above`` at step
    ``after_steps``, or if a validation at or after that step finds no emitters.
    """

    times: int = Field(default=5, ge=1)
    """Largest number of restarts, after which the training fails."""
    after_steps: int = Field(default=1000, gt=0)
    """Step by which a network must have started to learn."""
    loss_above: float = Field(default=100.0, gt=0)
    """Largest sum of count and localization loss per emitter at step ``after_steps``; an untrained network has 10."""


_BEFORE = {"variety": None, "average_decay": 0.0}
_VARIETY_BEFORE = {"structured_share": 0.0}
"""Values that reproduce the behaviour of trainings from before these keys existed."""


def recorded_training(record: Mapping[str, Any], *, source: str) -> "TrainingConfig":
    """Return the training configuration in a bundle; features that did not exist at its training are switched off.

    Raises
    ------
    ConfigError
        A key is unknown, or a value is invalid.
    """
    recorded = {**_BEFORE, **record}
    if isinstance(variety := recorded["variety"], Mapping):
        recorded["variety"] = {**_VARIETY_BEFORE, **variety}
    return parse(TrainingConfig, recorded, source=source)


class TrainingConfig(Config):
    """Configuration of one training; with its seed, it determines the model on one kind of machine."""

    name: FileName
    """Name of the model; its bundle is NAME.lls."""
    simulation: SimulationConfig
    """Values expected of your data."""
    variety: Variety | None = Variety()
    """None: training frames have exactly the configured values."""
    network: NetworkConfig
    steps: int = Field(gt=0)
    """Number of training steps; each step uses one batch."""
    minutes: float | None = Field(default=None, gt=0)
    """Time limit of the training without pauses, minutes; None: no limit. The learning rate schedule ends with the time
    or the steps, whichever is first. With a limit, the result depends on the speed of the machine."""
    crop_px: int = Field(default=40, ge=16, multiple_of=4)
    """Side of the training frames, pixels."""
    sequence_frames: int = Field(default=8, ge=1)
    """Number of consecutive target frames in one simulated sequence; each frame is a target once."""
    sequences: int = Field(default=8, ge=1)
    """Number of sequences in a batch, which has ``sequences * sequence_frames`` target frames."""
    loss: Literal["mixture", "matching"] = "mixture"
    """Loss of the probabilities and the localizations. ``mixture``: number of emitters, and a mixture of all pixels, as
    published. ``matching``: predictions and emitters are matched one to one by optimal transport, after a tenth of the
    training with ``mixture``."""
    schedule: Literal["one-cycle", "step"] = "one-cycle"
    """Learning rate schedule. ``one-cycle``: rises to ``learning_rate`` during a tenth of the steps, then falls to zero
    at the last step. ``step``: starts at ``learning_rate`` and is multiplied by 0.9 every 1500 steps, as published."""
    learning_rate: float = Field(default=6e-4, gt=0)
    """Largest learning rate of the schedule."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay of the AdamW optimizer."""
    gradient_norm: float = Field(default=0.03, gt=0)
    """Largest norm of the gradient; larger gradients are clipped to it."""
    average_decay: float = Field(default=0.998, ge=0, lt=1)
    """Decay per step of the exponential moving average of the weights. Validations and the bundle use this average,
    which is less noisy than the weights of one step. 0: the weights of the last step."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the network; the loss is always float32. ``auto``: bfloat16 if the hardware supports it."""
    validate_every: int = Field(default=500, gt=0)
    """Number of steps between validations; the first validation comes early, after a fifth of them."""
    validation_frames: int = Field(default=256, gt=0)
    """Number of frames of 64 x 64 pixels in each validation."""
    checkpoint_every: int = Field(default=500, gt=0)
    """Number of steps between checkpoints."""
    seed: int = 0
    """Seed of the initial weights and of the simulated frames."""
    early_stop: EarlyStopConfig | None = None
    """Early stopping; only with ``schedule: step``. None: all steps are done, and the bundle holds the last weights."""
    restart: RestartConfig | None = None
    """Restarting of collapsed trainings. None: a training fails at once when its loss is not finite."""

    @property
    def portable_precision(self) -> Literal["auto", "float32", "bfloat16"]:
        """`precision` for another training, maybe on other hardware: ``auto`` in place of bfloat16."""
        return "auto" if self.precision == "bfloat16" else self.precision

    @property
    def mean_density_per_um2(self) -> float:
        """Mean number of targets per square micrometre and training frame."""
        emitters = self.simulation.emitters
        if self.variety is None:
            return emitters.density_per_um2
        return self.variety.mean_density(emitters.density_per_um2, emitters.density_spread)

    @property
    def brightest_photons(self) -> float | None:
        """Largest brightness that `variety` adds, photons per frame; None if it adds none."""
        if self.variety is None or not self.variety.any_light_share:
            return None
        return self._wide_photons()[1]

    @property
    def photons_range(self) -> tuple[float, float]:
        """Range of brightness in training, photons per frame: 95 % of the configured emitters, and `variety`."""
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
        """Smallest and largest background of a pixel in training frames, photons."""
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
                f"simulation.emitters.photons_mean ({mean:g}) is below photons_min ({emitters.photons_min:g}), so "
                "few emitters would be targets; lower photons_min"
            )
        if sd > mean:
            yield (
                f"simulation.emitters.photons_sd ({sd:g}) is above photons_mean ({mean:g}), so many emitters "
                "would have no light; lower photons_sd"
            )
        if self.network.noise_map and self.simulation.camera.NOISE_MAP is None:
            yield "network.noise_map needs an sCMOS camera (EMCCD pixels have the same read noise); set it to false"
        if isinstance(psf, GaussianPsf) and self.network.predict_z and low < high:
            yield (
                f"simulation.psf is gaussian, the same at every z, so z from {low:g} to {high:g} nm cannot be "
                "determined; set network.predict_z to false, or give a PSF that depends on z"
            )
        if isinstance(psf, AstigmaticPsf):
            for z_nm in (low, high):
                depths = min(abs(z_nm - psf.focus_x_nm) / psf.depth_x_nm, abs(z_nm - psf.focus_y_nm) / psf.depth_y_nm)
                if depths > _FARTHEST_DEPTHS:
                    yield (
                        f"simulation.emitters.z_range_nm reaches {z_nm:g} nm, {depths:.1f} depths out of both foci of "
                        "the astigmatic PSF, where emitters are invisible; narrow z_range_nm"
                    )

    def _about_planes(self) -> Iterator[str]:
        network, geometry, pixel = self.network, self.simulation.geometry, self.simulation.pixel_size
        if network.context != "plane":
            if network.shift_px:
                yield (
                    f"network.shift_px is {network.shift_px}, but frames do not shift with network.context "
                    f"{network.context!r}; set network.shift_px to 0"
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
                "early_stop is set with schedule one-cycle, which gains most in its last steps, when the learning rate "
                "falls to zero; set schedule to step, or reduce steps instead of using early_stop"
            )
        if self.restart is not None and self.restart.after_steps > self.steps:
            yield (
                f"restart.after_steps ({self.restart.after_steps}) is above steps ({self.steps}), so a collapse would "
                "not be detected; lower restart.after_steps"
            )
