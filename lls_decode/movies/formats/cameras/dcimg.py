"""Hamamatsu ``.dcimg`` files, in both versions of the format, from public knowledge of the format.

The header of the file is followed by the header of the session, which states the size of frames and where they begin.
Four pixels of each frame are stored separately, because the frame itself has them overwritten. In the newer version
they are the first four pixels of one line in the middle of the sensor, stored in a 32-byte footer of each frame. In the
older version they are stored after all frames.
"""

import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.accounting import Account, Ints, in_zero_tail
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.frame_array import FrameArray, as_movie
from lls_decode.movies.movie import Movie, read_bytes

_OLD, _NEW = 0x7, 0x1000000
_FOOTER_BYTES = 32
_SPLIT_LINE = 1023
"""Line of the sensor whose first four pixels are stored in the footer of the frame."""
_NO_FOOTER = "the first four pixels of each frame are lost, because they were stored at the missing end of the file"


@dataclass(frozen=True)
class _Session:
    """Storage of the frames, and of the four pixels per frame that are stored separately."""

    num_frames: int
    height: int
    width: int
    dtype: np.dtype[np.unsignedinteger]
    row_bytes: int
    start: int
    stride: int
    """Number of bytes from one frame to the next."""
    line: int = -1
    """Line whose first four pixels are stored separately; negative: none."""
    apart: int = 0
    """Byte offset of the separate pixels of the first frame."""
    apart_stride: int = 0
    """Number of bytes from the separate pixels of one frame to those of the next."""
    is_footer_lost: bool = False
    """Whether the end of the file, which may hold four pixels of each frame, is missing."""

    @property
    def frame_bytes(self) -> int:
        """Number of bytes of the lines of a frame, including padding."""
        return self.row_bytes * self.height


def open_dcimg(path: Path, choices: Choices) -> Movie:
    """Open a ``.dcimg`` file."""
    session, announced_bytes = _read_session(path)
    starts = session.start + session.stride * np.arange(session.num_frames, dtype=np.int64)
    lost, problems = _find_lost(path, session, starts, announced_bytes)
    missing = tuple(np.flatnonzero(lost).tolist())
    account = Account(path, session.num_frames, session.num_frames - len(missing), ", ".join(problems), missing)

    def read(numbers: Ints) -> Frames:
        return np.stack([_read_frame(path, session, int(starts[i]), int(i)) for i in numbers])

    return as_movie(
        FrameArray(
            path,
            (session.num_frames,),
            ("",),
            session.height,
            session.width,
            session.dtype,
            read,
            lost=lost,
            accounts=(account,) if problems else (),
            notes=(_NO_FOOTER,) if session.is_footer_lost else (),
        ),
        choices,
    )


