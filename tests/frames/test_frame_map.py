"""Mapping between stored frames and planes of volumes, as integer arithmetic."""

import numpy as np
import pytest

from lls_decode.blocks import plan_blocks
from lls_decode.frames.mapping.frame_map import FrameMap, name_frames

MAPS = {
    "movie": FrameMap("tyx", (7, 2, 3), 1, 0, 1, 0, 0, False),
    "flat": FrameMap("tyx", (23, 2, 3), 1, 0, 5, 0, 0, False),
    "flat fly-back": FrameMap("tyx", (23, 2, 3), 1, 0, 5, 1, 1, False),
    "flat both ways": FrameMap("tyx", (23, 2, 3), 1, 0, 5, 1, 0, True),
    "stack": FrameMap("tzyx", (4, 5, 2, 3), 1, 0, 5, 0, 0, False),
    "stack both ways": FrameMap("tzyx", (4, 5, 2, 3), 1, 0, 5, 0, 2, True),
    "channels": FrameMap("tczyx", (4, 2, 5, 2, 3), 1, 1, 5, 0, 0, False),
    "planes before times": FrameMap("ztyx", (5, 4, 2, 3), 1, 0, 5, 0, 0, False),
    "one volume": FrameMap("zyx", (6, 2, 3), 1, 0, 6, 1, 0, False),
    "one frame": FrameMap("yx", (2, 3), 1, 0, 1, 0, 0, False),
    "volumes in arrays": FrameMap("zyx", (5, 2, 3), 4, 0, 5, 1, 0, True),
    "frames in arrays": FrameMap("yx", (2, 3), 11, 0, 4, 0, 0, False),
    "volumes across arrays": FrameMap("tyx", (7, 2, 3), 3, 0, 5, 0, 1, False),
}


def stream(frame_map: FrameMap) -> list[tuple[int, int, int]]:
    """Return (array, t, z) of all raw frames in acquisition order, by plain loops."""
    return [
        (array, t, z)
        for array in range(frame_map.num_arrays)
        for t in range(frame_map.size("t"))
        for z in range(frame_map.size("z"))
    ]


def expected(frame_map: FrameMap, volume: int, plane: int) -> tuple[int, int, int]:
    sweep = stream(frame_map)[volume * frame_map.raw_planes : (volume + 1) * frame_map.raw_planes]
    sweep = sweep[frame_map.skip_first : len(sweep) - frame_map.skip_last]
    return (sweep[::-1] if frame_map.bidirectional and volume % 2 else sweep)[plane]


@pytest.mark.parametrize("frame_map", MAPS.values(), ids=MAPS)
@pytest.mark.parametrize("context", ["none", "time", "plane"])
@pytest.mark.parametrize("block_frames", [1, 3, 8, 100])
def test_slabs_contain_the_frames_of_every_block_once(frame_map, context, block_frames):
    for block in plan_blocks(frame_map.layout, context, block_frames):
        found = {}
        for slab in frame_map.slabs(block.frames):
            assert (slab.t_start <= slab.t).all()
            assert (slab.t < slab.t_stop).all()
            assert (slab.z_start <= slab.z).all()
            assert (slab.z < slab.z_stop).all()
            for position, t, z in zip(slab.position, slab.t, slab.z, strict=True):
                assert position not in found
                found[int(position)] = (slab.array, int(t), int(z))
        assert [found[i] for i in range(block.num_read)] == [expected(frame_map, *frame) for frame in block.frames]


@pytest.mark.parametrize("frame_map", MAPS.values(), ids=MAPS)
def test_frames_in_is_the_inverse_of_locate(frame_map):
    layout = frame_map.layout
    volume, plane = np.divmod(np.arange(layout.num_frames), layout.planes_per_volume)
    array, t, z = frame_map.locate(volume, plane)
    for frame in range(layout.num_frames):
        only = range(t[frame], t[frame] + 1), range(z[frame], z[frame] + 1)
        assert frame_map.frames_in(int(array[frame]), *only).tolist() == [[volume[frame], plane[frame]]]


def test_a_block_of_whole_volumes_is_one_slab():
    frame_map = MAPS["stack"]
    block = plan_blocks(frame_map.layout, "plane", 100)[0]
    (slab,) = frame_map.slabs(block.frames)
    assert slab.is_whole
    assert (slab.t_start, slab.t_stop, slab.z_start, slab.z_stop) == (0, 4, 0, 5)


def test_scattered_frames_are_read_without_frames_in_between():
    frame_map = FrameMap("tyx", (1000, 2, 3), 1, 0, 100, 0, 0, False)
    slabs = frame_map.slabs(np.array([[0, 0], [5, 1], [9, 99]]))
    assert [(slab.t_start, slab.t_stop) for slab in slabs] == [(0, 1), (501, 502), (999, 1000)]


@pytest.mark.parametrize(
    ("frames", "planes", "text"),
    [
        ([[4, 0]], 1, "frame 4"),
        ([[4, 0], [5, 0], [6, 0], [9, 0]], 1, "frames 4 to 6, 9"),
        ([[2, 3]], 10, "volume 2, plane 3"),
        ([[2, 3], [2, 4]], 10, "volume 2, planes 3 to 4"),
        ([[2, 0], [2, 1], [3, 0], [3, 1]], 2, "volumes 2 to 3, planes 0 to 1"),
        ([[2, 1], [3, 0]], 2, "volume 2, plane 1; volume 3, plane 0"),
        ([], 2, "only unused frames"),
    ],
)
def test_frames_are_named_in_words(frames, planes, text):
    assert name_frames(np.array(frames, dtype=np.int64).reshape(-1, 2), planes) == text
