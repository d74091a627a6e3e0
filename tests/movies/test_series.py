"""Selection, order and axes of the files of a folder follow metadata and names, and are never guessed."""

import logging
import re

import numpy as np
import pytest

from lls_decode.errors import InputError
from lls_decode.movies import convert, open_movie
from lls_decode.movies.choices import Choices
from lls_decode.naming.names import read_name, read_pattern
from tests.movies.any_movie import H, W

tifffile = pytest.importorskip("tifffile")

MOVIE = np.random.default_rng(0).integers(90, 400, (24, H, W)).astype("uint16")


def write(folder, names, planes):
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        frames = MOVIE[planes * i : planes * (i + 1)]
        tifffile.imwrite(folder / name, frames, photometric="minisblack", metadata=None, ome=False)
    return folder


def lls(channel, stack, iteration=None):
    front = "" if iteration is None else f"Scan_Iter_{iteration:04d}_"
    return f"{front}cell_ch{channel}_stack{stack:04d}_488nm_{stack * 100:07d}msec_{stack:010d}msecAbs.tif"


FOUND = {
    "natural order": ([f"v{i}.tif" for i in (0, 2, 1, *range(3, 12))], 1, {}, [0, 2, 1, *range(3, 12)]),
    "name without number first": (["m-1.tif", "m.tif", "m-2.tif"], 2, {}, [2, 3, 0, 1, 4, 5]),
    "name without number, file002": (["m-file002.tif", "m.tif"], 2, {}, [2, 3, 0, 1]),
    "name without number, copies": (["m (1).tif", "m.tif"], 2, {}, [2, 3, 0, 1]),
    "name without number, two suffixes": (["m_1.ome.tif", "m.ome.tif"], 2, {}, [2, 3, 0, 1]),
    "name without number, no position": (["x_MMStack_1.ome.tif", "x_MMStack.ome.tif"], 2, {}, [2, 3, 0, 1]),
    "name without number, Image2": (["Image2.tif", "Image.tif", "Image3.tif"], 2, {}, [2, 3, 0, 1, 4, 5]),
    "times in ms": (["v_000103ms.tif", "v_000000ms.tif", "v_000206ms.tif"], 2, {}, [2, 3, 0, 1, 4, 5]),
    "spellings of a suffix": (["v_1.tif", "v_0.TIF", "v_2.tiff"], 2, {}, [2, 3, 0, 1, 4, 5]),
    "4 GB pieces": (["a_MMStack_Pos0_1.tif", "a_MMStack_Pos0.tif", "a_MMStack_Pos0_2.tif"], 2, {}, [2, 3, 0, 1, 4, 5]),
    "shorter last part": (["a1.tif", "a2.tif", "a3.tif"], 10, {}, [*range(24)]),
    "planes and times": (["z1_t0.tif", "z0_t0.tif", "z0_t1.tif", "z1_t1.tif"], 1, {}, [1, 0, 2, 3]),
    "one position": (["p0_1.tif", "p1_1.tif", "p0_2.tif", "p1_2.tif"], 2, {"position": "1"}, [2, 3, 6, 7]),
    "one channel": (["a_488nm_1.tif", "a_561nm_1.tif"], 2, {"channel": "561"}, [2, 3]),
    "a channel by number": (["img_000000000_Cy3_000.tif", "img_000000000_Cy5_000.tif"], 1, {"channel": "1"}, [1]),
    "a pattern": (["r1_1.tif", "r1_2.tif", "r2_1.tif", "r2_2.tif"], 1, {"pattern": "r2_{t}.tif"}, [2, 3]),
    "a pattern of times": (["7_b_1.tif", "9_a_2.tif"], 1, {"pattern": "*_{t}.tif"}, [0, 1]),
    "a pattern with all fields": (["A1-2.tif", "B1-2.tif"], 1, {"pattern": "{p}{t}-{z}.tif", "position": "B"}, [1]),
    "an allowed gap": (["v0.tif", "v1.tif", "v3.tif"], 2, {"allow_gaps": True}, [*range(6)]),
    "an incomplete volume is left out": (
        ["t0_z0.tif", "t0_z1.tif", "t1_z0.tif", "t2_z0.tif", "t2_z1.tif"], 1, {"allow_gaps": True}, [0, 1, 3, 4]
    ),
    "iterations": ([lls(0, s, i) for i in range(2) for s in range(3)], 2, {}, [*range(12)]),
    "one file": (["a.tif"], 3, {}, [0, 1, 2]),
}  # fmt: skip


