"""Selection and order of the files or stores of one movie, by their names alone.

`names` interprets the names. Anything ambiguous (a second position, two numbers that vary, a gap, a file with another
form of name) is an error that names the files and what resolves it. Nothing is guessed.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

from lls_decode.errors import InputError
from lls_decode.naming.choices import NameChoices, name_some, pick
from lls_decode.naming.names import (
    STAMP,
    Name,
    is_length_unit,
    is_time_unit,
    natural_key,
    read_name,
    read_pattern,
    split_suffix,
)

_LEAST_STAMP = 10_000
"""Value that the last of a series of time stamps exceeds; smaller numbers may be settings or repetitions."""
_REST_OF_A_SERIES = re.compile(r"[ _\-.]?(?:file|part|x)?[ _\-.]?\(?(?:\{bare\}|\{time\})\)?", re.IGNORECASE)


class Ways(Protocol):
    """What a user can do about an ambiguity, in the words of the command that reads the files."""

    @property
    def noun(self) -> str:
        """Word for what the names name: files or stores."""

    def choose(self, wanted: Sequence[str], names: Sequence[str]) -> str:
        """Say how to read only the wanted ones of all names, as the end of a sentence."""

    def choose_value(self, what: str, wanted: Sequence[str], names: Sequence[str]) -> str:
        """Say how to choose a channel or position; ``wanted`` are the names of the first one."""

    def leave_out(self, name: str, names: Sequence[str]) -> str:
        """Say how to read all names but one."""

    def count_by(self, pattern: str) -> str:
        """Say how to state which number counts time, by a ``--pattern``."""

    def accept_gaps(self) -> str:
        """Say how to read the files in spite of gaps."""


@dataclass(frozen=True)
class OptionWays:
    """The options of ``lls-decode convert``."""

    noun: str = "files"

    def choose(self, wanted: Sequence[str], names: Sequence[str]) -> str:
        """Advise a ``--pattern``."""
        return f"with --pattern '{suggest(wanted, names)}'"

    def choose_value(self, what: str, wanted: Sequence[str], names: Sequence[str]) -> str:
        """Advise ``--channel`` or ``--position``."""
        return f"choose one with --{what}"

    def leave_out(self, name: str, names: Sequence[str]) -> str:
        """Advise a ``--pattern`` that excludes the name by one character; if there is none, to move the file."""
        others = [other for other in names if other != name]
        for i, character in enumerate(name):
            pattern = f"{name[:i]}[!{character}]*"
            reader = read_pattern(pattern)
            if character.isalnum() and all(reader(other) is not None for other in others):
                return f"with --pattern '{pattern}'"
        return f"by moving {name} to another folder"

    def count_by(self, pattern: str) -> str:
        """Advise a ``--pattern``."""
        return (
            "mark the number that counts time by {t}, and give the others or replace them by *, e.g. --pattern "
            f"'{pattern}'"
        )

    def accept_gaps(self) -> str:
        """Advise ``--allow-gaps``."""
        return "convert without them and record the gaps with --allow-gaps"


@dataclass(frozen=True)
class Found:
    """Names of one movie, in order."""

    names: tuple[str, ...]
    planes: int
    """Number of names per volume; 1 if each is a volume or there are no volumes."""
    missing: tuple[str, ...]
    """Descriptions of the gaps, which the user accepted."""
    notes: tuple[str, ...]
    takes_channel: bool
    """Whether the names select the channel."""
    takes_position: bool
    """Whether the names select the position."""
    channel: str


def find_names(
    where: str, names: Sequence[str], choices: NameChoices, *, ways: Ways | None = None, told: str = ""
) -> Found:
    """Select and order the names of one movie.

    Parameters
    ----------
    where
        What the names come from, for messages.
    choices
        Options that resolve ambiguities.
    ways
        What messages advise; None: the options of ``lls-decode convert``.
    told
        Glob by which the user has selected the names; empty if they are all names of a folder.

    Raises
    ------
    InputError
        Names have several positions, channels or forms, or numbers that are missing, duplicate or ambiguous.
    """
    ways = ways or OptionWays()
    reader = read_pattern(choices.pattern) if choices.pattern is not None else read_name
    read = [name for text in names if (name := reader(text)) is not None]
    stacks = [name for name in read if name.is_lls and not _is_derived(name.form)]
    stacks = [] if "{" in (choices.pattern or "") else stacks
    left = [name.name for name in read if name not in stacks] if stacks else []
    if stacks:
        _check_once(where, sorted(stacks, key=lambda name: (name.channel, name.position, name.times)), ways)
    read = _one_form(where, stacks or read, ways)
    notes = [f"{len(left)} {ways.noun} are not named as stacks and were left out: {name_some(left)}"] if left else []
    read, takes_position = _choose_position(where, read, choices, ways)
    read, takes_channel = _choose_channel(where, read, choices, ways)
    read, more = _measures_as_counts(where, read, ways)
    read, planes = _grid(where, read, ways)
    missing = _gaps(where, read, planes, choices, ways, told)
    counts = Counter(name.times for name in read)
    read = [name for name in read if counts[name.times] == planes]  # leaves out incomplete volumes
    return Found(
        tuple(name.name for name in read),
        planes,
        missing,
        (*notes, *more),
        takes_channel,
        takes_position,
        read[0].channel,
    )


def in_order(names: Sequence[str]) -> list[str]:
    """Return names in the order in which `find_names` puts them, without any check."""
    if len({re.sub(r"\d+", "0", name) for name in names}) == 1:
        first = read_name(names[0])
        if first.plane is None and not first.measures and len(first.times) < 2:
            return sorted(names, key=natural_key)  # the same order at a tenth of the time
    read = [read_name(name) for name in names]
    read = _join_bare(_by_form(read)) or read
    return [name.name for name in sorted(read, key=_order)]


def _order(name: Name) -> tuple[object, ...]:
    """Return a sort key: the order of the frames within one movie, the natural order of names otherwise."""
    amounts = tuple(amount for amount, _ in name.measures)
    plane = -1 if name.plane is None else name.plane
    places = (natural_key(name.position), natural_key(name.channel))
    return (name.form, *places, name.times, name.numbers, amounts, plane, natural_key(name.name))


def _by_form(names: Sequence[Name]) -> dict[str, list[Name]]:
    forms: dict[str, list[Name]] = defaultdict(list)
    for name in names:
        forms[name.form].append(name)
    return forms


def _one_form(where: str, names: list[Name], ways: Ways) -> list[Name]:
    """Return the names if they have one form; an unnumbered first file gets the number before the numbered ones."""
    forms = _by_form(names)
    if joined := _join_bare(forms):
        return joined
    if len(forms) > 1:
        largest = max(forms, key=lambda form: (not _is_derived(form), len(forms[form])))
        others = [name.name for name in names if name.form != largest]
        wanted = [name.name for name in forms[largest]]
        raise InputError(
            f"{where} has {len(wanted)} {ways.noun} named like {wanted[0]}, and {len(others)} {ways.noun} with "
            f"other forms of name: {name_some(others)}; choose the files of one movie, e.g. "
            f"{ways.choose(wanted, [name.name for name in names])}."
        )
    return names


def _is_derived(form: str) -> bool:
    """Return whether a name is that of a projection or a snapshot."""
    return bool(
        re.search(r"(?i)(?:^|[_\-. ])(?:max|avg|sum|std|min|med|mip|proj\w*|snap\w*|composite)(?:[_\-. ]|$)", form)
    )


def _join_bare(forms: dict[str, list[Name]]) -> list[Name]:
    """Return all names if they are a series and its unnumbered first file; else nothing."""
    if len(forms) != 2:
        return []
    one, other = forms.values()
    return _with_bare(one, other) or _with_bare(other, one)


def _with_bare(bare: list[Name], numbered: list[Name]) -> list[Name]:
    """Put ``mov.tif`` in front of ``mov-1.tif``, ``mov-2.tif``; return nothing if names do not form such a series.

    If the numbers do not continue those of the first file, it gets a number that leaves a gap.
    """
    if len(bare) != 1:
        return []
    stem, suffix = split_suffix(bare[0].form)
    other, other_suffix = split_suffix(numbered[0].form)
    if suffix != other_suffix or not other.startswith(stem) or not _REST_OF_A_SERIES.fullmatch(other[len(stem) :]):
        return []
    counts = [(*name.times, *name.numbers)[-1] for name in numbered]
    rest = other[len(stem) :].lower()
    starts_at_two = rest.startswith("{") or re.search("file|x", rest)  # Image2.tif, mov-file002.tif, mov_X2.tif
    if min(counts) == 0:
        return []
    before = 1 if min(counts) == 2 and starts_at_two else 0
    form = numbered[0].form
    if other.endswith(("{time}", "{time})")):
        first = replace(bare[0], form=form, times=(*bare[0].times, before))
    else:
        first = replace(bare[0], form=form, numbers=(*bare[0].numbers, before))
    return [first, *numbered]


def suggest(wanted: Sequence[str], names: Sequence[str]) -> str:
    """Return a ``--pattern`` that matches the wanted names, which have one form, and no others if possible."""
    for field in ("{t}", "*"):
        pattern = common_pattern(wanted, field)
        reader = read_pattern(pattern)
        if {name for name in names if reader(name) is not None} == set(wanted):
            return pattern
    return pattern


def common_pattern(wanted: Sequence[str], field: str) -> str:
    """Return a pattern with a wildcard, or ``field`` if there is only one, for each number that varies."""
    runs = [re.split(r"(\d+)", name) for name in wanted]
    if len({len(parts) for parts in runs}) > 1:
        return f"{runs[0][0]}*{split_suffix(wanted[0])[1]}"
    varies = [len(set(parts)) > 1 for parts in zip(*runs, strict=True)]
    if sum(varies) != 1 or not any(varies[1::2]):
        field = "*"
    return "".join(field if varies[i] else part for i, part in enumerate(runs[0]))


def _choose_position(where: str, names: list[Name], choices: NameChoices, ways: Ways) -> tuple[list[Name], bool]:
    values = list(dict.fromkeys(name.position for name in names))
    if values == [""]:
        return names, False
    values.sort(key=natural_key)
    _check_one(where, "position", values, choices.position, [name.position for name in names], names, ways)
    chosen = values[pick(values, choices.position, "position", where)]
    return [name for name in names if name.position == chosen], True


def _choose_channel(where: str, names: list[Name], choices: NameChoices, ways: Ways) -> tuple[list[Name], bool]:
    """Select the names of one channel, chosen by its number, name or laser."""
    lasers = {name.channel: name.laser for name in sorted(names, key=lambda name: natural_key(name.channel))}
    if list(lasers) == [""]:
        return names, False
    wanted = choices.channel
    by_laser = [channel for channel, laser in lasers.items() if wanted and wanted.removesuffix("nm") == laser]
    if wanted in lasers:
        chosen = wanted
    elif len(by_laser) == 1:
        chosen = by_laser[0]
    else:
        values = [f"{name} ({laser} nm)" if laser and laser not in name else name for name, laser in lasers.items()]
        _check_one(where, "channel", values, wanted, [name.channel for name in names], names, ways)
        chosen = list(lasers)[pick(values, wanted, "channel", where)]
    return [name for name in names if name.channel == chosen], True


def _check_one(
    where: str, what: str, values: list[str], wanted: str | None, own: list[str], names: list[Name], ways: Ways
) -> None:
    """Raise an error if there are several values and none is chosen."""
    if wanted is None and len(values) > 1:
        of_first = [name.name for name, value in zip(names, own, strict=True) if value == own[0]]
        advice = ways.choose_value(what, of_first, [name.name for name in names])
        raise InputError(f"{where} has {len(values)} {what}s: {name_some(values)}; {advice}.")


def _measures_as_counts(where: str, names: list[Name], ways: Ways) -> tuple[list[Name], list[str]]:
    """Replace measured values that order the names by their ranks, so that their steps do not count as gaps.

    Measured values beside a counter are ignored if they are times that increase with it.
    """
    notes = []
    if any(name.is_plane_measured for name in names):
        planes = _ranks([name.plane or 0 for name in names])
        names = [replace(name, plane=plane) for name, plane in zip(names, planes, strict=True)]
        notes.append("planes are ordered by their measured positions, so missing planes cannot be detected")
    columns = [column for column in zip(*(name.measures for name in names), strict=True) if len(set(column)) > 1]
    if not columns:
        return names, notes
    counters = zip(*((*name.times, *name.numbers) for name in names), strict=True)
    if any(len(set(column)) > 1 for column in counters):
        ordered = sorted(range(len(names)), key=lambda i: (names[i].times, names[i].numbers, names[i].plane or 0))
        for column in columns:
            amounts = [column[i][0] for i in ordered]
            if not is_time_unit(column[0][1]) or any(b < a for a, b in pairwise(amounts)):
                raise _several_numbers(where, names, ways)
        return names, notes
    unit = columns[0][0][1]
    if not (is_time_unit(unit) or is_length_unit(unit)):
        amounts_of = [f"{amount:g} {unit}" for amount, unit in sorted(set(columns[0]))]
        wanted = [name.name for name in names if name.measures == names[0].measures]
        raise InputError(
            f"{where} has {ways.noun} of {len(amounts_of)} settings: {name_some(amounts_of)}; choose those of one, "
            f"e.g. {ways.choose(wanted, [name.name for name in names])}."
        )
    places = [_ranks([amount for amount, _ in column]) for column in columns]
    if any(other != places[0] for other in places):
        raise _several_numbers(where, names, ways)
    what = "their time stamps" if unit == STAMP else f"the number in front of {unit!r}"
    notes.append(f"{ways.noun} are ordered by {what}, so missing {ways.noun} cannot be detected")
    return [replace(name, times=(place,)) for name, place in zip(names, places[0], strict=True)], notes


def _ranks(values: Sequence[float]) -> list[int]:
    """Return the position of each value among the sorted different values."""
    places = {value: place for place, value in enumerate(sorted(set(values)))}
    return [places[value] for value in values]


def _grid(where: str, names: list[Name], ways: Ways) -> tuple[list[Name], int]:
    """Return the names sorted by time and plane, and the number of planes."""
    names = _numbers_as_time(where, names, ways)
    planes = sorted({name.plane for name in names if name.plane is not None})
    if any(name.plane is None for name in names):
        planes = []
    names = sorted(names, key=lambda name: (name.times, name.plane or 0 if planes else 0))
    _check_once(where, names, ways)
    return names, max(1, len(planes))


def _check_once(where: str, names: Sequence[Name], ways: Ways) -> None:
    """Raise an error if two of the sorted names have the same time, plane, channel and position."""
    for before, after in pairwise(names):
        if all(getattr(before, field) == getattr(after, field) for field in ("channel", "position", "times", "plane")):
            same = "two stacks of one time" if before.is_lls else f"two {ways.noun} with one number"
            raise InputError(
                f"{where} has {same}, {before.name} and {after.name}, as after a restarted acquisition; leave out one "
                f"of the two, e.g. {ways.leave_out(after.name, [name.name for name in names])}."
            )


def _numbers_as_time(where: str, names: list[Name], ways: Ways) -> list[Name]:
    """Use the varying number of unknown meaning as time; raise an error if several numbers vary.

    Large numbers that increase with a counter may be time stamps, which are ignored.
    """
    counted = [[name.times[i] for name in names] for i in range(len(names[0].times))]
    others = [[name.numbers[i] for name in names] for i in range(len(names[0].numbers))]
    others = [values for values in others if len(set(values)) > 1]
    varying = [values for values in counted if len(set(values)) > 1]
    is_known = names[0].is_lls  # iterations and stacks both count time
    if not is_known and (counter := _counter_of([*others, *varying])) is not None:
        return [replace(name, times=(value,), numbers=()) for name, value in zip(names, counter, strict=True)]
    if len(others) + (len(varying) if not is_known else bool(varying)) > 1:
        raise _several_numbers(where, names, ways)
    if others:
        return [replace(name, times=(value,)) for name, value in zip(names, others[0], strict=True)]
    return names


def _counter_of(columns: Sequence[Sequence[int]]) -> Sequence[int] | None:
    """Return the number that increases by 1, if all other varying numbers look like time stamps; else None."""
    if len(columns) < 2:
        return None
    rows = sorted(zip(*columns, strict=True))
    steps = [[b - a for a, b in pairwise(column)] for column in zip(*rows, strict=True)]
    counters = [column for column, step in zip(columns, steps, strict=True) if set(step) == {1}]
    stamps = [column for column in columns if max(column) >= _LEAST_STAMP]
    if len(counters) != 1 or len(stamps) < len(columns) - 1 or any(min(step) <= 0 for step in steps):
        return None
    return counters[0]


def _several_numbers(where: str, names: Sequence[Name], ways: Ways) -> InputError:
    examples = name_some([name.name for name in names[:2]] + [names[-1].name])
    return InputError(
        f"{where} has {ways.noun} whose names differ in more than one number ({examples}); "
        f"{ways.count_by(as_times([name.name for name in names]))}."
    )


def as_times(names: Sequence[str]) -> str:
    """Return a ``--pattern`` with the fastest number as ``{t}`` and the other numbers as in the first file."""
    runs = [re.split(r"(\d+)", name) for name in names]
    runs = [parts for parts in runs if len(parts) == len(runs[0])]
    values = {i: {int(parts[i]) for parts in runs} for i in range(1, len(runs[0]), 2)}
    varying = [i for i, found in values.items() if len(found) > 1]
    fastest = max(varying, key=lambda i: (len(values[i]), min(values[i]) - max(values[i]), i))
    same = [p for p in runs if all(p[i] == runs[0][i] for i in varying if i != fastest)]
    fixed = len(same) > 1
    return "".join(
        "{t}" if i == fastest else (part if fixed or i not in varying else "*") for i, part in enumerate(runs[0])
    )


def _gaps(where: str, names: list[Name], planes: int, choices: NameChoices, ways: Ways, told: str) -> tuple[str, ...]:
    """Find missing files: before the first one, between two files, after the last one, or within a volume."""
    varying = [i for i in range(len(names[0].times)) if len({name.times[i] for name in names}) > 1]
    missing: list[str] = []
    ends = [(min(values), max(values)) for values in zip(*(name.times for name in names), strict=True)]
    firsts = list({name.times: name for name in reversed(names)}.values())[::-1]
    is_selection = _is_selection(choices.pattern or told)
    for slot in varying[-1:]:
        least = 0 if names[0].starts_at_zero else 1
        start = names[0].times[slot]
        if start > least and not is_selection:
            missing.append(f"before {names[0].name} ({start - least})")
    for before, after in pairwise(firsts):
        if not _follows(before.times, after.times, varying, ends):
            missing.append(f"between {before.name} and {after.name}")
    counts = Counter(name.times for name in names)
    for time, count in counts.items():
        if count != planes:
            short = next(name for name in names if name.times == time)
            missing.append(f"of the volume of {short.name} ({planes - count} of {planes} planes)")
    missing += _plane_gaps(names, planes)
    total = names[-1].total
    if total is not None and len(firsts) < total and not is_selection:
        missing.append(f"after {names[-1].name} ({len(firsts)} of {total} are there)")
    if missing and not choices.allow_gaps:
        what = "stacks" if names[0].is_lls else ways.noun
        raise InputError(f"{where} lacks the {what} {name_some(missing)}; restore them, or {ways.accept_gaps()}.")
    return tuple(missing)


def _follows(before: tuple[int, ...], after: tuple[int, ...], varying: list[int], ends: list[tuple[int, int]]) -> bool:
    """Return whether no file is missing between two times.

    The slowest number that changes must increase by 1; each faster number must increase by 1 or restart.
    """
    moved = next(i for i in varying if before[i] != after[i])
    if after[moved] != before[moved] + 1:
        return False
    later = [i for i in varying if i > moved]
    return all(after[i] == before[i] + 1 or (before[i], after[i]) == ends[i][::-1] for i in later)


def _plane_gaps(names: list[Name], planes: int) -> list[str]:
    found = sorted({name.plane for name in names if name.plane is not None})
    if planes == 1 or len(found) != planes:
        return []
    return [f"of planes {a + 1:g} to {b - 1:g}" for a, b in pairwise(found) if b != a + 1]


def _is_selection(pattern: str) -> bool:
    """Return whether the user has selected files by number."""
    return bool(re.search(r"[\d?\[]", re.sub(r"\{\w\}", "", pattern)))
