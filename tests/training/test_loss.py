"""The loss agrees with its equations, written out in float64."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lls_decode.model.network import LOGIT_LIMIT, OutputMaps
from lls_decode.simulate import Targets
from lls_decode.training.loss import decode_loss

HEIGHT, WIDTH = 6, 5


def random_maps(windows: int, height: int = HEIGHT, width: int = WIDTH, sigma: float = 0.5) -> OutputMaps:
    generator = torch.Generator().manual_seed(0)

    def normal() -> Tensor:
        return torch.randn(windows, height, width, generator=generator)

    def width_of() -> Tensor:
        return sigma * (0.5 + torch.rand(windows, height, width, generator=generator))

    return OutputMaps(
        logit=3 * normal(),
        photons=torch.sigmoid(normal()),
        x=torch.tanh(normal()),
        y=torch.tanh(normal()),
        z=torch.tanh(normal()),
        photons_sig=width_of(),
        x_sig=width_of(),
        y_sig=width_of(),
        z_sig=width_of(),
        bg=torch.sigmoid(normal()),
    )


def targets(rows: list[tuple[float, ...]], windows: int) -> Targets:
    """Return targets from rows of window, x, y (pixels), z, photons."""
    window, x, y, z, photons = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5).T
    even = torch.linspace(0.1, 0.9, windows)[:, None, None]  # broadcasts to frames of any size
    return Targets(window.long(), x, y, z, photons, bg_NYX=even)


def by_hand(maps: OutputMaps, truth: Targets) -> tuple[float, float, float]:
    """Evaluate equations 1 to 6 pixel by pixel over the whole frame.

    A frame's weight is its number of emitters, or one if it has none; sums are divided by the total weight.
    """
    N, Y, X = maps.logit.shape
    m = {name: value.double().numpy() for name, value in maps._asdict().items()}
    p = 1 / (1 + np.exp(-np.clip(m["logit"], -LOGIT_LIMIT, LOGIT_LIMIT)))
    count = localization = background = total_weight = 0.0
    for n in range(N):
        own = [e for e in range(len(truth.window)) if int(truth.window[e]) == n]
        weight = max(len(own), 1)
        total_weight += weight
        mean, variance = p[n].sum(), (p[n] * (1 - p[n])).sum()
        count += weight * -math.log(
            math.exp(-0.5 * (len(own) - mean) ** 2 / variance) / math.sqrt(2 * math.pi * variance)
        )
        for e in own:
            mixture = 0.0
            for y, x in np.ndindex(Y, X):
                place = {"x": x + m["x"][n, y, x], "y": y + m["y"][n, y, x]}
                place |= {"z": m["z"][n, y, x], "photons": m["photons"][n, y, x]}
                true = {"x": truth.x_px[e], "y": truth.y_px[e], "z": truth.z[e], "photons": truth.photons[e]}
                density = 1.0
                for name, mu in place.items():
                    sigma = m[f"{name}_sig"][n, y, x]
                    density *= math.exp(-0.5 * ((float(true[name]) - mu) / sigma) ** 2)
                    density /= math.sqrt(2 * math.pi) * sigma
                mixture += p[n, y, x] / mean * density
            localization -= math.log(mixture)
        background += ((m["bg"][n] - truth.bg_NYX[n].numpy()) ** 2).sum()
    return count / total_weight, localization / total_weight, background / total_weight


CASES = [
    pytest.param([(0, 2.2, 3.1, 0.1, 0.5)], 1, id="one emitter"),
    pytest.param([(0, 2.2, 3.1, 0.1, 0.5), (0, 2.4, 3.0, -0.1, 0.3), (2, 4.4, 0.2, 0.3, 0.9)], 3, id="an empty frame"),
    pytest.param([(0, -0.5, -0.5, 0.0, 0.5), (1, WIDTH - 0.51, HEIGHT - 0.51, 0.0, 0.5)], 2, id="at the corners"),
    pytest.param([(1, 2.5, 3.5, 0.9, 0.01)], 2, id="on a corner of four pixels, far out of focus"),
    pytest.param([], 2, id="no emitters at all"),
]


@pytest.mark.parametrize(("rows", "windows"), CASES)
def test_the_loss_equals_its_equations(rows: list[tuple[float, ...]], windows: int) -> None:
    bg = torch.rand(windows, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    maps, truth = random_maps(windows), replace(targets(rows, windows), bg_NYX=bg)
    losses = decode_loss(maps, truth)
    found = (losses.count.item(), losses.localization.item(), losses.background.item())
    assert found == pytest.approx(by_hand(maps, truth), rel=1e-5, abs=1e-6)
    assert losses.total.item() == pytest.approx(sum(found), rel=1e-6)
    assert losses.total.dtype == torch.float32


def test_pixels_far_from_an_emitter_do_not_matter() -> None:
    """The loss evaluates the mixture near each emitter only, which suffices if sigmas are below one pixel."""
    maps = random_maps(2, 24, 20, sigma=0.6)
    truth = targets([(0, 10.3, 11.2, 0.1, 0.5), (1, 0.1, 22.9, 0.0, 0.4), (1, 19.4, 0.2, 0.0, 0.4)], 2)
    assert decode_loss(maps, truth).localization.item() == pytest.approx(by_hand(maps, truth)[1], rel=1e-4)


@pytest.mark.parametrize("logit", [-1e4, -30.0, 30.0, 1e4])
def test_saturated_probabilities_give_finite_useful_gradients(logit: float) -> None:
    """Loss and gradients are finite, and the gradient points back to moderate probabilities."""
    base = torch.full((1, HEIGHT, WIDTH), logit, requires_grad=True)
    maps = random_maps(1)._replace(logit=base)
    loss = decode_loss(maps, targets([(0, 2.2, 3.1, 0.1, 0.5)], 1))
    loss.total.backward()
    assert torch.isfinite(loss.total)
    assert base.grad is not None
    assert torch.isfinite(base.grad).all()
    decode_loss(maps, targets([(0, 2.2, 3.1, 0.1, 0.5)], 1)).count.backward()
    step = -base.grad.sign()
    assert (step == (1 if logit < 0 else -1)).all(), "there is one emitter: the count must rise from 0, or fall"


@pytest.mark.parametrize("sigma", [0.001, 3.001])
def test_sigmas_at_their_limits_give_finite_gradients(sigma: float) -> None:
    maps = random_maps(1)
    width = torch.full((1, HEIGHT, WIDTH), sigma, requires_grad=True)
    maps = maps._replace(x_sig=width, y_sig=width, z_sig=width, photons_sig=width)
    loss = decode_loss(maps, targets([(0, 2.2, 3.1, 0.1, 0.5)], 1)).total
    loss.backward()
    assert torch.isfinite(loss)
    assert width.grad is not None
    assert torch.isfinite(width.grad).all()


def perfect(x: float, y: float) -> OutputMaps:
    """Return outputs of a dark frame with one confident pixel, which predicts its emitter correctly."""
    maps = random_maps(1)
    logit = torch.full_like(maps.logit, -LOGIT_LIMIT)
    column, row = round(x), round(y)
    logit[0, row, column] = LOGIT_LIMIT
    narrow = torch.full_like(logit, 0.05)
    return maps._replace(
        logit=logit,
        x=torch.full_like(logit, x - column),
        y=torch.full_like(logit, y - row),
        z=torch.full_like(logit, 0.1),
        photons=torch.full_like(logit, 0.5),
        x_sig=narrow,
        y_sig=narrow,
        z_sig=narrow,
        photons_sig=narrow,
        bg=torch.full_like(logit, 0.1),
    )


def test_every_kind_of_error_increases_the_loss() -> None:
    truth = targets([(0, 2.2, 3.1, 0.1, 0.5)], 1)
    best = perfect(2.2, 3.1)
    lowest = decode_loss(best, truth).total.item()
    twice, none, doubtful = best.logit.clone(), best.logit.clone(), best.logit.clone()
    twice[0, 0, 0] = LOGIT_LIMIT
    none[0, 3, 2] = -LOGIT_LIMIT
    doubtful[0, 3, 2] = 0.0
    worse = {
        "two detections for one emitter": best._replace(logit=twice),
        "no detection": best._replace(logit=none),
        "an undecided detection": best._replace(logit=doubtful),
        "beside the emitter": best._replace(x=best.x + 0.2),
        "at another height": best._replace(z=best.z + 0.2),
        "too bright": best._replace(photons=best.photons + 0.2),
        "sigma too small": best._replace(x=best.x + 0.2, x_sig=best.x_sig * 0.2),
        "sigma too large": best._replace(x_sig=best.x_sig * 5),
        "another background": best._replace(bg=best.bg + 0.1),
    }
    for name, maps in worse.items():
        assert decode_loss(maps, truth).total.item() > lowest + 0.1, name


def test_a_detection_in_an_empty_frame_increases_the_loss() -> None:
    dark = perfect(2.2, 3.1)._replace(logit=torch.full((1, HEIGHT, WIDTH), -LOGIT_LIMIT))
    nothing = targets([], 1)
    assert decode_loss(perfect(2.2, 3.1), nothing).count > decode_loss(dark, nothing).count + 1


def test_every_emitter_of_a_batch_has_the_same_weight() -> None:
    """The loss of joined batches is the mean of their losses, weighted by their numbers of emitters."""
    first, second = [(0, 1.2, 1.1, 0.1, 0.5)], [(0, 2.2, 3.1, 0.1, 0.5), (0, 3.3, 0.2, 0.0, 0.4)]
    maps = random_maps(2)
    parts = []
    for i, rows in enumerate((first, second)):
        alone = replace(targets(rows, 1), bg_NYX=targets([], 2).bg_NYX[[i]])
        parts.append(decode_loss(OutputMaps(*(m[[i]] for m in maps)), alone))
    joined = decode_loss(maps, targets([*first, *[(1, *row[1:]) for row in second]], 2))
    assert joined.localization.item() == pytest.approx((parts[0].localization + 2 * parts[1].localization).item() / 3)
    assert joined.count.item() == pytest.approx((parts[0].count + 2 * parts[1].count).item() / 3)
