"""csv of other programs: which of their columns is which of ours, and the reading of numbers from them.

What two floors above know of a csv is here: tables that are imported (`export`) and truths (`evaluate`).
"""

import csv
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


def read_header(lines: Sequence[str]) -> tuple[list[str], int, tuple[str, ...]]:
    """Names of the columns without quotes and blanks, the number of lines up to them, and what had to be repaired.

    Lines that begin with ``#`` are passed over. A spreadsheet that took a quoted header for one cell quotes it again;
    such a header is unpacked.
    """
    for number, line in enumerate(lines):
        if not line.strip() or line.startswith("#"):
            continue
        names = _split(line)
        notes: tuple[str, ...] = ()
        if len(names) == 1 and "," in names[0]:
            names = _split(names[0])
            notes = ("the header was one quoted cell, as a spreadsheet leaves it; it was unpacked",)
        return [name.strip() for name in names], number + 1, notes
    return [], 0, ()


def read_numbers(
    path: Path, header: Sequence[str], wanted: Mapping[str, str], *, skip: int
) -> dict[str, npt.NDArray[Any]]:
    """The columns of `iter_numbers` as a whole."""
    pieces = list(iter_numbers(path, header, wanted, skip=skip, rows_at_once=_ROWS_AT_ONCE))
    return {ours: np.concatenate([piece[ours] for piece in pieces]) for ours in wanted.values()}


def iter_numbers(
    path: Path, header: Sequence[str], wanted: Mapping[str, str], *, skip: int, rows_at_once: int
) -> Iterator[dict[str, npt.NDArray[np.float64]]]:
    """Columns by our names, ``skip`` lines down; empty cells are NaN. ``wanted`` gives our name by theirs.

    Pieces are of about so many rows, of some hundreds at least; one is given when there are no rows.

    Raises
    ------
    TableError
        Cells that are no numbers, rows of another length.
    """
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
                column_names=unique, skip_rows=skip, use_threads=False, block_size=block_bytes
            ),
            convert_options=pyarrow.csv.ConvertOptions(include_columns=list(types), column_types=types),
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


def _split(line: str) -> list[str]:
    return next(csv.reader([line], skipinitialspace=True), [])
