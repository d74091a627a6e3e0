"""Whether frames can come from the camera of a run, and have the light that the model was trained for. No torch."""

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
"""A background this many times outside the training range is worth a note."""
FAR = 10.0
"""A background this many times above the training range is refused: an offset that was forgotten, or swapped bytes,
are far beyond it, and no model extrapolates so far."""
_UNPROVEN = 1.65
"""A background this many times above the training range is refused where the noise proves that the light is not there:
more than `TOLERANCE`, and less than an offset that was forgotten makes of a dim sample (1.7 for `storm-2d`)."""
_QUIET = 0.5
"""Share of the shot noise below which the light is not there: light cannot be less noisy, and the estimate of the
noise is better than this."""
_FEWEST_UNITS = 5.0
"""Background, in shot units, below which noise is not compared."""
_SAMPLED_FRAMES = 4
_BLOCKS = 2
"""Blocks at the beginning of a run from which frames are sampled."""

Frames = npt.NDArray[Any]


@dataclass(frozen=True)
class Light:
    """The range of background that a model was trained for, photons per pixel."""

    model: str
    low: float
    high: float

    @classmethod
    def of(cls, info: BundleInfo) -> "Light":
        """The range of a bundle."""
        return cls(info.name, *info.bg_range)

    def is_near(self, bg: float) -> bool:
        """Whether a background is in the range, or little outside."""
        return self.low / TOLERANCE <= bg <= self.high * TOLERANCE


def check_camera(config: RunConfig, source: FrameSource, info: BundleInfo, *, force: bool = False) -> list[str]:
    """Read the camera's maps, and refuse a camera that cannot have recorded the first frames of the run.

    Parameters
    ----------
    config
        Resolved.
    force
        Return the reason as a note instead of raising it.

    Returns
    -------
    list of str
        Notes on what is merely unusual.

    Raises
    ------
    ConfigError
        A camera map cannot be read or has another shape than a frame.
    BundleError
        The background is below zero, or far brighter than the model was trained for.
    """
    camera, layout, light = config.camera, source.layout, Light.of(info)
    assert camera is not None  # resolved
    values = camera.read_values((layout.height, layout.width))
    notes = []
    frames = _read_each(source, _first_frames(config, layout))
    if frames and not any(frame.any() for frame in frames):
        notes.append("the first frames hold 0 in all pixels, so that the camera could not be checked")
    elif frames:
        reason = find_contradiction(np.stack(frames), camera, values, light)
        if reason is not None and not force:
            own = "; the camera is that of the model, no other was given" if camera == info.camera else ""
            raise BundleError(f"{reason}{own}; 'lls-decode run --force' localizes the frames as they are.")
        if reason is not None:
            return [reason]
    return [*notes, *compare_ranges(source, camera, values, light)]


def find_contradiction(adu_TYX: Frames, camera: Camera, values: Values, light: Light) -> str | None:
    """Return why a camera cannot have recorded frames: what was found, what was expected, and the likely cause."""
    evidence = Evidence.of(adu_TYX, camera, values)
    if not (is_impossible(evidence, light) or evidence.is_wrapped):
        return None
    bg, dark = evidence.bg, camera.dark_level(values)
    seen = f"The background of the first frames is {bg:.3g} photons per pixel (median {evidence.median_adu:g} counts"
    if evidence.is_wrapped:
        seen = f"The first frames hold pixels of {adu_TYX.min():g} counts (median {evidence.median_adu:g}"
    return (
        f"{seen}, camera.{dark.name} {dark.adu:g}), model {light.model} was trained for {light.low:g} to "
        f"{light.high:g}; {likely_cause(adu_TYX, evidence, camera, values, light.is_near)}"
    )


def is_impossible(evidence: Evidence, light: Light) -> bool:
    """Whether the background is below zero, or far brighter than the model was trained for."""
    if evidence.bg < -evidence.dark_sd:
        return True
    brightest = max(light.high, 1.0)
    is_quiet = evidence.bg_units > _FEWEST_UNITS and evidence.noise_variance < _QUIET * evidence.expected_variance
    return evidence.bg > (_UNPROVEN if is_quiet else FAR) * brightest


def compare_ranges(source: FrameSource, camera: Camera, values: Values, light: Light) -> list[str]:
    """Notes on a background outside the training range, from the first, the middle and the last frame.

    Most pixels of a frame hold background only, so the median of the photons stands for it.
    """
    size = source.layout
    number = np.unique(np.linspace(0, size.num_frames - 1, 3).astype(np.int64))
    try:
        adu_TYX = source.read_frames(_places(number, size))
    except InputError as error:
        return [f"background not compared with the model's: {error}"]
    bg = float(np.median(camera.to_photons(adu_TYX.astype(np.float64), values)))
    if light.is_near(bg):
        return []
    return [
        f"the background is about {bg:.3g} photons per pixel, the model was trained for {light.low:g} to "
        f"{light.high:g}: check the camera's offset and gain, or train a model for this background"
    ]


def _first_frames(config: RunConfig, layout: Layout) -> npt.NDArray[np.int64]:
    """Some frames of the first blocks, by volume and plane."""
    volumes = range(layout.num_volumes)[slice(*(config.part.settle(layout).volumes or (None, None)))]
    count = min(len(volumes) * layout.planes_per_volume, _BLOCKS * config.execution.block_frames)
    if not count:
        return np.empty((0, 2), dtype=np.int64)
    number = np.unique(np.linspace(0, count - 1, _SAMPLED_FRAMES).astype(np.int64))
    return _places(volumes.start * layout.planes_per_volume + number, layout)


def _places(number: npt.NDArray[np.int64], layout: Layout) -> npt.NDArray[np.int64]:
    return np.stack([number // layout.planes_per_volume, number % layout.planes_per_volume], axis=1)


def _read_each(source: FrameSource, frames_T2: npt.NDArray[np.int64]) -> Sequence[Frames]:
    """Frames that can be read; the others fail their blocks later, each with its reason."""
    found = []
    for place in frames_T2:
        try:
            found.append(source.read_frames(place[None])[0])
        except InputError:
            continue
    return found
