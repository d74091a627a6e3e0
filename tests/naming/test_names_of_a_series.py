"""Names of files and stores are put in order, or refused with advice, by names alone."""

import re

import pytest

from lls_decode.errors import InputError
from lls_decode.naming.choices import NameChoices
from lls_decode.naming.names import is_time_unit, names_of, read_name, read_pattern
from lls_decode.naming.series import find_names, in_order, suggest

ORDERED = {
    "a first part without number": "Image.tif Image2.tif Image3.tif",
    "a first part with two suffixes": "mov.ome.tif mov_1.ome.tif mov_2.ome.tif",
    "a first part of Micro-Manager": "x_MMStack.ome.tif x_MMStack_1.ome.tif x_MMStack_2.ome.tif",
    "a first store": "mov.zarr mov-1.zarr mov-2.zarr",
    "leading zeros in some names": "v01.tif v2.tif v003.tif",
    "spaces": "mov 1.tif mov 2.tif mov 3.tif",
    "spellings of a suffix": "mov_1.tif mov_2.TIF mov_3.tiff",
    "numbers of all": "mov_1of3.tif mov_2of3.tif mov_3of3.tif",
    "numbers of all, from 0": "mov_0_of_3.tif mov_1_of_3.tif mov_2_of_3.tif",
    "a date": "20260103_mov_1.tif 20260103_mov_2.tif",
    "a constant exposure": "mov_1_30ms.tif mov_2_30ms.tif",
    "a counter and a time": "v_0_000ms.tif v_1_103ms.tif v_2_206ms.tif",
    "a counter and a large number": "img_0_16273.tif img_1_16301.tif img_2_16330.tif",
    "times": "vol_000000ms.tif vol_000103ms.tif vol_000206ms.tif",
    "times behind a word": "t000103ms.tif t000206ms.tif t001309ms.tif",
    "decimals": "v_0.25um.tif v_0.5um.tif v_1.0um.tif",
    "time stamps": "m_2026-01-03T10-15-00.tif m_2026-01-03T10-15-30.tif m_2026-01-03T10-16-00.tif",
    "time stamps over midnight": "m_20260103_235959.tif m_20260104_000001.tif",
}
"""Names in order, each ending in front of a space."""


def split(text):
    return re.split(r"(?<=\.tif) |(?<=\.TIF) |(?<=\.zarr) ", text)


@pytest.mark.parametrize("text", ORDERED.values(), ids=ORDERED)
def test_names_are_put_in_order(text):
    names = split(text)
    mixed = names[1::2] + names[::2]
    assert list(find_names("F", mixed, NameChoices()).names) == names
    assert in_order(mixed) == names


def test_planes_at_measured_positions_form_volumes():
    names = [f"t{t}_z{z}um.tif" for t in range(2) for z in (0, 5, 20)]
    found = find_names("F", names[::-1], NameChoices())
    assert (list(found.names), found.planes) == (names, 3)
    assert "missing planes cannot be detected" in found.notes[0]


MEASURED = {"v_0ms.tif v_7ms.tif": "'ms'", "m_20260103_101500.tif m_20260103_101503.tif": "time stamps"}


@pytest.mark.parametrize(("text", "said"), MEASURED.items(), ids=MEASURED)
def test_a_note_says_that_gaps_between_measured_values_are_unknown(text, said):
    (note,) = find_names("F", text.split(), NameChoices()).notes
    assert said in note
    assert "missing files cannot be detected" in note


REFUSED = {
    "fewer than announced": ("mov_1_of_3.tif mov_2_of_3.tif", r"after mov_2_of_3.tif \(2 of 3 are there\)"),
    "a number far from the first part": ("m.tif m_12.tif", "between m.tif and m_12.tif"),
    "a copy": ("v_1.tif v_2.tif v_2~.tif", "other forms of name: v_2~.tif"),
    "powers": ("v_10mW.tif v_20mW.tif", r"2 settings: 10 mw, 20 mw; .*--pattern 'v_10mW.tif'"),
    "a power for each number": ("v_10mW_1.tif v_20mW_2.tif", "more than one number"),
    "a dose for each number": ("v_5_1.tif v_10_2.tif v_20_3.tif", "more than one number"),
    "times that jump back": ("v_0_100ms.tif v_1_50ms.tif v_2_300ms.tif", "more than one number"),
    "a gap beside large numbers": ("i_0_16273.tif i_1_16301.tif i_3_16330.tif", r"--pattern 'i_\{t\}_\*.tif'"),
    "a number twice": ("v1.tif v01.tif v2.tif", r"v1.tif and v01.tif, .*--pattern 'v\[!0\]\*'"),
    "days": ("20260103_v_1.tif 20260103_v_2.tif 20260104_v_3.tif", r"--pattern '20260103_v_\{t\}.tif'"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_ambiguous_names_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        find_names("F", text.split(), NameChoices())


def test_a_pattern_leaves_out_only_the_duplicate():
    names = ["v1.tif", "v01.tif", "v2.tif"]
    assert list(find_names("F", names, NameChoices(pattern="v[!0]*")).names) == ["v1.tif", "v2.tif"]


def test_a_field_in_front_of_a_unit_is_a_measured_value():
    found = find_names("F", ["a_7ms.tif", "a_900ms.tif"], NameChoices(pattern="a_{t}ms.tif"))
    assert (found.names, found.missing) == (("a_7ms.tif", "a_900ms.tif"), ())


def test_a_suggested_pattern_matches_no_other_name():
    names = ["v_1.tif", "v_2.tif", "v_2b.tif"]
    reader = read_pattern(suggest(names[:2], names))
    assert [reader(name) is not None for name in names] == [True, True, False]


def test_units_are_those_of_time_or_not():
    assert [is_time_unit(unit) for unit in ("ms", "msec", "s", "time stamp", "mm", "mw", "nm")] == [True] * 4 + [
        False
    ] * 3
    assert read_name("a_488nm_1.tif").channel == "488nm"
    assert read_name("cell_5x_1.tif").measures == ()


def test_names_contain_the_folders_in_which_paths_differ():
    assert names_of(["/a/b/v0.zarr", "/a/b/v1.zarr/"]) == ["v0.zarr", "v1.zarr"]
    assert names_of(["/a/p0/raw.zarr", "/a/p1/raw.zarr"]) == ["p0/raw.zarr", "p1/raw.zarr"]
    assert names_of(["s3://b/x/v0.zarr"]) == ["v0.zarr"]
    with pytest.raises(InputError, match="2 positions"):
        find_names("F", ["pos0/raw.zarr", "pos1/raw.zarr"], NameChoices())
