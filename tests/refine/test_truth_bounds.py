"""Cramer-Rao bounds of a truth table: cameras, units, and refused input."""

import math

import numpy as np
import pytest
import torch

from lls_decode.config import AstigmaticPsf, EmccdCamera, GaussianPsf, PixelSize, ScmosCamera
from lls_decode.emitters import Emitters
from lls_decode.errors import ConfigError
from lls_decode.evaluate import evaluate
from lls_decode.optics import build_camera, build_psf
from lls_decode.refine import fit_spots, with_bounds

PIXEL = PixelSize(x_nm=100.0, y_nm=80.0)
FLAT = GaussianPsf(sigma_nm=130.0)
ASTIGMATIC = AstigmaticPsf(
    sigma_x_nm=130.0, sigma_y_nm=130.0, focus_x_nm=-220.0, focus_y_nm=220.0, depth_x_nm=300.0, depth_y_nm=300.0
)


def camera(*, variance_adu2: float = 0.0, gain: float = 2.0, efficiency: float = 1.0) -> ScmosCamera:
    return ScmosCamera(
        offset_adu=100.0, gain_adu_per_e=gain, variance_adu2=variance_adu2, quantum_efficiency=efficiency
    )


def truth(num: int = 1, *, photons: float = 1000.0, bg: float = 10.0, seed: int = 0) -> Emitters:
    random = np.random.default_rng(seed)
    x, y, z = random.uniform(2000, 8000, num), random.uniform(2000, 8000, num), random.uniform(-300, 300, num)
    return Emitters.from_columns(
        {
            "frame": np.arange(num), "x_nm": x, "y_nm": y, "z_nm": z,
            "photons": np.full(num, photons), "bg": np.full(num, bg),
        }
    )  # fmt: skip


def test_a_gaussian_without_background_has_the_bound_sigma_over_root_n() -> None:
    bound = with_bounds(truth(20, bg=0.0), FLAT, camera=camera(), pixel=PIXEL)
    # pixelation adds a^2 / 12 to sigma^2
    assert bound.x_sig == pytest.approx(math.sqrt((130**2 + 100**2 / 12) / 1000), rel=0.02)
    assert bound.y_sig == pytest.approx(math.sqrt((130**2 + 80**2 / 12) / 1000), rel=0.02)
    assert bound.phot_sig == pytest.approx(math.sqrt(1000), rel=0.05)
    assert np.isnan(bound.z_sig).all()
    assert np.array_equal(bound.x_nm, truth(20).x_nm)


def test_quantum_efficiency_acts_like_fewer_photons() -> None:
    half = with_bounds(truth(), ASTIGMATIC, camera=camera(efficiency=0.5), pixel=PIXEL)
    dim = with_bounds(truth(photons=500.0, bg=5.0), ASTIGMATIC, camera=camera(), pixel=PIXEL)
    assert (half.x_sig, half.z_sig) == (pytest.approx(dim.x_sig), pytest.approx(dim.z_sig))
    assert half.phot_sig == pytest.approx(2 * dim.phot_sig)  # phot_sig is in photons before the loss


def test_read_variance_acts_like_background() -> None:
    noisy = with_bounds(truth(), ASTIGMATIC, camera=camera(variance_adu2=20.0), pixel=PIXEL)  # 20 / 2^2 = 5 e^2
    brighter = with_bounds(truth(bg=15.0), ASTIGMATIC, camera=camera(), pixel=PIXEL)
    for name in ("x_sig", "y_sig", "z_sig", "phot_sig"):
        assert getattr(noisy, name) == pytest.approx(getattr(brighter, name))


def test_amplification_increases_bounds_by_root_two() -> None:
    emccd = EmccdCamera(baseline_adu=100, e_per_adu=45, em_gain=300, read_sigma_e=0.0)
    amplified = with_bounds(truth(), ASTIGMATIC, camera=emccd, pixel=PIXEL)
    plain = with_bounds(truth(), ASTIGMATIC, camera=camera(), pixel=PIXEL)
    for name in ("x_sig", "z_sig", "phot_sig"):
        assert getattr(amplified, name) == pytest.approx(math.sqrt(2) * getattr(plain, name))


@pytest.mark.parametrize("sub_pixel", [0.0, 0.49, 0.51])
def test_bounds_depend_only_on_the_position_within_the_pixel(sub_pixel: float) -> None:
    def at(x_px: float) -> Emitters:
        one = truth()
        return Emitters(**{**vars(one), "x_nm": np.array([x_px * PIXEL.x_nm]), "z_nm": np.zeros(1)})

    near, far = (with_bounds(at(px + sub_pixel), ASTIGMATIC, camera=camera(), pixel=PIXEL) for px in (0, 400))
    assert near.x_sig == pytest.approx(far.x_sig)


def test_fits_of_simulated_emitters_reach_the_bound() -> None:
    """Maximum likelihood fits of frames with camera noise have errors equal to the bound in every quantity."""
    num, size = 1500, 21
    true = truth(num, photons=2000.0, bg=5.0)
    corner_px = np.floor(np.stack([true.x_nm / PIXEL.x_nm, true.y_nm / PIXEL.y_nm])).astype(int) - size // 2
    x_px, y_px = true.x_nm / PIXEL.x_nm - corner_px[0], true.y_nm / PIXEL.y_nm - corner_px[1]
    chip = camera(variance_adu2=8.0, efficiency=0.8)
    psf = build_psf(ASTIGMATIC, pixel=PIXEL)
    shares = psf.shares(*(torch.as_tensor(v) for v in (x_px, y_px, true.z_nm)), height=size, width=size)
    expected = torch.as_tensor(true.photons)[:, None, None] * shares + 5.0
    counts = build_camera(chip, size, size).to_adu(expected.to(torch.float32), torch.Generator().manual_seed(0))
    fits = fit_spots(psf, (counts - chip.offset_adu) / chip.gain_adu_per_e, variance=8.0 / 2.0**2)
    spots = fits.spots
    found = Emitters.from_columns(
        {
            "frame": true.frame,
            "x_nm": (spots.x_px.numpy() + corner_px[0]) * PIXEL.x_nm,
            "y_nm": (spots.y_px.numpy() + corner_px[1]) * PIXEL.y_nm,
            "z_nm": spots.z_nm.numpy(),
            "photons": spots.photons.numpy() / 0.8,
        }
    )
    bounds = with_bounds(true, ASTIGMATIC, camera=chip, pixel=PIXEL)
    result = evaluate(true, found, bounds=bounds)
    assert result.score.true_positives > 0.995 * num
    for item in result.bounds:
        assert item.ratio == pytest.approx(1, abs=0.08), item.quantity


def test_unknown_background_and_camera_maps_are_refused() -> None:
    dark = Emitters(**{**vars(truth()), "bg": np.array([np.nan])})
    with pytest.raises(ConfigError, match=r"1 of 1 rows of the truth have no bg.*--bg"):
        with_bounds(dark, FLAT, camera=camera(), pixel=PIXEL)
    maps = ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.0, variance_adu2="map.npy")
    with pytest.raises(ConfigError, match="per-pixel maps"):
        with_bounds(truth(), FLAT, camera=maps, pixel=PIXEL)


def test_bounds_of_many_and_of_no_emitters() -> None:
    many = with_bounds(truth(5000), FLAT, camera=camera(), pixel=PIXEL)
    assert len(many.x_sig) == 5000
    assert np.isfinite(many.x_sig).all()
    assert len(with_bounds(truth(0), FLAT, camera=camera(), pixel=PIXEL)) == 0
