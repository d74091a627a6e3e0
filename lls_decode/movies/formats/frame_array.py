"""Conversion of frames along named axes to a movie, shared by all formats with named axes.

A format module supplies the names of the axes, a function that reads frames by their number, and the lost frames. This
module handles the choice of a channel or position, the order of time and plane, and the accounting of missing frames.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.config import PixelSize
from lls_decode.errors import InputError
from lls_decode.frames.reading.stack import Frames
from lls_decode.movies.accounting import Account, Ints, Loss, keep, ranges, settle
from lls_decode.movies.axes import in_order
from lls_decode.movies.choices import Choices
from lls_decode.movies.movie import Movie, digest_places

_TRIED_TOGETHER = 64


@dataclass(frozen=True)
class FrameArray:
    """Frames along named axes, in the order of their numbers in the file."""

    path: Path
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    """Names of the axes in front of rows and columns: t, z, c, p; empty if the file does not name them."""
    height: int
    width: int
    dtype: np.dtype[Any]
    read: Callable[[Ints], Frames]
    """Thread-safe function that returns frames ``(n, Y, X)`` by their indices in the flattened shape."""
    files: tuple[Path, ...] = ()
    """Files that hold the frames; empty: only ``path``."""
    lost: npt.NDArray[np.bool_] | None = None
    """Which frames are incomplete, flattened; None: no frame."""
    accounts: tuple[Account, ...] = ()
    is_encoded: bool = False
    """Whether frames are compressed, so that a frame may be unreadable although all its bytes are present."""
    channels: tuple[str, ...] = ()
    """Names of the channels."""
    pixel_size: PixelSize | None = None
    z_step_nm: float | None = None
    notes: tuple[str, ...] = ()
    inside: str = ""
    """Name of the array within ``path``, if there are several."""


def as_movie(frames: FrameArray, choices: Choices) -> Movie:
    """Select one channel and position, order the frames by time and plane, and handle missing frames.

    Raises
    ------
    InputError
        A choice is missing or does not match, or frames are missing and the user did not accept this.
    """
    losses = settle(frames.accounts, choices)
    order = in_order(frames.shape, frames.axes, choices, frames.path, frames.channels)
    index = order.index.ravel()
    lost = np.zeros(math.prod(frames.shape), bool) if frames.lost is None else frames.lost
    if choices.salvage and frames.is_encoded:
        lost, more = _with_undecodable(frames, lost, index)
        losses += more
    kept = keep(lost[index], order.index.shape[1], choices)
    numbers = index[kept.numbers]
    files = frames.files or (frames.path,)
    return Movie(
        len(numbers),
        frames.height,
        frames.width,
        frames.dtype.newbyteorder("="),
        lambda start, stop: frames.read(numbers[start:stop]),
        files,
        kept.planes,
        frames.pixel_size,
        frames.z_step_nm if order.is_volume else None,
        notes=(*frames.notes, *kept.notes),
        losses=losses,
        is_closed_up=kept.is_closed_up,
        told=tell(files, len(numbers), kept.planes),
        content=digest_places(numbers, inside=frames.inside),
    )


def _with_undecodable(
    frames: FrameArray, lost: npt.NDArray[np.bool_], index: Ints
) -> tuple[npt.NDArray[np.bool_], tuple[Loss, ...]]:
    """Try to decode all selected frames, and mark those that cannot be decoded as lost."""
    found, why = [], ""
    wanted = index[~lost[index]]
    pieces = [wanted[i : i + _TRIED_TOGETHER] for i in range(0, len(wanted), _TRIED_TOGETHER)][::-1]
    while pieces:
        piece = pieces.pop()
        try:
            frames.read(piece)
        except InputError as error:
            half = len(piece) // 2
            if half:
                pieces += [piece[half:], piece[:half]]
            else:
                found.append(int(piece[0]))
                why = why or str(error)
    if not found:
        return lost, ()
    lost = lost.copy()
    lost[found] = True
    return lost, (Loss(frames.path.name, f"frames {ranges(found)}", why),)


def tell(files: tuple[Path, ...], num_frames: int, planes: int) -> str:
    """Summarise the files and the number of frames."""
    names = files[0].name if len(files) == 1 else f"{files[0].name} to {files[-1].name}"
    what = f"{num_frames // planes} volumes of {planes} planes" if planes > 1 else f"{num_frames} frames"
    return f"{len(files)} file{'s' if len(files) > 1 else ''}, {names}, as {what}"


def missing_frames(path: Path, announced: int, lost: npt.NDArray[np.bool_], problem: str) -> tuple[Account, ...]:
    """Account for the lost frames of a source; return nothing if all frames are complete."""
    if not lost.any():
        return ()
    missing = tuple(np.flatnonzero(lost).tolist())
    return (Account(path, announced, len(lost) - len(missing), problem, missing),)


def library(module: str, extra: str, what: str) -> Any:
    """Import an optional library.

    Raises
    ------
    InputError
        The library is not installed; the message names the extra that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{what} need {module.split('.')[0]}, which is not installed; run: pip install 'lls-decode[{extra}]'."
        ) from error
