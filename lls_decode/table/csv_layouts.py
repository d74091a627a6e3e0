"""CSV files of other programs: how their columns map to ours, and how numbers are read from them.

This module holds what two higher floors need about csv: `export` (imported tables) and `evaluate` (ground truths).
"""

import csv
import io
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from lls_decode.errors import TableError

_ROWS_AT_ONCE: Final = 2**18
_FIRST_ROWS: Final = 200
_CELL_BYTES: Final = 12
_COMMENT: Final = "#%"
_QUOTED: Final = re.compile(r'"[^"]*"')
_ONE_CELL: Final = re.compile(r'"([^"]|"")*[,;\t]([^"]|"")*"')
_ARROW_COLUMN: Final = re.compile(r"In CSV column #(\d+)")
_ARROW_VALUE: Final = re.compile(r"invalid value '([^']*)'")
_BLANKS: Final = re.compile(rb" {2,}")
_END_BLANKS: Final = re.compile(rb"^ | (?=[\r\n]*$)")
_DECIMAL_COMMA: Final = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")


SEPARATORS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "space": " "}
"""Separators by their names on the command line. Of separators that split a header equally well, the first is taken;
blanks only if there is no other."""


@dataclass(frozen=True)
class CsvDialect:
    """How a csv separates cells and writes decimals."""

    separator: str = ","
    decimal_mark: str = "."

    def notes(self) -> tuple[str, ...]:
        """Return, in words, what differs from most files (other separators, decimal commas)."""
        words = {";": "semicolons", "\t": "tabs", " ": "blanks"}
        decimal = ("decimals have a comma",) if self.decimal_mark == "," else ()
        return (*((f"cells are separated by {words[self.separator]}",) if self.separator in words else ()), *decimal)


@dataclass(frozen=True)
class CsvLayout:
    """Column layout of another program's csv: how its columns map to ours, and where its numbers start."""

    name: str
    required: Mapping[str, str]
    """Our column names by theirs; every file of this layout has these columns."""
    optional: Mapping[str, str]
    first_frame: int
    origin_px: float | None
    """Coordinate that this program gives to the centre of the first pixel; None where that is not documented: positions
    are then kept as in the file."""
    notes: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    """Names of columns that this program also writes and that our table has no column for."""
    is_open: bool = False
    """Whether files may have columns of any other name: only this program uses the names of the required ones."""
    quoted: bool = False
    """Whether this program writes column names in quotes."""
    comment: str = ""
    """How the first line of a file begins, if this program writes a comment above the header."""
    order: tuple[str, ...] = ()
    """Order in which this program writes columns; empty: any order."""
    together: Mapping[str, str] = field(default_factory=dict)
    """Columns that this program writes only together with another one: the other column by the column."""
    counts_from: Mapping[str, int] = field(default_factory=dict)
    """First number of each column that this program counts (0 or 1)."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Units by column name; ours where neither this mapping nor the name states a unit."""
    any_unit: bool = False
    """Whether users choose the units that this program writes in brackets after its names."""
    footer: str = ""
    """Pattern of the lines that follow the rows."""
    asks: str = ""
    """Why first frame and origin of its files are unknown, in words."""
    first_channel: int = 0
    """Number that this program gives to the first channel."""
    fills_channel: bool = False
    """Whether this program writes channel 0 when there are no channels."""

    def fits(self, header: Sequence[str]) -> bool:
        """Return whether a header has all required columns of this layout."""
        return all(name in header for name in self.required)

    def renamed(self, names: Mapping[str, str], units: Mapping[str, str]) -> "CsvLayout":
        """Return the layout with some of its column names replaced, and with units of the new names."""

        def new(name: str) -> str:
            return names.get(name, name)

        return replace(
            self,
            required={new(name): ours for name, ours in self.required.items()},
            optional={new(name): ours for name, ours in self.optional.items()},
            other=tuple(map(new, self.other)),
            order=tuple(map(new, self.order)),
            together={new(name): new(other) for name, other in self.together.items()},
            counts_from={new(name): first for name, first in self.counts_from.items()},
            units={**{new(name): unit for name, unit in self.units.items()}, **units},
        )

    def doubts(self, head: "CsvHead") -> tuple[str, ...]:
        """Return, in words, the signs that another program wrote a file with this header; empty without signs."""
        known = {*self.required, *self.optional, *self.other, *_ROW_NUMBERS}
        unknown = [repr(name) for name in head.names if name not in known]
        found = [self.asks] if self.asks else []
        if unknown and not self.is_open:
            found.append(f"it has {_shown(unknown)}, which {self.name} does not write")
        if self.quoted and not head.quoted:
            how = "it is not a csv" if head.quoted is None else "its names are not in quotes"
            found.append(f"{how}, as {self.name} writes them")
        if not head.comment.startswith(self.comment):
            found.append(f"it does not begin with {self.comment!r}")
        places = [self.order.index(name) for name in head.names if name in self.order]
        if places != sorted(places):
            found.append(f"its columns are in another order than {self.name} writes them")
        for name, other in self.together.items():
            if name in head.names and other not in head.names:
                found.append(f"{self.name} writes {name!r} only beside {other!r}")
        for name, first in self.counts_from.items():
            if name in head.names and (low := head.lowest(name)) < first:
                found.append(f"its {name} is {low:g}, and {self.name} counts from {first}")
        return tuple(found)


