"""TIFF as movies: stacks, OME-TIFF, Micro-Manager stacks, ImageJ hyperstacks, and series of files."""

import re
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lls_decode.config import PixelSize
from lls_decode.errors import InputError
from lls_decode.movies.movie import Frames, Movie, check_type

if TYPE_CHECKING:
    import tifffile

TIFF_SUFFIXES = {".tif", ".tiff", ".btf"}


def open_tiff(path: Path, axes: str | None = None) -> Movie:
    """One file; ``axes`` where its metadata are wrong."""
    file = _survey(path, axes, is_one_of_many=False)
    shelf = _Shelf()

    def read(start: int, stop: int) -> Frames:
        return _read(file, shelf.open(file.path, is_one_of_many=False), start, stop)

    return Movie(
        file.num_frames,
        *file.frame_shape,
        file.dtype.newbyteorder("="),
        read,
        (path,),
        file.planes,
        file.pixel_size,
        file.z_step_nm,
    )


def open_tiff_series(path: str, files: Sequence[str | Path], axes: str | None = None) -> Movie:
    """Many files, one after the other. Of files of equal size the first is believed to stand for all, until read."""
    paths = [Path(file) for file in files]
    first = _survey(paths[0], axes, is_one_of_many=True)
    known = {paths[0].stat().st_size: first}
    surveyed = []
    for item in paths:
        size = item.stat().st_size
        if size not in known:
            known[size] = _survey(item, axes, is_one_of_many=True)
            _check_alike(known[size], first, path)
        surveyed.append(replace(known[size], path=item))
    starts = [0, *accumulate(file.num_frames for file in surveyed)]
    shelf = _Shelf()

    def read(start: int, stop: int) -> Frames:
        pieces = []
        number = bisect_right(starts, start) - 1
        while start < stop:
            end = min(stop, starts[number + 1])
            file = surveyed[number]
            tiff = shelf.open(file.path, is_one_of_many=True)
            pieces.append(_read(file, tiff, start - starts[number], end - starts[number]))
            start, number = end, number + 1
        return np.concatenate(pieces)

    return Movie(
        starts[-1],
        *first.frame_shape,
        first.dtype.newbyteorder("="),
        read,
        tuple(paths),
        first.planes,
        lengths=tuple(file.num_frames for file in surveyed),
    )


@dataclass(frozen=True)
class _File:
    """What is known of a file once it was opened."""

    path: Path
    num_frames: int
    frame_shape: tuple[int, int]
    dtype: np.dtype[Any]
    planes: int
    pixel_size: PixelSize | None = None
    z_step_nm: float | None = None


class _Shelf(threading.local):
    """The file that a thread read last, kept open: finding the pages of a long file anew for each piece takes long."""

    path: Path | None = None
    tiff: "tifffile.TiffFile | None" = None

    def open(self, path: Path, *, is_one_of_many: bool) -> "tifffile.TiffFile":
        if self.path != path:
            if self.tiff is not None:
                self.tiff.close()
            self.path = None
            self.tiff = _open(path, is_one_of_many=is_one_of_many)
            self.path = path
        assert self.tiff is not None
        return self.tiff


def _open(path: Path, *, is_one_of_many: bool) -> "tifffile.TiffFile":
    """Open a file; of one of many the OME metadata are not followed, as they may name the frames of all."""
    try:
        import tifffile
    except ImportError as error:
        raise InputError(
            "TIFF files need the package tifffile, which is not installed; run: pip install lls-decode[convert]"
        ) from error
    try:
        return tifffile.TiffFile(path, is_ome=False, is_mmstack=False) if is_one_of_many else tifffile.TiffFile(path)
    except (tifffile.TiffFileError, OSError) as error:
        raise InputError(f"{path} cannot be read as TIFF ({error}); restore the file.") from error


def _survey(path: Path, axes: str | None, *, is_one_of_many: bool) -> _File:
    """Find out what a file holds, and refuse what are no frames of one channel."""
    with _open(path, is_one_of_many=is_one_of_many) as tiff:
        if len(tiff.series) != 1:
            shapes = ", ".join(str(series.shape) for series in tiff.series[:6])
            raise InputError(f"{path} holds {len(tiff.series)} images ({shapes}), expected one; save them one by one.")
        series = tiff.series[0]
        shape = tuple(series.shape)
        if axes is not None and is_one_of_many:
            axes = axes[-len(shape) :]  # a stack that was cut short may have a single plane
        sizes = _sizes(path, shape, axes or _letters(series.axes), series.axes if axes is None else axes)
        dtype = np.dtype(series.dtype)
        planes = sizes.get("z", 1) if sizes.get("t", 1) > 1 or axes is not None else 1
        scale = _ome_scale(tiff)
    check_type(path, dtype)
    return _File(path, int(np.prod(shape[:-2], dtype=np.int64)), (shape[-2], shape[-1]), dtype, planes, *scale)


