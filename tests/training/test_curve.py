"""The learning curve is written as a table and as a picture."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lls_decode.training.curve import add_row, curve_row, draw_curve, read_curve
from lls_decode.training.loss import Losses

from .conftest import Fixed


def row(step: int, **accuracy: Any) -> dict[str, float]:
    losses = Losses(torch.tensor(1.0), torch.tensor(2.5), torch.tensor(0.25))
    return curve_row(step, 1.26, 1e-3, losses, Fixed().to_dict() | accuracy)


def test_a_row_has_losses_rates_and_scores() -> None:
    found = row(4)
    assert (found["loss"], found["count_loss"], found["localization_loss"], found["background_loss"]) == (
        3.75,
        1.0,
        2.5,
        0.25,
    )
    assert (found["step"], found["seconds"], found["learning_rate"], found["zscore_photons"]) == (4, 1.3, 1e-3, 1.25)
    assert math.isnan(found["rmse_axial_nm"])


def test_a_new_row_replaces_rows_of_its_step_and_later(tmp_path: Path) -> None:
    """A training that resumes or restarts repeats validations, whose old rows must go."""
    for step in (4, 8, 12):
        add_row(tmp_path, row(step))
    add_row(tmp_path, row(8, jaccard=0.75))
    assert [(found["step"], found["jaccard"]) for found in read_curve(tmp_path)] == [(4, 0.5), (8, 0.75)]
    assert not [path for path in tmp_path.iterdir() if path.name not in ("curve.csv", "curve.png")]


def test_the_picture_has_no_line_for_missing_values(tmp_path: Path) -> None:
    """Adding axial errors changes only the panel of errors, where two-dimensional data has no axial line."""
    image = pytest.importorskip("matplotlib.image")
    rows = [row(step, zscore_z=None) for step in (4, 8)]
    draw_curve(rows, tmp_path / "flat.png")
    draw_curve([found | {"rmse_axial_nm": 200.0} for found in rows], tmp_path / "deep.png")
    flat, deep = (image.imread(tmp_path / name) for name in ("flat.png", "deep.png"))
    height, width, _ = flat.shape
    changed = (flat != deep).any(axis=2)
    assert changed[: height // 2, 2 * width // 3 :].any()
    assert not changed[height // 2 :].any()
