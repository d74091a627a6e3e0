"""Pages of a TIFF file, found by following its list of directories, and bytes that belong to no page.

This is written from the published TIFF 6.0 and BigTIFF specifications. No library is used, because libraries guess the
intended content of damaged files and may silently lose frames.
"""

import os
import re
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.errors import InputError
from lls_decode.movies.accounting import end_of_data
from lls_decode.movies.formats.tiff.layout import HEIGHT, WIDTH, PixelLayout

SHAPED = re.compile(rb'\{.*"shape":\s*\[', re.DOTALL)
"""Pattern of tifffile's description of an array. Versions before 2026 write the shape after all other keys."""

Ints = npt.NDArray[np.int64]

_TYPES = {
    1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I",
    16: "Q", 17: "q", 18: "Q",
}  # fmt: skip
"""`struct` code of each TIFF data type."""
_SIZES = {kind: struct.calcsize("=" + code) for kind, code in _TYPES.items()}
_MAX_TAGS = 4096
_MOST_VALUES = 2_000_000
"""Largest number of values of a tag; a frame has at most one strip per row, or some thousand tiles."""
_MOST_BYTES = 512 << 20
"""Largest description in bytes; the OME-XML of a million planes has about half of it."""
_FARTHEST = 1 << 62
"""Largest byte offset that is recorded; damaged files state larger ones, which 64-bit integers cannot hold."""
_WINDOW_BYTES = 2048
_BEHIND_BYTES = 16
"""Number of zeros after a directory that ends in zero from which the directory counts as incompletely written."""
DESCRIPTION, SUB_PAGES, MICRO_MANAGER = 270, 330, 51123
_OFFSETS, _COUNTS = (273, 324), (279, 325)
_LAYOUT = (254, 255, 256, 257, 258, 259, 262, 266, 277, 278, 284, 317, 322, 323, 339, 32997)
_FIRST = (270, 282, 283, 296, 305, MICRO_MANAGER)


@dataclass(frozen=True)
class Pages:
    """All pages of a file, in the order of its list of directories."""

    path: Path
    size: int
    order: str
    """Byte order, ``<`` or ``>`` as in `struct`."""
    layouts: tuple[PixelLayout, ...]
    layout_of: Ints
    """Index of the layout of each page."""
    ifds: Ints
    """Byte offset of the directory of each page; -1 for a page without a directory."""
    starts: Ints
    """Byte offset of the first pixel of each page."""
    ends: Ints
    """Byte offset of the end of the stored bytes of each page."""
    whole: npt.NDArray[np.bool_]
    """Whether the pixels of each page are within the file."""
    ending: str
    """Problem at the end of the list of pages; empty if the list ends properly."""
    pointer: int
    """Byte offset of the second page according to the first; 0 if there is none."""
    first: dict[int, Any]
    """Tag values of the first page that describe the file."""
    described: dict[int, str]
    """Descriptions of further pages, by page number."""
    gaps: tuple[tuple[int, int], ...]
    """Ranges of bytes, at least as large as a frame, that belong to nothing."""
    claimed: int
    """End of the last byte that anything in the file refers to."""
    least: int
    """Number of bytes of the smallest page."""
    sharing: Ints
    """Numbers of the pages that have pixels in common with another page, or twice in themselves."""
    summary: bytes
    """Micro-Manager's summary metadata of the acquisition."""

    def __len__(self) -> int:
        return len(self.starts)

    def layout_at(self, number: int) -> PixelLayout:
        """Return the pixel layout of a page."""
        return self.layouts[int(self.layout_of[number])]


