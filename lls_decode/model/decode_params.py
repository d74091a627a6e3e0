"""Parameter files of DECODE (``param_run.yaml``): the parameters that importing a trained model needs. No torch.

In DECODE, x is the row and y is the column, ``px_size`` is [rows, columns], and read noise is in electrons. Missing
keys have the defaults of DECODE's reference file. Parameters that lls-decode does not support are refused.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

from lls_decode.config import Camera, Config, EmccdCamera, NetworkConfig, PixelSize, Scaling, ScmosCamera, load
from lls_decode.errors import BundleError, ConfigError

_Z = 3
"""Index of z among DECODE's attributes photons, x, y, z."""
_NOISE_OFFSET_ADU, _NOISE_SCALE_ADU = 5.0, 10.0
"""Offset and scale of DECODE's noise maps, counts; DECODE has them as constants, too."""
_EXPRESSIBLE = {
    "depth_shared": 2,
    "depth_union": 2,
    "activation": "ELU",
    "norm": None,
    "norm_head": None,
    "pool_mode": "StrideConv",
    "upsample_mode": "nearest",
}


class _Part(Config):
    """Section of DECODE's parameters; keys without a field here are ignored."""

    model_config = ConfigDict(extra="ignore")


class ArchParam(_Part):
    """Section ``HyperParameter.arch_param``."""

    depth_shared: int = 2
    depth_union: int = 2
    initial_features: int = Field(default=48, ge=1)
    inter_features: int = Field(default=48, ge=1)
    activation: str = "ELU"
    norm: str | None = None
    norm_head: str | None = None
    pool_mode: str = "StrideConv"
    upsample_mode: str = "nearest"


class HyperParameter(_Part):
    """Section ``HyperParameter``."""

    architecture: str = "SigmaMUNet"
    channels_in: Literal[1, 3] = 3
    disabled_attributes: int | tuple[int, ...] | None = None
    arch_param: ArchParam = ArchParam()
    sig_in: int | None = None
    """Set if a noise map is the second input channel (DECODE's branch ``dev_cmos_lls``)."""


class ScalingParam(_Part):
    """Section ``Scaling``; null in files that users write, filled in by DECODE in ``param_run.yaml``."""

    input_scale: PositiveFloat
    input_offset: float
    phot_max: PositiveFloat
    z_max: float | None = Field(ge=0)
    bg_max: PositiveFloat


class CameraParam(_Part):
    """Section ``Camera``."""

    baseline: float = Field(ge=0)
    e_per_adu: PositiveFloat
    em_gain: float | None = Field(default=None, ge=0)
    spur_noise: float | None = Field(default=None, ge=0)
    qe: float = Field(default=1.0, gt=0, le=1)
    read_sigma: NonNegativeFloat | tuple[PositiveFloat, NonNegativeFloat, PositiveFloat]
    """Read noise, electrons. With the sCMOS preset: counts, or a Gamma distribution in counts [shape, shift, scale]."""
    px_size: tuple[PositiveFloat, PositiveFloat]
    """Pixel size of rows and of columns, nm."""
    mirror_dim: Literal[-1, -2] | None = None
    """Dimension of tensors (..., rows, columns) along which DECODE mirrors frames before applying the network."""
    convert2photons: bool = True


class SimulationParam(_Part):
    """Section ``Simulation``: training data of the model."""

    emitter_extent: tuple[Any, Any, tuple[float, float]] | None = None
    intensity_mu_sig: tuple[float, float] | None = None
    bg_uniform: float | tuple[float, float] | None = None


class MetaParam(_Part):
    """Section ``Meta``."""

    version: str | None = None


