"""Accounting of all frames and bytes: frames announced by a file, frames found, and frames that its bytes can hold.

A format module creates an `Account` for each inconsistent file. `settle` then decides, for all formats, whether to
raise an error or to salvage the complete frames. No other code in `lls_decode.movies` drops frames.
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
"""Bytes read from the end of a file, in the first and in further steps; few files end with more than 512 zeros."""
_MAX_TOLD = 4


@dataclass(frozen=True)
class Loss:
    """Frames or files that were announced but are not in the store."""

    file: str
    what: str
    """Lost frames by their number in the file (``frames 23-39``), or the lost file itself."""
    why: str


@dataclass(frozen=True)
class Account:
    """Frame count of a file that is inconsistent with its description."""

    path: Path
    announced: int | None
    """Number of frames according to the file's description or index; None where neither states a number."""
    whole: int
    """Number of complete frames, whose bytes are all present."""
    problem: str
    """Description of the inconsistency, as the end of a sentence."""
    missing: tuple[int, ...] = ()
    """Numbers of the frames of the file that are announced but not complete."""
    is_gap: bool = False
    """Whether a file, or the end of a file, is missing; ``--allow-gaps`` accepts this, too."""

    def describe(self) -> str:
        """Return the numbers and the problem in one clause."""
        announced = "" if self.announced is None else f"announced {self.announced} frames, "
        size = f", {self.path.stat().st_size} bytes" if self.path.is_file() else ""
        return f"{self.path}: {announced}{self.whole} complete{size}: {self.problem}"

    def losses(self) -> list[Loss]:
        """List the missing frames for the record."""
        frames = f"frames {ranges(self.missing)}" if self.missing else "unclaimed bytes"
        return [Loss(self.path.name, frames, self.problem)]


def settle(accounts: Sequence[Account], choices: Choices) -> tuple[Loss, ...]:
    """Return the losses from inconsistent files that the user accepted; raise an error for other inconsistent files.

    Raises
    ------
    InputError
        A file is inconsistent, and neither ``--salvage`` nor, for gaps, ``--allow-gaps`` was given.
    """
    excused = [item for item in accounts if choices.salvage or (item.is_gap and choices.allow_gaps)]
    refused = [item for item in accounts if item not in excused]
    if refused:
        told = "; ".join(account.describe() for account in refused[:_MAX_TOLD])
        more = f"; and {len(refused) - _MAX_TOLD} more files" if len(refused) > _MAX_TOLD else ""
        options = "--allow-gaps" if all(item.is_gap for item in refused) else "--salvage"
        files = "files" if len(refused) > 1 else "file"
        raise InputError(f"{told}{more}; restore the {files}, or keep only the complete frames with {options}.")
    return tuple(loss for account in excused for loss in account.losses())


@dataclass(frozen=True)
class Kept:
    """Frames of a sequence with lost frames that go into the store."""

    numbers: Ints
    """Kept frames, by their index in the sequence."""
    planes: int
    """Planes per volume; 1 where the remaining frames do not form volumes."""
    is_closed_up: bool
    """Whether frames before and after a gap have become neighbours."""
    notes: tuple[str, ...] = ()


def keep(lost: npt.NDArray[np.bool_], planes: int, choices: Choices) -> Kept:
    """Choose the frames to keep when some are lost: all complete frames, or complete volumes with ``--allow-gaps``.

    Raises
    ------
    InputError
        No frame or volume is complete.
    """
    whole = np.flatnonzero(~lost)
    if len(whole) == 0:
        raise InputError("not a single frame is complete; restore the files.")
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
            raise InputError("not a single volume is complete; keep the complete frames with --salvage alone.")
        note = f"volumes {ranges(broken.tolist())} of {planes} planes are incomplete and were left out"
        return Kept(numbers, planes, is_closed_up=True, notes=(note,))
    if (np.bincount(volumes[lost])[broken] == planes).all():
        return Kept(whole, planes, is_closed_up=True)
    note = (
        f"volumes {ranges(broken.tolist())} of {planes} planes are incomplete: all complete frames are kept, as single "
        "frames; add --allow-gaps to keep only the complete volumes"
    )
    return Kept(whole, 1, is_closed_up=True, notes=(note,))


def as_record(taken: int, losses: Iterable[Loss]) -> dict[str, Any]:
    """Return the record of missing frames for the attributes of a store."""
    missing = [{"file": loss.file, "what": loss.what, "why": loss.why} for loss in losses]
    return {"frames_taken": taken, "missing": missing}


def ranges(numbers: Iterable[int]) -> str:
    """Write numbers as ranges, for example ``0-3, 7`` for 0, 1, 2, 3, 7."""
    ordered = sorted(set(numbers))
    if not ordered:
        return "none"
    cuts = [i for i, (a, b) in enumerate(pairwise(ordered), start=1) if b != a + 1]
    runs = [ordered[a:b] for a, b in pairwise([0, *cuts, len(ordered)])]
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def end_of_data(path: Path) -> int:
    """Return the size of a file without trailing zero bytes."""
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
    """Return which of the frames at ``starts`` lie in trailing zeros that a writer reserved but never filled.

    Since frames may legitimately end in zeros, the pixels before the zeros decide. A frame counts as lost if it is zero
    from some pixel to the end of the file, and no earlier pixel is zero, as with a camera that has an offset. The
    earlier pixels are those of the same frame or, if that is entirely zero, those of the previous complete frame. The
    high bytes of the last non-zero pixel are often zero for good reason; it is lost only if it is below all earlier
    pixels.
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
