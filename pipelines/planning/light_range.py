"""Whether the light of the data lies in the range that a model was trained for. No torch."""

import numpy as np
import numpy.typing as npt

from lls_decode.config import Camera, EmccdCamera, ResolvedRunConfig
from lls_decode.errors import InputError
from lls_decode.frames import FrameSource
from lls_decode.model.info import BundleInfo

TOLERANCE = 1.5
"""A median light this many times beyond the training background's range is worth a note."""
_SAMPLED_FRAMES = 3


def compare_ranges(config: ResolvedRunConfig, source: FrameSource, info: BundleInfo) -> list[str]:
    """Notes on a background outside the training range, from the first, the middle and the last frame.

    Most pixels of a frame hold background only, so the median of the photons stands for it.
    """
    size = source.layout
    number = np.unique(np.linspace(0, size.num_frames - 1, _SAMPLED_FRAMES).astype(np.int64))
    frames = np.stack([number // size.planes_per_volume, number % size.planes_per_volume], axis=1)
    try:
        adu_TYX = source.read_frames(frames)
    except InputError as error:
        return [f"background not compared with the model's: {error}"]
    bg = float(np.median(to_photons(config.camera, adu_TYX)))
    low, high = info.bg_range
    if low / TOLERANCE <= bg <= high * TOLERANCE:
        return []
    return [
        f"the background is about {bg:.3g} photons per pixel, the model was trained for {low:g} to {high:g}: check the "
        "camera's offset and gain, or train a model for this background"
    ]


def to_photons(camera: Camera, adu_TYX: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """Photons from counts, as `optics.camera` has it, without torch."""
    adu = adu_TYX.astype(np.float64)
    if isinstance(camera, EmccdCamera):
        electrons = (adu - camera.baseline_adu) * camera.e_per_adu / camera.em_gain - camera.spurious_e
        return electrons / camera.quantum_efficiency
    offset, gain = (np.load(v) if isinstance(v, str) else v for v in (camera.offset_adu, camera.gain_adu_per_e))
    return np.asarray((adu - offset) / (gain * camera.quantum_efficiency))
