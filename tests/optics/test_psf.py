"""Simulated spots agree with closed forms of the PSF."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lls_decode.config import AstigmaticPsf, GaussianPsf, PixelSize, Psf
from lls_decode.optics import expected_photons, psf_sigmas_nm
from lls_decode.optics.psf import stamp_radius_px

PIXEL = PixelSize(x_nm=100.0, y_nm=125.0)
GAUSSIAN = GaussianPsf(sigma_nm=150.0)
ASTIGMATIC = AstigmaticPsf(
    sigma_x_nm=130.0, sigma_y_nm=140.0, focus_x_nm=-220.0, focus_y_nm=250.0, depth_x_nm=300.0, depth_y_nm=350.0
)
Z_RANGE = (-500.0, 500.0)


def draw(psf: Psf, rows: list[tuple[float, ...]], *, num_frames: int = 1, height: int = 40, width: int = 48) -> Tensor:
    """Render frames of emitters, each given as (frame, x, y, z, photons)."""
    frame, x, y, z, photons = torch.tensor(rows, dtype=torch.float32).reshape(-1, 5).T
    return expected_photons(
        psf,
        frame=frame.long(),
        x_nm=x,
        y_nm=y,
        z_nm=z,
        photons=photons,
        pixel=PIXEL,
        radius_px=stamp_radius_px(psf, Z_RANGE, PIXEL),
        num_frames=num_frames,
        height=height,
        width=width,
    )


def moments(image: Tensor) -> tuple[float, float, float, float]:
    """Return mean x, mean y (nm) and their variances (nm^2); 0 is the centre of the first pixel."""
    share = image.double().numpy()
    share /= share.sum()
    x = np.arange(share.shape[1]) * PIXEL.x_nm
    y = np.arange(share.shape[0]) * PIXEL.y_nm
    mean_x, mean_y = share.sum(0) @ x, share.sum(1) @ y
    return mean_x, mean_y, share.sum(0) @ (x - mean_x) ** 2, share.sum(1) @ (y - mean_y) ** 2


SPOTS = [
    pytest.param(GAUSSIAN, 2300.0, 2500.0, 0.0, id="in the centre of a pixel"),
    pytest.param(GAUSSIAN, 2337.0, 2461.0, 0.0, id="at a general position"),
    pytest.param(GAUSSIAN, 2350.0, 2562.5, 0.0, id="on a corner"),
    pytest.param(ASTIGMATIC, 2337.0, 2461.0, -220.0, id="x in focus"),
    pytest.param(ASTIGMATIC, 2312.0, 2561.0, 500.0, id="at the end of the z range"),
]


@pytest.mark.parametrize(("psf", "x", "y", "z"), SPOTS)
def test_a_spot_has_the_photons_position_and_width_of_its_emitter(psf: Psf, x: float, y: float, z: float) -> None:
    image = draw(psf, [(0, x, y, z, 1000.0)])[0]
    assert image.sum().item() == pytest.approx(1000.0, rel=2e-5)
    mean_x, mean_y, variance_x, variance_y = moments(image)
    assert mean_x == pytest.approx(x, abs=0.02)
    assert mean_y == pytest.approx(y, abs=0.02)
    sigma_x, sigma_y = (sigma.item() for sigma in psf_sigmas_nm(psf, torch.tensor(z)))
    # Integration over a pixel adds the variance of a uniform distribution.
    assert variance_x == pytest.approx(sigma_x**2 + PIXEL.x_nm**2 / 12, rel=1e-3)
    assert variance_y == pytest.approx(sigma_y**2 + PIXEL.y_nm**2 / 12, rel=1e-3)


def test_each_pixel_is_an_integral_of_the_gaussian() -> None:
    x, y, sigma = 2337.0, 2461.0, 150.0

    def share(index: int, centre: float, size: float) -> float:
        edges = ((index - 0.5) * size - centre, (index + 0.5) * size - centre)
        return 0.5 * (math.erf(edges[1] / sigma / math.sqrt(2)) - math.erf(edges[0] / sigma / math.sqrt(2)))

    image = draw(GAUSSIAN, [(0, x, y, 0.0, 1000.0)])[0]
    for row, column in [(20, 23), (19, 24), (17, 21), (22, 27)]:
        expected = 1000.0 * share(column, x, PIXEL.x_nm) * share(row, y, PIXEL.y_nm)
        assert image[row, column].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_astigmatic_widths_have_the_closed_form_values() -> None:
    z = torch.tensor([-220.0, 250.0, 80.0], dtype=torch.float64)
    sigma_x, sigma_y = psf_sigmas_nm(ASTIGMATIC, z)
    assert sigma_x[0].item() == 130.0
    assert sigma_y[1].item() == 140.0
    assert sigma_x[2].item() == pytest.approx(130.0 * math.sqrt(2))  # one depth from its focus
    assert sigma_y[2].item() == pytest.approx(140.0 * math.hypot(1, 170 / 350))


def test_emitters_outside_the_frame_contribute_their_light() -> None:
    """A frame equals the crop of a larger frame, wherever the emitter lies."""
    shift = 12
    for x, y in [(-90.0, 1250.0), (-300.0, -300.0), (2390.0, 1250.0), (1200.0, 2600.0), (2500.0, -300.0)]:
        small = draw(GAUSSIAN, [(0, x, y, 0.0, 1000.0)], height=20, width=24)[0]
        there = (0, x + shift * PIXEL.x_nm, y + shift * PIXEL.y_nm, 0.0, 1000.0)
        large = draw(GAUSSIAN, [there], height=20 + 2 * shift, width=24 + 2 * shift)[0]
        torch.testing.assert_close(small, large[shift : shift + 20, shift : shift + 24], atol=1e-3, rtol=0)
        assert small.sum() > 1


def test_emitters_far_outside_the_frame_contribute_nothing() -> None:
    assert draw(GAUSSIAN, [(0, -5000.0, 1000.0, 0.0, 1e6), (0, 1000.0, 1e5, 0.0, 1e6)]).sum() == 0


def test_frames_are_kept_apart_and_emitters_add_up() -> None:
    rows = [(0, 1000.0, 1000.0, 0.0, 100.0), (2, 1500.0, 900.0, 0.0, 200.0), (2, 1510.0, 930.0, 0.0, 50.0)]
    images = draw(GAUSSIAN, rows, num_frames=4)
    assert images.shape == (4, 40, 48)
    assert images.sum(dim=(1, 2)).tolist() == pytest.approx([100.0, 0.0, 250.0, 0.0], rel=1e-4)
    alone = draw(GAUSSIAN, [(0, *rows[1][1:])])[0] + draw(GAUSSIAN, [(0, *rows[2][1:])])[0]
    torch.testing.assert_close(images[2], alone)


def test_frames_without_emitters_are_dark() -> None:
    assert draw(GAUSSIAN, [], num_frames=2).abs().sum() == 0
