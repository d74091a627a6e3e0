"""Frames that a block owns and reads, and pixels that a tile owns and reads, for all small layouts.

The layouts include those whose last block or tile is smaller than the others.
"""

import itertools

import numpy as np
import pytest

from lls_decode.axes import ContextKind, Layout
from lls_decode.blocks import Block, Tile, plan_blocks, plan_part, plan_settled_blocks, plan_tiles

CONTEXTS: tuple[ContextKind, ...] = ("none", "time", "plane")
LAYOUTS = list(itertools.product(range(1, 6), range(1, 6)))
BLOCK_FRAMES = range(1, 12)


def cases() -> list[tuple[ContextKind, int, int, int]]:
    return [(context, v, p, size) for context in CONTEXTS for v, p in LAYOUTS for size in BLOCK_FRAMES]


def plan(context: ContextKind, num_volumes: int, planes: int, size: int) -> tuple[Block, ...]:
    return plan_blocks(Layout(num_volumes, planes, 8, 8), context, size)


def owned(block: Block) -> list[tuple[int, int]]:
    return [(int(v), int(k)) for v, k in block.frames[block.windows[:, 1]]]


def neighbours(context: ContextKind, volume: int, plane: int, num_volumes: int, planes: int) -> list[tuple[int, int]]:
    """Return the previous, the current and the next frame as the design defines them; edge frames are repeated."""
    if context == "plane":
        return [(volume, min(max(plane + d, 0), planes - 1)) for d in (-1, 0, 1)]
    if context == "time":
        return [(min(max(volume + d, 0), num_volumes - 1), plane) for d in (-1, 0, 1)]
    return [(volume, plane)] * 3


def test_every_frame_is_owned_once() -> None:
    for context, v, p, size in cases():
        frames = [frame for block in plan(context, v, p, size) for frame in owned(block)]
        assert sorted(frames) == list(itertools.product(range(v), range(p))), (context, v, p, size)


def test_windows_hold_the_neighbours_of_their_frame() -> None:
    for context, v, p, size in cases():
        for block in plan(context, v, p, size):
            for window in block.windows:
                seen = [tuple(int(i) for i in block.frames[position]) for position in window]
                assert seen == neighbours(context, *seen[1], v, p), (context, v, p, size, block)


def test_blocks_of_a_part_own_its_volumes_and_read_adjacent_volumes() -> None:
    for context, v, p, size in cases():
        for first, last in [(0, v), (1, None), (None, v - 1), (1, v - 1), (-2, None), (v, None)]:
            part = plan_blocks(Layout(v, p, 8, 8), context, size, volumes=(first, last))
            frames = [frame for block in part for frame in owned(block)]
            assert sorted(frames) == list(itertools.product(range(v)[first:last], range(p)))
            assert [block.index for block in part] == list(range(len(part)))
            for block in part:
                for window in block.windows:
                    seen = [tuple(int(i) for i in block.frames[position]) for position in window]
                    assert seen == neighbours(context, *seen[1], v, p), (context, v, p, size, block)


def test_every_frame_that_a_block_reads_is_used() -> None:
    for context, v, p, size in cases():
        for block in plan(context, v, p, size):
            assert set(block.windows.flatten()) == set(range(block.num_read))
            assert block.num_read == len(block.frames)
            assert block.num_owned == len(block.windows)


def test_windows_advance_and_reach_at_most_one_position_to_each_side() -> None:
    """The engine relies on this order when it carries features over from one batch to the next."""
    for context, v, p, size in cases():
        for block in plan(context, v, p, size):
            previous, this, following = block.windows.T
            assert ((this - previous <= 1) & (following - this <= 1)).all()
            assert ((this >= previous) & (following >= this)).all()
            assert (np.diff(this) > 0).all()


def test_shards_concatenated_by_block_number_are_sorted() -> None:
    for context, v, p, size in cases():
        blocks = plan(context, v, p, size)
        assert [block.index for block in blocks] == list(range(len(blocks)))
        for before, after in itertools.pairwise(blocks):
            assert max(owned(before)) < min(owned(after)), (context, v, p, size)


def test_blocks_are_not_larger_than_requested() -> None:
    """With context in time, a block of at least one whole volume is allowed."""
    for context, v, p, size in cases():
        largest = max(block.num_owned for block in plan(context, v, p, size))
        assert largest <= (max(size, p) if context == "time" else size)


BLOCK = Block(3, 2, 4, 0, 5, num_volumes=6, planes_per_volume=5, context="time")


@pytest.mark.parametrize(
    ("context", "volumes_read", "planes_read", "first_frames"),
    [
        pytest.param("none", (2, 4), (0, 5), [(2, 0), (2, 1)], id="without context only owned frames are read"),
        pytest.param("plane", (2, 4), (0, 5), [(2, 0), (2, 1)], id="context in planes needs no adjacent volume"),
        pytest.param("time", (1, 5), (0, 5), [(1, 0), (2, 0)], id="context in time reads plane by plane"),
    ],
)
def test_frames_that_a_block_reads(
    context: ContextKind, volumes_read: tuple[int, int], planes_read: tuple[int, int], first_frames: list[object]
) -> None:
    block = Block(3, 2, 4, 0, 5, num_volumes=6, planes_per_volume=5, context=context)
    assert block.volumes_read == volumes_read
    assert block.planes_read == planes_read
    assert [tuple(frame) for frame in block.frames[:2].tolist()] == first_frames


