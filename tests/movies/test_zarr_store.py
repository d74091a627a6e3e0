"""Conversion of zarr stores with other layouts into the recommended chunks."""

import json
import re

import numpy as np
import pytest
import zarr

from lls_decode.axes import Layout
from lls_decode.config import Geometry, PixelSize
from lls_decode.errors import InputError, OutputError
from lls_decode.frames import open_source
from lls_decode.frames.diagnostics import inspect_source
from lls_decode.frames.metadata.salvage import read_salvage
from lls_decode.frames.writing.create import create_store
from lls_decode.movies import convert, open_movie
from lls_decode.movies.choices import Choices
from tests.movies.test_ndtiff import stored

H, W = 6, 9


def counts(*shape, dtype="uint16"):
    return np.random.default_rng(7).integers(90, 250, (*shape, H, W)).astype(dtype)


def write(path, data, axes=None, *, chunks=None, version=3):
    names = {"dimension_names": list(axes)} if axes and version == 3 else {}
    array = zarr.create_array(
        path, shape=data.shape, dtype=data.dtype, chunks=chunks or (1,) * (data.ndim - 2) + (H, W), zarr_format=version,
        **names,
    )  # fmt: skip
    if axes and version == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = list(axes)
    array[...] = data
    return path


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("chunks", [(1, 1, H, W), (5, 2, 3, 4), (10, 3, H, W)])
def test_a_store_is_rechunked(chunks, version, tmp_path):
    data = counts(10, 3)
    source = convert(write(tmp_path / "a.zarr", data, "tzyx", chunks=chunks, version=version), tmp_path / "b.zarr")
    assert source.layout == Layout(10, 3, H, W)
    assert source.chunks[-2:] == (H, W)
    np.testing.assert_array_equal(stored(source), data.reshape(-1, H, W))


def test_a_channel_and_a_position_are_selected(tmp_path):
    data = counts(2, 3, 5)
    path = write(tmp_path / "a.zarr", data, "pctyx")
    with pytest.raises(InputError, match="--position 0 to --position 1"):
        open_movie(path)
    with pytest.raises(InputError, match="--channel"):
        open_movie(path, Choices(position="1"))
    movie = open_movie(path, Choices(position="1", channel="2"))
    np.testing.assert_array_equal(movie.read(0, 5), data[1, 2])


def test_unnamed_axes_are_given_by_the_user(tmp_path):
    data = counts(4, 3)
    movie = open_movie(write(tmp_path / "a.zarr", data), Choices(axes="ztyx"))
    assert movie.planes == 4
    np.testing.assert_array_equal(movie.read(0, 12), data.swapaxes(0, 1).reshape(-1, H, W))


def test_one_of_several_images_is_chosen_as_advised(tmp_path):
    root = zarr.create_group(tmp_path / "a.zarr")
    data = counts(4)
    for number in range(2):
        root.create_array(f"run{number}", data=data + number, chunks=(1, H, W))
    with pytest.raises(InputError, match="holds 2 images") as caught:
        open_movie(tmp_path / "a.zarr")
    advice = re.search(r"choose one with the path (\S+::run0),", str(caught.value))[1]
    np.testing.assert_array_equal(open_movie(advice).read(0, 4), data)
    np.testing.assert_array_equal(open_movie(f"{tmp_path}/a.zarr::run1").read(0, 4), data + 1)


def test_metadata_of_a_converted_store_are_kept(tmp_path):
    data = counts(4, 3)
    geometry = Geometry(angle_deg=31.8, stage_step_nm=400, motion="stage")
    create_store(
        tmp_path / "a.zarr", Layout(4, 3, H, W), pixel_size=PixelSize(x_nm=104, y_nm=104), z_step_nm=400,
        angle_deg=31.8, attributes={"lls_decode": {"geometry": geometry.model_dump(mode="json", exclude_none=True)}},
    )[...] = data  # fmt: skip
    source = convert(tmp_path / "a.zarr", tmp_path / "b.zarr")
    assert (source.pixel_size, source.z_step_nm, source.angle_deg) == (PixelSize(x_nm=104, y_nm=104), 400, 31.8)
    kept = json.loads((tmp_path / "b.zarr" / "zarr.json").read_text())["attributes"]["lls_decode"]["geometry"]
    assert Geometry.model_validate(kept) == geometry
    np.testing.assert_array_equal(stored(source), data.reshape(-1, H, W))


def test_a_folder_of_volumes_is_one_movie(tmp_path):
    data = counts(12, 3)
    for number, volume in enumerate(data):
        write(tmp_path / "in" / f"v{number}.zarr", volume, "zyx")
    movie = open_movie(tmp_path / "in")
    assert movie.told == "12 zarr stores, in, v0.zarr to v11.zarr, as volumes of 3 planes"
    np.testing.assert_array_equal(movie.read(0, 36), data.reshape(-1, H, W))


