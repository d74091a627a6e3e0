"""Errors are split into bias and spread, and a bias is reported only if it is significant."""

import numpy as np
import pytest

from lls_decode.emitters import Emitters
from lls_decode.evaluate import compare, evaluate
from lls_decode.evaluate.bias import SIGNIFICANCE, error_statistics, mean_with_error
from lls_decode.evaluate.wording import bound_lines, error_lines


def tables(
    seed: int, *, num: int = 400, bias: float = 0.0, each: int = 1, shared: float = 0.0
) -> tuple[Emitters, Emitters]:
    """Return a truth and localizations with x errors of 10 nm; ``shared`` is the part common to a molecule's rows."""
    random = np.random.default_rng(seed)
    molecule = np.repeat(np.arange(num // each), each)
    truth = {
        "frame": np.arange(num),
        **{f"{axis}_nm": random.uniform(0, 9000, num) for axis in "xyz"},
        "photons": random.uniform(500, 1500, num),
        "id": molecule,
    }
    error = shared * random.normal(size=num // each)[molecule] + np.sqrt(1 - shared**2) * random.normal(size=num)
    found = {
        **truth,
        "x_nm": truth["x_nm"] + bias + 10 * error,
        "z_nm": truth["z_nm"] + 20 * random.normal(size=num),
        "photons": truth["photons"] * 0.9,
        "x_sig": np.full(num, 10.0),
        "z_sig": np.full(num, 40.0),
    }
    return Emitters.from_columns(truth), Emitters.from_columns(found)


def test_bias_and_remaining_error_are_separated() -> None:
    truth, found = tables(0, bias=30.0)
    x, y, z, photons = error_statistics(compare(truth, found))
    assert [item.quantity for item in (x, y, z, photons)] == ["x", "y", "z", "photons"]
    assert x.bias == pytest.approx(30, abs=3 * 10 / 20)
    assert x.bias_error == pytest.approx(10 / 20, rel=0.1)
    assert x.is_biased
    assert x.rmse == pytest.approx(np.hypot(30, 10), rel=0.03)
    assert x.rmse_without_bias == pytest.approx(10, rel=0.1)
    assert x.rmse**2 == pytest.approx(x.bias**2 + x.rmse_without_bias**2)
    assert x.zscore_mean == pytest.approx(3, abs=0.2)
    assert x.zscore_std == pytest.approx(1, abs=0.1)
    assert z.zscore_std == pytest.approx(0.5, abs=0.06)
    assert not z.is_biased
    assert (y.bias, y.is_biased) == (0, False)
    assert photons.ratio == pytest.approx(0.9)
    assert photons.is_biased


def test_no_bias_is_reported_for_unbiased_errors() -> None:
    num = sum(item.is_biased for seed in range(200) for item in error_statistics(compare(*tables(seed)))[:3:2])
    assert num <= 4  # 400 quantities at a level of 0.001: 0.4 are expected
    assert SIGNIFICANCE == 0.001


def test_rows_of_one_molecule_count_as_one_observation() -> None:
    """20 molecules of 20 rows each have correlated errors, so that the mean has the error of 20 values, not of 400."""
    biased = [error_statistics(compare(*tables(seed, each=20, shared=0.95)))[0] for seed in range(60)]
    spread = np.std([item.bias for item in biased])
    assert np.mean([item.bias_error for item in biased]) == pytest.approx(spread, rel=0.3)
    assert spread > 1.5  # 400 independent rows would give 0.5
    assert {item.num_independent for item in biased} == {20}
    assert sum(item.is_biased for item in biased) <= 1


def test_the_mean_of_few_values_has_an_error_or_nan() -> None:
    nobody = np.full(3, -1)
    assert mean_with_error(np.array([1.0, 2.0, 3.0]), nobody) == (2.0, pytest.approx(1 / np.sqrt(3)), 3)
    mean, error, num = mean_with_error(np.array([5.0]), nobody[:1])
    assert (mean, num) == (5.0, 1)
    assert np.isnan(error)
    assert mean_with_error(np.empty(0), nobody[:0])[2] == 0


def test_printed_lines_report_significant_biases_only() -> None:
    truth, found = tables(0, bias=30.0)
    x, y, _, photons = error_lines(evaluate(truth, found))
    assert "(a bias)" in x
    assert "without the bias" in x
    assert "(no significant bias)" in y
    assert "without" not in y
    assert "found / true, median: 0.900" in photons


def test_bounds_are_reported_as_medians_by_brightness() -> None:
    """Errors are twice a bound that falls with brightness; medians ignore a few emitters with huge bounds."""
    random = np.random.default_rng(1)
    num = 5000
    photons = random.uniform(100, 10_000, num)
    bound = 1000 / np.sqrt(photons)
    bound[: num // 50] *= 100
    truth = {"frame": np.arange(num), **{f"{a}_nm": random.uniform(0, 9e5, num) for a in "xy"}, "photons": photons}
    error = 2 * np.minimum(bound, 100) * random.normal(size=num)
    seen = {**truth, "x_nm": truth["x_nm"] + error}
    bounds = Emitters.from_columns({**truth, "x_sig": bound})
    result = evaluate(Emitters.from_columns(truth), Emitters.from_columns(seen), bounds=bounds, lateral_nm=1000.0)
    (item,) = result.bounds
    assert item.bound_median == pytest.approx(np.median(1000 / np.sqrt(photons)), rel=0.05)
    assert item.ratio_median == pytest.approx(2, abs=4 * item.ratio_median_error + 0.08)
    assert item.ratio < 0.5  # the root mean square is dominated by the few
    medians = [part.bounds[0].bound_median for part in result.by_photons]
    assert medians == sorted(medians, reverse=True)
    lines = list(bound_lines(result))
    assert lines[0].startswith("error / bound")
    assert len(lines) == 2 + 2 + len(result.by_photons)
