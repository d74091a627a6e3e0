"""Reliability of predicted sigmas and probabilities, for errors drawn from known distributions."""

import math

import numpy as np
import pytest

from lls_decode.emitters import Emitters
from lls_decode.evaluate import compare
from lls_decode.evaluate.calibration import MIN_REPEATS, pearson, probability_reliability, sigma_agreements
from lls_decode.evaluate.score import Comparison


def drawn(num: int, *, factor: float, repeats: int = 1, seed: int = 0) -> Comparison:
    """Return ``num`` molecules with their own sigmas, and errors of ``factor`` times these sigmas."""
    random = np.random.default_rng(seed)
    rows = num * repeats
    sigma = np.repeat(random.uniform(5, 40, num), repeats)
    at = {"frame": np.arange(rows), "id": np.repeat(np.arange(num), repeats), "photons": np.full(rows, 1000.0)}
    true = {**at, "x_nm": np.zeros(rows), "y_nm": np.zeros(rows), "z_nm": np.zeros(rows)}
    seen = {**at, **{f"{axis}_nm": random.normal(0, factor * sigma) for axis in "xyz"}}
    seen |= {"x_sig": sigma, "y_sig": sigma, "z_sig": sigma}
    return compare(Emitters.from_columns(true), Emitters.from_columns(seen), lateral_nm=1e5, axial_nm=1e5)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_reliability_gives_the_ratio_of_error_and_sigma(factor: float) -> None:
    agreements = {item.quantity: item for item in sigma_agreements(drawn(40_000, factor=factor))}
    assert list(agreements) == ["x", "y", "z", "position"]  # photons have no sigmas in this table
    for item in agreements.values():
        assert item.rmse / item.sigma_rms == pytest.approx(factor, rel=0.02)
        curve = item.curve
        assert sum(curve.num) == item.num == 40_000
        assert np.all(np.diff(curve.predicted) > 0)
        off = np.abs(np.array(curve.measured) - factor * np.array(curve.predicted)) / curve.error
        assert off.max() < 4  # in standard errors
    assert agreements["x"].zscore == pytest.approx(factor, rel=0.02)


def test_bins_have_the_standard_error_of_an_rms_value() -> None:
    # the r.m.s. of n normal values has a relative standard error of 1 / sqrt(2 n)
    curve = sigma_agreements(drawn(40_000, factor=1.0))[0].curve
    relative = np.array(curve.error) / curve.measured
    # sigma varies within a bin, which adds a little
    assert relative == pytest.approx(1 / math.sqrt(2 * 4000), rel=0.15)


def test_correlation_with_single_errors_has_the_expected_limit() -> None:
    item = sigma_agreements(drawn(40_000, factor=1.0))[0]
    # sigma uniform in 5..40: mean m, variance v; cov(|s n|, s) = c v with c = sqrt(2 / pi)
    mean, variance, c = 22.5, 35**2 / 12, math.sqrt(2 / math.pi)
    expected = c * math.sqrt(variance) / math.sqrt(variance + mean**2 - (c * mean) ** 2)
    assert item.correlation_if_right == pytest.approx(expected, abs=0.005)
    assert item.correlation == pytest.approx(expected, abs=0.015)


def test_correlation_over_molecules_approaches_one_with_repeats() -> None:
    # each molecule is localized 100 times, as in the paper's Fig. 2b, so that its r.m.s. error is known to 7 %
    item = sigma_agreements(drawn(500, factor=1.0, repeats=100))[0]
    assert item.num_emitters == 500
    assert item.emitter_correlation > 0.97
    assert item.emitter_correlation > item.correlation + 0.3


def test_sigmas_of_the_wrong_molecules_do_not_correlate() -> None:
    right = drawn(500, factor=1.0, repeats=100)
    wrong = Emitters(**{**vars(right.seen), "x_sig": right.seen.x_sig[::-1]})
    item = sigma_agreements(Comparison(right.true, wrong, right.missed, right.spurious, right.true_rows))[0]
    assert abs(item.emitter_correlation) < 0.15
    assert abs(item.correlation) < 0.02


def test_molecules_with_too_few_localizations_are_excluded() -> None:
    item = sigma_agreements(drawn(50, factor=1.0, repeats=MIN_REPEATS - 1))[0]
    assert item.num_emitters == 0
    assert math.isnan(item.emitter_correlation)


def test_pearson_equals_that_of_numpy() -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 200))
    assert pearson(a, a + b) == pytest.approx(np.corrcoef(a, a + b)[0, 1])
    assert math.isnan(pearson(a, np.ones(200)))


def test_probability_is_compared_with_the_share_of_true_detections() -> None:
    # two detections at 0.95, one of them true; four at 0.55, three of them true; one of unknown probability
    truth = Emitters.from_columns({"frame": [0, 1, 2, 3, 9], "x_nm": [0.0] * 5, "y_nm": [0.0] * 5})
    found = Emitters.from_columns(
        {
            "frame": [0, 1, 2, 3, 4, 5, 9],
            "x_nm": [0.0] * 7,
            "y_nm": [0.0] * 7,
            "prob": [0.95, 0.55, 0.55, 0.55, 0.55, 0.95, np.nan],
        }
    )
    curve = probability_reliability(compare(truth, found))
    assert curve.num == (4, 2)
    assert curve.predicted == pytest.approx((0.55, 0.95))
    assert curve.measured == (0.75, 0.5)
    assert curve.error == pytest.approx((math.sqrt(0.75 * 0.25 / 4), math.sqrt(0.25 / 2)))


def test_detections_of_excluded_emitters_do_not_count_for_probability() -> None:
    truth = Emitters.from_columns({"frame": [0, 1], "x_nm": [0, 0], "y_nm": [0, 0], "photons": [10, 1000]})
    found = Emitters.from_columns({"frame": [0, 1], "x_nm": [0, 0], "y_nm": [0, 0], "prob": [0.9, 0.9]})
    assert probability_reliability(compare(truth, found, photons_min=50)).num == (1,)


def test_empty_comparisons_give_no_agreement() -> None:
    nothing = Emitters.from_columns({"frame": [], "x_nm": [], "y_nm": []})
    comparison = compare(nothing, nothing)
    assert sigma_agreements(comparison) == ()
    assert probability_reliability(comparison).num == ()
