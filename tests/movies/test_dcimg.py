"""Hamamatsu files, written here in both versions of the format, because no file of a camera is available.

The layout follows the structures in the package dcimg (MIT), which does not run with NumPy 2.4 and so cannot serve
as a reference reader.
"""

import re
import struct

import numpy as np
import pytest

from lls_decode.axes import Layout
from lls_decode.errors import InputError
from lls_decode.movies import convert, open_movie
from lls_decode.movies.choices import Choices
from tests.movies.test_ndtiff import stored

H, W = 6, 9
START = 800


def counts(n, dtype="uint16"):
    return np.random.default_rng(5).integers(90, 250, (n, H, W)).astype(dtype)


def file_header(version, frames, size, sessions=1):
    text = b"DCIMG\0\0\0" + struct.pack("<I", version) + bytes(20) + struct.pack("<IIII", sessions, frames, 232, 0)
    return (text + struct.pack("<QIIQ", size, 0, 0, size)).ljust(232, b"\0")


def padded(data, row_bytes):
    """Return rows padded with 7; four pixels that are stored separately are zero in them."""
    item = data.dtype.itemsize
    rows = np.full((*data.shape[:2], row_bytes), 7, np.uint8)
    rows[..., : W * item] = np.ascontiguousarray(data).view(np.uint8).reshape(*data.shape[:2], -1)
    return rows


def write_new(path, data, *, pad=6, line=2, sessions=1):
    n, item = len(data), data.dtype.itemsize
    row_bytes = W * item + pad
    inside = data.copy()
    if line is not None:
        inside[:, line, :4] = 0
    top = 1023 - line if line is not None else 1024
    session = bytes(60) + struct.pack("<7I", n, item, 0, W, H, row_bytes, row_bytes * H) + bytes(8)
    session = (session + struct.pack("<Q", START)).ljust(712, b"\0") + struct.pack("<4H", 0, W, top, H)
    rows = padded(inside, row_bytes).reshape(n, -1)
    four = data[:, line or 0, :4].copy().view(np.uint8).reshape(n, -1)
    frames = b""
    for number in range(n):
        footer = struct.pack("<III", number, 1_700_000_000, 5) + four[number].tobytes()
        frames += rows[number].tobytes() + footer.ljust(32, b"\0")
    body = session.ljust(START, b"\0") + frames + b"end of session"
    path.write_bytes(file_header(0x1000000, n, 232 + len(body), sessions) + body)
    return path


def write_old(path, data, *, pad=0, line=0):
    n, item = len(data), data.dtype.itemsize
    row_bytes = W * item + pad
    inside = data.copy()
    if line is not None:
        inside[:, line, :4] = 0
    frames = padded(inside, row_bytes).tobytes()
    data_bytes = START + len(frames)
    session = bytes(32) + struct.pack("<7I", n, item, 0, W, row_bytes, H, row_bytes * H) + bytes(8)
    session = (session + struct.pack("<IQ", START, data_bytes)).ljust(START, b"\0")
    apart = 600
    footer_bytes = apart + 4 * item * n if line is not None else 0
    footer = struct.pack("<IIQ", 1, 0, 300) + bytes(24) + struct.pack("<I", footer_bytes)
    second = bytes(88) + struct.pack("<QIIQ", apart, 0, (line or 0) * row_bytes, 8 if line is not None else 0)
    footer = footer.ljust(300, b"\0") + second
    footer = footer.ljust(apart, b"\0") + np.ascontiguousarray(data[:, line or 0, :4]).tobytes()
    body = session + frames + footer
    path.write_bytes(file_header(0x7, n, 232 + len(body)) + body)
    return path


WRITERS = {"new": write_new, "old": write_old}


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(("line", "pad"), [(0, 0), (2, 6), (5, 3), (None, 4)])
@pytest.mark.parametrize("version", WRITERS)
def test_frames_include_the_four_pixels_stored_separately(version, line, pad, dtype, tmp_path):
    data = counts(7, dtype)
    source = convert(WRITERS[version](tmp_path / "a.dcimg", data, line=line, pad=pad), tmp_path / "a.zarr")
    assert source.layout == Layout(7, 1, H, W)
    np.testing.assert_array_equal(stored(source), data)


@pytest.mark.parametrize("frames", [0.5, 2, 4.7])
@pytest.mark.parametrize("version", WRITERS)
def test_a_truncated_file_is_refused_with_counts_and_its_whole_frames_are_salvaged(version, frames, tmp_path):
    data = counts(7)
    path = WRITERS[version](tmp_path / "a.dcimg", data, pad=0)
    whole_size = path.stat().st_size
    size = 232 + START + int(frames * (H * W * 2 + (32 if version == "new" else 0)))
    path.write_bytes(path.read_bytes()[:size])
    says = f"announced 7 frames, {int(frames)} complete, {size} bytes: truncated: it has {size} of {whole_size} bytes"
    with pytest.raises(InputError, match=says):
        open_movie(path)
    if frames >= 1:
        movie = open_movie(path, Choices(salvage=True))
        taken, truth = movie.read(0, movie.num_frames), data[: int(frames)].copy()
        assert any("four pixels" in note for note in movie.notes) == (version == "old")
        if version == "old":
            truth[:, 0, :4] = 0  # lost, as a note says
        np.testing.assert_array_equal(taken, truth)


def test_bytes_beyond_the_size_in_the_header_are_reported(tmp_path):
    path = write_new(tmp_path / "a.dcimg", counts(3))
    path.write_bytes(path.read_bytes() + b"x" * 100)
    with pytest.raises(InputError, match="100 bytes more than its header states"):
        open_movie(path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((8, struct.pack("<I", 5)), "version 0x5"),
        ((32, struct.pack("<I", 2)), "2 sessions"),
        ((36, struct.pack("<I", 9)), "9 frames in one header and 3 in the other"),
        ((0, b"XXXXX"), "does not begin with the header"),
        ((232 + 64, struct.pack("<I", 3)), "inconsistent"),
    ],
)
def test_inconsistent_headers_are_refused(change, says, tmp_path):
    path = write_new(tmp_path / "a.dcimg", counts(3))
    data = bytearray(path.read_bytes())
    data[change[0] : change[0] + len(change[1])] = change[1]
    path.write_bytes(data)
    with pytest.raises(InputError, match=re.escape(says)):
        open_movie(path, Choices(salvage=True))


@pytest.mark.parametrize("size", [20, 100, 240])
def test_a_file_truncated_in_its_header_is_refused(size, tmp_path):
    path = write_new(tmp_path / "a.dcimg", counts(3))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match="restore the file"):
        open_movie(path, Choices(salvage=True))
