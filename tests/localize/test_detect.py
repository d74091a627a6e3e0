"""Detection by the paper's rule: named cases, and comparison with a plain loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import Tensor

from lls_decode.config import ModelRule, PaperRule
from lls_decode.localize.detect import Detections, candidate_maps, detect
from lls_decode.model.network import OutputMaps

RULE = PaperRule()
SQUARE = ModelRule(candidate=0.3, confident=0.6, accept=0.6, square=0.6)
NAMES = ("photons", "x", "y", "z", "photons_sig", "x_sig", "y_sig", "z_sig", "bg")


def maps_of(probability_NYX: Tensor) -> OutputMaps:
    """Return output maps with this probability; every other map numbers the pixels from its own start."""
    count = torch.arange(probability_NYX.numel(), dtype=torch.float32).reshape(probability_NYX.shape)
    others = {name: count + 10_000 * (i + 1) for i, name in enumerate(NAMES)}
    return OutputMaps(logit=torch.logit(probability_NYX, eps=1e-9), **others)


def found_in(rows: list[list[float]], rule: PaperRule | ModelRule = RULE) -> dict[tuple[int, int], float]:
    """Return the probability of each detection in one map by its pixel (y, x)."""
    found = detect(maps_of(torch.tensor([rows])), rule)
    return {(int(y), int(x)): float(p) for y, x, p in zip(found.y_px, found.x_px, found.prob, strict=True)}


CASES = [
    pytest.param([[0, 0, 0], [0, 0.9, 0], [0, 0, 0]], {(1, 1): 0.9}, id="one emitter in one pixel"),
    pytest.param([[0, 0, 0], [0, 0.65, 0.66], [0, 0, 0]], {(1, 1): 1.0, (1, 2): 1.0}, id="two confident neighbours"),
    pytest.param(
        [[0, 0.1, 0], [0.2, 0.35, 0.1], [0, 0, 0]], {(1, 1): 0.75}, id="a cluster of low probabilities is one emitter"
    ),
    pytest.param([[0, 0.1, 0], [0.1, 0.35, 0.1], [0, 0, 0]], {}, id="the sum is below 0.7"),
    pytest.param([[0, 0, 0], [0, 0.65, 0], [0, 0, 0]], {}, id="confident, but isolated and below 0.7"),
    pytest.param([[0, 0.28, 0], [0.28, 0.28, 0.28], [0, 0.28, 0]], {}, id="a large sum without a candidate"),
    pytest.param([[0, 0, 0], [0, 0.65, 0.5], [0, 0, 0]], {(1, 1): 1.0}, id="the lower neighbour is no maximum"),
    pytest.param([[0.5, 0, 0], [0, 0.4, 0], [0, 0, 0]], {}, id="corners are not added"),
    pytest.param(
        [[0.5, 0.25, 0], [0, 0.45, 0], [0, 0, 0]], {(0, 0): 0.75, (1, 1): 0.7 + 1e-7}, id="a neighbour shared by two"
    ),
    pytest.param([[0, 0, 0], [0.5, 0.5, 0], [0, 0, 0]], {(1, 0): 1.0}, id="equal neighbours: the left one"),
    pytest.param([[0, 0.5, 0], [0, 0.5, 0], [0, 0, 0]], {(0, 1): 1.0}, id="equal neighbours: the upper one"),
    pytest.param([[0.4, 0.4], [0.4, 0.4]], {(0, 0): 1.0}, id="a uniform square: its upper left corner"),
    pytest.param([[0.4, 0.35], [0, 0]], {(0, 0): 0.75}, id="upper left corner of the frame"),
    pytest.param([[0, 0, 0], [0, 0.35, 0.4]], {(1, 2): 0.75}, id="lower right corner of the frame"),
    pytest.param([[0.8]], {(0, 0): 0.8}, id="a frame of one pixel"),
    pytest.param([[0.0, 0.0], [0.0, 0.0]], {}, id="no detection"),
]


@pytest.mark.parametrize(("rows", "expected"), CASES)
def test_the_papers_rule_gives_the_expected_detections(
    rows: list[list[float]], expected: dict[tuple[int, int], float]
) -> None:
    # the network limits probabilities to 3.35e-4 above 0 and below 1
    assert found_in([[float(p) for p in row] for row in rows]) == pytest.approx(expected, abs=2e-3)


DIVIDED = [
    pytest.param([[0.25, 0.2], [0.2, 0.2]], {(0, 0): 0.85}, id="an emitter at the corner of four pixels"),
    pytest.param([[0, 0, 0], [0, 0.2, 0.25], [0, 0.2, 0]], {(1, 2): 0.65}, id="at the largest of four pixels"),
    pytest.param([[0.35, 0.01], [0.01, 0.4]], {(1, 1): 0.77}, id="divided between diagonal neighbours"),
    pytest.param([[0.2, 0.1], [0.1, 0.1]], {}, id="a sum below the threshold"),
    pytest.param([[0.2, 0.2], [0.2, 0.2]], {(0, 0): 0.8}, id="equal neighbours: the first one"),
    pytest.param([[0.9, 0, 0], [0, 0.25, 0.2], [0, 0.2, 0.2]], {(0, 0): 0.9}, id="beside a usual detection"),
    pytest.param(
        [[0.9, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0.25, 0.2], [0, 0, 0.2, 0.2]], {(0, 0): 0.9, (2, 2): 0.85},
        id="two pixels from a usual detection",
    ),
    pytest.param([[0, 0.2, 0], [0.2, 0.28, 0.2], [0, 0.2, 0]], {(1, 1): 1.0}, id="five pixels have a larger sum"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "expected"), DIVIDED)
def test_the_models_rule_also_finds_emitters_divided_among_four_pixels(
    rows: list[list[float]], expected: dict[tuple[int, int], float]
) -> None:
    rows = [[float(p) for p in row] for row in rows]
    assert found_in(rows, SQUARE) == pytest.approx(expected, abs=2e-3)
    unaware = {place: p for place, p in expected.items() if p == 0.9}
    assert found_in(rows, SQUARE.replace(square=None)) == pytest.approx(unaware, abs=2e-3)


def test_accept_applies_to_divided_emitters_too() -> None:
    rows = [[0.25, 0.2], [0.2, 0.2]]
    assert found_in(rows, SQUARE.replace(accept=0.8)) == pytest.approx({(0, 0): 0.85}, abs=2e-3)
    assert found_in(rows, SQUARE.replace(accept=0.9)) == {}


def test_the_probability_of_a_divided_emitter_does_not_count_as_that_of_its_neighbours() -> None:
    p = torch.zeros(1, 16, 16)
    p[0, 5:7, 5:7] = torch.tensor([[0.25, 0.2], [0.2, 0.2]])
    p[0, 8, 9] = 0.1
    found = detect(maps_of(p), SQUARE)
    assert (found.y_px.tolist(), found.x_px.tolist()) == ([5], [5])
    assert found.near == pytest.approx([0.0], abs=0.01)
    assert found.crowd == pytest.approx([0.1], abs=0.03)


@given(
    npst.arrays(
        np.float32, st.tuples(*[st.integers(1, 6)] * 3), elements=st.sampled_from(np.arange(24) / np.float32(64))
    )
)
@settings(max_examples=200, deadline=None)
def test_the_models_rule_equals_a_plain_loop(p: np.ndarray) -> None:
    mask, integrated = candidate_maps(torch.from_numpy(p), SQUARE)
    found = {tuple(place): float(integrated[tuple(place)]) for place in mask.nonzero().tolist()}
    assert found == divided_by_hand(p, SQUARE)


def divided_by_hand(p: np.ndarray, rule: ModelRule) -> dict[tuple[int, ...], float]:
    """Apply the model's rule literally, pixel by pixel."""
    usual = by_hand(p, rule)
    found = dict(usual)
    padded = np.pad(p, ((0, 0), (1, 1), (1, 1)))
    for n, y, x in np.ndindex(*p.shape):
        around = padded[n, y : y + 3, x : x + 3]
        before, after = around.flatten()[:4], around.flatten()[5:]
        largest = max(around[dy : dy + 2, dx : dx + 2].sum() for dy in (0, 1) for dx in (0, 1))
        near = any((n, y + dy, x + dx) in usual for dy in (-1, 0, 1) for dx in (-1, 0, 1))
        if (before < p[n, y, x]).all() and (after <= p[n, y, x]).all() and largest > rule.square and not near:
            cross = around[1].sum() + around[0, 1] + around[2, 1]
            found[n, y, x] = min(max(float(largest), float(cross)), 1.0)
    return found


