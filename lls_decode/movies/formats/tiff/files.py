"""Complete accounting of one TIFF file: its images, its frames, and its incomplete frames."""

from dataclasses import dataclass, replace
from itertools import groupby
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.config import PixelSize
from lls_decode.errors import InputError
from lls_decode.movies.accounting import Account, end_of_data, in_zero_tail, ranges
from lls_decode.movies.formats.tiff.descriptions import Description, as_json, shaped
from lls_decode.movies.formats.tiff.layout import PixelLayout
from lls_decode.movies.formats.tiff.pages import Ints, Pages
from lls_decode.movies.movie import read_bytes

_CHECKED = (8, 32946)
"""Compression methods with a checksum of every strip: zlib."""
_FEW_ZEROS = {50000: 5, 34926: 5}
"""Number of zero bytes at the end of a strip that cannot be valid data, for zstd, which may store pixels verbatim."""
_SLACK_BYTES = 16
"""Largest gap for alignment between the last pixel and the data after it."""
_LOOK_BYTES = 4096
_MOST_PADDING_BYTES = 4096
"""Largest number of bytes after the pixels of an uncompressed page that count as padding, up to one disk sector."""
_TEXT = bytes([9, 10, 13, *range(32, 127)])


@dataclass(frozen=True)
class Stored:
    """Frames of a file, indexed by page number."""

    path: Path
    size: int
    order: str
    layouts: tuple[PixelLayout, ...]
    layout_of: Ints
    ifds: Ints
    """Byte offset of the directory of each page; -1 for frames without a directory."""
    starts: Ints
    """Byte offset of the pixels of each frame."""
    whole: npt.NDArray[np.bool_]
    """Whether each frame is complete."""
    is_assumed: bool = False
    """Whether the file itself was not read, and is assumed to be like another file of the same size."""

    def __len__(self) -> int:
        return len(self.starts)

    def layout_at(self, number: int) -> PixelLayout:
        """Return the pixel layout of a frame."""
        return self.layouts[int(self.layout_of[number])]


@dataclass(frozen=True)
class Image:
    """Frames along named axes."""

    name: str
    axes: tuple[str, ...]
    """Letters of the axes, slowest first; empty for a sequence of unknown meaning."""
    file_of: Ints
    """Index of the file of each frame; -1 for a frame that is announced but in no file."""
    page_of: Ints
    channels: tuple[str, ...] = ()
    pixel_size: PixelSize | None = None
    z_step_nm: float | None = None
    notes: tuple[str, ...] = ()


def account_for(path: Path, pages: Pages, found: Description) -> tuple[Stored, Account | None]:
    """Compare the announced frames with the pages and with the bytes of the file.

    Raises
    ------
    InputError
        The size of a page contradicts the number of its bytes.
    """
    stored, room = _lay_out(pages, found.num_frames)
    _refuse_long_pages(stored, pages)
    is_zero = _mark_zeros(stored, pages)
    announced = found.num_frames or room
    num_main = sum(1 for index in stored.layout_of if not stored.layouts[index].is_aside)
    missing = {int(i) for i in np.flatnonzero(~stored.whole)} | set(range(num_main, announced or 0))
    problems = [found.problem] if found.problem else []
    if pages.ending:
        problems.append(pages.ending)
    elif room and not found.num_frames:
        problems.append(f"its list of pages ends after {len(pages)} of the {room} frames that are stored contiguously")
    if is_zero:
        problems.append(f"zeros fill the end of the file where {is_zero} of its frames should be")
    if announced is not None and num_main < announced and not pages.ending:
        problems.append(f"{found.origin} announces {announced} frames, its list of pages ends after {num_main}")
    elif announced is not None and num_main > announced and found.num_frames:
        problems.append(f"{found.origin} announces {announced} frames, its list has {num_main} pages")
    if not stored.whole.all() and not is_zero and not pages.ending:
        problems.append("truncated: pixels of a page are missing, or beyond the end of the file")
    if pages.claimed > pages.size and not problems:
        problems.append(f"truncated: it refers to byte {pages.claimed}, beyond its end")
    problems += _unclaimed(pages, stored)
    if len(pages.sharing) and len(stored) == len(pages):
        stored.whole[pages.sharing] = False
        missing |= set(pages.sharing.tolist())
        which = f"page{'s' if len(pages.sharing) > 1 else ''} {ranges(pages.sharing.tolist())}"
        problems.append(f"the pixels of {which} overlap other pixels")
    if not problems:
        return stored, None
    return stored, Account(path, announced, int(stored.whole.sum()), ", ".join(problems), tuple(sorted(missing)))