@pytest.mark.parametrize(("names", "planes", "options", "order"), FOUND.values(), ids=FOUND)
def test_frames_follow_the_order_of_names(names, planes, options, order, tmp_path):
    movie = open_movie(write(tmp_path / "in", names, planes), Choices(**options))
    np.testing.assert_array_equal(movie.read(0, movie.num_frames), MOVIE[order])


REFUSED = {
    "a gap": (["v0.tif", "v1.tif", "v3.tif"], 1, "lacks the files between v1.tif and v3.tif"),
    "a gap after an unnumbered name": (["v.tif", "v_2.tif"], 1, "lacks the files between v.tif and v_2.tif"),
    "missing first files": (["v2.tif", "v3.tif"], 1, r"lacks the files before v2.tif \(1\)"),
    "missing first stack": ([lls(0, 1), lls(0, 2)], 2, "lacks the stacks before .*stack0001"),
    "numbers in steps": (["v0.tif", "v10.tif"], 1, "between v0.tif and v10.tif"),
    "missing plane": (["t0_z0.tif", "t0_z1.tif", "t1_z0.tif"], 1, r"of the volume of t1_z0.tif \(1 of 2 planes\)"),
    "incomplete sweep": ([lls(0, s, i) for i, s in ((0, 0), (0, 1), (1, 0), (2, 0))], 2, "lacks the stacks between"),
    "positions": (["a_Pos0_0.tif", "a_Pos1_0.tif"], 1, "2 positions: Pos0, Pos1; choose one with --position"),
    "cells": (["cell1.tif", "cell2.tif"], 1, "2 positions: cell1, cell2; choose one with --position"),
    "channels": (["a_ch0_t0.tif", "a_ch1_t0.tif"], 1, "2 channels: ch0, ch1; choose one with --channel"),
    "colours": (["a_GFP_0.tif", "a_RFP_0.tif"], 1, "files with other forms of name.*--pattern"),
    "a projection": (["v_0.tif", "v_1.tif", "MAX_v_0.tif", "MAX_v_1.tif"], 1, "MAX_v_0.tif.*--pattern 'v_{t}"),
    "a snapshot": (["v_0.tif", "v_1.tif", "snapshot.tif"], 1, "snapshot.tif; .*--pattern 'v_{t}.tif'"),
    "two numbers": (["a0_0.tif", "a0_1.tif", "a1_0.tif", "a1_1.tif"], 1, "more than one number .*'a0_{t}.tif'"),
    "fewer files than announced": (["m_1of3.tif", "m_2of3.tif"], 1, r"lacks the files after m_2of3.tif \(2 of 3"),
    "planes of stacks": (["section1.tif", "section2.tif"], 3, r"2 planes by .* has 3 frames .*'section\{t\}.tif'"),
    "settings": (["v_1mW.tif", "v_2mW.tif"], 1, "2 settings: 1 mw, 2 mw; .*--pattern 'v_1mW.tif'"),
    "a number twice": (["a_1.tif", "a_01.tif"], 1, "two files with one number, a_.*1.tif and a_.*1.tif"),
}  # fmt: skip


