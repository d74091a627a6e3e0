"""The common representation of movies in all formats: frames with random access.

Shape letters: ``n`` consecutive frames, ``Y X`` pixels.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.config import Geometry, PixelSize, digest
from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.accounting import Loss


@dataclass(frozen=True)
class Movie:
    """Frames in the order of acquisition."""

    num_frames: int
    height: int
    width: int
    dtype: np.dtype[Any]
    read: Callable[[int, int], Frames]
    """Thread-safe function: ``read(start, stop)`` returns frames ``(n, Y, X)`` in either byte order."""
    files: tuple[Path, ...]
    """Files that hold the frames."""
    planes: int = 1
    """Planes per volume; 1 if the files do not state it."""
    pixel_size: PixelSize | None = None
    z_step_nm: float | None = None
    geometry: Geometry | None = None
    """Scan geometry, if the files state it."""
    angle_deg: float | None = None
    """Angle between the light sheet and the stage travel, if the files state only this angle."""
    lengths: tuple[int, ...] = ()
    """Number of frames in each file of a series."""
    notes: tuple[str, ...] = ()
    """Remarks for the user."""
    told: str = ""
    """Summary of the files and their layout: ``4 files, vol_0.tif to vol_3.tif, as volumes of 10 planes``."""
    losses: tuple[Loss, ...] = ()
    """Announced frames that are missing, with the user's permission."""
    is_closed_up: bool = False
    """Whether frames before and after a gap have become neighbours."""
    content: str = ""
    """Digest of the positions of the frames in their files, which differs for another channel (`digest_places`)."""

    def identity(self) -> str:
        """Return a digest of the names and sizes of the files, and of how they are read, without opening them."""
        listing = _digest_lines(f"{path.name} {path.stat().st_size}" for path in self.files) + self.content
        return digest(
            [listing, self.num_frames, self.height, self.width, str(self.dtype), [str(loss) for loss in self.losses]]
        )

    def times(self) -> str:
        """Return a digest of the modification times of the files."""
        return _digest_lines(str(path.stat().st_mtime_ns) for path in self.files)


def _digest_lines(lines: Iterable[str]) -> str:
    listing = hashlib.sha256()
    for line in lines:
        listing.update(f"{line}\n".encode())
    return listing.hexdigest()[:16]


def digest_places(*places: npt.NDArray[np.int64], inside: str = "") -> str:
    """Return a digest of the positions of frames in their files, for `Movie.content`."""
    found = hashlib.sha256(inside.encode())
    for numbers in places:
        found.update(np.ascontiguousarray(numbers).tobytes())
    return found.hexdigest()[:16]


def check_type(path: Path, dtype: np.dtype[Any]) -> None:
    """Raise an error if the data type of pixels cannot hold camera counts."""
    if dtype.kind not in "uif":
        raise InputError(f"{path} has values of type {dtype}, expected integer or floating-point camera counts.")


def read_bytes(path: Path, offset: int, count: int) -> bytes:
    """Read a piece of a file; raise an error if it is incomplete."""
    with open(path, "rb") as file:
        file.seek(offset)
        return whole(path, file.read(count), offset, count)


def whole(path: Path, data: bytes, offset: int, count: int) -> bytes:
    """Return a piece of a file; raise an error if it is incomplete."""
    if len(data) < count:
        raise InputError(
            f"{path} is truncated: {len(data)} of {count} bytes are left at byte {offset}; restore the file."
        )
    return data