class DecodeParams(_Part):
    """Contents of one parameter file."""

    preset: str | None = Field(default=None, alias="CameraPreset")
    """Camera preset. With ``scmos`` (DECODE's branch ``dev_cmos_lls``), ``em_gain`` is counts per photon and read noise
    is in counts."""
    hyper: HyperParameter = Field(default=HyperParameter(), alias="HyperParameter")
    scaling: ScalingParam = Field(alias="Scaling")
    camera: CameraParam = Field(alias="Camera")
    simulation: SimulationParam = Field(default=SimulationParam(), alias="Simulation")
    meta: MetaParam = Field(default=MetaParam(), alias="Meta")
    plane_step_nm: float = 0.0
    """Stage travel from frame to frame of the training data, nm (``lls_step_size_nm`` in any section); 0: none."""

    @model_validator(mode="before")
    @classmethod
    def _find_step(cls, data: Any) -> Any:
        groups = [group for group in data.values() if isinstance(group, dict)] if isinstance(data, dict) else []
        steps = [group["lls_step_size_nm"] for group in groups if group.get("lls_step_size_nm")]
        return {**data, "plane_step_nm": steps[0]} if steps else data

    @property
    def is_scmos(self) -> bool:
        """Whether the camera parameters follow the sCMOS preset."""
        return self.preset is not None and self.preset.lower() == "scmos"

    @property
    def predicts_z(self) -> bool:
        """Whether the model predicts z; False for models of 2-D data."""
        return _Z not in _listed(self.hyper.disabled_attributes)


def read_params(path: Path) -> DecodeParams:
    """Read a parameter file.

    Raises
    ------
    BundleError
        The file is not a parameter file, lacks a value, or describes a model that lls-decode does not support.
    """
    try:
        params = load(DecodeParams, path)
    except ConfigError as error:
        advice = "give the param_run.yaml that DECODE wrote beside the model (param_run_in.yaml has no scalings)"
        raise BundleError(f"{str(error).rstrip('.')}; {advice}.") from error
    problem = _inexpressible(params)
    if problem is not None:
        raise BundleError(f"{path} describes a model that cannot be imported: {problem}.")
    return params


def to_network(params: DecodeParams, filters: int) -> NetworkConfig:
    """Return the configuration of the network for the weights, with ``filters`` filters.

    A network trained on the planes of a sweep has a plane shift of 0, because DECODE does not shift planes.
    """
    return NetworkConfig(
        filters=filters,
        context="none" if params.hyper.channels_in == 1 else "plane" if params.plane_step_nm else "time",
        noise_map=bool(params.hyper.sig_in),
        predict_z=params.predicts_z,
    )


def to_scaling(params: DecodeParams) -> Scaling:
    """Return the stored scaling; for models without z, whose scale has no meaning, ``z_nm`` is 1.

    DECODE's noise map is ``(sigma - 5) / 10`` with sigma in counts, which are photons times the gain of the camera that
    the model was trained for.
    """
    theirs = params.scaling
    noise = {}
    if params.hyper.sig_in:
        gain = _scmos_gain(params)
        noise = {"noise_offset": _NOISE_OFFSET_ADU / gain, "noise_scale": _NOISE_SCALE_ADU / gain}
    scaling = Scaling(
        input_scale=theirs.input_scale,
        input_offset=theirs.input_offset,
        photons=theirs.phot_max,
        z_nm=theirs.z_max or 1.0,
        bg=theirs.bg_max,
    )
    return scaling.replace(**noise)


def to_camera(params: DecodeParams) -> Camera:
    """Return the camera that converts counts to the same photons as DECODE.

    Without EM gain, the result is an sCMOS camera. Spurious charge, which has ``spur_noise`` electrons as mean and as
    variance, is added to the offset and to the read noise. A distribution of read noise is replaced by its mean.
    """
    c = params.camera
    if params.is_scmos:
        return ScmosCamera(
            offset_adu=c.baseline, gain_adu_per_e=_scmos_gain(params), variance_adu2=_mean_read_sigma(c) ** 2
        )
    assert isinstance(c.read_sigma, float), "_inexpressible has refused others"
    spurious = c.spur_noise or 0.0
    if c.em_gain and c.em_gain > 1:
        return EmccdCamera(
            baseline_adu=c.baseline,
            e_per_adu=c.e_per_adu,
            em_gain=c.em_gain,
            read_sigma_e=c.read_sigma,
            spurious_e=spurious,
            quantum_efficiency=c.qe,
        )
    return ScmosCamera(
        offset_adu=c.baseline + spurious / c.e_per_adu,
        gain_adu_per_e=1 / c.e_per_adu,
        variance_adu2=(c.read_sigma**2 + spurious) / c.e_per_adu**2,
        quantum_efficiency=c.qe,
    )


