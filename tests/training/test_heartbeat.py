"""A running training logs one line per minute and validates early."""

import logging
from pathlib import Path

import pytest
import torch

from lls_decode.training import train
from lls_decode.training.curve import read_curve
from lls_decode.training.heartbeat import Heartbeat, in_words
from lls_decode.training.loss import Losses
from lls_decode.training.precision import has_bfloat16, lowers_precision

from .conftest import config, quick


def losses(count: float) -> Losses:
    return Losses(torch.tensor(count), torch.tensor(2.0), torch.tensor(0.5))


def test_one_line_per_minute_reports_losses_pace_and_time_left(caplog: pytest.LogCaptureFixture) -> None:
    """Each line gives the mean losses and the pace of its minute, and the time left at that pace."""
    caplog.set_level(logging.INFO)
    now = [0.0]
    heartbeat = Heartbeat(config(steps=1000), clock=lambda: now[0])
    for step in range(1, 102):
        now[0] = 2.0 * step
        heartbeat.beat(step, now[0], losses(1.0 if step <= 31 else 3.0))
    first, second, third = (record.getMessage() for record in caplog.records)
    assert first == (
        "step 31, 3 % done, 32 min left; loss 3.500 (count 1.000, localization 2.000, background 0.5000), 1.94 s a step"
    )
    assert "step 61, 6 % done, 31 min left; loss 5.500 (count 3.000" in second
    assert "2.00 s a step" in third


def test_time_left_respects_the_time_limit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    now = [0.0]
    heartbeat = Heartbeat(config(steps=1_000_000, minutes=10.0), clock=lambda: now[0])
    for step in range(70):
        now[0] = float(step)
        heartbeat.beat(step, now[0], losses(1.0))
    (line,) = (record.getMessage() for record in caplog.records)
    assert "10 % done, 9 min left" in line


@pytest.mark.parametrize(
    ("seconds", "words"), [(3.2, "3 s"), (89, "89 s"), (600, "10 min"), (5370, "1 h 30 min"), (11_100, "3 h 05 min")]
)
def test_durations_are_written_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_the_first_validation_comes_early(tmp_path: Path) -> None:
    c = config(steps=260, validate_every=250, checkpoint_every=260)
    assert train(c, tmp_path, validator=quick) is not None
    assert [row["step"] for row in read_curve(tmp_path)] == [50, 250, 260]


def test_automatic_precision_follows_the_hardware() -> None:
    cpu = torch.device("cpu")
    assert lowers_precision(config(precision="auto"), cpu) == has_bfloat16(cpu)
    assert lowers_precision(config(precision="bfloat16"), cpu)
    assert not lowers_precision(config(precision="float32"), cpu)
    assert not has_bfloat16(torch.device("meta"))


@pytest.mark.parametrize(("density", "spread", "warned"), [(0.04, 0.0, True), (0.08, 0.5, True), (0.1, 0.7, False)])
def test_a_sparse_training_logs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, density: float, spread: float, warned: bool
) -> None:
    c = config(steps=1)
    emitters = c.simulation.emitters.replace(density_per_um2=density, density_spread=spread)
    c = c.replace(simulation=c.simulation.replace(emitters=emitters))
    assert train(c, tmp_path, validator=quick) is not None
    assert any("the network will learn slowly" in line for line in caplog.messages) == warned
