"""Folders of lattice light-sheet software: order of stacks, and geometry from Settings.txt."""

import logging
import re

import numpy as np
import pytest
import yaml

from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.config import Geometry, PixelSize, load_run_config
from lls_decode.errors import InputError
from lls_decode.movies import convert
from lls_decode.movies.formats.lls_settings import read_settings

tifffile = pytest.importorskip("tifffile")

SETTINGS = """***** ***** ***** Waveform ***** ***** *****
Z PZT Offset, Interval (um), # of Pixels for Excitation (0) :\t12\t{z}\t{planes}
S PZT Offset, Interval (um), # of Pixels for Excitation (0) :\t55\t{s}\t{planes}
Z PZT Offset, Interval (um), # of Pixels for Excitation (1) :\t12\t{z}\t{planes}
S PZT Offset, Interval (um), # of Pixels for Excitation (1) :\t55\t{s}\t{planes}
Z motion :\t{motion}
***** ***** *****   Camera  ***** ***** *****
Model :\t{model}
Binning :\tX={binning} Y={binning}
***** ***** *****   .ini File  ***** ***** *****
[Detection optics]
Magnification = {magnification}
Magnification at Tiling Slit = 1.5
[Sample stage]
Angle between stage and bessel beam (deg) = {angle}
"""
KNOWN = {
    "z": 0, "s": 0.4, "planes": 4, "motion": "Sample piezo", "model": "C11440-22C", "binning": 1,
    "magnification": 62.5, "angle": 31.8,
}  # fmt: skip


def settings_text(**changes):
    return SETTINGS.format(**{**KNOWN, **changes}).replace("\n", "\r\n")


def camera(*shape):
    return np.random.default_rng(0).integers(90, 140, shape).astype("uint16")


def janelia(channel, stack, laser=488):
    return f"cell5_ch{channel}_stack{stack:04d}_{laser}nm_{stack * 100:07d}msec_{stack * 100 + 5:010d}msecAbs.tif"


def mosaic(iteration):
    times = "stack0000_488nm_0000000msec_0015969850msecAbs"
    return f"Scan_Iter_{iteration:04d}_CamA_ch0_CAM1_{times}_000x_000y_000z_0000t.tif"


def write(folder, stacks, text=None):
    """Write a folder of stacks, given as pixels by file name, with its settings."""
    folder.mkdir(exist_ok=True)
    for name, data in stacks.items():
        tifffile.imwrite(folder / name, data, photometric="minisblack")
    (folder / "cell5_Settings.txt").write_text(settings_text() if text is None else text)
    return folder


def stored(source):
    return source.read(plan_blocks(source.layout, "none", source.layout.num_frames)[0]).adu_TYX


MOTIONS = {
    "stage": ({}, Geometry(motion="stage", stage_step_nm=400, angle_deg=31.8)),
    "stage, backwards": (
        {"s": -0.4},
        Geometry(motion="stage", stage_step_nm=400, angle_deg=31.8, scan_direction=-1),
    ),
    "angle beyond 90": (
        {"angle": 148.2},
        Geometry(motion="stage", stage_step_nm=400, angle_deg=31.8, scan_direction=-1),
    ),
    "objective": ({"motion": "Z galvo & piezo", "z": 0.25, "s": 0}, Geometry(motion="objective", stage_step_nm=250)),
}


@pytest.mark.parametrize(("changes", "geometry"), MOTIONS.values(), ids=MOTIONS)
def test_a_folder_becomes_a_store_and_a_run_configuration(changes, geometry, tmp_path):
    data = camera(3, 4, 9, 11)
    folder = write(tmp_path / "in", {janelia(0, i): data[i] for i in (2, 0, 1)}, settings_text(**changes))
    source = convert(folder, tmp_path / "cell.zarr")
    assert source.layout == Layout(3, 4, 9, 11)
    assert source.pixel_size == PixelSize(x_nm=104, y_nm=104)
    assert source.z_step_nm == geometry.stage_step_nm
    np.testing.assert_array_equal(stored(source), data.reshape(-1, 9, 11))
    config = load_run_config(tmp_path / "cell.run.yaml")
    assert config.geometry == geometry
    assert config.pixel_size == source.pixel_size
    text = (tmp_path / "cell.run.yaml").read_text()
    assert "lls-decode run cell.zarr --model MODEL --out results/ --config cell.run.yaml" in text
    assert geometry.describe(config.pixel_size) in text


