"""``NDTiff.index``: one record an image, with its axes as JSON, its file, and the byte where its pixels begin."""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lls_decode.documents import parse_json
from lls_decode.errors import InputError

_FIELDS = struct.Struct("<IiiiiIii")

Value = int | str


@dataclass(frozen=True)
class Entry:
    """One image of the index."""

    axes: Mapping[str, Value]
    file: str
    offset: int
    width: int
    height: int
    pixel_type: int
    compression: int
    metadata_offset: int
    metadata_bytes: int
    number: int
    """Of the image in its file."""


@dataclass(frozen=True)
class Index:
    """All images of a dataset."""

    entries: tuple[Entry, ...]
    ends: Mapping[str, int]
    """Where the last byte lies that is listed of each file."""
    left: int
    """Bytes at the end of the index that are no whole record."""


def read_index(path: Path) -> Index:
    """Read all images; of one that was written twice the last counts, as for Micro-Manager itself.

    Raises
    ------
    InputError
        It is empty, or no index.
    """
    data = path.read_bytes()
    found: dict[tuple[tuple[str, Value], ...], Entry] = {}
    ends: dict[str, int] = {}
    end = 0
    try:
        for entry, stop in _records(data):
            found[tuple(sorted(entry.axes.items()))] = entry
            pixels = entry.offset + entry.width * entry.height * (1 if entry.pixel_type == 0 else 2)
            ends[entry.file] = max(ends.get(entry.file, 0), pixels, entry.metadata_offset + entry.metadata_bytes)
            end = stop
    except (struct.error, ValueError) as error:
        if not found:
            raise InputError(f"{path} is no index of images ({error}); restore the file.") from error
    if not found:
        raise InputError(f"{path} is empty; the acquisition wrote no image.")
    return Index(tuple(found.values()), ends, len(data) - end)


def _records(data: bytes) -> Iterator[tuple[Entry, int]]:
    """Each image, and where its record ends."""
    at = 0
    numbers: dict[str, int] = {}
    while at < len(data):
        axes, at = _text(data, at)
        file, at = _text(data, at)
        offset, width, height, kind, compression, metadata_at, metadata_bytes, _ = _FIELDS.unpack_from(data, at)
        at += _FIELDS.size
        named = {str(name).lower(): value for name, value in parse_json(axes).items()}
        numbers[file] = numbers.get(file, -1) + 1
        yield (
            Entry(named, file, offset, width, height, kind, compression, metadata_at, metadata_bytes, numbers[file]),
            at,
        )


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", data, at)
    stop = at + 4 + length
    if stop > len(data):
        raise ValueError(f"a text of {length} bytes at byte {at} goes beyond its end")
    return data[at + 4 : stop].decode(), stop
