"""MetaMorph stacks, written here as one TIFF page with the tags UIC1 to UIC3 and consecutive planes."""

import re
import struct
import sys

import numpy as np
import pytest

pytest.importorskip("tifffile")

from lls_decode.axes import Layout
from lls_decode.config import PixelSize
from lls_decode.errors import InputError
from lls_decode.movies import convert, open_movie
from lls_decode.movies.choices import Choices
from tests.movies.test_ndtiff import stored

H, W = 6, 9


def counts(n, dtype="uint16"):
    return np.random.default_rng(4).integers(90, 250, (n, H, W)).astype(dtype)


def write_stk(path, data, *, z_um=0.0, strips=2, description_first=True):
    """Write tags and planes in either order, with pixels of 108 nm."""
    planes, item = len(data), data.dtype.itemsize
    extra = b""
    base = 8 if description_first else 8 + data.nbytes
    entries = []

    def put(payload):
        nonlocal extra
        at = base + 6 + 12 * 12 + len(extra)
        extra += payload + b"\0" * (len(payload) % 2)
        return at

    rows = H // strips
    uic2 = b"".join(
        struct.pack("<6I", round(z_um * 1000), 1000, 2460000, 50 * i, 2460000, 50 * i) for i in range(planes)
    )
    unit = put(struct.pack("<I", 3) + b"um\0")
    ratio = put(struct.pack("<2I", 108, 1000))
    uic1 = struct.pack("<6I", 4, ratio, 5, ratio, 6, unit)
    uic3 = struct.pack("<2I", 642, 1) * planes
    counts_at = put(struct.pack(f"<{strips}I", *[rows * W * item] * strips))
    offsets_at = put(bytes(4 * strips))
    tags = [
        (256, 4, 1, W), (257, 4, 1, H), (258, 3, 1, 8 * item), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, strips, offsets_at), (277, 3, 1, 1), (278, 4, 1, rows), (279, 4, strips, counts_at),
        (33628, 4, 3, put(uic1)), (33629, 5, planes, put(uic2)), (33630, 5, planes, put(uic3)),
    ]  # fmt: skip
    start = base + 6 + 12 * 12 + len(extra) if description_first else 8
    place = offsets_at - (base + 6 + 12 * 12)
    offsets = struct.pack(f"<{strips}I", *[start + i * rows * W * item for i in range(strips)])
    extra = extra[:place] + offsets + extra[place + len(offsets) :]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    ifd = struct.pack("<H", len(tags)) + entries + bytes(4) + extra
    pixels = data.astype(data.dtype.newbyteorder("<")).tobytes()
    path.write_bytes(struct.pack("<2sHI", b"II", 42, base) + (ifd + pixels if description_first else pixels + ifd))
    return path


@pytest.mark.parametrize("description_first", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_planes_and_pixel_size_are_read(dtype, description_first, tmp_path):
    data = counts(11, dtype)
    source = convert(write_stk(tmp_path / "a.stk", data, description_first=description_first), tmp_path / "a.zarr")
    assert source.layout == Layout(11, 1, H, W)
    assert source.pixel_size == PixelSize(x_nm=108, y_nm=108)
    np.testing.assert_array_equal(stored(source), data)


def test_planes_with_a_z_distance_form_a_volume(tmp_path):
    data = counts(7)
    movie = open_movie(write_stk(tmp_path / "a.stk", data, z_um=0.25, strips=3))
    assert (movie.planes, movie.z_step_nm) == (7, 250)
    np.testing.assert_array_equal(movie.read(2, 5), data[2:5])


@pytest.mark.parametrize("planes", [0.5, 3, 6.5])
def test_a_truncated_stack_is_refused_with_counts_and_salvaged(planes, tmp_path):
    data = counts(9)
    path = write_stk(tmp_path / "a.stk", data)
    size = path.stat().st_size - data.nbytes + int(planes * H * W * 2)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=f"announced 9 frames, {int(planes)} complete, {size} bytes: truncated"):
        open_movie(path)
    if planes >= 1:
        movie = open_movie(path, Choices(salvage=True))
        np.testing.assert_array_equal(movie.read(0, movie.num_frames), data[: int(planes)])


def test_a_stack_without_its_tags_is_refused(tmp_path):
    path = write_stk(tmp_path / "a.stk", counts(9), description_first=False)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match="900 bytes: restore the file"):
        open_movie(path, Choices(salvage=True))


def test_a_preallocated_tail_of_zeros_is_refused(tmp_path):
    data = counts(9)
    path = write_stk(tmp_path / "a.stk", data)
    written = path.read_bytes()[: -4 * H * W * 2]
    path.write_bytes(written + bytes(4 * H * W * 2))
    with pytest.raises(InputError, match="zeros fill the end of the file where 4 of its planes"):
        open_movie(path)
    movie = open_movie(path, Choices(salvage=True))
    np.testing.assert_array_equal(movie.read(0, movie.num_frames), data[:5])


def test_a_plain_tiff_with_suffix_stk_is_refused(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", counts(3), photometric="minisblack")
    (tmp_path / "a.tif").rename(tmp_path / "a.stk")
    with pytest.raises(InputError, match=r"rename it to \.tif"):
        open_movie(tmp_path / "a.stk")
    (tmp_path / "a.stk").rename(tmp_path / "a.tif")
    assert open_movie(tmp_path / "a.tif").num_frames == 3


def test_missing_tifffile_is_reported_with_the_command_to_install_it(tmp_path, monkeypatch):
    path = write_stk(tmp_path / "a.stk", counts(2))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(InputError, match=re.escape("run: pip install 'lls-decode[convert]'")):
        open_movie(path)