@dataclass
class _Found:
    """Data collected while following the list of pages."""

    layouts: dict[PixelLayout, int] = field(default_factory=dict)
    layout_of: "array[int]" = field(default_factory=lambda: array("q"))
    ifds: "array[int]" = field(default_factory=lambda: array("q"))
    starts: "array[int]" = field(default_factory=lambda: array("q"))
    ends: "array[int]" = field(default_factory=lambda: array("q"))
    stored: "array[int]" = field(default_factory=lambda: array("q"))
    whole: "array[int]" = field(default_factory=lambda: array("b"))
    claims: "array[int]" = field(default_factory=lambda: array("q"))
    first: dict[int, Any] = field(default_factory=dict)
    described: dict[int, str] = field(default_factory=dict)
    pixels: "array[int]" = field(default_factory=lambda: array("q"))
    """Page number, start and stop of each piece of pixels, except those of reduced copies and masks."""
    pointer: int = 0
    summary: bytes = b""

    def claim(self, start: int, stop: int) -> None:
        self.claims.extend((min(start, _FARTHEST), min(stop, _FARTHEST)))


class _BrokenError(Exception):
    """Error for an invalid directory; its text describes how the list of pages ends."""


class _Reader:
    """Reader of values at byte offsets, for TIFF and BigTIFF files in either byte order."""

    def __init__(self, path: Path) -> None:
        self.file = open(path, "rb", buffering=0)  # noqa: SIM115 (closed by walk)
        self.size = os.fstat(self.file.fileno()).st_size
        head = self.file.read(16)
        self.order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        version = struct.unpack(f"{self.order}H", head[2:4])[0] if self.order and len(head) >= 8 else 0
        if version not in (42, 43) or (version == 43 and len(head) < 16):
            raise InputError(f"{path} cannot be read as TIFF: it has no TIFF header; restore the file.")
        self.is_big = version == 43
        self.count, self.entry, self.offset = ("Q", "HHQ8s", "Q") if self.is_big else ("H", "HHI4s", "I")
        self.first = struct.unpack_from(self.order + self.offset, head, 8 if self.is_big else 4)[0]
        self.filled = end_of_data(path)
        self._at, self._window = 0, b""

    def read(self, at: int, count: int) -> bytes:
        if not (self._at <= at and at + count <= self._at + len(self._window)):
            self.file.seek(at)
            self._at, self._window = at, self.file.read(max(count, _WINDOW_BYTES))
        return self._window[at - self._at : at - self._at + count]

    def unpack(self, code: str, at: int) -> tuple[Any, ...]:
        size = struct.calcsize(self.order + code)
        if at + size > self.size:
            raise _BrokenError(f"its list of pages is cut short: it refers to byte {at}, beyond the end of the file")
        return struct.unpack(self.order + code, self.read(at, size))


def read_pages(path: Path) -> Pages:
    """Follow the list of pages to its end, or to the first problem.

    Raises
    ------
    InputError
        The file cannot be read, or is not a TIFF.
    """
    try:
        reader = _Reader(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); restore the file.") from error
    with reader.file:
        found = _Found()
        found.claim(0, 16 if reader.is_big else 8)
        ending = _walk(reader, found)
        _claim_micro_manager(reader, found)
        whole = np.frombuffer(found.whole, np.int8).astype(bool) if found.whole else np.zeros(0, bool)
        least = min(found.stored, default=0)
        claims = _ints(found.claims).reshape(-1, 2)
        return Pages(
            path=path,
            size=reader.size,
            order=reader.order,
            layouts=tuple(found.layouts),
            layout_of=_ints(found.layout_of),
            ifds=_ints(found.ifds),
            starts=_ints(found.starts),
            ends=_ints(found.ends),
            whole=whole,
            ending=ending,
            pointer=found.pointer,
            first=found.first,
            described=found.described,
            gaps=tuple(_gaps(np.minimum(claims, reader.size), reader.size, max(1, least))),
            claimed=int(claims.max()),
            least=least,
            sharing=_sharing(_ints(found.pixels).reshape(-1, 3)),
            summary=found.summary,
        )


def _ints(values: "array[int]") -> Ints:
    return np.array(values, np.int64)


