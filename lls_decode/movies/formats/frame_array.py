"""Frames of one source along named axes, and the movie that they make: what all formats with plain axes share.

A format says what the axes are called, how frames are read by their number, and which are lost; the choice of a
channel or position, the order of time and plane, and the account of what is missing are settled here.
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
    """Frames along named axes, in the order in which they are counted."""

    path: Path
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    """Names of the axes in front of rows and columns: t, z, c, p; empty where the file does not say."""
    height: int
    width: int
    dtype: np.dtype[Any]
    read: Callable[[Ints], Frames]
    """Frames ``(n, Y, X)`` by their places in the flattened shape; threads may call it at the same time."""
    files: tuple[Path, ...] = ()
    """Where the frames lie; empty: in ``path``."""
    lost: npt.NDArray[np.bool_] | None = None
    """Which frames are not whole, flattened."""
    accounts: tuple[Account, ...] = ()
    is_encoded: bool = False
    """Whether frames are compressed, so that one may be unreadable although its bytes are there."""
    channels: tuple[str, ...] = ()
    """Names of the channels."""
    pixel_size: PixelSize | None = None
    z_step_nm: float | None = None
    notes: tuple[str, ...] = ()
    inside: str = ""
    """Which of several arrays of ``path`` this is."""


def as_movie(frames: FrameArray, choices: Choices) -> Movie:
    """Choose one channel and position, put frames in the order of time and plane, and settle what is missing.

    Raises
    ------
    InputError
        A choice that is left open or made in vain; frames that are missing and not excused.
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
    """Try all frames that are wanted, and add those that cannot be decoded to the lost ones."""
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
    """Say which files hold how many frames."""
    names = files[0].name if len(files) == 1 else f"{files[0].name} to {files[-1].name}"
    what = f"{num_frames // planes} volumes of {planes} planes" if planes > 1 else f"{num_frames} frames"
    return f"{len(files)} file{'s' if len(files) > 1 else ''}, {names}, as {what}"


def missing_frames(path: Path, announced: int, lost: npt.NDArray[np.bool_], problem: str) -> tuple[Account, ...]:
    """Account for lost frames of a source; empty when all are whole."""
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
