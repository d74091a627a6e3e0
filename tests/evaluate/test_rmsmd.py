"""RMSMD agrees with loops that follow its definition and with cases worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lls_decode.emitters import Emitters
from lls_decode.evaluate import rmsmd
from lls_decode.evaluate.rmsmd import minimum_distance, partition, partition_distance


def minimum_by_hand(S: np.ndarray, X: np.ndarray) -> float:
    total = 0.0
    for s in S:
        total += min(float(((s - x) ** 2).sum()) for x in X)
    for x in X:
        total += min(float(((s - x) ** 2).sum()) for s in S)
    return math.sqrt(total / (len(S) + len(X)))


def partition_by_hand(S: np.ndarray, activations: np.ndarray, X: np.ndarray) -> float:
    """Compute the partition distance literally, examining all pairs again at each step."""
    joint = len(X) < 2 * len(S)
    share = [1 / len(S) if joint else a / sum(activations) for a in activations]
    room = [math.floor(len(X) * part + 0.5) for part in share]
    parts: list[list[int]] = [[] for _ in S]
    left = set(range(len(X)))
    for rooms in (room, [1] * len(S)):
        while left:
            pairs = [(float(((S[m] - X[k]) ** 2).sum()), k, m) for k in left for m in range(len(S)) if rooms[m] > 0]
            if not pairs:
                break
            _, k, m = min(pairs)
            parts[m].append(k)
            rooms[m] -= 1
            left.remove(k)
    assert not left
    total, count = 0.0, len(S)
    for m, part in enumerate(parts):
        mine = part or [min(range(len(X)), key=lambda k: float(((S[m] - X[k]) ** 2).sum()))]
        squares = [float(((S[m] - X[k]) ** 2).sum()) for k in mine]
        total += sum(squares) + min(squares)
        count += len(mine)
    return math.sqrt(total / count)


points = st.lists(st.tuples(*[st.floats(-1000, 1000, width=32)] * 3), min_size=1, max_size=12, unique=True)


@settings(max_examples=150, deadline=None)
@given(points, points, st.randoms(use_true_random=False))
def test_distances_equal_loops_over_the_definition(true: list, seen: list, random) -> None:
    S, X = np.array(true, dtype=float), np.array(seen, dtype=float)
    activations = np.array([random.randint(1, 5) for _ in true])
    assert minimum_distance(S, X) == pytest.approx(minimum_by_hand(S, X), abs=1e-6)
    assert minimum_distance(S, X) == pytest.approx(minimum_distance(X, S))
    assert partition_distance(S, activations, X) == pytest.approx(partition_by_hand(S, activations, X), abs=1e-6)


def test_distances_equal_loops_for_many_positions_per_molecule() -> None:
    random = np.random.default_rng(0)
    S = random.uniform(0, 300, (12, 3))
    activations = random.integers(1, 20, 12)
    X = np.repeat(S, activations, axis=0) + random.normal(0, 40, (activations.sum(), 3))
    X = X[random.uniform(size=len(X)) < 0.8]
    assert partition_distance(S, activations, X) == pytest.approx(partition_by_hand(S, activations, X))


def test_distances_of_a_small_example_are_right() -> None:
    # molecules at 0 and 100; found at 3, 104, and an outlier at 400
    S, X = np.array([[0.0], [100.0]]), np.array([[3.0], [104.0], [400.0]])
    assert minimum_distance(S, X) == pytest.approx(math.sqrt((9 + 16 + 9 + 16 + 300**2) / 5))
    # 1.5 positions per molecule round to a quota of 2 each; the outlier goes to the nearer molecule
    assert partition(S, np.array([9, 1]), X).tolist() == [0, 1, 1]
    assert partition_distance(S, np.array([9, 1]), X) == pytest.approx(math.sqrt((9 + 16 + 9 + 16 + 300**2) / 5))


def test_the_quota_moves_surplus_positions_to_another_molecule() -> None:
    # four positions near the first molecule, but both were on equally often: two of them are assigned to the second
    S, X = np.array([[0.0], [100.0]]), np.array([[1.0], [2.0], [3.0], [4.0]])
    assert partition(S, np.array([5, 5]), X).tolist() == [0, 0, 1, 1]
    expected = math.sqrt((1 + 4 + 97**2 + 96**2 + 1 + 96**2) / 6)
    assert partition_distance(S, np.array([5, 5]), X) == pytest.approx(expected)
    assert minimum_distance(S, X) == pytest.approx(math.sqrt((1 + 4 + 9 + 16 + 1 + 96**2) / 6))


def test_distances_of_tables_are_pooled_and_by_frame() -> None:
    truth = Emitters.from_columns(
        {"frame": [0, 1, 1, 2], "x_nm": [0, 0, 100, 0], "y_nm": [0, 0, 0, 0], "z_nm": [0, 0, 0, 0], "id": [7, 7, 9, 7]}
    )
    found = Emitters.from_columns({"frame": [0, 1, 5], "x_nm": [3, 104, 0], "y_nm": [0, 0, 4], "z_nm": [4, 0, 0]})
    result = rmsmd(truth, found)
    # pooled: molecules at (0, 0, 0) and (100, 0, 0), each counted once, and all three found rows
    assert result.pooled_nm == pytest.approx(math.sqrt((16 + 16 + 25 + 16 + 16) / 5))
    # frame 0: 5 nm in both directions; frame 1: true positions at 104 and 4 nm from the found one, which is 4 nm away
    assert result.frames_nm == pytest.approx(math.sqrt((25 + 25 + 104**2 + 16 + 16) / 5))
    assert (result.alone_truth, result.alone_found) == (1, 1)
    assert result.to_dict()["pooled_nm"] == result.pooled_nm


def test_distances_are_two_dimensional_if_either_table_has_no_z() -> None:
    truth = Emitters.from_columns({"frame": [0], "x_nm": [0], "y_nm": [0], "id": [0]})
    found = Emitters.from_columns({"frame": [0], "x_nm": [3], "y_nm": [4], "z_nm": [500]})
    assert rmsmd(truth, found).pooled_nm == pytest.approx(5)


def test_separate_molecules_give_the_error_of_their_detections() -> None:
    """The distance is the r.m.s. error of detections, corrected for the nearest detection of each molecule."""
    random = np.random.default_rng(1)
    M, N, sigma = 100, 50, 10.0
    site = np.stack(np.meshgrid(np.arange(10), np.arange(10)), axis=-1).reshape(-1, 2) * 1000.0
    frame, number = np.repeat(np.arange(N), M), np.tile(np.arange(M), N)
    x, y = site[number].T
    truth = Emitters.from_columns({"frame": frame, "x_nm": x, "y_nm": y, "id": number})
    found = Emitters.from_columns(
        {"frame": frame, "x_nm": x + random.normal(0, sigma, M * N), "y_nm": y + random.normal(0, sigma, M * N)}
    )
    result = rmsmd(truth, found)
    assert result.frames_nm == pytest.approx(sigma * math.sqrt(2), rel=0.03)
    # the smallest of N squared distances, each exponential of mean 2 sigma^2, has mean 2 sigma^2 / N
    expected = math.sqrt((N * 2 * sigma**2 + 2 * sigma**2 / N) / (N + 1))
    assert result.pooled_nm == pytest.approx(expected, rel=0.03)
    assert result.partition_nm == pytest.approx(result.pooled_nm)


def test_empty_tables_and_unnumbered_molecules_give_no_distance() -> None:
    truth = Emitters.from_columns({"frame": [0], "x_nm": [0], "y_nm": [0]})
    nothing = Emitters.from_columns({"frame": [], "x_nm": [], "y_nm": []})
    assert rmsmd(truth, nothing).to_dict() == {
        "pooled_nm": None, "partition_nm": None, "frames_nm": None, "alone_truth": 1, "alone_found": 0,
    }  # fmt: skip
    unnumbered = rmsmd(truth, truth)
    assert math.isnan(unnumbered.pooled_nm)
    assert unnumbered.frames_nm == 0
