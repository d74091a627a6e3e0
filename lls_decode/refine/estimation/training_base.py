"""The training configuration of a prefit: a base with the user's microscope and the movie's statistics."""

import re
from pathlib import Path

from lls_decode.config import Camera, Geometry, PixelSize, TrainingConfig, with_microscope
from lls_decode.errors import ConfigError
from lls_decode.frames import FrameSource
from lls_decode.optics import build_psf, spline_psf
from lls_decode.refine.estimation.density import Density
from lls_decode.refine.estimation.photophysics import Background, Depth, OnTime, Photons

_LEAST_SPREAD = 0.1
"""Relative half-width of the trained background, and standard deviation of the trained photons, at least."""


def fill_in(
    source: FrameSource,
    base: TrainingConfig,
    *,
    camera: Camera | None,
    pixel_size: PixelSize | None,
    geometry: Geometry | None,
    psf: str | Path | None,
) -> tuple[TrainingConfig, Camera, list[str]]:
    """The base with the user's microscope in it, the camera of the frames, and notes on what is the base's.

    Raises
    ------
    ConfigError
        The PSF has another pixel size, or the base looks along planes that the dataset does not have.
    """
    s, notes = base.simulation, []
    if camera is None:
        camera = s.camera.nominal()
        notes.append(
            f"warning: the camera is that of the base configuration {base.name} ({_described(camera)}), because no "
            "other is given: if yours differs, photons, background and the trained model are wrong; give it with "
            "--config or --set camera.kind=... (see 'lls-decode inspect')"
        )
    pixel = pixel_size or source.pixel_size
    if pixel is None:
        pixel = s.pixel_size
        notes.append(f"pixel size {pixel.x_nm:g} x {pixel.y_nm:g} nm (x, y) from the base configuration {base.name}")
    if geometry is None and base.network.context == "plane":
        geometry = s.geometry
        notes.append(f"geometry from the base configuration {base.name}: give your own")
    if base.network.context == "plane" and source.layout.planes_per_volume == 1:
        raise ConfigError(
            f"The base {base.name} looks along the planes of a sweep, but the dataset has one plane a volume; give "
            "--base storm-2d or another configuration with context along time, or set input.planes_per_volume."
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
    emitters = s.emitters
    if psf is not None:
        emitters = emitters.replace(z_range_nm=model.z_range_nm or (0.0, 0.0), z_render_nm=None)
    known = known.replace(
        name=_name(base, source),
        simulation=known.simulation.replace(emitters=emitters),
        network=known.network.replace(predict_z=model.z_range_nm is not None),
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
    """The configuration with the movie's statistics, rounded to three digits.

    The density is that of the movie, or that of the base if the movie is sparser: a network that sees few emitters a
    frame learns slowly and not to tell neighbours apart, and sparse frames are part of every training (`Variety`). The
    background is widened to a tenth on either side of its median at least, the spread of the photons to a tenth of
    their mean; with a PSF of the user's own, targets lie where it tells z and are rendered wherever it is known.
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
    return known.replace(simulation=s.replace(emitters=emitters, background=ranges))


def remarks_on_density(density: Density, base: TrainingConfig) -> list[str]:
    """Return what a user should know of the density that training gets."""
    least = base.simulation.emitters.density_per_um2
    if density.local_per_um2 >= least:
        return []
    return [
        f"training has the density of the base, {least:g} per um2, because the movie is sparser "
        f"({density.local_per_um2:.2g} where emitters are)"
    ]


def _described(camera: Camera) -> str:
    """A camera in a few words: its kind, and the numbers that it has."""
    numbers = {name: value for name, value in camera.to_dict().items() if isinstance(value, int | float)}
    return ", ".join([camera.kind, *(f"{name} {value:g}" for name, value in numbers.items())])


def _name(base: TrainingConfig, source: FrameSource) -> str:
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(source.path).name.split(".")[0]).strip("-.")
    return f"{stem or 'movie'}-{base.name}"


def _round(value: float) -> float:
    """To three digits."""
    return float(f"{value:.3g}")