@pytest.mark.parametrize(("names", "planes", "message"), REFUSED.values(), ids=REFUSED)
def test_ambiguous_and_incomplete_names_are_refused(names, planes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        open_movie(write(tmp_path / "in", names, planes))


@pytest.mark.parametrize("short", [0, 1, 3])
def test_an_incomplete_volume_is_refused_and_left_out_on_request(short, tmp_path):
    folder = write(tmp_path / "in", [f"v{i}.tif" for i in range(4)], 5)
    tifffile.imwrite(
        folder / f"v{short}.tif", MOVIE[5 * short : 5 * short + 3], photometric="minisblack", metadata=None
    )
    with pytest.raises(InputError, match=rf"v{short}\.tif has 3 planes, but v\d\.tif has 5.*--allow-gaps.*--salvage"):
        open_movie(folder, Choices(axes="zyx"))
    movie = open_movie(folder, Choices(axes="zyx", allow_gaps=True))
    left = [i for i in range(20) if i // 5 != short]
    np.testing.assert_array_equal(movie.read(0, movie.num_frames), MOVIE[left])
    assert (movie.planes, [loss.file for loss in movie.losses]) == (5, [f"v{short}.tif"])
    movie = open_movie(folder, Choices(axes="zyx", salvage=True))
    whole = [i for i in range(20) if i // 5 != short or i % 5 < 3]
    np.testing.assert_array_equal(movie.read(0, movie.num_frames), MOVIE[whole])
    assert movie.planes == (5 if short == 3 else 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda data: data[:, 1:],
            "all files of .* must be alike: exclude files that do not belong to the movie with --pattern",
        ),
        (lambda data: data.astype("float32"), "type float32.*uint16.*must be alike"),
    ],
)
def test_a_file_of_another_shape_or_dtype_is_refused(change, message, tmp_path):
    folder = write(tmp_path / "in", ["v0.tif", "v1.tif", "v2.tif"], 2)
    tifffile.imwrite(folder / "v1.tif", change(MOVIE[:2]), photometric="minisblack")
    with pytest.raises(InputError, match=message):
        open_movie(folder)


def test_files_of_different_pixel_sizes_are_refused(tmp_path):
    for i, per_um in enumerate((10, 8)):
        text = {"axes": "TYX", "unit": "um"}
        tifffile.imwrite(tmp_path / f"v{i}.tif", MOVIE[:2], imagej=True, metadata=text, resolution=(per_um, per_um))
    with pytest.raises(InputError, match=r"v0\.tif 100 x 100 nm, v1\.tif 125 x 125 nm"):
        open_movie(tmp_path)


LINES = {
    "4 files, v0.tif to v3.tif, as volumes of 5 planes": ([f"v{i}.tif" for i in range(4)], 5, {"axes": "zyx"}),
    "3 files, v0.tif to v2.tif, as 3 frames": ([f"v{i}.tif" for i in range(3)], 1, {}),
    "2 files, v.tif to v-1.tif, as parts of one movie of 4 frames (2 files)": (["v.tif", "v-1.tif"], 4, {}),
    "1 file, a.tif, as 3 frames": (["a.tif"], 3, {}),
}


@pytest.mark.parametrize(("line", "names", "planes", "options"), [(k, *v) for k, v in LINES.items()], ids=LINES)
def test_one_log_line_reports_the_files_and_their_order(line, names, planes, options, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        convert(write(tmp_path / "in", names, planes), tmp_path / "a.zarr", **options)
    assert line in caplog.text.splitlines()[0]


def test_of_many_files_only_one_of_each_size_is_checked_before_reading(tmp_path, monkeypatch):
    monkeypatch.setattr("lls_decode.movies.formats.tiff.movies.SURVEY_ALL", 2)
    folder = write(tmp_path / "in", [f"v{i}.tif" for i in range(6)], 2)
    movie = open_movie(folder)
    np.testing.assert_array_equal(movie.read(3, 11), MOVIE[3:11])
    data = bytearray((folder / "v4.tif").read_bytes())
    data[-40:] = bytes(40)
    (folder / "v4.tif").write_bytes(data)
    with pytest.raises(InputError, match=r"v4\.tif: .*zeros"):
        open_movie(folder).read(0, 12)


def test_a_folder_of_folders_is_refused(tmp_path):
    write(tmp_path / "Pos0", ["a.tif"], 1)
    with pytest.raises(InputError, match="has no TIFF files, but folders with TIFF files: Pos0; give one of these"):
        open_movie(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cell_MMStack_1-Pos_000_001_2.ome.tif", {"position": "1-Pos_000_001", "times": (2,)}),
        ("cell_MMStack_Pos12.ome.tif", {"position": "Pos12", "times": (0,)}),
        ("img_000000012_Cy 3_004.tif", {"channel": "Cy 3", "times": (12,), "plane": 4}),
        (
            "img_channel001_position002_time000000003_z004.tif",
            {"channel": "channel1", "position": "position2", "plane": 4},
        ),
        ("x_w2_s3_t004.TIF", {"channel": "w2", "position": "s3", "times": (4,)}),
        ("temperature37_2.tif", {"numbers": (37, 2), "times": ()}),
        ("a_561nm_z-03.tif", {"channel": "561nm", "plane": 3}),
    ],
)
def test_file_names_are_parsed(name, said):
    found = read_name(name)
    assert {key: getattr(found, key) for key in said} == said


def test_a_pattern_matches_the_whole_name():
    assert read_pattern("v_{t}.tif")("MAX_v_1.tif") is None
    assert read_pattern("v_{t}.tif")("v_x1.tif") is None
    assert read_pattern("v_[12].tif")("v_2.tif") is not None
    assert re.fullmatch(r".*\(1\)\.tif", read_pattern("v?(1).tif")("v (1).tif").name)


def ome_xml(names, length, uuids):
    """Return the OME-XML of each file of a set, which lists all files by name and UUID."""
    planes = "".join(
        f'<TiffData FirstT="{i * length + k}" IFD="{k}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{name}</UUID>'
        "</TiffData>"
        for i, name in enumerate(names)
        for k in range(length)
    )
    return [
        f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
        f"{f' UUID={chr(34)}urn:uuid:{name}{chr(34)}' if uuids else ''}>"
        f'<Image ID="I"><Pixels ID="P" DimensionOrder="XYCZT" Type="uint16" SizeX="{W}" SizeY="{H}" SizeC="1" '
        f'SizeZ="1" SizeT="{length * len(names)}"><Channel ID="C" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
        for name in names
    ]


def write_renamed(folder, old, new, *, uuids):
    """Write an OME set whose files were called ``old`` and are now called ``new``."""
    folder.mkdir()
    for i, (name, xml) in enumerate(zip(new, ome_xml(old, 4, uuids), strict=True)):
        tifffile.imwrite(
            folder / name, MOVIE[4 * i : 4 * i + 4], photometric="minisblack", metadata=None, description=xml
        )
    return folder


RENAMED = {
    "other names": ["b_1.ome.tif", "b_0.ome.tif", "b_2.ome.tif"],
    "without .ome": ["1.tif", "2.tif", "3.tif"],
    "names of each other": ["a_1.ome.tif", "a_2.ome.tif", "a_0.ome.tif"],
    "names of the next": ["a_1.ome.tif", "a_2.ome.tif", "a_3.ome.tif"],
}
OLD = ["a_0.ome.tif", "a_1.ome.tif", "a_2.ome.tif"]


@pytest.mark.parametrize("new", RENAMED.values(), ids=RENAMED)
def test_renamed_files_of_an_ome_set_are_found_by_their_uuid(new, tmp_path):
    folder = write_renamed(tmp_path / "in", OLD, new, uuids=True)
    for path in (folder, folder / new[1]):
        movie = open_movie(path)
        np.testing.assert_array_equal(movie.read(0, movie.num_frames), MOVIE[:12])


def test_renamed_files_of_an_ome_set_without_uuid_are_refused_and_read_under_their_old_names(tmp_path):
    new = ["b_0.ome.tif", "b_1.ome.tif", "b_2.ome.tif"]
    folder = write_renamed(tmp_path / "in", OLD, new, uuids=False)
    with pytest.raises(InputError, match=r"renamed files of one OME-TIFF set, .*: a_0.ome.tif, a_1.ome.tif, a_2.ome"):
        open_movie(folder)
    for before, after in zip(OLD, new, strict=True):
        (folder / after).rename(folder / before)
    movie = open_movie(folder)
    np.testing.assert_array_equal(movie.read(0, movie.num_frames), MOVIE[:12])


@pytest.mark.parametrize("pattern", ["cell_ch0_stack{t}_*.tif", "cell_ch{c}_stack{t}_*.tif", "cell_ch0_*.tif"])
def test_stacks_chosen_by_a_pattern_are_volumes(pattern, tmp_path):
    folder = write(tmp_path / "in", [lls(0, stack) for stack in range(4)], 5)
    movie = open_movie(folder, Choices(pattern=pattern))
    assert (movie.num_frames, movie.planes) == (20, 5)


def test_files_of_one_name_in_several_folders_are_told_apart(tmp_path):
    for folder in ("pos0", "pos1"):
        write(tmp_path / folder, ["a.tif"], 2)
    with pytest.raises(InputError, match="2 positions: pos0, pos1; choose one with --position"):
        open_movie(f"{tmp_path}/*/a.tif")
