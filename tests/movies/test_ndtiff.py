"""NDTiff datasets, written here by the published description of the format."""

import json
import struct

import numpy as np
import pytest

from lls_decode.axes import Layout
from lls_decode.blocks import plan_blocks
from lls_decode.config import PixelSize
from lls_decode.errors import InputError
from lls_decode.movies import convert

H, W = 5, 7


def write_ndtiff(folder, images, *, per_file=5, kind=1, minor=None, order="<", summary=None, about=None):
    """Write ``images`` (axes and pixels, in order of writing) with ``per_file`` images per TIFF file."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(summary or {}).encode()
    index = b""
    for number, (axes, pixels) in enumerate(images):
        name = f"a_NDTiffStack{f'_{number // per_file}' if number >= per_file else ''}.tif"
        path = folder / name
        if number % per_file == 0:
            version = (3,) if minor is None else (3, minor)
            words = struct.pack(f"<{3 + len(version)}I", 483729, *version, 2355492, len(text))
            path.write_bytes((b"II" if order == "<" else b"MM") + b"*\0\x10\0\0\0" + words + text)
        about_bytes = json.dumps(about or {}).encode()
        with path.open("ab") as file:
            at = file.tell()
            file.write(pixels.astype(pixels.dtype.newbyteorder(order)).tobytes() + about_bytes)
        for word in (json.dumps(axes).encode(), name.encode()):
            index += struct.pack("<I", len(word)) + word
        size = at + pixels.nbytes, len(about_bytes)
        index += struct.pack("<IiiiiIii", at, pixels.shape[1], pixels.shape[0], kind, 0, *size, 0)
    (folder / "NDTiff.index").write_bytes(index)
    return folder


def camera(*shape, dtype="uint16"):
    return np.random.default_rng(0).integers(90, 140, (*shape, H, W)).astype(dtype)


def grid(data, *names):
    return [(dict(zip(names, place, strict=True)), data[place]) for place in np.ndindex(data.shape[: len(names)])]


def stored(source):
    return source.read(plan_blocks(source.layout, "none", source.layout.num_frames)[0]).adu_TYX


SETS = {
    "times": (("time",), (12,), {}, Layout(12, 1, H, W)),
    "volumes": (("time", "z"), (3, 4), {}, Layout(3, 4, H, W)),
    "planes only": (("z",), (6,), {}, Layout(1, 6, H, W)),
    "an axis of the user": (("burst", "z"), (3, 4), {}, Layout(3, 4, H, W)),
    "one position": (("position", "time"), (1, 6), {}, Layout(6, 1, H, W)),
    "version 3.3": (("time", "z"), (3, 4), {"minor": 3}, Layout(3, 4, H, W)),
    "big-endian": (("time", "z"), (3, 4), {"order": ">"}, Layout(3, 4, H, W)),
    "12 bits": (("time",), (4,), {"kind": 4}, Layout(4, 1, H, W)),
    "no axes": ((), (), {}, Layout(1, 1, H, W)),
}


@pytest.mark.parametrize(("names", "shape", "options", "layout"), SETS.values(), ids=SETS)
def test_images_are_read_in_order_of_time_and_plane(names, shape, options, layout, tmp_path):
    data = camera(*shape)
    images = grid(data, *names)
    np.random.default_rng(1).shuffle(images)
    source = convert(write_ndtiff(tmp_path / "in", images, **options), tmp_path / "a.zarr")
    assert source.layout == layout
    np.testing.assert_array_equal(stored(source), data.reshape(-1, H, W))


def test_eight_bit_images_are_read(tmp_path):
    data = camera(3, dtype="uint8")
    source = convert(write_ndtiff(tmp_path / "in", grid(data, "time"), kind=0), tmp_path / "a.zarr")
    assert source.dtype == "uint8"
    np.testing.assert_array_equal(stored(source), data)


@pytest.mark.parametrize("minor", [None, 0])
def test_pixel_size_and_z_step_are_read_from_the_metadata(minor, tmp_path):
    summary, about = {"z-step_um": -0.4}, {"PixelSizeUm": 0.104}
    images = grid(camera(2, 3), "time", "z")
    write_ndtiff(tmp_path / "in", images, summary=summary, about=about, minor=minor)
    source = convert(tmp_path / "in", tmp_path / "a.zarr")
    assert (source.pixel_size, source.z_step_nm) == (PixelSize(x_nm=104, y_nm=104), 400)


def test_default_sizes_in_the_metadata_count_as_unknown(tmp_path):
    write_ndtiff(tmp_path / "in", grid(camera(2, 3), "time", "z"), summary={"z-step_um": 0}, about={"PixelSizeUm": 1.0})
    source = convert(tmp_path / "in", tmp_path / "a.zarr")
    assert (source.pixel_size, source.z_step_nm) == (None, None)


@pytest.mark.parametrize(("told", "number"), [("561", 1), ("1", 1), ("488", 0)])
def test_one_channel_is_selected_by_name_or_number(told, number, tmp_path):
    data = camera(3, 2)
    images = [({"channel": ("488", "561")[axes["c"]], "time": axes["time"]}, p) for axes, p in grid(data, "time", "c")]
    folder = write_ndtiff(tmp_path / "in", images)
    np.testing.assert_array_equal(stored(convert(folder, tmp_path / "a.zarr", channel=told)), data[:, number])
    with pytest.raises(InputError, match="2 channels: 488, 561; choose one with --channel"):
        convert(folder, tmp_path / "b.zarr")
    with pytest.raises(InputError, match="no channel '640'"):
        convert(folder, tmp_path / "b.zarr", channel="640")


def test_one_position_is_selected(tmp_path):
    data = camera(2, 4)
    folder = write_ndtiff(tmp_path / "in", grid(data, "position", "time"))
    np.testing.assert_array_equal(stored(convert(folder, tmp_path / "a.zarr", position="1")), data[1])


def test_the_last_of_repeated_images_is_read_at_full_resolution(tmp_path):
    data = camera(4)
    images = [({"time": 2}, data[0]), *grid(data, "time")]
    write_ndtiff(tmp_path / "in" / "Full resolution", images)
    write_ndtiff(tmp_path / "in" / "Downsampled_x2", grid(data[:, ::2, ::2], "time"))
    np.testing.assert_array_equal(stored(convert(tmp_path / "in", tmp_path / "a.zarr")), data)


def test_a_stopped_acquisition_keeps_all_its_images(tmp_path, caplog):
    data = camera(3, 4)
    folder = write_ndtiff(tmp_path / "in", grid(data, "time", "z")[:-2])
    source = convert(folder, tmp_path / "a.zarr")
    assert source.layout == Layout(2, 4, H, W)
    assert "10 frames are not a multiple of 4 planes" in caplog.text
    assert "planes_per_volume: 4" in (tmp_path / "a.run.yaml").read_text()


def test_a_truncated_index_is_refused_and_its_images_are_salvaged(tmp_path):
    data = camera(6)
    folder = write_ndtiff(tmp_path / "in", grid(data, "time"))
    index = (folder / "NDTiff.index").read_bytes()
    (folder / "NDTiff.index").write_bytes(index[:-11])
    with pytest.raises(InputError, match=r"5 complete, .*ends within a record.*--salvage"):
        convert(folder, tmp_path / "a.zarr")
    source = convert(folder, tmp_path / "a.zarr", salvage=True)
    np.testing.assert_array_equal(stored(source), data[:5])
    assert any("ends within a record" in note for note in source.notes)


def without(folder, name):
    (folder / name).unlink()
    return folder


def with_index(folder, data):
    folder.mkdir()
    (folder / "NDTiff.index").write_bytes(data)
    return folder


def cut_short(folder):
    path = folder / "a_NDTiffStack.tif"
    path.write_bytes(path.read_bytes()[:-30])
    return folder


BAD = {
    "gap": (lambda p: write_ndtiff(p, grid(camera(3, 4), "time", "z")[:5] + grid(camera(3, 4), "time", "z")[6:]),
            "no image at time 1, z 1, but lists later images"),
    "tiles": (lambda p: write_ndtiff(p, grid(camera(2, 3), "row", "column")), "images along column, row"),
    "lost file": (
        lambda p: without(write_ndtiff(p, grid(camera(6), "time")), "a_NDTiffStack_1.tif"), "file is missing"),
    "colour": (lambda p: write_ndtiff(p, grid(camera(2), "time"), kind=2), "pixel type 2"),
    "shapes": (lambda p: write_ndtiff(p, [({"time": 0}, camera()), ({"time": 1}, camera()[:, 1:])]), "must be alike"),
    "empty index": (lambda p: with_index(p, b""), "is empty"),
    "invalid index": (lambda p: with_index(p, b"\xff" * 40), "is not an index of images"),
    "truncated pixels": (lambda p: cut_short(write_ndtiff(p, grid(camera(4), "time"))), "truncated"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_unusable_datasets_are_refused_and_leave_no_files(make, message, tmp_path):
    with pytest.raises(InputError, match=message):
        convert(make(tmp_path / "in"), tmp_path / "a.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
