"""NDTiff, what Micro-Manager 2 and pycro-manager write: an index of all images, and TIFF files that hold their pixels.

The published description of the format (README of micro-manager/NDStorage) is short: ``NDTiff.index`` has one record
an image, with its axes as JSON, the file and the byte where its uncompressed pixels begin. Images are read by that
alone, so it does not matter how many files of 4 GB there are, nor in which order the images came.
"""

import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lls_decode.config import PixelSize
from lls_decode.errors import InputError
from lls_decode.movies.movie import Frames, Movie, read_bytes

INDEX = "NDTiff.index"
FULL_RESOLUTION = "Full resolution"
"""Folder of the images themselves, when reduced ones were written too."""

_FIELDS = struct.Struct("<IiiiiIii")
_HEADER_MAGIC, _SUMMARY_MAGIC = 483729, 2355492
_PIXEL_TYPES = {0: "u1", 1: "u2", 3: "u2", 4: "u2", 5: "u2", 6: "u2"}
"""8 bits, 16, 10, 12, 14, 11; number 2 is colour."""
_TIME, _PLANE, _CHANNEL, _POSITION = "time", "z", "channel", "position"
_NOT_A_LENGTH = (0.0, 1.0)
"""Pixel sizes that stand for unknown."""

Value = int | str


@dataclass(frozen=True)
class _Entry:
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


def find_index(folder: str | Path) -> Path | None:
    """The index of a data set given by its folder; None when it is no NDTiff."""
    for place in (Path(folder), Path(folder) / FULL_RESOLUTION):
        if (place / INDEX).is_file():
            return place / INDEX
    return None


def open_ndtiff(index: Path, *, channel: str | None = None, position: str | None = None) -> Movie:
    """Images of one channel and position in the order time, z.

    Parameters
    ----------
    index
        ``NDTiff.index``, beside its TIFF files.
    channel, position
        Which ones, by name or number; needed when there are several.

    Raises
    ------
    InputError
        The index is damaged, images are missing between others, or there are axes that are neither time nor z.
    """
    entries, notes = _read_index(index)
    for axis, wanted in ((_CHANNEL, channel), (_POSITION, position)):
        entries = _choose(index, entries, axis, wanted)
    time = _time_axis(index, entries)
    entries, planes = _in_order(index, entries, time)
    first = entries[0]
    _check(index, entries)
    dtype = np.dtype(_PIXEL_TYPES[first.pixel_type]).newbyteorder(_byte_order(index.parent / first.file))
    frame_bytes = first.width * first.height * dtype.itemsize
    pixel_size, z_step_nm = _scale(index.parent, first)

    def read(start: int, stop: int) -> Frames:
        pixels = [read_bytes(index.parent / entry.file, entry.offset, frame_bytes) for entry in entries[start:stop]]
        return np.frombuffer(b"".join(pixels), dtype).reshape(-1, first.height, first.width)

    files = (index, *(index.parent / name for name in sorted({entry.file for entry in entries})))
    return Movie(
        len(entries),
        first.height,
        first.width,
        dtype.newbyteorder("="),
        read,
        files,
        planes,
        pixel_size,
        z_step_nm if planes > 1 else None,
        notes=notes,
    )


def _read_index(path: Path) -> tuple[list[_Entry], tuple[str, ...]]:
    """All images; of one that was written twice the last counts, as for Micro-Manager itself."""
    data = path.read_bytes()
    found: dict[tuple[tuple[str, Value], ...], _Entry] = {}
    end = 0
    try:
        for entry, stop in _records(data):
            found[tuple(sorted(entry.axes.items()))] = entry
            end = stop
    except (struct.error, ValueError) as error:
        if not found:
            raise InputError(f"{path} is no index of images ({error}); restore the file.") from error
    if not found:
        raise InputError(f"{path} is empty; the acquisition wrote no image.")
    left = len(data) - end
    return list(found.values()), ((f"{path.name} ends within a record: {left} bytes were not used",) if left else ())


def _records(data: bytes) -> Iterator[tuple[_Entry, int]]:
    """Each image, and where its record ends."""
    at = 0
    while at < len(data):
        axes, at = _text(data, at)
        file, at = _text(data, at)
        offset, width, height, kind, compression, metadata_at, metadata_bytes, _ = _FIELDS.unpack_from(data, at)
        at += _FIELDS.size
        named = {str(name).lower(): value for name, value in json.loads(axes).items()}
        yield _Entry(named, file, offset, width, height, kind, compression, metadata_at, metadata_bytes), at


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<I", data, at)
    stop = at + 4 + length
    if stop > len(data):
        raise ValueError(f"a text of {length} bytes at byte {at} goes beyond its end")
    return data[at + 4 : stop].decode(), stop


def _values(entries: list[_Entry], axis: str) -> list[Value]:
    """Values along an axis in ascending order, words in the order of their appearance; none where no image has it."""
    found = list(dict.fromkeys(entry.axes[axis] for entry in entries if axis in entry.axes))
    return sorted(found, key=int) if all(isinstance(value, int) for value in found) else found


