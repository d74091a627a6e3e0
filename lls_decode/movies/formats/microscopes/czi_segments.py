"""Reading of the segments of a ``.czi`` file: directory, sub-blocks, XML, and the pixels of a sub-block."""

import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.formats.frame_array import library
from lls_decode.movies.movie import read_bytes
from lls_decode.naming.choices import name_some

_SEGMENT = struct.Struct("<16sqq")
_ENTRY = struct.Struct("<2siqiiB5xi")
_DIMENSION = struct.Struct("<4sii4xi")
_DIRECTORY, _SUBBLOCK, _METADATA = b"ZISRAWDIRECTORY", b"ZISRAWSUBBLOCK", b"ZISRAWMETADATA"
_RAW, _JPEG, _LZW, _JPEG_XR, _ZSTD0, _ZSTD1 = 0, 1, 2, 4, 5, 6


@dataclass(frozen=True)
class SubBlock:
    """Directory entry of a tile of one image."""

    place: tuple[tuple[str, int], ...]
    """Index along each axis that numbers images, sorted by the name of the axis."""
    x: int
    y: int
    width: int
    height: int
    pixel_type: int
    compression: int
    position: int
    """Byte offset of the segment."""
    is_whole: bool


@dataclass(frozen=True)
class Segments:
    """Contents of a file."""

    blocks: list[SubBlock]
    xml: str
    problem: str
    """Problem of the directory; empty if it is present."""


@dataclass
class Plane:
    """One image, composed of one or more adjacent tiles."""

    blocks: list[SubBlock] = field(default_factory=list)

    @property
    def pixel_type(self) -> int:
        """Number of the pixel type."""
        return self.blocks[0].pixel_type

    @property
    def x(self) -> int:
        """Left edge in pixels."""
        return min(block.x for block in self.blocks)

    @property
    def y(self) -> int:
        """Upper edge in pixels."""
        return min(block.y for block in self.blocks)

    @property
    def width(self) -> int:
        """Number of columns."""
        return max(block.x + block.width for block in self.blocks) - self.x

    @property
    def height(self) -> int:
        """Number of rows."""
        return max(block.y + block.height for block in self.blocks) - self.y

    @property
    def is_whole(self) -> bool:
        """Whether the bytes of all tiles are in the file."""
        return all(block.is_whole for block in self.blocks)


def read_segments(path: Path) -> Segments:
    """Read the directory and the XML; if the directory is missing, scan the file for sub-blocks.

    Raises
    ------
    InputError
        The file is not a CZI file, lacks its header, or is a part of a multi-file CZI.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        header = file.read(112)
        if not header.startswith(b"ZISRAWFILE") or len(header) < 112:
            raise InputError(f"{path} does not begin with the header of a CZI file ({size} bytes); restore the file.")
        part, directory, metadata = struct.unpack_from("<iqq", header, 80)
        if part:
            raise InputError(f"{path} is part {part} of a CZI file, expected a whole one; join the parts in ZEN.")
        xml = _xml(file, metadata, size)
        entries = _entries(file, directory, size)
        if entries is not None:
            return Segments(_blocks(path, file, entries, size), xml, "")
        blocks = _blocks(path, file, _scan(file, size), size)
        where = f"its directory should be at byte {directory}" if directory else "its directory was never written"
        return Segments(blocks, xml, f"truncated: {where}, {len(blocks)} tiles of images were found without it")


def _xml(file: BinaryIO, at: int, size: int) -> str:
    head = _segment(file, at)
    if head is None or head[0] != _METADATA:
        return ""
    (length,) = struct.unpack("<i", file.read(4).ljust(4, b"\0"))
    file.seek(at + _SEGMENT.size + 256)
    data = file.read(length)
    return data.decode(errors="replace") if len(data) == length else ""


def _segment(file: BinaryIO, at: int) -> tuple[bytes, int, int] | None:
    """Read the head of a segment: name, allocated size and used size; return None if there is no segment."""
    file.seek(at)
    data = file.read(_SEGMENT.size)
    if len(data) < _SEGMENT.size:
        return None
    name, room, used = _SEGMENT.unpack(data)
    return name.rstrip(b"\0"), room, used


def _entries(file: BinaryIO, at: int, size: int) -> list[bytes] | None:
    """Return the entries of the directory; None if it is missing or incomplete."""
    head = _segment(file, at) if at else None
    if head is None or head[0] != _DIRECTORY:
        return None
    (count,) = struct.unpack("<i", file.read(4).ljust(4, b"\0"))
    file.seek(at + _SEGMENT.size + 128)
    data = file.read(max(head[1], head[2]) - 128)
    entries, place = [], 0
    for _ in range(count):
        if place + _ENTRY.size > len(data):
            return None
        length = _ENTRY.size + 20 * _ENTRY.unpack_from(data, place)[-1]
        if place + length > len(data):
            return None
        entries.append(data[place : place + length])
        place += length
    return entries


def _scan(file: BinaryIO, size: int) -> list[bytes]:
    """Collect the directory entries repeated in the sub-blocks, from the first segment to the end of the file."""
    entries, at = [], 0
    while (head := _segment(file, at)) is not None and head[0].startswith(b"ZISRAW"):
        if head[0] == _SUBBLOCK:
            entry = _own_entry(file, at)
            entries += [entry] if entry else []
        at += _SEGMENT.size + head[1]
    return entries


def _own_entry(file: BinaryIO, at: int) -> bytes | None:
    """Return the directory entry repeated in a sub-block, with the sub-block's position; None if it is truncated."""
    file.seek(at + _SEGMENT.size + 16)
    data = file.read(_ENTRY.size)
    if len(data) < _ENTRY.size:
        return None
    dimensions = 20 * _ENTRY.unpack(data)[-1]
    data += file.read(dimensions)
    if len(data) < _ENTRY.size + dimensions:
        return None
    return data[:6] + struct.pack("<q", at) + data[14:]