_ROW_NUMBERS: Final = ("", "Unnamed: 0", "__index_level_0__")
"""Names of the columns in which pandas numbers rows; a table of any program may have them."""


def _shown(words: Sequence[str], most: int = 6) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


THUNDERSTORM: Final = CsvLayout(
    "ThunderSTORM",
    required={"frame": "frame", "x [nm]": "x_nm", "y [nm]": "y_nm"},
    optional={
        "z [nm]": "z_nm",
        "intensity [photon]": "photons",
        "offset [photon]": "bg",
        "uncertainty [nm]": "xy_sig",
        "uncertainty_xy [nm]": "xy_sig",
        "uncertainty_z [nm]": "z_sig",
        "detections": "num_frames",
    },
    first_frame=1,
    origin_px=0.5,
    other=("id", "sigma [nm]", "sigma1 [nm]", "sigma2 [nm]", "bkgstd [photon]", "chi2"),
    quoted=True,
    order=(
        "id", "frame", "x [nm]", "y [nm]", "z [nm]", "sigma [nm]", "sigma1 [nm]", "sigma2 [nm]", "intensity [photon]",
        "offset [photon]", "bkgstd [photon]", "chi2", "uncertainty [nm]", "uncertainty_xy [nm]", "uncertainty_z [nm]",
        "detections",
    ),
    together={"sigma1 [nm]": "z [nm]", "sigma2 [nm]": "sigma1 [nm]", "uncertainty_z [nm]": "z [nm]"},
    counts_from={"id": 1},
    any_unit=True,
)  # fmt: skip
CHALLENGE: Final = CsvLayout(
    "SMLM challenge",
    required={"frame": "frame", "xnano": "x_nm", "ynano": "y_nm"},
    optional={"znano": "z_nm", "intensity": "photons"},
    first_frame=1,
    origin_px=0.5,
    other=("Ground-truth",),
)


@dataclass(frozen=True)
class CsvHead:
    """Header of a csv, and what its first lines tell about the file."""

    names: list[str]
    """Column names, without quotes and blanks."""
    num_lines: int
    """Number of lines before the first row."""
    dialect: CsvDialect
    notes: tuple[str, ...] = ()
    """What had to be repaired, and what was assumed, in words."""
    quoted: bool | None = False
    """Whether names are in quotes (except for the first one, if a spreadsheet turned the header into one cell); None:
    the file is not text."""
    comment: str = ""
    """First line, if it precedes the header."""
    encoding: str = "utf8"
    rows: tuple[tuple[str, ...], ...] = ()
    """Cells of the first rows; empty if the file is not text."""

    def lowest(self, name: str) -> float:
        """Return the smallest number of a column in the first rows; inf if there are no numbers."""
        place = self.names.index(name)
        return min((_number(row[place], self.dialect) for row in self.rows if len(row) > place), default=math.inf)


