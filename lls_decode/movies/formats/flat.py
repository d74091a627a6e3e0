"""Movies of raw frames with a separate description: ``.dax`` with ``.inf``, Picasso ``.raw`` with ``.yaml``."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.documents import DocumentError, read_loose_text, read_yaml_documents
from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.accounting import Account, in_zero_tail, keep, settle
from lls_decode.movies.axes import in_order
from lls_decode.movies.choices import Choices
from lls_decode.movies.lengths import NO_SIZES, Sizes, stated_sizes
from lls_decode.movies.movie import Movie, check_type, read_bytes
from lls_decode.outputs import note_read


def open_dax(path: Path, choices: Choices) -> Movie:
    """Open a ``.dax`` file of raw 16-bit frames, whose size and byte order are in the ``.inf`` beside it."""
    inf = path.with_suffix(".inf")
    try:
        text = read_loose_text(inf)
    except (OSError, DocumentError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{inf} cannot be read ({reason}), but it has the frame size of {path.name}; restore it."
        ) from error
    size = re.search(r"frame dimensions\s*=\s*(\d+)\s*x\s*(\d+)", text)
    order = re.search(r"(big|little) endian", text)
    if size is None or order is None:
        missing = "frame dimensions" if size is None else "byte order (big or little endian)"
        raise InputError(f"{inf} does not state the {missing} of {path.name}; add a line that does.")
    width, height = int(size[1]), int(size[2])
    dtype = np.dtype(">u2" if order[1] == "big" else "<u2")
    bits = re.search(r"data type\s*=\s*(\d+)\s*bit", text)
    if bits is not None and int(bits[1]) != 16:
        raise InputError(
            f"{inf} states values of {bits[1]} bits, expected 16; correct it, or save {path.name} as TIFF."
        )
    announced = re.search(r"number of frames\s*=\s*(\d+)", text)
    return _flat_file(path, height, width, dtype, int(announced[1]) if announced else None, inf, choices)


def open_picasso_raw(path: Path, choices: Choices) -> Movie:
    """Open a Picasso ``.raw`` file of raw frames, described by the ``.yaml`` beside it."""
    description = path.with_suffix(".yaml")
    note_read(description)
    try:
        info = next(iter(read_yaml_documents(description)))
        height, width = int(info["Height"]), int(info["Width"])
        dtype = np.dtype(f"{info['Byte Order']}{np.dtype(info['Data Type']).str[1:]}")
        frames = int(info["Frames"])
        pixel = info.get("Pixelsize") or info.get("Camera.Pixelsize")
    except OSError as error:
        raise InputError(
            f"{description} cannot be read ({error.strerror}), but it has the frame size of {path.name}; restore it."
        ) from error
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise InputError(
            f"{description} does not describe {path.name} ({error}); expected Frames, Height, Width, Data Type and "
            "Byte Order."
        ) from error
    check_type(path, dtype)
    sizes = stated_sizes(dict.fromkeys("xy", (pixel, "nm")))
    return _flat_file(path, height, width, dtype, frames, description, choices, sizes)


def _flat_file(
    path: Path,
    height: int,
    width: int,
    dtype: np.dtype[Any],
    announced: int | None,
    described_by: Path,
    choices: Choices,
    sizes: Sizes = NO_SIZES,
) -> Movie:
    """Open a file of consecutive raw frames; their number follows from the size of the file."""
    if height < 1 or width < 1:
        raise InputError(
            f"{described_by} states frames of {height} x {width} pixels, expected at least 1 x 1; correct it."
        )
    frame_bytes = height * width * dtype.itemsize
    num_frames, rest = divmod(path.stat().st_size, frame_bytes)
    if num_frames == 0:
        raise InputError(
            f"{path} has {rest} bytes, fewer than one frame of {height} x {width} {dtype}; restore the file, or "
            f"correct {described_by.name}."
        )
    starts = frame_bytes * np.arange(num_frames, dtype=np.int64)
    lost = np.zeros(num_frames, bool)
    lost[in_zero_tail(path, starts, frame_bytes, dtype)] = True
    account = _account(path, announced, lost, rest, described_by.name)
    losses = settle([account] if account else [], choices)
    order = in_order((num_frames,), ("",), choices, path)
    kept = keep(lost, order.index.shape[1], choices)

    def read(start: int, stop: int) -> Frames:
        numbers = kept.numbers[start:stop]
        first, last = int(numbers[0]), int(numbers[-1])
        data = read_bytes(path, first * frame_bytes, (last + 1 - first) * frame_bytes)
        return np.frombuffer(data, dtype).reshape(-1, height, width)[numbers - first]

    return Movie(
        len(kept.numbers),
        height,
        width,
        dtype.newbyteorder("="),
        read,
        (path, described_by),
        kept.planes,
        pixel_size=sizes.pixel_size,
        notes=(*sizes.notes, *kept.notes),
        losses=losses,
        is_closed_up=kept.is_closed_up,
        told=f"1 file, {path.name}, as {len(kept.numbers)} frames",
    )


def _account(
    path: Path, announced: int | None, lost: npt.NDArray[np.bool_], rest: int, described_by: str
) -> Account | None:
    """Compare the number of frames in the description with that in the file, and check for leftover bytes."""
    num_frames = len(lost)
    problems = []
    if announced is not None and announced != num_frames:
        problems.append(f"{described_by} states {announced} frames, {path.name} holds {num_frames}")
    if rest:
        problems.append(f"it ends with {rest} bytes that are not a complete frame")
    if lost.any():
        problems.append(f"zeros fill the end of the file where {int(lost.sum())} of its frames should be")
    if not problems:
        return None
    missing = sorted({*np.flatnonzero(lost).tolist(), *range(num_frames, announced or 0)})
    return Account(path, announced, num_frames - int(lost.sum()), ", ".join(problems), tuple(missing))
