"""Nikon files, read by the package nd2. As no real file is available, tests write files chunk by chunk."""

import re
import struct
import sys
import zlib
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest

pytest.importorskip("nd2")

from lls_decode.axes import Layout
from lls_decode.config import PixelSize
from lls_decode.errors import InputError
from lls_decode.movies import convert, open_movie
from lls_decode.movies.choices import Choices
from tests.movies.test_ndtiff import stored

H, W = 6, 9
MAP, FILEMAP = b"ND2 CHUNK MAP SIGNATURE 0000001!", b"ND2 FILEMAP SIGNATURE NAME 0001!"
KINDS = {bool: "bool", int: "lx_int32", float: "double", str: "CLxStringW"}


def counts(*shape, dtype="uint16"):
    return np.random.default_rng(6).integers(90, 250, (*shape, H, W)).astype(dtype)


def as_xml(name, value):
    if isinstance(value, dict):
        return f"<{name} runtype='CLxListVariant'>{''.join(as_xml(k, v) for k, v in value.items())}</{name}>"
    return f"<{name} runtype='{KINDS[type(value)]}' value={quoteattr(str(value))}/>"


def variant(value):
    return f"<variant version='1.0'>{as_xml('no_name', value)}</variant>".encode()


def loop(axis, count, inner):
    if axis == "T":
        kind, pars = 1, {"uiCount": count, "dStart": 0.0, "dPeriod": 10.0, "dDuration": 0.0}
    elif axis == "Z":
        kind, pars = 4, {"uiCount": count, "dZStep": 0.4}
    else:
        points = {f"Point{i}": {"dPosX": 1.0 * i, "dPosName": f"well{i}"} for i in range(count)}
        kind, pars = 2, {"uiCount": count, "Points": points}
    found = {"eType": kind, "uLoopPars": pars}
    return {**found, "ppNextLevelEx": {"a0": inner}} if inner else found


def write_nd2(path, data, axes="T", *, channels=("488",), absent=(), compressed=False, pad=0):
    """Write ``data`` (axes, channels, y, x) with the channels of a frame interleaved pixel by pixel."""
    shape, item, components = data.shape[: len(axes)], data.dtype.itemsize, len(channels)
    chunks, places = [b""], {}

    def put(name, payload, name_bytes=64):
        places[name] = (len(chunks[0]), len(payload))
        head = struct.pack("<IIQ", 0x0ABECEDA, name_bytes, len(payload))
        chunks[0] += head + name.ljust(name_bytes, b"\0") + payload

    chunks[0] = (
        struct.pack("<IIQ", 0x0ABECEDA, 32, 64) + b"ND2 FILE SIGNATURE CHUNK NAME01!" + b"Ver3.0".ljust(64, b"\0")
    )
    frames = data.reshape(-1, components, H, W)
    for number, frame in enumerate(frames):
        rows = np.zeros((H, W * components + pad), data.dtype)
        rows[:, : W * components] = frame.transpose(1, 2, 0).reshape(H, -1)
        pixels = zlib.compress(rows.tobytes()) if compressed else rows.tobytes()
        if number not in absent:
            put(f"ImageDataSeq|{number}!".encode(), struct.pack("<d", 10.0 * number) + pixels, 4072)
    attributes = {"uiWidth": W, "uiWidthBytes": (W * components + pad) * item, "uiHeight": H, "uiComp": components,
                  "uiBpcInMemory": 8 * item, "uiBpcSignificant": 8 * item, "uiSequenceCount": len(frames),
                  "eCompression": 0 if compressed else 2}  # fmt: skip
    spectrum = {"uiCount": 1, "pPoint": {"Point0": {"eType": 1, "dWavelength": 500.0, "dTValue": 1.0}}}
    probe = {"m_ExcitationSpectrum": spectrum, "m_EmissionSpectrum": spectrum}
    planes = {f"a{i}": {"sDescription": name, "uiCompCount": 1, "pFluorescentProbe": probe}
              for i, name in enumerate(channels)}  # fmt: skip
    picture = {
        "bCalibrated": True,
        "dCalibration": 0.108,
        "sPicturePlanes": {"uiCount": components, "sPlaneNew": planes},
    }
    experiment = None
    for axis, count in reversed(list(zip(axes, shape, strict=True))):
        experiment = loop(axis, count, experiment)
    put(b"ImageAttributesLV!", variant({"SLxImageAttributes": attributes}))
    put(b"ImageMetadataSeqLV|0!", variant({"SLxPictureMetadata": picture}))
    put(b"ImageMetadataLV!", variant({"SLxExperiment": experiment}))
    listing = b"".join(name + struct.pack("<QQ", *place) for name, place in places.items()) + MAP
    at = len(chunks[0])
    put(FILEMAP, listing)
    path.write_bytes(chunks[0] + MAP + struct.pack("<Q", at))
    return path