def read_header(lines: Sequence[str], separator: str | None = None) -> CsvHead:
    """Read the header of a csv, and detect separator and decimal mark from the header and the first rows.

    Lines that begin with ``#`` or ``%`` are skipped, unless the last of them names the columns of the numbers below. A
    header in which each name is quoted may have been quoted again, as one cell, by a spreadsheet; such a header is
    unpacked. Rows may have an empty cell more than the header, or a quoted row name before the others, as R writes it.

    Parameters
    ----------
    separator
        One of the values of `SEPARATORS`; None: the one that splits the header into the most columns.
    """
    number = next((n for n, line in enumerate(lines) if line.strip() and line[0] not in _COMMENT), len(lines))
    if number == len(lines):
        return CsvHead([], 0, CsvDialect(separator or ","))
    notes: tuple[str, ...] = ()
    line, num_lines = lines[number].rstrip("\r\n"), number + 1
    comment = lines[number - 1].lstrip(f"{_COMMENT} ").rstrip() if number else ""
    if _ONE_CELL.fullmatch(line):
        line = _split(line, ",")[0]
        notes = ("a spreadsheet had turned the header into one quoted cell; it was unpacked",)
    elif comment and _are_names_of(comment, line, separator or _separator(line)):
        line, num_lines = comment, number
        notes = ("column names were taken from the comment above the rows",)
    chosen = separator or _separator(line)
    names = [name.strip() for name in _split(line, chosen)]
    quoted = all(f'"{name}"' in line for name in names[1 if notes else 0 :])
    dialect = CsvDialect(chosen, _decimal_mark(lines[num_lines:], chosen))
    first = [row for row in lines[num_lines : num_lines + _FIRST_ROWS] if row.strip()]
    rows = tuple(tuple(_split(row, chosen)) for row in first)
    if rows and all(len(row) == len(names) + 1 for row in rows):
        if not any(row[-1].strip() for row in rows):
            names = [*names, ""]
        elif all(row.startswith('"') for row in first):
            names = ["", *names]
            notes += ("the first cell of each row, which has no name, was taken for the name of the row",)
    return CsvHead(
        names,
        num_lines,
        dialect,
        notes + dialect.notes(),
        quoted=quoted,
        comment=lines[0] if number else "",
        rows=rows,
    )


def _separator(line: str) -> str:
    bare = _QUOTED.sub("", line)
    best = max((mark for mark in SEPARATORS.values() if mark != " "), key=bare.count)
    return best if best in bare or " " not in bare.strip() else " "


def _are_names_of(comment: str, row: str, separator: str) -> bool:
    """Return whether a comment names the cells of the row of numbers below it, as ``numpy.savetxt`` writes them."""
    names, cells = _split(comment, separator), _split(row, separator)
    return len(names) == len(cells) > 1 and not any(cell.strip()[:1].isalpha() for cell in cells)


