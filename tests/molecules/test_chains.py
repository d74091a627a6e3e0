"""Linking of sightings: hand-made cases, and agreement with a literal implementation of the rule."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lls_decode.errors import ConfigError
from lls_decode.molecules import Gate, Points, find_previous
from lls_decode.molecules.chains import first_of_chain


def points(
    step: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike = 0.0, z: npt.ArrayLike = 0.0, *, sigma: float = 10.0
) -> Points:
    step = np.asarray(step)
    position = np.stack([np.broadcast_to(np.asarray(v, dtype=np.float64), len(step)) for v in (x, y, z)])
    return Points(step, position, np.full(position.shape, sigma**2))


CASES = {
    "consecutive": ([0, 1, 2], [0, 1, 2], 0, [-1, 0, 1]),
    "too far in sigmas": ([0, 1], [0, 60], 0, [-1, -1]),
    "just near enough in sigmas": ([0, 1], [0, 56], 0, [-1, 0]),  # 4 * sqrt(2) * 10 = 56.6
    "a dark step ends the chain": ([0, 2], [0, 0], 0, [-1, -1]),
    "a dark step is bridged": ([0, 2], [0, 0], 1, [-1, 0]),
    "two dark steps are not bridged": ([0, 3], [0, 0], 1, [-1, -1]),
    "one successor each": ([0, 1, 1], [0, 5, 3], 0, [-1, -1, 0]),
    "one predecessor each": ([0, 0, 1], [5, 3, 0], 0, [-1, -1, 1]),
    "the closest pair first": ([0, 0, 1, 1], [0, 10, 9, 12], 0, [-1, -1, 1, 0]),
    "the next step before a closer one later": ([0, 1, 2], [0, 20, 0], 1, [-1, 0, 1]),
    "ties go to the earlier row": ([0, 0, 1, 1], [0, 10, 5, 5], 0, [-1, -1, 0, 1]),
    "the same step is not linked": ([0, 0], [0, 0], 3, [-1, -1]),
    "nothing with a gap of -1": ([0, 1], [0, 0], -1, [-1, -1]),
    "steps may begin anywhere": ([10**9, 10**9 + 1], [0, 0], 0, [-1, 0]),
}


@pytest.mark.parametrize(("step", "x", "gap", "expected"), CASES.values(), ids=CASES)
def test_sightings_are_linked_by_the_rule(step: list[int], x: list[float], gap: int, expected: list[int]) -> None:
    assert find_previous(points(step, x), Gate(), gap=gap).tolist() == expected


@pytest.mark.parametrize(
    ("gate", "x", "z", "linked"),
    [
        (Gate(lateral_nm=30), 29.9, 0, True),
        (Gate(lateral_nm=30), 30.1, 0, False),
        (Gate(axial_nm=30), 0, 29.9, True),
        (Gate(axial_nm=30), 0, 30.1, False),
        (Gate(sigmas=2), 20, 20, True),  # sqrt(2 * 400 / 200) = 2
        (Gate(sigmas=2), 20, 20.1, False),
        (Gate(lateral_nm=1e-3), 0, 0, True),
    ],
)
def test_gates_limit_the_distance_of_linked_sightings(gate: Gate, x: float, z: float, linked: bool) -> None:
    assert (find_previous(points([0, 1], [0, x], z=[0, z]), gate, gap=0)[1] == 0) == linked


def test_an_axis_without_known_positions_is_not_compared() -> None:
    two = points([0, 1], [0, 5], z=[0, 900])
    assert find_previous(two, Gate(), gap=0).tolist() == [-1, -1]
    two.variance_3N[2, 1] = np.inf
    assert find_previous(two, Gate(), gap=0).tolist() == [-1, 0]


@pytest.mark.parametrize("wrong", [{"sigmas": 0}, {"lateral_nm": -1}, {"axial_nm": np.nan}])
def test_invalid_gates_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} = .*expected a positive number"):
        Gate(**wrong)


def test_the_first_sighting_is_found_in_chains_of_any_length() -> None:
    previous = np.arange(-1, 999)
    previous[500] = -1
    assert first_of_chain(previous).tolist() == [0] * 500 + [500] * 500


@st.composite
def crowds(draw: st.DrawFn) -> Points:
    """Draw sightings on a small lattice, where candidates compete and tie."""
    step = np.sort(draw(st.lists(st.integers(0, 8), min_size=1, max_size=40)))
    place = st.lists(st.integers(-12, 12), min_size=len(step), max_size=len(step))
    x, y, z = (10.0 * np.array(draw(place)) for _ in range(3))
    sigma = draw(st.sampled_from([5.0, 10.0, 20.0]))
    return points(step, x, y, z, sigma=sigma)


GATE = Gate(sigmas=4.0, lateral_nm=50.0, axial_nm=70.0)


@settings(max_examples=150, deadline=None)
@given(crowds(), st.integers(-1, 3))
def test_linking_equals_a_literal_implementation_of_the_rule(crowd: Points, gap: int) -> None:
    assert find_previous(crowd, GATE, gap=gap).tolist() == literal_previous(crowd, GATE, gap)


def literal_previous(crowd: Points, gate: Gate, gap: int) -> list[int]:
    num = len(crowd)
    previous, has_follower = [-1] * num, [False] * num
    for apart in range(1, gap + 2):
        candidates = []
        for i in range(num):
            for j in range(num):
                dx, dy, dz = crowd.position_3N[:, j] - crowd.position_3N[:, i]
                vx, vy, vz = crowd.variance_3N[:, j] + crowd.variance_3N[:, i]
                distance = np.sqrt(dx**2 / vx + dy**2 / vy + dz**2 / vz)
                near = dx**2 + dy**2 <= gate.lateral_nm**2 and abs(dz) <= gate.axial_nm and distance <= gate.sigmas
                if crowd.step[j] - crowd.step[i] == apart and near:
                    candidates.append((distance, i, j))
        for _, i, j in sorted(candidates):
            if not has_follower[i] and previous[j] < 0:
                previous[j], has_follower[i] = i, True
    return previous
