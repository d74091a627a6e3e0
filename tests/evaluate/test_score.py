"""Scores of small tables agree with values worked out by hand."""

import json
import math

import numpy as np
import pytest

from lls_decode.emitters import Emitters
from lls_decode.errors import ConfigError
from lls_decode.evaluate import compare, score

TRUTH = Emitters.from_columns(
    {
        "frame": [0, 0, 1, 2],
        "x_nm": [1000.0, 3000.0, 1000.0, 2000.0],
        "y_nm": [1000.0, 3000.0, 2000.0, 2000.0],
        "z_nm": [0.0, 100.0, -600.0, 0.0],
        "photons": [1000.0, 500.0, 800.0, 20.0],
    }
)
FOUND = Emitters.from_columns(
    {
        "frame": [0, 0, 1, 2, 2],
        "x_nm": [1030.0, 2960.0, 1000.0, 2000.0, 90.0],
        "y_nm": [1000.0, 3000.0, 2000.0, 2010.0, 500.0],
        "z_nm": [40.0, 100.0, -600.0, 0.0, 0.0],
        "photons": [1100.0, 500.0, 720.0, 60.0, 300.0],
        "x_sig": [30.0, 20.0, 10.0, 10.0, 10.0],
        "y_sig": [10.0, 10.0, 10.0, 10.0, 10.0],
        "z_sig": [20.0, 20.0, 20.0, 20.0, 20.0],
        "phot_sig": [100.0, 50.0, 80.0, 40.0, 10.0],
    }
)


def test_scores_of_a_small_example_are_right() -> None:
    s = score(TRUTH, FOUND)
    assert (s.num_truth, s.num_found) == (4, 5)
    assert (s.true_positives, s.false_positives, s.false_negatives) == (4, 1, 0)
    assert (s.precision, s.recall, s.jaccard) == (0.8, 1.0, 0.8)
    # dx = 30, -40, 0, 0; dy = 0, 0, 0, 10; dz = 40, 0, 0, 0
    assert s.rmse_x_nm == pytest.approx(25.0)
    assert s.rmse_y_nm == pytest.approx(5.0)
    assert s.rmse_lateral_nm == pytest.approx(math.sqrt((900 + 1600 + 100) / 8))
    assert s.rmse_axial_nm == pytest.approx(20.0)
    assert s.rmse_volume_nm == pytest.approx(math.sqrt((900 + 1600 + 100 + 1600) / 12))
    assert (s.bias_x_nm, s.bias_y_nm, s.bias_z_nm) == (-2.5, 2.5, 10.0)
    lateral = 1 - math.sqrt(0.2**2 + 0.01**2 * 2 * s.rmse_lateral_nm**2)
    axial = 1 - math.sqrt(0.2**2 + 0.005**2 * 20.0**2)
    assert s.efficiency == pytest.approx((lateral + axial) / 2)
    assert s.zscore_x == pytest.approx(np.std([1.0, -2.0, 0.0, 0.0]))
    assert s.zscore_y == pytest.approx(np.std([0.0, 0.0, 0.0, 1.0]))
    assert s.zscore_photons == pytest.approx(np.std([1.0, 0.0, -1.0, 1.0]))
    assert s.photon_ratio == pytest.approx(np.median([1.1, 1.0, 0.9, 3.0]))


@pytest.mark.parametrize(
    ("options", "tp", "fp", "fn"),
    [
        pytest.param({"photons_min": 50.0}, 3, 1, 0, id="a detection of a dim emitter is neither true nor false"),
        pytest.param(
            {"z_range_nm": (-500.0, 500.0)},
            3,
            1,
            0,
            id="a detection of an emitter out of focus is neither true nor false",
        ),
        pytest.param({"border_nm": 100.0, "field_nm": (6400.0, 6400.0)}, 4, 0, 0, id="false detection in the border"),
        pytest.param({"border_nm": 500.0, "field_nm": (3400.0, 6400.0)}, 3, 0, 0, id="emitter in the border of x"),
        pytest.param({"border_nm": 500.0, "field_nm": (6400.0, 3400.0)}, 3, 0, 0, id="emitter in the border of y"),
        pytest.param({"lateral_nm": 35.0}, 3, 2, 1, id="narrow cylinder"),
    ],
)
@pytest.mark.parametrize("method", ["greedy", "hungarian"])
def test_excluded_emitters_and_detections_do_not_count(options: dict, tp: int, fp: int, fn: int, method: str) -> None:
    s = score(TRUTH, FOUND, method=method, **options)
    assert (s.true_positives, s.false_positives, s.false_negatives) == (tp, fp, fn)