def read_numbers(path: Path, head: CsvHead, wanted: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
    """Read the columns of `iter_numbers` as whole arrays."""
    pieces = list(iter_numbers(path, head, wanted, rows_at_once=_ROWS_AT_ONCE))
    return {ours: np.concatenate([piece[ours] for piece in pieces]) for ours in wanted.values()}


def iter_numbers(
    path: Path,
    head: CsvHead,
    wanted: Mapping[str, str],
    *,
    rows_at_once: int,
    texts: Collection[str] = (),
    footer: str = "",
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Iterate over a csv and give columns by our names; empty cells become NaN. ``wanted`` maps their names to ours.

    Each piece has about ``rows_at_once`` rows, and at least some hundreds. A csv without rows gives one empty piece.

    Parameters
    ----------
    texts
        Columns (by their names in the file) that are returned as text, unchanged.
    footer
        Lines that match this pattern are skipped.

    Raises
    ------
    TableError
        A cell is not a number, or a row has another number of cells than the header.
    """
    header = head.names
    unique = [f"{number}:{name}" for number, name in enumerate(header)]
    place = {name: unique[header.index(name)] for name in wanted}
    types = {place[name]: pa.string() if name in texts else pa.float64() for name in wanted}
    block_bytes = min(max(rows_at_once * len(header) * _CELL_BYTES, 2**16), 2**22)  # Arrow reads some ahead

    def numbers(batches: list[pa.RecordBatch]) -> dict[str, npt.NDArray[Any]]:
        table = pa.Table.from_batches(batches, pa.schema(list(types.items())))
        return {ours: table[place[name]].to_numpy() for name, ours in wanted.items()}

    def what_of(row: pyarrow.csv.InvalidRow) -> str:
        return "skip" if footer and re.match(footer, row.text) else "error"

    waiting: list[pa.RecordBatch] = []
    any_given = False
    try:
        with pyarrow.csv.open_csv(
            text_file(path, head.dialect),
            read_options=pyarrow.csv.ReadOptions(
                column_names=unique,
                skip_rows=head.num_lines,
                use_threads=False,
                block_size=block_bytes,
                encoding=head.encoding,
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=head.dialect.separator, invalid_row_handler=what_of),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(types), column_types=types, decimal_point=head.dialect.decimal_mark
            ),
        ) as reader:
            for batch in reader:
                waiting.append(batch)
                if sum(map(len, waiting)) >= rows_at_once:
                    yield numbers(waiting)
                    waiting, any_given = [], True
    except pa.ArrowInvalid as error:
        if "Empty CSV" not in str(error):
            raise TableError(f"{path} cannot be read as a table of numbers ({_reason(error, header)}.") from error
    if waiting or not any_given:
        yield numbers(waiting)


def text_file(path: Path, dialect: CsvDialect) -> Any:
    """Return what Arrow's csv readers open: the path, or the text with single blanks if blanks separate cells."""
    return pa.PythonFile(_SingleBlanks(path), mode="r") if dialect.separator == " " else path


class _SingleBlanks(io.RawIOBase):
    """Bytes of a text file in which each run of blanks is one blank, and lines have none at their ends."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes; none at the end of the file."""
        while not self._waiting:
            lines = self._file.readlines(2**20)
            if not lines:
                return b""
            self._waiting = b"".join(_END_BLANKS.sub(b"", _BLANKS.sub(b" ", line)) for line in lines)
        size = len(self._waiting) if size < 0 else size
        given, self._waiting = self._waiting[:size], self._waiting[size:]
        return given

    def close(self) -> None:
        self._file.close()
        super().close()


def _reason(error: pa.ArrowInvalid, header: Sequence[str]) -> str:
    """Return Arrow's message with the column's name in place of its number, then what to do about it."""
    said = " ".join(str(error).split())
    said = _ARROW_COLUMN.sub(lambda found: f"in column {header[int(found[1])]!r}", said)
    value = _ARROW_VALUE.search(said)
    if value is not None and _DECIMAL_COMMA.fullmatch(value[1]):
        return f"{said}); write decimals with a point, or separate cells by semicolons"
    return f"{said}); repair or remove that line"


def _split(line: str, separator: str) -> list[str]:
    line = line.strip(" ") if separator == " " else line
    return next(csv.reader([line], skipinitialspace=separator != "\t", delimiter=separator), [])


def _number(cell: str, dialect: CsvDialect) -> float:
    try:
        return float(cell.replace(dialect.decimal_mark, "."))
    except ValueError:
        return math.inf


def _decimal_mark(rows: Sequence[str], separator: str) -> str:
    """Return a comma if some cell is a number only when read with a decimal comma; never if commas separate cells."""
    if separator == ",":
        return "."
    cells = (cell.strip() for row in rows for cell in _split(row, separator))
    return "," if any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells) else "."
