"""The drift of a sample: one displacement a volume, on a grid that floating point numbers hold exactly.

A curve is a file of its own (`curve_file`) and also goes, packed, into the metadata of each table that it corrected.
Second differences of a smooth curve are small integers, which compress to a fraction of a byte each.
"""

import base64
import zlib
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lls_decode.errors import TableError
from lls_decode.table.positions import Coords

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

QUANTUM_NM: Final = 1 / 256
"""Displacements are multiples of this: far below any precision, and the same numbers when they are read back."""
_SAME_NM: Final = 0.02
"""Curves that differ by less are one: a csv may have been rounded."""


@dataclass(frozen=True)
class DriftCurve:
    """Where the sample was in each of ``V`` successive volumes, relative to its mean place.

    Positions minus this are at rest. A movie has volumes of one frame.
    """

    first_volume: int
    shift_nm: Floats
    """(V, 3) multiples of `QUANTUM_NM`; z is 0 in two dimensions."""
    sigma_nm: Floats
    """(V, 3) one standard deviation."""
    coords: Coords
    """Along which axes: those of the sample, or of the camera and the focus."""
    method: str
    details: dict[str, Any] = field(default_factory=dict)
    """How it was found: plain values."""
    supported: Flags | None = None
    """(V,) False for volumes in which nothing was measured: held or bridged. None: not known."""

    def __len__(self) -> int:
        return len(self.shift_nm)

    @property
    def last_volume(self) -> int:
        """Included."""
        return self.first_volume + len(self) - 1

    @property
    def volume(self) -> npt.NDArray[np.int64]:
        """(V,) numbers of the volumes."""
        return np.arange(self.first_volume, self.last_volume + 1)

    def at(self, volume: npt.NDArray[np.integer]) -> Floats:
        """``(N, 3)`` displacements in volumes; before the first one and after the last one, the same as there."""
        return self.shift_nm[self._index(volume)]

    def outside(self, volume: npt.NDArray[np.integer]) -> Flags:
        """``(N,)`` whether a volume lies before the first one or after the last one."""
        return np.asarray((volume < self.first_volume) | (volume > self.last_volume))

    def unsupported(self, volume: npt.NDArray[np.integer]) -> Flags:
        """``(N,)`` whether nothing was measured in a volume, as far as is known."""
        beyond = self.outside(volume)
        return beyond if self.supported is None else beyond | ~self.supported[self._index(volume)]

    def _index(self, volume: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        return np.clip(volume.astype(np.int64) - self.first_volume, 0, len(self) - 1)


def make_curve(
    first_volume: int,
    shift_VD: Floats,
    sigma_VD: Floats,
    *,
    coords: Coords,
    method: str,
    details: dict[str, Any],
    supported_V: Flags | None = None,
) -> DriftCurve:
    """Round displacements to the grid, after their mean over all volumes is taken away; add z where there is none."""
    shift, sigma = np.zeros((len(shift_VD), 3)), np.zeros((len(shift_VD), 3))
    num_axes = shift_VD.shape[1]
    shift[:, :num_axes] = shift_VD - shift_VD.mean(axis=0)
    sigma[:, :num_axes] = sigma_VD
    rounded = np.rint(shift / QUANTUM_NM) * QUANTUM_NM
    return DriftCurve(first_volume, rounded, sigma, coords, method, details, supported_V)


def pack(curve: DriftCurve) -> dict[str, Any]:
    """The displacements as plain values that JSON holds; `unpack` gives equal ones."""
    whole = np.rint(curve.shift_nm / QUANTUM_NM).astype(np.int64)
    differences = np.diff(whole, n=2, axis=0, prepend=np.zeros((2, 3), dtype=np.int64))
    text = base64.b64encode(zlib.compress(np.ascontiguousarray(differences.T.astype("<i4")).tobytes(), 9)).decode()
    return {"first_volume": curve.first_volume, "num_volumes": len(curve), "coords": curve.coords, "shifts": text}


def same(one: DriftCurve, other: DriftCurve) -> bool:
    """Whether two curves move rows by the same, but for a constant, wherever both say something."""
    first, last = max(one.first_volume, other.first_volume), min(one.last_volume, other.last_volume)
    if one.coords != other.coords or last - first + 1 < max(1, min(len(one), len(other)) / 2):
        return False
    volume = np.arange(first, last + 1)
    apart = one.at(volume) - other.at(volume)
    return bool(np.abs(apart - np.median(apart, axis=0)).max() < _SAME_NM)


def unpack(values: dict[str, Any], *, method: str = "") -> DriftCurve:
    """From `pack`; the uncertainties are not kept and are NaN.

    Raises
    ------
    TableError
        What is there was not written by `pack`.
    """
    try:
        differences = np.frombuffer(zlib.decompress(base64.b64decode(values["shifts"])), dtype="<i4").reshape(3, -1).T
        whole = np.cumsum(np.cumsum(differences.astype(np.int64), axis=0), axis=0)
        if len(whole) != values["num_volumes"]:
            raise ValueError("number of volumes")
        shift = whole.astype(np.float64) * QUANTUM_NM
        return DriftCurve(values["first_volume"], shift, np.full_like(shift, np.nan), values["coords"], method)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise TableError(f"The packed drift curve is damaged ({type(error).__name__}: {error}).") from error
