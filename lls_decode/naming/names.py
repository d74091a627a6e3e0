"""Interpretation of the names of files and stores: time, plane, channel and position.

Names that follow the convention of a known acquisition program are read by this convention. In other names, a word in
front of a number gives its meaning (``pos1``, ``ch0``, ``t003``), and a unit behind a number says that it is a measured
value, not a counter (``000103ms``). `lls_decode.naming.series` interprets numbers without word and unit.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from lls_decode.errors import ConfigError

STAMP = "time stamp"
"""Unit of a date with time of day in a name."""
LLS_CONVENTION = "NAME_ch0_stack0000_560nm_..._...msecAbs.tif"


@dataclass(frozen=True)
class Name:
    """Interpreted name of one file or store."""

    name: str
    form: str
    """Name with placeholders for the parts that vary; all files of a series have the same form."""
    times: tuple[int, ...] = ()
    """Time indices, slowest first."""
    plane: float | None = None
    channel: str = ""
    laser: str = ""
    position: str = ""
    numbers: tuple[int, ...] = ()
    """Numbers of unknown meaning, in the order of the name."""
    measures: tuple[tuple[float, str], ...] = ()
    """Measured values and their units, for example ``(103, "ms")``; their steps may have any size."""
    is_plane_measured: bool = False
    """Whether the plane is a measured position, so that its value may increase in any steps."""
    total: int | None = None
    """Number of files that the name announces: 40 in ``3 of 40``."""
    is_lls: bool = False
    """Whether the name follows the convention of lattice light-sheet software for stacks."""
    starts_at_zero: bool = False
    """Whether the program that wrote the file always counts from 0."""


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that puts ``v9`` before ``v10``."""
    parts = re.split(r"(\d+)", name)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts if part)


def names_of(paths: Sequence[str]) -> list[str]:
    """Return the name of each path: its last part, preceded by the folders in which the paths differ."""
    parts = [path.replace(os.sep, "/").rstrip("/").split("/") for path in paths]
    folders = zip(*(part[:-1] for part in parts), strict=False)
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, folders))
    return ["/".join(part[shared:]) for part in parts]


def read_name(name: str) -> Name:
    """Interpret a name by the first convention that it matches."""
    stem, suffix = split_suffix(name)
    for convention in (_lls, _micro_manager_images, _micro_manager_stacks):
        found = convention(name, stem, suffix)
        if found is not None:
            return found
    return _words(name, stem, suffix)


def is_lls(name: str) -> bool:
    """Return whether a name follows the convention of lattice light-sheet software for stacks."""
    return _lls(name, *split_suffix(name)) is not None


def split_suffix(name: str) -> tuple[str, str]:
    """Return the name without its suffix, and the suffix: ``.tif``, ``.ome.tif``."""
    found = re.fullmatch(r"(.*?)((?:\.ome)?\.[^./]*)", name, re.IGNORECASE | re.DOTALL)
    return (found[1], found[2]) if found else (name, "")


_CHANNEL, _CAMERA = re.compile(r"_ch(\d+)(?=_|$)", re.IGNORECASE), re.compile(r"_Cam([A-Z])(?=_)")
_LASER = re.compile(r"_(\d{3,4})nm(?=_|$)")
_TIMES = (
    re.compile(r"Iter_(\d+)(?=_|$)", re.IGNORECASE),
    re.compile(r"_stack(\d+)(?=_|$)", re.IGNORECASE),
    re.compile(r"_(\d+)t(?=_|$)"),
)
_TILE = re.compile(r"_(\d+x_\d+y_\d+z)(?=_|$)")
_MSEC = re.compile(r"_\d+msec(?:Abs)?(?=_|$)", re.IGNORECASE)


def _lls(name: str, stem: str, suffix: str) -> Name | None:
    """Interpret lattice light-sheet names: ``cell5_ch1_stack0102_560nm_..`` or ``Scan_Iter_0003_CamA_ch0_..`` (MOSAIC).

    The first form is that of Janelia and 3i.
    """
    channel = _CHANNEL.search(stem)
    if channel is None or not any(key.search(stem) for key in _TIMES):
        return None
    camera, laser, tile = (key.search(stem) for key in (_CAMERA, _LASER, _TILE))
    form = stem
    for key in (*_TIMES, _CHANNEL, _CAMERA, _LASER, _TILE, _MSEC):
        form = key.sub("", form)
    return Name(
        name,
        f"{re.sub(r'_CAM[0-9]', '', form)}_ch.._stack..{suffix}",
        tuple(int(found[1]) if (found := key.search(stem)) else 0 for key in _TIMES),
        channel=f"Cam{camera[1]} ch{channel[1]}" if camera else f"ch{channel[1]}",
        laser=laser[1] if laser else "",
        position=tile[1] if tile else "",
        is_lls=True,
        starts_at_zero=True,
    )


