"""Stores of a folder or glob form one dataset only if their names belong together; advice in errors works."""

import re

import numpy as np
import pytest

from lls_decode.config import InputConfig
from lls_decode.errors import InputError
from lls_decode.frames import open_source
from lls_decode.frames.storage.stores import list_arrays
from tests.frames.test_open import X, Y, write

Z = 3


def folder_of(folder, names, shape=(Z, Y, X)):
    for number, name in enumerate(names):
        write(folder / name, np.full(shape, 100 + number, "uint16"))
    return folder


def order(source):
    """Return the number of the store of each frame."""
    volumes = np.arange(source.layout.num_volumes)
    return (source.read_frames(np.stack([volumes, 0 * volumes], axis=1))[:, 0, 0] - 100).tolist()


REFUSED = {
    "a gap": (["v0.zarr", "v1.zarr", "v3.zarr"], "lacks the stores between v1.zarr and v3.zarr", [0, 1, 2]),
    "missing first stores": (["v5.zarr", "v6.zarr"], r"lacks the stores before v5.zarr \(4\)", [0, 1]),
    "channels": (["ch0_v0.zarr", "ch1_v0.zarr", "ch0_v1.zarr", "ch1_v1.zarr"], "2 channels: ch0, ch1", [0, 2]),
    "positions": (["pos0_v0.zarr", "pos0_v1.zarr", "pos1_v0.zarr"], "2 positions: pos0, pos1", [0, 1]),
    "a projection": (["v_0.zarr", "v_1.zarr", "MAX_v_0.zarr"], "other forms of name: MAX_v_0.zarr", [0, 1]),
    "a suffix": (["v_0.zarr", "v_1.zarr", "v_1_bg.zarr"], "other forms of name: v_1_bg.zarr", None),
    "settings": (["v_10mW.zarr", "v_20mW.zarr"], "2 settings: 10 mw, 20 mw", [0] * Z),
    "a number twice": (["v1.zarr", "v01.zarr"], "two stores with one number", None),
    "two numbers": (["r0_v0.zarr", "r0_v1.zarr", "r1_v0.zarr"], "more than one number.*convert .*--pattern", None),
}
"""Names, message, and the stores that are read if the advice is followed; None if the advice is to move stores."""


@pytest.mark.parametrize(("names", "message", "read"), REFUSED.values(), ids=REFUSED)
def test_stores_that_do_not_belong_together_are_refused(names, message, read, tmp_path):
    folder = folder_of(tmp_path / "all", names)
    with pytest.raises(InputError, match=message) as caught:
        open_source(folder)
    if read is None:
        assert re.search("another folder|rename the stores", str(caught.value))
    elif found := re.search("pattern in quotes: '(.*?)'", str(caught.value)):
        assert order(open_source(found[1])) == read
    else:
        assert "--allow-gaps (input.allow_gaps: true)" in str(caught.value)
        source = open_source(folder, InputConfig(allow_gaps=True))
        assert order(source) == read
        assert any("stores are missing" in note for note in source.notes)


FOUND = {
    "a first store without number": (["mov-2.zarr", "mov.zarr", "mov-1.zarr"], [1, 2, 0]),
    "natural order": (["v2.zarr", "v10.zarr", *(f"v{i}.zarr" for i in (0, 1, *range(3, 10)))], None),
    "time stamps": (["v_200ms.zarr", "v_99ms.zarr"], [1, 0]),
    "one store": (["v7.zarr"], [0]),
}


@pytest.mark.parametrize(("names", "expected"), FOUND.values(), ids=FOUND)
def test_stores_are_read_in_the_order_of_their_names(names, expected, tmp_path):
    folder = folder_of(tmp_path / "all", names)
    if expected is None:
        expected = sorted(range(len(names)), key=lambda i: int(names[i][1:-5]))
    for path in (folder, f"{folder}/*.zarr"):
        source = open_source(path)
        assert order(source) == expected
        assert source.stores is None, "workers find the same order by listing the stores"


def test_a_glob_that_names_numbers_selects_a_part(tmp_path):
    folder = folder_of(tmp_path / "all", [f"v{i}.zarr" for i in range(8)])
    assert order(open_source(f"{folder}/v[3-5].zarr")) == [3, 4, 5]


def test_stores_of_single_planes_form_volumes_by_their_names(tmp_path):
    names = [f"z{z}_t{t}.zarr" for z in range(3) for t in range(2)]
    source = open_source(folder_of(tmp_path / "all", names, (Y, X)))
    assert (source.layout.num_volumes, source.layout.planes_per_volume) == (2, 3)
    assert order(source) == [0, 1]
    assert source.read_frames(np.array([[1, 2]]))[0, 0, 0] == 105


def test_an_incomplete_volume_of_planes_is_left_out_on_request(tmp_path):
    names = ["t0_z0.zarr", "t0_z1.zarr", "t1_z0.zarr", "t2_z0.zarr", "t2_z1.zarr"]
    folder = folder_of(tmp_path / "all", names, (Y, X))
    with pytest.raises(InputError, match=r"of the volume of t1_z0.zarr \(1 of 2 planes\)"):
        open_source(folder)
    assert order(open_source(folder, InputConfig(allow_gaps=True))) == [0, 3]


def test_volumes_whose_names_count_planes_are_refused(tmp_path):
    folder = folder_of(tmp_path / "all", ["z0.zarr", "z1.zarr"])
    with pytest.raises(InputError, match=r"2 planes by the names of its stores, but .*z0.zarr has 3 frames itself"):
        open_source(folder)


def test_stores_that_are_opened_one_by_one_need_no_common_names(tmp_path):
    folder = folder_of(tmp_path / "all", ["v0.zarr", "v1.zarr", "v3.zarr", "other.zarr"])
    for store in folder.iterdir():
        assert open_source(store).layout.num_volumes in (1, Z)
    assert len(list_arrays(str(folder))) == 4
