"""Learning rates agree with torch's schedules, and training stops at its time limit."""

from pathlib import Path

import pytest
import torch

from lls_decode.training import train
from lls_decode.training.curve import read_curve
from lls_decode.training.schedule import rates, set_rates, share_done

from .conftest import config, quick


def test_the_one_cycle_schedule_equals_that_of_torch() -> None:
    c = config(steps=60, learning_rate=2e-3)
    ours, theirs = (torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1.0) for _ in range(2))
    schedule = torch.optim.lr_scheduler.OneCycleLR(theirs, max_lr=2e-3, total_steps=61, pct_start=0.1)
    for step in range(60):
        set_rates(ours, rates(c, step, 0.0))
        for name in ("lr", "betas"):
            assert ours.param_groups[0][name] == pytest.approx(theirs.param_groups[0][name], rel=1e-9), (step, name)
        theirs.step()
        schedule.step()
    assert rates(c, 60, 0.0).learning_rate == pytest.approx(2e-3 / 250_000)


def test_the_step_schedule_is_the_published_one() -> None:
    c = config(schedule="step", learning_rate=6e-4, steps=5000)
    assert [rates(c, step, 0.0).learning_rate for step in (0, 1499, 1500, 3000)] == pytest.approx(
        [6e-4, 6e-4, 5.4e-4, 4.86e-4]
    )
    assert rates(c, 0, 0.0).momentum is None


def test_progress_follows_steps_or_time_whichever_is_further() -> None:
    c = config(steps=100, minutes=2.0)
    assert share_done(c, 10, 60.0) == 0.5
    assert share_done(c, 70, 60.0) == 0.7
    assert share_done(c, 10, 500.0) == 1.0
    assert share_done(config(steps=100), 10, 1e9) == 0.1
    assert rates(c, 10, 60.0) == rates(c, 50, 0.0)


def test_a_training_stops_at_its_time_limit(tmp_path: Path) -> None:
    """It ends with a validation and a bundle, and the time before an interruption counts too."""
    c = config(steps=100_000, minutes=3 / 60, validate_every=100_000, checkpoint_every=1)
    assert train(c, tmp_path, validator=quick, stop_after=2) is None
    result = train(c, tmp_path, validator=quick)
    assert result is not None
    assert 2 < result.steps < 5000
    assert result.bundle.exists()
    (row,) = read_curve(tmp_path)
    assert row["step"] == result.steps
    assert 3 <= row["seconds"] < 20
    assert row["learning_rate"] == pytest.approx(c.learning_rate / 250_000)
