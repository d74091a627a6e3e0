"""Summary of a dataset for the user before a run, as plain values."""

from typing import Any

import numpy as np

from lls_decode.axes import ContextKind
from lls_decode.blocks import Block, plan_blocks
from lls_decode.config import Geometry, PixelSize
from lls_decode.errors import ChunkError, FrameValueError, shell_command
from lls_decode.frames.diagnostics.photon_transfer import guess_camera
from lls_decode.frames.diagnostics.symptoms import LEAST_CORRELATION, find_saturation, has_wedge, noise_correlation
from lls_decode.frames.mapping.frame_map import Ints, name_frames
from lls_decode.frames.reading.stack import Frames
from lls_decode.frames.source import FrameSource

SATURATED_NOTE = 1e-3
"""Fraction of pixels at the largest value of their type above which a note is given."""
RUN_FRAMES = 32
"""Number of consecutive frames of a movie that are read together to estimate the camera."""
WASTEFUL_AMPLIFICATION = 1.5
"""Decoded pixels per owned pixel of a block above which the user is advised to convert the dataset."""
_CAMERA_PLANES = 4
_CAMERA_PIXELS = 1 << 26
_MOST_CHUNKS = 50_000
"""Approximate largest number of chunks that are read for the sample and the estimate of the camera; each takes a
fraction of a millisecond even if it is tiny."""


