"""Training configuration of a prefit: a base with the user's microscope and the movie's statistics filled in."""

import re
from pathlib import Path

from lls_decode.config import Camera, Geometry, PixelSize, TrainingConfig, with_microscope
from lls_decode.errors import ConfigError
from lls_decode.frames import FrameSource
from lls_decode.optics import build_psf, spline_psf
from lls_decode.refine.estimation.density import Density
from lls_decode.refine.estimation.photophysics import Background, Depth, OnTime, Photons

_LEAST_SPREAD = 0.1
"""Smallest relative half-width of the simulated background, and smallest relative sd of the simulated photons."""


def fill_in(
    source: FrameSource,
    base: TrainingConfig,
    *,
    camera: Camera | None,
    pixel_size: PixelSize | None,
    geometry: Geometry | None,
    psf: str | Path | None,
) -> tuple[TrainingConfig, Camera, list[str]]:
    """Return the base with the user's microscope filled in, the camera of the frames, and notes on values of the base.

    Raises
    ------
    ConfigError
        The PSF has a different pixel size, or the base needs several planes per volume and the dataset has one.
    """
    s, notes = base.simulation, []
    if camera is None:
        camera = s.camera.nominal()
        notes.append(
            f"warning: no camera was given, so the camera of the base configuration {base.name} is used "
            f"({_described(camera)}): if yours differs, photons, background and the trained model are wrong; give your "
            "camera with --config or --set camera.kind=... (see 'lls-decode inspect')"
        )
    pixel = pixel_size or source.pixel_size
    if pixel is None:
        pixel = s.pixel_size
        notes.append(f"pixel size {pixel.x_nm:g} x {pixel.y_nm:g} nm (x, y) from the base configuration {base.name}")
    if geometry is None and base.network.context == "plane":
        geometry = s.geometry
        notes.append(f"geometry from the base configuration {base.name}: give the geometry of your microscope")
    if base.network.context == "plane" and source.layout.planes_per_volume == 1:
        raise ConfigError(
            f"The base {base.name} takes context from the planes of a sweep, but the dataset has one plane per volume; "
            "give a base with context along time (--base astigmatism, or --base storm-2d for two dimensions), or set "
            "input.planes_per_volume."
        )
    layout = source.layout
    known = with_microscope(
        base,
        camera=camera,
        pixel_size=pixel,
        geometry=geometry,
        psf=None if psf is None else spline_psf(psf),
        frame_size=(layout.height, layout.width),
    )
    model = build_psf(known.simulation.psf, pixel=pixel)
    predict_z = model.z_range_nm is not None
    if predict_z != base.network.predict_z:
        dimensions = ("two", "three") if predict_z else ("three", "two")
        notes.append(
            f"the base {base.name} has {dimensions[0]} dimensions, but with this PSF the training has {dimensions[1]}: "
            f"it cannot start with the weights of {base.name}"
        )
    emitters = s.emitters
    if psf is not None:
        emitters = emitters.replace(z_range_nm=model.z_range_nm or (0.0, 0.0), z_render_nm=None)
    known = known.replace(
        name=_name(base, source),
        simulation=known.simulation.replace(emitters=emitters),
        network=known.network.replace(predict_z=predict_z),
    )
    return known, camera, notes


def derive_training(
    known: TrainingConfig,
    *,
    photons: Photons,
    background: Background,
    on_time: OnTime,
    density: Density,
    depth: Depth,
    new_psf: bool,
) -> TrainingConfig:
    """Return the configuration with the movie's statistics filled in, rounded to three digits.

    The density is that of the movie, or that of the base if the movie is sparser. A network that sees few emitters per
    frame learns slowly and does not learn to separate neighbours; sparse frames are part of every training anyway
    (`Variety`). The background spans at least a tenth on either side of its median, and the spread of the photons is at
    least a tenth of their mean. With a new PSF, targets are limited to the range in which it determines z, and emitters
    are rendered over its whole range.
    """
    s, e = known.simulation, known.simulation.emitters
    if new_psf and depth.told_nm is not None:
        e = e.replace(z_range_nm=depth.told_nm, z_render_nm=e.z_range_nm)
    emitters = e.replace(
        density_per_um2=max(_round(density.local_per_um2), e.density_per_um2),
        photons_mean=_round(photons.mean),
        photons_sd=_round(max(photons.sd, _LEAST_SPREAD * photons.mean)),
        on_time_frames=e.on_time_frames if on_time.frames is None else _round(on_time.frames),
    )
    ranges = {
        "low": _round(min(background.low, (1 - _LEAST_SPREAD) * background.median)),
        "high": _round(max(background.high, (1 + _LEAST_SPREAD) * background.median)),
    }
    simulation = s.replace(emitters=emitters, background=ranges)
    return known.replace(simulation=simulation, precision=known.portable_precision)


def remarks_on_density(density: Density, base: TrainingConfig) -> list[str]:
    """Return remarks on the density used in training where it differs from the density of the movie."""
    least = base.simulation.emitters.density_per_um2
    if density.local_per_um2 >= least:
        return []
    return [
        f"training uses the density of the base, {least:g} per um2, because the movie is sparser "
        f"({density.local_per_um2:.2g} where emitters are)"
    ]


def _described(camera: Camera) -> str:
    """Describe a camera by its kind and its numeric settings."""
    numbers = {name: value for name, value in camera.to_dict().items() if isinstance(value, int | float)}
    return ", ".join([camera.kind, *(f"{name} {value:g}" for name, value in numbers.items())])


def _name(base: TrainingConfig, source: FrameSource) -> str:
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(source.path).name.split(".")[0]).strip("-.")
    return f"{stem or 'movie'}-{base.name}"


def _round(value: float) -> float:
    """Round to three significant digits."""
    return float(f"{value:.3g}")
