"""Tables for other programs to read, and the values expected in the exported coordinate system."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lls_decode.export.exporting import FORMATS, export_table
from tests.export.conftest import GEOMETRY, MODEL, PIXEL, PLANES, random_columns, write_table

from .conftest import Columns

NUM_ROWS = 3000
FIRST_FRAME = 137
"""First frame of all tables, whose frames start late and have gaps."""
X_NM, Y_NM = PIXEL.x_nm, PIXEL.y_nm
"""Size of a pixel, which differs between the axes."""
PSF_NM = (130.0, 140.0)
"""Widths of the PSF of `MODEL` along x and y."""
SIZE = {"width": 255, "height": 270, "num_frames": 900}
"""Size of the dataset, larger than the range of the rows."""


@dataclass(frozen=True)
class Case:
    """Table of lls_decode and its expected values."""

    columns: Columns
    """Exported values by our column names; measured ones are float64."""
    stored: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def exported(self, folder: Path, format: str) -> Path:
        """Export the table in a format through the public function, and return the file's path."""
        table = write_table(folder / "table.parquet", self.stored, **self.metadata)
        return export_table(table, folder / f"out{FORMATS[format].suffix}", format=format).path

    def rms_nm(self) -> np.ndarray[Any, Any]:
        """Return one lateral sigma, the root mean square of those of x and y."""
        return np.sqrt((self.columns["x_sig"] ** 2 + self.columns["y_sig"] ** 2) / 2)


def _case(stored: Columns, **metadata: Any) -> Case:
    exact = {name: values.astype(float) if values.dtype.kind == "f" else values for name, values in stored.items()}
    return Case(exact, stored, {**SIZE, **metadata})


def _rows() -> Columns:
    """Return rows of about twenty volumes without unknown values; some positions are negative, z has both signs."""
    columns = random_columns(NUM_ROWS)
    frame = columns["frame"] + FIRST_FRAME
    columns |= {"frame": frame, "volume": frame // PLANES, "plane": frame % PLANES}
    columns["group"][::3] = -1
    return columns


def _movie() -> Columns:
    """Return rows of two-dimensional data: z, its sigma and that of photons unknown, unlinked, one frame per volume."""
    columns = _rows()
    unknown = np.full(NUM_ROWS, np.nan, np.float32)
    columns |= {"z_nm": unknown, "z_sig": unknown, "phot_sig": unknown, "group": np.full(NUM_ROWS, -1)}
    return columns | {"volume": columns["frame"], "plane": np.zeros(NUM_ROWS, int)}


def _gaps() -> Columns:
    """Return rows in which some sigmas of z and of photons are unknown."""
    columns = _rows()
    for name, rows in (("z_sig", slice(3, None, 7)), ("phot_sig", slice(0, None, 5))):
        columns[name][rows] = np.nan
    return columns


def _tilted() -> Case:
    """Return a stage scan that is exported in sample coordinates, computed by the formulas of the documentation."""
    case = _case(_rows(), geometry=GEOMETRY, model=MODEL)
    found, angle = dict(case.columns), np.radians(31.8)
    x, z, cos, sin = found["x_nm"], found["z_nm"], np.cos(angle), np.sin(angle)
    x_sig, z_sig = found["x_sig"], found["z_sig"]
    found |= {"x_nm": found["plane"] * 400.0 + x * cos + z * sin, "z_nm": -x * sin + z * cos}
    found |= {"x_sig": np.hypot(cos * x_sig, sin * z_sig), "z_sig": np.hypot(sin * x_sig, cos * z_sig)}
    return Case(found, case.stored, case.metadata)


VOLUMES = _case(_rows(), model=MODEL)
FLAT = "two-dimensional movie"
CASES = {
    "volumes": VOLUMES,
    "sample coordinates": _tilted(),
    "unknown sigmas": _case(_gaps(), model=MODEL),
    FLAT: _case(_movie(), planes_per_volume=1),
}
FILLED = {name: CASES[name] for name in ("volumes", "sample coordinates")}
"""Cases without unknown values."""


def assert_same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check that columns and values agree: integers exactly, others within float32 rounding of the largest value."""
    assert sorted(found) == sorted(expected)
    for name, values in expected.items():
        wanted = np.broadcast_to(values, found[name].shape)
        if wanted.dtype.kind in "iu":
            np.testing.assert_array_equal(found[name], wanted, err_msg=name)
        else:
            largest = float(np.max(np.abs(wanted[np.isfinite(wanted)]), initial=0))
            np.testing.assert_allclose(found[name], wanted, rtol=0, atol=2e-7 * largest, err_msg=name)


def in_order_of(columns: Columns, name: str) -> Columns:
    """Sort all columns by one of them, for programs that change the order of rows."""
    order = np.argsort(columns[name], kind="stable")
    return {name: np.broadcast_to(values, order.shape)[order] for name, values in columns.items()}
