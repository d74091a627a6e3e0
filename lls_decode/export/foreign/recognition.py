"""Recognition of the program that wrote a table by its whole header, or the question to ask the user."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lls_decode.errors import TableError
from lls_decode.export.foreign.column_map import find_column
from lls_decode.export.foreign.meaning import POSITION, Given
from lls_decode.table.csv_layouts import CsvHead, CsvLayout

_LOOKS_LIKE: Final = {
    "frame": re.compile(r"frame|^t$|^time|image.?n", re.IGNORECASE),
    "x_nm": re.compile(r"(^|[^a-z])x($|[^a-z])|^x|xpos|posx", re.IGNORECASE),
    "y_nm": re.compile(r"(^|[^a-z])y($|[^a-z])|^y|ypos|posy", re.IGNORECASE),
}


@dataclass(frozen=True)
class _Match:
    key: str
    layout: CsvLayout
    doubts: tuple[str, ...]

    def is_part_of(self, other: "_Match") -> bool:
        """Return whether another layout requires all columns that this one requires, and more."""
        return self.layout.required.keys() < other.layout.required.keys()


def recognize(
    head: CsvHead, layouts: dict[str, CsvLayout], given: Given, *, source: object, ours: Sequence[str]
) -> CsvLayout | None:
    """Return the layout of a header; None if no program is recognized but the user names frame, x and y.

    Parameters
    ----------
    layouts
        Layouts by their names in ``--format``, in the order in which they are tried.

    Raises
    ------
    TableError
        The header is unknown, or only resembles that of a program; the message says what to specify.
    """
    for wanted in given.columns.values():
        if wanted is not None:
            find_column(wanted, head.names, source=source)  # report wrong statements before missing ones
    fitting = [_Match(key, layout, layout.doubts(head)) for key, layout in layouts.items() if layout.fits(head.names)]
    fitting = [match for match in fitting if not any(match.is_part_of(other) for other in fitting)]
    best = min(fitting, key=lambda match: len(match.doubts), default=None)
    named = bool(given.columns) and all(given.columns.get(name) or name in head.names for name in POSITION)
    if best is not None and not best.doubts:
        return best.layout
    if best is not None and given.first_frame is not None and given.origin is not None:
        return best.layout  # names with units are unambiguous, and nothing else needs to be guessed
    if named:
        return None
    if best is None:
        raise TableError(_unknown(head.names, layouts, source, ours))
    raise TableError(_look_alike(best, given, source))


def _look_alike(match: _Match, given: Given, source: object) -> str:
    layout = match.layout
    origin = {0: "the centre of the first pixel", 0.5: "the corner of the first pixel"}
    where = (
        "its origin is to be kept"
        if layout.origin_px is None
        else f"its origin is {origin[layout.origin_px]}"
        if layout.origin_px in origin
        else f"the centre of its first pixel is at {layout.origin_px:g} px"
    )
    missing = " and ".join(
        words
        for words, value in (
            ("--first-frame N", given.first_frame),
            ("--origin centre, corner or X,Y in nm", given.origin),
        )
        if value is None
    )
    return (
        f"{source} looks like a table of {layout.name}, but {'; '.join(match.doubts)}, so another program may "
        f"have written it; give --format {match.key} if its frames count from {layout.first_frame} and {where}, else "
        f"{missing}."
    )


def _unknown(names: Sequence[str], layouts: dict[str, CsvLayout], source: object, ours: Sequence[str]) -> str:
    programs = ", ".join(list(dict.fromkeys(layout.name for layout in layouts.values()))[1:])
    return (
        f"{source} has the columns {', '.join(names)[:300] or '(none)'}, which match no known csv; "
        f"expected {', '.join(ours)}, ..., or those of {programs}; say which is which with --columns "
        f"'{suggestion(names)}' (add a unit as in 'x_nm=X (px)'; --first-frame and --origin say what they count from), "
        "or rename the columns."
    )


def suggestion(names: Sequence[str]) -> str:
    """Return a column map to start from, guessed from the names."""
    found = []
    for ours, pattern in _LOOKS_LIKE.items():
        fitting = [name for name in names if pattern.search(name)]
        found.append(f"{ours}={min(fitting, key=len) if fitting else 'THEIRS'}")
    return ",".join(found)
