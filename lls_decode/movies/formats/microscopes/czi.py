"""Zeiss ``.czi`` files: planes found in the directory of sub-blocks, one channel and scene at a time.

The published format (ZISRAW) is a sequence of segments: a header with the position of the directory, sub-blocks with
pixels, XML, and the directory at the end. Libraries silently replace missing sub-blocks by a background. Therefore this
module looks up the sub-blocks itself, and uses a library (imagecodecs) only to decompress pixels. In a truncated file
without directory, the sub-blocks are found by scanning, because each repeats its directory entry.
"""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.accounting import Account, Ints
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.frame_array import FrameArray, as_movie
from lls_decode.movies.formats.microscopes.czi_segments import (
    Plane,
    SubBlock,
    decode_pixels,
    group_planes,
    read_segments,
)
from lls_decode.movies.lengths import NO_SIZES, Sizes, stated_sizes
from lls_decode.movies.movie import Movie

_FRONT = "SRIHVBTZC"
"""Axes that may number images; X, Y and the tiles M are within one image."""
_PIXELS = {0: "u1", 1: "<u2", 2: "<f4", 12: "<i4"}
"""Data types of greyscale pixels, by pixel type number; other types are colour or complex."""


@dataclass(frozen=True)
class _About:
    """Values from the XML metadata."""

    sizes: dict[str, int]
    channels: tuple[str, ...] = ()
    sizes_nm: Sizes = NO_SIZES


def open_czi(path: Path, choices: Choices) -> Movie:
    """Open one channel and scene of a ``.czi`` file."""
    segments = read_segments(path)
    if not segments.blocks:
        raise InputError(f"{path} has no complete image: {segments.problem or 'its directory is empty'}.")
    about = _read_about(segments.xml)
    planes = group_planes(path, segments.blocks)
    first = planes[min(planes)]
    if first.pixel_type not in _PIXELS:
        raise InputError(f"{path} has pixels of type {first.pixel_type}, expected grey ones; export it as grey TIFF.")
    _check_alike(path, planes)
    axes, shape, starts = _grid(planes, about, segments.blocks)
    placed: list[Plane | None] = [None] * int(np.prod(shape))
    for place, plane in planes.items():
        at = [dict(place).get(axis, start) - start for axis, start in zip(axes, starts, strict=True)]
        placed[int(np.ravel_multi_index(at, shape)) if axes else 0] = plane
    lost = np.array([plane is None or not plane.is_whole for plane in placed])
    dtype = np.dtype(_PIXELS[first.pixel_type])

    def read(numbers: Ints) -> Frames:
        return np.stack([_read_plane(path, placed[int(number)], dtype) for number in numbers])

    return as_movie(
        FrameArray(
            path,
            tuple(shape) or (1,),
            tuple(axis.lower() for axis in axes) or ("t",),
            first.height,
            first.width,
            dtype,
            read,
            lost=lost,
            accounts=_accounts(path, lost, placed, segments.problem),
            is_encoded=any(block.compression for block in first.blocks),
            channels=about.channels,
            pixel_size=about.sizes_nm.pixel_size,
            z_step_nm=about.sizes_nm.z_step_nm,
            notes=about.sizes_nm.notes,
        ),
        choices,
    )


def _grid(planes: dict[tuple[tuple[str, int], ...], Plane], about: _About, blocks: list[SubBlock]) -> tuple[
    list[str], list[int], list[int]
]:  # fmt: skip
    """Return the axes that number images, the length of each axis, and its first index."""
    axes, shape, starts = [], [], []
    for axis in _FRONT:
        found = [dict(place)[axis] for place in planes if axis in dict(place)]
        if not found:
            continue
        start = min(0, *found) if axis in about.sizes else min(found)
        length = max(max(found) - start + 1, about.sizes.get(axis, 1))
        axes.append(axis)
        shape.append(length)
        starts.append(start)
    return axes, shape, starts


def _check_alike(path: Path, planes: dict[tuple[tuple[str, int], ...], Plane]) -> None:
    found = {(plane.height, plane.width, plane.pixel_type) for plane in planes.values()}
    if len(found) > 1:
        sizes = " and ".join(f"{height} x {width} pixels (type {kind})" for height, width, kind in sorted(found)[:4])
        raise InputError(f"{path} has images of {sizes}, expected one size; save each scene as a separate file.")


def _accounts(path: Path, lost: np.ndarray, placed: list[Plane | None], problem: str) -> tuple[Account, ...]:
    missing = tuple(np.flatnonzero(lost).tolist())
    problems = [problem] if problem else []
    absent = sum(plane is None for plane in placed)
    cut = len(missing) - absent
    problems += [f"its directory lists no pixels for {absent} of its planes"] if absent and not problem else []
    problems += [f"truncated: the pixels of {cut} planes lie beyond its end"] if cut else []
    if not problems:
        return ()
    return (Account(path, len(placed), len(placed) - len(missing), ", ".join(problems), missing),)


def _read_about(xml: str) -> _About:
    try:
        root = ET.fromstring(xml)
    except ET.ParseError:
        return _About({})
    image = root.find(".//Information/Image")
    sizes = {}
    for axis in _FRONT:
        text = "" if image is None else (image.findtext(f"Size{axis}") or "")
        if text.isdigit():
            sizes[axis] = int(text)
    names = [] if image is None else [c.get("Name") or "" for c in image.findall("Dimensions/Channels/Channel")]
    metres = {item.get("Id"): item.findtext("Value") for item in root.findall(".//Scaling/Items/Distance")}
    sizes_nm = stated_sizes({axis.lower(): (metres.get(axis), "m") for axis in "XYZ"})
    return _About(sizes, tuple(names) if all(names) else (), sizes_nm)


def _read_plane(path: Path, plane: Plane | None, dtype: np.dtype) -> Frames:
    """Read one image, assembled from its tiles."""
    if plane is None:
        raise InputError(f"{path} lacks an image that was not accounted for.")  # lost frames are not read
    out = np.empty((plane.height, plane.width), dtype)
    for block in plane.blocks:
        y, x = block.y - plane.y, block.x - plane.x
        out[y : y + block.height, x : x + block.width] = decode_pixels(path, block, dtype)
    return out