def _refuse_long_pages(stored: Stored, pages: Pages) -> None:
    """Raise an error for an uncompressed page with many more bytes than pixels: its size or type must be wrong."""
    if len(stored) > len(pages):
        return  # ImageJ counts the bytes of all frames in the only page
    for index, layout in enumerate(pages.layouts):
        most = layout.frame_bytes + min(layout.frame_bytes - 1, _MOST_PADDING_BYTES)
        long = np.flatnonzero((pages.layout_of == index) & (pages.ends - pages.starts > most))
        if layout.is_plain and len(long):
            number = int(long[0])
            raise InputError(
                f"{pages.path}: page {number} has {int(pages.ends[number] - pages.starts[number])} bytes, expected "
                f"{layout.frame_bytes} for {layout.shape[0]} x {layout.shape[1]} pixels of type {layout.dtype}; "
                "restore the file, or save its frames again from the program that wrote it."
            )


def _lay_out(pages: Pages, announced: int | None) -> tuple[Stored, int | None]:
    """Return the frames with pages, plus contiguous frames without pages, and the number of contiguous frames.

    ImageJ and tifffile write all pixels contiguously, and further pages after them. Files of more than 4 GB, or
    truncated files, contain pixels of frames whose pages are missing. Such frames are accepted if the position of the
    second page, or ImageJ's description, proves that there is nothing else in between. The number is None if there are
    no such frames.
    """
    stored = Stored(
        pages.path, pages.size, pages.order, pages.layouts, pages.layout_of, pages.ifds, pages.starts, pages.whole
    )
    if len(pages) == 0 or not (pages.ending or pages.gaps or (announced or 0) > len(pages)):
        return stored, None
    layout = pages.layouts[0]
    step = layout.frame_bytes
    first = int(pages.starts[0])
    in_one_piece = (pages.starts == first + step * np.arange(len(pages))).all() and not pages.layout_of.any()
    if not layout.is_plain or not in_one_piece or first <= pages.ifds[0] < max(pages.pointer, first + step):
        return stored, None
    room, rest = divmod(pages.pointer - first, step)
    if pages.pointer == 0 and len(pages) == 1:
        room, rest = announced or 1, 0
    total = announced or room
    if rest >= _SLACK_BYTES or room < total or total <= len(pages):
        return stored, None
    starts = first + step * np.arange(total, dtype=np.int64)
    return replace(
        stored,
        layout_of=np.zeros(total, np.int64),
        ifds=np.append(pages.ifds, np.full(total - len(pages), -1)),
        starts=starts,
        whole=starts + step <= pages.size,
    ), total


def _mark_zeros(stored: Stored, pages: Pages) -> int:
    """Mark frames that were reserved but never written as incomplete; return their number.

    Compressed data seldom end in zeros. For zlib, a checksum shows during decoding whether data are complete; LZW has
    an end mark. A few zero bytes may be valid at the end of the file, but not if more zeros follow.
    """
    layout = stored.layouts[0] if stored.layouts else None
    if layout is None or layout.dtype.kind not in "uif":
        return 0
    if layout.get(322, 0) and layout.get(259, 1) == 1:
        return 0  # tiles end in padding
    if not layout.is_plain:
        kind, end = layout.get(259, 1), end_of_data(stored.path)
        if kind in _CHECKED:
            return 0
        few = _FEW_ZEROS.get(kind, 2)
        torn = stored.whole & (pages.ends >= end + np.where(pages.ends + _SLACK_BYTES <= pages.size, 1, few))
        stored.whole[torn] = False
        return int(torn.sum())
    if stored.layout_of.any():
        return 0
    lost = in_zero_tail(
        stored.path,
        stored.starts,
        layout.frame_bytes,
        layout.dtype.newbyteorder(stored.order),  # type: ignore[arg-type]
    )
    if lost:
        stored.whole[lost] = False
    return len(lost)


