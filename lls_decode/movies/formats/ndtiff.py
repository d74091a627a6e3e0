"""NDTiff datasets, written by Micro-Manager 2 and pycro-manager: an index of all images, and TIFF files of pixels.

The published description of the format (README of micro-manager/NDStorage) is short: ``NDTiff.index`` has one record
per image, with its axes as JSON, its file, and the byte offset of its uncompressed pixels. Images are read from the
index alone, independently of the number of 4 GB files and of the order of acquisition.
"""

import os
import struct
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.accounting import Account, end_of_data, in_zero_tail, keep, settle
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.ndtiff_index import Entry, Index, Value, read_index
from lls_decode.movies.formats.tiff.descriptions import as_json, micro_manager_sizes
from lls_decode.movies.lengths import Sizes
from lls_decode.movies.movie import Movie, digest_places, read_bytes
from lls_decode.naming.choices import pick, refuse_unused
from lls_decode.naming.names import natural_key

INDEX = "NDTiff.index"
FULL_RESOLUTION = "Full resolution"
"""Folder of the full-size images, if reduced images were also written."""

_HEADER_MAGIC, _SUMMARY_MAGIC = 483729, 2355492
_PIXEL_TYPES = {0: "u1", 1: "u2", 3: "u2", 4: "u2", 5: "u2", 6: "u2"}
"""Data types by pixel type number: 8, 16, 10, 12, 14 and 11 bits; number 2 is colour."""
_TIME, _PLANE, _CHANNEL, _POSITION = "time", "z", "channel", "position"
_MAX_SPAN = 1000
"""Largest ratio of the range of indices to their number; a larger ratio is an error, not a gap."""


def find_index(folder: str | Path) -> Path | None:
    """Return the index of a dataset given by its folder; None if it is not an NDTiff dataset."""
    for place in (Path(folder), Path(folder) / FULL_RESOLUTION):
        if (place / INDEX).is_file():
            return place / INDEX
    return None


def open_ndtiff(index: Path, choices: Choices) -> Movie:
    """Open the images of one channel and position, ordered by time and z.

    Parameters
    ----------
    index
        ``NDTiff.index``, beside its TIFF files.
    choices
        User's choices; ``channel`` and ``position`` are needed if there are several.

    Raises
    ------
    InputError
        The index is damaged, images are missing, or several axes could be time.
    """
    listed = read_index(index)
    entries = list(listed.entries)
    for axis, wanted in ((_CHANNEL, choices.channel), (_POSITION, choices.position)):
        entries = _choose(index, entries, axis, wanted)
    time = _time_axis(index, entries)
    placed, times, levels = _in_order(index, entries, time)
    planes = len(levels)
    _check(index, entries)
    first = entries[0]
    dtype = np.dtype(_PIXEL_TYPES[first.pixel_type]).newbyteorder(_byte_order(index.parent / first.file))
    frame_bytes = first.width * first.height * dtype.itemsize
    accounts = _accounts(index, placed, (time, times), levels, frame_bytes, dtype)
    losses = settle([*accounts, *_unlisted(index, listed, frame_bytes)], choices)
    lost_in = {(loss.path, number) for loss in accounts for number in loss.missing if loss.path.name != INDEX}
    lost = np.array([item is None or (index.parent / item.file, item.number) in lost_in for item in placed])
    kept = keep(lost, planes, choices)
    taken = [placed[number] for number in kept.numbers]
    sizes = _sizes(index.parent, first)

    def read(start: int, stop: int) -> Frames:
        pixels = [read_bytes(index.parent / item.file, item.offset, frame_bytes) for item in taken[start:stop] if item]
        return np.frombuffer(b"".join(pixels), dtype).reshape(-1, first.height, first.width)

    names = sorted({entry.file for entry in entries}, key=natural_key)
    present = [index.parent / name for name in names if (index.parent / name).is_file()]
    told = f"{len(names)} file{'s' if len(names) > 1 else ''}, {names[0]} to {names[-1]}, by {INDEX}, as "
    return Movie(
        len(taken),
        first.height,
        first.width,
        dtype.newbyteorder("="),
        read,
        (index, *present),
        kept.planes,
        sizes.pixel_size,
        sizes.z_step_nm if planes > 1 else None,
        notes=(*sizes.notes, *kept.notes),
        told=told + (f"volumes of {kept.planes} planes" if kept.planes > 1 else f"{len(taken)} frames"),
        losses=losses,
        is_closed_up=kept.is_closed_up,
        content=digest_places(np.array([item.number for item in taken if item], np.int64)),
    )


def _accounts(
    index: Path,
    placed: list[Entry | None],
    time: tuple[str, list[Value]],
    planes: list[Value],
    frame_bytes: int,
    dtype: np.dtype[Any],
) -> list[Account]:
    """Account for images missing from the index, and for files that lack images listed in the index."""
    accounts = []
    absent = [number for number, item in enumerate(placed) if item is None]
    if absent:
        t, z = divmod(absent[0], len(planes))
        why = f"it lists no image at {time[0]} {time[1][t]}, z {planes[z]}, but lists later images"
        accounts.append(Account(index, len(placed), len(placed) - len(absent), why, tuple(absent), is_gap=True))
    by_file: dict[str, list[Entry]] = {}
    for item in placed:
        if item is not None:
            by_file.setdefault(item.file, []).append(item)
    for name, items in sorted(by_file.items()):
        path = index.parent / name
        if not path.is_file():
            why = f"{INDEX} lists images in this file, but the file is missing"
            accounts.append(Account(path, len(items), 0, why, tuple(item.number for item in items), is_gap=True))
            continue
        size = path.stat().st_size
        starts = np.array([item.offset for item in items], np.int64)
        short = starts + frame_bytes > size
        short[in_zero_tail(path, np.where(short, size, starts), frame_bytes, dtype)] = True
        if short.any():
            missing = tuple(item.number for item, is_short in zip(items, short, strict=True) if is_short)
            why = f"truncated: {INDEX} lists images beyond the end of its data"
            accounts.append(Account(path, len(items), len(items) - len(missing), why, missing))
    return accounts


