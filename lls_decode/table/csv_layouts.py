"""csv of other programs: which of their columns is which of ours, and the reading of numbers from them.

What two floors above know of a csv is here: tables that are imported (`export`) and truths (`evaluate`).
"""

import csv
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
_QUOTED: Final = re.compile(r'"[^"]*"')
_ONE_CELL: Final = re.compile(r'"([^"]|"")*[,;\t]([^"]|"")*"')
_ARROW_COLUMN: Final = re.compile(r"In CSV column #(\d+)")
_ARROW_VALUE: Final = re.compile(r"invalid value '([^']*)'")
_DECIMAL_COMMA: Final = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")


SEPARATORS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "space": " "}
"""By their names on the command line; of those that cut a header alike the first is taken, blanks only alone."""


@dataclass(frozen=True)
class CsvDialect:
    """How a csv writes its cells."""

    separator: str = ","
    decimal_mark: str = "."

    def notes(self) -> tuple[str, ...]:
        """What is not as in most files, in words."""
        words = {";": "semicolons", "\t": "tabs", " ": "blanks"}
        decimal = ("decimals have a comma",) if self.decimal_mark == "," else ()
        return (*((f"cells are separated by {words[self.separator]}",) if self.separator in words else ()), *decimal)


@dataclass(frozen=True)
class CsvLayout:
    """A table of another program: which of its columns is which of ours, and what its numbers count from."""

    name: str
    required: Mapping[str, str]
    """Ours by theirs; every file of this layout has them."""
    optional: Mapping[str, str]
    first_frame: int
    origin_px: float | None
    """Where this program has the centre of the first pixel; None where that is not documented: kept as in the file."""
    notes: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    """Names that this program writes, too, and for which our table has no place."""
    is_open: bool = False
    """Columns of any other name may be there, too: the names of the required ones are this program's alone."""
    quoted: bool = False
    """This program writes its names in quotes."""
    comment: str = ""
    """How the first line of a file begins, where this program writes one before the header."""
    order: tuple[str, ...] = ()
    """Order in which this program writes columns; empty: any."""
    together: Mapping[str, str] = field(default_factory=dict)
    """Columns that this program writes only beside another one."""
    counts_from: Mapping[str, int] = field(default_factory=dict)
    """Columns that this program counts, and from which number."""
    units: Mapping[str, str] = field(default_factory=dict)
    """Of lengths, by their name; nm where neither this nor the name says it."""
    footer: str = ""
    """Lines after the rows match this pattern."""
    asks: str = ""
    """Why frames and origin of its files are not known, in words."""
    first_channel: int = 0
    """From which number this program counts channels."""
    fills_channel: bool = False
    """This program writes a channel of 0 where there are no channels."""

    def fits(self, header: Sequence[str]) -> bool:
        """Whether a header has all columns that this layout has to have."""
        return all(name in header for name in self.required)

    def doubts(self, head: "CsvHead") -> tuple[str, ...]:
        """Why another program may have written a header that fits, in words; nothing where it is this program's."""
        known = {*self.required, *self.optional, *self.other, *_ROW_NUMBERS}
        unknown = [repr(name) for name in head.names if name not in known]
        found = [self.asks] if self.asks else []
        if unknown and not self.is_open:
            found.append(f"it has {_shown(unknown)}, which {self.name} does not write")
        if self.quoted and not head.quoted:
            how = "it is no csv" if head.quoted is None else "its names are not in quotes"
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
"""Of columns with which pandas numbers rows; any program's table may have them."""


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
    """What the first lines of a csv say."""

    names: list[str]
    """Of the columns, without quotes and blanks."""
    num_lines: int
    """Up to the first row."""
    dialect: CsvDialect
    notes: tuple[str, ...] = ()
    """What had to be repaired, and what was assumed."""
    quoted: bool | None = False
    """Names are in quotes, but for the first one where a spreadsheet has made the header one cell; None: no text."""
    comment: str = ""
    """First line, where that is before the header."""
    encoding: str = "utf8"
    rows: tuple[tuple[str, ...], ...] = ()
    """Cells of the first rows; none of a file that is no text."""

    def lowest(self, name: str) -> float:
        """Smallest number of a column in the first rows; inf where there is none."""
        place = self.names.index(name)
        return min((_number(row[place], self.dialect) for row in self.rows if len(row) > place), default=math.inf)


