"""Choice of the frames that a prefit analyses: a few runs of consecutive frames spread over the dataset.

A **run of frames** follows the axis of the network's context: one plane through time, or one sweep. On-times within a
run of frames are therefore counted in the same frames as in training. This module computes frame numbers only.
"""

import numpy as np
import numpy.typing as npt

from lls_decode.axes import ContextKind, Layout

Ints = npt.NDArray[np.int64]

NUM_FRAMES = 300
"""Approximate number of analysed frames."""
_LONGEST_RUN = 50
_SHORTEST_RUN = 8
_PIXELS_AT_ONCE = 32_000_000
"""Largest number of pixels in one run of frames, which limits memory for large frames."""


def plan_runs(
    layout: Layout, context: ContextKind, *, num_frames: int = NUM_FRAMES, rng: np.random.Generator
) -> tuple[Ints, ...]:
    """Plan runs of consecutive frames, evenly spaced over the dataset; each run is ``(T, 2)``: volume and plane.

    A dataset with at most ``num_frames`` frames is used completely. Otherwise the planes through time, and the section
    of a sweep that is longer than a run, are drawn at random.
    """
    longest = min(_LONGEST_RUN, max(_SHORTEST_RUN, _PIXELS_AT_ONCE // (layout.height * layout.width)))
    V, P = layout.num_volumes, layout.planes_per_volume
    if num_frames >= V * P:
        return _every_frame(V, P, context, longest)
    if context == "plane":
        length = min(P, longest)
        count = min(max(num_frames // length, 3), V)
        volumes = np.linspace(0, V - 1, count).round().astype(np.int64)
        starts = rng.integers(0, P - length + 1, size=count)
        return tuple(
            np.stack([np.full(length, volume), start + np.arange(length)], axis=1)
            for volume, start in zip(volumes, starts, strict=True)
        )
    length = min(V, longest)
    count = max(1, min(num_frames // length, V * P // length))
    starts = np.linspace(0, V - length, count).round().astype(np.int64)
    planes = np.concatenate([rng.permutation(P) for _ in range(-(-count // P))])[:count]
    runs = {(int(start), int(plane)) for start, plane in zip(starts, planes, strict=True)}
    return tuple(np.stack([s + np.arange(length), np.full(length, p)], axis=1) for s, p in sorted(runs))


def _every_frame(num_volumes: int, planes: int, context: ContextKind, longest: int) -> tuple[Ints, ...]:
    """Return all frames as runs of nearly equal length along the axis of the context."""
    along, across = (planes, num_volumes) if context == "plane" else (num_volumes, planes)
    parts = np.array_split(np.arange(along), -(-along // longest))
    runs = []
    for other in range(across):
        for part in parts:
            fixed = np.full(len(part), other)
            runs.append(np.stack([fixed, part] if context == "plane" else [part, fixed], axis=1).astype(np.int64))
    return tuple(runs)