def _micro_manager_images(name: str, stem: str, suffix: str) -> Name | None:
    """Interpret names of Micro-Manager images: ``img_000000012_Cy3_004``, ``img_channel000_position001_time..``."""
    old = re.fullmatch(r"(.*?_|)(\d{9})_(.+)_(\d{3})", stem)
    new = re.fullmatch(r"(.*)channel(\d+)_position(\d+)_time(\d+)_z(\d+)", stem)
    if new:
        channel, position, time, plane = (int(new[i]) for i in range(2, 6))
        form = f"{new[1]}channel.._position.._time.._z..{suffix}"
        return Name(
            name, form, (time,), plane, f"channel{channel}", position=f"position{position}", starts_at_zero=True
        )
    if old:
        return Name(name, f"{old[1]}TIME_CHANNEL_Z{suffix}", (int(old[2]),), int(old[4]), old[3], starts_at_zero=True)
    return None


def _micro_manager_stacks(name: str, stem: str, suffix: str) -> Name | None:
    """Interpret names of Micro-Manager stacks, which are split into pieces of 4 GB.

    The number of the piece is at the end, and the first piece has none: ``cell_MMStack_Pos0``,
    ``cell_MMStack_Pos0_1``, ``cell_MMStack_1-Pos_000_001_2``.
    """
    found = re.fullmatch(
        r"(.*)(_MMStack|_NDTiffStack)(?:_(Pos\d+|Pos-\d+-\d{3}_\d{3}|\d+-Pos_?\d{3}_\d{3}|Default|[A-Za-z][^_]*))?(?:_(\d+))?",
        stem,
    )
    if found is None:
        return None
    return Name(
        name,
        f"{found[1]}{found[2]}_POSITION{suffix}",
        (int(found[4] or 0),),
        position=found[3] or "",
        starts_at_zero=True,
    )


_KINDS = {
    "position": "position pos xy fov site series scene tile field p s m cell roi well region area sample dish slide",
    "channel": "channel chan ch c wavelength wave w camera cam colour color",
    "plane": "zslice slice plane z section",
    "time": "timepoint time tp t frame frames f stack iter",
}
_UNIT = (
    "(?:msecabs|msecs?|ms|secs?|s|mins?|hrs?|h|[u\u00b5\u03bc]s|ns|nm|[u\u00b5\u03bc]m|mm|px|[mu\u00b5\u03bc]w|k?hz|fps)"
    "(?![a-z])"
)
_TIME_UNIT = re.compile("msecabs|msecs?|ms|secs?|s|mins?|hrs?|h|[u\u00b5\u03bc]s|ns", re.IGNORECASE)
_LENGTH_UNIT = re.compile("nm|[u\u00b5\u03bc]m|mm", re.IGNORECASE)
_STAMP = (
    r"(?:19|20)\d\d[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])[-_T ]"
    r"(?:[01]\d|2[0-3])[-_.h]?[0-5]\d[-_.m]?[0-5]\d"
)
"""Date and time of day: ``20260103_101500``, ``2026-01-03T10-15-00``."""
_AMOUNT = rf"\d+(?:[.,]\d+(?={_UNIT}))?"
_FIELD = re.compile(
    rf"(?i)(?<!\d)(?P<stamp>{_STAMP})(?!\d)|(?<![a-z])(?:"
    + "|".join(
        f"(?P<{kind}>{'|'.join(sorted(words.split(), key=len, reverse=True))})" for kind, words in _KINDS.items()
    )
    + rf")(?P<mark>[-_ ]?)(?!{_STAMP}(?!\d))(?P<number>{_AMOUNT})(?P<unit>{_UNIT})?"
    rf"|(?<!\d)(?P<laser>\d{{3,4}})nm(?![a-z])|(?P<amount>{_AMOUNT})(?P<measure>{_UNIT})"
    r"|(?<=\d)(?P<of>[-_ ]?of[-_ ]?)(?P<total>\d+)|(?P<bare>\d+)"
)


def is_time_unit(unit: str) -> bool:
    """Return whether a unit behind a number is one of time."""
    return unit == STAMP or _TIME_UNIT.fullmatch(unit) is not None


def is_length_unit(unit: str) -> bool:
    """Return whether a unit behind a number is one of length."""
    return _LENGTH_UNIT.fullmatch(unit) is not None


_FULL_SUFFIX = {".tiff": ".tif", ".ome.tiff": ".ome.tif"}
"""Suffixes that differ in their spelling only."""