def _blocks(path: Path, file: BinaryIO, entries: list[bytes], size: int) -> list[SubBlock]:
    """Return the sub-blocks at full resolution."""
    blocks = []
    for entry in entries:
        schema, pixel_type, position, part, compression, pyramid, count = _ENTRY.unpack_from(entry)
        if schema != b"DV" or part:
            raise InputError(
                f"{path} refers to pixels in other files, or has an old form of directory; save it again from ZEN."
            )
        dimensions = {}
        for i in range(count):
            name, start, length, stored = _DIMENSION.unpack_from(entry, _ENTRY.size + 20 * i)
            dimensions[name.rstrip(b"\0").decode("ascii", "replace")] = start, length, stored
        x, y = dimensions.pop("X"), dimensions.pop("Y")
        if pyramid or x[2] not in (0, x[1]) or y[2] not in (0, y[1]):
            continue  # a reduced copy of an image
        place = tuple(sorted((name, start) for name, (start, _, _) in dimensions.items() if name != "M"))
        is_whole = _end_of_pixels(file, position, len(entry)) <= size
        blocks.append(SubBlock(place, x[0], y[0], x[1], y[1], pixel_type, compression, position, is_whole))
    return blocks


def _end_of_pixels(file: BinaryIO, position: int, entry_bytes: int) -> int:
    start, length = _place_of_pixels(file, position, entry_bytes)
    return start + length


def _place_of_pixels(file: BinaryIO, position: int, entry_bytes: int) -> tuple[int, int]:
    """Return byte offset and number of bytes of the pixels; an impossible offset if the segment is missing."""
    head = _segment(file, position)
    sizes = file.read(16)
    if head is None or head[0] != _SUBBLOCK or len(sizes) < 16:
        return 1 << 62, 0
    metadata, _, length = struct.unpack("<iiq", sizes)
    return position + _SEGMENT.size + max(256, 16 + entry_bytes) + metadata, length


def group_planes(path: Path, blocks: list[SubBlock]) -> dict[tuple[tuple[str, int], ...], Plane]:
    """Group the tiles of each image.

    Raises
    ------
    InputError
        Tiles overlap or leave gaps, as in a mosaic, whose tiles are separate images.
    """
    planes: dict[tuple[tuple[str, int], ...], Plane] = {}
    for block in blocks:
        planes.setdefault(block.place, Plane()).blocks.append(block)
    for place, plane in planes.items():
        if len(plane.blocks) > 1:
            area = sum(block.width * block.height for block in plane.blocks)
            corners = {(block.x, block.y) for block in plane.blocks}
            if area != plane.width * plane.height or len(corners) < len(plane.blocks):
                where = name_some([f"{name}{start}" for name, start in place])
                raise InputError(
                    f"{path} has {len(plane.blocks)} tiles at {where} that overlap or leave gaps, expected tiles that "
                    "form one image; save each tile as a separate file from ZEN."
                )
    return planes


def decode_pixels(path: Path, block: SubBlock, dtype: np.dtype[Any]) -> Frames:
    """Read the pixels of one tile.

    Raises
    ------
    InputError
        The pixels cannot be decoded, or are fewer than announced.
    """
    with open(path, "rb") as file:
        file.seek(block.position + _SEGMENT.size + 16)
        entry_bytes = _ENTRY.size + 20 * int(_ENTRY.unpack(file.read(_ENTRY.size))[-1])
        start, length = _place_of_pixels(file, block.position, entry_bytes)
    data = read_bytes(path, start, length)
    if block.compression:
        data = _decompress(path, block, data, dtype)
    wanted = block.width * block.height * dtype.itemsize
    if len(data) < wanted:
        raise InputError(f"{path} has {len(data)} of {wanted} bytes of pixels at byte {start}; restore the file.")
    return np.frombuffer(data[:wanted], dtype).reshape(block.height, block.width)


def _decompress(path: Path, block: SubBlock, data: bytes, dtype: np.dtype[Any]) -> bytes:
    codecs = library("imagecodecs", "convert", "Compressed CZI files")
    try:
        if block.compression == _ZSTD0:
            return bytes(codecs.zstd_decode(data))
        if block.compression == _ZSTD1:
            head = data[0]
            planar = bytes(codecs.zstd_decode(data[head:]))
            is_split = head == 3 and data[1] == 1 and data[2] & 1
            return np.frombuffer(planar, np.uint8).reshape(2, -1).T.tobytes() if is_split else planar
        decoders = {_JPEG: codecs.jpeg_decode, _LZW: codecs.lzw_decode, _JPEG_XR: codecs.jpegxr_decode}
        if block.compression in decoders:
            decoded = decoders[block.compression](data)
            return decoded.astype(dtype).tobytes() if isinstance(decoded, np.ndarray) else bytes(decoded)
    except (RuntimeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: pixels at byte {block.position} cannot be decoded: {reason}; restore it.") from error
    raise InputError(
        f"{path} uses compression method {block.compression}, expected none, JPEG, LZW, JPEG XR or zstd; save it again "
        "from ZEN with one of these."
    )
