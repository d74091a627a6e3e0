"""Detection of what the rows of a file are: localizations or molecules."""

from typing import Final, Literal

import numpy as np

from lls_decode.errors import TableError
from lls_decode.export.foreign.meaning import Meaning

Kind = Literal["localizations", "molecules"]
UNUSED: Final[dict[Kind, tuple[str, ...]]] = {
    "localizations": ("num_frames", "last_frame", "span_frames", "num_planes", "num_volumes", "prob_any"),
    "molecules": ("volume", "plane"),
}
"""Columns of ours that only rows of the other kind have."""
_COUNTS: Final = ("num_frames", "span_frames")
_MOST_NUMBERS: Final = 200_000
"""Number of molecules that are checked for repeated numbers."""


def find_kind(meaning: Meaning, rows_at_once: int, *, given: str | None, source: object) -> Kind:
    """Decide what the rows of a file are, from the numbers of detections that it states.

    Rows are molecules if at least one row counts several detections, unless two such rows have the same molecule
    number: SMAP writes the size of the molecule beside each localization.

    Raises
    ------
    TableError
        Molecules are requested, but no column states their numbers of detections.
    """
    counts = next((name for name in _COUNTS if name in meaning.theirs), None)
    if given == "molecules" and counts is None:
        raise TableError(
            f"{source} has no column with the number of detections of a molecule; name it: --columns num_frames=THEIRS."
        )
    if given is not None:
        return "molecules" if given == "molecules" else "localizations"
    if counts is None:
        return "localizations"
    seen: set[float] = set()
    any_several = False
    for piece in meaning.pieces(rows_at_once, only=(counts, "group")):
        several = np.asarray(piece[counts]) > 1
        any_several |= bool(several.any())
        if "group" not in piece:
            if any_several:
                return "molecules"
            continue
        numbers = np.asarray(piece["group"], dtype=np.float64)[several]
        numbers = numbers[np.isfinite(numbers) & (numbers >= 0)]
        unique, times = np.unique(numbers, return_counts=True)
        if np.any(times > 1) or not seen.isdisjoint(unique.tolist()):
            return "localizations"
        seen.update(unique.tolist())
        if len(seen) > _MOST_NUMBERS:
            break
    return "molecules" if any_several else "localizations"
