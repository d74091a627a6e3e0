"""HDF5 and Imaris files written with h5py, complete, unfinished or truncated, and addressed by paths inside them."""

import json
import re
import shutil

import numpy as np
import pytest

pytest.importorskip("h5py")

import h5py

from lls_decode.axes import Layout
from lls_decode.config import PixelSize
from lls_decode.errors import InputError
from lls_decode.frames.metadata.salvage import read_salvage
from lls_decode.movies import convert, open_movie
from lls_decode.movies.choices import Choices
from tests.movies.test_ndtiff import stored

H, W = 6, 9


def counts(*shape, dtype="uint16"):
    return np.random.default_rng(2).integers(90, 240, (*shape, H, W)).astype(dtype)


def read(movie):
    pieces = np.concatenate([movie.read(i, i + 1) for i in range(movie.num_frames)])
    whole = movie.read(0, movie.num_frames)
    np.testing.assert_array_equal(pieces, whole)
    return whole


STORAGE = {
    "contiguous": {},
    "one frame per chunk": {"chunks": (1, H, W)},
    "chunks of several frames and parts of them": {"chunks": (4, 4, 5), "compression": "gzip", "shuffle": True},
    "with checksums": {"chunks": (3, H, W), "fletcher32": True},
}


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "u1", "<f4", "<i4"])
@pytest.mark.parametrize("options", STORAGE.values(), ids=STORAGE)
def test_frames_are_read_for_every_storage_layout(options, dtype, tmp_path):
    data = counts(10, dtype=dtype)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", data=data, **options)
    movie = open_movie(tmp_path / "a.h5")
    np.testing.assert_array_equal(read(movie), data)
    assert movie.dtype == np.dtype(dtype).newbyteorder("=")


def test_a_named_dataset_is_converted(tmp_path):
    data = counts(7, 3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["others/dark"] = counts(4)
        stack = file.create_dataset("run/stack", data=data)
        for axis, label in enumerate("tzyx"):
            stack.dims[axis].label = label
        stack.attrs["element_size_um"] = [0.4, 0.1, 0.108]
    where = f"{tmp_path / 'a.h5'}::/run/stack"
    source = convert(where, tmp_path / "a.zarr")
    assert source.layout == Layout(7, 3, H, W)
    assert source.pixel_size == PixelSize(x_nm=108, y_nm=100)
    assert source.z_step_nm == 400
    np.testing.assert_array_equal(stored(source), data.reshape(-1, H, W))


def test_one_of_several_datasets_must_be_named_as_advised(tmp_path):
    data = counts(4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["b"], file["g/c"], file["flat"] = data, data + 1, np.ones((H, W))
    with pytest.raises(InputError, match=re.escape("/b (4, 6, 9), /g/c (4, 6, 9): choose one, e.g. a.h5::/b")):
        open_movie(tmp_path / "a.h5")
    np.testing.assert_array_equal(read(open_movie(f"{tmp_path}/a.h5::/g/c")), data + 1)
    with pytest.raises(InputError, match="no dataset of frames at '/d'"):
        open_movie(f"{tmp_path}/a.h5::/d")
    with pytest.raises(InputError, match=r"b\.h5 does not exist"):
        open_movie(f"{tmp_path}/b.h5::/d")


def test_unnamed_axes_must_be_given(tmp_path):
    data = counts(4, 3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = data
    with pytest.raises(InputError, match="--axes tzyx"):
        open_movie(tmp_path / "a.h5")
    movie = open_movie(tmp_path / "a.h5", Choices(axes="ztyx"))
    assert movie.planes == 4
    np.testing.assert_array_equal(read(movie), data.swapaxes(0, 1).reshape(-1, H, W))


def test_a_channel_and_a_position_are_selected(tmp_path):
    data = counts(2, 3, 4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stack = file.create_dataset("a", data=data)
        for axis, label in enumerate("cpt"):
            stack.dims[axis].label = label
    with pytest.raises(InputError, match=r"--channel|--position"):
        open_movie(tmp_path / "a.h5")
    np.testing.assert_array_equal(read(open_movie(tmp_path / "a.h5", Choices(channel="1", position="2"))), data[1, 2])


@pytest.mark.parametrize("chunks", [(1, H, W), (4, 4, 5)])
def test_unwritten_frames_are_refused_and_left_out_by_salvage(chunks, tmp_path):
    data = counts(7)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stack = file.create_dataset("a", (20, H, W), "u2", chunks=chunks)
        stack[:7] = data
    whole = 7 if chunks[0] == 1 else 8
    with pytest.raises(InputError, match=rf"announced 20 frames, {whole} complete, \d+ bytes.*--salvage"):
        open_movie(tmp_path / "a.h5")
    np.testing.assert_array_equal(read(open_movie(tmp_path / "a.h5", Choices(salvage=True)))[:7], data)


@pytest.mark.parametrize("options", STORAGE.values(), ids=STORAGE)
def test_a_truncated_file_is_refused_with_its_size_and_salvaged(options, tmp_path):
    data = counts(40)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("a", data=data, **options)
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size - 1000])
    with pytest.raises(InputError, match=f"it has {size - 1000} of {size} bytes.*--salvage"):
        open_movie(path)
    frames = stored(convert(path, tmp_path / "b.zarr", salvage=True))
    assert 0 < len(frames) < 40
    assert read_salvage(str(tmp_path / "b.zarr"))
    np.testing.assert_array_equal(frames, [frame for frame in data if any((frame == other).all() for other in frames)])


@pytest.mark.parametrize("size", [200, 700])
def test_a_file_truncated_in_its_metadata_cannot_be_salvaged(size, tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=counts(40), chunks=(1, H, W))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=f"it has {size} of"):
        open_movie(path)
    with pytest.raises(
        InputError, match=r"nothing can be salvaged|no dataset|0 datasets|not a single frame is complete"
    ):
        open_movie(path, Choices(salvage=True))


@pytest.mark.parametrize("kind", ["gzip", "fletcher32"])
def test_an_undecodable_chunk_is_reported_and_left_out_by_salvage(kind, tmp_path):
    data = counts(6)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        options = {"compression": "gzip"} if kind == "gzip" else {"fletcher32": True}
        stack = file.create_dataset("a", data=data, chunks=(1, H, W), **options)
        at = stack.id.get_chunk_info(2).byte_offset
    damaged = bytearray(path.read_bytes())
    damaged[at : at + 30] = bytes(30)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="is damaged"):
        convert(path, tmp_path / "a.zarr")
    movie = open_movie(path, Choices(salvage=True))
    np.testing.assert_array_equal(read(movie), np.delete(data, 2, axis=0))
    assert "frames 2" in str(movie.losses)


