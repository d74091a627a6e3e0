"""Single-emitter fits reach the Cramer-Rao bound, and the bound agrees with closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lls_decode.config import AstigmaticPsf, GaussianPsf, PixelSize
from lls_decode.optics import PsfModel, SplineModel, build_psf, spline_from_volume
from lls_decode.refine import Spots, crlb, fit_spots

PIXEL = PixelSize(x_nm=100.0, y_nm=100.0)
FLAT = build_psf(GaussianPsf(sigma_nm=130.0), pixel=PIXEL)
ASTIGMATIC = build_psf(
    AstigmaticPsf(
        sigma_x_nm=130.0, sigma_y_nm=130.0, focus_x_nm=-220.0, focus_y_nm=220.0, depth_x_nm=300.0, depth_y_nm=300.0
    ),
    pixel=PIXEL,
)


def astigmatic_spline() -> SplineModel:
    z = torch.arange(-700.0, 701.0, 50.0, dtype=torch.float64)
    centre = torch.full_like(z, 9.0)
    return SplineModel(
        spline_from_volume(
            ASTIGMATIC.shares(centre, centre, z, height=19, width=19).numpy(), z_step_nm=50.0, pixel=PIXEL
        )
    )


def double_helix() -> SplineModel:
    """Return a PSF of two lobes that rotate by 160 degrees over 1.8 micrometres."""
    y, x = np.mgrid[:17, :17] - 8.0
    slices = []
    for z in np.arange(-900.0, 901.0, 50.0):
        angle, width = z / 900 * math.radians(80), 1.25 * math.sqrt(1 + 0.5 * (z / 900) ** 2)
        lobes = [(sign * 3.0 * math.cos(angle), sign * 3.0 * math.sin(angle)) for sign in (1, -1)]
        spots = [np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * width**2)) / width**2 for u, v in lobes]
        slices.append(sum(spots))
    return SplineModel(spline_from_volume(np.array(slices), z_step_nm=50.0, pixel=PIXEL))


def simulate(
    model: PsfModel, *, count: int, size: int, z_nm: float, read_noise: bool, seed: int = 1
) -> tuple[Spots, Tensor, Tensor]:
    """Return spots, their noisy regions of interest in electrons, and the variance of the read noise."""
    draw = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=draw, dtype=torch.float64)

    centre = (size - 1) / 2
    spots = Spots(
        uniform(centre - 0.8, centre + 0.8),
        uniform(centre - 0.8, centre + 0.8),
        uniform(-z_nm, z_nm),
        uniform(800, 3000),
        uniform(5, 20),
    )
    shares = model.shares(spots.x_px, spots.y_px, spots.z_nm, height=size, width=size)
    mean = spots.photons[:, None, None] * shares + spots.bg[:, None, None]
    electrons = torch.poisson(mean.clamp_min(0), generator=draw)
    variance = torch.zeros_like(mean)
    if read_noise:  # an sCMOS chip with 2 % of hot pixels
        variance = 2.5 * torch.exp(0.5 * torch.randn(mean.shape, generator=draw, dtype=torch.float64))
        variance[torch.rand(mean.shape, generator=draw) < 0.02] *= 50
        electrons += variance.sqrt() * torch.randn(mean.shape, generator=draw, dtype=torch.float64)
    return spots, electrons, variance


CASES = [
    pytest.param(FLAT, 13, 0.0, 2000, id="2-D Gaussian"),
    pytest.param(ASTIGMATIC, 13, 500.0, 800, id="astigmatic Gaussian"),
    pytest.param(astigmatic_spline(), 13, 500.0, 500, id="astigmatic spline"),
    pytest.param(double_helix(), 17, 700.0, 300, id="double-helix spline"),
]


@pytest.mark.parametrize("read_noise", [False, True], ids=["Poisson", "sCMOS"])
@pytest.mark.parametrize(("model", "size", "z_nm", "count"), CASES)
def test_fits_reach_the_bound(model: PsfModel, size: int, z_nm: float, count: int, read_noise: bool) -> None:
    spots, electrons, variance = simulate(model, count=count, size=size, z_nm=z_nm, read_noise=read_noise)
    fits = fit_spots(model, electrons, variance=variance)
    bounds = crlb(model, spots, height=size, width=size, variance=variance)
    assert fits.converged.float().mean() > 0.995
    names = ["x_px", "y_px", "photons", "bg"] + (["z_nm"] if z_nm else [])
    scores = []
    for name in names:
        error, sigma = getattr(fits.spots, name) - getattr(spots, name), getattr(bounds, name)
        scores.append((error.square().mean() / sigma.square().mean()).sqrt().item())
        own = error / getattr(fits.sigmas, name)
        assert own.std().item() == pytest.approx(1.0, abs=0.02 + 3 / math.sqrt(2 * count))
        assert abs(own.mean().item()) < 4 / math.sqrt(count) + 0.05
    # Each ratio has a statistical error of 1 / sqrt(2 count), 2 to 4 %.
    assert max(scores) <= 1.02 + 3 / math.sqrt(2 * count)
    assert np.mean(scores) <= 1.05


def test_the_bound_of_a_bright_gaussian_agrees_with_the_closed_form() -> None:
    """Without background the closed form is sigma / sqrt(photons), with sigma widened by the pixel size."""
    sigma_px, photons = 1.3, 1e5
    one = torch.ones(1, dtype=torch.float64)
    bounds = crlb(FLAT, Spots(7.0 * one, 7.0 * one, 0 * one, photons * one, 1e-6 * one), height=15, width=15)
    pixelated = math.sqrt(sigma_px**2 + 1 / 12) / math.sqrt(photons)
    assert bounds.x_px.item() == pytest.approx(pixelated, rel=0.01)
    assert bounds.y_px.item() == pytest.approx(bounds.x_px.item())
    assert bounds.photons.item() == pytest.approx(math.sqrt(photons), rel=0.02)
    assert math.isnan(bounds.z_nm.item())


def test_read_variance_acts_like_additional_background() -> None:
    one = torch.ones(1, dtype=torch.float64)

    def bounds(bg: float, variance: float) -> Spots:
        spots = Spots(7.0 * one, 7.2 * one, 100.0 * one, 1000 * one, bg * one)
        return crlb(ASTIGMATIC, spots, height=15, width=15, variance=variance)

    for name in ("x_px", "y_px", "z_nm", "photons", "bg"):
        assert getattr(bounds(5.0, 4.0), name).item() == pytest.approx(getattr(bounds(9.0, 0.0), name).item())


def test_the_bound_without_light_is_not_finite() -> None:
    """If an emitter is outside its region of interest, its position has no finite bound."""
    one = torch.ones(2, dtype=torch.float64)
    spots = Spots(one * torch.tensor([7.0, 400.0]), 7 * one, 0 * one, 1000 * one, 5 * one)
    bounds = crlb(astigmatic_spline(), spots, height=15, width=15)
    assert torch.isfinite(bounds.x_px).tolist() == [True, False]


def test_fits_do_not_depend_on_other_spots_of_the_batch() -> None:
    _, electrons, _ = simulate(ASTIGMATIC, count=40, size=15, z_nm=400.0, read_noise=False)
    together = fit_spots(ASTIGMATIC, electrons).spots
    alone = fit_spots(ASTIGMATIC, electrons[17:18]).spots
    torch.testing.assert_close(alone.stack()[0], together.stack()[17], rtol=1e-6, atol=1e-6)


def test_zero_spots_are_accepted() -> None:
    fits = fit_spots(FLAT, torch.zeros(0, 9, 9))
    assert len(fits.spots.x_px) == 0
    assert fits.converged.dtype == torch.bool


def test_fits_of_dark_regions_are_finite() -> None:
    """Regions without light give few photons and no NaN."""
    fits = fit_spots(ASTIGMATIC, torch.zeros(3, 13, 13))
    assert torch.isfinite(fits.spots.stack()).all()
    assert (fits.spots.photons < 10).all()