def _choose(index: Path, entries: list[_Entry], axis: str, wanted: str | None) -> list[_Entry]:
    """Images of one channel or position."""
    values = _values(entries, axis)
    listed = ", ".join(str(value) for value in values[:12])
    if wanted is None:
        if len(values) <= 1:
            return entries
        raise InputError(f"{index.parent} has {len(values)} values of {axis} ({listed}); choose one with --{axis}.")
    named = [value for value in values if str(value) == wanted]
    if not named and wanted.isdigit() and int(wanted) < len(values):
        named = [values[int(wanted)]]
    if not named:
        raise InputError(f"{index.parent} has no {axis} {wanted!r}; it has {listed or 'one only, without a name'}.")
    return [entry for entry in entries if entry.axes.get(axis) == named[0]]


def _time_axis(index: Path, entries: list[_Entry]) -> str:
    """Name of the axis that is neither z nor settled; an axis of another name is time when it is the only one."""
    names = {name for entry in entries for name in entry.axes}
    others = sorted(name for name in names - {_PLANE, _CHANNEL, _POSITION} if len(_values(entries, name)) > 1)
    if len(others) > 1:
        raise InputError(
            f"{index.parent} has images along {', '.join(others)}, expected time and z only; write the parts as data "
            "sets of their own."
        )
    return others[0] if others else _TIME


def _in_order(index: Path, entries: list[_Entry], time: str) -> tuple[list[_Entry], int]:
    """Images sorted by time and z, which must be complete but for the end, and the planes of a volume."""
    times, planes = _values(entries, time) or [0], _values(entries, _PLANE) or [0]
    time_of, plane_of = ({value: i for i, value in enumerate(values)} for values in (times, planes))
    placed = {
        time_of[entry.axes.get(time, times[0])] * len(planes) + plane_of[entry.axes.get(_PLANE, planes[0])]: entry
        for entry in entries
    }
    missing = next((number for number in range(len(placed)) if number not in placed), None)
    if missing is not None:
        t, z = divmod(missing, len(planes))
        raise InputError(
            f"{index} lists no image at {time} {times[t]}, z {planes[z]}, but later ones; expected all, or an end cut "
            "short. Write the complete times as a data set of their own."
        )
    return [placed[number] for number in range(len(placed))], len(planes)


def _check(index: Path, entries: list[_Entry]) -> None:
    first = entries[0]
    if first.pixel_type not in _PIXEL_TYPES:
        raise InputError(f"{index} lists images of pixel type {first.pixel_type}, expected grey ones of 8 to 16 bits.")
    for entry in entries:
        if entry.compression:
            raise InputError(f"{index} lists a compressed image at {dict(entry.axes)}, expected raw pixels.")
        if (entry.width, entry.height, entry.pixel_type) != (first.width, first.height, first.pixel_type):
            raise InputError(
                f"{index} lists an image of {entry.height} x {entry.width} pixels, type {entry.pixel_type}, at "
                f"{dict(entry.axes)}, the first is of {first.height} x {first.width}, type {first.pixel_type}; all "
                "must be alike."
            )
    absent = [name for name in {entry.file for entry in entries} if not (index.parent / name).is_file()]
    if absent:
        raise InputError(f"{index} lists images in {sorted(absent)[0]}, which is not beside it; restore the file.")


def _byte_order(path: Path) -> Literal["<", ">"]:
    return ">" if read_bytes(path, 0, 2) == b"MM" else "<"


def _scale(folder: Path, first: _Entry) -> tuple[PixelSize | None, float | None]:
    """Pixel size of the first image's metadata, z step of the acquisition's; None where they do not tell."""
    image = _json(_bytes_or_nothing(folder / first.file, first.metadata_offset, first.metadata_bytes))
    summary = _json(_summary(folder / first.file))
    pixel_um, step_um = _number(image.get("PixelSizeUm")), _number(summary.get("z-step_um"))
    pixel_size = None if pixel_um is None else PixelSize(x_nm=pixel_um * 1e3, y_nm=pixel_um * 1e3)
    return pixel_size, None if step_um is None else step_um * 1e3


def _summary(path: Path) -> bytes:
    """Metadata of the acquisition, behind the header; since version 3 the header has a minor version too."""
    words = struct.unpack("<5I", _bytes_or_nothing(path, 8, 20).ljust(20, b"\0"))
    if words[0] != _HEADER_MAGIC or _SUMMARY_MAGIC not in words[2:4]:
        return b""
    place = words.index(_SUMMARY_MAGIC, 2)
    return _bytes_or_nothing(path, 8 + 4 * (place + 2), words[place + 1])


def _bytes_or_nothing(path: Path, offset: int, count: int) -> bytes:
    if offset + count > os.path.getsize(path):
        return b""
    return read_bytes(path, offset, count)


def _json(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _number(value: Any) -> float | None:
    """A positive length that was really set."""
    try:
        number = abs(float(value))
    except (TypeError, ValueError):
        return None
    return number if number not in _NOT_A_LENGTH and np.isfinite(number) else None
