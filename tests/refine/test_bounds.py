"""Cramer-Rao bounds of emitters in frames: closed forms, noise of individual pixels, and edges of the frame."""

from typing import Any

import numpy as np
import pytest
import torch

from lls_decode.config import AstigmaticPsf, EmccdCamera, GaussianPsf, PixelSize
from lls_decode.emitters import Emitters
from lls_decode.optics import CameraModel, build_camera
from lls_decode.refine import Bounds, emitter_bounds
from tests.cameras import scmos_model

PIXEL = PixelSize(x_nm=20.0, y_nm=25.0)
PSF = GaussianPsf(sigma_nm=130.0)
SIDE = 100


def scmos(variance: Any = 0.0, gain: float = 2.0) -> CameraModel:
    return scmos_model(100.0, gain, variance, quantum_efficiency=0.8)


def bounds(camera: CameraModel, *, bg: float = 0.0, x_nm: float = 1000.0, **changes: Any) -> Bounds:
    emitters = Emitters.from_columns(
        {"frame": [0], "x_nm": [x_nm], "y_nm": [1250.0], "z_nm": [0.0], "photons": [1000.0], "bg": [bg]}
    )
    settings = {"psf": PSF, "pixel": PIXEL, "field": (SIDE, SIDE), **changes}
    return emitter_bounds(emitters, camera=camera, **settings)


def test_an_isolated_bright_emitter_has_the_closed_form_bound() -> None:
    """With small pixels and no background it is sigma / sqrt(electrons), and that of photons is sqrt(photons / QE)."""
    found = bounds(scmos(), bg=1e-6)
    np.testing.assert_allclose([found.x_nm[0], found.y_nm[0]], 130.0 / np.sqrt(800.0), rtol=0.01)
    assert found.photons[0] == pytest.approx(np.sqrt(1000.0 / 0.8), rel=0.03)
    assert np.isnan(found.z_nm[0])


def test_the_bound_of_an_emccd_is_larger_by_root_two() -> None:
    """Amplified electrons have variance 2 m + s^2, twice that of an sCMOS camera with read variance s^2 / 2."""
    camera = EmccdCamera(baseline_adu=100, e_per_adu=10, em_gain=300, read_sigma_e=300, quantum_efficiency=0.8)
    one, other = bounds(scmos(2.0**2 / 2), bg=3.0), bounds(build_camera(camera, SIDE, SIDE), bg=3.0)
    for name in ("x_nm", "y_nm", "photons"):
        assert getattr(other, name)[0] == pytest.approx(np.sqrt(2) * getattr(one, name)[0], rel=1e-6)


def test_bounds_use_the_read_noise_of_pixels_at_the_emitter() -> None:
    variance = torch.zeros(SIDE, SIDE)
    variance[:, 70:] = 1e4
    quiet, noisy = bounds(scmos(variance), bg=3.0, x_nm=600.0), bounds(scmos(variance), bg=3.0, x_nm=1800.0)
    flat = bounds(scmos(), bg=3.0)
    assert quiet.x_nm[0] == pytest.approx(flat.x_nm[0], rel=1e-3)
    assert noisy.x_nm[0] > 5 * flat.x_nm[0]


def test_background_and_the_edge_of_the_frame_increase_the_bound() -> None:
    flat = bounds(scmos(), bg=3.0)
    assert bounds(scmos(), bg=30.0).x_nm[0] > 1.2 * flat.x_nm[0]
    assert bounds(scmos(), bg=3.0, x_nm=0.0).x_nm[0] > 1.3 * flat.x_nm[0]


def test_z_has_a_bound_if_the_psf_depends_on_z() -> None:
    psf = AstigmaticPsf(sigma_x_nm=130, sigma_y_nm=130, focus_x_nm=-220, focus_y_nm=220, depth_x_nm=300, depth_y_nm=300)
    pixel = PixelSize(x_nm=100, y_nm=100)
    found = bounds(scmos(), bg=3.0, psf=psf, pixel=pixel)
    assert 10 < found.z_nm[0] < 60
    none = Emitters.from_columns({"frame": [], "x_nm": [], "y_nm": []})
    assert emitter_bounds(none, psf, pixel=pixel, camera=scmos(), field=(9, 9)).x_nm.shape == (0,)