def test_an_excluded_emitter_keeps_its_detection_from_its_neighbour() -> None:
    # matching considers all emitters first: the detection belongs to the dim emitter, so the bright one is missed
    truth = Emitters.from_columns({"frame": [0, 0], "x_nm": [0, 100], "y_nm": [0, 0], "photons": [10, 1000]})
    found = Emitters.from_columns({"frame": [0], "x_nm": [20], "y_nm": [0]})
    s = score(truth, found, photons_min=50)
    assert (s.true_positives, s.false_positives, s.false_negatives) == (0, 0, 1)


def test_hungarian_matching_may_give_the_detection_of_an_excluded_emitter_to_another() -> None:
    # dim at 0, bright at 290; found at -240 and 60: greedy pairs dim with 60, and the others are 530 nm apart
    truth = Emitters.from_columns({"frame": [0, 0], "x_nm": [0, 290], "y_nm": [0, 0], "photons": [10, 1000]})
    found = Emitters.from_columns({"frame": [0, 0], "x_nm": [-240, 60], "y_nm": [0, 0]})
    greedy = score(truth, found, photons_min=50)
    assert (greedy.true_positives, greedy.false_positives, greedy.false_negatives) == (0, 1, 1)
    # hungarian makes two pairs: 60 goes to the bright emitter, -240 to the dim one and hence does not count
    hungarian = score(truth, found, photons_min=50, method="hungarian")
    assert (hungarian.true_positives, hungarian.false_positives, hungarian.false_negatives) == (1, 0, 0)


def test_comparison_holds_the_rows_that_count() -> None:
    rows = compare(TRUTH, FOUND, photons_min=50.0, lateral_nm=35.0)
    assert rows.true.x_nm.tolist() == [1000.0, 1000.0]
    assert rows.seen.x_nm.tolist() == [1030.0, 1000.0]
    assert rows.true_rows.tolist() == [0, 2]
    assert rows.missed.x_nm.tolist() == [3000.0]
    assert rows.spurious.x_nm.tolist() == [2960.0, 90.0]


def test_perfect_table_has_efficiency_one() -> None:
    s = score(TRUTH, TRUTH)
    assert (s.jaccard, s.efficiency, s.rmse_volume_nm) == (1.0, 1.0, 0.0)


def test_two_dimensions_have_the_lateral_efficiency_only() -> None:
    truth = Emitters.from_columns({"frame": [0], "x_nm": [0], "y_nm": [0]})
    found = Emitters.from_columns({"frame": [0], "x_nm": [30], "y_nm": [40], "z_nm": [0]})
    s = score(truth, found)
    assert s.rmse_lateral_nm == pytest.approx(math.sqrt(1250))
    assert s.efficiency == pytest.approx(1 - 0.5)
    assert math.isnan(s.efficiency_axial)
    assert math.isnan(s.rmse_volume_nm)


def test_zscores_give_the_ratio_of_error_and_sigma() -> None:
    random = np.random.default_rng(0)
    n = 20_000
    sigma = random.uniform(5, 30, n)
    columns = {"frame": np.arange(n), "y_nm": np.zeros(n), "z_nm": np.zeros(n), "photons": np.full(n, 1000.0)}
    truth = Emitters.from_columns({**columns, "x_nm": np.zeros(n)})
    found = Emitters.from_columns({**columns, "x_nm": random.normal(0, 2 * sigma), "x_sig": sigma})
    assert score(truth, found, lateral_nm=1e4).zscore_x == pytest.approx(2.0, abs=0.05)


NOTHING = TRUTH.select(np.zeros(4, dtype=bool))


@pytest.mark.parametrize(
    ("truth", "found", "counts", "efficiency"),
    [
        pytest.param(NOTHING, NOTHING, (0, 0, 0), None, id="nothing to find, nothing found"),
        pytest.param(TRUTH, NOTHING, (0, 0, 4), 0.0, id="nothing found"),
        pytest.param(NOTHING, FOUND, (0, 5, 0), 0.0, id="all detections false"),
    ],
)
def test_scores_of_empty_tables_are_defined(
    truth: Emitters, found: Emitters, counts: tuple[int, int, int], efficiency: float | None
) -> None:
    s = score(truth, found)
    assert (s.true_positives, s.false_positives, s.false_negatives) == counts
    values = json.loads(json.dumps(s.to_dict(), allow_nan=False))
    assert values["efficiency"] == efficiency
    assert values["rmse_lateral_nm"] is None


def test_border_needs_the_field() -> None:
    with pytest.raises(ConfigError, match="give field_nm"):
        score(TRUTH, FOUND, border_nm=100)
