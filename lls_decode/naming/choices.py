"""Selection among several values, such as channels or positions; ambiguities are errors that list the values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lls_decode.errors import InputError

MAX_NAMED = 6
"""Largest number of names listed in a message."""


@dataclass(frozen=True)
class NameChoices:
    """Options that resolve ambiguities of names; with the defaults, an ambiguity is an error."""

    channel: str | None = None
    """Number or name of the channel, where there are several."""
    position: str | None = None
    """Number or name of the position, where there are several."""
    pattern: str | None = None
    """Pattern of the files in a folder that belong to the movie, see `lls_decode.naming.names.read_pattern`."""
    allow_gaps: bool = False
    """Whether to accept missing or short files; the loss is recorded."""


def pick(values: Sequence[str], wanted: str | None, what: str, where: object) -> int:
    """Return the index of the wanted value, given by its name, the number in its name, or its index.

    Raises
    ------
    InputError
        Nothing was chosen although there are several values, or the wanted value does not exist.
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
        return ending[0]  # for example Pos1 for cell_MMStack_Pos1
    if wanted.isdigit():
        numbers = [re.fullmatch(r"(?:.*[^a-z])?[a-z]{1,9}[-_ ]?0*(\d+)(?: \(.*\))?", value) for value in lowered]
        counted = [int(found[1]) if found else None for found in numbers]
        if counted.count(int(wanted)) == 1:
            return counted.index(int(wanted))
        if int(wanted) < len(values) and not any(n is not None and n < len(values) for n in counted):
            return int(wanted)  # an index, because no name has such a number
    raise InputError(f"{where} has no {what} {wanted!r}; it has {listed}: choose one with --{what}.")


def refuse_unused(where: object, **wanted: str | None) -> None:
    """Raise an error if a channel or position was chosen although the movie has no channels or positions."""
    for what, value in wanted.items():
        if value is not None:
            raise InputError(f"{where} has no {what}s to choose from; omit --{what}.")


def name_some(values: Sequence[object]) -> str:
    """Write a list as text, with its middle omitted if it is long."""
    if len(values) <= MAX_NAMED:
        return ", ".join(map(str, values))
    return f"{', '.join(map(str, values[: MAX_NAMED - 1]))}, ... {values[-1]} ({len(values)} in total)"
