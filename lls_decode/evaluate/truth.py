"""Truth tables, ours and other people's, as emitters in our frame of reference.

Ours: frames from 0, nm, x = column, 0 = centre of pixel [0, 0]. All the csv formats below count frames from 1, have x
along the columns, and put 0 at the outer corner of the first pixel (pixel i covers [i, i + 1) pixels), so that half a
pixel is subtracted. This was found by comparing tables with the frames that belong to them: for NAIRR 3DAS_LD a fit of
all emitters to all frames puts the origin at -0.499(1), -0.501(1) px; for the challenge, ThunderSTORM and NAIRR 2D the
light at the emitters is greatest at -0.5 px in both axes, and is lost when x and y are exchanged.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from lls_decode.emitters import Emitters
from lls_decode.errors import TableError
from lls_decode.table import read_emitters

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Format:
    """A csv layout: which of its columns is which of ours. Frames from 1, nm, corner origin."""

    name: str
    required: Mapping[str, str]
    """Ours by theirs; a file with all of these is of this format."""
    optional: Mapping[str, str] = field(default_factory=dict)


_FORMATS = (
    _Format(
        "SMLM challenge",
        {"frame": "frame", "xnano": "x_nm", "ynano": "y_nm", "znano": "z_nm", "intensity": "photons"},
    ),
    _Format(
        "NAIRR",
        {"Frame": "frame", "Emitter": "id", "x (nm)": "x_nm", "y (nm)": "y_nm", "Intensity (photons)": "photons"},
        {"z (nm)": "z_nm"},
    ),
    _Format(
        "ThunderSTORM",
        {"frame": "frame", "x [nm]": "x_nm", "y [nm]": "y_nm"},
        {
            "z [nm]": "z_nm",
            "intensity [photon]": "photons",
            "offset [photon]": "bg",
            "uncertainty [nm]": "xy_sig",
            "uncertainty_xy [nm]": "xy_sig",
            "uncertainty_z [nm]": "z_sig",
        },
    ),
)
_OURS = ("frame", "x_nm", "y_nm")


def read_truth(path: str | Path, *, pixel_nm: float | None = None) -> Emitters:
    """Read a truth table: our Parquet, or csv of the SMLM challenge, NAIRR or ThunderSTORM; a folder of csv is joined.

    A csv with our own column names (``frame, x_nm, y_nm, ...``) is taken to be in our frame of reference.

    Parameters
    ----------
    pixel_nm
        Size of a pixel, needed by formats that put the origin at a pixel's corner: all but ours.

    Raises
    ------
    TableError
        Unknown format, missing pixel size, or values that are no numbers.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.csv"))
        if not files:
            raise TableError(f"{path} has no csv files; give a truth table, or a folder with one csv for each frame.")
        parts = [_read_csv(file, pixel_nm) for file in files]
        names = Emitters.__dataclass_fields__
        return Emitters(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
    if not path.is_file():
        raise TableError(f"{path} does not exist; give a truth table (.parquet or .csv).")
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    return read_emitters(path) if is_parquet else _read_csv(path, pixel_nm)


def _read_csv(path: Path, pixel_nm: float | None) -> Emitters:
    header = _header(path)
    if all(name in header for name in _OURS):
        ours = [name for name in Emitters.__dataclass_fields__ if name in header]
        columns = _numbers(path, header, {name: name for name in ours})
        return Emitters.from_columns({**columns, "frame": _frames(path, columns["frame"], first=0)})
    for layout in _FORMATS:
        if all(name in header for name in layout.required):
            break
    else:
        found = ", ".join(header)
        known = ", or ".join(f"{layout.name} ({', '.join(layout.required)})" for layout in _FORMATS)
        raise TableError(
            f"{path} has columns {found if len(found) < 400 else found[:400] + ' ...'}; expected ours "
            f"({', '.join(_OURS)}, ...), {known}; rename the columns."
        )
    if pixel_nm is None:
        raise TableError(
            f"{path} is a {layout.name} table, whose origin is the corner of the first pixel; give pixel_nm, so that "
            "it can be moved to the pixel's centre."
        )
    wanted = {name: ours for name, ours in {**layout.required, **layout.optional}.items() if name in header}
    columns = _numbers(path, header, wanted)
    if "xy_sig" in columns:
        columns["x_sig"] = columns["y_sig"] = columns.pop("xy_sig")
    columns["x_nm"] = columns["x_nm"] - pixel_nm / 2
    columns["y_nm"] = columns["y_nm"] - pixel_nm / 2
    return Emitters.from_columns({**columns, "frame": _frames(path, columns["frame"], first=1)})


def _header(path: Path) -> list[str]:
    """Names in the first line, without quotes and blanks."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            line = next(csv.reader(file, skipinitialspace=True), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path} cannot be read as text ({error}); expected a csv table with a header.") from error
    return [name.strip() for name in line]


def _numbers(path: Path, header: list[str], wanted: Mapping[str, str]) -> dict[str, Floats]:
    """Columns by our names; ``wanted`` gives our name by theirs."""
    unique = [f"{number}:{name}" for number, name in enumerate(header)]
    place = {name: unique[header.index(name)] for name in wanted}
    try:
        table = pyarrow.csv.read_csv(
            path,
            read_options=pyarrow.csv.ReadOptions(column_names=unique, skip_rows=1, use_threads=False),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(place.values()), column_types=dict.fromkeys(place.values(), pa.float64())
            ),
        )
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return {ours: np.empty(0) for ours in wanted.values()}
        raise TableError(f"{path} cannot be read as numbers ({' '.join(str(error).split())}).") from error
    return {
        ours: np.asarray(table[place[name]].fill_null(np.nan).to_numpy(), dtype=np.float64)
        for name, ours in wanted.items()
    }


def _frames(path: Path, number: Floats, *, first: int) -> npt.NDArray[np.int64]:
    """Frames from 0."""
    bad = ~(np.isfinite(number) & (number == np.trunc(number)) & (number >= first))
    if bad.any():
        row = int(np.argmax(bad))
        raise TableError(
            f"{path} has frame {number[row]:g} in row {row + 1}; expected whole numbers from {first} on "
            f"({int(bad.sum())} rows are not)."
        )
    return number.astype(np.int64) - first
