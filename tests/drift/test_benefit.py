"""Whether a correction helps is judged by rows that were not used to estimate it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lls_decode.drift import correct_drift, correct_table, estimate_drift
from lls_decode.drift.benefit.judging import judge_drift
from lls_decode.drift.curve.curve import make_curve
from lls_decode.errors import TableError
from lls_decode.table import read_metadata

from .conftest import Made, walking_bead, wandering, write_movie

FRAMES = 200


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return write_movie(tmp_path_factory.mktemp("moved") / "t.parquet", 6000, wandering(FRAMES), flat=True)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return write_movie(tmp_path_factory.mktemp("still") / "t.parquet", 6000, np.zeros((FRAMES, 3)), flat=True)


@pytest.mark.parametrize("method", ["given", "rcc"])
def test_removing_the_true_drift_helps(method: str, moved: Made) -> None:
    curve = make_curve(0, moved.drift_V3, np.ones((FRAMES, 3)), coords="raw", method=method, details={})
    found = judge_drift(moved.path, curve)
    assert found.verdict == "better"
    assert found.gain is not None
    assert found.gain > 1.5
    assert found.resolution_after_nm is not None
    assert found.resolution_before_nm is None or found.resolution_before_nm > found.resolution_after_nm
    assert "it helps" in found.words()


def test_correcting_a_table_at_rest_makes_it_worse(still: Made) -> None:
    wrong = make_curve(0, wandering(FRAMES), np.ones((FRAMES, 3)), coords="raw", method="given", details={})
    found = judge_drift(still.path, wrong)
    assert found.verdict == "worse"
    assert found.gain is not None
    assert found.gain < 0.8
    assert "worse" in found.words()


def test_correcting_negligible_drift_is_no_gain(still: Made) -> None:
    """The drift of one half of the rows is judged by the other half."""
    found = judge_drift(still.path, replace(estimate_drift(still.path)))
    assert found.verdict in ("no difference", "worse")


def test_too_few_rows_give_no_verdict(tmp_path: Path) -> None:
    few = write_movie(tmp_path / "t.parquet", 20, np.zeros((20, 3)))
    flat = make_curve(0, np.zeros((20, 3)), np.ones((20, 3)), coords="raw", method="given", details={})
    assert judge_drift(few.path, flat).verdict == "not told"


def test_a_correction_that_makes_the_table_worse_is_written_by_force_only(tmp_path: Path) -> None:
    """A single moving bead among molecules at rest gives a drift that does not apply to the molecules."""
    made = walking_bead(tmp_path / "t.parquet")
    out = tmp_path / "out.parquet"
    with pytest.raises(TableError, match=r"makes the table worse.*--force"):
        correct_drift(made, out=out, method="fiducials", fiducials=[(-20_000.0, -20_000.0)], radius_nm=2000.0)
    assert not out.exists()
    assert (tmp_path / "t_drift.parquet").exists()
    done = correct_drift(
        made, out=out, method="fiducials", fiducials=[(-20_000.0, -20_000.0)], radius_nm=2000.0, force=True
    )
    assert done.benefit.verdict == "worse"
    assert read_metadata(out).history[-1]["step"] == "drift"


def test_undoing_a_correct_correction_is_judged_worse(moved: Made, tmp_path: Path) -> None:
    """Applying the negative drift to a corrected table makes it worse."""
    curve = make_curve(0, moved.drift_V3, np.ones((FRAMES, 3)), coords="raw", method="given", details={})
    correct_table(moved.path, curve, tmp_path / "t.parquet")
    back = make_curve(0, -moved.drift_V3, np.ones((FRAMES, 3)), coords="raw", method="given", details={})
    assert judge_drift(tmp_path / "t.parquet", back).verdict == "worse"
