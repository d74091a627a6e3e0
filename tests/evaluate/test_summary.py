"""Statistics accumulated over pieces agree with numpy's statistics of the whole, in constant memory."""

import numpy as np
import pytest

from lls_decode.evaluate import TableSummary
from lls_decode.evaluate.counts import FieldCounts, FoldedCounts, ValueCounts

RNG = np.random.default_rng(7)
VALUES = {
    "photons over decades": RNG.lognormal(7, 1.5, 20_000),
    "depth of both signs": RNG.normal(-40, 300, 20_000),
    "negative only": -RNG.exponential(5, 20_000),
    "a single value": np.full(1000, 0.7),
    "around zero and zero": np.concatenate([RNG.normal(0, 1e-3, 5000), np.zeros(101)]),
}


def pieces(values: np.ndarray) -> list[np.ndarray]:
    return np.array_split(values.astype(np.float32), 7)


@pytest.mark.parametrize("values", VALUES.values(), ids=list(VALUES))
def test_quantiles_and_mean_agree_with_numpy(values: np.ndarray) -> None:
    counts = ValueCounts()
    for piece in pieces(values):
        counts.add(piece)
    values = values.astype(np.float32)
    assert (counts.num, counts.low, counts.high) == (len(values), values.min(), values.max())
    assert counts.mean == pytest.approx(values.mean(dtype=np.float64), rel=1e-6, abs=1e-9)
    for share in (0.0, 0.05, 0.5, 0.95, 1.0):
        low, high = np.quantile(values, [max(share - 1e-3, 0), min(share + 1e-3, 1)])
        slack = 0.002 * max(abs(low), abs(high)) + 1e-9
        assert low - slack <= counts.quantile(share) <= high + slack


@pytest.mark.parametrize("values", [VALUES["photons over decades"], VALUES["depth of both signs"]])
def test_histograms_agree_with_numpy(values: np.ndarray) -> None:
    counts = ValueCounts()
    counts.add(values)
    edges = np.linspace(np.quantile(values, 0.02), np.quantile(values, 0.9), 41)
    expected, _ = np.histogram(values.astype(np.float32), edges)
    found = counts.histogram(edges)
    # values are assumed uniform within internal bins, which misplaces a few of those within 0.2 % of an edge
    np.testing.assert_allclose(found, expected, atol=5 * np.sqrt(expected.max()) * 0.5)
    assert found.sum() == pytest.approx(expected.sum(), rel=0.005)
    assert counts.histogram([counts.low - 1, counts.high + 1]).sum() == pytest.approx(len(values))


def test_unknown_values_are_counted_separately() -> None:
    counts = ValueCounts()
    assert np.isnan(counts.mean)
    assert np.isnan(counts.quantile(0.5))
    assert counts.histogram([0, 1, 2]).tolist() == [0, 0]
    counts.add(np.array([np.nan, 2.0, np.inf, 4.0, -np.inf]))
    assert (counts.num, counts.num_unknown, counts.low, counts.high, counts.mean) == (2, 3, 2, 4, 3)


@pytest.mark.parametrize("last", [5, 15, 16, 17, 1000])
def test_long_axes_are_counted_in_wider_bins(last: int) -> None:
    numbers = RNG.integers(0, last + 1, 4000)
    numbers[-1] = last
    counts = FoldedCounts(16)
    for piece in np.array_split(numbers, 5):
        counts.add(piece)
    assert counts.width == 2 ** max(0, int(np.ceil(np.log2((last + 1) / 16))))
    expected = np.bincount(numbers // counts.width)
    assert counts.counts.tolist() == expected.tolist()


def test_bins_of_the_field_are_whole_pixels() -> None:
    field = FieldCounts(300, 10, most_bins=100)
    assert field.bin_px == 3
    assert field.counts.shape == (100, 4)
    field.add(np.array([0, 2, 3, 9, -1, 12]), np.array([0, 2, 0, 299, 0, 0]))
    assert (field.counts[0, 0], field.counts[0, 1], field.counts[99, 3], field.counts.sum()) == (2, 1, 1, 4)


def test_the_summary_of_a_table_agrees_with_numpy() -> None:
    planes = 5
    rows = {
        "frame": RNG.integers(7, 93, 3000).astype(np.uint32),
        "photons": RNG.exponential(1000, 3000).astype(np.float32),
        "prob": RNG.uniform(0.5, 1.2, 3000).astype(np.float32),
        "group": RNG.integers(-1, 4, 3000),
        "anything": np.zeros(3000),
    }
    found = TableSummary(tuple(rows), planes)
    for start in range(0, 3000, 700):
        found.add({name: values[start : start + 700] for name, values in rows.items()})
    frame = rows["frame"].astype(int)
    assert set(found.columns) == {"photons", "prob"}
    assert (found.rows, found.first_frame, found.last_frame) == (3000, frame.min(), frame.max())
    assert found.volumes == (frame.min() // planes, frame.max() // planes)
    assert found.planes == (0, planes - 1)
    assert found.by_plane.tolist() == np.bincount(frame % planes).tolist()
    assert found.by_volume.counts.tolist() == np.bincount(frame // planes).tolist()
    assert found.num_grouped == (rows["group"] >= 0).sum()
    assert found.sum_prob == pytest.approx(np.minimum(rows["prob"], 1).sum(dtype=float))


def test_the_summary_of_an_empty_table_is_empty() -> None:
    found = TableSummary(("frame", "photons"), 3)
    found.add({"frame": np.array([], np.uint32), "photons": np.array([], np.float32)})
    assert (found.rows, found.volumes, found.planes) == (0, None, None)
