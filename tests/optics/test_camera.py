"""Camera models: noise agrees with closed forms, and counts are converted back to photons."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from lls_decode.config import EmccdCamera, ScmosCamera
from lls_decode.errors import ConfigError
from lls_decode.optics import CameraModel, build_camera
from tests.cameras import scmos_model

SCMOS = ScmosCamera(offset_adu=100.0, gain_adu_per_e=2.1, variance_adu2=6.0, quantum_efficiency=0.8)
EMCCD = EmccdCamera(
    baseline_adu=100.0, e_per_adu=45.0, em_gain=300.0, read_sigma_e=74.4, spurious_e=0.02, quantum_efficiency=0.9
)
SIDE = 600
PHOTONS = [0.0, 3.0, 40.0, 900.0]


def count(camera: CameraModel, photons: float, seed: int = 0) -> Tensor:
    """Return counts of many pixels that receive the same number of photons."""
    return camera.to_adu(torch.full((SIDE, SIDE), photons), torch.Generator().manual_seed(seed))


def check_moments(adu: Tensor, mean: float, variance: float) -> None:
    """Check mean and variance within five standard errors."""
    n = adu.numel()
    assert adu.double().mean().item() == pytest.approx(mean, abs=5 * (variance / n) ** 0.5)
    assert adu.double().var().item() == pytest.approx(variance, rel=5 * (8 / n) ** 0.5)


@pytest.mark.parametrize("photons", PHOTONS)
def test_scmos_noise_has_the_expected_mean_and_variance(photons: float) -> None:
    electrons, gain = 0.8 * photons, 2.1
    adu = count(build_camera(SCMOS, SIDE, SIDE), photons)
    assert adu.dtype == torch.float32
    assert (adu == adu.round()).all()
    # Poisson electrons, read noise, rounding.
    check_moments(adu, 100.0 + gain * electrons, gain**2 * electrons + 6.0 + 1 / 12)


def test_read_noise_matches_the_variance_of_dark_frames() -> None:
    """The variance is in photons; rounding of counts adds 1/12 count squared."""
    chip = build_camera(SCMOS, SIDE, SIDE)
    dark = chip.to_photons(count(chip, 0.0))
    rounding = 1 / 12 / (2.1 * 0.8) ** 2
    assert dark.double().var().item() == pytest.approx(float(chip.read_noise) ** 2 + rounding, rel=0.02)


def test_read_noise_is_a_map_that_is_cropped_with_the_camera() -> None:
    """Read noise in photons is the square root of the variance map, divided by gain and quantum efficiency."""
    variance = torch.tensor([[4.0, 9.0], [16.0, 1.0]])
    chip = scmos_model(100.0, [[1.0, 2.0], [2.0, 1.0]], variance, 0.5)
    assert torch.equal(chip.read_noise, torch.tensor([[4.0, 3.0], [4.0, 2.0]]))
    assert torch.equal(chip.crop(slice(1, 2), slice(0, 1)).read_noise, torch.tensor([[4.0]]))


def test_an_emccd_has_no_map_of_read_noise() -> None:
    with pytest.raises(ConfigError, match="cameras of kind emccd do not have"):
        _ = build_camera(EMCCD, SIDE, SIDE).read_noise


@pytest.mark.parametrize("photons", PHOTONS)
def test_emccd_noise_has_the_expected_mean_and_variance(photons: float) -> None:
    electrons, per_adu = 0.9 * photons + 0.02, 45.0
    adu = count(build_camera(EMCCD, SIDE, SIDE), photons)
    assert (adu == adu.round()).all()
    # Amplification doubles the variance of the electrons (excess noise); counts are rounded down.
    variance = (2 * 300.0**2 * electrons + 74.4**2) / per_adu**2 + 1 / 12
    if photons == 0.0:  # nearly all pixels are dark and the rest form a heavy tail, so only the mean is tested
        assert adu.mean().item() == pytest.approx(100.0 - 0.5 + 300.0 * electrons / per_adu, abs=0.02)
    else:
        check_moments(adu, 100.0 - 0.5 + 300.0 * electrons / per_adu, variance)


@pytest.mark.parametrize("photons", PHOTONS)
def test_counts_convert_back_to_the_mean_number_of_photons(photons: float) -> None:
    scmos, emccd = build_camera(SCMOS, SIDE, SIDE), build_camera(EMCCD, SIDE, SIDE)
    for camera, excess, lost in ((scmos, 1.0, 0.0), (emccd, 2.0, 0.5 * 45.0 / 300.0 / 0.9)):
        back = camera.to_photons(count(camera, photons))
        error = ((excess * photons / 0.8 + 4.0) / SIDE**2) ** 0.5
        # An EMCCD's counts are rounded down, which loses half a count: 0.08 photons here.
        assert back.double().mean().item() == pytest.approx(photons - lost, abs=5 * error)


def test_counts_are_never_negative() -> None:
    dark = ScmosCamera(offset_adu=0.0, gain_adu_per_e=1.0, variance_adu2=100.0)
    assert count(build_camera(dark, SIDE, SIDE), 0.0).min() == 0
    assert (count(build_camera(dark, SIDE, SIDE), -5.0) >= 0).all()


def test_equal_seeds_give_equal_counts() -> None:
    for config in (SCMOS, EMCCD):
        camera = build_camera(config, SIDE, SIDE)
        assert torch.equal(count(camera, 20.0, seed=3), count(camera, 20.0, seed=3))
        assert not torch.equal(count(camera, 20.0, seed=3), count(camera, 20.0, seed=4))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int16, torch.int32, torch.float32, torch.float64])
def test_counts_of_every_dtype_convert_to_float32_photons(dtype: torch.dtype) -> None:
    adu = torch.tensor([[100, 142, 184]], dtype=dtype)
    photons = build_camera(SCMOS, 1, 3).to_photons(adu)
    assert photons.dtype == torch.float32
    torch.testing.assert_close(photons, torch.tensor([[0.0, 25.0, 50.0]]))


def save(folder: Path, name: str, values: np.ndarray) -> str:
    np.save(folder / f"{name}.npy", values)
    return str(folder / f"{name}.npy")


def camera_with_maps(folder: Path) -> ScmosCamera:
    random = np.random.default_rng(0)
    return ScmosCamera(
        offset_adu=save(folder, "offset", random.normal(100, 5, (6, 9))),
        gain_adu_per_e=save(folder, "gain", random.uniform(1, 3, (6, 9)).astype(np.float32)),
        variance_adu2=save(folder, "variance", random.uniform(1, 900, (6, 9))),
        quantum_efficiency=0.8,
    )


def test_every_pixel_has_its_own_offset_gain_and_variance(tmp_path: Path) -> None:
    config = camera_with_maps(tmp_path)
    camera = build_camera(config, 6, 9)
    offset, gain, variance = (np.load(tmp_path / f"{name}.npy") for name in ("offset", "gain", "variance"))
    adu = camera.to_adu(torch.full((20_000, 6, 9), 50.0), torch.Generator().manual_seed(0)).double().numpy()
    expected = gain**2 * 40.0 + variance + 1 / 12
    np.testing.assert_allclose(adu.mean(0), offset + gain * 40.0, atol=5 * (expected.max() / 20_000) ** 0.5)
    np.testing.assert_allclose(adu.var(0), expected, rtol=0.06)
    back = camera.to_photons(torch.from_numpy(adu)).mean(0)
    np.testing.assert_allclose(back, 50.0, atol=1.0)


def test_a_cropped_camera_converts_as_the_whole_camera(tmp_path: Path) -> None:
    camera = build_camera(camera_with_maps(tmp_path), 6, 9)
    adu = torch.arange(54, dtype=torch.float32).reshape(1, 6, 9) * 10
    y, x = slice(2, 5), slice(4, 9)
    assert torch.equal(camera.crop(y, x).to_photons(adu[:, y, x]), camera.to_photons(adu)[:, y, x])
    for config in (SCMOS, EMCCD):  # without maps all pixels are equal
        plain = build_camera(config, 6, 9)
        assert torch.equal(plain.crop(y, x).to_photons(adu[:, y, x]), plain.to_photons(adu)[:, y, x])


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        pytest.param("offset_adu", np.zeros((9, 6)), r"\(9, 6\), but frames have \(6, 9\) .*swapped", id="transposed"),
        pytest.param("offset_adu", np.zeros((2048, 2048)), r"crop the map to the recorded region", id="whole chip"),
        pytest.param("gain_adu_per_e", np.zeros((6, 9)), "positive gain", id="no gain"),
        pytest.param("variance_adu2", np.full((6, 9), -1.0), "never below 0", id="negative variance"),
        pytest.param("variance_adu2", np.full((6, 9), np.nan), "NaN", id="not a number"),
        pytest.param("offset_adu", np.array([object()] * 2), "cannot be read", id="objects are not unpickled"),
    ],
)
def test_unsuitable_maps_are_refused(tmp_path: Path, name: str, values: np.ndarray, words: str) -> None:
    config = camera_with_maps(tmp_path).replace(**{name: save(tmp_path, "bad", values)})
    with pytest.raises(ConfigError, match=words) as caught:
        build_camera(config, 6, 9)
    assert name in str(caught.value)


def test_a_missing_map_is_refused_by_path(tmp_path: Path) -> None:
    config = SCMOS.replace(offset_adu=str(tmp_path / "absent.npy"))
    with pytest.raises(ConfigError, match=r"camera\.offset_adu: map .*absent\.npy cannot be read .*No such file"):
        build_camera(config, 6, 9)


def more_light(camera: CameraModel, before: float, more: float, frames: int, seed: int = 0) -> np.ndarray:
    """Return counts (frames, 6, 9) of recorded frames to which the counts of further light were added."""
    generator = torch.Generator().manual_seed(seed)
    shape = (frames, 6, 9)
    recorded = camera.to_adu(torch.full(shape, before), generator)
    return (recorded + camera.added_adu(torch.full(shape, more), generator)).double().numpy()


def test_added_light_gives_the_moments_of_light_recorded_together(tmp_path: Path) -> None:
    """Each pixel has the mean and variance of the summed light, and read noise counts only once."""
    camera = build_camera(camera_with_maps(tmp_path), 6, 9)
    offset, gain, variance = (np.load(tmp_path / f"{name}.npy") for name in ("offset", "gain", "variance"))
    adu = more_light(camera, 20.0, 30.0, 20_000)
    expected = gain**2 * 0.8 * 50.0 + variance + 1 / 12
    np.testing.assert_allclose(adu.mean(0), offset + gain * 0.8 * 50.0, atol=5 * (expected.max() / 20_000) ** 0.5)
    np.testing.assert_allclose(adu.var(0), expected, rtol=0.06)
    np.testing.assert_allclose((adu.var(0) / expected).mean(), 1.0, atol=0.01)


def test_added_light_has_the_poisson_distribution_of_the_sum() -> None:
    """Without read noise and at one count per electron, counts follow the Poisson distribution of the summed light."""
    plain = ScmosCamera(offset_adu=0.0, gain_adu_per_e=1.0, variance_adu2=0.0, quantum_efficiency=0.5)
    adu = more_light(build_camera(plain, 6, 9), 4.0, 6.0, 4000).astype(int).ravel()
    probability = stats.poisson(5.0).pmf(np.arange(12))
    seen = np.bincount(adu.clip(max=12), minlength=13)
    assert stats.chisquare(seen, len(adu) * np.append(probability, 1 - probability.sum())).pvalue > 1e-3


def test_added_light_is_amplified_by_an_emccd() -> None:
    electrons, per_adu = 0.9 * 50.0 + 0.02, 45.0
    adu = torch.from_numpy(more_light(build_camera(EMCCD, 6, 9), 20.0, 30.0, 20_000))
    variance = (2 * 300.0**2 * electrons + 74.4**2) / per_adu**2 + 1 / 12
    check_moments(adu, 100.0 - 0.5 + 300.0 * electrons / per_adu, variance)


@pytest.mark.parametrize("config", [SCMOS, EMCCD], ids=lambda config: config.kind)
def test_adding_no_light_leaves_the_frame_unchanged(config: ScmosCamera | EmccdCamera) -> None:
    """Read noise and spurious charge are not added again, because the recorded frame already contains them."""
    added = build_camera(config, 6, 9).added_adu(torch.zeros(500, 6, 9), torch.Generator().manual_seed(0))
    assert (added == 0).all()
