"""Spooled acquisitions of Andor Solis: a folder of ``*spool.dat``, ``acquisitionmetadata.ini`` and a ``.sifx``.

The ``.ini`` describes the images: each row has ``AOIStride`` bytes, which begin with ``AOIWidth`` pixels, and each
image has ``ImageSizeBytes`` bytes, including data that the camera adds after the rows. The number in a file name has
its digits reversed (``1000000000`` is the second file). The ``.sifx`` states the total number of frames; the last file
may be padded with zeros.
"""

import configparser
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.accounting import Account, Ints, end_of_data, in_zero_tail
from lls_decode.movies.choices import Choices
from lls_decode.movies.formats.cameras.andor_sif import read_header
from lls_decode.movies.formats.frame_array import FrameArray, as_movie
from lls_decode.movies.movie import Movie, read_bytes
from lls_decode.naming.choices import name_some

INI = "acquisitionmetadata.ini"
_SPOOL = re.compile(r"(\d+)spool\.dat", re.IGNORECASE)
_WORDS = {"mono8": "u1", "mono12": "<u2", "mono12coded": "<u2", "mono16": "<u2", "mono32": "<u4"}
_PACKED = "mono12packed"
_PACKED_ZEROS = 2
"""Number of bytes that may legitimately be zero at the end of a packed image from a camera with an offset."""


