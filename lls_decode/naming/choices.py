"""Selection among several values, such as channels or positions; ambiguities are errors that list the values."""

import re
from collections import Counter
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
    """Return the index of the wanted value.

    The first of these that exists is taken: a name, the end of one name, the number in one name (``561`` for ``561 nm``
    or ``CY3 561nm``), and the index. A number that is in one name but is also the index of another value is taken as
    that in the name if all names are alike but for their numbers (``Pos1, Pos2``), and is refused otherwise.

    Raises
    ------
    InputError
        Nothing was chosen although there are several values, or the wanted value does not exist or is ambiguous.
    """
    names = _distinct(values)
    listed = name_some(names)
    if wanted is None:
        if len(names) == 1:
            return 0
        raise InputError(f"{where} has {len(names)} {what}s: {listed}; choose one with --{what}.")
    found = _find([name.lower() for name in names], wanted.strip().lower())
    same = [i for i, value in enumerate(values) if value.lower() == wanted.strip().lower()]
    if len(same) > 1 and len(found) != 1:
        told = " or ".join(_handle(names, i) for i in same[:MAX_NAMED])
        raise InputError(f"{where} has {len(same)} {what}s named {wanted!r}; choose one of them with --{what} {told}.")
    if len(found) > 1:
        told = name_some([names[i] for i in found])
        raise InputError(f"{where} has several {what}s that may be {wanted!r}: {told}; choose one with --{what}.")
    if not found:
        raise InputError(f"{where} has no {what} {wanted!r}; it has {listed}: choose one with --{what}.")
    return found[0]


def _distinct(values: Sequence[str]) -> list[str]:
    """Return the names, with the index appended to those that occur more than once."""
    names, count = list(values), Counter(value.lower() for value in values)
    while max(count.values(), default=0) > 1:
        names = [f"{name}-{i}" if count[name.lower()] > 1 else name for i, name in enumerate(names)]
        count = Counter(name.lower() for name in names)
    return names


def _handle(names: Sequence[str], index: int) -> str:
    """Return the index as text if it chooses the value, otherwise the name."""
    return str(index) if _find([name.lower() for name in names], str(index)) == [index] else names[index]


def _find(names: Sequence[str], wanted: str) -> list[int]:
    """Return the indices of the values that may be meant, by the rules of `pick`."""
    if wanted in names:
        return [names.index(wanted)]
    ending = [i for i, name in enumerate(names) if re.search(rf"(?<![a-z0-9]){re.escape(wanted)}$", name)]
    number = re.fullmatch(r"(\d+)( ?nm)?", wanted)
    if number is None:
        return ending  # for example Pos1 for cell_MMStack_Pos1
    value = int(number[1])
    last = [re.fullmatch(r"(?:.*[^a-z])?[a-z]{1,9}[-_ ]?0*(\d+)(?: \(.*\))?", name) for name in names]
    counted = [int(found[1]) if found else None for found in last]
    inside = [i for i, name in enumerate(names) if re.search(rf"(?<!\d)(?<!\d[.,])0*{value}(?![.,]?\d)", name)]
    at_end = [i for i, n in enumerate(counted) if n == value]
    named = next((found for found in (ending, at_end) if len(found) == 1), inside)
    is_index = number[2] is None and value < len(names)
    if not named:
        is_numbered = None not in counted and any(n is not None and n < len(names) for n in counted)
        return [value] if is_index and not is_numbered else []  # 0 of Pos1, Pos2 may mean either
    is_series = len({re.sub(r"\d+", "#", name) for name in names}) == 1
    return sorted({*named, value}) if is_index and not is_series else named


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
