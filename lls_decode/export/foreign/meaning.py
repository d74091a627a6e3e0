"""Interpretation of a file's columns, decided once before any row is read.

It follows the user's statements, then the program that wrote the file, if that is beyond doubt. A header that merely
resembles that of a known program is refused, with advice, because frames and origin would be guessed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Final

import numpy as np

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.export.foreign.column_map import TARGETS, ColumnMap, did_you_mean, find_column
from lls_decode.export.foreign.foreign_table import Columns, ForeignTable
from lls_decode.export.foreign.origin import CENTRE, Origin
from lls_decode.export.foreign.units import factor, split_unit
from lls_decode.table.csv_layouts import CsvLayout

POSITION: Final = ("frame", "x_nm", "y_nm")
TEXTS: Final = ("channel", "file")
"""Columns of ours that are read as text."""
_CHANNEL_NAMES: Final = (
    "channel", "channels", "channelname", "channelindex", "channelid", "channelnumber", "ch", "color", "colour",
    "wavelength", "probe", "dye", "fluorophore", "laser",
)  # fmt: skip
_FILE_NAMES: Final = (
    "file", "filename", "filenumber", "fileid", "fileindex", "filepath", "sourcefile", "dataset", "datasetid",
    "datasetname", "movie", "movieid", "moviename", "acquisition", "acquisitionid", "fov", "fieldofview",
)  # fmt: skip


@dataclass(frozen=True)
class Given:
    """The user's statements about a file."""

    columns: ColumnMap
    first_frame: int | None = None
    origin: Origin | None = None
    pixel_size: PixelSize | None = None


@dataclass(frozen=True)
class Meaning:
    """The columns to read, and their conversion to ours."""

    table: ForeignTable
    theirs: Mapping[str, str]
    """Names in the file by our names."""
    factors: Mapping[str, float]
    first_frame: int
    offset_nm: tuple[float, float]
    """Coordinates that the file gives to the centre of the first pixel."""
    origin: str
    """Origin in words."""
    dropped: tuple[str, ...]
    """Names of the file's columns that are not read."""
    notes: tuple[str, ...]

    def pieces(self, rows_at_once: int, only: Sequence[str] | None = None) -> Iterator[Columns]:
        """Give rows with our names, units and numbering; all columns, or only those in ``only``."""
        chosen = {ours: name for ours, name in self.theirs.items() if only is None or ours in only}
        texts = [chosen[ours] for ours in TEXTS if ours in chosen]
        for given in self.table.read(list(dict.fromkeys(chosen.values())), texts, rows_at_once):
            yield {ours: self._ours(ours, given[name]) for ours, name in chosen.items()}

    def _ours(self, ours: str, values: Any) -> Any:
        if ours in ("frame", "last_frame"):
            return values.astype(np.float64) - self.first_frame if self.first_frame else values  # unsigned would wrap
        if (scale := self.factors.get(ours, 1.0)) != 1:
            values = values.astype(np.float64) * scale
        offset = self.offset_nm["xy".index(ours[0])] if ours in ("x_nm", "y_nm") else 0
        return values.astype(np.float64) - offset if offset else values


def find_meaning(table: ForeignTable, given: Given, *, layout: CsvLayout | None, source: object) -> Meaning:
    """Decide which column is which of ours, and how frames and positions are counted.

    Parameters
    ----------
    layout
        Layout of the program that wrote the file; None: only the user's statements are known.

    Raises
    ------
    TableError, ConfigError
        A column is missing or occurs twice, a unit does not fit, or the pixel size is needed but not known.
    """
    theirs, units = _named(table, given, source)
    mentioned = set(given.columns)
    if layout is not None:
        _add_layout(theirs, layout, table.names, mentioned)
    else:  # columns that have our names
        theirs |= {name: name for name in TARGETS if name in table.names and name not in {*mentioned, *theirs.values()}}
    _add_categories(theirs, table.names, mentioned)
    _check_position(theirs, table.names, layout, source)
    _check_unique(theirs.values(), table.names, source)
    pixel = given.pixel_size or table.pixel_size
    factors = {
        ours: factor(ours, name, units.get(ours) or _unit_of(name, table, layout), pixel)
        for ours, name in theirs.items()
    }
    origin, first_frame, notes = _conventions(layout, given)
    x, y = (origin or CENTRE).in_nm(pixel, source=f"{source}, a table of {layout.name}," if layout else source)
    if pixel is not None:
        x, y = x + table.moved_px[0] * pixel.x_nm, y + table.moved_px[1] * pixel.y_nm
    return Meaning(
        replace(table, pixel_size=pixel), theirs, factors, first_frame, (x, y),
        "as in the file" if origin is None else str(origin),
        dropped=tuple(_shown(name) for name in dict.fromkeys(table.names) if name not in theirs.values()),
        notes=(*table.notes, *notes),
    )  # fmt: skip


