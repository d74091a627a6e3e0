"""Reader of truth tables, in our and in other formats, as emitters in our coordinates.

Our convention: frames from 0, nm, x along columns, 0 at the centre of pixel [0, 0]. All csv formats below count frames
from 1, have x along the columns, and put 0 at the outer corner of the first pixel (pixel i covers [i, i + 1) pixels),
so half a pixel is subtracted. This was found by comparing tables with their frames: for NAIRR 3DAS_LD a fit of all
emitters to all frames puts the origin at -0.499(1), -0.501(1) px; for the challenge, ThunderSTORM and NAIRR 2D the
light at the emitters is greatest at -0.5 px along both axes, and vanishes if x and y are exchanged.
"""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lls_decode.documents import read_head
from lls_decode.emitters import Emitters
from lls_decode.errors import TableError
from lls_decode.outputs import note_read
from lls_decode.table import LARGEST_FRAME, read_emitters
from lls_decode.table.csv_layouts import CHALLENGE, THUNDERSTORM, CsvHead, CsvLayout, read_header, read_numbers

Floats = npt.NDArray[np.float64]


_NAIRR = CsvLayout(
    "NAIRR",
    required={
        "Frame": "frame", "Emitter": "id", "x (nm)": "x_nm", "y (nm)": "y_nm", "Intensity (photons)": "photons",
    },
    optional={"z (nm)": "z_nm"},
    first_frame=1,
    origin_px=0.5,
)  # fmt: skip
_LAYOUTS = (CHALLENGE, _NAIRR, THUNDERSTORM)
_OURS = ("frame", "x_nm", "y_nm")
_MOST_HEADER_LINES = 20


def read_truth(path: str | Path, *, pixel_nm: float | None = None, first_frame: int | None = None) -> Emitters:
    """Read a truth table: our Parquet, or csv of the SMLM challenge, NAIRR or ThunderSTORM; csv in a folder are joined.

    A csv with our column names (``frame, x_nm, y_nm, ...``) is read as being in our coordinates.

    Parameters
    ----------
    pixel_nm
        Pixel size, needed by formats that put the origin at a pixel's corner, i.e. all but ours.
    first_frame
        Number of the dataset's first frame in the file; None: that of its format (`first_frame_of`).

    Raises
    ------
    TableError
        Unknown format, missing pixel size, or values that are not numbers.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob("*.csv"))
        if not files:
            raise TableError(f"{path} has no csv files; give a truth table, or a folder with one csv for each frame.")
        parts = [_read_csv(file, pixel_nm, first_frame) for file in files]
        names = Emitters.__dataclass_fields__
        return Emitters(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
    if not path.is_file():
        raise TableError(f"{path} does not exist; give a truth table (.parquet or .csv).")
    if not _is_parquet(path):
        return _read_csv(path, pixel_nm, first_frame)
    truth = read_emitters(path)
    return replace(truth, frame=truth.frame - first_frame) if first_frame else truth


def first_frame_of(path: str | Path) -> int:
    """Return the number of the first frame in the format of a truth table: 0 for ours, 1 for the others."""
    path = Path(path)
    if path.is_dir():
        path = next(iter(sorted(path.glob("*.csv"))))
    if _is_parquet(path):
        return 0
    header = _header(path).names
    layout = None if all(name in header for name in _OURS) else _layout(header)
    return 0 if layout is None else layout.first_frame


def _is_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _layout(header: Sequence[str]) -> CsvLayout | None:
    return next((layout for layout in _LAYOUTS if layout.fits(header)), None)


def _read_csv(path: Path, pixel_nm: float | None, first_frame: int | None) -> Emitters:
    head = _header(path)
    header = head.names
    if all(name in header for name in _OURS):
        ours = {name: name for name in Emitters.__dataclass_fields__ if name in header}
        columns = read_numbers(path, head, ours)
        return Emitters.from_columns({**columns, "frame": _frames(path, columns["frame"], first=0, given=first_frame)})
    layout = _layout(header)
    if layout is None:
        found = ", ".join(header)
        known = ", or ".join(f"{layout.name} ({', '.join(layout.required)})" for layout in _LAYOUTS)
        raise TableError(
            f"{path} has columns {found if len(found) < 400 else found[:400] + ' ...'}; expected ours "
            f"({', '.join(_OURS)}, ...), {known}; rename the columns."
        )
    if pixel_nm is None:
        raise TableError(
            f"{path} is a {layout.name} table, whose origin is the corner of the first pixel; give pixel_nm so that "
            "it can be moved to the centre of the pixel."
        )
    wanted = {name: ours for name, ours in {**layout.required, **layout.optional}.items() if name in header}
    columns = read_numbers(path, head, wanted)
    if "xy_sig" in columns:
        columns["x_sig"] = columns["y_sig"] = columns.pop("xy_sig")
    assert layout.origin_px is not None  # true for all three layouts
    columns["x_nm"] = columns["x_nm"] - layout.origin_px * pixel_nm
    columns["y_nm"] = columns["y_nm"] - layout.origin_px * pixel_nm
    return Emitters.from_columns(
        {**columns, "frame": _frames(path, columns["frame"], first=layout.first_frame, given=first_frame)}
    )


def _header(path: Path) -> CsvHead:
    note_read(path)
    try:
        return read_header(read_head(path).splitlines()[:_MOST_HEADER_LINES])
    except (OSError, ValueError, csv.Error) as error:
        raise TableError(f"{path} cannot be read as text ({error}); expected a csv table with a header.") from error


def _frames(path: Path, number: Floats, *, first: int, given: int | None) -> npt.NDArray[np.int64]:
    """Return frames counted from 0; refuse frames before the first one, unless the user gave the first one's number."""
    bad = ~((np.abs(number) <= LARGEST_FRAME) & (number == np.trunc(number)))
    if given is None:
        bad |= number < first
    if bad.any():
        row = int(np.argmax(bad))
        raise TableError(
            f"{path} has frame {number[row]:g} in row {row + 1}; expected whole numbers of {first} or more "
            f"({int(bad.sum())} rows are not). If the first frame has another number, give it: --truth-first-frame."
        )
    return number.astype(np.int64) - (first if given is None else given)
