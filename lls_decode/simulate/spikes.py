"""Emitters of known position in frames that somebody has recorded: accuracy where there is no truth.

The counts of a frame hold the noise of the light that was there. An emitter adds light, and light adds independently:
with the counts that its own electrons give (`CameraModel.added_adu`) a frame is distributed as if the emitter had been
in front of the camera. It blinks, lies in the sheet and moves through a sweep as the emitters of `simulate_frames` do.

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
    """Recorded frames with the light of more emitters."""

    adu_TYX: Frames
    """Counts, of the type of the recorded ones."""
    spikes: Emitters
    """All light that was added in the frames that the block owns, targets or not, in frame order. ``bg`` is the local
    background of the recorded frame (`local_background`), ``id`` tells the molecules of all blocks apart."""
    num_saturated_px: int
    """Pixels that would have gone beyond the largest number of their type, and were held there."""


def spike_frames(
    adu_TYX: Frames, block: Block, config: SimulationConfig, camera: CameraModel, *, generator: torch.Generator
) -> SpikedFrames:
    """Add emitters to the frames of a block, context included; they are on before, in and after the owned frames.

    ``config`` says which: density, photons, on-times, PSF, sheet; its geometry is used when the block's context runs
    along planes, its camera and background are not. Frames without context are sequences of one frame.
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
    """Counts plus light, in the type of the counts, and how many pixels that type could not hold.

    Whole counts stay whole: a fraction is rounded up or down at random so that the mean is kept. Rounded to the
    nearest, single electrons of a camera with fewer than half a count an electron would be lost. This adds at most 1/4
    count squared to the variance. Recorded values that are no whole numbers by type are not rounded.
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
    """Light around positions in one frame, photons per pixel: the median of a window of 13 x 13 pixels.

    Averaged over 3 x 3 pixels first: the median of single dim pixels lies below their mean.
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
    """Position in the stack of the frame of each activation."""
    return seen.sequence * num_frames + seen.frame


def _add_light(
    adu_TYX: Frames, seen: Activations, config: SimulationConfig, camera: CameraModel, generator: torch.Generator
) -> tuple[Frames, int]:
    """Some frames at a time, so that memory stays that of the frames."""
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
    """Activations of the frames that the block owns, in frames of the dataset."""
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
