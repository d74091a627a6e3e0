"""The drift of a sample: one displacement a volume, on a grid that floating point numbers hold exactly.

A curve is a Parquet file of its own (one row a volume) and also goes, packed, into the metadata of each table that it
corrected. Second differences of a smooth curve are small integers, which compress to a fraction of a byte each.
"""

import base64
import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lls_decode.drift.points import Coords
from lls_decode.errors import ConfigError, TableError
from lls_decode.table import software_versions, written_aside

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

QUANTUM_NM: Final = 1 / 256
"""Displacements are multiples of this: far below any precision, and the same numbers when they are read back."""
KEY: Final = b"lls_decode_drift"
_VERSION: Final = 1
_COLUMNS: Final = ("volume", "dx_nm", "dy_nm", "dz_nm")
_SIGMAS: Final = ("dx_sig", "dy_sig", "dz_sig")
_SUPPORTED: Final = "supported"


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


def write_curve(out: str | Path, curve: DriftCurve) -> Path:
    """Write ``volume dx_nm dy_nm dz_nm dx_sig dy_sig dz_sig``, one row a volume, as Parquet.

    Raises
    ------
    OutputError
        Full disk, read-only folder.
    """
    out = Path(out)
    columns = {"volume": pa.array(curve.volume, pa.uint32())}
    for axis, (name, sigma) in enumerate(zip(_COLUMNS[1:], _SIGMAS, strict=True)):
        columns |= {name: pa.array(curve.shift_nm[:, axis]), sigma: pa.array(curve.sigma_nm[:, axis])}
    about = {
        "version": _VERSION,
        "coords": curve.coords,
        "method": curve.method,
        "details": curve.details,
        "software": software_versions(),
    }
    order = [*_COLUMNS, *_SIGMAS]
    table = pa.table({name: columns[name] for name in order}).replace_schema_metadata({KEY: json.dumps(about).encode()})
    with written_aside(out) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return out


def read_curve(path: str | Path, *, coords: Coords) -> DriftCurve:
    """Read a curve of `write_curve`, or any Parquet file with the columns ``volume dx_nm dy_nm dz_nm``.

    Parameters
    ----------
    coords
        Along which axes the displacements of a file are that does not say so itself.

    Raises
    ------
    TableError
        The file cannot be read, lacks a column, has gaps between its volumes, or values that are no numbers.
    ConfigError
        It was written by a newer version.
    """
    try:
        table = pq.read_table(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise TableError(f"{path} cannot be read as a drift curve ({' '.join(str(error).split())}).") from error
    for name in _COLUMNS:
        if name not in table.column_names:
            raise TableError(f"{path} has no column {name!r}; a drift curve has {', '.join(_COLUMNS)}.")
    about = json.loads((table.schema.metadata or {}).get(KEY, b"{}"))
    if about.get("version", _VERSION) != _VERSION:
        raise ConfigError(
            f"{path} is a drift curve of version {about['version']}, this program reads version {_VERSION}; use an "
            "lls-decode that knows it."
        )
    values = {name: table[name].to_numpy().astype(np.float64) for name in table.column_names}
    volume = values["volume"]
    if not len(volume) or np.any(volume != volume[0] + np.arange(len(volume))):
        raise TableError(f"{path} must have one row for each volume, in their order and without gaps.")
    shift = np.stack([values[name] for name in _COLUMNS[1:]], axis=1)
    if not np.isfinite(shift).all():
        raise TableError(f"{path} has displacements that are no numbers; fill or remove them.")
    sigma = np.stack([values.get(name, np.full(len(volume), np.nan)) for name in _SIGMAS], axis=1)
    return DriftCurve(
        first_volume=int(volume[0]),
        shift_nm=np.rint(shift / QUANTUM_NM) * QUANTUM_NM,
        sigma_nm=sigma,
        coords=about.get("coords", coords),
        method=about.get("method", "given"),
        details=about.get("details", {}),
    )
