"""Zeiss files written with Zeiss's own library (pylibCZIrw), then truncated or damaged."""

import re
import sys

import numpy as np
import pytest

pytest.importorskip("pylibCZIrw")

from pylibCZIrw import czi as zeiss

from lls_decode.axes import Layout
from lls_decode.config import PixelSize
from lls_decode.errors import InputError
from lls_decode.movies import convert, open_movie
from lls_decode.movies.choices import Choices
from tests.movies.test_ndtiff import stored

H, W = 6, 9


def counts(*shape, dtype="uint16"):
    return np.random.default_rng(3).integers(90, 250, (*shape, H, W)).astype(dtype)


def write_czi(path, data, axes="T", *, compression=None, order=None, scenes=False, about=None):
    with zeiss.create_czi(str(path)) as file:
        places = list(np.ndindex(data.shape[:-2]))
        for place in order(places) if order else places:
            plane = dict(zip(axes, place, strict=True))
            scene = plane.pop("S", 0)
            location = (scene * 50, 0) if scenes else (0, 0)
            file.write(data[place][..., None], plane=plane, compression_options=compression, scene=scene,
                       location=location)  # fmt: skip
        file.write_metadata("a", **(about or {}))
    return path


def read(movie):
    pieces = np.concatenate([movie.read(i, i + 1) for i in range(movie.num_frames)])
    np.testing.assert_array_equal(pieces, movie.read(0, movie.num_frames))
    return pieces


CODECS = {
    "raw": None,
    "zstd0": "zstd0:ExplicitLevel=2",
    "zstd1": "zstd1:ExplicitLevel=2",
    "zstd1 with bytes apart": "zstd1:ExplicitLevel=2;PreProcess=HiLoByteUnpack",
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("compression", CODECS.values(), ids=CODECS)
def test_planes_are_read_in_order_of_time_for_every_compression(compression, dtype, tmp_path):
    if compression and (dtype == "float32" or ("HiLo" in compression and dtype == "uint8")):
        compression = None if dtype == "float32" else CODECS["zstd1"]
    data = counts(12, dtype=dtype)
    path = write_czi(tmp_path / "a.czi", data, compression=compression, order=lambda places: places[::-1])
    movie = open_movie(path)
    assert movie.dtype == dtype
    np.testing.assert_array_equal(read(movie), data)


def test_one_channel_of_volumes_is_converted(tmp_path):
    data = counts(3, 4, 2)
    about = {"channel_names": {0: "488", 1: "642"}, "scale_x": 1.04e-7, "scale_y": 1.1e-7, "scale_z": 4e-7}
    path = write_czi(tmp_path / "a.czi", data, "TZC", about=about)
    with pytest.raises(InputError, match="2 channels: 488, 642; choose one with --channel"):
        open_movie(path)
    source = convert(path, tmp_path / "a.zarr", channel="642")
    assert source.layout == Layout(3, 4, H, W)
    assert source.pixel_size == PixelSize(x_nm=104, y_nm=110)
    assert source.z_step_nm == 400
    np.testing.assert_array_equal(stored(source), data[:, :, 1].reshape(-1, H, W))


def test_a_scene_is_selected_by_its_number(tmp_path):
    data = counts(3, 5)
    path = write_czi(tmp_path / "a.czi", data, "ST", scenes=True)
    with pytest.raises(InputError, match="--position"):
        open_movie(path)
    np.testing.assert_array_equal(read(open_movie(path, Choices(position="2"))), data[2])


def test_frames_stored_as_tiles_are_assembled(tmp_path):
    data = counts(3)
    with zeiss.create_czi(str(tmp_path / "a.czi")) as file:
        for time, frame in enumerate(data):
            for y, x in ((4, 5), (0, 0), (0, 5), (4, 0)):
                tile = frame[y : y + 4 if y == 0 else H, x : 5 if x == 0 else W]
                file.write(tile[..., None], plane={"T": time}, location=(x + 20, y + 10))
    np.testing.assert_array_equal(read(open_movie(tmp_path / "a.czi")), data)


def test_overlapping_tiles_are_refused(tmp_path):
    with zeiss.create_czi(str(tmp_path / "a.czi")) as file:
        for x in (0, 5):
            file.write(counts()[..., None], plane={"T": 0}, location=(x, 0))
    with pytest.raises(InputError, match=r"2 tiles at .* that overlap or leave gaps"):
        open_movie(tmp_path / "a.czi")


def test_colour_images_are_refused(tmp_path):
    with zeiss.create_czi(str(tmp_path / "a.czi")) as file:
        file.write(np.ones((H, W, 3), "uint8"), plane={"T": 0})
    with pytest.raises(InputError, match="expected grey ones"):
        open_movie(tmp_path / "a.czi")


def test_planes_missing_from_the_directory_are_not_filled(tmp_path):
    data = counts(6)
    path = write_czi(tmp_path / "a.czi", data, order=lambda places: [p for p in places if p != (3,)])
    with pytest.raises(InputError, match=r"announced 6 frames, 5 complete.*lists no pixels for 1"):
        open_movie(path)
    movie = open_movie(path, Choices(salvage=True))
    np.testing.assert_array_equal(read(movie), np.delete(data, 3, axis=0))
    assert movie.is_closed_up


@pytest.mark.parametrize("compression", CODECS.values(), ids=CODECS)
def test_a_truncated_file_is_refused_with_its_size_and_whole_planes_are_salvaged(compression, tmp_path):
    data = counts(20)
    path = write_czi(tmp_path / "a.czi", data, compression=compression)
    whole = path.read_bytes()
    starts = [found.start() for found in re.finditer(b"ZISRAWSUBBLOCK", whole)]
    for size in (starts[3] + 20, starts[7] + 300, starts[12] + 100, starts[12], len(whole) - 1500):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=rf"{size} bytes: truncated: its directory should be at byte.*--salvage"):
            open_movie(path)
        frames = read(open_movie(path, Choices(salvage=True)))
        wanted = sum(start + 32 + 256 + (H * W * 2 if not compression else 40) <= size for start in starts)
        np.testing.assert_array_equal(frames, data[: len(frames)])
        assert len(frames) == wanted or (compression and abs(len(frames) - wanted) <= 1)
    path.write_bytes(whole[:100])
    with pytest.raises(InputError, match="does not begin with the header"):
        open_movie(path, Choices(salvage=True))


def test_undecodable_pixels_are_reported_and_left_out_by_salvage(tmp_path):
    data = counts(5)
    path = write_czi(tmp_path / "a.czi", data, compression=CODECS["zstd0"])
    damaged = bytearray(path.read_bytes())
    start = [found.start() for found in re.finditer(b"ZISRAWSUBBLOCK", damaged)][2] + 32 + 256
    at = damaged.index(b"\x28\xb5\x2f\xfd", start)
    damaged[at : at + 20] = bytes(20)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="cannot be decoded"):
        convert(path, tmp_path / "a.zarr")
    np.testing.assert_array_equal(read(open_movie(path, Choices(salvage=True))), np.delete(data, 2, axis=0))


def test_a_missing_codec_is_reported_with_the_command_to_install_it(tmp_path, monkeypatch):
    path = write_czi(tmp_path / "a.czi", counts(2), compression=CODECS["zstd0"])
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(InputError, match=re.escape("run: pip install 'lls-decode[convert]'")):
        open_movie(path).read(0, 1)
