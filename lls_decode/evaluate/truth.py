"""Truth tables, ours and other people's, as emitters in our coordinate system.

Ours: frames from 0, nm, x = column, 0 = centre of pixel [0, 0]. All the csv formats below count frames from 1, have x
along the columns, and put 0 at the outer corner of the first pixel (pixel i covers [i, i + 1) pixels), so that half a
pixel is subtracted. This was found by comparing tables with the frames that belong to them: for NAIRR 3DAS_LD a fit of
all emitters to all frames puts the origin at -0.499(1), -0.501(1) px; for the challenge, ThunderSTORM and NAIRR 2D the
light at the emitters is greatest at -0.5 px in both axes, and is lost when x and y are exchanged.
"""

from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lls_decode.emitters import Emitters
from lls_decode.errors import TableError
from lls_decode.outputs import note_read
from lls_decode.table import read_emitters
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


def read_truth(path: str | Path, *, pixel_nm: float | None = None) -> Emitters:
    """Read a truth table: our Parquet, or csv of the SMLM challenge, NAIRR or ThunderSTORM; a folder of csv is joined.

    A csv with our own column names (``frame, x_nm, y_nm, ...``) is taken to be in our coordinate system.

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
    head = _header(path)
    header = head.names
    if all(name in header for name in _OURS):
        ours = {name: name for name in Emitters.__dataclass_fields__ if name in header}
        columns = read_numbers(path, head, ours)
        return Emitters.from_columns({**columns, "frame": _frames(path, columns["frame"], first=0)})
    layout = next((layout for layout in _LAYOUTS if layout.fits(header)), None)
    if layout is None:
        found = ", ".join(header)
        known = ", or ".join(f"{layout.name} ({', '.join(layout.required)})" for layout in _LAYOUTS)
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
    columns = read_numbers(path, head, wanted)
    if "xy_sig" in columns:
        columns["x_sig"] = columns["y_sig"] = columns.pop("xy_sig")
    assert layout.origin_px is not None  # of all three
    columns["x_nm"] = columns["x_nm"] - layout.origin_px * pixel_nm
    columns["y_nm"] = columns["y_nm"] - layout.origin_px * pixel_nm
    return Emitters.from_columns({**columns, "frame": _frames(path, columns["frame"], first=layout.first_frame)})


def _header(path: Path) -> CsvHead:
    note_read(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = list(islice(file, _MOST_HEADER_LINES))
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path} cannot be read as text ({error}); expected a csv table with a header.") from error
    return read_header(lines)


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
