"""A training that collapses begins anew, one that has converged ends; both can be interrupted."""

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

LOOK = 3


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def loss_at_look(seed: int, folder: Path) -> float:
    losses: list[Losses] = []
    train(
        config(seed=seed),
        folder,
        validator=quick,
        stop_after=LOOK,
        progress=lambda now, steps, loss: losses.append(loss),
    )
    return (losses[-1].count + losses[-1].localization).item()


@pytest.fixture(scope="module")
def unlucky(tmp_path_factory: pytest.TempPathFactory) -> TrainingConfig:
    """A training whose loss is above the bound with its own seed, and below with the next one."""
    losses = [loss_at_look(seed, tmp_path_factory.mktemp("look")) for seed in range(3)]
    drop, seed = max((losses[seed] - losses[seed + 1], seed) for seed in range(2))
    assert drop > 0
    bound = losses[seed] - drop / 2
    return config(seed=seed, restart=RestartConfig(times=1, after_steps=LOOK, loss_above=bound))


@pytest.fixture(scope="module")
def lucky(unlucky: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The end of the training that begins with the next seed at once."""
    folder = tmp_path_factory.mktemp("lucky")
    train(unlucky.replace(seed=unlucky.seed + 1), folder, validator=quick)
    return final_state(folder)


def test_a_collapsed_training_is_that_of_the_next_seed(
    unlucky: TrainingConfig, lucky: dict[str, torch.Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = train(unlucky, tmp_path, validator=quick)
    assert result is not None
    assert same(final_state(tmp_path), lucky)
    said = load_bundle(result.bundle).info.training
    assert said["seed"] == unlucky.seed + 1
    assert [(restart["seed"], restart["step"]) for restart in said["restarts"]] == [(unlucky.seed, LOOK)]
    assert f"Restarting with seed {unlucky.seed + 1}" in caplog.text
    assert [row["step"] for row in read_curve(tmp_path)] == [4, 8, 12]


@pytest.mark.parametrize("steps", [2, 3, 4, 8])
def test_interrupted_before_at_and_after_the_collapse(
    unlucky: TrainingConfig, lucky: dict[str, torch.Tensor], tmp_path: Path, steps: int
) -> None:
    assert train(unlucky, tmp_path, validator=quick, stop_after=steps) is None
    result = train(unlucky, tmp_path, validator=quick)
    assert result is not None
    assert same(final_state(tmp_path), lucky)
    said = load_bundle(result.bundle).info.training
    assert (said["seed"], len(said["restarts"])) == (unlucky.seed + 1, 1)


def test_a_bad_learning_rate_fails_after_all_restarts(tmp_path: Path) -> None:
    bad = config(learning_rate=1e30, gradient_norm=1e9, restart=RestartConfig(times=2, after_steps=12))
    with pytest.raises(CollapseError, match=r"each of the seeds 3, 4, 5, .*lower learning_rate"):
        train(bad, tmp_path, validator=quick)
    assert not (tmp_path / "tiny.lls").exists()


class Blind(Fixed):
    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"num_found": 0}


def test_a_network_that_finds_nothing_has_collapsed(tmp_path: Path) -> None:
    """From the stated step on; before, that is no wonder."""
    seen: list[int] = []

    def blind(network: LocNet, info: BundleInfo) -> Blind:
        del network, info
        return Blind()

    with pytest.raises(CollapseError, match=r"seeds 3, 4, .*none of 10 emitters at step 8"):
        train(
            config(restart=RestartConfig(times=1, after_steps=5)),
            tmp_path,
            validator=blind,
            progress=lambda now, steps, loss: seen.append(now),
        )
    assert seen == [*range(1, 9)] * 2


class Series:
    """Validations with given efficiencies, in turn."""

    def __init__(self, *efficiencies: float) -> None:
        self.left = list(efficiencies)

    def __call__(self, network: LocNet, info: BundleInfo) -> "Series":
        del network, info
        return self

    def to_dict(self) -> dict[str, Any]:
        return Fixed().to_dict() | {"efficiency": self.left.pop(0)}


CONVERGING = (0.1, 0.4, 0.41, 0.38, 0.9, 0.9)
"""With a patience of 2 and a gain of 0.02 the end is after the fourth; the third is the best."""


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


def test_the_best_weights_are_those_of_the_bundle(stopped_early: Path, tmp_path: Path) -> None:
    """A training of nine steps has them at its end: the step schedule does not ask for the number of steps."""
    nine = train(config(schedule="step", steps=9), tmp_path, validator=quick)
    assert nine is not None
    found = load_bundle(stopped_early / "tiny.lls")
    assert same(found.network.state_dict(), load_bundle(nine.bundle).network.state_dict())
    assert (found.info.training["weights_of_step"], found.info.training["steps"]) == (9, 12)


@pytest.mark.parametrize("steps", [1, 8, 10, 11])
def test_an_early_stop_survives_an_interruption(stopped_early: Path, tmp_path: Path, steps: int) -> None:
    """Wherever the checkpoint: between the best validation and the end, too."""
    assert train(converging(), tmp_path, validator=Series(*CONVERGING), stop_after=steps) is None
    train(converging(), tmp_path, validator=Series(*CONVERGING[steps // 3 :]))
    first, second = (load_file(folder / "tiny.lls") for folder in (stopped_early, tmp_path))
    assert same(first, second)
    assert [row["step"] for row in read_curve(tmp_path)] == [3, 6, 9, 12]


def test_a_training_that_stopped_early_is_not_gone_on_with(stopped_early: Path) -> None:
    def fail(now: int, steps: int, losses: Losses) -> None:
        pytest.fail("a step was made")

    result = train(converging(), stopped_early, validator=Series(0.4), progress=fail)
    assert result is not None
    assert result.steps == 12
