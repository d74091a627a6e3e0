"""What a user chooses where a movie holds more than one answer: the options of ``convert``, in one value."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lls_decode.errors import InputError

MAX_NAMED = 6
"""Names in a message; more are counted."""


@dataclass(frozen=True)
class Choices:
    """Options that settle what the files leave open; every default means: refuse rather than guess."""

    axes: str | None = None
    """Axes of each file where its metadata are wrong, e.g. ``zyx``."""
    channel: str | None = None
    position: str | None = None
    """Number or name of one of several."""
    pattern: str | None = None
    """Which files of a folder belong to the movie, see `lls_decode.movies.series.read_pattern`."""
    allow_gaps: bool = False
    """Accept files that are absent or short; what is left out is recorded."""
    salvage: bool = False
    """Take the whole frames of damaged files; what is missing is recorded."""


def pick(values: Sequence[str], wanted: str | None, what: str, where: object) -> int:
    """Return the index of the one value that is wanted: by its name, the number in its name, or its place.

    Raises
    ------
    InputError
        Nothing is chosen of several, or something that is not there.
    """
    listed = name_some(values)
    if wanted is None:
        if len(values) == 1:
            return 0
        raise InputError(f"{where} has {len(values)} {what}s: {listed}; choose one with --{what}.")
    lowered = [value.lower() for value in values]
    if wanted.lower() in lowered:
        return lowered.index(wanted.lower())
    ending = [i for i, value in enumerate(lowered) if re.search(rf"(?<![a-z0-9]){re.escape(wanted.lower())}$", value)]
    if len(ending) == 1:
        return ending[0]  # Pos1 of cell_MMStack_Pos1
    if wanted.isdigit():
        numbers = [re.fullmatch(r"(?:.*[^a-z])?[a-z]{1,9}[-_ ]?0*(\d+)(?: \(.*\))?", value) for value in lowered]
        counted = [int(found[1]) if found else None for found in numbers]
        if counted.count(int(wanted)) == 1:
            return counted.index(int(wanted))
        if int(wanted) < len(values) and not any(n is not None and n < len(values) for n in counted):
            return int(wanted)  # a place in the list, where no name could be meant
    raise InputError(f"{where} has no {what} {wanted!r}; it has {listed}: choose one with --{what}.")


def refuse_unused(where: object, **wanted: str | None) -> None:
    """Refuse a channel or a position that was chosen where there is one only, without a name."""
    for what, value in wanted.items():
        if value is not None:
            raise InputError(f"{where} has no {what}s by name or number; leave --{what} out.")


def name_some(values: Sequence[object]) -> str:
    """Return a list in words, its middle left out when it is long."""
    if len(values) <= MAX_NAMED:
        return ", ".join(map(str, values))
    return f"{', '.join(map(str, values[: MAX_NAMED - 1]))}, ... {values[-1]} ({len(values)} in all)"
