"""The drift of a sample: one displacement per volume, on a grid that floating-point numbers represent exactly.

A curve is a file of its own (`files`), and is also packed into the metadata of each table that it corrected. The second
differences of a smooth curve are small integers, which compress to a fraction of a byte each.
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
"""Unit of displacements: far below any precision, and exactly reproduced when read back."""
_SAME_NM: Final = 0.02
"""Largest difference between curves that count as the same, since a csv may have been rounded."""


@dataclass(frozen=True)
class DriftCurve:
    """Displacement of the sample in each of ``V`` successive volumes, relative to its mean position.

    Positions minus the displacement are at rest. The volumes of a movie are single frames.
    """

    first_volume: int
    shift_nm: Floats
    """(V, 3) multiples of `QUANTUM_NM`; z is 0 for two-dimensional data."""
    sigma_nm: Floats
    """(V, 3) standard deviation."""
    coords: Coords
    """Axes of the displacements: of the sample, or of the camera and the focus."""
    method: str
    details: dict[str, Any] = field(default_factory=dict)
    """How the curve was found, as plain values."""
    supported: Flags | None = None
    """(V,) False for volumes without measurement, where the curve is held or bridged. None: not known."""

    def __len__(self) -> int:
        return len(self.shift_nm)

    @property
    def num_axes(self) -> int:
        """Number of axes along which drift was measured: 2 for two-dimensional data, else 3."""
        return 3 if self.shift_nm[:, 2].any() or np.nan_to_num(self.sigma_nm[:, 2]).any() else 2

    @property
    def last_volume(self) -> int:
        """Last volume (included)."""
        return self.first_volume + len(self) - 1

    @property
    def volume(self) -> npt.NDArray[np.int64]:
        """(V,) numbers of the volumes."""
        return np.arange(self.first_volume, self.last_volume + 1)

    def at(self, volume: npt.NDArray[np.integer]) -> Floats:
        """Return the displacements ``(N, 3)`` in these volumes.

        Those outside the curve get its first or last displacement.
        """
        return self.shift_nm[self._index(volume)]

    def outside(self, volume: npt.NDArray[np.integer]) -> Flags:
        """Return whether each volume ``(N,)`` lies before the first or after the last one of the curve."""
        return np.asarray((volume < self.first_volume) | (volume > self.last_volume))

    def unsupported(self, volume: npt.NDArray[np.integer]) -> Flags:
        """Return whether each volume ``(N,)`` is known to have no measurement."""
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
    """Subtract the mean over all volumes, round displacements to the grid, and add z if it is missing."""
    shift, sigma = np.zeros((len(shift_VD), 3)), np.zeros((len(shift_VD), 3))
    num_axes = shift_VD.shape[1]
    shift[:, :num_axes] = shift_VD - shift_VD.mean(axis=0)
    sigma[:, :num_axes] = sigma_VD
    rounded = np.rint(shift / QUANTUM_NM) * QUANTUM_NM
    return DriftCurve(first_volume, rounded, sigma, coords, method, details, supported_V)


def pack(curve: DriftCurve) -> dict[str, Any]:
    """Return the displacements as plain JSON values, from which `unpack` restores equal ones."""
    whole = np.rint(curve.shift_nm / QUANTUM_NM).astype(np.int64)
    differences = np.diff(whole, n=2, axis=0, prepend=np.zeros((2, 3), dtype=np.int64))
    text = base64.b64encode(zlib.compress(np.ascontiguousarray(differences.T.astype("<i4")).tobytes(), 9)).decode()
    return {"first_volume": curve.first_volume, "num_volumes": len(curve), "coords": curve.coords, "shifts": text}


def same(one: DriftCurve, other: DriftCurve) -> bool:
    """Return whether two curves move rows by the same amounts, except for a constant, in all common volumes."""
    first, last = max(one.first_volume, other.first_volume), min(one.last_volume, other.last_volume)
    if one.coords != other.coords or last - first + 1 < max(1, min(len(one), len(other)) / 2):
        return False
    volume = np.arange(first, last + 1)
    apart = one.at(volume) - other.at(volume)
    return bool(np.abs(apart - np.median(apart, axis=0)).max() < _SAME_NM)


def unpack(values: dict[str, Any], *, method: str = "") -> DriftCurve:
    """Restore a curve from the values of `pack`; uncertainties are not stored and become NaN.

    Raises
    ------
    TableError
        The values were not written by `pack`.
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