def test_an_existing_run_configuration_is_not_changed(tmp_path, caplog):
    folder = write(tmp_path / "in", {janelia(0, 0): camera(4, 9, 11)})
    (tmp_path / "cell.run.yaml").write_text("pixel_size: {x_nm: 1, y_nm: 1}\n")
    convert(folder, tmp_path / "cell.zarr")
    assert yaml.safe_load((tmp_path / "cell.run.yaml").read_text()) == {"pixel_size": {"x_nm": 1, "y_nm": 1}}
    assert "was not changed" in caplog.text


@pytest.mark.parametrize(("told", "channel"), [("1", 1), ("ch1", 1), ("560", 1), ("0", 0)])
def test_one_channel_is_selected_by_number_name_or_wavelength(told, channel, tmp_path):
    data = camera(2, 3, 4, 9, 11)
    stacks = {janelia(c, t, (488, 560)[c]): data[c, t] for c in range(2) for t in range(3)}
    folder = write(tmp_path / "in", stacks)
    found = stored(convert(folder, tmp_path / "a.zarr", channel=told))
    np.testing.assert_array_equal(found, data[channel].reshape(-1, 9, 11))
    with pytest.raises(InputError, match=r"ch0 \(488 nm\), ch1 \(560 nm\); choose one with --channel"):
        convert(folder, tmp_path / "b.zarr")
    with pytest.raises(InputError, match="no channel '2'"):
        convert(folder, tmp_path / "b.zarr", channel="2")


def test_mosaic_names_and_sweeps_are_understood(tmp_path):
    data = camera(3, 4, 9, 11)
    text = settings_text(motion="X stage").replace("S PZT", "X Stage")
    folder = write(tmp_path / "in", {mosaic(i): data[i] for i in range(3)}, text)
    source = convert(folder, tmp_path / "a.zarr")
    np.testing.assert_array_equal(stored(source), data.reshape(-1, 9, 11))
    assert load_run_config(tmp_path / "a.run.yaml").geometry == MOTIONS["stage"][1]


def test_files_that_are_no_stacks_are_left_out_with_a_warning(tmp_path, caplog):
    folder = write(tmp_path / "in", {janelia(0, 0): camera(4, 9, 11), "MAX_cell5.tif": camera(9, 11)})
    (folder / "._junk.tif").write_bytes(b"x")
    assert convert(folder, tmp_path / "a.zarr").layout == Layout(1, 4, 9, 11)
    assert "1 files are not named as stacks and were left out: MAX_cell5.tif" in caplog.text


