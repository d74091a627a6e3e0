"""Training configurations for a user's own microscope: a preset, and what the user knows better."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lls_decode.config import EmitterConfig, PixelSize, RestartConfig, RunConfig, TrainingConfig, load, with_microscope
from lls_decode.config.commented import commented_yaml
from lls_decode.models import find_config, shipped

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
    return shipped(".yaml")[PRESETS[preset]].read_text(encoding="utf-8").splitlines()[0].lstrip("# ")


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
        **({"network": config.network.replace(filters=_FULL_SIZE), **_FOR_A_GPU} if gpu else {}),
    )


def _cut_to(z_range_nm: tuple[float, float], emitters: EmitterConfig) -> EmitterConfig:
    """The emitters with targets only where a calibration reaches."""
    (first, last), (low, high) = z_range_nm, emitters.z_range_nm
    return emitters.replace(z_range_nm=(max(low, first), min(high, last)))


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