def _sizes(path: Path, shape: tuple[int, ...], letters: str, told: str) -> dict[str, int]:
    """Length of each axis, when they are those of grey frames in the order t, z, y, x."""
    if len(letters) != len(shape):
        raise InputError(f"{path} has shape {shape}, but axes {letters!r}; give one letter a dimension.")
    sizes = dict(zip(letters, shape, strict=True))
    if not letters.endswith("yx") or len(sizes) < len(letters) or not set(letters) <= set("tczyx"):
        raise InputError(
            f"{path} has shape {shape} and axes {told!r}, expected grey frames with axes t, z in front of y, x; save "
            "it so."
        )
    if sizes.get("c", 1) > 1:
        raise InputError(
            f"{path} has {sizes['c']} channels, expected one; save the channels one by one, or if they are frames, "
            f"say so with --axes {letters.replace('c', 't') if 't' not in letters else letters.replace('c', 'z')}."
        )
    if "z" in letters and "t" in letters and letters.index("z") < letters.index("t") and sizes["t"] > 1:
        raise InputError(f"{path} has axes {letters!r}: planes are stored before times; save it as t, z, y, x.")
    return sizes


def _letters(axes: str) -> str:
    """Letters of tifffile as ours: an axis of unknown meaning (I, Q: a sequence) is time."""
    letters = axes.lower()
    return letters if "t" in letters else letters.replace("i", "t").replace("q", "t")


def _check_alike(file: _File, first: _File, path: str) -> None:
    if (file.frame_shape, file.dtype) != (first.frame_shape, first.dtype):
        (height, width), (first_height, first_width) = file.frame_shape, first.frame_shape
        raise InputError(
            f"{file.path} has frames of {height} x {width} {file.dtype.newbyteorder('=')}, {first.path} of "
            f"{first_height} x {first_width} {first.dtype.newbyteorder('=')}; all files of {path} must be alike."
        )


def _read(file: _File, tiff: "tifffile.TiffFile", start: int, stop: int) -> Frames:
    """Frames of one file, each checked against what was announced."""
    series = tiff.series[0]
    if (series.shape[-2:], np.dtype(series.dtype)) != (file.frame_shape, file.dtype):
        raise InputError(
            f"{file.path} has frames of shape {series.shape[-2:]} and type {series.dtype}, expected "
            f"{file.frame_shape} and {file.dtype}; all files of a series must be alike."
        )
    if series.dataoffset is not None:  # one contiguous piece, also where it has a single page for many frames
        return _read_contiguous(file, tiff, series.dataoffset, start, stop)
    frames_per_page = max(1, file.num_frames // len(series.pages))
    pages = range(start // frames_per_page, -(-stop // frames_per_page))
    frames = np.concatenate([_decode(file, series, page) for page in pages])
    skipped = pages.start * frames_per_page
    return frames[start - skipped : stop - skipped]


def _read_contiguous(file: _File, tiff: "tifffile.TiffFile", offset: int, start: int, stop: int) -> Frames:
    frame_bytes = file.frame_shape[0] * file.frame_shape[1] * file.dtype.itemsize
    tiff.filehandle.seek(offset + start * frame_bytes)
    data = tiff.filehandle.read((stop - start) * frame_bytes)
    if len(data) < (stop - start) * frame_bytes:
        raise InputError(f"{file.path} is truncated: it ends within frames {start} to {stop - 1}; restore the file.")
    return np.frombuffer(data, file.dtype.newbyteorder(tiff.byteorder)).reshape(-1, *file.frame_shape)


def _decode(file: _File, series: Any, index: int) -> Frames:
    try:
        page = series.pages[index]
        image = None if page is None else page.asarray(maxworkers=1)
    except (OSError, ValueError, RuntimeError, IndexError) as error:
        raise InputError(f"{file.path}: page {index} cannot be decoded ({error}); restore the file.") from error
    if image is None:
        raise InputError(f"{file.path}: page {index} is missing, its metadata announce it; restore the file.")
    return np.asarray(image).reshape(-1, *file.frame_shape)


def _ome_scale(tiff: "tifffile.TiffFile") -> tuple[PixelSize | None, float | None]:
    """Pixel size and z step of OME-XML with micrometer (its default) or nanometer units."""
    if not tiff.is_ome or not tiff.ome_metadata:
        return None, None
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", tiff.ome_metadata)
    if pixels is None:
        return None, None
    found: dict[str, float] = {}
    for axis in "XYZ":
        value = re.search(rf'\bPhysicalSize{axis}="([^"]+)"', pixels[0])
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]+)"', pixels[0])
        factor = {"µm": 1e3, "um": 1e3, "&#181;m": 1e3, "nm": 1.0}.get(unit[1] if unit else "µm")
        if value and factor and float(value[1]) > 0 and float(value[1]) != 1.0:
            found[axis] = round(float(value[1]) * factor, 9)
    pixel_size = PixelSize(x_nm=found["X"], y_nm=found["Y"]) if {"X", "Y"} <= set(found) else None
    return pixel_size, found.get("Z")