def test_a_virtual_dataset_needs_all_its_files(tmp_path):
    data = counts(6)
    layout = h5py.VirtualLayout((6, H, W), "u2")
    for number in range(2):
        with h5py.File(tmp_path / f"part{number}.h5", "w") as file:
            file["a"] = data[3 * number : 3 * number + 3]
        layout[3 * number : 3 * number + 3] = h5py.VirtualSource(f"part{number}.h5", "a", (3, H, W))
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_virtual_dataset("a", layout)
    np.testing.assert_array_equal(read(open_movie(tmp_path / "all.h5")), data)
    (tmp_path / "part1.h5").unlink()
    with pytest.raises(InputError, match=r"part1\.h5 are missing"):
        open_movie(tmp_path / "all.h5")


def test_a_file_that_is_not_hdf5_is_refused(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"not at all" * 100)
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        open_movie(tmp_path / "a.h5")


@pytest.mark.parametrize("name", ["a.h5", "a.ims"])
def test_missing_h5py_is_reported_with_the_command_to_install_it(name, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(InputError, match=re.escape("run: pip install 'lls-decode[convert]'")):
        open_movie(tmp_path / name)


def characters(text):
    return np.array(list(text.encode()), "u1").view("S1")


def write_ims(path, data, *, padding=(3, 2, 7), extent=True, announced=None):
    """Write ``data`` (t, c, z, y, x) in datasets larger than the image, as Imaris does."""
    with h5py.File(path, "w") as file:
        for t, c in np.ndindex(data.shape[:2]):
            group = file.create_group(f"DataSet/ResolutionLevel 0/TimePoint {t}/Channel {c}")
            for axis, size in zip("ZYX", data.shape[2:], strict=True):
                group.attrs[f"ImageSize{axis}"] = characters(str(size))
            padded = np.pad(data[t, c], [(0, n) for n in padding])
            group.create_dataset("Data", data=padded, chunks=(min(2, len(padded)), 4, 8), compression="gzip")
        image = file.create_group("DataSetInfo/Image")
        if extent:
            image.attrs["Unit"] = characters("um")
            for axis, (size, step) in enumerate(zip(data.shape[:1:-1], (0.1, 0.11, 0.5), strict=True)):
                image.attrs[f"ExtMin{axis}"] = characters("-3")
                image.attrs[f"ExtMax{axis}"] = characters(f"{-3 + size * step:.6f}")
        for c in range(data.shape[1]):
            file.create_group(f"DataSetInfo/Channel {c}").attrs["Name"] = characters(("488", "642")[c])
        file.create_group("DataSetInfo/TimeInfo").attrs["DatasetTimePoints"] = characters(str(announced or len(data)))
    return path


def test_one_channel_of_an_imaris_file_is_converted_without_padding(tmp_path):
    data = counts(12, 2, 3)
    path = write_ims(tmp_path / "a.ims", data)
    with pytest.raises(InputError, match="488, 642; choose one with --channel"):
        open_movie(path)
    source = convert(path, tmp_path / "a.zarr", channel="642")
    assert source.layout == Layout(12, 3, H, W)
    assert source.pixel_size == PixelSize(x_nm=100, y_nm=110)
    assert source.z_step_nm == 500
    np.testing.assert_array_equal(stored(source), data[:, 1].reshape(-1, H, W))


def test_an_imaris_movie_of_single_planes_is_read(tmp_path):
    data = counts(11, 1, 1)
    movie = open_movie(write_ims(tmp_path / "a.ims", data, padding=(0, 0, 0), extent=False))
    assert (movie.planes, movie.pixel_size) == (1, None)
    np.testing.assert_array_equal(read(movie), data[:, 0, 0])


def test_missing_time_points_of_an_imaris_file_are_reported(tmp_path):
    data = counts(5, 1, 3)
    path = write_ims(tmp_path / "a.ims", data)
    with h5py.File(path, "a") as file:
        del file["DataSet/ResolutionLevel 0/TimePoint 2"]
    with pytest.raises(InputError, match=r"announced 15 frames, 12 complete.*time points 2 are missing.*--allow-gaps"):
        open_movie(path)
    movie = open_movie(path, Choices(allow_gaps=True))
    assert (movie.planes, movie.is_closed_up) == (3, True)
    np.testing.assert_array_equal(read(movie), np.delete(data[:, 0], 2, axis=0).reshape(-1, H, W))
    with pytest.raises(InputError, match="announced 21 frames, 15 complete"):
        open_movie(write_ims(tmp_path / "b.ims", data, announced=7))


def test_the_identity_depends_on_channel_and_dataset(tmp_path):
    """Otherwise an interrupted conversion of one dataset would keep shards of another of the same file and shape."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"], file["b"] = counts(4), counts(4) + 1
    one, other = (open_movie(f"{tmp_path}/a.h5::/{name}").identity() for name in "ab")
    assert one != other
    path = write_ims(tmp_path / "a.ims", counts(5, 2, 3))
    one, other, same = (open_movie(path, Choices(channel=channel)).identity() for channel in ("488", "642", "488"))
    assert one != other
    assert one == same


def join_parts(path, layout):
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("a", layout)
    return path


def two_parts(folder, data, dtype="u2"):
    layout = h5py.VirtualLayout(data.shape, "u2")
    for number in range(2):
        layout[3 * number : 3 * number + 3] = h5py.VirtualSource(f"part{number}.h5", "a", (3, H, W), dtype=dtype)
        with h5py.File(folder / f"part{number}.h5", "w") as file:
            file["a"] = data[3 * number : 3 * number + 3].astype(dtype)
    return join_parts(folder / "all.h5", layout)


def without_dataset(file):
    file.move("a", "b")


def too_short(file):
    pixels = file["a"][:2]
    del file["a"]
    file["a"] = pixels


def with_holes(file):
    pixels = file["a"][:]
    del file["a"]
    file.create_dataset("a", pixels.shape, "u2", chunks=(1, H, W))[1:] = pixels[1:]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without_dataset, "it is missing"),
        (too_short, r"its shape \(2, \d+, \d+\) does not match"),
        (with_holes, "1 of its frames were never written"),
    ],
)
def test_sources_of_a_virtual_dataset_must_be_complete(change, says, tmp_path):
    path = two_parts(tmp_path, counts(6))
    with h5py.File(tmp_path / "part1.h5", "a") as file:
        change(file)
    with pytest.raises(InputError, match=rf"part1\.h5 has no complete dataset a, a source of /a: {says}"):
        open_movie(path)


def test_a_source_that_cannot_be_read_is_named(tmp_path):
    path = two_parts(tmp_path, counts(6))
    (tmp_path / "part1.h5").write_bytes(b"no")
    with pytest.raises(InputError, match=r"part1\.h5, a source of /a, cannot be read"):
        open_movie(path)


def test_sources_are_not_rounded(tmp_path):
    with pytest.raises(InputError, match="its type is float32, expected uint16"):
        open_movie(two_parts(tmp_path, counts(6), "f4"))


def test_a_virtual_dataset_of_a_virtual_dataset_needs_all_files(tmp_path):
    data = counts(6)
    two_parts(tmp_path, data)
    layout = h5py.VirtualLayout(data.shape, "u2")
    layout[...] = h5py.VirtualSource("all.h5", "a", data.shape)
    path = join_parts(tmp_path / "outer.h5", layout)
    np.testing.assert_array_equal(read(open_movie(path)), data)
    (tmp_path / "part0.h5").unlink()
    with pytest.raises(InputError, match=r"all\.h5 joins other files, of which part0\.h5 are missing"):
        open_movie(path)


@pytest.mark.parametrize("interleaved", [True, False])
def test_sources_must_cover_each_frame_once(interleaved, tmp_path):
    data = counts(6)
    two_parts(tmp_path, data)
    layout = h5py.VirtualLayout(data.shape, "u2")
    for number in range(2):
        place = slice(number, None, 2) if interleaved else slice(0, 3)
        layout[place] = h5py.VirtualSource(f"part{number}.h5", "a", (3, H, W))
    path = join_parts(tmp_path / "outer.h5", layout)
    if interleaved:
        found = read(open_movie(path))
        np.testing.assert_array_equal(found[::2], data[:3])
        np.testing.assert_array_equal(found[1::2], data[3:])
        return
    with pytest.raises(InputError, match="cover 3 of 6 frames of /a incompletely, and 3 several times"):
        open_movie(path)


@pytest.mark.parametrize(("axes", "planes"), [("zyx", 6), ("tyx", 1)])
def test_axis_tags_of_ilastik_are_read(axes, planes, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["exported_data"] = counts(6)
        file["exported_data"].attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in axes]})
    movie = open_movie(tmp_path / "a.h5")
    assert movie.planes == planes
    np.testing.assert_array_equal(read(movie), counts(6))


LAST_AXIS = {
    "axis tags": ((6, H, W, 1), None, "tyxc", Choices(), "with axes .*, expected rows"),
    "colours": ((6, H, W, 3), None, "", Choices(axes="tzyx"), "looks like colours"),
    "frames by chunks": ((H, W, 6), (H, W, 1), "", Choices(), "looks like that of the frames.*confirm .* --axes tyx"),
    "frames by length": ((32, 32, 200), None, "", Choices(), "looks like that of the frames"),
}


@pytest.mark.parametrize(("shape", "chunks", "axes", "choices", "says"), LAST_AXIS.values(), ids=LAST_AXIS)
def test_a_last_axis_that_is_not_that_of_columns_is_refused(shape, chunks, axes, choices, says, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=np.ones(shape, "u2"), chunks=chunks)
        if axes:
            file["a"].attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in axes]})
    with pytest.raises(InputError, match=says):
        open_movie(tmp_path / "a.h5", choices)
    if "confirm" in says:
        assert open_movie(tmp_path / "a.h5", Choices(axes="tyx")).num_frames == shape[0]


def test_a_file_that_is_still_written_is_refused_as_such(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file.create_dataset("a", data=counts(6), chunks=(1, H, W), maxshape=(None, H, W))
        file.swmr_mode = True
        file.flush()
        shutil.copy(tmp_path / "a.h5", tmp_path / "b.h5")
    with pytest.raises(InputError, match=r"b\.h5 is still being written, or .* h5clear -s"):
        open_movie(tmp_path / "b.h5")