def without(meaning: Meaning, unwanted: Sequence[str]) -> Meaning:
    """Return a copy without some of our columns, which are listed as dropped."""
    dropped = [_shown(name) for ours, name in meaning.theirs.items() if ours in unwanted]
    theirs = {ours: name for ours, name in meaning.theirs.items() if ours not in unwanted}
    return replace(meaning, theirs=theirs, dropped=(*meaning.dropped, *dropped)) if dropped else meaning


def _named(table: ForeignTable, given: Given, source: object) -> tuple[dict[str, str], dict[str, str]]:
    """Return the columns named by the user, and the units given with them."""
    theirs, units = {}, {}
    for ours, wanted in given.columns.items():
        if wanted is None:
            continue
        theirs[ours], unit = find_column(wanted, table.names, source=source)
        if unit is not None:
            units[ours] = unit
    for one, other in combinations((ours for ours in (*POSITION, "z_nm") if ours in theirs), 2):
        if theirs[one] == theirs[other]:
            raise ConfigError(
                f"columns (--columns) takes {theirs[one]!r} of {source} as both {one} and {other}; name another column "
                "for one of them."
            )
    return theirs, units


def _add_layout(theirs: dict[str, str], layout: CsvLayout, names: Sequence[str], mentioned: set[str]) -> None:
    """Add the columns of a known program; if several fit one of ours, the first is taken."""
    explicit = set(theirs.values())
    for name, ours in {**layout.required, **layout.optional}.items():
        if ours and name in names and name not in explicit and ours not in mentioned and ours not in theirs:
            theirs[ours] = name
    if "xy_sig" in theirs and "x_sig" in theirs and "y_sig" in theirs:
        del theirs["xy_sig"]
    if "span_frames" in theirs and "last_frame" in theirs:
        del theirs["span_frames"]


def _add_categories(theirs: dict[str, str], names: Sequence[str], mentioned: set[str]) -> None:
    """Add columns of channels and source files, which must not get lost whichever program wrote the table."""
    for ours, known in (("channel", _CHANNEL_NAMES), ("file", _FILE_NAMES)):
        if ours in mentioned or ours in theirs:
            continue
        for name in names:
            plain = "".join(letter for letter in split_unit(name)[0].lower() if letter.isalnum())
            if plain in known and name not in theirs.values():
                theirs[ours] = name
                break


def _check_position(theirs: Mapping[str, str], names: Sequence[str], layout: CsvLayout | None, source: object) -> None:
    for name in POSITION:
        if name in theirs:
            continue
        wanted = next((key for key, ours in layout.required.items() if ours == name), name) if layout else name
        words = f"; expected a table of {layout.name}" if layout else ""
        raise TableError(
            f"{source} has no column {wanted!r}{did_you_mean(wanted, names)}{words}. It has {', '.join(names)[:300]}; "
            f"say which one is {name}: --columns {name}=THEIRS."
        )


def _check_unique(taken: Iterable[str], names: Sequence[str], source: object) -> None:
    for name in taken:
        if names.count(name) > 1:
            raise TableError(f"{source} has {names.count(name)} columns {name!r}, expected one; rename the others.")


def _unit_of(name: str, table: ForeignTable, layout: CsvLayout | None) -> str | None:
    if name in table.units:
        return table.units[name]
    if layout is not None:
        if name in layout.units:
            return layout.units[name]
        if name in layout.required or name in layout.optional:
            return None  # already in our unit
    return split_unit(name)[1]


def _conventions(layout: CsvLayout | None, given: Given) -> tuple[Origin | None, int, tuple[str, ...]]:
    """Return the origin (None if unknown), the first frame, and notes about both."""
    notes = list(layout.notes) if layout else []
    known = given.origin
    if known is None and layout is not None and layout.origin_px is not None:
        known = Origin(layout.origin_px, layout.origin_px, "px")
    first_frame = given.first_frame if given.first_frame is not None else layout.first_frame if layout else 0
    if layout is None and given.first_frame is None:
        notes.append("frames are assumed to count from 0; use --first-frame N if they do not")
    elif first_frame:
        notes.append(f"frames counted from 0 instead of {first_frame}")
    if layout is None and known is None:
        notes.append("x and y are assumed to be 0 at the centre of the first pixel; use --origin if they are not")
    elif known is None:
        notes.append(
            "the position of the origin in the first pixel is not documented; x and y are kept as in the file "
            "(--origin changes it)"
        )
    elif known.x or known.y:
        notes.append(f"x and y moved by {known}, where the file has the centre of the first pixel")
    return known, first_frame, tuple(notes)


def _shown(name: str) -> str:
    return name or "(without a name)"
