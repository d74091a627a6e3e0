"""Interpretation of file names: time, plane, channel and position of a file.

Names that follow the convention of a known acquisition program are read by this convention. In other names, a word in
front of a number gives its meaning (``pos1``, ``ch0``, ``t003``). `lls_decode.movies.series` interprets numbers without
such a word.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lls_decode.errors import ConfigError

LLS_CONVENTION = "NAME_ch0_stack0000_560nm_..._...msecAbs.tif"


@dataclass(frozen=True)
class Name:
    """Interpreted name of one file."""

    path: Path
    form: str
    """Name with placeholders for the parts that vary; all files of a series have the same form."""
    times: tuple[int, ...] = ()
    """Time indices, slowest first."""
    plane: int | None = None
    channel: str = ""
    laser: str = ""
    position: str = ""
    numbers: tuple[int, ...] = ()
    """Numbers of unknown meaning, in the order of the name."""
    starts_at_zero: bool = False
    """Whether the program that wrote the file always counts from 0."""


def read_name(path: Path) -> Name:
    """Interpret a name by the first convention that it matches."""
    stem, suffix = _split(path.name)
    for convention in (_lls, _micro_manager_images, _micro_manager_stacks):
        found = convention(path, stem, suffix)
        if found is not None:
            return found
    return _words(path, stem, suffix)


def is_lls(path: Path) -> bool:
    """Return whether a name follows the convention of lattice light-sheet software for stacks."""
    return _lls(path, *_split(path.name)) is not None


def _split(name: str) -> tuple[str, str]:
    found = re.fullmatch(r"(.*?)((?:\.ome)?\.[^.]*)", name, re.IGNORECASE | re.DOTALL)
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


def _lls(path: Path, stem: str, suffix: str) -> Name | None:
    """Interpret lattice light-sheet names: ``cell5_ch1_stack0102_560nm_..`` or ``Scan_Iter_0003_CamA_ch0_..`` (MOSAIC).

    The first form is that of Janelia and 3i.
    """
    channel, camera, laser, tile = (key.search(stem) for key in (_CHANNEL, _CAMERA, _LASER, _TILE))
    if channel is None or not any(key.search(stem) for key in _TIMES):
        return None
    form = stem
    for key in (*_TIMES, _CHANNEL, _CAMERA, _LASER, _TILE, _MSEC):
        form = key.sub("", form)
    return Name(
        path,
        f"{re.sub(r'_CAM[0-9]', '', form)}_ch.._stack..{suffix}",
        tuple(int(found[1]) if (found := key.search(stem)) else 0 for key in _TIMES),
        channel=f"Cam{camera[1]} ch{channel[1]}" if camera else f"ch{channel[1]}",
        laser=laser[1] if laser else "",
        position=tile[1] if tile else "",
        starts_at_zero=True,
    )


def _micro_manager_images(path: Path, stem: str, suffix: str) -> Name | None:
    """Interpret names of Micro-Manager images: ``img_000000012_Cy3_004``, ``img_channel000_position001_time..``."""
    old = re.fullmatch(r"(.*?_|)(\d{9})_(.+)_(\d{3})", stem)
    new = re.fullmatch(r"(.*)channel(\d+)_position(\d+)_time(\d+)_z(\d+)", stem)
    if new:
        channel, position, time, plane = (int(new[i]) for i in range(2, 6))
        form = f"{new[1]}channel.._position.._time.._z..{suffix}"
        return Name(
            path, form, (time,), plane, f"channel{channel}", position=f"position{position}", starts_at_zero=True
        )
    if old:
        return Name(path, f"{old[1]}TIME_CHANNEL_Z{suffix}", (int(old[2]),), int(old[4]), old[3], starts_at_zero=True)
    return None


def _micro_manager_stacks(path: Path, stem: str, suffix: str) -> Name | None:
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
        path,
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
_FIELD = re.compile(
    "(?i)(?<![a-z])(?:"
    + "|".join(
        f"(?P<{kind}>{'|'.join(sorted(words.split(), key=len, reverse=True))})" for kind, words in _KINDS.items()
    )
    + r")(?P<mark>[-_ ]?)(?P<number>\d+)|(?<!\d)(?P<laser>\d{3,4})nm(?![a-z])|(?P<bare>\d+)"
)


def _words(path: Path, stem: str, suffix: str) -> Name:
    """Interpret numbers by the words in front of them; collect numbers without such a word."""
    found: dict[str, list[str]] = {"position": [], "channel": [], "plane": [], "time": [], "laser": [], "bare": []}

    def note(match: re.Match[str]) -> str:
        kind = match.lastgroup if match.lastgroup in ("laser", "bare") else next(k for k in _KINDS if match[k])
        if kind in ("laser", "bare"):
            found[kind].append(match[kind])
            return f"{{{kind}}}"
        text, number = f"{match[kind]}{match['mark']}", match["number"]
        if kind in ("position", "channel") and len(text) == 2 and match["mark"]:
            found["bare"].append(number)  # m1 is a position, m-1 is not
            return f"{text}{{bare}}"
        found[kind].append(number if kind in ("plane", "time") else f"{match[kind]}{int(number)}")
        return f"{text}{{{kind}}}"

    form = _FIELD.sub(note, stem) + suffix
    return Name(
        path,
        form,
        tuple(int(number) for number in found["time"]),
        int(found["plane"][-1]) if found["plane"] else None,
        channel=" ".join([*found["channel"], *(f"{laser}nm" for laser in found["laser"])]),
        laser=found["laser"][0] if found["laser"] else "",
        position=" ".join(found["position"]),
        numbers=tuple(int(number) for number in found["bare"]),
    )


_PATTERN_FIELDS = {"t": r"\d+", "z": r"\d+", "c": r".+?", "p": r".+?"}


def read_pattern(pattern: str) -> Callable[[Path], Name | None]:
    """Return a function that interprets names by a ``--pattern``, or returns None for names that do not match.

    A pattern has wildcards, and the fields ``{t} {z} {c} {p}`` for time, plane, channel and position. A pattern without
    fields only selects files; their names are then interpreted by `read_name`.
    """
    parts = re.split(r"(\{[^{}]*\}|\*|\?|\[[^\]]+\])", pattern)
    expression, fields = "", []
    for part in parts:
        if part[:1] == "{":
            name = part[1:-1]
            if name not in _PATTERN_FIELDS or name in fields:
                raise ConfigError(
                    f"--pattern {pattern!r} has the field {part}; expected {{t}}, {{z}}, {{c}} and {{p}} for time, "
                    "plane, channel and position, at most once each."
                )
            fields.append(name)
            expression += f"(?P<{name}>{_PATTERN_FIELDS[name]})"
        else:
            expression += {"*": ".*", "?": "."}.get(part, part if part[:1] == "[" else re.escape(part))
    matcher = re.compile(expression, re.DOTALL)

    def read(path: Path) -> Name | None:
        found = matcher.fullmatch(path.name)
        if found is None:
            return None
        if not fields:
            return read_name(path)
        told = found.groupdict()
        return Name(
            path,
            pattern,
            (int(told["t"]),) if "t" in told else (),
            int(told["z"]) if "z" in told else None,
            told.get("c", ""),
            position=told.get("p", ""),
        )

    return read
