"""Limits on the size of arrays in NumPy, MATLAB, TIFF and HDF5 files, checked before their values are unpacked.

A file of a few megabytes can state, or decompress to, an array of many gigabytes.
"""

import os
import zipfile
import zlib
from pathlib import Path
from typing import IO, Final

from lls_decode.documents import open_regular_file

MOST_ARRAY_BYTES: Final = 512 << 20
"""Largest size of the arrays in a calibration file; maps of the largest sCMOS cameras (25 megapixels) have 200 MB."""
_PIECE_BYTES: Final = 1 << 20
_MAT_HEADER_BYTES: Final = 128
_MAT_COMPRESSED: Final = 15


def check_array_file(path: Path, *, most: int = MOST_ARRAY_BYTES) -> None:
    """Raise an error if a file is no regular file, or if it or its unpacked contents are too large.

    Contents are measured for zip archives (``.npz``) and MATLAB files (v5), which are compressed.

    Raises
    ------
    OSError
        The file cannot be read, or is not a regular file.
    ValueError
        It has more than ``most`` bytes.
    """
    with open_regular_file(path) as file:
        check_bytes(os.fstat(file.fileno()).st_size, most=most)
        head = file.read(_MAT_HEADER_BYTES)
        if head.startswith(b"PK"):
            with zipfile.ZipFile(file) as archive:
                check_bytes(sum(item.file_size for item in archive.infolist()), most=most)
        elif head.startswith(b"MATLAB 5.0"):
            check_bytes(_matlab_bytes(file, "little" if head[126:128] == b"IM" else "big", most), most=most)


def check_bytes(found: int, *, most: int = MOST_ARRAY_BYTES) -> None:
    """Raise `ValueError` if a number of bytes exceeds the limit."""
    if found > most:
        raise ValueError(f"it holds {found:,} bytes or more, expected at most {most:,}")


def _matlab_bytes(file: IO[bytes], order: str, most: int) -> int:
    """Return the unpacked size of the compressed elements after the header, counting no further than the limit."""
    total = 0
    while total <= most and len(tag := file.read(8)) == 8:
        kind, length = (int.from_bytes(tag[at : at + 4], order) for at in (0, 4))  # type: ignore[arg-type]
        if kind != _MAT_COMPRESSED:
            file.seek(length, os.SEEK_CUR)
            continue
        decoder, data = zlib.decompressobj(), file.read(length)
        while total <= most and data and not decoder.eof:
            total += len(decoder.decompress(data, _PIECE_BYTES))
            data = decoder.unconsumed_tail
    return total