def inspect_source(
    source: FrameSource,
    *,
    sample_frames: int = 8,
    camera_frames: int = 256,
    block_frames: int = 512,
    context: ContextKind = "none",
    pixel_size: PixelSize | None = None,
    geometry: Geometry | None = None,
) -> dict[str, Any]:
    """Summarize a dataset: layout, storage, cost of reading, geometry, intensities, and an estimate of the camera.

    Parameters
    ----------
    source
        The dataset.
    sample_frames
        Number of frames to sample, spread over the dataset.
    camera_frames
        Number of frames to read for the estimate of the camera; 0: no estimate.
    block_frames, context
        Settings of the planned run, for the cost of reading.
    pixel_size, geometry
        Values given by the user; the metadata of a dataset do not contain the geometry.

    Returns
    -------
    dict
        JSON values. ``read_amplification`` is the number of decoded pixels per pixel owned by a block. ``camera_guess``
        has the number of frames used, or the reason why there is no estimate.
    """
    layout, frame_map = source.layout, source.frame_map
    itemsize = np.dtype(source.dtype).itemsize
    adu_TYX, frames, damaged = _sample(source, sample_frames)
    intensity = None if adu_TYX is None else _intensity(adu_TYX, frames, layout.planes_per_volume)
    pixel_size = pixel_size or source.pixel_size
    blocks = plan_blocks(layout, context, min(block_frames, layout.num_frames))
    block = blocks[len(blocks) // 2]
    owned_pixels = block.num_owned * layout.height * layout.width
    notes = list(source.notes)
    if adu_TYX is not None:
        notes += _symptoms(adu_TYX, intensity, notes)
    amplification = round(decoded_pixels(source, block) / owned_pixels, 3)
    if amplification > WASTEFUL_AMPLIFICATION or any("faster" in note for note in source.notes):
        notes.append(
            f"reading a block decodes {amplification:g} times its pixels: convert the dataset to other chunks with "
            f"'{shell_command('convert', source.path, 'COPY.zarr')}' if it is read more than once or by many workers"
        )
    return {
        "path": source.path,
        "array": source.array,
        "num_arrays": frame_map.num_arrays,
        "axes": frame_map.axes,
        "shape": list(frame_map.shape),
        "dtype": source.dtype,
        "volumes": layout.num_volumes,
        "planes_per_volume": layout.planes_per_volume,
        "frames": layout.num_frames,
        "height": layout.height,
        "width": layout.width,
        "leftover_frames": frame_map.num_leftover,
        "bytes": layout.num_pixels * itemsize,
        "chunks": list(source.chunks),
        "shards": list(source.shards) if source.shards else None,
        "read_amplification": amplification,
        "decoded_bytes_per_block": decoded_pixels(source, block) * itemsize,
        "pixel_size_nm": {"x": pixel_size.x_nm, "y": pixel_size.y_nm} if pixel_size else None,
        "z_step_nm": source.z_step_nm,
        "angle_deg": source.angle_deg,
        "channel": source.channel_name or None,
        "geometry": _geometry_in_words(layout.planes_per_volume, pixel_size, geometry),
        "identity": source.identity,
        "intensity": intensity,
        "camera_guess": _camera_guess(source, camera_frames) if camera_frames else None,
        "damaged": damaged,
        "notes": notes,
    }


def decoded_pixels(source: FrameSource, block: Block) -> int:
    """Return the number of pixels decoded to read a block, which are those of all chunks that it touches."""
    total = 0
    for slab in source.frame_map.slabs(block.frames):
        touched = 1
        for axis, size in zip(source.region(slab), source.chunks, strict=True):
            touched *= ((axis.stop - 1) // size - axis.start // size + 1) * size
        total += touched
    return total


def _chunks_per_frame(source: FrameSource) -> int:
    """Return the number of chunks into which a frame is divided."""
    sizes = dict(zip(source.frame_map.axes, source.chunks, strict=True))
    return -(-source.layout.height // sizes["y"]) * -(-source.layout.width // sizes["x"])


def _geometry_in_words(planes: int, pixel_size: PixelSize | None, geometry: Geometry | None) -> str | None:
    """Describe the steps from plane to plane so that the user can check them; None for a movie of single planes."""
    if planes == 1:
        return None
    if geometry is None:
        return "unknown: no dataset contains the geometry; give it in a run configuration (--config)"
    if pixel_size is None:
        lateral, axial = geometry.lateral_step_nm, geometry.axial_step_nm
        return f"{lateral:.0f} nm along {geometry.propagation_axis} and {axial:.0f} nm along z from plane to plane"
    return geometry.describe(pixel_size)


def _sample(source: FrameSource, number: int) -> tuple[Frames | None, Ints, list[str]]:
    """Read frames spread over the dataset; return them, their volumes and planes, and messages on damaged frames."""
    layout = source.layout
    number = max(1, min(number, _MOST_CHUNKS // 2 // _chunks_per_frame(source)))
    numbers = np.unique(np.linspace(0, layout.num_frames - 1, number).astype(np.int64))
    frames = np.stack(np.divmod(numbers, layout.planes_per_volume), axis=1)
    read, kept, lost, damaged = [], [], [], []
    for frame in frames[:, None]:
        try:
            read.append(source.read_frames(frame)[0])
            kept.append(frame[0])
        except ChunkError:
            lost.append(frame[0])
        except FrameValueError as error:
            damaged.append(str(error))
    if lost:
        damaged.append(source.explain_losses(np.stack(lost)))
    return (np.stack(read), np.stack(kept), damaged) if read else (None, frames[:0], damaged)


def _intensity(adu_TYX: Frames, frames: Ints, planes_per_volume: int) -> dict[str, Any]:
    """Compute statistics of the counts in the sampled frames."""
    flat = adu_TYX.reshape(len(adu_TYX), -1)
    constant = flat.min(axis=1) == flat.max(axis=1)
    saturation = find_saturation(adu_TYX)
    return {
        "frames_sampled": len(adu_TYX),
        "min": float(adu_TYX.min()),
        "median": float(np.median(adu_TYX)),
        "mean": float(adu_TYX.mean()),
        "p99_9": float(np.percentile(adu_TYX, 99.9)),
        "max": float(adu_TYX.max()),
        "saturated_at": saturation.level_adu if saturation else None,
        "saturated_bits": saturation.bits if saturation else None,
        "saturated_fraction": saturation.fraction if saturation else 0.0,
        "constant_frames": name_frames(frames[constant], planes_per_volume) if constant.any() else None,
    }


def _symptoms(adu_TYX: Frames, intensity: dict[str, Any] | None, told: list[str]) -> list[str]:
    """Return notes for the user about suspicious intensities."""
    notes = []
    assert intensity is not None
    level, bits = intensity["saturated_at"], intensity["saturated_bits"]
    full_type = level is not None and level == np.iinfo(adu_TYX.dtype).max
    if level is not None and (not full_type or intensity["saturated_fraction"] > SATURATED_NOTE):
        what = f"the largest value of {adu_TYX.dtype}" if full_type else f"{level:g}"
        camera = "" if full_type or bits is None else f", the largest value of a {bits}-bit camera"
        notes.append(
            f"{100 * intensity['saturated_fraction']:.2g} % of the sampled pixels are at {what}{camera}: these pixels "
            "are saturated and lose photons of bright molecules"
        )
    if intensity["constant_frames"]:
        notes.append(f"frames in which all pixels have the same value: {intensity['constant_frames']}")
    if any("looks deskewed" in note for note in told):
        return notes
    if has_wedge(adu_TYX):
        notes.append(
            "the input looks deskewed: its planes are empty along an edge that moves; interpolation invalidates the "
            "noise model, so use the raw planes"
        )
    along_x, along_y = noise_correlation(adu_TYX)
    if abs(along_x - along_y) > LEAST_CORRELATION:
        axis, other = ("x", "y") if along_x > along_y else ("y", "x")
        low, high = sorted((along_x, along_y))
        notes.append(
            f"the noise of neighbouring pixels is correlated along {axis} ({high:.2f}, along {other} {low:.2f}): the "
            "frames were probably deskewed or resampled, but the noise model needs the raw planes"
        )
    return notes


def _camera_guess(source: FrameSource, num_frames: int) -> dict[str, Any]:
    """Estimate the camera by photon transfer over consecutive frames, together with a statement of its reliability."""
    if source.layout.num_volumes < 2:
        return {"none_because": "there is no second volume in time"}
    series = _frames_in_time(source, num_frames)
    if not series:
        return {"none_because": "frames cannot be read"}
    guess = guess_camera([(frames[0::2], frames[1::2]) for frames in series])
    used = sum(len(frames) for frames in series)
    if isinstance(guess, str):
        return {"none_because": guess, "frames": used}
    return {
        "worth": "a guess, with an offset too low by read noise / gain; dark and evenly lit frames are more reliable",
        "frames": used,
        "gain_adu_per_e": float(f"{guess.gain_adu_per_e:.4g}"),
        "gain_error": float(f"{guess.gain_error:.2g}"),
        "offset_adu": round(guess.offset_adu, 1),
        "noisy_pixels": guess.noisy_fraction and float(f"{guess.noisy_fraction:.2g}"),
        "looks_like": guess.looks_like,
    }


def _frames_in_time(source: FrameSource, num_frames: int) -> list[Frames]:
    """Read an even number of frames for each of a few neighbouring planes, in runs spread over the dataset.

    Neighbouring planes are used because they share chunks.
    """
    layout = source.layout
    most = _MOST_CHUNKS // 2 // _chunks_per_frame(source)
    num_frames = min(num_frames, max(2, min(most, _CAMERA_PIXELS // (layout.height * layout.width))))
    planes = min(_CAMERA_PLANES, layout.planes_per_volume, max(1, most // 2))
    first_plane = (layout.planes_per_volume - planes) // 2
    length = RUN_FRAMES if layout.planes_per_volume == 1 else 2
    length = max(2, min(length, num_frames, layout.num_volumes) // 2 * 2)
    runs = max(1, num_frames // (length * planes))
    starts = length * np.unique(np.linspace(0, layout.num_volumes // length - 1, runs).astype(np.int64))
    read: list[list[Frames]] = [[] for _ in range(planes)]
    for start in starts:
        volume, plane = np.meshgrid(np.arange(start, start + length), np.arange(first_plane, first_plane + planes))
        try:
            adu = source.read_frames(np.stack([volume.ravel(), plane.ravel()], axis=1))
        except (ChunkError, FrameValueError):
            continue  # reported for the sampled frames, or when the block is processed
        for number, frames in enumerate(adu.reshape(planes, length, *adu.shape[1:])):
            read[number].append(frames)
    return [np.concatenate(frames) for frames in read if frames]
