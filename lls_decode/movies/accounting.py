"""Every frame and every byte accounted for: what files announce, what is found, and what their bytes can hold.

A format states an `Account` for each file that does not agree with itself; `settle` decides, for all formats, whether
the movie is refused or what of it is salvaged. Nothing else in `lls_decode.movies` drops a frame.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lls_decode.errors import InputError
from lls_decode.movies.choices import Choices

Ints = npt.NDArray[np.int64]

_FIRST_BYTES, _SCAN_BYTES = 512, 1 << 20
"""Read at a time from the end of a file: seldom is more than the first piece zero."""
_MAX_TOLD = 4


@dataclass(frozen=True)
class Loss:
    """Something that was announced and is not in the store."""

    file: str
    what: str
    """Frames by their number in the file (``frames 23-39``), or the file itself."""
    why: str


@dataclass(frozen=True)
class Account:
    """A file whose frames are not what it announces."""

    path: Path
    announced: int | None
    """Frames that its description, or its index, promises; None where it does not say."""
    whole: int
    """Frames whose bytes are all there."""
    problem: str
    """What does not agree, as the end of a sentence."""
    missing: tuple[int, ...] = ()
    """Numbers of the frames of the file that are announced and not whole."""
    is_gap: bool = False
    """Whether a whole file, or the end of one, is not there, which ``--allow-gaps`` excuses too."""

    def describe(self) -> str:
        """Say the numbers in one clause."""
        announced = "" if self.announced is None else f"announced {self.announced} frames, "
        size = f", {self.path.stat().st_size} bytes" if self.path.is_file() else ""
        return f"{self.path}: {announced}whole {self.whole}{size}: {self.problem}"

    def losses(self) -> list[Loss]:
        """List what is missing, for the record."""
        frames = f"frames {ranges(self.missing)}" if self.missing else "unclaimed bytes"
        return [Loss(self.path.name, frames, self.problem)]


def settle(accounts: Sequence[Account], choices: Choices) -> tuple[Loss, ...]:
    """Refuse files that do not agree with themselves, or list what is missing of them when that was allowed.

    Raises
    ------
    InputError
        There is a disagreement that neither ``--salvage`` nor, for gaps, ``--allow-gaps`` excuses.
    """
    excused = [item for item in accounts if choices.salvage or (item.is_gap and choices.allow_gaps)]
    refused = [item for item in accounts if item not in excused]
    if refused:
        told = "; ".join(account.describe() for account in refused[:_MAX_TOLD])
        more = f"; and {len(refused) - _MAX_TOLD} files more" if len(refused) > _MAX_TOLD else ""
        options = "--allow-gaps" if all(item.is_gap for item in refused) else "--salvage"
        files = "files" if len(refused) > 1 else "file"
        raise InputError(f"{told}{more}; restore the {files}, or take the whole frames with {options}.")
    return tuple(loss for account in excused for loss in account.losses())


@dataclass(frozen=True)
class Kept:
    """What of a sequence of frames goes into the store when some are lost."""

    numbers: Ints
    """Frames that are kept, by their place in the sequence."""
    planes: int
    """Planes of a volume; 1 where the frames that are left make no volumes."""
    is_closed_up: bool
    """Whether frames from before and after a gap have become neighbours."""
    notes: tuple[str, ...] = ()


def keep(lost: npt.NDArray[np.bool_], planes: int, choices: Choices) -> Kept:
    """Choose what is kept of volumes with lost frames: whole frames, or with ``--allow-gaps`` whole volumes.

    Raises
    ------
    InputError
        Nothing is left.
    """
    whole = np.flatnonzero(~lost)
    if len(whole) == 0:
        raise InputError("there is not one whole frame; restore the files.")
    at_the_end = bool((whole == np.arange(len(whole))).all())
    if at_the_end or not lost.any():
        return Kept(whole, planes, is_closed_up=False)
    if planes == 1:
        return Kept(whole, 1, is_closed_up=True)
    volumes = np.arange(len(lost)) // planes
    broken = np.unique(volumes[lost])
    if choices.allow_gaps:
        numbers = np.flatnonzero(~np.isin(volumes, broken))
        if len(numbers) == 0:
            raise InputError("there is not one whole volume; take the whole frames with --salvage alone.")
        note = f"volumes {ranges(broken.tolist())} of {planes} planes are not whole and were left out"
        return Kept(numbers, planes, is_closed_up=True, notes=(note,))
    if (np.bincount(volumes[lost])[broken] == planes).all():
        return Kept(whole, planes, is_closed_up=True)
    note = (
        f"volumes {ranges(broken.tolist())} of {planes} planes are not whole: all whole frames are kept, as single "
        "frames; add --allow-gaps to keep the whole volumes"
    )
    return Kept(whole, 1, is_closed_up=True, notes=(note,))


def as_record(taken: int, losses: Iterable[Loss]) -> dict[str, Any]:
    """Return what the attributes of a store say of frames that are not in it."""
    missing = [{"file": loss.file, "what": loss.what, "why": loss.why} for loss in losses]
    return {"frames_taken": taken, "missing": missing}


def ranges(numbers: Iterable[int]) -> str:
    """Return ``0-3, 7`` for 0, 1, 2, 3, 7."""
    ordered = sorted(set(numbers))
    if not ordered:
        return "none"
    cuts = [i for i, (a, b) in enumerate(pairwise(ordered), start=1) if b != a + 1]
    runs = [ordered[a:b] for a, b in pairwise([0, *cuts, len(ordered)])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def end_of_data(path: Path) -> int:
    """Return the size of a file without the zero bytes at its end."""
    size, step = os.path.getsize(path), _FIRST_BYTES
    with open(path, "rb") as file:
        while size > 0:
            start, step = max(0, size - step), _SCAN_BYTES
            file.seek(start)
            data = file.read(size - start).rstrip(b"\0")
            if data:
                return start + len(data)
            size = start
    return 0


def in_zero_tail(path: Path, starts: npt.NDArray[np.int64], frame_bytes: int, dtype: np.dtype[Any]) -> list[int]:
    """Return which of the frames at ``starts`` lie in the zeros that a writer reserved and never filled.

    Frames may end in zeros of their own. They count as lost when pixels are zero from some place to the end of the
    file and none is before it, in this frame or, where nothing of it is left, in the last one before: a camera
    has an offset. The high bytes of the last pixel are often zero by right; it is lost when it is below all others.
    """
    end, size = end_of_data(path), os.path.getsize(path)
    touched = np.flatnonzero((starts + frame_bytes > end) & (starts + frame_bytes <= size))
    if len(touched) == 0 or size - end < dtype.itemsize:
        return []
    before = np.flatnonzero(starts + frame_bytes <= end)
    found = []
    for number in touched:
        filled = max(0, end - int(starts[number])) // dtype.itemsize
        frame = _pixels(path, int(starts[number]), frame_bytes, dtype)
        sound = frame[:filled]
        if filled == 0 and len(before):
            sound = _pixels(path, int(starts[before[-1]]), frame_bytes, dtype)
        if len(sound) == 0 or (sound.min() > 0 and (frame[filled:] < sound.min()).any()):
            found.append(int(number))
    return found


def _pixels(path: Path, start: int, count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    with open(path, "rb") as file:
        file.seek(start)
        return np.frombuffer(file.read(count), dtype)
