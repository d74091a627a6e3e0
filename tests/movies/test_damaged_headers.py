"""Damaged or hostile headers of movies are refused in one sentence, whatever their bytes."""

import re
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from lls_decode.errors import InputError
from lls_decode.movies.convert import convert
from lls_decode.movies.opening import open_movie

FRAMES = np.arange(6 * 8 * 8, dtype=np.uint16).reshape(6, 8, 8)
XML = (
    '<?xml version="1.0" encoding="UTF-8"?>{extra}<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0"><Pixels ID="P" DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="8" SizeC="1" SizeZ="1" '
    'SizeT="{times}" PhysicalSizeX="{size}" PhysicalSizeY="{size}"><TiffData/></Pixels></Image></OME>'
)
LAUGHS = "<!DOCTYPE x [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {chr(98 + i)} '{f'&{chr(97 + i)};' * 10}'>" for i in range(9)
)


def ome(path: Path, *, times: str = "6", size: str = "0.1", extra: str = "", change: str = "") -> None:
    text = XML.format(times=times, size=size, extra=extra)
    tifffile.imwrite(path, FRAMES, description=text.replace("UTF-8", change or "UTF-8"), metadata=None)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a size that is no number": (lambda path: ome(path, times="-"), "has a size of '-' along T"),
    "a size of zero": (lambda path: ome(path, times="0"), "has a size of '0' along T"),
    "a billion frames": (lambda path: ome(path, times="999999999"), "announces 999,999,999 planes"),
    "an unknown encoding": (lambda path: ome(path, change="UTF-N"), "unknown encoding"),
    "entities that expand without end": (
        lambda path: ome(path, extra=LAUGHS + "]>", size="&j;"), "limit on input amplification factor"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_damaged_ome_xml_is_refused(name: str, tmp_path: Path) -> None:
    write, words = REFUSED[name]
    write(tmp_path / "a.tif")
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        open_movie(tmp_path / "a.tif")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", ["NaN", "INF", "-INF", "1e308", "0", "x"])
def test_impossible_pixel_sizes_are_unknown(size: str, tmp_path: Path) -> None:
    ome(tmp_path / "a.tif", size=size)
    assert open_movie(tmp_path / "a.tif").pixel_size is None


@pytest.mark.parametrize("size", [np.nan, np.inf, 0.0, -0.1])
def test_impossible_voxels_of_hdf5_are_unknown(size: float, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = FRAMES
        file["data"].attrs["element_size_um"] = [0.4, size, size]
    assert open_movie(tmp_path / "a.h5").pixel_size is None


def test_frames_that_no_camera_has_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", FRAMES, imagej=True, metadata={"axes": "TYX"})
    movie = replace(open_movie(tmp_path / "a.tif"), height=1 << 20, width=1 << 20)
    monkeypatch.setattr(sys.modules["lls_decode.movies.convert"], "open_movie", lambda *_: movie)
    with pytest.raises(InputError, match="expected at most 100,000,000 pixels"):
        convert(tmp_path / "a.tif", tmp_path / "a.zarr")


def test_a_tag_with_more_values_than_the_file_has_bytes_is_refused(tmp_path: Path) -> None:
    """Its values would take gigabytes before they are found to be missing."""
    tifffile.imwrite(
        tmp_path / "a.tif", FRAMES, bigtiff=True, photometric="minisblack", metadata=None, resolution=(9, 9)
    )
    data = (tmp_path / "a.tif").read_bytes()
    first = int.from_bytes(data[8:16], "little")
    tag = data.index((282).to_bytes(2, "little") + (5).to_bytes(2, "little"), first)
    (tmp_path / "b.tif").write_bytes(data[: tag + 4] + (1 << 40).to_bytes(8, "little") + data[tag + 12 :])
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"refers to byte .* beyond its end"):
            open_movie(tmp_path / "b.tif")
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("place", [8, 16, 24])
def test_offsets_that_exceed_64_bits_are_refused(place: int, tmp_path: Path) -> None:
    """Every 8 bytes of the first directory of a BigTIFF are set to the largest number in turn."""
    tifffile.imwrite(tmp_path / "a.tif", FRAMES, bigtiff=True, photometric="minisblack", metadata=None)
    data = (tmp_path / "a.tif").read_bytes()
    first = int.from_bytes(data[8:16], "little")
    for at in range(first + place, first + 300, 20):
        (tmp_path / "b.tif").write_bytes(data[:at] + b"\xff" * 8 + data[at + 8 :])
        try:
            movie = open_movie(tmp_path / "b.tif")
        except InputError as error:
            message = str(error)
        else:
            message = ""
            assert movie.num_frames <= len(FRAMES)
        assert "\n" not in message


@pytest.mark.parametrize(("height", "width"), [(0, 4), (-3, -4)])
def test_raw_frames_of_impossible_size_are_refused(height: int, width: int, tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(48))
    text = f"Frames: 2\nHeight: {height}\nWidth: {width}\nData Type: uint16\nByte Order: '<'\n"
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError, match=f"a.yaml states frames of {height} x {width} pixels, expected at least 1 x 1"):
        open_movie(tmp_path / "a.raw")


def test_dax_values_of_8_bits_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dax").write_bytes(bytes(48))
    text = "data type = 8 bit integers (binary, little endian)\nframe dimensions = 4 x 3\n"
    (tmp_path / "a.inf").write_text(text)
    with pytest.raises(InputError, match=r"a\.inf states values of 8 bits, expected 16"):
        open_movie(tmp_path / "a.dax")
