"""Distillation against closed forms, and that a student comes to agree with its teacher."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence

from lls_decode.config import NetworkConfig
from lls_decode.model.network import LocNet, OutputMaps
from lls_decode.training.distill import distillation_loss


def maps(seed: int, shape: tuple[int, int, int] = (2, 5, 6)) -> OutputMaps:
    generator = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    means = (draw(0, 1), draw(-1, 1), draw(-1, 1), draw(-1, 1))
    return OutputMaps(draw(-4, 4), *means, *(draw(0.05, 1) for _ in range(4)), draw(0, 1))


def test_agreement_costs_nothing() -> None:
    loss = distillation_loss(maps(1), maps(1))
    assert [abs(float(value)) for value in (loss.count, loss.localization, loss.background)] == pytest.approx(
        [0, 0, 0], abs=1e-5
    )


def test_terms_are_divergences() -> None:
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
    assert loss.count > 10  # a student that sees emitters there


def test_a_student_comes_to_agree() -> None:
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
