"""What every movie of another format is turned into, whatever the format: frames that can be read from any place.

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
    """``read(start, stop)`` gives frames ``(n, Y, X)``, of either byte order; threads may call it at the same time."""
    files: tuple[Path, ...]
    """Where the frames lie."""
    planes: int = 1
    """Planes of a volume, when the files tell."""
    pixel_size: PixelSize | None = None
    z_step_nm: float | None = None
    geometry: Geometry | None = None
    """How the planes follow each other, when the files tell."""
    angle_deg: float | None = None
    """Angle between the light sheet and the stage travel, when only that is told."""
    lengths: tuple[int, ...] = ()
    """Frames of each file of a series."""
    notes: tuple[str, ...] = ()
    """What a user should know, in words."""
    told: str = ""
    """Which files, in which order, as what: ``4 files, vol_0.tif to vol_3.tif, as volumes of 10 planes``."""
    losses: tuple[Loss, ...] = ()
    """What was announced and is not among the frames, as the user allowed."""
    is_closed_up: bool = False
    """Whether frames from before and after a gap have become neighbours."""
    content: str = ""
    """Digest of which frames of the files these are: another channel is another movie (`digest_places`)."""

    def identity(self) -> str:
        """Digest of names and sizes of the files, and of how they are read; nothing is opened for it."""
        listing = _digest_lines(f"{path.name} {path.stat().st_size}" for path in self.files) + self.content
        return digest(
            [listing, self.num_frames, self.height, self.width, str(self.dtype), [str(loss) for loss in self.losses]]
        )

    def times(self) -> str:
        """Digest of when the files were last written: another one where a file was restored, or changed."""
        return _digest_lines(str(path.stat().st_mtime_ns) for path in self.files)


def _digest_lines(lines: Iterable[str]) -> str:
    listing = hashlib.sha256()
    for line in lines:
        listing.update(f"{line}\n".encode())
    return listing.hexdigest()[:16]


def digest_places(*places: npt.NDArray[np.int64], inside: str = "") -> str:
    """Return a digest of where frames lie in their files, for `Movie.content`."""
    found = hashlib.sha256(inside.encode())
    for numbers in places:
        found.update(np.ascontiguousarray(numbers).tobytes())
    return found.hexdigest()[:16]


def check_type(path: Path, dtype: np.dtype[Any]) -> None:
    """Refuse pixels that are no camera counts."""
    if dtype.kind not in "uif":
        raise InputError(f"{path} has values of type {dtype}, expected integer or real camera counts.")


def read_bytes(path: Path, offset: int, count: int) -> bytes:
    """A piece of a file, which must be there in full."""
    with open(path, "rb") as file:
        file.seek(offset)
        return whole(path, file.read(count), offset, count)


def whole(path: Path, data: bytes, offset: int, count: int) -> bytes:
    """Refuse a piece of a file that is not there in full."""
    if len(data) < count:
        raise InputError(
            f"{path} is truncated: {len(data)} of {count} bytes are left at byte {offset}; restore the file."
        )
    return data
