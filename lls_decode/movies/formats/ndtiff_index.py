"""Reading of ``NDTiff.index``: one record per image, with its axes as JSON, its file, and the offset of its pixels."""

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
    """Record of one image in the index."""

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
    """Number of the image in its file."""


@dataclass(frozen=True)
class Index:
    """All images of a dataset."""

    entries: tuple[Entry, ...]
    ends: Mapping[str, int]
    """End of the bytes listed in the index, for each file."""
    left: int
    """Number of bytes at the end of the index that are not a complete record."""


def read_index(path: Path) -> Index:
    """Read the records of all images; of duplicate images the last one is used, as in Micro-Manager itself.

    Raises
    ------
    InputError
        The file is empty, or is not an index.
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
            raise InputError(f"{path} is not an index of images ({error}); restore the file.") from error
    if not found:
        raise InputError(f"{path} is empty: the acquisition did not write any image; give another dataset.")
    return Index(tuple(found.values()), ends, len(data) - end)


def _records(data: bytes) -> Iterator[tuple[Entry, int]]:
    """Yield the record of each image, and the end of the record."""
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
        raise ValueError(f"a text of {length} bytes at byte {at} extends beyond its end")
    return data[at + 4 : stop].decode(), stop