def _words(name: str, stem: str, suffix: str) -> Name:
    """Interpret numbers by the words in front of them and the units behind them; collect the other numbers."""
    found: dict[str, list[str]] = {"position": [], "channel": [], "plane": [], "time": [], "laser": [], "bare": []}
    measures: list[tuple[float, str]] = []
    totals: list[int] = []
    is_plane_measured = False

    def note(match: re.Match[str]) -> str:
        nonlocal is_plane_measured
        if match["stamp"]:
            measures.append((int(re.sub(r"\D", "", match["stamp"])), STAMP))
            return re.sub(r"\d", "0", match["stamp"])
        if match["measure"]:
            measures.append((_as_number(match["amount"]), match["measure"].lower()))
            return f"{{measure}}{match['measure']}"
        if match["total"]:
            totals.append(int(match["total"]))
            return f"{match['of']}{match['total']}"
        if match["laser"] or match["bare"]:
            kind = "laser" if match["laser"] else "bare"
            found[kind].append(match[kind])
            return f"{{{kind}}}"
        kind = next(k for k in _KINDS if match[k])
        text, number, unit = f"{match[kind]}{match['mark']}", match["number"], match["unit"] or ""
        is_letter = kind in ("position", "channel") and len(text) == 2 and match["mark"]  # m1 is a position, m-1 is not
        if unit and (kind == "time" or is_letter):
            measures.append((_as_number(number), unit.lower()))
            return f"{text}{{measure}}{unit}"
        if is_letter:
            found["bare"].append(number)
            return f"{text}{{bare}}"
        if kind == "plane":
            is_plane_measured = bool(unit)
        told = int(number) if number.isdecimal() else number
        found[kind].append(number if kind in ("plane", "time") else f"{match[kind]}{told}")
        return f"{text}{{{kind}}}{unit}"

    form = _FIELD.sub(note, stem) + _FULL_SUFFIX.get(suffix.lower(), suffix.lower())
    return Name(
        name,
        form,
        tuple(int(number) for number in found["time"]),
        _as_number(found["plane"][-1]) if found["plane"] else None,
        channel=" ".join([*found["channel"], *(f"{laser}nm" for laser in found["laser"])]),
        laser=found["laser"][0] if found["laser"] else "",
        position=" ".join(found["position"]),
        numbers=tuple(int(number) for number in found["bare"]),
        measures=tuple(measures),
        is_plane_measured=is_plane_measured,
        total=totals[0] if totals else None,
    )


def _as_number(text: str) -> float:
    """Return an int, or a float for a text with a decimal point or comma."""
    return int(text) if text.isdecimal() else float(text.replace(",", "."))


_PATTERN_FIELDS = {"t": r"\d+", "z": r"\d+", "c": r".+?", "p": r".+?"}


def read_pattern(pattern: str) -> Callable[[str], Name | None]:
    """Return a function that interprets names by a ``--pattern``, or returns None for names that do not match.

    A pattern has wildcards, and the fields ``{t} {z} {c} {p}`` for time, plane, channel and position. A pattern without
    fields only selects files; their names are then interpreted by `read_name`.
    """
    parts = re.split(r"(\{[^{}]*\}|\*|\?|\[[^\]]+\])", pattern)
    expression, units = "", dict[str, str]()
    for part, rest in zip(parts, [*parts[1:], ""], strict=True):
        if part[:1] == "{":
            field = part[1:-1]
            if field not in _PATTERN_FIELDS or field in units:
                raise ConfigError(
                    f"--pattern {pattern!r} has the field {part}; expected {{t}}, {{z}}, {{c}} and {{p}} for time, "
                    "plane, channel and position, at most once each."
                )
            unit = re.match(_UNIT, rest, re.IGNORECASE)
            units[field] = unit[0].lower() if unit else ""
            expression += f"(?P<{field}>{_PATTERN_FIELDS[field]})"
        else:
            expression += {"*": ".*", "?": "."}.get(
                part, re.sub(r"^\[!", "[^", part) if part[:1] == "[" else re.escape(part)
            )
    matcher = re.compile(expression, re.DOTALL)

    def read(name: str) -> Name | None:
        found = matcher.fullmatch(name if "/" in pattern else name.rpartition("/")[2])
        if found is None:
            return None
        if not units:
            return read_name(name)
        told = found.groupdict()
        is_measured = bool(units.get("t"))
        return Name(
            name,
            pattern,
            (int(told["t"]),) if "t" in told and not is_measured else (),
            int(told["z"]) if "z" in told else None,
            told.get("c", ""),
            position=told.get("p", ""),
            measures=((int(told["t"]), units["t"]),) if is_measured else (),
            is_plane_measured=bool(units.get("z")),
        )

    return read
