"""Movies of bare frames with a description beside them: ``.dax`` with ``.inf``, Picasso ``.raw`` with ``.yaml``."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lls_decode.config import PixelSize
from lls_decode.errors import InputError
from lls_decode.movies.movie import Frames, Movie, check_type, read_bytes


def open_dax(path: Path) -> Movie:
    """Frames of 16-bit integers; the ``.inf`` beside it has their size and byte order."""
    inf = path.with_suffix(".inf")
    try:
        text = inf.read_text(errors="replace")
    except OSError as error:
        raise InputError(f"{inf} cannot be read ({error.strerror}); it has the frame size of {path.name}.") from error
    size = re.search(r"frame dimensions\s*=\s*(\d+)\s*x\s*(\d+)", text)
    order = re.search(r"(big|little) endian", text)
    if size is None or order is None:
        missing = "frame dimensions" if size is None else "byte order (big or little endian)"
        raise InputError(f"{inf} does not say the {missing} of {path.name}; add it.")
    width, height = int(size[1]), int(size[2])
    dtype = np.dtype(">u2" if order[1] == "big" else "<u2")
    announced = re.search(r"number of frames\s*=\s*(\d+)", text)
    return _flat_file(path, height, width, dtype, int(announced[1]) if announced else None, inf)


def open_picasso_raw(path: Path) -> Movie:
    """Picasso: bare frames, described by a ``.yaml`` beside it."""
    description = path.with_suffix(".yaml")
    try:
        info = next(iter(yaml.safe_load_all(description.read_text())))
        height, width = int(info["Height"]), int(info["Width"])
        dtype = np.dtype(f"{info['Byte Order']}{np.dtype(info['Data Type']).str[1:]}")
        frames = int(info["Frames"])
        pixel_nm = info.get("Pixelsize") or info.get("Camera.Pixelsize")
    except OSError as error:
        raise InputError(
            f"{description} cannot be read ({error.strerror}); it has the frame size of {path.name}."
        ) from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, StopIteration) as error:
        raise InputError(
            f"{description} does not describe {path.name} ({error}); expected Frames, Height, Width, Data Type and "
            "Byte Order."
        ) from error
    check_type(path, dtype)
    pixel_size = PixelSize(x_nm=float(pixel_nm), y_nm=float(pixel_nm)) if pixel_nm else None
    return _flat_file(path, height, width, dtype, frames, description, pixel_size)


def _flat_file(
    path: Path,
    height: int,
    width: int,
    dtype: np.dtype[Any],
    announced: int | None,
    described_by: Path,
    pixel_size: PixelSize | None = None,
) -> Movie:
    """Bare frames one after the other; the size of the file says how many."""
    frame_bytes = height * width * dtype.itemsize
    num_frames, rest = divmod(path.stat().st_size, frame_bytes)
    if num_frames == 0:
        raise InputError(f"{path} has {rest} bytes, fewer than one frame of {height} x {width} {dtype}.")
    notes = []
    if announced is not None and announced != num_frames:
        notes.append(
            f"{described_by.name} says {announced} frames, {path.name} holds {num_frames}; all of them are kept"
        )
    if rest:
        notes.append(f"{path.name} ends with {rest} bytes that are no whole frame (of {frame_bytes} bytes)")

    def read(start: int, stop: int) -> Frames:
        data = read_bytes(path, start * frame_bytes, (stop - start) * frame_bytes)
        return np.frombuffer(data, dtype).reshape(-1, height, width)

    return Movie(
        num_frames,
        height,
        width,
        dtype.newbyteorder("="),
        read,
        (path, described_by),
        pixel_size=pixel_size,
        notes=tuple(notes),
    )
