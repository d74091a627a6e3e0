"""Rows near cuts between blocks or tiles are counted by distance and compared with their surroundings."""

import numpy as np
import pytest

from lls_decode.axes import ContextKind, Layout
from lls_decode.blocks import plan_blocks
from lls_decode.evaluate import CutCounts, block_cuts, tile_cuts
from lls_decode.evaluate.seams import DISTANCES


def slow_distance(position: int, starts: list[int], stop: int) -> int:
    """Return the distance to the nearest cut; cuts lie before each start except the first."""
    return min((min(abs(position - cut), abs(position - (cut - 1))) for cut in starts[1:]), default=DISTANCES)


@pytest.mark.parametrize(
    ("starts", "stop"), [([0], 10), ([0, 10], 20), ([0, 3, 6, 9], 10), ([4, 40, 41, 60], 99), ([0, 20], 21)]
)
def test_distances_agree_with_a_slow_count(starts: list[int], stop: int) -> None:
    cuts = CutCounts(starts, stop)
    positions = np.arange(starts[0] - 3, stop + 3)
    cuts.add(positions)  # one row at each position
    slow = [slow_distance(p, starts, stop) for p in range(starts[0], stop)]
    assert cuts.counts.tolist() == [slow.count(distance) for distance in range(DISTANCES)]
    assert cuts.positions.tolist() == cuts.counts.tolist()
    assert cuts.num_cuts == len(starts) - 1
    if starts == [4, 40, 41, 60]:
        assert cuts.ratio == 1.0


@pytest.mark.parametrize(("excess", "expected"), [(1.0, 1.0), (0.5, 0.5), (1.4, 1.4)])
def test_an_excess_of_rows_at_cuts_is_measured(excess: float, expected: float) -> None:
    rng = np.random.default_rng(3)
    rate = np.full(200, 400.0)
    for cut in range(20, 200, 20):
        rate[cut - 1 : cut + 1] *= excess
    cuts = CutCounts(range(0, 200, 20), 200)
    cuts.add(np.repeat(np.arange(200), rng.poisson(rate)))
    assert cuts.ratio == pytest.approx(expected, abs=4 * cuts.ratio_error)
    assert 0.005 < cuts.ratio_error < 0.03


CONTEXTS: list[tuple[ContextKind, int, list[int] | None]] = [
    ("time", 6, [0, 2, 4, 6]),
    ("plane", 2, [0, 2]),
    ("plane", 6, None),
    ("none", 2, None),
]


@pytest.mark.parametrize(("context", "block_frames", "starts"), CONTEXTS)
def test_cuts_between_blocks_follow_the_axis_of_context(
    context: ContextKind, block_frames: int, starts: list[int] | None
) -> None:
    layout = Layout(num_volumes=7, planes_per_volume=3, height=8, width=8)
    blocks = plan_blocks(layout, context, block_frames)
    cuts = block_cuts(blocks, blocks, context)
    assert (None if cuts is None else cuts.starts.tolist()) == starts


@pytest.mark.parametrize(("context", "block_frames"), [("time", 6), ("plane", 2)])
def test_frames_of_missing_blocks_are_not_expected(context: ContextKind, block_frames: int) -> None:
    layout = Layout(num_volumes=7, planes_per_volume=3, height=8, width=8)
    blocks = plan_blocks(layout, context, block_frames)
    done = [block for block in blocks if block.index != 1]
    cuts = block_cuts(blocks, done, context)
    assert cuts is not None
    frames = np.concatenate([block.owned_frames for block in done])
    cuts.add(frames // 3 if context == "time" else frames % 3)  # one row in each frame
    assert cuts.counts.tolist() == cuts.positions.tolist()


def test_cuts_between_tiles_lie_at_their_starts() -> None:
    assert tile_cuts(40, 48, 0) is None
    assert tile_cuts(40, 48, 64) is None
    cuts = tile_cuts(40, 48, 18)
    assert cuts is not None
    assert [item.starts.tolist() for item in cuts] == [[0, 20, 40], [0, 20]]
