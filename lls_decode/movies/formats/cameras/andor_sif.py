"""Andor Solis files: ``.sif``, and the headers (``.sifx``) of spooled acquisitions.

A file begins with lines of text, whose number depends on the version. Two consecutive lines, which all versions have,
describe the frames: ``65541 left top right bottom frames areas total-values values-per-frame`` and ``65538 left top
right bottom binning-y binning-x ...``. They must be consistent. One time stamp per frame follows; in newer versions
then a line ``0`` or ``1`` and, after ``1``, a second time stamp per frame. The pixels are 32-bit floats. After them
come the marks of the background and reference sections.

The first stored row remains the first row; Solis displays it at the bottom.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.accounting import Account, Ints
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.frame_array import FrameArray, as_movie
from lls_decode.movies.movie import Movie, read_bytes

_MAGIC = b"Andor Technology Multi-Channel File"
_HEADER_BYTES = 1 << 20
_IMAGES = re.compile(
    rb"655\d\d" + 4 * rb" +(\d+)" + rb" +(\d+) +(\d+) +(\d+) +(\d+) *\r?\n"
    rb"655\d\d +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)[^\n]*\n"
)
_DTYPE = np.dtype("<f4")


@dataclass(frozen=True)
class SifHeader:
    """Description of the frames in the text header."""

    num_frames: int
    height: int
    width: int
    end: int
    """Byte offset of the end of the description, where the time stamps begin."""


def read_header(path: Path) -> SifHeader:
    """Read the number of frames and their size.

    Raises
    ------
    InputError
        The file is not an Andor file, or its header is truncated or inconsistent.
    """
    with open(path, "rb") as file:
        text = file.read(_HEADER_BYTES)
    if not text.startswith(_MAGIC):
        raise InputError(
            f"{path} is not an Andor file: it does not begin with {_MAGIC.decode()!r}; check the file type."
        )
    found = _IMAGES.search(text)
    if found is None:
        raise InputError(
            f"{path} has no description of its frames in the first {len(text)} bytes, so it is truncated; restore the "
            "file."
        )
    numbers = [int(word) for word in found.groups()]
    num_frames, areas, in_all, in_frame = numbers[4:8]
    left, top, right, bottom, binning_y, binning_x = numbers[8:]
    if areas != 1:
        raise InputError(f"{path} has {areas} areas in each frame, expected one; export each area as a separate file.")
    height = (abs(top - bottom) + 1) // max(1, binning_y)
    width = (abs(right - left) + 1) // max(1, binning_x)
    if not num_frames or height * width != in_frame or in_frame * num_frames != in_all:
        raise InputError(
            f"{path} announces {in_all} values in {num_frames} frames of {in_frame}, and frames of {height} x {width} "
            "pixels, which is inconsistent; export it again from Solis."
        )
    return SifHeader(num_frames, height, width, found.end())


def open_sif(path: Path, choices: Choices) -> Movie:
    """Open one ``.sif`` file."""
    header = read_header(path)
    start = _start_of_frames(path, header)
    frame_bytes = header.height * header.width * _DTYPE.itemsize
    lost = start + frame_bytes * np.arange(1, header.num_frames + 1, dtype=np.int64) > path.stat().st_size
    account = _account(path, header, start, lost, frame_bytes)
    return as_movie(
        FrameArray(
            path,
            (header.num_frames,),
            ("t",),
            header.height,
            header.width,
            _DTYPE,
            lambda numbers: _read(path, header, start + frame_bytes * numbers),
            lost=lost,
            accounts=(account,) if account else (),
        ),
        choices,
    )


def _start_of_frames(path: Path, header: SifHeader) -> int:
    """Return the byte offset of the first pixel, after one or two lists of time stamps."""
    limit = header.end + 64 * (2 * header.num_frames + 2)
    text = read_bytes(path, header.end, min(limit, path.stat().st_size) - header.end)
    stamps = re.compile(rb"(?: *-?\d+\r?\n){%d}" % header.num_frames)
    first = stamps.match(text)
    if first is None:
        raise InputError(
            f"{path} is truncated within the time stamps of its {header.num_frames} frames; restore the file."
        )
    at = first.end()
    mark = re.match(rb"[01]\r?\n", text[at:])
    if mark is None:
        return header.end + at  # older version without this line
    at += mark.end()
    if mark[0][:1] == b"1":
        more = stamps.match(text, at)
        if more is None:
            raise InputError(
                f"{path} is truncated within the second time stamps of its {header.num_frames} frames; restore the "
                "file."
            )
        at = more.end()
    return header.end + at


def _account(
    path: Path, header: SifHeader, start: int, lost: npt.NDArray[np.bool_], frame_bytes: int
) -> Account | None:
    """Account for frames beyond the end of the file, and for bytes after the frames that are no section mark."""
    whole = int((~lost).sum())
    if lost.any():
        left = path.stat().st_size - start - whole * frame_bytes
        why = f"truncated: it ends {left} bytes after its last complete frame"
        return Account(path, header.num_frames, whole, why, tuple(np.flatnonzero(lost).tolist()))
    end = start + frame_bytes * header.num_frames
    rest = path.stat().st_size - end
    if rest and re.match(rb"[01]\r?\n?", read_bytes(path, end, min(rest, 3))) is None:
        why = f"{rest} bytes follow the frames, but do not begin a section of Solis"
        return Account(path, header.num_frames, whole, why)
    return None


def _read(path: Path, header: SifHeader, starts: Ints) -> Frames:
    frame_bytes = header.height * header.width * _DTYPE.itemsize
    data = b"".join(read_bytes(path, int(start), frame_bytes) for start in starts)
    return np.frombuffer(data, _DTYPE).reshape(-1, header.height, header.width)
