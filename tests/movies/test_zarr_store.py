"""A zarr store is converted like any other movie: every frame, and what is known to be missing."""

import numpy as np
import pytest
import tifffile
import zarr

from lls_decode.config import InputConfig
from lls_decode.errors import ChunkError, InputError
from lls_decode.frames import open_source, verify_store
from lls_decode.frames.metadata.salvage import read_salvage
from lls_decode.movies import convert
from lls_decode.movies.choices import Choices
from lls_decode.movies.opening import open_movie
from tests.frames.test_open import camera, write

SHAPE = (12, 16, 20)


def frames_of(source):
    planes = source.layout.planes_per_volume
    return source.read_frames(np.array([divmod(n, planes) for n in range(source.layout.num_frames)]))


@pytest.fixture
def store(tmp_path):
    return write(tmp_path / "cell.zarr", camera(SHAPE), chunks=(1, 16, 20), dimension_names=["t", "y", "x"])


@pytest.mark.parametrize("as_text", [str, lambda path: path.as_uri()], ids=["path", "address"])
def test_all_frames_are_copied(as_text, store, tmp_path):
    source = convert(as_text(store), tmp_path / "copy.zarr")
    np.testing.assert_array_equal(frames_of(source), camera(SHAPE))
    assert verify_store(tmp_path / "copy.zarr") == ()
    attributes = zarr.open_group(tmp_path / "copy.zarr", mode="r").attrs["lls_decode"]
    assert attributes["files"] == "1 zarr store, cell.zarr, as 12 frames"


def test_one_channel_by_its_number(tmp_path):
    data = camera((6, 2, 16, 20))
    write(tmp_path / "cell.zarr", data, chunks=(1, 1, 16, 20), dimension_names=["t", "c", "y", "x"])
    np.testing.assert_array_equal(
        frames_of(convert(tmp_path / "cell.zarr", tmp_path / "b.zarr", channel="1")), data[:, 1]
    )


WRONG = {
    "position": (Choices(position="Pos1"), "has no position 'Pos1'; leave --position out"),
    "channel": (Choices(channel="GFP"), "has no channel 'GFP'; give its number"),
    "pattern": (Choices(pattern="a{t}.tif"), "is one zarr store; leave --pattern out"),
    "salvage": (Choices(salvage=True), "whole or not at all; leave --salvage and --allow-gaps out"),
    "gaps": (Choices(allow_gaps=True), "whole or not at all; leave --salvage and --allow-gaps out"),
}


@pytest.mark.parametrize(("choices", "message"), WRONG.values(), ids=WRONG)
def test_choices_that_stores_do_not_have_are_refused(choices, message, store):
    with pytest.raises(InputError, match=message) as caught:
        open_movie(store, choices)
    assert str(caught.value).endswith(".")


def test_a_store_with_a_lost_chunk_is_not_copied(store, tmp_path):
    (store / "c/7/0/0").unlink()
    with pytest.raises(ChunkError, match="chunk c/7/0/0 is missing, it holds frame 7"):
        convert(store, tmp_path / "copy.zarr")
    assert not (tmp_path / "copy.zarr").exists()
    source = open_source(store, InputConfig())  # as the advice for --salvage says
    assert source.read_frames(np.array([[6, 0]])).shape == (1, 16, 20)


def test_what_a_store_lacks_already_is_recorded_again(tmp_path):
    for n in (0, 1, 3):
        tifffile.imwrite(tmp_path / f"vol_{n}.tif", camera((4, 16, 20), seed=n), photometric="minisblack")
    convert(tmp_path / "vol_*.tif", tmp_path / "a.zarr", allow_gaps=True)
    missing = read_salvage(str(tmp_path / "a.zarr"))
    assert missing
    source = convert(tmp_path / "a.zarr", tmp_path / "b.zarr")
    assert read_salvage(tmp_path / "b.zarr") == missing
    assert any(note.startswith("not all frames that were announced") for note in source.notes)
