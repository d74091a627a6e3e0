"""Channels and positions are chosen by name, by the number in a name, or by index; ambiguous words are refused."""

import re

import numpy as np
import pytest

from lls_decode.errors import InputError
from lls_decode.movies import open_movie
from lls_decode.movies.choices import Choices
from lls_decode.naming.choices import pick

tifffile = pytest.importorskip("tifffile")

DYES = ["DAPI", "GFP", "Cy3", "Cy5"]


@pytest.mark.parametrize(
    ("names", "wanted", "index"),
    [
        (["405 nm", "561 nm"], "561", 1),
        (["405 nm", "561 nm"], "561nm", 1),
        (["405nm", "561nm"], "561 nm", 1),
        (["Ex405", "Ex561"], "561", 1),
        (["DAPI 405nm", "CY3 561nm"], "561", 1),
        (["DAPI 405nm", "CY3 561nm"], "cy3 561nm", 1),
        (["561-TIRF", "640-TIRF"], "640", 1),
        (["laser 1561", "laser 561 a"], "561", 1),
        (["405 nm", "561 nm"], "0", 0),
        (["405 nm", "561 nm"], "1", 1),
        (["640", "561"], "1", 1),
        (["1", "0"], "0", 1),
        (["Cy3", "Cy5"], "1", 1),
        (["Cy3", "Cy5"], "5", 1),
        (DYES, "Cy3", 2),
        (DYES, "1", 1),
        (DYES, "5", 3),
        (["Pos1", "Pos2"], "1", 0),
        (["ch1 488nm", "ch2 561nm"], "1", 0),
        (["1-Pos_000_000", "1-Pos_000_001"], "001", 1),
        (["cell_MMStack_Pos0", "cell_MMStack_Pos1"], "Pos1", 1),
        (["A", "A"], "1", 1),
        (["A", "A"], "A-1", 1),
        (["A", "B", "A"], "b", 1),
        (["1", "1"], "0", 0),
        (["2", "2", "0"], "2-0", 0),
        (["A", "A", "A-0"], "A-1", 1),
    ],
)
def test_a_value_is_chosen_by_name_number_or_index(names, wanted, index):
    assert pick(names, wanted, "channel", "a.tif") == index


@pytest.mark.parametrize(
    ("names", "wanted", "message"),
    [
        (["A", "A"], "A", "2 channels named 'A'; choose one of them with --channel 0 or 1"),
        (["a", "A", "B"], "A", "2 channels named 'A'; choose one of them with --channel 0 or 1"),
        (["2", "2", "0"], "2", "2 channels named '2'; choose one of them with --channel 2-0 or 1"),
        (["1561 nm", "405 nm"], "561", "no channel '561'; it has 1561 nm, 405 nm"),
        (["561.5", "405"], "561", "no channel '561'"),
        (["561 nm a", "561 nm b"], "561", "several channels that may be '561': 561 nm a, 561 nm b; choose one"),
        (DYES, "3", "several channels that may be '3': Cy3, Cy5; choose one"),
        (["Pos1", "Pos2"], "0", "no channel '0'; it has Pos1, Pos2"),
        (["405 nm", "561 nm"], "1nm", "no channel '1nm'"),
        (["A", "A"], None, "2 channels: A-0, A-1; choose one"),
    ],
)
def test_an_ambiguous_or_unknown_value_is_refused(names, wanted, message):
    with pytest.raises(InputError, match=re.escape(message)):
        pick(names, wanted, "channel", "a.tif")


def test_channels_with_one_name_are_told_apart_by_number(tmp_path):
    frames = np.arange(4 * 2 * 6 * 7, dtype="uint16").reshape(4, 2, 6, 7)
    tifffile.imwrite(tmp_path / "a.ome.tif", frames, metadata={"axes": "TCYX", "Channel": {"Name": ["A", "A"]}})
    with pytest.raises(InputError, match="2 channels named 'A'; choose one of them with --channel 0 or 1"):
        open_movie(tmp_path / "a.ome.tif", Choices(channel="A"))
    movie = open_movie(tmp_path / "a.ome.tif", Choices(channel="1"))
    np.testing.assert_array_equal(movie.read(0, 4), frames[:, 1])


def test_a_channel_is_chosen_by_its_wavelength(tmp_path):
    frames = np.arange(4 * 2 * 6 * 7, dtype="uint16").reshape(4, 2, 6, 7)
    names = ["DAPI 405nm", "CY3 561nm"]
    tifffile.imwrite(tmp_path / "a.ome.tif", frames, metadata={"axes": "TCYX", "Channel": {"Name": names}})
    movie = open_movie(tmp_path / "a.ome.tif", Choices(channel="561"))
    np.testing.assert_array_equal(movie.read(0, 4), frames[:, 1])
