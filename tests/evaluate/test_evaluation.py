"""Complete evaluations: scores in bins, ratios to the bound, JSON and report pictures."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from lls_decode.config import PixelSize
from lls_decode.emitters import Emitters
from lls_decode.errors import ConfigError
from lls_decode.evaluate import evaluate, fourier_correlation, score
from lls_decode.evaluate.report import write_curve, write_report

PIXEL = PixelSize(x_nm=100.0, y_nm=100.0)
NUM = 6000


def tables(*, factor: float = 1.0, with_z: bool = True) -> tuple[Emitters, Emitters, Emitters]:
    """Return truth, localizations with ``factor`` times the bound as error, and bounds; 1 of 6 is missed, 1 false."""
    random = np.random.default_rng(0)
    x, y = random.uniform(0, 20_000, (2, NUM))
    z, photons = random.uniform(-400, 400, NUM), random.uniform(500, 3000, NUM)
    at = {"frame": np.arange(NUM), "id": np.arange(NUM) // 3}
    columns = {**at, "x_nm": x, "y_nm": y, "photons": photons} | ({"z_nm": z} if with_z else {})
    lateral = (10 + np.abs(z) / 20) * np.sqrt(1000 / photons)
    bound = {"x_sig": lateral, "y_sig": 1.5 * lateral, "z_sig": 2 * lateral, "phot_sig": 2 * np.sqrt(photons)}
    noise = {name: factor * sigma * random.normal(size=NUM) for name, sigma in bound.items()}
    seen = {
        **columns,
        "x_nm": x + noise["x_sig"],
        "y_nm": y + noise["y_sig"],
        "photons": photons + noise["phot_sig"],
        **({"z_nm": z + noise["z_sig"]} if with_z else {}),
        **{name: factor * sigma for name, sigma in bound.items()},
        "prob": random.uniform(0.5, 1, NUM),
    }
    found = Emitters.from_columns(seen)
    kind = np.arange(NUM) % 6
    false = Emitters.from_columns(
        {name: values for name, values in seen.items() if name != "frame"} | {"frame": at["frame"] + NUM}
    )
    parts = [found.select(kind != 0), false.select(kind == 1)]
    joined = Emitters(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(found)})
    truth = Emitters.from_columns(columns)
    return truth, joined, Emitters.from_columns({**columns, **bound})


@pytest.mark.parametrize("factor", [1.0, 1.7])
def test_the_ratio_to_the_bound_is_right_overall_and_in_each_bin(factor: float) -> None:
    truth, found, bounds = tables(factor=factor)
    result = evaluate(truth, found, bounds=bounds)
    assert [item.quantity for item in result.bounds] == ["x", "y", "z", "photons"]
    for item in result.bounds:
        assert item.num == 5000
        assert item.ratio == pytest.approx(factor, rel=0.03)
    assert len(result.by_z) == 8
    for part in (*result.by_z, *result.by_photons):
        assert [bound.ratio for bound in part.bounds] == pytest.approx([factor] * 4, rel=0.15)
        assert sum(bound.num for bound in part.bounds) == 4 * round(part.num_truth * part.recall)
    # the bound grows with depth, and so do the bounds of the bins
    x = [next(bound.bound for bound in part.bounds if bound.quantity == "x") for part in result.by_z]
    assert x[0] > 1.4 * x[3]
    assert x[7] > 1.4 * x[4]


def test_bounds_belong_to_the_matched_rows() -> None:
    truth, found, bounds = tables()
    order = np.random.default_rng(1).permutation(NUM)
    shuffled = evaluate(truth.select(order), found, bounds=bounds.select(order), photons_min=1000)
    plain = evaluate(truth, found, bounds=bounds, photons_min=1000)
    assert [item.bound for item in shuffled.bounds] == pytest.approx([item.bound for item in plain.bounds])
    assert plain.bounds[0].num < 4500


def test_infinite_and_unknown_bounds_are_excluded() -> None:
    truth, found, bounds = tables()
    x_sig = np.where(np.arange(NUM) % 6 == 2, np.inf, bounds.x_sig)
    changed = Emitters(**{**vars(bounds), "x_sig": x_sig, "z_sig": np.full(NUM, np.nan)})
    result = evaluate(truth, found, bounds=changed)
    assert {item.quantity: item.num for item in result.bounds} == {"x": 4000, "y": 5000, "photons": 5000}


def test_bins_add_up_to_the_whole() -> None:
    truth, found, _ = tables()
    result = evaluate(truth, found)
    whole = score(truth, found)
    for bins in (result.by_z, result.by_photons):
        assert sum(part.num_truth for part in bins) == whole.num_truth == NUM
        # errors may move false detections out of the bins
        assert 0 <= whole.num_found - sum(part.num_found for part in bins) < 60
        for part in bins:
            assert part.recall == pytest.approx(5 / 6, abs=0.08)
            assert part.precision == pytest.approx(5 / 6, abs=0.08)
        assert all(one.high == other.low for one, other in pairwise(bins))
    assert result.by_z[0].low == -400
    assert result.by_z[-1].high == 400
    assert np.ptp([part.num_truth for part in result.by_photons]) <= 1
    assert result.score == whole


@pytest.mark.parametrize(
    ("z", "edges"),
    [
        pytest.param([0.0, 0.0], [0, 100], id="one depth"),
        pytest.param([-100.0, 100.0], [-100, 0, 100, 200], id="an end on an edge"),
        pytest.param([-1500.0, 1500.0], list(range(-1500, 1751, 250)), id="at most about a dozen bins"),
    ],
)
def test_bins_of_depth_have_round_edges(z: list[float], edges: list[float]) -> None:
    truth = Emitters.from_columns({"frame": [0, 1], "x_nm": [0, 0], "y_nm": [0, 0], "z_nm": z})
    result = evaluate(truth, truth)
    assert [part.low for part in result.by_z] + [result.by_z[-1].high] == edges
    assert sum(part.num_truth for part in result.by_z) == 2
    assert result.by_photons == ()


def test_the_evaluation_is_valid_json_with_the_score_at_top_level() -> None:
    truth, found, bounds = tables()
    result = evaluate(truth, found, bounds=bounds, pixel=PIXEL)
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert values["jaccard"] == result.score.jaccard
    assert values["bounds"][0]["ratio"] == result.bounds[0].ratio
    assert values["sigmas"][0]["curve"]["num"] == list(result.sigmas[0].curve.num)
    assert {bias["axis"] for bias in values["subpixel"]} == {"x", "y"}
    assert values["sigmas"][-1]["zscore"] is None  # undefined for positions


def test_bounds_of_another_truth_are_refused() -> None:
    truth, found, bounds = tables()
    with pytest.raises(ConfigError, match=r"Bounds were given for 5 emitters, but the truth has 6000"):
        evaluate(truth, found, bounds=bounds.select(np.arange(5)))


@pytest.mark.parametrize("kind", ["all", "2-D", "nothing found", "no sigmas"])
def test_a_report_is_drawn_from_any_available_results(tmp_path, kind: str) -> None:
    from matplotlib.image import imread

    truth, found, bounds = tables(with_z=kind != "2-D")
    if kind == "nothing found":
        found = found.select(np.zeros(len(found), dtype=bool))
    if kind == "no sigmas":
        found = Emitters.from_columns({name: getattr(found, name) for name in ("frame", "x_nm", "y_nm")})
    full = kind == "all"
    result = evaluate(truth, found, bounds=bounds if full else None, pixel=PIXEL if full else None)
    write_report(tmp_path / "report.png", result, title="a table")
    picture = imread(tmp_path / "report.png")
    assert picture.shape[0] > 1000
    assert picture[..., :3].std() > 0.05


def test_a_correlation_curve_is_drawn(tmp_path) -> None:
    random = np.random.default_rng(2)
    site = random.uniform(0, 1000, (500, 2))
    pieces = [
        {"frame": np.full(500, frame), "x_nm": x, "y_nm": y}
        for frame in range(2)
        for x, y in [(site + random.normal(0, 10, site.shape)).T]
    ]
    curve = fourier_correlation(lambda: pieces, pixel_nm=5.0, blocks=2)
    assert math.isfinite(curve.resolution_nm)
    write_curve(tmp_path / "curve.png", curve, title="a table")
    assert (tmp_path / "curve.png").stat().st_size > 5000
    json.dumps(curve.to_dict(), allow_nan=False)
