"""ThunderSTORM's csv: positions in nm from the corner of the first pixel, frames from 1."""

import math
from pathlib import Path
from typing import Final

import numpy as np

from lls_decode.export.rows import ExportTable, Rows, lateral_sigma
from lls_decode.export.text import Columns, write_csv
from lls_decode.export.written import Written

ORIGIN_PX: Final = 0.5

_NAMES: Final = (
    "id", "frame", "x [nm]", "y [nm]", "z [nm]", "sigma [nm]", "sigma1 [nm]", "sigma2 [nm]", "intensity [photon]",
    "offset [photon]", "bkgstd [photon]", "uncertainty_xy [nm]", "uncertainty_z [nm]", "detections",
)  # fmt: skip
_OURS: Final = ("frame", "x_nm", "y_nm", "photons", "bg", "z_nm", "z_sig", "num_frames")
_COMBINED: Final = "uncertainty_xy is the root mean square of x_sig and y_sig"


def write(table: ExportTable, out: Path) -> Written:
    """Write all columns of a table with or without z, since Picasso, which reads this format too, requires them.

    Optional columns without any known value are omitted, because Picasso drops every row with an empty cell. Molecules
    have the column ``detections``, as after ThunderSTORM's merging. ``bkgstd`` is the square root of the background.
    ``sigma1`` and ``sigma2`` are the nominal PSF (``sigma``, their root mean square, if no z is known), or one pixel,
    with a warning, if the PSF is not known.
    """
    pixel = table.pixel_size
    sigma1_nm, sigma2_nm = table.psf_sigma_nm or (pixel.x_nm, pixel.y_nm)
    absent = {"sigma [nm]"} if table.knows("z_nm") else {"z [nm]", "sigma1 [nm]", "sigma2 [nm]"}
    absent |= set() if table.knows("z_sig") else {"uncertainty_z [nm]"}
    absent |= set() if table.knows("num_frames") else {"detections"}
    names = [name for name in _NAMES if name not in absent]

    def columns(rows: Rows, first_row: int) -> Columns:
        length = len(rows["frame"])
        has_sigma = "x_sig" in rows and "y_sig" in rows
        values = (
            np.arange(first_row + 1, first_row + 1 + length),
            rows["frame"] + 1,
            rows["x_nm"] + ORIGIN_PX * pixel.x_nm,
            rows["y_nm"] + ORIGIN_PX * pixel.y_nm,
            rows.get("z_nm"),
            np.full(length, math.hypot(sigma1_nm, sigma2_nm) / math.sqrt(2)),
            np.full(length, sigma1_nm),
            np.full(length, sigma2_nm),
            rows.get("photons"),
            rows.get("bg"),
            np.sqrt(np.maximum(rows["bg"], 0)) if "bg" in rows else None,
            lateral_sigma(rows) if has_sigma else None,
            rows.get("z_sig"),
            rows.get("num_frames"),
        )
        found = dict(zip(_NAMES, values, strict=True))
        return {name: found[name] for name in names}

    write_csv(table, out, [",".join(f'"{name}"' for name in names)], columns)
    known = [name for name in _OURS if table.knows(name) and name in table.columns]
    notes = () if table.psf_sigma_nm else (f"{table.path} does not state the width of the PSF: it is set to one pixel",)
    return Written(frozenset(known), dict.fromkeys(("x_sig", "y_sig"), _COMBINED), notes)
