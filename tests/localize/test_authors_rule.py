"""Detection by the rule of the DECODE authors' program: named cases, and comparison with a plain loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lls_decode.config import AuthorsRule, ModelRule, PaperRule, RunConfig, parse
from lls_decode.errors import ConfigError
from lls_decode.localize.detect import candidate_maps, detect
from lls_decode.model.network import OutputMaps

RULE = AuthorsRule()

Found = dict[tuple[int, ...], float]


def found_in(p_NYX: np.ndarray, rule: AuthorsRule | PaperRule = RULE) -> Found:
    """Return the probability of each detection by its window, row and column."""
    mask, integrated = candidate_maps(torch.from_numpy(np.asarray(p_NYX, np.float32)), rule)
    return {tuple(place): float(integrated[tuple(place)]) for place in mask.nonzero().tolist()}


CASES = [
    pytest.param([[0, 0, 0], [0, 0.15, 0], [0, 0, 0]], {(1, 1): 0.15}, id="faint and isolated"),
    pytest.param([[0, 0, 0], [0, 0.09, 0], [0, 0, 0]], {}, id="below raw_th"),
    pytest.param([[0.09, 0.09], [0.09, 0.09]], {}, id="a large sum without a maximum"),
    pytest.param(
        [[0, 0, 0], [0, 0.5, 0], [0, 0, 0.45]], {(1, 1): 0.5}, id="the lower of two diagonal neighbours is lost"
    ),
    pytest.param(
        [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0]], {(0, 0): 0.5, (1, 1): 0.5}, id="equal diagonal neighbours: both"
    ),
    pytest.param([[0, 0.5, 0.5]], {(0, 1): 1.0, (0, 2): 1.0}, id="equal direct neighbours: both, each with the sum"),
    pytest.param([[0.9, 0.8]], {(0, 0): 1.0, (0, 1): 1.0}, id="two confident neighbours: both"),
    pytest.param([[0.9, 0.6]], {(0, 0): 1.0}, id="0.6 is not above 0.6"),
    pytest.param(
        [[0.9, 0.0], [0.0, 0.7]], {(0, 0): 0.9, (1, 1): 0.7}, id="confident diagonal neighbour that is no maximum"
    ),
    pytest.param([[0.3, 0.2], [0.2, 0.9]], {(1, 1): 1.0}, id="lower right corner of the frame"),
    pytest.param([[0.125]], {(0, 0): 0.125}, id="a frame of one pixel"),
    pytest.param([[0.0, 0.0], [0.0, 0.0]], {}, id="no detection"),
]


@pytest.mark.parametrize(("rows", "expected"), CASES)
def test_the_authors_rule_gives_the_expected_detections(rows: list[list[float]], expected: Found) -> None:
    with_window = {(0, *place): p for place, p in expected.items()}
    assert found_in(np.array([rows])) == pytest.approx(with_window, abs=1e-6)


def test_raw_th_is_used_as_two_thresholds() -> None:
    """``raw_th`` applies to the probability of a maximum, and to the sum around a confident pixel."""
    rows = np.array([[[0, 0, 0], [0, 0.4, 0.3], [0, 0, 0]]])
    assert found_in(rows, AuthorsRule(raw_th=0.39)) == pytest.approx({(0, 1, 1): 0.7})
    assert found_in(rows, AuthorsRule(raw_th=0.41)) == {}
    alone = np.array([[[0.95, 0.0], [0.0, 0.7]]])
    assert found_in(alone, AuthorsRule(raw_th=0.7)).keys() == {(0, 0, 0), (0, 1, 1)}, "0.7 is accepted"
    assert found_in(alone, AuthorsRule(raw_th=0.71)).keys() == {(0, 0, 0)}


def test_a_detection_has_the_outputs_of_its_pixel() -> None:
    count = torch.arange(12.0).reshape(1, 3, 4)
    p = torch.full((1, 3, 4), 0.01)
    p[0, 1, 2] = 0.5
    found = detect(OutputMaps(torch.logit(p), *[count + i for i in range(9)]), RULE)
    assert (found.window.tolist(), found.y_px.tolist(), found.x_px.tolist()) == ([0], [1], [2])
    assert found.prob[0] == pytest.approx(0.54)
    assert (found.photons[0], found.x[0], found.bg[0]) == (6.0, 7.0, 14.0)


def by_hand(p_NYX: np.ndarray, raw_th: np.float32) -> Found:
    """Apply the rule literally, pixel by pixel."""
    found = {}
    for n, y, x in np.ndindex(p_NYX.shape):
        p = np.pad(p_NYX[n], 1)
        here = p[y + 1, x + 1]
        total = here + p[y, x + 1] + p[y + 2, x + 1] + p[y + 1, x] + p[y + 1, x + 2]
        maximum = here > raw_th and here == p[y : y + 3, x : x + 3].max()
        if (maximum or here > np.float32(0.6)) and total >= raw_th:
            found[n, y, x] = min(float(total), 1.0)
    return found


SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))
STEPS = st.integers(0, 32).map(lambda step: np.float32(step / 32))


@given(npst.arrays(np.float32, SHAPES, elements=STEPS), st.sampled_from([0.1, 0.25, 0.5, 0.75]))
@settings(max_examples=200, deadline=None)
def test_the_authors_rule_equals_a_plain_loop(p: np.ndarray, raw_th: float) -> None:
    """Probabilities in steps of 1/32 make sums exact and ties common."""
    assert found_in(p, AuthorsRule(raw_th=raw_th)) == by_hand(p, np.float32(raw_th))


@pytest.mark.parametrize(
    ("detection", "expected"),
    [
        pytest.param({}, ModelRule(), id="the model's rule by default"),
        pytest.param({"accept": 0.8}, ModelRule(accept=0.8), id="the model's rule with another threshold"),
        pytest.param({"rule": "paper", "candidate": 0.2}, PaperRule(candidate=0.2), id="the paper's rule by name"),
        pytest.param({"rule": "authors"}, AuthorsRule(), id="the authors' rule"),
        pytest.param(
            {"rule": "authors", "raw_th": 0.5}, AuthorsRule(raw_th=0.5), id="the authors' rule with a threshold"
        ),
    ],
)
def test_the_configuration_selects_the_rule(
    detection: dict[str, object], expected: AuthorsRule | ModelRule | PaperRule
) -> None:
    config = parse(RunConfig, {"detection": detection}, source="run.yaml")
    assert config.detection == expected
    assert parse(RunConfig, config.to_dict(), source="again") == config


@pytest.mark.parametrize(
    ("detection", "words"),
    [
        pytest.param({"rule": "theirs"}, "'theirs'.*'paper', 'authors'", id="unknown rule"),
        pytest.param({"rule": "authors", "accept": 0.7}, "unknown key", id="a threshold of another rule"),
        pytest.param(
            {"raw_th": 0.2},
            "unknown key 'detection.raw_th' here: 'raw_th' belongs to another kind",
            id="a threshold of the authors' rule alone",
        ),
        pytest.param({"rule": "authors", "raw_th": 1.5}, "raw_th.*less than 1", id="threshold above 1"),
    ],
)
def test_inconsistent_rules_and_thresholds_are_refused(detection: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(RunConfig, {"detection": detection}, source="run.yaml")