def read_header(lines: Sequence[str], separator: str | None = None) -> CsvHead:
    """Read the header of a csv, and by it and the first row what separates cells and decimals.

    Lines that begin with ``#`` are passed over, unless the last of them names the cells of the numbers below. A
    spreadsheet that took a quoted header for one cell quotes it again; such a header is unpacked.

    Parameters
    ----------
    separator
        One of `SEPARATORS`; None: the one that cuts the header into the most columns.
    """
    number = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), len(lines))
    if number == len(lines):
        return CsvHead([], 0, CsvDialect(separator or ","))
    notes: tuple[str, ...] = ()
    line, num_lines = lines[number].rstrip("\r\n"), number + 1
    comment = lines[number - 1].lstrip("# ").rstrip() if number else ""
    if _ONE_CELL.fullmatch(line):
        line = _split(line, ",")[0]
        notes = ("the header was one quoted cell, as a spreadsheet leaves it; it was unpacked",)
    elif comment and _are_names_of(comment, line, separator or _separator(line)):
        line, num_lines = comment, number
        notes = ("names of the columns are those of the comment above the rows",)
    chosen = separator or _separator(line)
    names = [name.strip() for name in _split(line, chosen)]
    dialect = CsvDialect(chosen, _decimal_mark(lines[num_lines:], chosen))
    return CsvHead(
        names,
        num_lines,
        dialect,
        notes + dialect.notes(),
        quoted=all(f'"{name}"' in line for name in names[1 if notes else 0 :]),
        comment=lines[0] if number else "",
        rows=tuple(tuple(_split(row, chosen)) for row in lines[num_lines : num_lines + _FIRST_ROWS]),
    )


def _separator(line: str) -> str:
    bare = _QUOTED.sub("", line)
    best = max((mark for mark in SEPARATORS.values() if mark != " "), key=bare.count)
    return best if best in bare or " " not in bare.strip() else " "


def _are_names_of(comment: str, row: str, separator: str) -> bool:
    """Whether a comment names the cells of a row of numbers below it, as ``numpy.savetxt`` writes it."""
    names, cells = _split(comment, separator), _split(row, separator)
    return len(names) == len(cells) > 1 and not any(cell.strip()[:1].isalpha() for cell in cells)


def read_numbers(path: Path, head: CsvHead, wanted: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
    """The columns of `iter_numbers` as a whole."""
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
    """Columns by our names; empty cells are NaN. ``wanted`` gives our name by theirs.

    Pieces are of about so many rows, of some hundreds at least; one is given when there are no rows.

    Parameters
    ----------
    texts
        Columns (their names) that are given as text, as they stand in the file.
    footer
        Lines that match this pattern are no rows.

    Raises
    ------
    TableError
        Cells that are no numbers, rows of another length.
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
            path,
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


def _reason(error: pa.ArrowInvalid, header: Sequence[str]) -> str:
    """What Arrow says, with the name of the column in place of its number; and what to do, outside the brackets."""
    said = " ".join(str(error).split())
    said = _ARROW_COLUMN.sub(lambda found: f"in column {header[int(found[1])]!r}", said)
    value = _ARROW_VALUE.search(said)
    if value is not None and _DECIMAL_COMMA.fullmatch(value[1]):
        return f"{said}); write decimals with a point, or separate cells by semicolons"
    return f"{said}); repair or remove that line"


def _split(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], skipinitialspace=separator != "\t", delimiter=separator), [])


def _number(cell: str, dialect: CsvDialect) -> float:
    try:
        return float(cell.replace(dialect.decimal_mark, "."))
    except ValueError:
        return math.inf


def _decimal_mark(rows: Sequence[str], separator: str) -> str:
    """A comma where a cell is a number only with that; never where commas separate cells."""
    if separator == ",":
        return "."
    cells = (cell.strip() for row in rows for cell in _split(row, separator))
    return "," if any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells) else "."