SERIES = {
    "a gap": (
        ["v0.zarr", "v1.zarr", "v3.zarr"],
        "lacks the stores between v1.zarr and v3.zarr",
        {"allow_gaps": True},
        3,
    ),
    "channels": (["ch0_v0.zarr", "ch0_v1.zarr", "ch1_v0.zarr"], "2 channels.*--channel", {"channel": "0"}, 2),
    "positions": (["a_pos1_0.zarr", "a_pos1_1.zarr", "a_pos2_0.zarr"], "2 positions.*--position", {"position": "1"}, 2),
    "a projection": (["v0.zarr", "v1.zarr", "MAX_v0.zarr"], r"--pattern 'v\{t\}.zarr'", {"pattern": "v{t}.zarr"}, 2),
    "two numbers": (["r0_0.zarr", "r0_1.zarr", "r1_0.zarr"], r"--pattern 'r0_\{t\}", {"pattern": "r0_{t}.zarr"}, 2),
}
"""Names, message, the advised option, and the number of stores that it selects, which are the first ones."""


@pytest.mark.parametrize(("names", "message", "options", "count"), SERIES.values(), ids=SERIES)
def test_the_names_of_stores_follow_the_rules_for_files(names, message, options, count, tmp_path):
    data = counts(len(names), 3)
    for name, volume in zip(names, data, strict=True):
        write(tmp_path / "in" / name, volume, "zyx")
    with pytest.raises(InputError, match=message):
        open_movie(tmp_path / "in")
    source = convert(tmp_path / "in", tmp_path / "out.zarr", **options)
    np.testing.assert_array_equal(stored(source), data[:count].reshape(-1, H, W))


def test_a_missing_store_is_recorded(tmp_path):
    for number in (0, 2):
        write(tmp_path / "in" / f"v{number}.zarr", counts(3), "zyx")
    convert(tmp_path / "in", tmp_path / "out.zarr", allow_gaps=True)
    assert any("between v0.zarr and v2.zarr" in line for line in read_salvage(str(tmp_path / "out.zarr")))


def test_a_pattern_is_refused_for_one_store(tmp_path):
    write(tmp_path / "a.zarr", counts(3), "tyx")
    with pytest.raises(InputError, match="is one store; omit --pattern"):
        open_movie(tmp_path / "a.zarr", Choices(pattern="a*"))
    with pytest.raises(InputError, match=r"no store of .* matches --pattern 'b\*'; .*--pattern '\*.zarr'"):
        open_movie(tmp_path, Choices(pattern="b*"))


@pytest.mark.parametrize("damage", ["absent", "cut"])
def test_an_unreadable_chunk_is_refused_and_left_out_by_salvage(damage, tmp_path):
    data = counts(20)
    path = write(tmp_path / "a.zarr", data, "tyx", chunks=(2, H, W))
    chunk = path / "c" / "3" / "0" / "0"
    chunk.unlink() if damage == "absent" else chunk.write_bytes(chunk.read_bytes()[:20])
    with pytest.raises(InputError, match=r"c/3/0/0 .*--salvage"):
        convert(path, tmp_path / "b.zarr")
    source = convert(path, tmp_path / "b.zarr", salvage=True)
    np.testing.assert_array_equal(stored(source), np.delete(data, [6, 7], axis=0))
    again = convert(tmp_path / "b.zarr", tmp_path / "c.zarr")
    np.testing.assert_array_equal(stored(again), stored(source))
    assert "frames 6-7" in read_salvage(str(tmp_path / "c.zarr"))[0]


def test_a_store_is_not_converted_onto_itself(tmp_path):
    data = counts(4)
    path = write(tmp_path / "a.zarr", data, "tyx")
    for out in (path, tmp_path):
        with pytest.raises(OutputError, match="is or contains the movie itself"):
            convert(path, out, overwrite=True)
    np.testing.assert_array_equal(zarr.open_array(path)[...], data)


def test_inspect_suggests_conversion_only_if_chunks_are_unsuitable(tmp_path):
    data = counts(64)
    large = write(tmp_path / "a.zarr", data, "tyx", chunks=(64, H, W))
    notes = inspect_source(open_source(large), block_frames=8, camera_frames=0)["notes"]
    assert any("decodes 8 times its pixels" in note and "lls-decode convert" in note for note in notes)
    copy = convert(large, tmp_path / "b.zarr")
    assert not any("convert" in note for note in inspect_source(copy, block_frames=8, camera_frames=0)["notes"])
