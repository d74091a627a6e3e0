"""A collapsed training restarts with another seed, a converged one stops early; both can be interrupted."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lls_decode.config import EarlyStopConfig, RestartConfig, TrainingConfig
from lls_decode.errors import CollapseError
from lls_decode.model.bundle import load_bundle
from lls_decode.model.info import BundleInfo
from lls_decode.model.network import LocNet
from lls_decode.training import train
from lls_decode.training.curve import read_curve
from lls_decode.training.loss import Losses

from .conftest import Fixed, config, final_state, quick

CHECK_STEP = 3


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def loss_at_check(seed: int, folder: Path) -> float:
    losses: list[Losses] = []
    train(
        config(seed=seed),
        folder,
        validator=quick,
        stop_after=CHECK_STEP,
        progress=lambda now, steps, loss: losses.append(loss),
    )
    return (losses[-1].count + losses[-1].localization).item()


@pytest.fixture(scope="module")
def unlucky(tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    """Return a configuration whose loss exceeds the collapse limit with its own seed, but not with the next seed."""
    losses = [loss_at_check(seed, tmp_path_factory.mktemp("look")) for seed in range(3)]
    drop, seed = max((losses[seed] - losses[seed + 1], seed) for seed in range(2))
    assert drop > 0
    bound = losses[seed] - drop / 2
    return config(seed=seed, restart=RestartConfig(times=1, after_steps=CHECK_STEP, loss_above=bound))


@pytest.fixture(scope="module")
def lucky(unlucky: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Return the final state of a training that uses the next seed from the start."""
    folder = tmp_path_factory.mktemp("lucky")
    train(unlucky.replace(seed=unlucky.seed + 1), folder, validator=quick)
    return final_state(folder)


def test_a_collapsed_training_restarts_with_the_next_seed(
    unlucky: TrainingConfig, lucky: dict[str, torch.Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = train(unlucky, tmp_path, validator=quick)
    assert result is not None
    assert same(final_state(tmp_path), lucky)
    said = load_bundle(result.bundle).info.training
    assert said["seed"] == unlucky.seed + 1
    assert [(restart["seed"], restart["step"]) for restart in said["restarts"]] == [(unlucky.seed, CHECK_STEP)]
    assert f"Restarting with seed {unlucky.seed + 1}" in caplog.text
    assert [row["step"] for row in read_curve(tmp_path)] == [4, 8, 12]


@pytest.mark.parametrize("steps", [2, 3, 4, 8])
def test_a_training_can_be_interrupted_before_at_and_after_the_collapse(
    unlucky: TrainingConfig, lucky: dict[str, torch.Tensor], tmp_path: Path, steps: int
) -> None:
    assert train(unlucky, tmp_path, validator=quick, stop_after=steps) is None
    result = train(unlucky, tmp_path, validator=quick)
    assert result is not None
    assert same(final_state(tmp_path), lucky)
    said = load_bundle(result.bundle).info.training
    assert (said["seed"], len(said["restarts"])) == (unlucky.seed + 1, 1)


def test_a_collapse_with_every_seed_is_an_error(tmp_path: Path) -> None:
    bad = config(learning_rate=1e30, gradient_norm=1e9, restart=RestartConfig(times=2, after_steps=12))
    with pytest.raises(CollapseError, match=r"each of the seeds 3, 4, 5; last error: .*lower learning_rate"):
        train(bad, tmp_path, validator=quick)
    assert not (tmp_path / "tiny.lls").exists()


class Blind(Fixed):
    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"num_found": 0}


def test_a_network_that_detects_nothing_has_collapsed(tmp_path: Path) -> None:
    """Zero detections count as a collapse only from the configured step on, because earlier they are normal."""
    seen: list[int] = []

    def blind(network: LocNet, info: BundleInfo) -> Blind:
        del network, info
        return Blind()

    with pytest.raises(CollapseError, match=r"seeds 3, 4; last error: .*none of 10 emitters at step 8"):
        train(
            config(restart=RestartConfig(times=1, after_steps=5)),
            tmp_path,
            validator=blind,
            progress=lambda now, steps, loss: seen.append(now),
        )
    assert seen == [*range(1, 9)] * 2


class Series:
    """Validator that returns the given efficiencies one after another."""

    def __init__(self, *efficiencies: float) -> None:
        self.left = list(efficiencies)

    def __call__(self, network: LocNet, info: BundleInfo) -> "Series":
        del network, info
        return self

    def to_dict(self) -> dict[str, Any]:
        return Fixed().to_dict() | {"efficiency": self.left.pop(0)}


CONVERGING = (0.1, 0.4, 0.41, 0.38, 0.9, 0.9)
"""Efficiencies with which training stops after the fourth validation and keeps the weights of the third."""


def converging(**changes: Any) -> TrainingConfig:
    early_stop = EarlyStopConfig(validations=2, gain=0.02)
    return config(schedule="step", steps=18, validate_every=3, early_stop=early_stop, **changes)


@pytest.fixture(scope="module")
def stopped_early(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("early")
    result = train(converging(), folder, validator=Series(*CONVERGING))
    assert result is not None
    assert result.steps == 12
    return folder


def test_the_bundle_has_the_weights_of_the_best_validation(stopped_early: Path, tmp_path: Path) -> None:
    """They equal the weights after nine steps of training, as the step schedule ignores the planned number of steps."""
    nine = train(config(schedule="step", steps=9), tmp_path, validator=quick)
    assert nine is not None
    found = load_bundle(stopped_early / "tiny.lls")
    assert same(found.network.state_dict(), load_bundle(nine.bundle).network.state_dict())
    assert (found.info.training["weights_of_step"], found.info.training["steps"]) == (9, 12)


@pytest.mark.parametrize("steps", [1, 8, 10, 11])
def test_an_interruption_does_not_change_an_early_stop(stopped_early: Path, tmp_path: Path, steps: int) -> None:
    """Interruptions before, at and after the best validation are tried."""
    assert train(converging(), tmp_path, validator=Series(*CONVERGING), stop_after=steps) is None
    train(converging(), tmp_path, validator=Series(*CONVERGING[steps // 3 :]))
    first, second = (load_file(folder / "tiny.lls") for folder in (stopped_early, tmp_path))
    assert same(first, second)
    assert [row["step"] for row in read_curve(tmp_path)] == [3, 6, 9, 12]


def test_a_training_that_stopped_early_is_not_resumed(stopped_early: Path) -> None:
    def fail(now: int, steps: int, losses: Losses) -> None:
        pytest.fail("a training step was made")

    result = train(converging(), stopped_early, validator=Series(0.4), progress=fail)
    assert result is not None
    assert result.steps == 12