def _unlisted(index: Path, listed: Index, frame_bytes: int) -> list[Account]:
    """Account for bytes that could be images but are not listed in the index."""
    accounts = []
    if listed.left:
        why = f"it ends within a record: {listed.left} bytes were not used"
        accounts.append(Account(index, None, len(listed.entries), why))
    for path in sorted(index.parent.glob("*.tif")):
        whole = sum(entry.file == path.name for entry in listed.entries)
        left = end_of_data(path) - listed.ends.get(path.name, 0)
        if left >= frame_bytes:
            why = f"its last {left} bytes are not listed in {INDEX}, room for {left // frame_bytes} frames"
            accounts.append(Account(path, None, whole, why))
    return accounts


def _values(entries: list[Entry], axis: str) -> list[Value]:
    """Return the values along an axis: numbers in ascending order, words in order of appearance."""
    found = list(dict.fromkeys(entry.axes[axis] for entry in entries if axis in entry.axes))
    return sorted(found, key=int) if all(isinstance(value, int) for value in found) else found


def _choose(index: Path, entries: list[Entry], axis: str, wanted: str | None) -> list[Entry]:
    """Select the images of one channel or position."""
    values = _values(entries, axis)
    if not values:
        refuse_unused(index.parent, **{axis: wanted})
        return entries
    chosen = values[pick([str(value) for value in values], wanted, axis, index.parent)]
    return [entry for entry in entries if entry.axes.get(axis) == chosen]


def _time_axis(index: Path, entries: list[Entry]) -> str:
    """Return the name of the time axis: the only axis with several values besides z, channel and position."""
    names = {name for entry in entries for name in entry.axes}
    others = sorted(name for name in names - {_PLANE, _CHANNEL, _POSITION} if len(_values(entries, name)) > 1)
    if len(others) > 1:
        raise InputError(
            f"{index.parent} has images along {', '.join(others)}, expected only time and z; write the parts as "
            "separate datasets."
        )
    return others[0] if others else _TIME


def _in_order(index: Path, entries: list[Entry], time: str) -> tuple[list[Entry | None], list[Value], list[Value]]:
    """Return the images ordered by time and z (None for a missing image), and the values of both axes.

    Numeric values are expected from 0 in steps of 1; a value without any image counts as missing.
    """
    times, planes = _values(entries, time) or [0], _values(entries, _PLANE) or [0]
    for values, name in ((times, time), (planes, _PLANE)):
        if all(isinstance(value, int) for value in values) and len(values) > 1:
            first, last = min(0, values[0]), values[-1]
            if last - first >= _MAX_SPAN * len(values):  # type: ignore[operator]
                raise InputError(
                    f"{index} has images from {name} {values[0]} to {values[-1]}, but only {len(values)} different "
                    "values; restore the dataset."
                )
            values[:] = range(first, last + 1)  # type: ignore[operator, arg-type]
    time_of, plane_of = ({value: i for i, value in enumerate(values)} for values in (times, planes))
    placed: list[Entry | None] = [None] * (len(times) * len(planes))
    for entry in entries:
        t, z = time_of[entry.axes.get(time, times[0])], plane_of[entry.axes.get(_PLANE, planes[0])]
        placed[t * len(planes) + z] = entry
    while placed[-1] is None:
        placed.pop()  # the acquisition was stopped
    return placed, times, planes


def _check(index: Path, entries: list[Entry]) -> None:
    first = entries[0]
    if first.pixel_type not in _PIXEL_TYPES:
        raise InputError(f"{index} lists images of pixel type {first.pixel_type}, expected greyscale of 8 to 16 bits.")
    for entry in entries:
        if entry.compression:
            raise InputError(
                f"{index} lists a compressed image at {dict(entry.axes)}, expected uncompressed ones; write it without "
                "compression."
            )
        if (entry.width, entry.height, entry.pixel_type) != (first.width, first.height, first.pixel_type):
            raise InputError(
                f"{index} lists an image of {entry.height} x {entry.width} pixels, type {entry.pixel_type}, at "
                f"{dict(entry.axes)}, but the first has {first.height} x {first.width}, type {first.pixel_type}; all "
                "must be alike."
            )


def _byte_order(path: Path) -> Literal["<", ">"]:
    if not path.is_file():
        return "<"
    return ">" if read_bytes(path, 0, 2) == b"MM" else "<"


def _sizes(folder: Path, first: Entry) -> Sizes:
    """Return pixel size and z step from the metadata of the first image and of the acquisition."""
    image = as_json(_bytes_or_nothing(folder / first.file, first.metadata_offset, first.metadata_bytes))
    summary = as_json(_summary(folder / first.file))
    return micro_manager_sizes(image, summary)


def _summary(path: Path) -> bytes:
    """Read the metadata of the acquisition, after the header; since version 3 the header includes a minor version."""
    words = struct.unpack("<5I", _bytes_or_nothing(path, 8, 20).ljust(20, b"\0"))
    if words[0] != _HEADER_MAGIC or _SUMMARY_MAGIC not in words[2:4]:
        return b""
    place = words.index(_SUMMARY_MAGIC, 2)
    return _bytes_or_nothing(path, 8 + 4 * (place + 2), words[place + 1])


def _bytes_or_nothing(path: Path, offset: int, count: int) -> bytes:
    if not path.is_file() or offset + count > os.path.getsize(path):
        return b""
    return read_bytes(path, offset, count)
