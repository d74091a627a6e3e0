"""The distillation loss agrees with closed forms, and a student learns to agree with its teacher."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from lls_decode.config import BackgroundConfig, NetworkConfig, PixelSize
from lls_decode.errors import BundleError, RunConflictError
from lls_decode.model.bundle import load_bundle, save_bundle
from lls_decode.model.info import bundle_digest
from lls_decode.model.network import LocNet, OutputMaps
from lls_decode.training import train
from lls_decode.training.ahead import simulate_step
from lls_decode.training.distill import distillation_loss
from lls_decode.training.origin.teacher import load_teacher

from .conftest import config, final_state, quick

WIDER = NetworkConfig(filters=6, context="time")


def maps(seed: int, shape: tuple[int, int, int] = (2, 5, 6)) -> OutputMaps:
    generator = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    means = (draw(0, 1), draw(-1, 1), draw(-1, 1), draw(-1, 1))
    return OutputMaps(draw(-4, 4), *means, *(draw(0.05, 1) for _ in range(4)), draw(0, 1))


def test_the_loss_of_equal_outputs_is_zero() -> None:
    loss = distillation_loss(maps(1), maps(1))
    assert [abs(float(value)) for value in (loss.count, loss.localization, loss.background)] == pytest.approx(
        [0, 0, 0], abs=1e-5
    )


def test_loss_terms_are_kl_divergences() -> None:
    student, teacher = maps(1), maps(2)
    p = teacher.probability
    loss = distillation_loss(student, teacher)
    detection = kl_divergence(Bernoulli(p), Bernoulli(student.probability)).sum() / p.sum()
    places = sum(
        kl_divergence(
            Normal(getattr(teacher, name), getattr(teacher, f"{name}_sig")),
            Normal(getattr(student, name), getattr(student, f"{name}_sig")),
        )
        for name in ("x", "y", "z", "photons")
    )
    torch.testing.assert_close(loss.count, detection)
    torch.testing.assert_close(loss.localization, (p * places).sum() / p.sum())
    torch.testing.assert_close(loss.background, ((student.bg - teacher.bg) ** 2).sum() / p.sum())


def test_a_frame_without_emitters_has_a_finite_loss() -> None:
    dark = maps(1)._replace(logit=torch.full((2, 5, 6), -30.0))
    loss = distillation_loss(maps(2), dark)
    assert math.isfinite(loss.total)
    assert loss.count > 10  # the student reports emitters that the teacher does not


def test_a_student_learns_the_outputs_of_its_teacher() -> None:
    torch.manual_seed(0)
    teacher = LocNet(NetworkConfig(filters=4)).eval().requires_grad_(False)
    student = LocNet(NetworkConfig(variant="light", filters=8))
    frames = torch.randn(6, 16, 16)
    windows = torch.tensor([[0, 1, 2], [2, 3, 4], [3, 4, 5]])
    wanted = teacher.decode(teacher.encode(frames), windows)
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = distillation_loss(student.decode(student.encode(frames), windows), wanted).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a teacher that differs from the student in number of filters, scaling and sigma factors; return its path."""
    folder = tmp_path_factory.mktemp("teacher")
    result = train(config(name="teacher", steps=2, network=WIDER), folder, validator=quick)
    assert result is not None
    bundle = load_bundle(result.bundle)
    scaling = bundle.info.scaling.replace(photons=2 * bundle.info.scaling.photons, x_sig=1.5)
    save_bundle(folder / "teacher.lls", bundle.network, bundle.info.replace(scaling=scaling))
    return folder / "teacher.lls"


def test_a_training_with_a_teacher_records_it_and_can_be_resumed(teacher: Path, tmp_path: Path) -> None:
    """The student uses the teacher's scaling; resuming requires the same teacher and gives bit-identical weights."""
    one, other = tmp_path / "one", tmp_path / "other"
    result = train(config(), one, validator=quick, teacher=teacher)
    assert result is not None
    info = load_bundle(result.bundle).info
    assert info.scaling == load_bundle(teacher).info.scaling.replace(x_sig=1.0)
    assert info.training["teacher"] == {"name": "teacher", "digest": bundle_digest(teacher)}
    train(config(), other, validator=quick, teacher=teacher, stop_after=5)
    with pytest.raises(RunConflictError, match=r"started with the model teacher .*not with no teacher"):
        train(config(), other, validator=quick)
    train(config(), other, validator=quick, teacher=teacher)
    first, second = final_state(one), final_state(other)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    alone = tmp_path / "alone"
    train(config(), alone, validator=quick)
    assert any(not torch.equal(value, first[name]) for name, value in final_state(alone).items())


def test_a_teacher_brings_the_student_closer_to_itself(teacher: Path, tmp_path: Path) -> None:
    """After equal steps, a taught network is nearer to the teacher, on unseen frames, than one trained alone."""
    c = config(steps=30, learning_rate=3e-3, average_decay=0.0, variety=None)
    master = load_teacher(teacher, c, torch.device("cpu"))
    distances = {}
    for name, given in (("taught", teacher), ("alone", None)):
        result = train(c, tmp_path / name, validator=quick, teacher=given)
        assert result is not None
        student = load_bundle(result.bundle).network
        batch = simulate_step(c, torch.Generator().manual_seed(99))
        inputs = batch.inputs(master.scaling, noise_map=False)
        seen = student.decode(student.encode(*inputs), batch.windows_N3)
        distances[name] = distillation_loss(seen, master.maps(*inputs, batch.windows_N3)).total.item()
    assert distances["taught"] < 0.7 * distances["alone"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"network": NetworkConfig(filters=4, context="none")}, "network.context time", id="context"),
        pytest.param({"network": NetworkConfig(filters=4, predict_z=False)}, "network.predict_z True", id="2-D"),
        pytest.param({"pixel_size": PixelSize(x_nm=130, y_nm=130)}, "pixels of .*the training has 130", id="pixel"),
        pytest.param({"background": BackgroundConfig(low=5, high=900)}, "can predict backgrounds up to", id="light"),
    ],
)
def test_an_incompatible_teacher_is_refused(teacher: Path, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    c = config()
    network = changes.pop("network", c.network)
    wrong = c.replace(network=network, simulation=c.simulation.replace(**changes))
    with pytest.raises(BundleError, match=words):
        train(wrong, tmp_path, validator=quick, teacher=teacher)