def test_an_incomplete_last_stack_keeps_its_frames(tmp_path):
    data = camera(9, 9, 11)
    folder = write(tmp_path / "in", {janelia(0, 0): data[:4], janelia(0, 1): data[4:8], janelia(0, 2): data[8]})
    source = convert(folder, tmp_path / "a.zarr")
    assert source.layout == Layout(2, 4, 9, 11)
    assert source.frame_map.num_leftover == 1
    assert load_run_config(tmp_path / "a.run.yaml").input.planes_per_volume == 4


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([janelia(0, 0), janelia(0, 2)], "lacks the stacks between"),
        ([janelia(0, 0), janelia(0, 0).replace("cell5", "cell6")], "two stacks of one time"),
        (["a.tif"], "no TIFF file named like"),
        (
            [mosaic(0), mosaic(0).replace("_000x", "_001x")],
            "2 positions: 000x_000y_000z, 001x_000y_000z; choose one with --position",
        ),
    ],
)
def test_folders_without_a_unique_order_of_volumes_are_refused(names, message, tmp_path):
    folder = write(tmp_path / "in", {name: camera(4, 9, 11) for name in names})
    with pytest.raises(InputError, match=message):
        convert(folder, tmp_path / "a.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_an_incomplete_stack_in_the_middle_is_refused(tmp_path):
    folder = write(tmp_path / "in", {janelia(0, i): camera(3 if i == 1 else 4, 9, 11) for i in range(3)})
    with pytest.raises(InputError, match=r"stack0001.* has 3 planes, .*stack0000.* has 4"):
        convert(folder, tmp_path / "a.zarr")


def test_a_stack_of_another_shape_is_found_when_it_is_read(tmp_path):
    """Stacks of equal file size are not checked in advance, because a series may have 100 000 files."""
    folder = write(tmp_path / "in", {janelia(0, 0): camera(4, 9, 12), janelia(0, 1): camera(4, 12, 9)})
    with pytest.raises(InputError, match=r"shape \(12, 9\).*must be alike"):
        convert(folder, tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"model": "Unknown 1"}, "from the camera 'Unknown 1'"),
        ({"motion": "Levitation", "s": 0}, "unknown Z motion 'Levitation'"),
        ({"angle": ""}, "does not state the angle"),
        ({"planes": 5}, "states 5 planes per volume, but the stacks have 4"),
    ],
)
def test_missing_and_contradictory_settings_give_a_warning(changes, note, tmp_path, caplog):
    folder = write(tmp_path / "in", {janelia(0, 0): camera(4, 9, 11)}, settings_text(**changes))
    with caplog.at_level(logging.WARNING):
        assert convert(folder, tmp_path / "a.zarr").layout == Layout(1, 4, 9, 11)
    assert len([r for r in caplog.records if re.search(note, r.message)]) == 1


def test_binned_pixels_are_larger(tmp_path):
    (tmp_path / "Settings.txt").write_text(settings_text(binning=2))
    assert read_settings(tmp_path / "Settings.txt").pixel_size == PixelSize(x_nm=208, y_nm=208)


def test_settings_without_a_sweep_are_refused(tmp_path):
    (tmp_path / "Settings.txt").write_text("Date :\t10/7/2016\n")
    with pytest.raises(InputError, match=r"does not describe the sweep of channel 0.*move it elsewhere"):
        read_settings(tmp_path / "Settings.txt")


def test_without_unreadable_settings_the_stacks_are_converted(tmp_path):
    """The advice of `test_settings_without_a_sweep_are_refused`."""
    data = camera(4, 20, 24)
    folder = write(tmp_path / "raw", {janelia(0, 0): data}, "no sweep")
    (folder / "cell5_Settings.txt").rename(tmp_path / "Settings.txt")
    np.testing.assert_array_equal(stored(convert(folder, tmp_path / "a.zarr")), data)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32", "latin-1"])
def test_settings_are_read_in_the_encoding_of_their_byte_order_mark(encoding, tmp_path):
    path = tmp_path / "Settings.txt"
    path.write_bytes(settings_text(motion="Sample piezo").replace("(um)", "(µm)").encode(encoding))
    assert read_settings(path).geometry == Geometry(motion="stage", stage_step_nm=400, angle_deg=31.8)


def test_third_party_settings_and_stack_are_converted(shared_data, tmp_path):
    """Settings and a stack of the same kind of instrument are put into one folder."""
    lls = shared_data / "lls"
    found = read_settings(lls / "settings" / "example_Settings.txt")
    assert found.geometry == Geometry(motion="stage", stage_step_nm=300, angle_deg=31.5)
    assert found.planes == 88
    assert found.pixel_size.x_nm == pytest.approx(101.9, abs=0.05)
    assert found.notes == ()
    raw = tifffile.imread(lls / "deskew_pair" / "im_raw_rows100-131.tif")
    folder = write(tmp_path / "in", {janelia(0, 0): raw}, (lls / "settings" / "example_Settings.txt").read_text())
    source = convert(folder, tmp_path / "a.zarr")
    np.testing.assert_array_equal(stored(source), raw)
    config = load_run_config(tmp_path / "a.run.yaml")
    assert config.geometry.plane_shift_px(config.pixel_size) == pytest.approx(2.5579 / 1.0188, abs=1e-3)


def test_a_channel_is_refused_for_a_movie_without_channels(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", camera(9, 11))
    with pytest.raises(InputError, match="omit --channel"):
        convert(tmp_path / "a.tif", tmp_path / "a.zarr", channel="0")
