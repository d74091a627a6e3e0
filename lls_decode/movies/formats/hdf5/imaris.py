"""Imaris files (``.ims``) of version 5.5 and later: HDF5 with one dataset per time and channel.

``DataSet/ResolutionLevel 0/TimePoint 3/Channel 0/Data`` has axes z, y, x. It is padded to complete chunks; attributes
of its group state the size without padding. Attributes are arrays of single characters.
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.accounting import Account, Ints
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.frame_array import FrameArray, as_movie, missing_frames
from lls_decode.movies.formats.hdf5.files import (
    as_input_error,
    check_dataset,
    is_encoded,
    lost_frames,
    open_file,
    read_frames,
)
from lls_decode.movies.lengths import Sizes, read_number, stated_sizes
from lls_decode.movies.movie import Movie

_LEVEL = "DataSet/ResolutionLevel 0"


def open_imaris(path: Path, choices: Choices) -> Movie:
    """Open one channel of an ``.ims`` file, with all its times."""
    file, wanted = open_file(path, choices)
    with as_input_error(path, wanted):
        if _LEVEL not in file:
            raise InputError(
                f"{path} has no {_LEVEL!r}, expected a file of Imaris 5.5 or later; save it from such a version."
            )
        level = file[_LEVEL]
        times, channels = _numbers(level, "TimePoint"), _numbers(next(iter(level.values()), {}), "Channel")
        announced = max(_announced_times(file), max(times, default=-1) + 1)
        cells, sizes = _cells(path, level, announced, channels)
        lost = np.concatenate([_lost(path, cell, sizes[0]) for cell in cells])
        told = _sizes_nm(file, sizes)
        names = tuple(_text(file.get(f"DataSetInfo/Channel {i}"), "Name") or str(i) for i in channels)
    depth, height, width = sizes
    accounts = missing_frames(path, len(lost), lost, f"{int(lost.sum())} planes are missing or beyond its end")
    gaps = [number for number in range(announced) if number not in times]
    if gaps:
        accounts = (_gap(path, gaps, lost),)

    def read(numbers: Ints) -> Frames:
        pieces, at = [], 0
        while at < len(numbers):
            cell = int(numbers[at]) // depth
            stop = at + int(np.argmax(np.append(numbers[at:] // depth != cell, True)))
            pieces.append(read_frames(path, cells[cell], numbers[at:stop] - cell * depth, height, width))
            at = stop
        return np.concatenate(pieces)

    first = next(cell for cell in cells if cell is not None)
    return as_movie(
        FrameArray(
            path,
            (announced, len(channels), depth),
            ("t", "c", "z"),
            height,
            width,
            first.dtype,
            read,
            lost=lost,
            accounts=accounts,
            is_encoded=is_encoded(first),
            channels=names,
            pixel_size=told.pixel_size,
            z_step_nm=told.z_step_nm,
            notes=told.notes,
        ),
        choices,
    )


def _numbers(group: Any, word: str) -> list[int]:
    return sorted(int(found[1]) for name in group if (found := re.fullmatch(rf"{word} (\d+)", name)))


def _text(group: Any, name: str) -> str:
    """Return an attribute, stored as an array of characters, as text."""
    value = None if group is None else group.attrs.get(name)
    if value is None:
        return ""
    return (value.tobytes() if isinstance(value, np.ndarray) else bytes(value)).rstrip(b"\0").decode(errors="replace")


def _announced_times(file: Any) -> int:
    for name in ("DatasetTimePoints", "FileTimePoints"):
        text = _text(file.get("DataSetInfo/TimeInfo"), name)
        if text.isdigit():
            return int(text)
    return 0


def _cells(path: Path, level: Any, times: int, channels: list[int]) -> tuple[list[Any], tuple[int, int, int]]:
    """Return the datasets by time and channel (None if missing), and their common number of planes, rows, columns."""
    cells, sizes = [], set()
    for time in range(times):
        for channel in channels:
            group = level.get(f"TimePoint {time}/Channel {channel}")
            dataset = None if group is None else group.get("Data")
            cells.append(dataset)
            if dataset is None:
                continue
            check_dataset(path, dataset)
            told = [_text(group, f"ImageSize{axis}") for axis in "ZYX"]
            size = tuple(int(word) if word.isdigit() else n for word, n in zip(told, dataset.shape, strict=True))
            if any(a > b for a, b in zip(size, dataset.shape, strict=True)):
                raise InputError(
                    f"{path} states {size} planes, rows and columns for {dataset.name}, which has {dataset.shape}; "
                    "save it again from Imaris."
                )
            sizes.add((*size, dataset.dtype))
    if len(sizes) != 1:
        raise InputError(f"{path} has images of {len(sizes)} sizes or types, expected one; save it again from Imaris.")
    depth, height, width, _ = sizes.pop()
    return cells, (depth, height, width)


def _lost(path: Path, dataset: Any, depth: int) -> Any:
    return np.ones(depth, bool) if dataset is None else lost_frames(path, dataset)[:depth]


def _gap(path: Path, gaps: list[int], lost: Any) -> Account:
    why = f"time points {', '.join(map(str, gaps[:6]))} are missing ({len(gaps)} in total)"
    missing = tuple(np.flatnonzero(lost).tolist())
    return Account(path, len(lost), len(lost) - len(missing), why, missing, is_gap=True)


def _sizes_nm(file: Any, sizes: tuple[int, int, int]) -> Sizes:
    """Compute pixel size and z step from the extent of the image and its unit."""
    image = file.get("DataSetInfo/Image")
    unit = _text(image, "Unit") or "um"
    stated: dict[str, tuple[object, str]] = {}
    for number, (axis, count) in enumerate(zip("xyz", reversed(sizes), strict=True)):
        low, high = (_text(image, f"Ext{end}{number}") for end in ("Min", "Max"))
        extent = read_number(high) - read_number(low)
        stated[axis] = (extent / count if math.isfinite(extent) else f"{low} to {high}", unit)
    return stated_sizes(stated)
