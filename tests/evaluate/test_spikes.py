"""Matching of spikes among a user's own emitters, and scores with confidence intervals."""

import json
from typing import Any

import numpy as np
import pytest

from lls_decode.emitters import Emitters
from lls_decode.evaluate import (
    SpikeReport,
    SpikeRows,
    match_spikes,
    own_density,
    recall_interval,
    score_field,
    score_over,
    score_spikes,
)


def at(*x_nm: float, **columns: Any) -> Emitters:
    """Return emitters of frame 0 on a line."""
    return Emitters.from_columns({"frame": [0] * len(x_nm), "x_nm": x_nm, "y_nm": [0.0] * len(x_nm), **columns})


# spikes, localizations before and after; expected is_found, num_lost, num_other
MATCHES: dict[str, tuple[Emitters, Emitters, Emitters, list[bool], int, int]] = {
    "found": (at(0), at(), at(20), [True], 0, 0),
    "missed": (at(0), at(), at(), [False], 0, 0),
    "an own emitter is no spike": (at(0), at(100), at(100), [False], 0, 0),
    "both are found": (at(0), at(100), at(10, 95), [True], 0, 0),
    "one localization for two, nearer to the spike": (at(0), at(100), at(30), [True], 1, 0),
    "one localization for two, nearer to the own emitter": (at(0), at(100), at(70), [False], 0, 0),
    "an own emitter is lost": (at(0), at(5000), at(0), [True], 1, 0),
    "too far": (at(0), at(), at(300), [False], 0, 1),
    "two localizations for one spike": (at(0), at(), at(10, -20), [True], 0, 1),
    "another frame": (at(0), at(), Emitters.from_columns({"frame": [1], "x_nm": [0.0], "y_nm": [0.0]}), [False], 0, 1),
}


@pytest.mark.parametrize(("spikes", "before", "after", "found", "lost", "other"), MATCHES.values(), ids=MATCHES.keys())
def test_spikes_are_matched_among_own_emitters(
    spikes: Emitters, before: Emitters, after: Emitters, found: list[bool], lost: int, other: int
) -> None:
    matches = match_spikes(spikes, before, after)
    assert matches.is_found.tolist() == found
    assert (matches.num_lost, matches.num_other) == (lost, other)
    assert np.isfinite(matches.found.x_nm).tolist() == found


def test_found_rows_are_in_the_order_of_their_spikes() -> None:
    spikes = at(0.0, 1000.0, 2000.0, photons=[1.0, 2.0, 3.0], id=[7, 8, 9])
    matches = match_spikes(spikes, at(5000.0), at(5000.0, 2010.0, -5.0, photons=[9.0, 33.0, 11.0]))
    assert matches.found.photons.tolist() == pytest.approx([11.0, np.nan, 33.0], nan_ok=True)
    assert matches.found.id.tolist() == [7, 8, 9]


def test_independent_emitters_have_the_wilson_interval() -> None:
    """The values for 81 of 263 are a textbook example of Wilson's interval (1927)."""
    found = np.arange(263) < 81
    share, low, high = recall_interval(found, np.arange(263))
    assert share == pytest.approx(81 / 263)
    assert (low, high) == pytest.approx((0.2553, 0.3662), abs=3e-4)
    assert recall_interval(np.array([], dtype=bool), np.array([], dtype=np.int64)) == pytest.approx(
        (np.nan,) * 3, nan_ok=True
    )


@pytest.mark.parametrize("weighted", [False, True], ids=["equal weights", "weighted"])
def test_the_interval_covers_the_truth_for_correlated_rows(weighted: bool) -> None:
    """Rows of a molecule are mostly found or missed together, so that an interval for single rows is too narrow."""
    random = np.random.default_rng(0)
    inside, rows_inside, trials = 0, 0, 400
    for _ in range(trials):
        molecule = np.repeat(np.arange(80), random.integers(1, 13, 80))
        whole = random.random(80)[molecule] < 0.7
        is_found = np.where(random.random(len(molecule)) < 0.1, random.random(len(molecule)) < 0.7, whole)
        weight = random.exponential(1.0, 80)[molecule] if weighted else None
        _, low, high = recall_interval(is_found, molecule, weight)
        inside += low <= 0.7 <= high
        _, low, high = recall_interval(is_found, np.arange(len(molecule)), weight)
        rows_inside += low <= 0.7 <= high
    assert 0.89 <= inside / trials <= 0.985  # weights leave about 25 independent molecules
    assert rows_inside / trials < 0.85


def test_the_interval_is_not_empty_when_all_are_found() -> None:
    one = recall_interval(np.ones(20, dtype=bool), np.zeros(20, dtype=np.int64))
    many = recall_interval(np.ones(20, dtype=bool), np.arange(20))
    assert one[1] == pytest.approx(1 / (1 + 1.959964**2))  # 20 rows of one molecule count as one
    assert many[1] == pytest.approx(20 / (20 + 1.959964**2))


