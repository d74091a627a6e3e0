"""MetaMorph ``.stk`` files: a TIFF with one page that describes all planes; the pixels of all planes are contiguous."""

import logging
from pathlib import Path
from typing import Any

import numpy as np

from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.accounting import Account, Ints, in_zero_tail
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.frame_array import FrameArray, as_movie, library
from lls_decode.movies.lengths import stated_sizes
from lls_decode.movies.movie import Movie, check_type, read_bytes

_PLANES_TAG = 33629
"""Tag UIC2, which describes each plane; its length is the number of planes."""


def open_stk(path: Path, choices: Choices) -> Movie:
    """Open a MetaMorph stack; its planes form a volume if they have z distances, otherwise they are frames in time."""
    page, about, axis = _describe(path)
    start = _start_of_pixels(path, page)
    height, width = page.shape
    dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    check_type(path, dtype)
    frame_bytes = height * width * dtype.itemsize
    planes = int(about["NumberPlanes"])
    starts = start + frame_bytes * np.arange(planes, dtype=np.int64)
    size = path.stat().st_size
    lost = starts + frame_bytes > size
    problems = [f"truncated: its planes need {int(starts[-1]) + frame_bytes} bytes"] if lost.any() else []
    zero = in_zero_tail(path, starts[~lost], frame_bytes, dtype)
    if zero:
        lost[zero] = True
        problems.append(f"zeros fill the end of the file where {len(zero)} of its planes should be")
    missing = tuple(np.flatnonzero(lost).tolist())
    account = Account(path, planes, planes - len(missing), ", ".join(problems), missing)

    def read(numbers: Ints) -> Frames:
        data = b"".join(read_bytes(path, int(starts[number]), frame_bytes) for number in numbers)
        return np.frombuffer(data, dtype).reshape(-1, height, width)

    unit = str(about.get("CalibrationUnits") or "")
    steps = np.abs(np.atleast_1d(about.get("ZDistance", 0.0)))
    x, y = about.get("XCalibration"), about.get("YCalibration")
    z = f"{steps.min():g} to {steps.max():g}" if not np.allclose(steps, steps[0]) else float(steps[0])
    sizes = stated_sizes({"x": (x, unit), "y": (x if y is None else y, unit), "z": (z, unit)})
    return as_movie(
        FrameArray(
            path,
            (planes,),
            (axis,),
            height,
            width,
            dtype,
            read,
            lost=lost,
            accounts=(account,) if problems else (),
            pixel_size=sizes.pixel_size,
            z_step_nm=sizes.z_step_nm,
            notes=sizes.notes,
        ),
        choices,
    )


def _describe(path: Path) -> tuple[Any, dict[str, Any], str]:
    """Return the page, MetaMorph's own metadata, and the axis of the planes: z, t, or empty if unknown."""
    tifffile = library("tifffile", "convert", "MetaMorph .stk files")
    logger = logging.getLogger("tifffile")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # problems are detected and reported below
    try:
        with tifffile.TiffFile(path) as tiff:
            page, about = tiff.pages.first, tiff.stk_metadata
            axis = "" if about is None else tiff.series[0].axes[0].lower()
            pages = len(tiff.pages)
    except Exception as error:  # tifffile raises many kinds of errors for invalid tags
        size = path.stat().st_size
        raise InputError(f"{path} cannot be read as TIFF ({error}); it has {size} bytes: restore the file.") from error
    finally:
        logger.setLevel(level)
    if about is None:
        raise InputError(f"{path} has no MetaMorph tags, expected a stack written by MetaMorph; rename it to .tif.")
    if _PLANES_TAG not in page.tags or 0 in page.shape or not page.dataoffsets:
        raise InputError(
            f"{path} lacks the description of its planes, or the description is beyond its end at "
            f"{path.stat().st_size} bytes; restore the file."
        )
    if pages != 1:
        raise InputError(f"{path} has {pages} pages, expected one that describes all planes; rename it to .tif.")
    if about["NumberPlanes"] > 1:
        return page, about, axis if axis in ("z", "t") else ""
    return page, about, "t"


def _start_of_pixels(path: Path, page: Any) -> int:
    """Return the byte offset of the first pixel, if all pixels are contiguous."""
    if page.compression != 1 or page.samplesperpixel != 1:
        raise InputError(f"{path} is compressed or in colour, expected uncompressed grey planes; save it that way.")
    offsets, counts = np.array(page.dataoffsets), np.array(page.databytecounts)
    frame_bytes = int(np.prod(page.shape)) * page.dtype.itemsize
    if (offsets[1:] != offsets[:-1] + counts[:-1]).any() or counts.sum() != frame_bytes:
        raise InputError(f"{path} has strips that are not contiguous; save it again from MetaMorph.")
    return int(offsets[0])
