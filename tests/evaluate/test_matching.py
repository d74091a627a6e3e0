"""Matching of true and found emitters agrees with brute force and hand-made cases."""

import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lls_decode.emitters import Emitters
from lls_decode.errors import TableError
from lls_decode.evaluate import match

LATERAL, AXIAL = 250.0, 500.0


def emitters(rows: list[tuple[float, ...]]) -> Emitters:
    """Return emitters from rows of frame, x, y, z."""
    frame, x, y, z = np.array(rows, dtype=float).reshape(-1, 4).T
    return Emitters.from_columns({"frame": frame.astype(int), "x_nm": x, "y_nm": y, "z_nm": z})


def distance(a: Emitters, i: int, b: Emitters, j: int) -> float:
    """Return the distance of a pair within the cylinder, or infinity for other pairs."""
    lateral = np.hypot(a.x_nm[i] - b.x_nm[j], a.y_nm[i] - b.y_nm[j])
    dz = a.z_nm[i] - b.z_nm[j]
    dz = 0.0 if np.isnan(dz) else dz
    inside = a.frame[i] == b.frame[j] and lateral <= LATERAL and abs(dz) <= AXIAL
    return float(np.hypot(lateral, dz)) if inside else np.inf


def greedy_by_hand(truth: Emitters, found: Emitters) -> dict[int, int]:
    left = {(i, j): distance(truth, i, found, j) for i in range(len(truth)) for j in range(len(found))}
    pairs: dict[int, int] = {}
    while left and min(left.values()) < np.inf:
        i, j = min(left, key=lambda pair: (left[pair], pair))
        pairs[i] = j
        left = {pair: d for pair, d in left.items() if pair[0] != i and pair[1] != j}
    return pairs


def best_by_hand(truth: Emitters, found: Emitters) -> tuple[int, float]:
    """Return the largest number of pairs and its smallest sum of distances, by trying all choices."""
    best = (0, 0.0)
    columns = [*range(len(found)), *[None] * len(truth)]
    for choice in set(itertools.permutations(columns, len(truth))):
        d = [distance(truth, i, found, j) for i, j in enumerate(choice) if j is not None]
        if all(np.isfinite(d)):
            best = min(best, (-len(d), sum(d)))
    return -best[0], best[1]


# coordinates on a coarse grid make ties, exact limits and crowds common
row = st.tuples(
    st.integers(0, 2),
    st.integers(0, 6).map(lambda v: 125.0 * v),
    st.integers(0, 3).map(lambda v: 125.0 * v),
    st.one_of(st.integers(-3, 3).map(lambda v: 250.0 * v), st.just(np.nan)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(row, max_size=8), st.lists(row, max_size=8))
def test_greedy_matching_repeatedly_takes_the_closest_pair(true: list, seen: list) -> None:
    truth, found = emitters(true), emitters(seen)
    result = match(truth, found)
    assert dict(zip(result.truth.tolist(), result.found.tolist(), strict=True)) == greedy_by_hand(truth, found)
    assert sorted([*result.truth, *result.missed]) == list(range(len(truth)))
    assert sorted([*result.found, *result.spurious]) == list(range(len(found)))


@settings(max_examples=60, deadline=None)
@given(st.lists(row, max_size=4), st.lists(row, max_size=4))
def test_hungarian_matching_is_the_best_of_all_choices(true: list, seen: list) -> None:
    truth, found = emitters(true), emitters(seen)
    result = match(truth, found, method="hungarian")
    total = sum(distance(truth, i, found, j) for i, j in zip(result.truth, result.found, strict=True))
    count, expected = best_by_hand(truth, found)
    assert len(result) == count
    assert total == pytest.approx(expected)


def test_hungarian_matching_prefers_more_pairs_to_the_closest_pair() -> None:
    # x of true 0, found 200, true 290, found 520: matching the close pair 200-290 first leaves the others unmatched
    truth, found = emitters([(0, 0, 0, 0), (0, 290, 0, 0)]), emitters([(0, 200, 0, 0), (0, 520, 0, 0)])
    assert match(truth, found).found.tolist() == [0]
    assert match(truth, found).truth.tolist() == [1]
    assert match(truth, found, method="hungarian").found.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("shift", "matched"),
    [
        pytest.param((0, 250.0, 0, 0), True, id="at the lateral limit"),
        pytest.param((0, 250.01, 0, 0), False, id="beyond the lateral limit"),
        pytest.param((0, 150.0, 200.0, 0), True, id="at the lateral limit, diagonally"),
        pytest.param((0, 0, 0, 500.0), True, id="at the axial limit"),
        pytest.param((0, 0, 0, 500.01), False, id="beyond the axial limit"),
        pytest.param((0, 249, 0, 499), True, id="a cylinder, not a ball"),
        pytest.param((1, 0, 0, 0), False, id="next frame"),
        pytest.param((0, 100, 0, np.nan), True, id="2-D"),
    ],
)
@pytest.mark.parametrize("frame", [0, 12_000_000], ids=["first frame", "frame 12 million"])
def test_pairs_must_lie_within_the_cylinder(shift: tuple[float, ...], matched: bool, frame: int) -> None:
    truth = emitters([(frame, 1000, 2000, 100)])
    found = emitters([(frame + shift[0], 1000 + shift[1], 2000 + shift[2], 100 + shift[3])])
    assert len(match(truth, found)) == matched
    assert len(match(found, truth)) == matched


def test_order_of_rows_does_not_matter() -> None:
    random = np.random.default_rng(0)
    rows = np.column_stack(
        [random.integers(0, 20, 400), random.uniform(0, 3000, (400, 2)), random.uniform(-500, 500, 400)]
    )
    truth, found = emitters(rows[:200].tolist()), emitters(rows[200:].tolist())
    expected = {(a, b) for a, b in zip(*_pairs(match(truth, found)), strict=True)}
    p, q = random.permutation(200), random.permutation(200)
    shuffled = match(truth.select(p), found.select(q))
    assert {(p[a], q[b]) for a, b in zip(*_pairs(shuffled), strict=True)} == expected


def _pairs(result):
    return result.truth.tolist(), result.found.tolist()


def test_rows_without_a_finite_position_are_refused() -> None:
    with pytest.raises(TableError, match=r"found table has 1 rows without a finite x_nm and y_nm \(first: row 1\)"):
        match(emitters([(0, 0, 0, 0)]), emitters([(0, 0, 0, 0), (0, np.nan, 0, 0)]))


def test_matching_many_frames_is_fast() -> None:
    n = 100_000
    random = np.random.default_rng(1)
    frame = np.arange(n) // 2
    xyz = random.uniform(0, 20_000, (n, 3))
    truth = Emitters.from_columns({"frame": frame, "x_nm": xyz[:, 0], "y_nm": xyz[:, 1], "z_nm": xyz[:, 2]})
    order = random.permutation(n)
    start = time.process_time()
    result = match(truth, truth.select(order))
    assert time.process_time() - start < 5  # a loop over frames takes longer
    assert np.array_equal(order[result.found], result.truth)
    assert len(result) == n