@dataclass(frozen=True)
class _Format:
    """Storage format of one image."""

    height: int
    width: int
    stride: int
    encoding: str
    image_bytes: int
    per_file: int

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        return np.dtype(_WORDS.get(self.encoding, "<u2"))

    @property
    def row_bytes(self) -> int:
        """Number of bytes of the pixels in a row, without padding."""
        return -(-self.width * 3 // 2) if self.encoding == _PACKED else self.width * self.dtype.itemsize


def find_spool(path: Path) -> Path | None:
    """Return the ``.ini`` of a spooled acquisition, given by its folder or one of its files; None for other paths.

    Raises
    ------
    InputError
        There are spooled files, but no ``.ini`` beside them.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_file() and path.suffix.lower() != ".sifx" and not _SPOOL.fullmatch(path.name) and path.name != INI:
        return None
    if not folder.is_dir():
        return None
    ini = next((item for item in sorted(folder.glob("*.ini")) if item.name.lower() == INI), None)
    if ini is None and (path.is_file() or next(folder.glob("*spool.dat"), None) is not None):
        raise InputError(f"{folder} has no {INI}, which describes the spooled images; restore this file.")
    return ini


def open_spool(ini: Path, choices: Choices) -> Movie:
    """Open a spooled acquisition by its ``acquisitionmetadata.ini``."""
    form = _read_format(ini)
    files, gaps = _spool_files(ini, form)
    announced = _announced(ini, form)
    places = [(path, number) for path in files for number in range(form.per_file)]
    lost = np.array([path not in gaps and _is_cut(path, number, form) for path, number in places])
    lost |= np.array([path in gaps for path, _ in places])
    accounts = [_gap(path, form) for path in gaps]
    present = [path for path in files if path not in gaps]
    for path in present:
        accounts += _account(path, form, lost, [i for i, (owner, _) in enumerate(places) if owner == path], announced)
    total = len(places) if announced is None else announced
    if announced is not None and announced > len(places):
        why = f"its files have room for {len(places)} frames"
        accounts.append(
            Account(ini, announced, int((~lost).sum()), why, tuple(range(len(places), announced)), is_gap=True)
        )
        total = len(places)
    starts = np.array([number * form.image_bytes for _, number in places], np.int64)

    def read(numbers: Ints) -> Frames:
        return np.stack([_read_image(places[int(i)][0], int(starts[i]), form) for i in numbers])

    return as_movie(
        FrameArray(
            ini.parent,
            (total,),
            ("t",),
            form.height,
            form.width,
            form.dtype,
            read,
            files=(*present, ini, *ini.parent.glob("*.sifx")),
            lost=lost[:total],
            accounts=tuple(accounts),
        ),
        choices,
    )


def _read_format(ini: Path) -> _Format:
    data = ini.read_bytes()
    text = data.decode("utf-16") if data[:2] in (b"\xff\xfe", b"\xfe\xff") else data.decode("utf-8-sig", "replace")
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        parser.read_string(text)
        values = {name: value for section in parser.sections() for name, value in parser[section].items()}
        height, width, stride, image_bytes = (
            int(values[name]) for name in ("aoiheight", "aoiwidth", "aoistride", "imagesizebytes")
        )
        encoding = values["pixelencoding"].strip().lower()
        per_file = int(values.get("imagesperfile", "1"))
    except (configparser.Error, KeyError, ValueError) as error:
        raise InputError(
            f"{ini} does not describe the images ({error}); expected AOIHeight, AOIWidth, AOIStride, PixelEncoding and "
            "ImageSizeBytes."
        ) from error
    if encoding not in _WORDS and encoding != _PACKED:
        known = "Mono8, Mono12, Mono12Packed, Mono16, Mono32"
        raise InputError(
            f"{ini} states the pixel encoding {values['pixelencoding']}, expected {known}; export as TIFF from Solis."
        )
    form = _Format(height, width, stride, encoding, image_bytes, per_file)
    if min(height, width, per_file) < 1 or form.row_bytes > stride or stride * height > image_bytes:
        raise InputError(
            f"{ini} states images of {height} x {width} pixels in rows of {stride} bytes, {image_bytes} bytes per "
            "image, which is inconsistent; restore the file."
        )
    return form


def _spool_files(ini: Path, form: _Format) -> tuple[list[Path], dict[Path, int]]:
    """Return all files in order, including missing ones, and the missing files."""
    digits = {match[1]: path for path in ini.parent.iterdir() if (match := _SPOOL.fullmatch(path.name))}
    if not digits:
        raise InputError(f"{ini.parent} has no *spool.dat beside {ini.name}; restore the files.")
    reversed_, plain = ({int(word[::step]): path for word, path in digits.items()} for step in (-1, 1))
    is_plain = max(plain) < max(reversed_)
    numbered = plain if is_plain else reversed_
    if len(numbered) < len(digits):
        raise InputError(f"{ini.parent} has two files with the same number among {name_some(sorted(digits.values()))}.")
    width = len(next(iter(digits)))
    if max(numbered) >= 1000 * len(numbered):
        raise InputError(
            f"{ini.parent} has only {len(numbered)} files, but numbers up to {max(numbered)}; restore the other files."
        )

    def name(number: int) -> Path:
        word = f"{number:0{width}d}"
        return numbered.get(number, ini.with_name(f"{word if is_plain else word[::-1]}spool.dat"))

    files = [name(number) for number in range(max(numbered) + 1)]
    return files, {path: i for i, path in enumerate(files) if i not in numbered}


def _announced(ini: Path, form: _Format) -> int | None:
    """Return the number of frames that the ``.sifx`` announces; None if there is no ``.sifx``."""
    headers = sorted(ini.parent.glob("*.sifx"))
    if len(headers) > 1:
        names = name_some([path.name for path in headers])
        raise InputError(
            f"{ini.parent} has {len(headers)} .sifx files, {names}, expected one; move those of other acquisitions "
            "elsewhere."
        )
    if not headers:
        return None
    header = read_header(headers[0])
    if (header.height, header.width) != (form.height, form.width):
        raise InputError(
            f"{headers[0]} states frames of {header.height} x {header.width} pixels, but {ini.name} {form.height} x "
            f"{form.width}; put only the files of one acquisition into the folder."
        )
    return header.num_frames


def _is_cut(path: Path, number: int, form: _Format) -> bool:
    return number * form.image_bytes + form.stride * form.height > path.stat().st_size


def _gap(path: Path, form: _Format) -> Account:
    why = "a file of the spooled acquisition is missing"
    return Account(path, form.per_file, 0, why, tuple(range(form.per_file)), is_gap=True)


def _account(
    path: Path, form: _Format, lost: npt.NDArray[np.bool_], numbers: list[int], announced: int | None
) -> list[Account]:
    """Compare one file with the expected frames, and mark frames in trailing zeros as lost."""
    size, end = path.stat().st_size, form.image_bytes * form.per_file
    wanted = np.array([i for i in numbers if announced is None or i < announced], np.int64)
    problems = []
    if lost[wanted].any():
        problems.append(f"truncated: it has {size} of {end} bytes")
    elif size > end:
        problems.append(f"it ends with {size - end} bytes that are not a frame as described by {INI}")
    zero = _zero_frames(path, form, wanted[~lost[wanted]], numbers[0])
    if len(zero):
        lost[zero] = True
        problems.append(f"zeros fill the end of the file where {len(zero)} of its frames should be")
    unclaimed = end_of_data(path) - form.image_bytes * len(wanted)
    if announced is not None and len(wanted) < form.per_file and unclaimed > 0:
        problems.append(f"it has {unclaimed} bytes after the last of the {announced} frames that the .sifx announces")
    if not problems:
        return []
    missing = tuple(int(i) - numbers[0] for i in wanted if lost[i])
    return [Account(path, len(wanted), len(wanted) - len(missing), ", ".join(problems), missing)]


def _zero_frames(path: Path, form: _Format, numbers: Ints, first: int) -> Ints:
    """Return the frames that lie in zeros which were reserved but never written."""
    starts, pixel_bytes = form.image_bytes * (numbers - first), form.stride * form.height
    if form.encoding != _PACKED:
        return numbers[in_zero_tail(path, starts, pixel_bytes, form.dtype)]
    return numbers[starts + pixel_bytes > end_of_data(path) + _PACKED_ZEROS]


def _read_image(path: Path, start: int, form: _Format) -> Frames:
    """Read one image without the padding of its rows."""
    data = np.frombuffer(read_bytes(path, start, form.stride * form.height), np.uint8)
    rows = data.reshape(form.height, form.stride)[:, : form.row_bytes]
    if form.encoding != _PACKED:
        return np.ascontiguousarray(rows).view(form.dtype)
    padded = np.zeros((form.height, -(-form.row_bytes // 3), 3), np.uint16)
    padded.reshape(form.height, -1)[:, : form.row_bytes] = rows
    pairs = np.empty((form.height, padded.shape[1], 2), np.uint16)
    pairs[..., 0] = padded[..., 0] << 4 | padded[..., 1] & 15
    pairs[..., 1] = padded[..., 2] << 4 | padded[..., 1] >> 4
    return pairs.reshape(form.height, -1)[:, : form.width]
