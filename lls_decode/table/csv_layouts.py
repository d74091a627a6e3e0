"""csv of other programs: which of their columns is which of ours, and the reading of numbers from them.

What two floors above know of a csv is here: tables that are imported (`export`) and truths (`evaluate`).
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from lls_decode.errors import TableError

_ROWS_AT_ONCE: Final = 2**18
_CELL_BYTES: Final = 12
_QUOTED: Final = re.compile(r'"[^"]*"')
_ONE_CELL: Final = re.compile(r'"([^"]|"")*[,;\t]([^"]|"")*"')
_DECIMAL_COMMA: Final = re.compile(r"[-+]?\d+,\d+([eE][-+]?\d+)?")


SEPARATORS: Final = {"comma": ",", "semicolon": ";", "tab": "\t"}
"""By their names on the command line; the first of those that cut a header alike is taken."""


@dataclass(frozen=True)
class CsvDialect:
    """How a csv writes its cells."""

    separator: str = ","
    decimal_mark: str = "."

    def notes(self) -> tuple[str, ...]:
        """What is not as in most files, in words."""
        words = {";": "cells are separated by semicolons", "\t": "cells are separated by tabs"}
        decimal = ("decimals have a comma",) if self.decimal_mark == "," else ()
        return (*((words[self.separator],) if self.separator in words else ()), *decimal)


@dataclass(frozen=True)
class CsvLayout:
    """A csv of another program: which of its columns is which of ours, in nm and photons."""

    name: str
    required: Mapping[str, str]
    """Ours by theirs; a file with all of these is of this layout."""
    optional: Mapping[str, str]
    first_frame: int
    origin_px: float | None
    """Where this program has the centre of the first pixel; None where that is not documented: kept as in the file."""
    notes: tuple[str, ...] = ()

    def fits(self, header: Sequence[str]) -> bool:
        """Whether a header is of this layout."""
        return all(name in header for name in self.required)


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
    },
    first_frame=1,
    origin_px=0.5,
)
CHALLENGE: Final = CsvLayout(
    "SMLM challenge",
    required={"frame": "frame", "xnano": "x_nm", "ynano": "y_nm"},
    optional={"znano": "z_nm", "intensity": "photons"},
    first_frame=1,
    origin_px=0.5,
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


def read_header(lines: Sequence[str], separator: str | None = None) -> CsvHead:
    """Read the header of a csv, and by it and the first row what separates cells and decimals.

    Lines that begin with ``#`` are passed over. A spreadsheet that took a quoted header for one cell quotes it again;
    such a header is unpacked.

    Parameters
    ----------
    separator
        One of `SEPARATORS`; None: the one that cuts the header into the most columns.
    """
    for number, line in enumerate(lines):
        if not line.strip() or line.startswith("#"):
            continue
        line = line.rstrip("\r\n")
        notes: tuple[str, ...] = ()
        if _ONE_CELL.fullmatch(line):
            line = _split(line, ",")[0]
            notes = ("the header was one quoted cell, as a spreadsheet leaves it; it was unpacked",)
        chosen = separator or max(SEPARATORS.values(), key=_QUOTED.sub("", line).count)
        names = [name.strip() for name in _split(line, chosen)]
        dialect = CsvDialect(chosen, _decimal_mark(lines[number + 1 :], chosen))
        return CsvHead(names, number + 1, dialect, notes + dialect.notes())
    return CsvHead([], 0, CsvDialect(separator or ","))


def read_numbers(path: Path, head: CsvHead, wanted: Mapping[str, str]) -> dict[str, npt.NDArray[Any]]:
    """The columns of `iter_numbers` as a whole."""
    pieces = list(iter_numbers(path, head, wanted, rows_at_once=_ROWS_AT_ONCE))
    return {ours: np.concatenate([piece[ours] for piece in pieces]) for ours in wanted.values()}


def iter_numbers(
    path: Path, head: CsvHead, wanted: Mapping[str, str], *, rows_at_once: int
) -> Iterator[dict[str, npt.NDArray[np.float64]]]:
    """Columns by our names; empty cells are NaN. ``wanted`` gives our name by theirs.

    Pieces are of about so many rows, of some hundreds at least; one is given when there are no rows.

    Raises
    ------
    TableError
        Cells that are no numbers, rows of another length.
    """
    header = head.names
    unique = [f"{number}:{name}" for number, name in enumerate(header)]
    place = {name: unique[header.index(name)] for name in wanted}
    types = dict.fromkeys(place.values(), pa.float64())
    block_bytes = min(max(rows_at_once * len(header) * _CELL_BYTES, 2**16), 2**22)  # Arrow reads some ahead

    def numbers(batches: list[pa.RecordBatch]) -> dict[str, npt.NDArray[np.float64]]:
        table = pa.Table.from_batches(batches, pa.schema(list(types.items())))
        return {ours: table[place[name]].to_numpy() for name, ours in wanted.items()}

    waiting: list[pa.RecordBatch] = []
    any_given = False
    try:
        with pyarrow.csv.open_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(
                column_names=unique, skip_rows=head.num_lines, use_threads=False, block_size=block_bytes
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=head.dialect.separator),
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
            reason = " ".join(str(error).split())
            raise TableError(
                f"{path} cannot be read as a table of numbers ({reason}); repair or remove that line."
            ) from error
    if waiting or not any_given:
        yield numbers(waiting)


def _split(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], skipinitialspace=separator != "\t", delimiter=separator), [])


def _decimal_mark(rows: Sequence[str], separator: str) -> str:
    """A comma where a cell is a number only with that; never where commas separate cells."""
    if separator == ",":
        return "."
    cells = (cell.strip() for row in rows for cell in _split(row, separator))
    return "," if any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells) else "."