def to_pixel_size(params: DecodeParams) -> PixelSize:
    """Return the pixel size; DECODE's rows are y."""
    rows_nm, columns_nm = params.camera.px_size
    return PixelSize(x_nm=columns_nm, y_nm=rows_nm)


class TrainingRanges(NamedTuple):
    """Ranges of the training data of a model."""

    z_nm: tuple[float, float]
    photons: tuple[float, float]
    """Photons per frame: mean minus and plus two standard deviations."""
    bg: tuple[float, float]


def training_ranges(params: DecodeParams) -> TrainingRanges:
    """Return the training ranges in the file; ranges that it lacks are replaced by all that the model can predict."""
    simulation, scaling = params.simulation, to_scaling(params)
    z_range = (-scaling.z_nm, scaling.z_nm) if simulation.emitter_extent is None else simulation.emitter_extent[2]
    photons = (0.0, scaling.photons)
    if simulation.intensity_mu_sig is not None:
        mean, sd = simulation.intensity_mu_sig
        photons = (max(0.0, mean - 2 * sd), mean + 2 * sd)
    bg = simulation.bg_uniform
    if bg is None:
        bg = (0.0, scaling.bg)
    return TrainingRanges(z_range, photons, bg if isinstance(bg, tuple) else (bg, bg))


def _inexpressible(params: DecodeParams) -> str | None:
    """Return the reason why a model cannot be imported; None if it can."""
    hyper, camera, scaling = params.hyper, params.camera, params.scaling
    if hyper.architecture != "SigmaMUNet":
        return f"architecture {hyper.architecture!r}, but only 'SigmaMUNet' is supported"
    for name, expected in _EXPRESSIBLE.items():
        found = getattr(hyper.arch_param, name)
        if found != expected:
            return f"arch_param.{name} is {found!r}, but only {expected!r} is supported"
    if hyper.sig_in and not params.is_scmos:
        return (
            f"it takes a noise map (sig_in) in counts, but CameraPreset is {params.preset!r}; the unit of counts is "
            "known only for 'scmos'"
        )
    if isinstance(camera.read_sigma, tuple) and not params.is_scmos:
        return f"Camera.read_sigma is {list(camera.read_sigma)}, expected one number (unless CameraPreset is 'scmos')"
    if params.is_scmos and not camera.em_gain:
        return f"Camera.em_gain is {camera.em_gain}, but CameraPreset 'scmos' needs it as counts per photon"
    others = [index for index in _listed(hyper.disabled_attributes) if index != _Z]
    if others:
        return f"disabled_attributes holds {others}, but only z ({_Z}) may be disabled"
    if params.predicts_z and not scaling.z_max:
        return f"Scaling.z_max is {scaling.z_max}, but the model predicts z, which needs a positive scale"
    if not camera.convert2photons:
        return "Camera.convert2photons is false: the model was trained on camera counts and has no scale in photons"
    if camera.em_gain is not None and 0 < camera.em_gain < 1 and not params.is_scmos:
        return f"Camera.em_gain is {camera.em_gain:g}, expected a gain above 1, or null (or 0) for none"
    return None


def _scmos_gain(params: DecodeParams) -> float:
    """Return the counts per photon of the sCMOS preset."""
    gain = params.camera.em_gain
    assert gain, "_inexpressible has refused others"
    return gain


def _mean_read_sigma(camera: CameraParam) -> float:
    """Return the mean read noise in counts; a Gamma distribution is given as shape, shift and scale."""
    if isinstance(camera.read_sigma, float):
        return camera.read_sigma
    shape, shift, scale = camera.read_sigma
    return shape * scale + shift


def _listed(value: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)
