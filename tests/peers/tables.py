"""Tables for other programs to read, with all that they hold in the coordinate system that is exported."""

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
"""Of all tables: frames begin late and have gaps."""
X_NM, Y_NM = PIXEL.x_nm, PIXEL.y_nm
"""Size of a pixel; the two are not the same."""
PSF_NM = (130.0, 140.0)
"""Of `MODEL`."""
SIZE = {"width": 255, "height": 270, "num_frames": 900}
"""Of the dataset: more than the rows reach."""


@dataclass(frozen=True)
class Case:
    """A table of ours."""

    columns: Columns
    """By our names, positions and sigmas as they are exported; float64 where they are measured."""
    stored: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def exported(self, folder: Path, format: str) -> Path:
        """The file of a format, written through the public function."""
        table = write_table(folder / "table.parquet", self.stored, **self.metadata)
        return export_table(table, folder / f"out{FORMATS[format].suffix}", format=format).path

    def rms_nm(self) -> np.ndarray[Any, Any]:
        """One lateral sigma: root mean square of the two."""
        return np.sqrt((self.columns["x_sig"] ** 2 + self.columns["y_sig"] ** 2) / 2)


def _case(stored: Columns, **metadata: Any) -> Case:
    exact = {name: values.astype(float) if values.dtype.kind == "f" else values for name, values in stored.items()}
    return Case(exact, stored, {**SIZE, **metadata})


def _rows() -> Columns:
    """Some twenty volumes, all columns known; positions reach below zero, z on both sides of the focus."""
    columns = random_columns(NUM_ROWS)
    frame = columns["frame"] + FIRST_FRAME
    columns |= {"frame": frame, "volume": frame // PLANES, "plane": frame % PLANES}
    columns["group"][::3] = -1
    return columns


def _movie() -> Columns:
    """Two-dimensional: no z, no sigma of z or of photons, nothing linked, a volume a frame."""
    columns = _rows()
    unknown = np.full(NUM_ROWS, np.nan, np.float32)
    columns |= {"z_nm": unknown, "z_sig": unknown, "phot_sig": unknown, "group": np.full(NUM_ROWS, -1)}
    return columns | {"volume": columns["frame"], "plane": np.zeros(NUM_ROWS, int)}


def _gaps() -> Columns:
    """Sigmas of z and of photons are not known in some rows."""
    columns = _rows()
    for name, rows in (("z_sig", slice(3, None, 7)), ("phot_sig", slice(0, None, 5))):
        columns[name][rows] = np.nan
    return columns


def _tilted() -> Case:
    """A stage scan, exported in sample coordinates, by the formulas of the documentation."""
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
"""With a number in each cell."""


def assert_same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """The same columns, and in each the same values: whole numbers exactly, others as float32 rounds the largest."""
    assert sorted(found) == sorted(expected)
    for name, values in expected.items():
        wanted = np.broadcast_to(values, found[name].shape)
        if wanted.dtype.kind in "iu":
            np.testing.assert_array_equal(found[name], wanted, err_msg=name)
        else:
            largest = float(np.max(np.abs(wanted[np.isfinite(wanted)]), initial=0))
            np.testing.assert_allclose(found[name], wanted, rtol=0, atol=2e-7 * largest, err_msg=name)


def in_order_of(columns: Columns, name: str) -> Columns:
    """All columns in the order of one, for programs that sort."""
    order = np.argsort(columns[name], kind="stable")
    return {name: np.broadcast_to(values, order.shape)[order] for name, values in columns.items()}
