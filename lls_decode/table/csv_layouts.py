"""csv of other programs: which of their columns is which of ours, and the reading of numbers from them.

What two floors above know of a csv is here: tables that are imported (`export`) and truths (`evaluate`).
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from lls_decode.errors import TableError


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
    """Columns by our names, ``skip`` lines down; empty cells are NaN. ``wanted`` gives our name by theirs.

    Raises
    ------
    TableError
        Cells that are no numbers, rows of another length.
    """
    unique = [f"{number}:{name}" for number, name in enumerate(header)]
    place = {name: unique[header.index(name)] for name in wanted}
    types = dict.fromkeys(place.values(), pa.float64())
    try:
        table = pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(column_names=unique, skip_rows=skip, use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(include_columns=list(types), column_types=types),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return {ours: np.empty(0) for ours in wanted.values()}
        reason = " ".join(str(error).split())
        raise TableError(
            f"{path} cannot be read as a table of numbers ({reason}); repair or remove that line."
        ) from error
    return {ours: np.asarray(table[place[name]].to_numpy()) for name, ours in wanted.items()}


def _split(line: str) -> list[str]:
    return next(csv.reader([line], skipinitialspace=True), [])
