"""Parameter files of DECODE (``param_run.yaml``), as far as a trained model's use depends on them. No torch.

Theirs: x is the row and y the column, ``px_size`` is [rows, columns], read noise is in electrons. Keys that are absent
have the defaults of DECODE's reference file; what the network here cannot express is refused.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

from lls_decode.config import Camera, Config, EmccdCamera, NetworkConfig, PixelSize, Scaling, ScmosCamera, load
from lls_decode.errors import BundleError, ConfigError

_Z = 3
"""Number of z among their attributes: photons, x, y, z."""
_NOISE_OFFSET_ADU, _NOISE_SCALE_ADU = 5.0, 10.0
"""Of their noise maps; not parameters in their program either."""
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
    """Theirs: what is not named here does not matter here."""

    model_config = ConfigDict(extra="ignore")


class ArchParam(_Part):
    """``HyperParameter.arch_param``."""

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
    """``HyperParameter``."""

    architecture: str = "SigmaMUNet"
    channels_in: Literal[1, 3] = 3
    disabled_attributes: int | tuple[int, ...] | None = None
    arch_param: ArchParam = ArchParam()
    sig_in: int | None = None
    """A noise map as second input channel (their branch ``dev_cmos_lls``)."""


class ScalingParam(_Part):
    """``Scaling``; null in the file a user writes, filled in ``param_run.yaml``."""

    input_scale: PositiveFloat
    input_offset: float
    phot_max: PositiveFloat
    z_max: float | None = Field(ge=0)
    bg_max: PositiveFloat


class CameraParam(_Part):
    """``Camera``."""

    baseline: float = Field(ge=0)
    e_per_adu: PositiveFloat
    em_gain: float | None = Field(default=None, ge=0)
    spur_noise: float | None = Field(default=None, ge=0)
    qe: float = Field(default=1.0, gt=0, le=1)
    read_sigma: NonNegativeFloat | tuple[PositiveFloat, NonNegativeFloat, PositiveFloat]
    """Electrons; with the sCMOS preset in counts, or of a distribution in counts [shape, shift, scale]."""
    px_size: tuple[PositiveFloat, PositiveFloat]
    """Along rows, along columns, nm."""
    mirror_dim: Literal[-1, -2] | None = None
    """Dimension of a tensor (..., rows, columns) along which frames are mirrored before the network sees them."""
    convert2photons: bool = True


class SimulationParam(_Part):
    """``Simulation``: what the model was trained on."""

    emitter_extent: tuple[Any, Any, tuple[float, float]] | None = None
    intensity_mu_sig: tuple[float, float] | None = None
    bg_uniform: float | tuple[float, float] | None = None


class MetaParam(_Part):
    """``Meta``."""

    version: str | None = None


class DecodeParams(_Part):
    """One parameter file."""

    preset: str | None = Field(default=None, alias="CameraPreset")
    """``scmos`` (their branch ``dev_cmos_lls``): ``em_gain`` is counts per photon, read noise is in counts."""
    hyper: HyperParameter = Field(default=HyperParameter(), alias="HyperParameter")
    scaling: ScalingParam = Field(alias="Scaling")
    camera: CameraParam = Field(alias="Camera")
    simulation: SimulationParam = Field(default=SimulationParam(), alias="Simulation")
    meta: MetaParam = Field(default=MetaParam(), alias="Meta")
    plane_step_nm: float = 0.0
    """From frame to frame of its training, the stage moved so far (``lls_step_size_nm`` in whatever group)."""

    @model_validator(mode="before")
    @classmethod
    def _find_step(cls, data: Any) -> Any:
        groups = [group for group in data.values() if isinstance(group, dict)] if isinstance(data, dict) else []
        steps = [group["lls_step_size_nm"] for group in groups if group.get("lls_step_size_nm")]
        return {**data, "plane_step_nm": steps[0]} if steps else data

    @property
    def is_scmos(self) -> bool:
        """Camera parameters are those of the sCMOS preset."""
        return self.preset is not None and self.preset.lower() == "scmos"

    @property
    def predicts_z(self) -> bool:
        """False for models of 2-D data."""
        return _Z not in _listed(self.hyper.disabled_attributes)


def read_params(path: Path) -> DecodeParams:
    """Read a parameter file.

    Raises
    ------
    BundleError
        It is no parameter file, lacks a value, or describes what cannot be expressed here.
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
    """The network of ``filters`` filters that the weights belong into.

    One that was trained on the planes of a sweep meets them on their own pixel grids: its plane shift is 0.
    """
    return NetworkConfig(
        filters=filters,
        context="none" if params.hyper.channels_in == 1 else "plane" if params.plane_step_nm else "time",
        noise_map=bool(params.hyper.sig_in),
        predict_z=params.predicts_z,
    )


