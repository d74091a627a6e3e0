"""Sigmas of molecules account for errors that are correlated between neighbouring frames."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lls_decode.errors import ConfigError
from lls_decode.molecules import Gate, link
from lls_decode.molecules.correlation import correlation_of

from .conftest import STAGE, WriteRows

SERIES = {"x": [0.7, 0.4, 0.1], "y": [0.5], "z": [0.6, 0.2]}


def model(along: str) -> dict[str, Any]:
    """Return a model's metadata with the given correlation of errors."""
    return {"scaling": {"calibration": {"correlation": {"along": along, **SERIES}}}}


def correlated(along: str, num: int = 1500, length: int = 6) -> tuple[dict[str, Any], np.ndarray]:
    """Return rows and true positions of isolated molecules in ``length`` frames, with errors correlated as in `SERIES`.

    Every second molecule lacks a localization in one frame.
    """
    random = np.random.default_rng(3)
    side = int(np.ceil(np.sqrt(num)))
    truth = np.stack([np.arange(num) % side * 2000.0, np.arange(num) // side * 2000.0, np.zeros(num)])
    apart = np.abs(np.subtract.outer(np.arange(length), np.arange(length)))
    columns: dict[str, Any] = {"frame": np.tile(np.arange(length), num)}
    molecule = np.repeat(np.arange(num), length)
    for row, axis in zip(truth, "xyz", strict=True):
        rho = np.array([1.0, *SERIES[axis], *[0.0] * length])[apart]
        error = random.multivariate_normal(np.zeros(length), rho, num).ravel()
        columns[f"{axis}_sig"] = random.uniform(10, 30, num * length)
        columns[f"{axis}_nm"] = row[molecule] + error * columns[f"{axis}_sig"]
    if along == "plane":
        columns["x_nm"] = columns["x_nm"] - columns["frame"] * STAGE.lateral_step_nm
        columns["z_nm"] = columns["z_nm"] - columns["frame"] * STAGE.axial_step_nm
    missed = (columns["frame"] == random.integers(1, length - 1, num)[molecule]) & (molecule % 2 == 0)
    order = np.lexsort((columns["x_nm"], columns["y_nm"], columns["frame"]))
    order = order[~missed[order]]
    return {name: values[order] for name, values in columns.items()}, truth


def linked(write_rows: WriteRows, along: str, **about: Any) -> tuple[pd.DataFrame, np.ndarray]:
    columns, truth = correlated(along)
    planes, geometry = (6, STAGE) if along == "plane" else (1, None)
    path = write_rows(columns, planes=planes, geometry=geometry, **about)
    made = link(path, gate=Gate(sigmas=8), volume_gap=None, batch_rows=777)
    found = pd.read_parquet(made.molecules)
    assert len(found) == truth.shape[1]
    place = np.round(found[["x_nm", "y_nm"]].to_numpy() / 2000).astype(int)
    return found, truth[:, place[:, 1] * int(np.ceil(np.sqrt(truth.shape[1]))) + place[:, 0]]


@pytest.mark.parametrize("along", ["time", "plane"])
def test_sigmas_of_molecules_match_their_errors(write_rows: WriteRows, along: str) -> None:
    found, truth = linked(write_rows, along, model=model(along))
    for row, axis in zip(truth, "xyz", strict=True):
        ratio = (found[f"{axis}_nm"] - row) / found[f"{axis}_sig"]
        assert ratio.std() == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("along", ["time", "plane"])
def test_variances_are_double_sums_over_pairs_of_localizations(write_rows: WriteRows, along: str) -> None:
    """Variances equal the double sum over all pairs, whatever the size of batches."""
    columns, _ = correlated(along)
    planes, geometry = (6, STAGE) if along == "plane" else (1, None)
    path = write_rows(columns, planes=planes, geometry=geometry, model=model(along))
    made = link(path, gate=Gate(sigmas=8), volume_gap=None, batch_rows=500)
    rows, found = pd.read_parquet(made.localizations), pd.read_parquet(made.molecules).set_index("group")
    for number in (0, 1, 2, 1001):
        own = rows[rows.group == number]
        apart = np.abs(np.subtract.outer(own.frame.to_numpy().astype(int), own.frame.to_numpy().astype(int)))
        for axis in "xyz":
            rho = np.array([1.0, *SERIES[axis], *[0.0] * 6])[apart]
            inverse = 1 / own[f"{axis}_sig"].to_numpy().astype(float)
            wanted = np.sqrt(inverse @ rho @ inverse) / (inverse**2).sum()
            assert found.loc[number, f"{axis}_sig"] == pytest.approx(wanted, rel=1e-5)


def test_without_a_matching_correlation_sigmas_are_independent(write_rows: WriteRows) -> None:
    """This holds for tables of other programs, of older models, and of models with correlation along another axis."""
    tables = [
        linked(write_rows, "time", model=about)[0] for about in ({}, {"scaling": {"calibration": None}}, model("plane"))
    ]
    for one, other in pairwise(tables):
        pd.testing.assert_frame_equal(one, other)
    independent = tables[0]
    alike, _ = linked(write_rows, "time", model=model("time"))
    assert (alike.x_sig[alike.num_frames > 1] > 1.2 * independent.x_sig[alike.num_frames > 1]).all()
    pd.testing.assert_series_equal(alike.x_nm, independent.x_nm)


def test_a_damaged_record_is_refused() -> None:
    damaged = model("time")
    damaged["scaling"]["calibration"]["correlation"]["x"] = "much"
    with pytest.raises(ConfigError, match="the model in the metadata"):
        correlation_of(damaged, "time")