def _walk(reader: _Reader, found: _Found) -> str:
    """Record all pages; return the problem at the end of the list, or an empty text."""
    at, seen = reader.first, set()
    while at:
        if at in seen:
            return "its list of pages is circular"
        if at >= reader.size:
            return f"truncated: its list of pages continues at byte {at}, beyond the end of the file"
        seen.add(at)
        try:
            tags, following = _directory(reader, at, found)
            _note_page(reader, at, tags, found)
        except _BrokenError as error:
            return str(error)
        if len(found.ifds) == 1:
            found.pointer = following
        at = following
    return "" if found.ifds else "it has no page"


def _directory(reader: _Reader, at: int, found: _Found) -> tuple[dict[int, tuple[int, int, int]], int]:
    """Return the type, number and byte offset of each tag's values, and the offset of the next directory."""
    (count,) = reader.unpack(reader.count, at)
    if not 0 < count <= _MAX_TAGS:
        what = "zeros" if count == 0 else "bytes that are not a page"
        raise _BrokenError(f"its list of pages runs into {what} at byte {at}")
    head, size = struct.calcsize("=" + reader.count), struct.calcsize("=" + reader.entry)
    end = at + head + count * size
    (following,) = reader.unpack(reader.offset, end)
    inline = 8 if reader.is_big else 4
    if reader.filled <= end - inline < end + inline + _BEHIND_BYTES <= reader.size:
        raise _BrokenError(f"its list of pages runs into zeros at byte {reader.filled}")
    tags: dict[int, tuple[int, int, int]] = {}
    claims = [(at, end + inline)]
    for number, entry in enumerate(
        struct.iter_unpack(reader.order + reader.entry, reader.read(at + head, end - at - head))
    ):
        tag, kind, length, value = entry
        if kind not in _SIZES:
            raise _BrokenError(f"its list of pages runs into bytes that are not a page at byte {at}")
        nbytes = _SIZES[kind] * length
        place = at + head + number * size + size - inline
        if nbytes > inline:
            (place,) = struct.unpack(reader.order + reader.offset, value)
            claims.append((place, place + nbytes))
        tags.setdefault(tag, (kind, length, place))
    if WIDTH not in tags or HEIGHT not in tags or not any(tag in tags for tag in _OFFSETS):
        raise _BrokenError(f"its list of pages runs into bytes that are not a page at byte {at}")
    for claim in claims:
        found.claim(*claim)
    return tags, following


def _values(reader: _Reader, entry: tuple[int, int, int]) -> tuple[Any, ...]:
    kind, length, place = entry
    code = _TYPES[kind]
    if place + _SIZES[kind] * length > reader.size or length > (_MOST_BYTES if code == "s" else _MOST_VALUES):
        raise _BrokenError(f"its list of pages is cut short: a tag has {length} values at byte {place}")
    if code == "s":
        return (reader.unpack(f"{length}s", place)[0],)
    if len(code) == 2:
        flat = reader.unpack(f"{2 * length}{code[0]}", place)
        return tuple(zip(flat[::2], flat[1::2], strict=True))
    return reader.unpack(f"{length}{code}", place)


