"""The loss that matches sets agrees with its equations."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lls_decode.simulate import Targets
from lls_decode.training.loss import decode_loss, pixels_near_emitters
from lls_decode.training.matching import _REACH_PX, matching_loss, transport_plan
from lls_decode.training.step import loss_now

from .conftest import config
from .test_loss import random_maps


@pytest.fixture(autouse=True)
def converged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do so many iterations that they converge."""
    monkeypatch.setattr("lls_decode.training.matching._ITERATIONS", 2000)


def targets(*rows: tuple[float, ...]) -> Targets:
    """Return the emitters (window, x, y, z, photons) of one frame of 6 x 5 pixels."""
    window, x, y, z, photons = torch.tensor(rows, dtype=torch.float64).T
    return Targets(
        window=window.long(), x_px=x, y_px=y, z=z, photons=photons, bg_NYX=torch.zeros(1, 6, 5, dtype=torch.float64)
    )


CROWD = targets((0, 1.2, 1.1, 0.1, 0.4), (0, 1.4, 1.0, -0.3, 0.5), (0, 3.6, 4.2, 0.2, 0.6), (0, 3.9, 4.9, 0.9, 0.3))


def test_an_emitter_has_the_mass_one_and_a_pixel_at_most_that() -> None:
    """Both hold if many emitters compete for few pixels, and the nearest pixels of separate emitters get all mass."""
    generator = torch.Generator().manual_seed(1)
    gain = 5 * torch.randn(3, 6, generator=generator, dtype=torch.float64)
    pixel = torch.arange(6).expand(3, -1)
    plan = transport_plan(gain, pixel, 10)
    torch.testing.assert_close(plan.sum(1), torch.ones(3, dtype=torch.float64))
    assert (plan.sum(0) <= 1 + 1e-6).all()
    separate = torch.full((2, 2), -50.0, dtype=torch.float64).fill_diagonal_(50.0)
    torch.testing.assert_close(transport_plan(separate, torch.tensor([[0, 1], [0, 1]]), 2), torch.eye(2).double())


def test_two_emitters_near_one_pixel_share_its_mass_equally() -> None:
    """The closed form: by symmetry each of two emitters has half of the good pixel, and half of its own bad one."""
    gain = torch.tensor([[8.0, 0.0], [8.0, 0.0]], dtype=torch.float64)
    plan = transport_plan(gain, torch.tensor([[0, 1], [0, 2]]), 3)
    torch.testing.assert_close(plan, torch.full((2, 2), 0.5, dtype=torch.float64), atol=1e-3, rtol=0)


def test_the_gradient_is_that_of_the_smallest_cost() -> None:
    """Numerical derivatives of the minimum, for which the plan is found again, agree with the plan held fixed."""
    maps = type(maps32 := random_maps(1))(*(value.double() for value in maps32))

    def smallest(logit: Tensor) -> Tensor:
        moved = maps._replace(logit=logit)
        near = pixels_near_emitters(moved, CROWD, logit, _REACH_PX)
        gain = (near.value_EK + near.log_density_EK).masked_fill(~near.inside_EK, -torch.inf)
        plan = transport_plan(gain, near.pixel_EK, logit.numel())
        used_mass = torch.zeros(logit.numel()).double().index_add(0, near.pixel_EK.flatten(), plan.flatten())
        rest = (1 - used_mass).clamp_min(0)  # the last iteration fills emitters exactly, and pixels approximately
        entropy = -torch.special.xlogy(plan, plan).sum() - torch.special.xlogy(rest, rest).sum()
        used = plan > 0
        return F.softplus(logit).sum() - (plan[used] * gain[used]).sum() - entropy

    logit = maps.logit.clone().requires_grad_()
    losses = matching_loss(maps._replace(logit=logit), CROWD)
    (4 * (losses.count + losses.localization)).backward()  # type: ignore[no-untyped-call]
    assert logit.grad is not None
    for y, x in ((1, 1), (4, 3), (5, 4), (0, 4)):
        step = torch.zeros_like(maps.logit)
        step[0, y, x] = 1e-4
        expected = (smallest(maps.logit + step) - smallest(maps.logit - step)) / 2e-4
        torch.testing.assert_close(logit.grad[0, y, x], expected, rtol=1e-3, atol=1e-6)


def test_without_emitters_only_detections_cost() -> None:
    maps, nobody = random_maps(1), torch.zeros(0)
    empty = Targets(
        window=nobody.long(), x_px=nobody, y_px=nobody, z=nobody, photons=nobody, bg_NYX=torch.zeros(1, 6, 5)
    )
    losses = matching_loss(maps, empty)
    torch.testing.assert_close(losses.count, F.softplus(maps.logit).sum())
    assert losses.localization == 0


def test_a_training_begins_with_the_loss_of_the_paper() -> None:
    """A tenth of the steps use it, or a tenth of the time if there is a limit; then comes the configured loss."""
    matching = config(steps=200, loss="matching")
    assert loss_now(matching, 19, 0.0) is decode_loss
    assert loss_now(matching, 20, 0.0) is matching_loss
    assert loss_now(matching.replace(minutes=1.0), 2, 5.9) is decode_loss
    assert loss_now(matching.replace(minutes=1.0), 2, 6.0) is matching_loss
    assert loss_now(matching.replace(loss="mixture"), 199, 0.0) is decode_loss