def by_hand(p: np.ndarray, rule: PaperRule | ModelRule) -> dict[tuple[int, ...], float]:
    """Apply the paper's rule literally, pixel by pixel."""
    found = {}
    N, Y, X = p.shape
    for n, y, x in np.ndindex(N, Y, X):

        def at(dy: int, dx: int, n: int = n, y: int = y, x: int = x) -> float:
            inside = 0 <= y + dy < Y and 0 <= x + dx < X
            return float(p[n, y + dy, x + dx]) if inside else 0.0

        before, after = [at(-1, 0), at(0, -1)], [at(1, 0), at(0, 1)]
        here, total = at(0, 0), at(0, 0) + sum(before) + sum(after)
        maximum = all(here > other for other in before) and all(here >= other for other in after)
        candidate, confident, accept = rule.thresholds
        if (here > confident or (here > candidate and maximum)) and total > accept:
            found[n, y, x] = min(total, 1.0)
    return found


SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))
STEPS = st.integers(0, 64).map(lambda step: np.float32(step / 64))


@given(
    npst.arrays(np.float32, SHAPES, elements=STEPS),
    st.sampled_from([RULE, PaperRule(candidate=0.1, confident=0.5, accept=0.9)]),
)
@settings(max_examples=200, deadline=None)
def test_the_papers_rule_equals_a_plain_loop(p: np.ndarray, rule: PaperRule) -> None:
    """Probabilities in steps of 1/64 make sums exact and ties common."""
    mask, integrated = candidate_maps(torch.from_numpy(p), rule)
    found = {tuple(place): float(integrated[tuple(place)]) for place in mask.nonzero().tolist()}
    assert found == by_hand(p, rule)


