"""Conversion of rows to point annotations: their properties and their bytes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lls_decode.errors import TableError
from lls_decode.export.rows import ExportTable, Rows

_AXES: Final = ("x", "y", "z")
_REASON: Final = "every annotation has a place"

_MEASURED: Final = {
    "z_nm": "z, nm",
    "photons": "photons",
    "bg": "background, photons/pixel",
    "x_sig": "sigma of x, nm",
    "y_sig": "sigma of y, nm",
    "z_sig": "sigma of z, nm",
    "phot_sig": "sigma of photons",
    "prob": "detection probability",
}
"""Properties that are real numbers (float32), with descriptions. z is among them because shaders see no positions."""
_COUNTED: Final = {
    "frame": "frame, 0-based",
    "volume": "volume, 0-based",
    "plane": "plane, 0-based",
    "channel": "channel",
    "group": "molecule, -1: none",
    "last_frame": "last frame of the molecule",
    "num_frames": "detections of the molecule",
    "num_planes": "most detections of the molecule in one volume",
    "num_volumes": "volumes in which the molecule was detected",
}
"""Properties that are whole numbers, as int32: uint32 is not shown by Neuroglancer in older browsers, and is misread by
its Python package."""
_LARGEST: Final = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Property:
    """A property that all annotations have."""

    id: str
    type: str
    """Neuroglancer's name of the type, 32 bits wide."""
    description: str

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored type of the property."""
        return np.dtype(self.type).newbyteorder("<")

    def to_json(self) -> dict[str, str]:
        """Return the entry in the ``info`` file."""
        return {"id": self.id, "type": self.type, "description": self.description}


class Annotations:
    """Annotations for the rows of a table: points along x, y, z (x, y if no z is known) in nm, with their properties.

    Raises
    ------
    TableError
        Some rows have no z, or a number of a molecule is too large for Neuroglancer.
    """

    def __init__(self, table: ExportTable) -> None:
        self._table = table
        self.axes = _AXES if table.knows("z_nm") else _AXES[:2]
        table.require(*(f"{axis}_nm" for axis in self.axes), reason=_REASON)
        self.properties = tuple(self._properties())
        names = [*((axis, "<f4") for axis in self.axes), *((each.id, each.dtype) for each in self.properties)]
        self.dtype = np.dtype([(f"at_{name}" if name in self.axes else name, dtype) for name, dtype in names])
        """Type of one encoded annotation; all fields take 4 bytes, so there is no padding."""

    @cached_property
    def bounds_nm(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Lower bounds, and upper bounds that no point reaches, along each axis; whole numbers."""
        survey = self._table.survey
        low, high = (
            np.array([np.float32(found[f"{axis}_nm"]) for axis in self.axes], dtype=np.float64)
            for found in (survey.low, survey.high)
        )
        return np.floor(low), np.floor(high) + 1.0

    @property
    def columns(self) -> frozenset[str]:
        """Columns of the table that the annotations store."""
        return frozenset((*(f"{axis}_nm" for axis in self.axes), *(each.id for each in self.properties)))

    def encode(self, rows: Rows) -> npt.NDArray[Any]:
        """Return the annotations of some rows, ``(N,)`` of `dtype`."""
        found = np.empty(len(rows["frame"]), self.dtype)
        for axis in self.axes:
            found[f"at_{axis}"] = rows[f"{axis}_nm"]
        for each in self.properties:
            found[each.id] = rows[each.id]
        return found

    def position(self, encoded: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Return the positions of encoded annotations as readers see them, ``(rank, N)`` nm."""
        return np.stack([encoded[f"at_{axis}"].astype(np.float64) for axis in self.axes])

    def _properties(self) -> list[Property]:
        survey = self._table.survey
        known = [name for name in (*_MEASURED, *_COUNTED) if survey.num_known.get(name, 0)]
        if "group" in known and survey.high["group"] < 0:
            known.remove("group")  # no row is linked
        if "plane" in known and survey.high["plane"] <= 0:
            known = [name for name in known if name not in ("plane", "volume")]  # a movie
        found = []
        for name in known:
            if name in _COUNTED and survey.high[name] > _LARGEST:
                raise TableError(
                    f"{self._table.path} has {name} up to {survey.high[name]:.0f}, but this format holds {_LARGEST} at "
                    "most; filter the table, or choose another format."
                )
            kind = "int32" if name in _COUNTED else "float32"
            found.append(Property(name, kind, _MEASURED.get(name) or _COUNTED[name]))
        return found
