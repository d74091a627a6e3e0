"""Spike-in: add emitters of known position to recorded frames, to measure accuracy without ground truth.

The counts of a frame already contain the noise of the recorded light. The light of an added emitter is independent of
it: adding the counts of its electrons (`CameraModel.added_adu`) gives a frame that is distributed as if the emitter had
been recorded. Added emitters blink, lie in the light sheet and move through a sweep like those of `simulate_frames`.

Shape letters: ``T`` frames of a stack, sequence-major, ``Y X`` pixels, ``A`` activations.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import uniform_filter

from lls_decode.blocks import Block
from lls_decode.config import SimulationConfig
from lls_decode.emitters import Emitters
from lls_decode.optics import CameraModel
from lls_decode.optics.psf import stamp_radius_px
from lls_decode.simulate.frames import draw_photons
from lls_decode.simulate.molecules import Activations, expose, sample_molecules

Frames = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_PIXELS_AT_ONCE = 4_000_000
_BG_RADIUS_PX = 6


@dataclass(frozen=True)
class SpikedFrames:
    """Recorded frames with the light of added emitters."""

    adu_TYX: Frames
    """Counts, in the data type of the recorded counts."""
    spikes: Emitters
    """All light added to the frames that the block owns, of targets and other emitters, in frame order. ``bg`` is the
    local background of the recorded frame (`local_background`); ``id`` is unique over all blocks."""
    num_saturated_px: int
    """Number of pixels that were limited to the largest number of their data type."""


def spike_frames(
    adu_TYX: Frames, block: Block, config: SimulationConfig, camera: CameraModel, *, generator: torch.Generator
) -> SpikedFrames:
    """Add emitters to the frames of a block and of its context, so that they may be on before and after owned frames.

    ``config`` gives density, photons, on-times, PSF and light sheet of the emitters. Its geometry is used only if the
    block's context runs along planes; its camera and background are ignored. Frames without context are sequences of
    one frame.
    """
    T, height, width = adu_TYX.shape
    (v0, v1), (k0, k1) = block.volumes_read, block.planes_read
    num_sequences = {"plane": v1 - v0, "time": k1 - k0, "none": T}[block.context]
    if block.context != "plane":
        config = config.replace(geometry=None)
    seen = _sample(config, num_sequences, T // num_sequences, height, width, generator)
    stacked = Activations(
        **{**vars(seen), "sequence": torch.zeros_like(seen.sequence), "frame": _stack_frame(seen, T // num_sequences)}
    )
    spiked, saturated = _add_light(adu_TYX, stacked, config, camera, generator)
    return SpikedFrames(spiked, _owned(stacked, adu_TYX, block, config, camera), saturated)


def add_counts(adu: Frames, added: npt.NDArray[np.float32], generator: torch.Generator) -> tuple[Frames, int]:
    """Return counts plus light, in the data type of the counts, and the number of pixels that this type limits.

    Integer counts stay integers: fractions are rounded up or down at random such that the mean is kept. Rounding to the
    nearest integer would lose single electrons of a camera with less than half a count per electron. Random rounding
    adds at most 1/4 count squared to the variance. Counts of a floating-point type are not rounded.
    """
    if adu.dtype.kind == "f":
        return (adu + added).astype(adu.dtype), 0
    lit = np.nonzero(added)
    up = torch.rand(len(lit[0]), generator=generator, dtype=torch.float64).numpy()
    total = adu[lit].astype(np.int64) + np.floor(added[lit] + up).astype(np.int64)
    top = np.iinfo(adu.dtype).max
    spiked = adu.copy()
    spiked[lit] = np.minimum(total, top).astype(adu.dtype)
    return spiked, int((total > top).sum())


def local_background(photons_YX: Floats, x_px: Floats, y_px: Floats) -> Floats:
    """Return the background around positions in one frame, photons per pixel: the median of 13 x 13 pixels.

    The frame is first averaged over 3 x 3 pixels, because the median of single dim pixels is below their mean.
    """
    height, width = photons_YX.shape
    smooth = uniform_filter(photons_YX, 3, mode="nearest")
    around = np.arange(-_BG_RADIUS_PX, _BG_RADIUS_PX + 1)
    rows = np.clip(np.rint(y_px).astype(np.int64)[:, None] + around, 0, height - 1)
    columns = np.clip(np.rint(x_px).astype(np.int64)[:, None] + around, 0, width - 1)
    return np.asarray(np.median(smooth[rows[:, :, None], columns[:, None, :]], axis=(1, 2)))


def _sample(
    config: SimulationConfig, num_sequences: int, num_frames: int, height: int, width: int, generator: torch.Generator
) -> Activations:
    z_range_nm = config.emitters.z_rendered_nm
    molecules = sample_molecules(
        config,
        num_sequences=num_sequences,
        num_frames=num_frames,
        height=height,
        width=width,
        margin_px=stamp_radius_px(config.psf, z_range_nm, config.pixel_size),
        generator=generator,
    )
    return expose(
        molecules,
        num_frames=num_frames,
        geometry=config.geometry,
        illumination=config.illumination,
        z_range_nm=z_range_nm,
    )


def _stack_frame(seen: Activations, num_frames: int) -> torch.Tensor:
    """Return the index in the stack of the frame of each activation."""
    return seen.sequence * num_frames + seen.frame


def _add_light(
    adu_TYX: Frames, seen: Activations, config: SimulationConfig, camera: CameraModel, generator: torch.Generator
) -> tuple[Frames, int]:
    """Add light to frames, some at a time, so that little memory is needed beyond that of the frames."""
    T, height, width = adu_TYX.shape
    at_once = max(1, _PIXELS_AT_ONCE // (height * width))
    spiked, saturated = np.empty_like(adu_TYX), 0
    for first in range(0, T, at_once):
        stop = min(first + at_once, T)
        part = seen.select((seen.frame >= first) & (seen.frame < stop))
        part = Activations(**{**vars(part), "frame": part.frame - first})
        expected = draw_photons(config, part, 1, stop - first, height, width)[0]
        added = camera.added_adu(expected, generator).numpy()
        spiked[first:stop], lost = add_counts(adu_TYX[first:stop], added, generator)
        saturated += lost
    return spiked, saturated


def _owned(seen: Activations, adu_TYX: Frames, block: Block, config: SimulationConfig, camera: CameraModel) -> Emitters:
    """Return the activations in frames that the block owns, with frame numbers of the dataset."""
    owned = torch.zeros(len(adu_TYX), dtype=torch.bool)
    owned[torch.from_numpy(block.windows[:, 1])] = True
    seen = seen.select(owned[seen.frame])
    seen = seen.select(torch.argsort(seen.frame, stable=True))
    stack_frame = seen.frame.numpy()
    volume, plane = block.frames[stack_frame].T
    x_nm, y_nm = seen.x_nm.double().numpy(), seen.y_nm.double().numpy()
    bg = np.empty(len(stack_frame))
    for frame in np.unique(stack_frame):
        rows = stack_frame == frame
        photons = camera.to_photons(torch.from_numpy(adu_TYX[frame].astype(np.float32))).double().numpy()
        bg[rows] = local_background(photons, x_nm[rows] / config.pixel_size.x_nm, y_nm[rows] / config.pixel_size.y_nm)
    return Emitters.from_columns(
        {
            "frame": volume * block.planes_per_volume + plane,
            "x_nm": x_nm,
            "y_nm": y_nm,
            "z_nm": seen.z_nm.double().numpy(),
            "photons": seen.photons.double().numpy(),
            "bg": bg,
            "id": (block.index << 32) + seen.molecule.numpy(),
        }
    )