def random_maps(seed: int = 0) -> OutputMaps:
    noise = torch.rand(3, 17, 13, generator=torch.Generator().manual_seed(seed))
    return maps_of(noise**3)


def test_a_detection_has_the_outputs_of_its_pixel() -> None:
    maps = random_maps()
    found = detect(maps, RULE)
    assert len(found) > 20
    for name in NAMES:
        expected = getattr(maps, name)[found.window, found.y_px, found.x_px]
        np.testing.assert_array_equal(getattr(found, name), expected.numpy())
        assert getattr(found, name).dtype == np.float32
    assert found.prob.dtype == np.float32
    assert found.window.dtype == found.y_px.dtype == found.x_px.dtype == np.int64


def test_detections_are_ordered_by_window_row_and_column() -> None:
    found = detect(random_maps(), RULE)
    order = np.lexsort((found.x_px, found.y_px, found.window))
    np.testing.assert_array_equal(order, np.arange(len(found)))


def test_windows_are_independent() -> None:
    """The last row of one window and the first row of the next are not neighbours."""
    p = torch.zeros(2, 3, 3)
    p[0, 2, 1] = 0.5
    p[1, 0, 1] = 0.5
    assert len(detect(maps_of(p), RULE)) == 0


def test_pixel_numbers_are_exact_in_large_batches() -> None:
    p = torch.zeros(5, 2048, 2048)
    p[4, 2047, 2046] = 0.9  # pixel 20 971 518, near which float32 represents only even numbers
    found = detect(OutputMaps(torch.logit(p, eps=1e-9), *[p] * 9), RULE)
    assert (found.window[0], found.y_px[0], found.x_px[0]) == (4, 2047, 2046)


def test_concatenated_detections_can_be_selected_by_mask() -> None:
    first, second = detect(random_maps(0), RULE), detect(random_maps(1), RULE)
    both = Detections.concatenate([first, second])
    assert len(both) == len(first) + len(second)
    np.testing.assert_array_equal(both.select(np.arange(len(both)) >= len(first)).bg, second.bg)
