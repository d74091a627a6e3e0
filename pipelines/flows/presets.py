"""Training configurations for a user's own microscope: a preset, and what the user knows better."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.config import (
    Camera,
    PixelSize,
    RestartConfig,
    RunConfig,
    ScmosCamera,
    ScmosChip,
    TrainingConfig,
    load,
)
from lls_decode.config.commented import commented_yaml
from lls_decode.errors import ConfigError
from lls_decode.models import find_config, shipped
from lls_decode.robust import robust_sd

PRESETS = {"lls-paint": "lls-paint", "astigmatism": "astigmatism", "2d": "storm-2d"}
"""Name of a preset and of the shipped configuration that it begins with."""

_FOR_A_GPU: dict[str, Any] = {
    "steps": 40000,
    "sequences": 16,
    "learning_rate": 1.0e-3,
    "validate_every": 2000,
    "validation_frames": 1024,
    "checkpoint_every": 2000,
}
_FULL_SIZE = 48
_HOT_SPREADS = 4.0
"""A pixel is hot when its read variance is this many robust standard deviations (of the logarithm) above the median,
and twice it at least."""

Map = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Microscope:
    """What a user knows of the microscope; None: as the preset has it."""

    pixel: PixelSize | None = None
    psf: Path | None = None
    """Calibration (``.npz`` or ``_3dcal.mat``)."""
    run: RunConfig | None = None
    """Of the data: its camera, pixel size and geometry."""


def describe_preset(preset: str) -> str:
    """One line."""
    return shipped(".yaml")[PRESETS[preset]].read_text().splitlines()[0].lstrip("# ")


def preset_config(preset: str, *, name: str, microscope: Microscope, gpu: bool = False) -> TrainingConfig:
    """The training configuration of a preset for a microscope.

    Parameters
    ----------
    preset
        One of `PRESETS`.
    name
        Of the model.
    microscope
        What replaces the preset's: sCMOS maps become the statistics of their chip, so that the model serves every
        region of it; z is cut to the range of a calibration; planes are shifted as the geometry says.
    gpu
        The published network size and a training for a GPU, in place of a small one that a CPU trains in an hour.

    Raises
    ------
    ConfigError
        A file cannot be read, or what is known contradicts itself.
    """
    config = load(TrainingConfig, find_config(PRESETS[preset]))
    simulation = config.simulation.to_dict()
    known = microscope.run or RunConfig()
    pixel = microscope.pixel or known.pixel_size
    if known.camera is not None:
        simulation["camera"] = _for_training(known.camera).to_dict()
    if known.geometry is not None:
        simulation["geometry"] = known.geometry.to_dict()
    if microscope.psf is not None:
        pixel = _with_spline(simulation, microscope.psf, pixel)
    if pixel is not None:
        simulation["pixel_size"] = pixel.to_dict()
    network = config.network.to_dict() | ({"filters": _FULL_SIZE} if gpu else {})
    geometry = known.geometry or config.simulation.geometry
    if config.network.context == "plane" and geometry is not None:
        shift_px = geometry.whole_shift_px(pixel or config.simulation.pixel_size)
        network |= {"shift_px": shift_px, "shift_axis": geometry.propagation_axis}
    return config.replace(
        name=name, simulation=simulation, network=network, restart=RestartConfig(), **(_FOR_A_GPU if gpu else {})
    )


def preset_text(config: TrainingConfig, *, preset: str, path: Path) -> str:
    """The configuration as commented YAML."""
    size = "the published network (48 filters), for a GPU; without one leave out --gpu"
    if config.network.filters < _FULL_SIZE:
        size = (
            f"a small network ({config.network.filters} filters), an hour or less on a CPU; --gpu for the published one"
        )
    header = (
        f"{describe_preset(preset)}",
        f"Preset {preset!r} of lls-decode: {size}.",
        "As published would be: filters 48, schedule step, learning_rate 6.0e-4, gradient_norm 0.03.",
        "First of all make yours: camera, pixel_size, psf, and photons, background and density of your data.",
        f"Check:  lls-decode config check {path} --kind training",
        f"Train:  lls-decode train --config {path} --out work/{config.name}",
    )
    return commented_yaml(config, header=header)


def _with_spline(simulation: dict[str, Any], path: Path, pixel: PixelSize | None) -> PixelSize | None:
    """Put a calibration in place of the PSF, and z into its range; gives the pixel size, or else the calibration's."""
    from lls_decode.optics import content_digest, read_spline

    spline = read_spline(path)
    simulation["psf"] = {"kind": "spline", "path": str(path.resolve()), "content": content_digest(path)}
    first, last = spline.z_range_nm
    emitters = simulation["emitters"]
    low, high = emitters["z_range_nm"]
    emitters["z_range_nm"] = [max(low, first), min(high, last)]
    return pixel or spline.pixel


def _for_training(camera: Camera) -> Camera | ScmosChip:
    """Frames of training are smaller than the chip: maps become the statistics from which such maps are drawn."""
    if not isinstance(camera, ScmosCamera):
        return camera
    values = (camera.offset_adu, camera.gain_adu_per_e, camera.variance_adu2)
    if not any(isinstance(value, str) for value in values):
        return camera
    offset, gain, variance = (_read(value) for value in values)
    return chip_statistics(offset, gain, variance, quantum_efficiency=camera.quantum_efficiency)


def _read(value: float | str) -> Map:
    try:
        return np.asarray(np.load(value) if isinstance(value, str) else value, dtype=np.float64)
    except (OSError, ValueError) as error:
        raise ConfigError(f"Camera map {value} cannot be read ({error}); give a .npy file of numbers.") from error


def chip_statistics(offset: Map, gain: Map, variance: Map, *, quantum_efficiency: float) -> ScmosChip:
    """Robust statistics of camera maps (or single numbers): medians, and spreads by the median absolute deviation.

    Raises
    ------
    ConfigError
        No pixel has a read variance.
    """
    usable = variance[np.isfinite(variance) & (variance > 0)]
    if not usable.size:
        raise ConfigError("The camera's variance_adu2 is nowhere above 0; give the variance of its read noise.")
    log_variance = np.log(usable)
    spread = float(robust_sd(log_variance))
    hot = usable[log_variance > np.median(log_variance) + max(_HOT_SPREADS * spread, np.log(2))]
    log_hot = np.log(hot) if len(hot) else log_variance  # without hot pixels their range says nothing
    half_width = np.sqrt(3) * log_hot.std()  # of a uniform distribution with this standard deviation
    return ScmosChip(
        offset_adu=float(np.median(offset)),
        offset_sd_adu=float(robust_sd(offset)),
        gain_adu_per_e=float(np.median(gain)),
        gain_sd_adu_per_e=float(robust_sd(gain)),
        variance_adu2=float(np.median(usable)),
        variance_spread=spread,
        hot_fraction=len(hot) / usable.size,
        hot_variance_adu2=(float(np.exp(log_hot.mean() - half_width)), float(np.exp(log_hot.mean() + half_width))),
        quantum_efficiency=quantum_efficiency,
    )