def _read_session(path: Path) -> tuple[_Session, int]:
    """Read the only session of a file, and the size that the file should have."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(72)
        if not head.startswith(b"DCIMG\0") or len(head) < 72:
            raise InputError(f"{path} does not begin with the header of a DCIMG file ({size} bytes); restore the file.")
        (version,) = struct.unpack_from("<I", head, 8)
        sessions, frames, at = struct.unpack_from("<III", head, 32)
        (announced_bytes,) = struct.unpack_from("<Q", head, 48)
        file.seek(at)
        body = file.read(760)
    if version not in (_OLD, _NEW):
        raise InputError(f"{path} is DCIMG version {version:#x}, expected {_OLD:#x} or {_NEW:#x}; export it as TIFF.")
    if sessions != 1:
        raise InputError(f"{path} holds {sessions} sessions, expected one; export each session as a separate file.")
    if len(body) < (720 if version == _NEW else 96):
        raise InputError(
            f"{path} is truncated within its header: it has {size} of {announced_bytes} bytes; restore the file."
        )
    session = _new_session(path, at, body) if version == _NEW else _old_session(path, at, body)
    if frames != session.num_frames:
        raise InputError(
            f"{path} states {frames} frames in one header and {session.num_frames} in the other, as if the recording "
            "was not closed; export it again."
        )
    return session, announced_bytes


def _checked(path: Path, frames: int, depth: int, width: int, height: int, row_bytes: int, image_bytes: int) -> None:
    if (
        depth not in (1, 2)
        or not (frames and width and height)
        or width * depth > row_bytes
        or row_bytes * height != image_bytes
    ):
        raise InputError(
            f"{path} states {frames} frames of {height} x {width} pixels of {depth} bytes in lines of {row_bytes} "
            f"bytes, {image_bytes} bytes per frame, which is inconsistent; export it as TIFF."
        )


def _new_session(path: Path, at: int, body: bytes) -> _Session:
    frames, depth, _, width, height, row_bytes, image_bytes = struct.unpack_from("<7I", body, 60)
    (start,) = struct.unpack_from("<Q", body, 96)
    _checked(path, frames, depth, width, height, row_bytes, image_bytes)
    _, sensor_width, top, sensor_height = struct.unpack_from("<4H", body, 712)
    binning = max(1, sensor_height // height)
    if sensor_width // width != sensor_height // height:
        raise InputError(f"{path} is binned differently along x and y, expected square pixels; export it as TIFF.")
    line = (_SPLIT_LINE - top) // binning
    stride = image_bytes + _FOOTER_BYTES
    first = at + start
    return _Session(
        frames,
        height,
        width,
        np.dtype(f"<u{depth}"),
        row_bytes,
        first,
        stride,
        line if 0 <= line < height else -1,
        first + image_bytes + 12,
        stride,
    )


def _old_session(path: Path, at: int, body: bytes) -> _Session:
    frames, depth, _, width, row_bytes, height, image_bytes = struct.unpack_from("<7I", body, 32)
    (start,) = struct.unpack_from("<I", body, 68)
    (data_bytes,) = struct.unpack_from("<Q", body, 72)
    _checked(path, frames, depth, width, height, row_bytes, image_bytes)
    session = _Session(frames, height, width, np.dtype(f"<u{depth}"), row_bytes, at + start, image_bytes)
    footer = at + data_bytes
    if footer + 48 > os.path.getsize(path):
        return replace(session, is_footer_lost=True)
    head = read_bytes(path, footer, 48)
    (second,) = struct.unpack_from("<Q", head, 8)
    (footer_bytes,) = struct.unpack_from("<I", head, 40)
    if footer + second + 112 > os.path.getsize(path):
        return replace(session, is_footer_lost=True)
    places = read_bytes(path, footer + second, 112)
    (apart,) = struct.unpack_from("<Q", places, 88)
    (offset,) = struct.unpack_from("<I", places, 100)
    if footer_bytes != apart + 4 * depth * frames:
        return session
    return replace(session, line=offset // row_bytes, apart=footer + apart, apart_stride=4 * depth)


def _find_lost(
    path: Path, session: _Session, starts: Ints, announced_bytes: int
) -> tuple[npt.NDArray[np.bool_], list[str]]:
    """Return the frames that are incomplete, including their separate pixels, and the problems of the file."""
    size = os.path.getsize(path)
    ends = starts + session.frame_bytes
    if session.line >= 0:
        ends = np.maximum(
            ends, session.apart + session.apart_stride * np.arange(len(starts)) + 4 * session.dtype.itemsize
        )
    lost = ends > size
    problems = []
    if lost.any() or size < announced_bytes:
        problems.append(f"truncated: it has {size} of {announced_bytes} bytes")
    zero = in_zero_tail(path, starts[~lost], session.frame_bytes, session.dtype)
    if zero:
        lost[zero] = True
        problems.append(f"zeros fill the end of the file where {len(zero)} of its frames should be")
    if size > announced_bytes:
        problems.append(f"it has {size - announced_bytes} bytes more than its header states")
    return lost, problems


def _read_frame(path: Path, session: _Session, start: int, number: int) -> Frames:
    data = np.frombuffer(read_bytes(path, start, session.frame_bytes), np.uint8).reshape(session.height, -1)
    frame = np.ascontiguousarray(data[:, : session.width * session.dtype.itemsize]).view(session.dtype)
    if session.line >= 0:
        frame = frame.copy()
        place = session.apart + number * session.apart_stride
        four = np.frombuffer(read_bytes(path, place, 4 * session.dtype.itemsize), session.dtype)
        frame[session.line, :4] = four[: session.width]
    return frame
