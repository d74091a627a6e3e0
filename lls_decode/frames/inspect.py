"""What a user wants to know about a dataset before a run, as plain values."""

from typing import Any

import numpy as np

from lls_decode.axes import ContextKind
from lls_decode.blocks import Block, plan_blocks
from lls_decode.errors import ChunkError, FrameValueError
from lls_decode.frames.frame_map import name_frames
from lls_decode.frames.source import FrameSource

SATURATED_NOTE = 1e-3
"""Fraction of saturated pixels above which a user is told."""


def inspect_source(
    source: FrameSource, *, sample_frames: int = 8, block_frames: int = 512, context: ContextKind = "none"
) -> dict[str, Any]:
    """Summarize a dataset: layout, storage, cost of reading, intensities of a few frames.

    Parameters
    ----------
    source
        The dataset.
    sample_frames
        Frames that are read, spread over the dataset.
    block_frames, context
        Of the planned run, for the cost of reading.

    Returns
    -------
    dict
        JSON values. ``read_amplification`` is pixels decoded for each pixel that a block owns.
    """
    layout, frame_map = source.layout, source.frame_map
    itemsize = np.dtype(source.dtype).itemsize
    intensity, damaged = _intensity(source, sample_frames)
    blocks = plan_blocks(layout, context, min(block_frames, layout.num_frames))
    block = blocks[len(blocks) // 2]
    owned_pixels = block.num_owned * layout.height * layout.width
    notes = list(source.notes)
    if intensity and intensity["saturated_fraction"] > SATURATED_NOTE:
        notes.append(
            f"{100 * intensity['saturated_fraction']:.2g} % of the sampled pixels are at the largest value of "
            f"{source.dtype}: photons of bright molecules are lost there"
        )
    if intensity and intensity["constant_frames"]:
        notes.append(f"frames of one value throughout: {intensity['constant_frames']}")
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
        "read_amplification": round(decoded_pixels(source, block) / owned_pixels, 3),
        "pixel_size_nm": {"x": source.pixel_size.x_nm, "y": source.pixel_size.y_nm} if source.pixel_size else None,
        "z_step_nm": source.z_step_nm,
        "identity": source.identity,
        "intensity": intensity,
        "damaged": damaged,
        "notes": notes,
    }


def decoded_pixels(source: FrameSource, block: Block) -> int:
    """Pixels that are decoded to read a block: those of all chunks it touches."""
    total = 0
    for slab in source.frame_map.slabs(block.frames):
        touched = 1
        for axis, size in zip(source.region(slab), source.chunks, strict=True):
            touched *= ((axis.stop - 1) // size - axis.start // size + 1) * size
        total += touched
    return total


def _intensity(source: FrameSource, sample_frames: int) -> tuple[dict[str, Any] | None, list[str]]:
    """Counts in a few frames, and what was found damaged among them."""
    layout = source.layout
    numbers = np.unique(np.linspace(0, layout.num_frames - 1, max(1, sample_frames)).astype(np.int64))
    frames = np.stack(np.divmod(numbers, layout.planes_per_volume), axis=1)
    read, kept, damaged = [], [], []
    for frame in frames[:, None]:
        try:
            read.append(source.read_frames(frame)[0])
            kept.append(frame[0])
        except (ChunkError, FrameValueError) as error:
            damaged.append(str(error))
    if not read:
        return None, damaged
    adu_TYX = np.stack(read)
    info = np.iinfo(adu_TYX.dtype) if adu_TYX.dtype.kind in "ui" else None
    flat = adu_TYX.reshape(len(adu_TYX), -1)
    constant = flat.min(axis=1) == flat.max(axis=1)
    return {
        "frames_sampled": len(read),
        "min": float(adu_TYX.min()),
        "median": float(np.median(adu_TYX)),
        "mean": float(adu_TYX.mean()),
        "p99_9": float(np.percentile(adu_TYX, 99.9)),
        "max": float(adu_TYX.max()),
        "saturated_fraction": float((adu_TYX == info.max).mean()) if info else 0.0,
        "constant_frames": name_frames(np.stack(kept)[constant], layout.planes_per_volume) if constant.any() else None,
    }, damaged
