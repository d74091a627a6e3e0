"""Check that frames fit the configured camera and have a background that the model was trained for. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.axes import Layout
from lls_decode.config import Camera, RunConfig, Values
from lls_decode.errors import BundleError, InputError
from lls_decode.frames import FrameSource
from lls_decode.model.info import BundleInfo

from .camera_causes import Evidence, likely_cause

TOLERANCE = 1.5
"""Factor outside of the training range from which a background gets a note."""
FAR = 10.0
"""Factor above the training range from which a background is refused. A forgotten offset or swapped bytes are far
beyond it, and no model extrapolates so far."""
_UNPROVEN = 1.65
"""Factor above the training range from which a background is refused if its noise is too low to be that of light. It
is above `TOLERANCE`, and below the factor that a forgotten offset causes for a dim sample (1.7 for `storm-2d`)."""
_QUIET = 0.5
"""Fraction of the expected noise variance below which the values cannot be light: light always has its shot noise, and
the noise is estimated more accurately than this."""
_FEWEST_UNITS = 5.0
"""Background in shot units below which the noise is not compared."""
_SAMPLED_FRAMES = 4
_BLOCKS = 2
"""Number of blocks at the beginning of a run from which frames are sampled."""

Frames = npt.NDArray[Any]


@dataclass(frozen=True)
class Light:
    """Range of background that a model was trained for, photons per pixel."""

    model: str
    low: float
    high: float

    @classmethod
    def of(cls, info: BundleInfo) -> "Light":
        """Return the range of a bundle."""
        return cls(info.name, *info.bg_range)

    def is_near(self, bg: float) -> bool:
        """Whether a background is within the range, or outside of it by at most a factor of `TOLERANCE`."""
        return self.low / TOLERANCE <= bg <= self.high * TOLERANCE


def check_camera(config: RunConfig, source: FrameSource, info: BundleInfo, *, force: bool = False) -> list[str]:
    """Read the camera's maps, and check that the camera can have recorded the first frames of the run.

    Parameters
    ----------
    config
        Resolved configuration.
    force
        Return the reason as a note instead of raising an error.

    Returns
    -------
    list of str
        Notes on unusual, but possible frames.

    Raises
    ------
    ConfigError
        A camera map cannot be read, or its shape differs from that of a frame.
    BundleError
        The background is below zero, or far brighter than the model was trained for.
    """
    camera, layout, light = config.camera, source.layout, Light.of(info)
    assert camera is not None  # since the configuration is resolved
    values = camera.read_values((layout.height, layout.width))
    own = "; no camera was given, so that of the model is used" if camera == info.camera else ""
    notes = []
    frames = _read_each(source, _first_frames(config, layout))
    if frames and not any(frame.any() for frame in frames):
        notes.append("all pixels of the first frames are 0, so the camera could not be checked")
    elif frames:
        reason = find_contradiction(np.stack(frames), camera, values, light)
        if reason is not None and not force:
            raise BundleError(f"{reason}{own}; 'lls-decode run --force' localizes the frames anyway.")
        if reason is not None:
            return [reason]
    return [*notes, *(f"{note}{own}" for note in compare_ranges(source, config, values, light))]


def find_contradiction(adu_TYX: Frames, camera: Camera, values: Values, light: Light) -> str | None:
    """Return why a camera cannot have recorded the frames; None if it can.

    The reason states what was found, what was expected, and the likely cause.
    """
    evidence = Evidence.of(adu_TYX, camera, values)
    if not (is_impossible(evidence, light) or evidence.is_wrapped):
        return None
    bg, dark = evidence.bg, camera.dark_level(values)
    seen = f"The background of the first frames is {bg:.3g} photons per pixel (median {evidence.median_adu:g} counts"
    if evidence.is_wrapped:
        seen = f"The first frames have pixels of {adu_TYX.min():g} counts (median {evidence.median_adu:g}"
    return (
        f"{seen}, camera.{dark.name} {dark.adu:g}), model {light.model} was trained for {light.low:.3g} to "
        f"{light.high:.3g}; {likely_cause(adu_TYX, evidence, camera, values, light.is_near)}"
    )


def is_impossible(evidence: Evidence, light: Light) -> bool:
    """Whether the background is below zero, or far brighter than the model was trained for."""
    if evidence.bg < -evidence.dark_sd:
        return True
    brightest = max(light.high, 1.0)
    is_quiet = evidence.bg_units > _FEWEST_UNITS and evidence.noise_variance < _QUIET * evidence.expected_variance
    return evidence.bg > (_UNPROVEN if is_quiet else FAR) * brightest


def compare_ranges(source: FrameSource, config: RunConfig, values: Values, light: Light) -> list[str]:
    """Return notes if the background of the first, the middle and the last frame is outside of the training range.

    Most pixels of a frame contain background only, so the background is the median of the photons. Frames that cannot
    be read are left out, because they are reported by their blocks.
    """
    camera = config.camera
    assert camera is not None  # since the configuration is resolved
    frames = _read_each(source, _spread(config, source.layout, 3))
    if not frames:
        return ["the background could not be compared with that of the model: the frames tried cannot be read"]
    bg = float(np.median(camera.to_photons(np.stack(frames).astype(np.float64), values)))
    if light.is_near(bg):
        return []
    return [
        f"the background is about {bg:.3g} photons per pixel, but the model was trained for {light.low:.3g} to "
        f"{light.high:.3g}: check the camera's offset and gain, or train a model for this background"
    ]


def _first_frames(config: RunConfig, layout: Layout) -> npt.NDArray[np.int64]:
    """Return a sample of frames of the first blocks, as pairs of volume and plane."""
    return _spread(config, layout, _SAMPLED_FRAMES, most=_BLOCKS * config.execution.block_frames)


def _spread(config: RunConfig, layout: Layout, count: int, most: int | None = None) -> npt.NDArray[np.int64]:
    """Return frames spread over the first ``most`` frames of the part to be localized, as volume and plane."""
    planes = layout.planes_per_volume
    volumes = range(layout.num_volumes)[slice(*(config.part.settle(layout).volumes or (None, None)))]
    size = len(volumes) * planes if most is None else min(len(volumes) * planes, most)
    if not size:
        return np.empty((0, 2), dtype=np.int64)
    number = volumes.start * planes + np.unique(np.linspace(0, size - 1, count).astype(np.int64))
    return np.stack([number // planes, number % planes], axis=1)


def _read_each(source: FrameSource, frames_T2: npt.NDArray[np.int64]) -> Sequence[Frames]:
    """Return those frames that can be read. The others make their blocks fail later, with a reason."""
    found = []
    for place in frames_T2:
        try:
            found.append(source.read_frames(place[None])[0])
        except InputError:
            continue
    return found