def _note_page(reader: _Reader, at: int, tags: dict[int, tuple[int, int, int]], found: _Found) -> None:
    layout = PixelLayout(tuple((tag, _values(reader, tags[tag])) for tag in _LAYOUT if tag in tags))
    offsets, counts = (
        next((_values(reader, tags[tag]) for tag in names if tag in tags), ()) for names in (_OFFSETS, _COUNTS)
    )
    if not counts and layout.is_plain and len(offsets) == 1:
        counts = (layout.frame_bytes,)  # old programs omit the counts
    segments = list(zip(offsets, counts, strict=False))
    whole = len(offsets) == len(counts) > 0
    whole = whole and all(start > 0 and size > 0 and start + size <= reader.size for start, size in segments)
    contiguous = all(a + n == b for (a, n), (b, _) in pairwise(segments))
    if layout.is_plain and not (contiguous and _is_unpadded(layout, counts)):
        layout = replace(layout, is_scattered=True)
    if layout.is_plain or layout.is_scattered:
        whole = whole and sum(counts) >= layout.frame_bytes
    for start, size in [(offsets[0], sum(counts))] if contiguous and segments else segments:
        found.claim(start, start + size)
        if not layout.is_aside:
            found.pixels.extend((len(found.ifds), min(start, _FARTHEST), min(start + layout.most(size), _FARTHEST)))
    if not found.ifds:
        found.first = {tag: _first_value(reader, tags[tag]) for tag in _FIRST if tag in tags}
    elif DESCRIPTION in tags:
        text = _first_value(reader, tags[DESCRIPTION])
        if SHAPED.match(text):
            found.described[len(found.ifds)] = text.rstrip(b"\0").decode(errors="replace")
    for sub in _values(reader, tags[SUB_PAGES]) if SUB_PAGES in tags else ():
        _claim_sub_page(reader, sub, found)
    found.layout_of.append(found.layouts.setdefault(layout, len(found.layouts)))
    found.ifds.append(at)
    found.starts.append(min(offsets[0], _FARTHEST) if offsets else 0)
    found.ends.append(min(max((start + size for start, size in segments), default=0), _FARTHEST))
    found.stored.append(min(sum(counts), _FARTHEST))
    found.whole.append(whole)


def _is_unpadded(layout: PixelLayout, counts: tuple[int, ...]) -> bool:
    """Return whether adjacent strips are the pixels of a page, without additional bytes between them."""
    return sum(counts) == layout.frame_bytes or all(count == layout.strip_bytes for count in counts[:-1])


def _first_value(reader: _Reader, entry: tuple[int, int, int]) -> Any:
    """Return the first value of a tag; an empty text if it is beyond the end of the file."""
    try:
        return _values(reader, entry)[0]
    except _BrokenError:
        return b""


def _claim_sub_page(reader: _Reader, at: int, found: _Found) -> None:
    """Claim the bytes of a reduced copy that is attached to a page."""
    side = _Found()
    try:
        tags, _ = _directory(reader, at, side)
        _note_page(reader, at, tags, side)
    except _BrokenError:
        return
    found.claims.extend(side.claims)


def _claim_micro_manager(reader: _Reader, found: _Found) -> None:
    """Claim Micro-Manager's own blocks: a magic number, a length, and text or an index."""
    if reader.is_big or reader.size < 40:
        return
    words = struct.unpack(f"{reader.order}8I", reader.read(8, 32))
    for magic, at in zip(words[0:6:2], words[1:6:2], strict=True):
        if magic in (54773648, 483765892, 99384722) and at > 0 and at + 8 <= reader.size:
            head, length = struct.unpack(f"{reader.order}2I", reader.read(at, 8))
            if head in (3453623, 347834724, 84720485):
                found.claim(at, at + 8 + length * (20 if head == 3453623 else 1))
    if words[6] == 2355492:
        found.claim(8, 40 + words[7])
        found.summary = reader.read(40, words[7])


def _sharing(pixels: Ints) -> Ints:
    """Return the numbers of the pages whose pieces overlap, from rows of page number, start and stop."""
    pages, starts, stops = pixels[np.argsort(pixels[:, 1], kind="stable")].T
    before = np.maximum.accumulate(np.append(0, stops[:-1]))
    later = starts < np.where(stops > starts, before, 0)
    return np.unique(np.concatenate([pages[later], pages[:-1][later[1:]]]))


def _gaps(claims: Ints, size: int, least: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of unclaimed bytes that are at least ``least`` long."""
    ordered = claims[np.argsort(claims[:, 0], kind="stable")]
    ends = np.maximum.accumulate(ordered[:, 1])
    starts = np.append(ordered[1:, 0], size)
    for index in np.flatnonzero(starts - ends >= least):
        yield int(ends[index]), int(starts[index])