def to_scaling(params: DecodeParams) -> Scaling:
    """Scalings as stored; without z its scale has no meaning, and 1 nm stands for none.

    Their noise map is ``(sigma - 5) / 10`` of counts, which are photons times the gain of the camera they trained for.
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
    """A camera that turns counts into the same photons.

    Without EM gain it is an sCMOS camera: spurious charge, which adds ``spur_noise`` electrons in the mean and as much
    variance, becomes part of the offset and of the read noise. Of a distribution of read noise stands the mean.
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
    """Their rows are our y."""
    rows_nm, columns_nm = params.camera.px_size
    return PixelSize(x_nm=columns_nm, y_nm=rows_nm)


class TrainingRanges(NamedTuple):
    """Ranges of what a model was trained on."""

    z_nm: tuple[float, float]
    photons: tuple[float, float]
    """Mean minus and plus two standard deviations."""
    bg: tuple[float, float]


def training_ranges(params: DecodeParams) -> TrainingRanges:
    """What the file says; where it is silent, all that can be expressed."""
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
    """Why a model cannot be imported, in words; None if it can."""
    hyper, camera, scaling = params.hyper, params.camera, params.scaling
    if hyper.architecture != "SigmaMUNet":
        return f"architecture {hyper.architecture!r}, only 'SigmaMUNet' can be expressed"
    for name, expected in _EXPRESSIBLE.items():
        found = getattr(hyper.arch_param, name)
        if found != expected:
            return f"arch_param.{name} is {found!r}, only {expected!r} can be expressed"
    if hyper.sig_in and not params.is_scmos:
        return (
            f"it takes a noise map (sig_in) in counts, but CameraPreset is {params.preset!r}; only for 'scmos' is it "
            "known what a count is"
        )
    if isinstance(camera.read_sigma, tuple) and not params.is_scmos:
        return f"Camera.read_sigma is {list(camera.read_sigma)}, expected one number (but for CameraPreset 'scmos')"
    if params.is_scmos and not camera.em_gain:
        return f"Camera.em_gain is {camera.em_gain}, for CameraPreset 'scmos' it is the counts per photon"
    others = [index for index in _listed(hyper.disabled_attributes) if index != _Z]
    if others:
        return f"disabled_attributes holds {others}, only z ({_Z}) can be left out"
    if params.predicts_z and not scaling.z_max:
        return f"Scaling.z_max is {scaling.z_max}, which leaves no z to be expressed"
    if not camera.convert2photons:
        return "Camera.convert2photons is false: it was trained on camera counts, and has no scale in photons"
    if camera.em_gain is not None and 0 < camera.em_gain < 1 and not params.is_scmos:
        return f"Camera.em_gain is {camera.em_gain:g}, expected a gain above 1, or null (or 0) for none"
    return None


def _scmos_gain(params: DecodeParams) -> float:
    """Counts per photon of the sCMOS preset."""
    gain = params.camera.em_gain
    assert gain, "_inexpressible has refused others"
    return gain


def _mean_read_sigma(camera: CameraParam) -> float:
    """Counts; a Gamma distribution is given as shape, shift and scale."""
    if isinstance(camera.read_sigma, float):
        return camera.read_sigma
    shape, shift, scale = camera.read_sigma
    return shape * scale + shift


def _listed(value: int | tuple[int, ...] | None) -> tuple[int, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)