def read(movie):
    pieces = np.concatenate([movie.read(i, i + 1) for i in range(movie.num_frames)])
    np.testing.assert_array_equal(pieces, movie.read(0, movie.num_frames))
    return pieces


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("options", [{}, {"pad": 3}, {"compressed": True}], ids=str)
def test_frames_are_read_for_every_storage_layout(options, dtype, tmp_path):
    data = counts(12, 1, dtype=dtype)
    source = convert(write_nd2(tmp_path / "a.nd2", data, **options), tmp_path / "a.zarr")
    assert source.layout == Layout(12, 1, H, W)
    assert source.pixel_size == PixelSize(x_nm=108, y_nm=108)
    assert source.dtype == dtype
    np.testing.assert_array_equal(stored(source), data[:, 0])


def test_a_channel_and_a_position_of_volumes_are_selected_by_name(tmp_path):
    data = counts(3, 2, 4, 2)
    path = write_nd2(tmp_path / "a.nd2", data, "TPZ", channels=("488", "642"))
    with pytest.raises(InputError, match="well0, well1; choose one with --position"):
        open_movie(path)
    with pytest.raises(InputError, match="488, 642; choose one with --channel"):
        open_movie(path, Choices(position="well1"))
    movie = open_movie(path, Choices(position="well1", channel="642"))
    assert (movie.planes, movie.z_step_nm) == (4, 400)
    np.testing.assert_array_equal(read(movie), data[:, 1, :, 1].reshape(-1, H, W))


def test_missing_frames_are_refused_and_left_out_by_salvage(tmp_path):
    data = counts(8, 1)
    path = write_nd2(tmp_path / "a.nd2", data, absent=(2, 6, 7))
    with pytest.raises(InputError, match=r"announced 8 frames, 5 complete.*3 frames of its loops are not in the file"):
        open_movie(path)
    movie = open_movie(path, Choices(salvage=True))
    np.testing.assert_array_equal(read(movie), data[[0, 1, 3, 4, 5], 0])
    assert movie.is_closed_up


def test_an_undecodable_frame_is_reported_and_left_out_by_salvage(tmp_path):
    data = counts(5, 1)
    path = write_nd2(tmp_path / "a.nd2", data, compressed=True)
    content = bytearray(path.read_bytes())
    start = content.index(b"ImageDataSeq|2!") + 4072 + 8
    content[start : start + 20] = bytes(20)
    path.write_bytes(content)
    with pytest.raises(InputError, match="frame 2 cannot be read"):
        convert(path, tmp_path / "a.zarr")
    np.testing.assert_array_equal(read(open_movie(path, Choices(salvage=True))), np.delete(data[:, 0], 2, axis=0))


@pytest.mark.parametrize("cut", [1, 200, 20_000])
def test_a_truncated_file_is_refused_with_its_size(cut, tmp_path):
    path = write_nd2(tmp_path / "a.nd2", counts(8, 1))
    size = path.stat().st_size - cut
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(InputError, match=f"it has {size} bytes, and may be truncated.*restore the file"):
        open_movie(path, Choices(salvage=True))


def test_missing_nd2_is_reported_with_the_command_to_install_it(tmp_path, monkeypatch):
    path = write_nd2(tmp_path / "a.nd2", counts(2, 1))
    monkeypatch.setitem(sys.modules, "nd2", None)
    with pytest.raises(InputError, match=re.escape("run: pip install 'lls-decode[nd2]'")):
        open_movie(path)
