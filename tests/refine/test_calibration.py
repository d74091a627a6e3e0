"""Calibration recovers the PSF of simulated beads, and fits of real beads agree with the stage position."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from lls_decode.config import AstigmaticPsf, PixelSize, SplinePsf
from lls_decode.errors import ConfigError, InputError, LlsDecodeError
from lls_decode.optics import SplineModel, build_psf, expected_photons, read_spline
from lls_decode.optics.psf import stamp_radius_px
from lls_decode.pipelines.cli import cli
from lls_decode.refine import fit_spots
from lls_decode.refine.calibration import calibrate, write_report
from lls_decode.refine.calibration.beads import find_beads, read_stack
from lls_decode.refine.calibration.slice_order import check_order
from lls_decode.refine.crlb import Spots, crlb

tifffile = pytest.importorskip("tifffile")

PIXEL = PixelSize(x_nm=100.0, y_nm=100.0)
PSF = AstigmaticPsf(
    sigma_x_nm=140.0, sigma_y_nm=140.0, focus_x_nm=-250.0, focus_y_nm=250.0, depth_x_nm=350.0, depth_y_nm=350.0
)
STEP, SLICES = 25.0, 49
BEADS = [(2010.0, 2043.0, 0.0), (6030.0, 1980.0, 40.0), (2075.0, 6015.0, -30.0), (5960.0, 6049.0, 10.0)]


def bead_stack(*, photons: float = 50_000.0, beads: list[tuple[float, float, float]] = BEADS) -> np.ndarray:
    """Return a noisy z scan of beads with offset 100 and gain 0.5 counts per electron."""
    z_nm = (torch.arange(SLICES, dtype=torch.float64) - (SLICES - 1) / 2) * STEP
    rows = [(frame, x, y, z + dz) for x, y, dz in beads for frame, z in enumerate(z_nm.tolist())]
    frame, x, y, z = torch.tensor(rows, dtype=torch.float64).reshape(-1, 4).T
    light = expected_photons(
        PSF,
        frame=frame.long(),
        x_nm=x,
        y_nm=y,
        z_nm=z,
        photons=torch.full_like(x, photons),
        pixel=PIXEL,
        radius_px=stamp_radius_px(PSF, (-700.0, 700.0), PIXEL),
        num_frames=SLICES,
        height=82,
        width=80,
    )
    draw = torch.Generator().manual_seed(4)
    return (0.5 * torch.poisson(light + 20, generator=draw) + 100).round().numpy().astype(np.uint16)


def save(path: Path, stack: np.ndarray) -> Path:
    tifffile.imwrite(path, stack, photometric="minisblack")
    return path


def test_calibration_recovers_the_psf_of_simulated_beads(tmp_path: Path) -> None:
    found = calibrate(
        [save(tmp_path / "beads.tif", bead_stack())], pixel=PIXEL, z_step_nm=STEP, offset_adu=100, gain_adu_per_e=0.5
    )
    assert [bead.used for bead in found.beads] == [True] * 4
    summary = found.summary()
    assert summary["z_rms_nm"] < 4
    # Positions relative to the first bead agree with the simulated ones.
    measured = np.array(
        [(b.x_px * 100 + b.shift_nm[0], b.y_px * 100 + b.shift_nm[1], -b.shift_nm[2]) for b in found.beads]
    )
    placed = np.array([min(BEADS, key=lambda p: abs(p[0] - m[0]) + abs(p[1] - m[1])) for m in measured])
    np.testing.assert_allclose(measured[:, 0] - measured[0, 0], placed[:, 0] - placed[0, 0], atol=4)
    np.testing.assert_allclose(measured[:, 1] - measured[0, 1], placed[:, 1] - placed[0, 1], atol=4)
    np.testing.assert_allclose(measured[:, 2] - measured[0, 2], placed[:, 2] - placed[0, 2], atol=6)
    # The written PSF equals the simulated one except for a common shift of z.
    found.write(tmp_path / "psf.npz")
    model = build_psf(SplinePsf(path=str(tmp_path / "psf.npz")), pixel=PIXEL)
    z = torch.linspace(-400, 400, 17, dtype=torch.float64)
    centre = torch.full_like(z, 10.3)
    truth = 5000 * build_psf(PSF, pixel=PIXEL).shares(centre, centre, z, height=21, width=21) + 10
    fits = fit_spots(model, truth)
    offset = fits.spots.z_nm - z
    assert (offset - offset.mean()).abs().max() < 12
    assert abs(offset.mean().item()) < 45


def test_the_sign_of_the_z_step_gives_the_sign_of_z(tmp_path: Path) -> None:
    path = save(tmp_path / "bead.tif", bead_stack(beads=BEADS[:1]))
    camera = {"offset_adu": 100.0, "gain_adu_per_e": 0.5}
    up, down = (calibrate([path], pixel=PIXEL, z_step_nm=step, **camera) for step in (STEP, -STEP))
    assert up.beads[0].stage_z_nm[0] < 0 < down.beads[0].stage_z_nm[0]
    assert up.spline.z_step_nm == -down.spline.z_step_nm
    assert down.summary()["z_rms_nm"] < 8  # the fits' bound is 3.5 nm, and the PSF of one bead adds a similar error


@pytest.mark.parametrize("name", ["psf.npz", "bead_3dcal.mat"])
def test_written_calibrations_are_read(tmp_path: Path, name: str) -> None:
    found = calibrate([save(tmp_path / "bead.tif", bead_stack(beads=BEADS[:1]))], pixel=PIXEL, z_step_nm=STEP)
    found.write(tmp_path / name)
    spline = read_spline(tmp_path / name)
    assert spline.light_in_focus() == pytest.approx(1.0)
    assert spline.z_range_nm == pytest.approx(found.spline.z_range_nm)


def test_a_calibration_report_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = calibrate([save(tmp_path / "bead.tif", bead_stack(beads=BEADS[:1]))], pixel=PIXEL, z_step_nm=STEP)
    write_report(tmp_path / "report.png", found, photons=100.0, background=200.0)
    assert (tmp_path / "report.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(("shift_nm", "step"), [(200.0, STEP), (-150.0, STEP), (200.0, -STEP)])
def test_the_calibration_reports_the_slice_in_focus(tmp_path: Path, shift_nm: float, step: float) -> None:
    """The slice in focus is found before or after the middle of the scan, for both signs of the z step."""
    path = save(tmp_path / "bead.tif", bead_stack(beads=[(2010.0, 2043.0, shift_nm)]))
    found = calibrate([path], pixel=PIXEL, z_step_nm=step)
    assert found.focus_from_middle_nm == pytest.approx(-shift_nm, abs=25)
    assert found.focus_slice == pytest.approx((SLICES - 1) / 2 - shift_nm / STEP, abs=1)
    assert np.interp(0.0, found.average_z_nm[:: int(np.sign(step))], np.arange(SLICES)[:: int(np.sign(step))]) == (
        pytest.approx(found.focus_slice)
    )
    summary = found.summary()
    assert (summary["num_slices"], summary["focus_slice"]) == (SLICES, round(found.focus_slice, 2))
    given = calibrate([path], pixel=PIXEL, z_step_nm=step, focus_slice=30.0)
    assert (given.focus_slice, given.focus_given, found.focus_given) == (30.0, True, False)
    assert given.focus_from_middle_nm == (30 - 24) * STEP


def test_the_bound_follows_the_given_photons_and_background(tmp_path: Path) -> None:
    """Four times the photons and background halve the bound exactly; more background alone increases it."""
    found = calibrate([save(tmp_path / "bead.tif", bead_stack())], pixel=PIXEL, z_step_nm=STEP)
    z_nm = np.array([-300.0, 0.0, 300.0])
    few, many, behind = (found.bound_nm(*light, z_nm) for light in ((1e3, 5.0), (4e3, 20.0), (1e3, 100.0)))
    np.testing.assert_allclose(few / many, 2.0, rtol=1e-6)
    assert (behind > 1.5 * few).all()
    x = torch.full((3,), found.spline.centre_x - 1, dtype=torch.float64)
    z = torch.tensor(z_nm)
    light = 2000 * torch.ones(3, dtype=torch.float64)
    wanted = crlb(SplineModel(found.spline), Spots(x, x, z, light, light / 100), height=21, width=21)
    np.testing.assert_allclose(found.bound_nm(2000.0, 20.0, z_nm)[2], wanted.z_nm.numpy(), rtol=0.02)


def test_the_calibrate_command_reports_focus_photons_and_bounds(tmp_path: Path) -> None:
    save(tmp_path / "bead.tif", bead_stack(beads=BEADS[:1]))
    given = ["calibrate", str(tmp_path / "bead.tif"), "--pixel-nm", "100", "--z-step-nm", "25"]
    given += ["--photons", "2500", "--background", "30"]
    said = CliRunner().invoke(cli, [*given, "--out", str(tmp_path / "psf.npz")])
    assert said.exit_code == 0, said.output
    assert " of 0 to 48, " in said.output
    assert "(the middle of the sharp slices; change it with --focus-slice)" in said.output
    assert "for 2500 photons per emitter and frame and a background of 30 per pixel" in said.output
    numbers = CliRunner().invoke(cli, [*given, "--out", str(tmp_path / "other.npz"), "--focus-slice", "20", "--json"])
    found = json.loads(numbers.stdout)
    assert (found["focus_slice"], found["focus_from_middle_nm"], found["photons"]) == (20, -100, 2500)
    assert 1 < found["bound_x_nm"] < 20 < found["bound_z_nm"] + 15
    assert "summed over the pixels of the PSF" in " ".join(
        CliRunner().invoke(cli, ["calibrate", "--help"]).output.split()
    )


def test_excluded_beads_are_listed_with_reasons(tmp_path: Path) -> None:
    crowded = [*BEADS[:2], (2800.0, 6000.0, 0.0), (3500.0, 6700.0, 0.0), (7700.0, 4300.0, 0.0)]
    found = calibrate([save(tmp_path / "beads.tif", bead_stack(beads=crowded))], pixel=PIXEL, z_step_nm=STEP)
    assert len(found.beads) == 2
    assert sorted(line.split(": ")[1] for line in found.left_out) == [
        "another bead within 21 pixels",
        "another bead within 21 pixels",
        "too close to the border",
    ]


def test_fits_of_a_real_astigmatic_bead_agree_with_the_stage(shared_data: Path) -> None:
    found = calibrate(
        [shared_data / "beads" / "astig_single_bead_real" / "single_bead.tif"],
        pixel=PixelSize(x_nm=132.0, y_nm=132.0),
        z_step_nm=10.0,
        offset_adu=400.0,
        gain_adu_per_e=10.0,
    )
    assert np.abs(found.residuals_nm()).max() < 5
    assert found.beads[0].converged.all()


def test_slices_of_a_real_bead_outside_the_calibration_are_fitted(shared_data: Path, tmp_path: Path) -> None:
    """The PSF is made from every second slice and fitted to the remaining ones."""
    stack = tifffile.imread(shared_data / "beads" / "astig_single_bead_real" / "single_bead.tif")
    found = calibrate(
        [save(tmp_path / "even.tif", stack[::2])], pixel=PixelSize(x_nm=132.0, y_nm=132.0), z_step_nm=20.0
    )
    electrons = torch.as_tensor((stack[1::2, 2:19, 2:19].astype(np.float64) - 400) / 10)
    model = build_psf_of(found)
    fitted = fit_spots(model, electrons).spots.z_nm.numpy()
    stage = found.average_z_nm[:-1] + 10.0
    near = np.abs(stage) <= 500
    residual = (fitted - stage)[near]
    assert np.abs(residual).max() < 10
    assert np.sqrt(np.mean(residual**2)) < 4


def test_beads_of_the_challenge_are_calibrated(shared_data: Path, tmp_path: Path) -> None:
    """z is found although the two sides of the focus differ little in this 2-D modality."""
    stack = tifffile.imread(shared_data / "beads" / "challenge2016_beads_2D" / "z-stack-Beads-2D-Exp.tif")
    found = calibrate(
        [save(tmp_path / "beads.tif", stack[::5, :90, :115])],
        pixel=PIXEL,
        z_step_nm=50.0,
        offset_adu=100.0,
        gain_adu_per_e=6.0,
    )
    assert len(found.beads) == 3
    assert found.summary()["z_rms_nm"] < 10


def build_psf_of(found):  # type: ignore[no-untyped-def]
    from lls_decode.optics import SplineModel

    return SplineModel(found.spline)


GOOD = {"pixel": PIXEL, "z_step_nm": STEP}


def _scan(order: list[int]) -> np.ndarray:
    return bead_stack()[order]


def _there_and_back() -> np.ndarray:
    """Return a scan in one direction followed by one in the other, with independent noise."""
    stack = bead_stack()
    return np.concatenate([stack[::2], stack[1::2][::-1]])


def _twice() -> np.ndarray:
    stack = bead_stack()
    return np.concatenate([stack[::2], stack[1::2]])


UP = list(range(SLICES))
EXCHANGED = [*UP[:17:2], 20, 18, *UP[22::2]]
BY_NAME = sorted(UP, key=str)
SHUFFLED = np.random.default_rng(0).permutation(SLICES).tolist()


def _with_nan() -> np.ndarray:
    stack = bead_stack(beads=BEADS[:1]).astype(np.float32)
    stack[7, 3, 3] = np.nan
    return stack


REFUSED = [
    pytest.param(lambda: bead_stack(beads=[]), GOOD, "no beads found", id="no beads"),
    pytest.param(lambda: np.minimum(bead_stack(), 400), GOOD, "saturated at 400", id="saturated"),
    pytest.param(bead_stack, {"pixel": PIXEL}, "z step is missing", id="no step"),
    pytest.param(bead_stack, {**GOOD, "z_step_nm": 0.0}, "0 nm", id="step of zero"),
    pytest.param(_with_nan, GOOD, "slice 7 holds NaN", id="NaN"),
    pytest.param(lambda: bead_stack()[0], GOOD, "1 slices", id="one image"),
    pytest.param(lambda: _scan(BY_NAME), GOOD, "slice 2 does not follow slice 1", id="files sorted 1, 10, 2"),
    pytest.param(lambda: _scan(SHUFFLED), GOOD, "slices are", id="shuffled"),
    pytest.param(lambda: _scan(UP[:20] + UP[30:]), GOOD, "slice 20 does not follow slice 19", id="slices lost"),
    pytest.param(lambda: _scan(EXCHANGED), GOOD, "slice 9 does not follow slice 8", id="two slices exchanged"),
    pytest.param(
        lambda: _scan(UP[20:] + UP[:20]), GOOD, "slice 29 does not follow slice 28", id="starts in the middle"
    ),
    pytest.param(_there_and_back, GOOD, "turns back at slice 24", id="scan in both directions"),
    pytest.param(_twice, GOOD, "slice 25", id="two scans"),
    pytest.param(lambda: _scan([24] * SLICES), GOOD, "stage did not move", id="one slice repeated"),
    pytest.param(lambda: bead_stack()[:48].reshape(3, 16, 82, 80), GOOD, "scans of 16", id="four dimensions"),
    pytest.param(bead_stack, {**GOOD, "focus_slice": 200.0}, "slice 200", id="focus outside"),
]


@pytest.mark.parametrize(("make", "options", "words"), REFUSED)
def test_unusable_stacks_are_refused(tmp_path: Path, make, options, words: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "beads.tif"
    stack = make()
    axes = {2: "YX", 3: "ZYX", 4: "TZYX"}[stack.ndim]
    tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": axes})
    with pytest.raises(LlsDecodeError) as raised:
        calibrate([path], **options)
    assert words in str(raised.value)


REAL = [
    ("astig_single_bead_real/single_bead.tif", 21),
    ("challenge2016_beads_2D/z-stack-Beads-2D-Exp.tif", 21),
    ("tetrapod_bead_real/TP_im.tif", 51),
    ("pyme_psf/psf_astig.tif", 41),
    ("../lls/lls_bead_psf.tif", 21),
]


@pytest.mark.parametrize(("name", "roi_px"), REAL)
def test_the_order_of_real_scans_is_checked(shared_data: Path, name: str, roi_px: int) -> None:
    """Ordered, reversed, thinned, dim and single-bead scans are accepted; reordered ones are refused."""
    beads, _ = find_beads(read_stack(shared_data / "beads" / name), roi_px=roi_px)
    scans = np.stack([bead.adu_ZYX for bead in beads])
    draw = np.random.default_rng(0)
    light = (scans - np.median(scans)).clip(0) / scans.max()
    good = [
        scans,
        scans[:, ::-1],
        scans[:, ::2],
        draw.poisson(60 * light + 3),
        *(scans[b : b + 1] for b in range(len(scans))),
    ]
    for scan in good:
        check_order("scan", np.asarray(scan, dtype=np.float64))
    count = scans.shape[1]
    by_name = sorted(range(count), key=str)
    for order in (by_name, draw.permutation(count).tolist(), [*range(0, count, 2), *range(1, count, 2)[::-1]]):
        with pytest.raises(InputError):
            check_order("scan", scans[:, order])


def test_a_scan_with_the_focus_at_an_end_is_noted(tmp_path: Path) -> None:
    path = save(tmp_path / "beads.tif", bead_stack(beads=BEADS[:1])[:24])
    found = calibrate([path], pixel=PIXEL, z_step_nm=STEP)
    assert "of the 24 slices is slice" in " ".join(found.notes)
    full = save(tmp_path / "full.tif", bead_stack(beads=BEADS[:1]))
    assert calibrate([full], pixel=PIXEL, z_step_nm=STEP, offset_adu=100.0, gain_adu_per_e=0.5).notes == ()


def imagej(path: Path, *, step_nm: float, pixel_nm: float) -> Path:
    """Save a bead stack whose metadata state the z step and the pixel size."""
    tifffile.imwrite(
        path,
        bead_stack(beads=BEADS[:1]),
        imagej=True,
        resolution=(1000 / pixel_nm, 1000 / pixel_nm),
        metadata={"axes": "ZYX", "spacing": step_nm / 1000, "unit": "um"},
    )
    return path


def test_settings_that_contradict_the_files_are_noted(tmp_path: Path) -> None:
    path = imagej(tmp_path / "bead.tif", step_nm=25.0, pixel_nm=100.0)
    camera = {"offset_adu": 100.0, "gain_adu_per_e": 0.5}
    assert calibrate([path], pixel=PIXEL, **camera).notes == ()
    assert calibrate([path], pixel=PIXEL, z_step_nm=-25.0, **camera).notes == (), "files do not state the sign"
    other = PixelSize(x_nm=120.0, y_nm=120.0)
    assert calibrate([path], pixel=other, z_step_nm=50.0, roi_px=20, **camera).notes == (
        "the PSF has 19 x 19 pixels, not 20 x 20: its side must be odd, and no larger than a frame of the stack "
        "(--roi-px)",
        "bead.tif states a z step of 25 nm, but 50 nm is used (--z-step-nm)",
        "bead.tif states pixels of 100 x 100 nm (x, y), but 120 x 120 nm is used (--pixel-nm, --pixel-y-nm)",
    )
    (note,) = calibrate([path], pixel=PIXEL).notes
    assert note.startswith("the darkest pixel has ")
    assert "the camera offset is taken as 0" in note


def test_stacks_with_different_z_steps_need_an_explicit_one(tmp_path: Path) -> None:
    one, other = (imagej(tmp_path / f"{step}.tif", step_nm=step, pixel_nm=100.0) for step in (25, 50))
    with pytest.raises(
        ConfigError, match=r"different z steps \(25 nm in 25.tif, 50 nm in 50.tif\); give the right one"
    ):
        calibrate([one, other], pixel=PIXEL)
    assert "50.tif states a z step of 50 nm" in calibrate([one, other], pixel=PIXEL, z_step_nm=25.0).notes[0]


def test_an_averaged_psf_of_other_software_is_calibrated(shared_data: Path, tmp_path: Path) -> None:
    """The volume is normalised, has non-square pixels, and its file lacks the z step."""
    path = shared_data / "beads" / "pyme_psf" / "psf_astig.tif"
    pixel = PixelSize(x_nm=74.0, y_nm=72.0)
    with pytest.raises(ConfigError, match="z step is missing"):
        calibrate([path], pixel=pixel)
    found = calibrate([path], pixel=pixel, z_step_nm=50.0, knots_nm=50.0, roi_px=41)
    assert found.beads[0].x_px == found.beads[0].y_px == 30
    assert found.summary()["z_rms_nm"] < 5
    found.write(tmp_path / "psf.npz")
    model = build_psf(SplinePsf(path=str(tmp_path / "psf.npz")), pixel=pixel)
    measured = tifffile.imread(path)[28, 10:51, 10:51].astype(np.float64)
    background = np.median(measured[0])
    z = torch.tensor([float(found.average_z_nm[28])], dtype=torch.float64)
    x, y = (
        torch.tensor([centre - 1], dtype=torch.float64) for centre in (found.spline.centre_x, found.spline.centre_y)
    )
    drawn = model.shares(x, y, z, height=41, width=41)[0].numpy()
    assert np.corrcoef(drawn.ravel(), (measured - background).ravel())[0, 1] > 0.9999


def test_a_psf_with_sum_one_is_calibrated(shared_data: Path, tmp_path: Path) -> None:
    """Normalised values are fitted as if they had a realistic number of photons."""
    measured = tifffile.imread(shared_data / "beads" / "pyme_psf" / "psf_astig.tif")[10:50]
    path = save(tmp_path / "psf.tif", measured / measured.sum())
    found = calibrate([path], pixel=PixelSize(x_nm=74.0, y_nm=72.0), z_step_nm=50.0)
    assert found.summary()["z_rms_nm"] < 5


def test_the_reported_wobble_agrees_with_the_known_positions(shared_data: Path, tmp_path: Path) -> None:
    """Wobble is the centroid of the challenge's beads minus their true position, for each plane."""
    folder = shared_data / "beads" / "challenge2016_beads_2D"
    stack = tifffile.imread(folder / "z-stack-Beads-2D-Exp.tif")[::3]
    found = calibrate(
        [save(tmp_path / "beads.tif", stack)], pixel=PIXEL, z_step_nm=30.0, offset_adu=100.0, gain_adu_per_e=13.4
    )
    frames = stack - 100.0
    table = np.loadtxt(folder / "activations.csv", delimiter=",")
    offsets = []
    for x_nm, y_nm in np.unique(table[:, 2:4], axis=0):
        x, y = int(x_nm // 100), int(y_nm // 100)
        spot = frames[:, y - 10 : y + 11, x - 10 : x + 11]
        spot = (spot - 0.1 * spot.max(axis=(1, 2), keepdims=True)).clip(0)
        light = spot.sum(axis=(1, 2))
        places = np.arange(-10, 11) * 100.0 + 50
        offsets.append(
            [spot.sum(axis=1) @ places / light + 100 * x - x_nm, spot.sum(axis=2) @ places / light + 100 * y - y_nm]
        )
    x_off, y_off = np.median(offsets, axis=0)
    near = np.abs(found.average_z_nm) <= 500
    for reported, true in ((found.centroid_x_nm, x_off), (found.centroid_y_nm, y_off)):
        difference = (reported - true)[near]
        assert (difference - difference.mean()).std() < 3
        assert np.ptp(true[near]) > 15


def test_unknown_types_of_output_files_are_refused(tmp_path: Path) -> None:
    found = calibrate([save(tmp_path / "bead.tif", bead_stack(beads=BEADS[:1]))], pixel=PIXEL, z_step_nm=STEP)
    with pytest.raises(ConfigError, match=r"\.txt"):
        found.write(tmp_path / "psf.txt")