def rows_of(count: int = 6000, *, seed: int = 0, ghosts: bool = True) -> SpikeRows:
    """Return rows with errors of 10, 12 and 30 nm and sigmas of 10 nm; ``ghosts`` leaves half of the field unfound."""
    random = np.random.default_rng(seed)
    spikes = Emitters.from_columns(
        {
            "frame": np.arange(count) // 10,
            "id": np.arange(count) // 2,
            **{name: random.uniform(0, 8000, count) for name in ("x_nm", "y_nm")},
            "z_nm": random.uniform(-500, 500, count),
            "photons": random.uniform(100, 1000, count),
            "bg": random.uniform(1, 10, count),
        }
    )
    is_found = spikes.x_nm < 4000 if ghosts else np.ones(count, dtype=bool)
    errors = {"x_nm": 10.0 * random.normal(size=count), "y_nm": 5 + 12.0 * random.normal(size=count)}
    errors |= {"z_nm": 30.0 * random.normal(size=count), "photons": 0.1 * spikes.photons}
    columns = {name: np.where(is_found, getattr(spikes, name) + error, np.nan) for name, error in errors.items()}
    columns |= {name: np.where(is_found, 10.0, np.nan) for name in ("x_sig", "y_sig", "z_sig", "phot_sig")}
    found = Emitters.from_columns({"frame": spikes.frame, "id": spikes.id, **columns})
    bound = {"x": np.full(count, 5.0), "y": np.full(count, 12.0), "z": np.full(count, np.nan)}
    return SpikeRows(spikes, found, is_found, bound)


def test_scores_agree_with_known_errors() -> None:
    score = score_spikes(rows_of())
    assert (score.num_spikes, score.num_molecules) == (6000, 3000)
    assert score.recall == score.num_found / 6000 == pytest.approx(0.5, abs=0.03)
    assert (score.rmse_x_nm, score.rmse_y_nm) == pytest.approx((10.0, 13.0), rel=0.04)
    assert score.rmse_x_se_nm == pytest.approx(10.0 / np.sqrt(2 * score.num_found), rel=0.05)
    assert (score.bias_x_nm, score.bias_y_nm) == pytest.approx((0.0, 5.0), abs=1.0)
    assert (score.zscore_x, score.zscore_y, score.zscore_z) == pytest.approx((1.0, 1.2, 3.0), rel=0.04)
    assert score.photon_ratio == pytest.approx(1.1)
    assert (score.bound_x_nm, score.over_bound_x) == pytest.approx((5.0, 2.0), rel=0.04)
    assert np.isnan([score.bound_z_nm, score.over_bound_z]).all()


def test_zero_weights_act_like_selecting_rows() -> None:
    rows = rows_of()
    some = rows.spikes.z_nm > 0
    one, other = score_spikes(rows, some.astype(float)), score_spikes(rows.select(some))
    for name in ("recall", "recall_low", "rmse_x_nm", "rmse_x_se_nm", "bias_y_nm", "zscore_z", "over_bound_y"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=2e-3), name
    assert one.photon_ratio == pytest.approx(other.photon_ratio)


def test_bins_and_cells_contain_every_spike_once() -> None:
    rows = rows_of()
    for values, limits in ((rows.spikes.photons, None), (rows.spikes.z_nm, (-500.0, 500.0))):
        bins = score_over(rows, values, limits=limits)
        assert len(bins) == 8
        assert sum(part.score.num_spikes for part in bins) == 6000
        for part in bins:
            assert part.score.num_spikes == ((values >= part.low) & (values < part.high)).sum() + (
                values == part.high
            ).sum() * (part is bins[-1])
            assert part.score.num_spikes == pytest.approx(750, rel=0.15)
    field = score_field(rows, extent_x_nm=(0.0, 8000.0), extent_y_nm=(0.0, 8000.0))
    assert sum(cell.num_spikes for line in field.cells for cell in line) == 6000
    recall = np.array([[cell.recall for cell in line] for line in field.cells])
    assert (recall[:, : len(field.x_nm) // 2] == 1).all()  # the second axis of cells is x
    assert (recall[:, -(len(field.x_nm) // 2) + 1 :] == 0).all()


def test_a_report_is_valid_json() -> None:
    rows = rows_of(40)
    field = score_field(rows, extent_x_nm=(0.0, 8000.0), extent_y_nm=(0.0, 8000.0))
    over = {"photons": score_over(rows, rows.spikes.photons)}
    report = SpikeReport(score_spikes(rows), None, over, field, 1, 2, 3, 0, {"seed": 0})
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert json.loads(text)["total"]["bound_z_nm"] is None


@pytest.mark.parametrize("planes", [1, 4])
def test_own_density_excludes_the_frames_of_the_spikes(planes: int) -> None:
    """The density of 10 per square micrometre is found without using frames of the spikes and adjacent ones."""
    random = np.random.default_rng(0)
    volumes, apart = 60, 2
    frame = np.repeat(np.arange(volumes * planes), 1000)
    own = Emitters.from_columns(
        {"frame": frame, **{name: random.uniform(0, 10_000, len(frame)) for name in ("x_nm", "y_nm")}}
    )
    at_volume = np.array([30, 0, 59])
    spikes = Emitters.from_columns(
        {"frame": at_volume * planes + planes - 1, "x_nm": [5000.0, 3000.0, 6000.0], "y_nm": [5000.0, 5000.0, 2000.0]}
    )
    sampled = np.arange(volumes * planes)
    found = own_density(spikes, own, sampled, planes_per_volume=planes, apart=apart)
    np.testing.assert_allclose(found, 10.0, rtol=0.25)
    near = np.isin(own.frame // planes, [28, 29, 30, 31, 32]) | (own.frame % planes != planes - 1)
    again = own_density(spikes.select(np.array([0])), own.select(~near), sampled, planes_per_volume=planes, apart=apart)
    assert again[0] == found[0]
    alone = own_density(spikes, own, spikes.frame[:1], planes_per_volume=planes, apart=apart)
    assert np.isnan(alone[0])
