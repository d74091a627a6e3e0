"""Pixels of TIFF pages: read as they lie where they are stored as they are, else decoded by tifffile, strip by strip.

tifffile fills what it cannot decode with zeros and says so in its log. Here that is an error: a strip that is absent,
of a wrong size, or on which tifffile has something to say, makes its frame lost.
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
    """Keeps what tifffile logs in threads that listen, so that it is judged instead of printed."""

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
    """Collect what tifffile logs in this thread; its lines never reach the terminal."""
    logging.getLogger("tifffile").addFilter(_EAR)  # once: it is not added again
    before = getattr(_EAR.heard, "messages", None)
    _EAR.heard.messages = []
    try:
        yield _EAR.heard.messages
    finally:
        _EAR.heard.messages = before


class Shelf(threading.local):
    """The file that a thread read last, kept open: opening one for each frame takes long on a cluster's file system."""

    path: Path | None = None
    tiff: "tifffile.TiffFile | None" = None
    plain_path: Path | None = None
    plain: BinaryIO | None = None

    def read(self, path: Path, offset: int, count: int) -> bytes:
        """Read a piece of a file, which must be there in full."""
        if self.plain_path != path:
            if self.plain is not None:
                self.plain.close()
            self.plain, self.plain_path = open(path, "rb"), path  # noqa: SIM115 (closed by the next one)
        assert self.plain is not None
        self.plain.seek(offset)
        return whole(path, self.plain.read(count), offset, count)

    def open(self, path: Path) -> "tifffile.TiffFile":
        """Open a file with tifffile, or give the one that is open."""
        if self.path != path:
            if self.tiff is not None:
                self.tiff.close()
            self.path, self.tiff = None, open_with_tifffile(path)
            self.path = path
        assert self.tiff is not None
        return self.tiff


def open_with_tifffile(path: Path) -> "tifffile.TiffFile":
    """Open a file for decoding alone."""
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
    """Read frames of one file, by the number of their page."""
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
    """Decode one compressed page, all of its strips.

    Raises
    ------
    InputError
        A strip is absent, damaged, or not of the size that it should have.
    """
    where = f"{file.path}: page {number} cannot be decoded"
    advice = "restore the file, or take the whole frames with --salvage."
    tiff = shelf.open(file.path)
    layout = file.layouts[file.layout_of[number]]
    try:
        with _listening():  # what it says of other tags does not matter
            frame = _decode_page(tiff, int(file.ifds[number]), number)
    except InputError:
        raise
    except Exception as error:  # codecs raise many kinds
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "imagecodecs" in text:
            raise InputError(f"{where} ({text}); run: pip install 'lls-decode[convert]'.") from error
        raise InputError(f"{where} ({text}); {advice}") from error
    if frame.shape != layout.shape:
        raise InputError(f"{where}: it came as {frame.shape}, expected {layout.shape}; {advice}")
    return frame


def _decode_page(tiff: "tifffile.TiffFile", ifd: int, number: int) -> Frames:
    """Pixels of the page at a place of the file, no strip replaced by a fill value."""
    import tifffile

    tiff.filehandle.seek(ifd)
    page = tifffile.TiffPage(tiff, number)
    expected = int(np.prod(page.chunked))
    if len(page.dataoffsets) != expected or 0 in page.databytecounts:
        raise ValueError(f"{sum(n > 0 for n in page.databytecounts)} of its {expected} strips are there")
    size = tiff.filehandle.size
    short = [i for i, ends in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)) if sum(ends) > size]
    if short:
        raise ValueError(f"strip {short[0]} goes beyond the end of the file")
    with _listening() as heard:
        image = np.asarray(page.asarray(maxworkers=1))
    if heard:  # versions of tifffile that fill a short strip say so
        raise ValueError("a strip is not whole")
    return image
