"""Selection and order of the files of a movie, for folders and patterns of all kinds.

`names` interprets the file names. Anything ambiguous (a second position, two numbers that vary, a gap, a file with a
different form of name) is an error that names the files and the option that resolves it. Nothing is guessed.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from lls_decode.errors import InputError
from lls_decode.frames.storage.stores import expand, has_magic, natural_key
from lls_decode.movies.accounting import Loss
from lls_decode.movies.choices import Choices, name_some, pick
from lls_decode.movies.names import Name, is_lls, read_name, read_pattern

_REST_OF_A_SERIES = re.compile(r"[ _\-.]?(?:file|part|x)?[ _\-.]?\(?(?:\{bare\}|\{time\})\)?", re.IGNORECASE)
_MAX_GAPS = 1000


@dataclass(frozen=True)
class Series:
    """Files of one movie, in order."""

    where: str
    files: tuple[Path, ...]
    planes: int = 1
    """Number of files per volume; 1 if each file is a volume or there are no volumes."""
    losses: tuple[Loss, ...] = ()
    """Missing files, which the user accepted."""
    notes: tuple[str, ...] = ()
    takes_channel: bool = False
    """Whether file names select the channel."""
    takes_position: bool = False
    """Whether file names select the position."""
    channel: str = ""


def list_files(where: str, suffixes: set[str], choices: Choices) -> list[Path]:
    """List the files of a folder or pattern that may belong to a movie, in natural order.

    Raises
    ------
    InputError
        There are no such files.
    """
    found = [Path(item) for item in expand(where)]
    files = [path for path in found if path.suffix.lower() in suffixes and path.name[:1] != "." and path.is_file()]
    inside = [path.name for path in found if path.is_dir() and any(s in suffixes for s in _suffixes(path))]
    if not files and inside:
        raise InputError(
            f"{where} has no TIFF files, but folders with TIFF files: {name_some(inside)}; give one of these folders."
        )
    if not files:
        raise InputError(f"{where} has no TIFF files (.tif, .tiff); give a movie, or a folder or pattern of TIFFs.")
    if choices.pattern is not None:
        reader = read_pattern(choices.pattern)
        matching = [path for path in files if reader(path) is not None]
        if not matching:
            raise InputError(
                f"no file of {where} matches --pattern {choices.pattern!r}; the files are "
                f"{name_some([p.name for p in files])}: give a pattern that matches some of them, e.g. --pattern "
                f"'*{files[0].suffix}'."
            )
        files = matching
    return sorted(files, key=lambda path: natural_key(path.name))


def _suffixes(folder: Path) -> set[str]:
    return {path.suffix.lower() for path in folder.iterdir()}


def find_series(where: str, files: Sequence[Path], choices: Choices) -> Series:
    """Select and order the files of one movie.

    Raises
    ------
    InputError
        Files have several positions, channels or forms of name, or numbers that are missing, duplicate or ambiguous.
    """
    reader = read_pattern(choices.pattern) if choices.pattern is not None else read_name
    names = [name for path in files if (name := reader(path)) is not None]
    stacks = [name for name in names if is_lls(name.path) and not _is_derived(name.form)]
    stacks = [] if "{" in (choices.pattern or "") else stacks
    left = [name.path.name for name in names if name not in stacks] if stacks else []
    if stacks:
        _check_once(where, sorted(stacks, key=lambda name: (name.channel, name.position, name.times)))
    names = _one_form(where, stacks or names)
    notes: tuple[str, ...] = ()
    if left:
        notes = (f"{len(left)} TIFF files are not named as stacks and were left out: {name_some(left)}",)
    names, takes_position = _choose_position(where, names, choices)
    names, takes_channel = _choose_channel(where, names, choices)
    names, planes = _grid(where, names)
    losses = _gaps(where, names, planes, choices)
    counts = Counter(name.times for name in names)
    names = [name for name in names if counts[name.times] == planes]  # leaves out incomplete volumes
    return Series(
        where,
        tuple(name.path for name in names),
        planes,
        losses,
        notes,
        takes_channel,
        takes_position,
        names[0].channel,
    )


def _one_form(where: str, names: list[Name]) -> list[Name]:
    """Return the names if they have one form; an unnumbered first file gets the number before the numbered ones."""
    forms: dict[str, list[Name]] = defaultdict(list)
    for name in names:
        forms[name.form].append(name)
    if len(forms) == 2:
        bare, numbered = forms
        for one, more in ((bare, numbered), (numbered, bare)):
            joined = _with_bare(forms[one], forms[more])
            if joined:
                return joined
    if len(forms) > 1:
        largest = max(forms, key=lambda form: (not _is_derived(form), len(forms[form])))
        others = [name.path.name for name in names if name.form != largest]
        raise InputError(
            f"{where} has {len(forms[largest])} files named like {forms[largest][0].path.name}, and {len(others)} "
            f"files with other forms of name: {name_some(others)}; choose the files of one movie, e.g. with --pattern "
            f"'{suggest(forms[largest])}'."
        )
    return names


def _is_derived(form: str) -> bool:
    """Return whether a name is that of a projection or a snapshot."""
    return bool(
        re.search(r"(?i)(?:^|[_\-. ])(?:max|avg|sum|std|min|med|mip|proj\w*|snap\w*|composite)(?:[_\-. ]|$)", form)
    )


def _with_bare(bare: list[Name], numbered: list[Name]) -> list[Name]:
    """Put ``mov.tif`` in front of ``mov-1.tif``, ``mov-2.tif``; return nothing if names do not form such a series."""
    if len(bare) != 1:
        return []
    stem, suffix = bare[0].form.rsplit(".", 1)
    other, other_suffix = numbered[0].form.rsplit(".", 1)
    if suffix != other_suffix or not other.startswith(stem) or not _REST_OF_A_SERIES.fullmatch(other[len(stem) :]):
        return []
    counts = [(*name.times, *name.numbers)[-1] for name in numbered]
    rest = other[len(stem) :].lower()
    if min(counts) != 1 and not (min(counts) == 2 and re.search("file|x", rest)):  # mov-file002.tif, mov_X2.tif
        return []
    before, form = min(counts) - 1, numbered[0].form
    if other.endswith(("{time}", "{time})")):
        first = replace(bare[0], form=form, times=(*bare[0].times, before))
    else:
        first = replace(bare[0], form=form, numbers=(*bare[0].numbers, before))
    return [first, *numbered]


def suggest(names: Sequence[Name]) -> str:
    """Return a ``--pattern`` that matches files with one form of name."""
    runs = [re.split(r"(\d+)", name.path.name) for name in names]
    if len({len(parts) for parts in runs}) > 1:
        return f"{runs[0][0]}*{names[0].path.suffix}"
    varies = [len(set(parts)) > 1 for parts in zip(*runs, strict=True)]
    field = "{t}" if sum(varies) == 1 and any(varies[1::2]) else "*"
    return "".join(field if varies[i] else part for i, part in enumerate(runs[0]))


def _choose_position(where: str, names: list[Name], choices: Choices) -> tuple[list[Name], bool]:
    values = list(dict.fromkeys(name.position for name in names))
    if values == [""]:
        return names, False
    values.sort(key=natural_key)
    chosen = values[pick(values, choices.position, "position", where)]
    return [name for name in names if name.position == chosen], True


def _choose_channel(where: str, names: list[Name], choices: Choices) -> tuple[list[Name], bool]:
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
        chosen = list(lasers)[pick(values, wanted, "channel", where)]
    return [name for name in names if name.channel == chosen], True


def _grid(where: str, names: list[Name]) -> tuple[list[Name], int]:
    """Return the names sorted by time and plane, and the number of planes."""
    names = _numbers_as_time(where, names)
    planes = sorted({name.plane for name in names if name.plane is not None})
    if any(name.plane is None for name in names):
        planes = []
    names = sorted(names, key=lambda name: (name.times, name.plane if planes else 0))
    _check_once(where, names)
    return names, max(1, len(planes))


def _check_once(where: str, names: Sequence[Name]) -> None:
    """Raise an error if two of the sorted names have the same time, plane, channel and position."""
    for before, after in pairwise(names):
        if all(getattr(before, field) == getattr(after, field) for field in ("channel", "position", "times", "plane")):
            same = "two stacks of one time" if is_lls(before.path) else "two files with one number"
            raise InputError(
                f"{where} has {same}, {before.path.name} and {after.path.name}, as after a restarted acquisition; "
                f"choose one of the two, e.g. with --pattern '{_only(before.path.name, after.path.name)}'."
            )


def _only(name: str, other: str) -> str:
    """Return a pattern that matches only the first of two names: its beginning, up to where they differ."""
    common = next(i for i, (a, b) in enumerate(zip(name, f"{other}\0", strict=False)) if a != b)
    return f"{name[: common + 1]}*"


def _numbers_as_time(where: str, names: list[Name]) -> list[Name]:
    """Use the varying number of unknown meaning as time; raise an error if several numbers vary."""
    if len({len(name.numbers) for name in names}) > 1 or len({len(name.times) for name in names}) > 1:
        raise InputError(f"{where}: some file names contain more numbers than others; choose files with --pattern.")
    counted = [[name.times[i] for name in names] for i in range(len(names[0].times))]
    others = [[name.numbers[i] for name in names] for i in range(len(names[0].numbers))]
    others = [values for values in others if len(set(values)) > 1]
    varying = [values for values in counted if len(set(values)) > 1]
    is_known = is_lls(names[0].path)  # iterations and stacks both count time
    if len(others) + (len(varying) if not is_known else bool(varying)) > 1:
        examples = name_some([name.path.name for name in names[:2]] + [names[-1].path.name])
        raise InputError(
            f"{where} has files whose names differ in more than one number ({examples}); mark the number that counts "
            f"time by {{t}}, and give the others or replace them by *, e.g. --pattern '{_one_number(names)}'."
        )
    if others:
        return [replace(name, times=(value,)) for name, value in zip(names, others[0], strict=True)]
    return names


def _one_number(names: Sequence[Name]) -> str:
    """Return a pattern with the fastest number as ``{t}`` and the other numbers as in the first file."""
    runs = [re.split(r"(\d+)", name.path.name) for name in names]
    varying = [
        i for i in range(1, len(runs[0]), 2) if len({parts[i] for parts in runs if len(parts) == len(runs[0])}) > 1
    ]
    fastest = max(varying, key=lambda i: (len({parts[i] for parts in runs}), i))
    same = [p for p in runs if all(p[i] == runs[0][i] for i in varying if i != fastest)]
    fixed = len(same) > 1
    return "".join(
        "{t}" if i == fastest else (part if fixed or i not in varying else "*") for i, part in enumerate(runs[0])
    )


def _gaps(where: str, names: list[Name], planes: int, choices: Choices) -> tuple[Loss, ...]:
    """Find missing files: before the first one, between two files, or within a volume."""
    varying = [i for i in range(len(names[0].times)) if len({name.times[i] for name in names}) > 1]
    missing: list[str] = []
    ends = [(min(values), max(values)) for values in zip(*(name.times for name in names), strict=True)]
    firsts = list({name.times: name for name in reversed(names)}.values())[::-1]
    for slot in varying[-1:]:
        least = 0 if names[0].starts_at_zero else 1
        start = names[0].times[slot]
        if start > least and not _is_selection(where, choices):
            missing.append(f"before {names[0].path.name} ({start - least})")
    for before, after in pairwise(firsts):
        if not _follows(before.times, after.times, varying, ends):
            missing.append(f"between {before.path.name} and {after.path.name}")
    counts = Counter(name.times for name in names)
    for time, count in counts.items():
        if count != planes:
            short = next(name for name in names if name.times == time)
            missing.append(f"of the volume of {short.path.name} ({planes - count} of {planes} planes)")
    missing += _plane_gaps(names, planes)
    if missing and not choices.allow_gaps:
        what = "stacks" if is_lls(names[0].path) else "files"
        raise InputError(
            f"{where} lacks the {what} " + name_some(missing)
            + "; restore them, or convert without them and record the gaps with --allow-gaps."
        )  # fmt: skip
    return tuple(Loss(Path(where).name, item, "files of the series are missing") for item in missing[:_MAX_GAPS])


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
    return [f"of planes {a + 1} to {b - 1}" for a, b in pairwise(found) if b != a + 1]


def _is_selection(where: str, choices: Choices) -> bool:
    """Return whether the user has selected files by number."""
    told = choices.pattern or (Path(where).name if has_magic(where) else "")
    return bool(re.search(r"[\d?\[]", re.sub(r"\{\w\}", "", told)))
