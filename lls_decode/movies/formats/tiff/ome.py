"""Reading of OME-XML: images, the file and page of each plane, sizes and names."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Final

import numpy as np

from lls_decode.config import PixelSize
from lls_decode.documents import DocumentError, read_text
from lls_decode.errors import InputError
from lls_decode.movies.formats.tiff.pages import Ints
from lls_decode.movies.lengths import stated_sizes

_MOST_PLANES: Final = 5_000_000
"""Largest number of planes of an image; TIFF sets of microscopes have at most some hundred thousand."""


class DamagedXmlError(Exception):
    """Error for OME-XML that cannot be read; its text describes the problem of the file."""


@dataclass(frozen=True)
class OmeImage:
    """One image (position or series) of the XML."""

    name: str
    shape: tuple[int, int, int]
    """Number of times, planes, channels."""
    channels: tuple[str, ...]
    file_of: Ints
    """Index of the file of each plane ``(t, z, c)`` in the file names of the set; -1 if the XML names no file."""
    page_of: Ints
    pixel_size: PixelSize | None
    z_step_nm: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class OmeSet:
    """Images of an OME set, and the files that hold their planes."""

    files: tuple[str, ...]
    """Names of the files; a file that was renamed has its present name, if its UUID identifies it."""
    stated: tuple[str, ...]
    """Names of the files by the XML."""
    images: tuple[OmeImage, ...]


def is_ome(text: str) -> bool:
    """Return whether a description is OME-XML."""
    return text.lstrip("\ufeff \r\n").startswith("<") and "<OME" in text[:2000].replace("<ome:OME", "<OME")


def read_ome(text: str, path: Path) -> OmeSet:
    """Read the images of a file, and of all other files that its XML names.

    Files that the XML names, and that are not there, are searched for by their UUID.

    Raises
    ------
    InputError
        The XML is in another file, which is missing.
    DamagedXmlError
        The XML cannot be parsed, or has no image.
    """
    root = _parse(text)
    binary = root.find("{*}BinaryOnly")
    if binary is not None:
        other = path.with_name(binary.get("MetadataFile") or "")
        root = _parse(_metadata_file(other, path))
    files: dict[tuple[str, str], int] = {}
    images = tuple(_image(node, i, files, path) for i, node in enumerate(root.findall("{*}Image")) if _pixels(node))
    if not images:
        raise DamagedXmlError("its OME-XML names no image")
    names = (
        [path.name] if len(files) == 1 and not path.with_name(next(iter(files))[0]).is_file() else _places(files, path)
    )
    distinct = list(dict.fromkeys(names))
    place = np.array([distinct.index(name) for name in names] + [-1])
    images = tuple(replace(image, file_of=place[image.file_of]) for image in images)
    return OmeSet(tuple(distinct), tuple(dict.fromkeys(name for name, _ in files)), images)


def _places(files: Collection[tuple[str, str]], path: Path) -> list[str]:
    """Return the present names of the files of a set, given by the name and the UUID that its XML states.

    A UUID identifies a file that was renamed.
    """
    if len(files) == 1:
        return [name for name, _ in files]
    found = _names_by_uuid(path.parent, path.parent.stat().st_mtime_ns)
    places = []
    for name, uuid in files:
        same = found.get(uuid, ())
        places.append(same[0] if name not in same and len(same) == 1 else name)
    return places


@lru_cache(maxsize=4)
def _names_by_uuid(folder: Path, changed_ns: int) -> dict[str, tuple[str, ...]]:
    """Return the names of the OME-TIFFs of a folder by their own UUID; cached until the folder changes."""
    from lls_decode.movies.formats.tiff.descriptions import text_of
    from lls_decode.movies.formats.tiff.pages import read_pages

    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in (".tif", ".tiff", ".btf", ".tf8") or not path.is_file():
            continue
        try:
            pages = read_pages(path)
            text = text_of(pages) if len(pages) else ""
            uuid = _parse(text).get("UUID") if is_ome(text) else None
        except (InputError, DamagedXmlError):
            continue  # not a file of the set, or reported when it is opened
        if uuid:
            found[uuid] = (*found.get(uuid, ()), path.name)
    return found


def _parse(text: str) -> ET.Element:
    try:
        return ET.fromstring(text.strip("\ufeff \r\n\0").encode())
    except (ET.ParseError, LookupError) as error:  # LookupError: unknown encoding
        raise DamagedXmlError(f"its OME-XML is damaged ({error})") from error


def _metadata_file(other: Path, path: Path) -> str:
    """Read the XML from the file that holds it for other files."""
    from lls_decode.movies.formats.tiff.descriptions import text_of
    from lls_decode.movies.formats.tiff.pages import read_pages

    if not other.is_file():
        raise InputError(
            f"{path} has its OME-XML in {other.name or 'another file'}, which is not beside it; restore it."
        )
    if other.suffix.lower() in (".tif", ".tiff"):
        return text_of(read_pages(other))
    try:
        return read_text(other)
    except (OSError, DocumentError) as error:
        raise InputError(f"{other} cannot be read ({error}), but it has the OME-XML of {path}; restore it.") from error


def _pixels(image: ET.Element) -> bool:
    return image.find("{*}Pixels") is not None


def _image(node: ET.Element, number: int, files: dict[tuple[str, str], int], path: Path) -> OmeImage:
    pixels = node.find("{*}Pixels")
    assert pixels is not None
    channels = pixels.findall("{*}Channel")
    sizes = {axis: _size(pixels, axis) for axis in "TZC"}
    samples = sum(int(channel.get("SamplesPerPixel", "1")) for channel in channels)
    if channels and samples == sizes["C"]:
        sizes["C"] = len(channels)
    shape = (sizes["T"], sizes["Z"], sizes["C"])
    if prod(shape) > _MOST_PLANES:
        raise DamagedXmlError(f"its OME-XML announces {prod(shape):,} planes, more than {_MOST_PLANES:,}")
    file_of, page_of = np.full(shape, -1), np.full(shape, -1)
    order = pixels.get("DimensionOrder", "XYZCT").replace("X", "").replace("Y", "")
    if sorted(order) != sorted("CTZ"):
        raise DamagedXmlError(f"its OME-XML has a dimension order of {pixels.get('DimensionOrder')!r}")
    taken = dict[tuple[tuple[str, str], int], tuple[int, int, int]]()
    for place, file, page in _planes(pixels, order, sizes, path):
        if taken.setdefault((file, page), place) != place:
            raise DamagedXmlError(f"its OME-XML gives page {page} of {file[0]} to two frames")
        file_of[place], page_of[place] = files.setdefault(file, len(files)), page
    told = {axis: (pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "XYZ"}
    sizes_nm = stated_sizes({axis.lower(): size for axis, size in told.items()})
    names = [channel.get("Name") or str(i) for i, channel in enumerate(channels)]
    return OmeImage(
        node.get("Name") or node.get("ID") or str(number),
        shape,
        tuple(names) if len(names) == sizes["C"] else tuple(map(str, range(sizes["C"]))),
        file_of,
        page_of,
        sizes_nm.pixel_size,
        sizes_nm.z_step_nm,
        sizes_nm.notes,
    )


def _size(pixels: ET.Element, axis: str) -> int:
    text = pixels.get(f"Size{axis}", "1")
    size = int(text) if re.fullmatch(r"\s*\d{1,9}\s*", text) else 0
    if not size:
        raise DamagedXmlError(f"its OME-XML has a size of {text[:20]!r} along {axis}")
    return size


def _number(block: ET.Element, name: str, default: int, below: int) -> int:
    """Return a number of a block, which must be at least 0 and less than ``below``."""
    text = block.get(name, str(default))
    number = int(text) if re.fullmatch(r"\s*\d{1,9}\s*", text) else -1
    if not 0 <= number < below:
        raise DamagedXmlError(f"its OME-XML has {name}={text[:20]!r}, expected 0 to {below - 1}")
    return number


def _planes(
    pixels: ET.Element, order: str, sizes: dict[str, int], path: Path
) -> Iterator[tuple[tuple[int, int, int], tuple[str, str], int]]:
    """Yield the index (t, z, c), file (name and UUID) and page of each plane that the XML lists."""
    strides = dict(zip(order, np.cumprod([1, *(sizes[axis] for axis in order[:-1])]).tolist(), strict=True))
    total = prod(sizes.values())
    blocks = pixels.findall("{*}TiffData")
    if not blocks and pixels.find("{*}BinData") is None:
        blocks = [ET.Element("TiffData")]
    for block in blocks:
        uuid = block.find("{*}UUID")
        file = (path.name, "")
        if uuid is not None:
            file = (uuid.get("FileName") or path.name, (uuid.text or "").strip())
        if Path(file[0]).name != file[0]:
            raise DamagedXmlError(f"its OME-XML names the file {file[0][:100]!r}, expected a file in the same folder")
        first = sum(_number(block, f"First{axis}", 0, sizes[axis]) * strides[axis] for axis in "TZC")
        default = 1 if block.get("IFD") is not None else total
        count = min(_number(block, "PlaneCount", default, _MOST_PLANES + 1), total - first)
        page = _number(block, "IFD", 0, _MOST_PLANES)
        for k in range(count):
            at = first + k
            place = {axis: at // strides[axis] % sizes[axis] for axis in "TZC"}
            yield (place["T"], place["Z"], place["C"]), file, page + k