def _unclaimed(pages: Pages, stored: Stored) -> list[str]:
    """Return problems from bytes that could be frames but belong to no page."""
    if len(stored) == 0:
        return []
    layout = stored.layouts[0]
    least = layout.frame_bytes if layout.is_plain else max(1, pages.least)
    end = int(stored.starts[-1]) + least if stored.ifds[-1] < 0 else 0
    problems = []
    for start, stop in pages.gaps:
        start = max(start, min(end, stop)) if start >= stored.starts[0] else start
        if stop - start < least:
            continue
        head = read_bytes(pages.path, start, min(stop - start, _LOOK_BYTES)).strip(b"\0")
        is_padding = not head and stop < pages.size and not _any_set(pages.path, start, stop)
        if is_padding or _is_text(head):
            continue
        room = max(1, (stop - start) // max(least, _spacing(stored)))
        frames = "1 frame" if room == 1 else f"{room} frames"
        problems.append(f"{stop - start} bytes from byte {start} on belong to no page, room for {frames}")
    return problems


def _spacing(stored: Stored) -> int:
    """Return the number of bytes from one frame to the next, including its directory."""
    return int(np.median(np.diff(stored.starts))) if len(stored) > 1 else 0


def _is_text(data: bytes) -> bool:
    return bool(data) and not data.translate(None, _TEXT)


def _any_set(path: Path, start: int, stop: int) -> bool:
    return any(read_bytes(path, at, min(1 << 20, stop - at)).strip(b"\0") for at in range(start, stop, 1 << 20))


def images_of(stored: Stored, pages: Pages, found: Description) -> list[Image]:
    """Group the frames of a file that is not an OME-TIFF into images: arrays by tifffile, or runs of similar pages."""
    main = [i for i in range(len(stored)) if not stored.layouts[stored.layout_of[i]].is_aside]
    runs = [list(run) for _, run in groupby(main, key=lambda i: stored.layouts[stored.layout_of[i]].alike)]
    parts = _shaped_parts(pages, found, runs)
    if parts is None:
        if found.shape and len(runs) == 1:
            parts = [(runs[0], found.shape, found.axes)]
        else:
            parts = [(run, (len(run),) if len(run) > 1 else (), ("",) if len(run) > 1 else ()) for run in runs]
    images, sizes = [], found.sizes
    for number, (numbers, shape, axes) in enumerate(parts):
        if len(numbers) > prod(shape):
            shape, axes = (len(numbers),), ("",)
        page_of = np.full(prod(shape), -1)
        page_of[: len(numbers)] = numbers
        page_of = page_of.reshape(shape)
        image = Image(
            str(number), axes, np.where(page_of < 0, -1, 0), page_of, (), sizes.pixel_size, sizes.z_step_nm, sizes.notes
        )
        images.append(image)
    return images


Part = tuple[list[int], tuple[int, ...], tuple[str, ...]]


def _shaped_parts(pages: Pages, found: Description, runs: list[list[int]]) -> list[Part] | None:
    """Return the arrays that tifffile wrote with a description each; None if further pages have no description."""
    if not pages.described or found.origin != "its description":
        return None
    main = [i for run in runs for i in run]
    starts = sorted({0, *pages.described})
    parts: list[Part] = []
    for start, stop in zip(starts, [*starts[1:], len(pages)], strict=True):
        numbers = [i for i in main if start <= i < stop]
        if not numbers:
            continue
        facts: dict[str, Any] = as_json(pages.described[start]) if start in pages.described else {}
        frame = pages.layouts[pages.layout_of[start]].shape
        shape, axes = (found.shape, found.axes) if start == 0 else shaped(facts, frame)
        parts.append((numbers, shape, axes))
    if len(runs) == 1 and all(prod(shape) == 1 for _, shape, _ in parts):
        return [(main, (len(main),), ("",))]
    return parts
