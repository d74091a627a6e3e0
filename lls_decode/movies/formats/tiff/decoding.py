"""Reading of the pixels of TIFF pages: directly if they are stored plainly, otherwise decoded by tifffile.

tifffile replaces strips that it cannot decode by zeros, and only logs a message. This module raises an error instead
for a strip that is missing, has the wrong size, or causes a message from tifffile; its frame then counts as lost.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.formats.tiff.files import Stored
from lls_decode.movies.formats.tiff.pages import Ints
from lls_decode.movies.movie import whole

if TYPE_CHECKING:
    import tifffile


class _Ear(logging.Filter):
    """Log filter that collects messages of tifffile in listening threads, so that they are evaluated, not printed."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        messages: list[str] | None = getattr(self.heard, "messages", None)
        if messages is None:
            return True
        if record.levelno >= logging.WARNING:
            messages.append(record.getMessage())
        return False


_EAR = _Ear()


@contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect the messages that tifffile logs in this thread, and keep them from the terminal."""
    logging.getLogger("tifffile").addFilter(_EAR)  # has no effect if already added
    before = getattr(_EAR.heard, "messages", None)
    _EAR.heard.messages = []
    try:
        yield _EAR.heard.messages
    finally:
        _EAR.heard.messages = before


class Shelf(threading.local):
    """Cache of the file that a thread read last, because opening files is slow on a cluster's file system."""

    path: Path | None = None
    tiff: "tifffile.TiffFile | None" = None
    plain_path: Path | None = None
    plain: BinaryIO | None = None

    def read(self, path: Path, offset: int, count: int) -> bytes:
        """Read a piece of a file; raise an error if it is incomplete."""
        if self.plain_path != path:
            if self.plain is not None:
                self.plain.close()
            self.plain, self.plain_path = open(path, "rb"), path  # noqa: SIM115 (closed before the next file is opened)
        assert self.plain is not None
        self.plain.seek(offset)
        return whole(path, self.plain.read(count), offset, count)

    def open(self, path: Path) -> "tifffile.TiffFile":
        """Open a file with tifffile, or return it if it is already open."""
        if self.path != path:
            if self.tiff is not None:
                self.tiff.close()
            self.path, self.tiff = None, open_with_tifffile(path)
            self.path = path
        assert self.tiff is not None
        return self.tiff


def open_with_tifffile(path: Path) -> "tifffile.TiffFile":
    """Open a file with tifffile for decoding only, without interpreting its metadata."""
    try:
        import tifffile
    except ImportError as error:
        raise InputError(
            "compressed TIFF files need the package tifffile, which is not installed; run: "
            "pip install 'lls-decode[convert]'."
        ) from error
    try:
        with _listening():
            return tifffile.TiffFile(path, is_ome=False, is_mmstack=False, is_shaped=False, is_imagej=False)
    except (tifffile.TiffFileError, OSError) as error:
        raise InputError(f"{path} cannot be read as TIFF ({error}); restore the file.") from error


def read_frames(file: Stored, numbers: Ints, shelf: Shelf) -> Frames:
    """Read frames of one file by their page numbers."""
    pieces = []
    at = 0
    while at < len(numbers):
        layout = file.layouts[file.layout_of[numbers[at]]]
        if not layout.is_plain:
            pieces.append(decode(file, int(numbers[at]), shelf)[None])
            at += 1
            continue
        step, stop = layout.frame_bytes, at + 1
        start = int(file.starts[numbers[at]])
        while stop < len(numbers) and file.starts[numbers[stop]] == start + (stop - at) * step:
            stop += 1
        data = shelf.read(file.path, start, (stop - at) * step)
        dtype = layout.dtype.newbyteorder(file.order)
        pieces.append(np.frombuffer(data, dtype).reshape(-1, *layout.shape))
        at = stop
    return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]


def decode(file: Stored, number: int, shelf: Shelf) -> Frames:
    """Decode all strips of one compressed page.

    Raises
    ------
    InputError
        A strip is missing, damaged, or has the wrong size.
    """
    where = f"{file.path}: page {number} cannot be decoded"
    advice = "restore the file, or keep only the complete frames with --salvage."
    tiff = shelf.open(file.path)
    layout = file.layouts[file.layout_of[number]]
    try:
        with _listening():  # messages about other tags are irrelevant
            frame = _decode_page(tiff, int(file.ifds[number]), number, one_by_one=layout.is_scattered)
    except InputError:
        raise
    except Exception as error:  # codecs raise many kinds of errors
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "imagecodecs" in text:
            raise InputError(f"{where} ({text}); run: pip install 'lls-decode[convert]'.") from error
        raise InputError(f"{where} ({text}); {advice}") from error
    if frame.shape != layout.shape:
        raise InputError(f"{where}: its shape is {frame.shape}, expected {layout.shape}; {advice}")
    return frame


def _decode_page(tiff: "tifffile.TiffFile", ifd: int, number: int, *, one_by_one: bool) -> Frames:
    """Decode the page whose directory is at byte ``ifd``; raise an error instead of filling missing strips.

    tifffile reads adjacent uncompressed strips in one piece, with the padding between them; ``one_by_one`` avoids this.
    """
    import tifffile

    tiff.filehandle.seek(ifd)
    page = tifffile.TiffPage(tiff, number)
    expected = int(np.prod(page.chunked))
    if len(page.dataoffsets) != expected or 0 in page.databytecounts:
        raise ValueError(f"{sum(n > 0 for n in page.databytecounts)} of its {expected} strips are present")
    size = tiff.filehandle.size
    short = [i for i, ends in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)) if sum(ends) > size]
    if short:
        raise ValueError(f"strip {short[0]} extends beyond the end of the file")
    with _listening() as heard:
        image = _strips(page) if one_by_one else np.asarray(page.asarray(maxworkers=1))
    if heard:  # some versions of tifffile fill an incomplete strip, and log a message
        raise ValueError("a strip is incomplete")
    return image


def _strips(page: "tifffile.TiffPage") -> Frames:
    """Decode the strips of a page one by one."""
    image = np.empty((page.imagelength, page.imagewidth), page.dtype)
    for strip, (*_, row, _, _), _ in page.segments(maxworkers=1):
        assert strip is not None  # the caller has checked that all are present
        rows = strip.reshape(-1, page.imagewidth)
        image[row : row + len(rows)] = rows
    return image
