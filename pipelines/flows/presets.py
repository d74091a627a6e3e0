"""Create training configurations for a user's microscope from a preset and the known properties of the microscope."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lls_decode.config import (
    EmitterConfig,
    NetworkConfig,
    PixelSize,
    RestartConfig,
    RunConfig,
    TrainingConfig,
    load,
    with_microscope,
)
from lls_decode.config.commented import commented_yaml
from lls_decode.errors import shell_command
from lls_decode.model.info import read_bundle_info
from lls_decode.models import find_config, shipped, train_command

PRESETS = {"lls-paint": "lls-paint", "astigmatism": "astigmatism", "2d": "storm-2d"}
"""Name of each preset, and the name of the shipped configuration that it is based on."""

_FOR_A_GPU: dict[str, Any] = {
    "steps": 40000,
    "minutes": None,
    "sequences": 16,
    "learning_rate": 1.0e-3,
    "validate_every": 2000,
    "validation_frames": 1024,
    "checkpoint_every": 2000,
}
_FULL_SIZE = 48


@dataclass(frozen=True)
class Microscope:
    """Known properties of a microscope; None: the value of the preset."""

    pixel: PixelSize | None = None
    psf: Path | None = None
    """Calibration (``.npz`` or ``_3dcal.mat``)."""
    run: RunConfig | None = None
    """Run configuration of the data, with its camera, pixel size and geometry."""


def describe_preset(preset: str) -> str:
    """Return the description of a preset, one line."""
    return shipped(".yaml")[PRESETS[preset]].read_text(encoding="utf-8").splitlines()[0].lstrip("# ")


def find_start(name: str, network: NetworkConfig) -> str | None:
    """Return the name of the shipped model of a configuration if a network can start with its weights; else None."""
    path = shipped(".lls").get(name)
    return name if path is not None and network.find_obstacle(read_bundle_info(path).network) is None else None


def preset_command(config: TrainingConfig, *, preset: str, path: Path) -> str:
    """Return the command that trains with the configuration of a preset."""
    return train_command(path, name=config.name, init_from=find_start(PRESETS[preset], config.network))


def preset_config(preset: str, *, name: str, microscope: Microscope, gpu: bool = False) -> TrainingConfig:
    """Return the training configuration of a preset for a microscope.

    Parameters
    ----------
    preset
        One of `PRESETS`.
    name
        Name of the model.
    microscope
        Properties that replace those of the preset. sCMOS maps are replaced by the statistics of the chip, so that the
        model suits every region of it. The z range is limited to that of a calibration. Planes are shifted according to
        the geometry.
    gpu
        Use the published network size and a training schedule for a GPU. Otherwise the network is small enough to be
        trained on a CPU, from the weights of the shipped model.

    Raises
    ------
    ConfigError
        A file cannot be read, or the known properties contradict each other.
    """
    base = load(TrainingConfig, find_config(PRESETS[preset]))
    known = microscope.run or RunConfig()
    pixel, psf, emitters = microscope.pixel or known.pixel_size, None, base.simulation.emitters
    if microscope.psf is not None:
        from lls_decode.optics import read_spline, spline_psf

        spline, psf = read_spline(microscope.psf), spline_psf(microscope.psf)
        pixel, emitters = pixel or spline.pixel, _cut_to(spline.z_range_nm, emitters)
    config = with_microscope(base, camera=known.camera, pixel_size=pixel, geometry=known.geometry, psf=psf)
    return config.replace(
        name=name,
        simulation=config.simulation.replace(emitters=emitters),
        restart=RestartConfig(),
        precision="auto",
        **({"network": config.network.replace(filters=_FULL_SIZE), **_FOR_A_GPU} if gpu else {}),
    )


def _cut_to(z_range_nm: tuple[float, float], emitters: EmitterConfig) -> EmitterConfig:
    """Return the emitter configuration with its z range limited to that of a calibration."""
    (first, last), (low, high) = z_range_nm, emitters.z_range_nm
    return emitters.replace(z_range_nm=(max(low, first), min(high, last)))


def preset_text(config: TrainingConfig, *, preset: str, path: Path) -> str:
    """Return the configuration as commented YAML."""
    size = "the published network (48 filters), for a GPU; without a GPU omit --gpu"
    if config.network.filters < _FULL_SIZE:
        size = f"a small network ({config.network.filters} filters), for CPUs; --gpu for the published one"
    header = (
        f"{describe_preset(preset)}",
        f"Preset {preset!r} of lls-decode: {size}.",
        "Values of the publication: filters 48, schedule step, learning_rate 6.0e-4, gradient_norm 0.03.",
        "First set your own camera, pixel_size and psf, and the photons, background and density of your data.",
        f"Check:  {shell_command('config', 'check', path, '--kind', 'training')}",
        f"Train:  {preset_command(config, preset=preset, path=path)}",
    )
    return commented_yaml(config, header=header)