def test_a_block_can_be_restored_from_its_record() -> None:
    assert Block(**BLOCK.to_dict()) == BLOCK
    assert BLOCK.id == "b000003"


def test_a_block_size_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        plan_blocks(Layout(1, 1, 8, 8), "none", 0)


def test_an_empty_dataset_has_no_blocks() -> None:
    assert plan_blocks(Layout(0, 3, 8, 8), "plane", 4) == ()


def test_planning_ten_million_frames_allocates_no_arrays() -> None:
    blocks = plan_blocks(Layout(70_000, 150, 512, 512), "plane", 512)
    assert sum(block.num_owned for block in blocks) == 70_000 * 150
    assert not any("frames" in vars(block) for block in blocks[:10])


@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("halo", [0, 3, 4, 9])
def test_tiles_own_every_pixel_once(halo: int, multiple: int) -> None:
    for height, width, tile_px in itertools.product((1, 4, 7, 12, 17), (3, 8, 13), (0, 1, 4, 5, 8, 100)):
        tiles = plan_tiles(height, width, tile_px=tile_px, halo_y_px=halo, halo_x_px=2 * halo, multiple=multiple)
        owners = np.zeros((height, width), dtype=int)
        for tile in tiles:
            owners[tile.y_start : tile.y_stop, tile.x_start : tile.x_stop] += 1
            check_read_range(tile, height, width, halo, 2 * halo, multiple)
        assert (owners == 1).all()


def check_read_range(
    tile: Tile, height: int, width: int, halo_y: int, halo_x: int, multiple: int, *, owned_multiple: int = 0
) -> None:
    for start, stop, read_start, read_stop, length, halo in (
        (tile.y_start, tile.y_stop, tile.read_y_start, tile.read_y_stop, height, halo_y),
        (tile.x_start, tile.x_stop, tile.read_x_start, tile.read_x_stop, width, halo_x),
    ):
        assert start % (owned_multiple or multiple) == 0
        assert read_start % multiple == 0
        assert 0 <= read_start <= start < stop <= read_stop <= length
        assert read_start == 0 or start - read_start >= halo, "the read range includes the halo or ends at the edge"
        assert read_stop == length or read_stop - stop >= halo
        assert read_stop == length or read_stop % multiple == 0, "padding is needed only at edges of the frame"


@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("halo", [0, 3, 4, 9])
def test_a_region_of_interest_is_read_like_a_tile(halo: int, multiple: int) -> None:
    for start, stop in itertools.combinations(range(0, 30), 2):
        part = plan_part(30, 29, y=(start, stop), x=(3, 7), halo_yx_px=(halo, 2 * halo), multiple=multiple)
        assert (part.y_start, part.y_stop, part.x_start, part.x_stop) == (start, stop, 3, 7)
        check_read_range(part, 30, 29, halo, 2 * halo, multiple, owned_multiple=1)
        assert start - part.read_y_start < halo + multiple, "no more than the halo and the padding is read"
        assert part.read_y_stop - stop < halo + multiple


def test_tile_size_zero_gives_one_tile_of_the_whole_frame() -> None:
    assert plan_tiles(15, 9, tile_px=0, halo_y_px=44, halo_x_px=44, multiple=4) == (Tile(0, 15, 0, 9, 0, 15, 0, 9),)


@pytest.mark.parametrize("context", ["none", "time", "plane"])
@pytest.mark.parametrize(("planes", "block_frames"), [(1, 1), (1, 3), (4, 3), (4, 4), (4, 9)])
def test_settled_blocks_do_not_change_while_the_dataset_grows(
    context: ContextKind, planes: int, block_frames: int
) -> None:
    def layout(volumes: int) -> Layout:
        return Layout(volumes, planes, 8, 8)

    for volumes in range(1, 9):
        settled = plan_settled_blocks(layout(volumes), context, block_frames)
        for later in range(volumes, 12):
            plan = plan_blocks(layout(later), context, block_frames)
            for block, final in zip(settled, plan, strict=False):
                assert block.is_same_work(final)
                np.testing.assert_array_equal(block.frames, final.frames)
                np.testing.assert_array_equal(block.windows, final.windows)
        next_one = plan_blocks(layout(12), context, block_frames)[len(settled)]
        ahead = 1 if context == "time" else 0
        assert next_one.volume_stop + ahead > volumes, "the next block could already be processed"
        for start in range(len(settled) + 2):
            assert plan_settled_blocks(layout(volumes), context, block_frames, start=start) == settled[start:]


def test_blocks_are_the_same_work_if_their_frames_and_windows_agree() -> None:
    def same(one: Block, other: Block) -> bool:
        pairs = ((one.frames, other.frames), (one.windows, other.windows))
        return one.index == other.index and all(np.array_equal(a, b) for a, b in pairs)

    contexts: tuple[ContextKind, ...] = ("none", "time", "plane")
    blocks = [
        block
        for context in contexts
        for volumes in (4, 5, 6)
        for block in plan_blocks(Layout(volumes, 2, 8, 8), context, 4)
    ]
    for one in blocks:
        for other in blocks:
            if one.context == other.context:
                assert one.is_same_work(other) == same(one, other)
