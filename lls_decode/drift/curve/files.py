"""Files of drift curves: Parquet files of our own, and Parquet or csv of other programs.

The columns are ``volume`` (or ``frame``) and ``dx_nm dy_nm dz_nm``; optionally also ``dx_sig dy_sig dz_sig`` (standard
deviations, nm) and ``supported`` (whether the drift was measured in that volume). A csv without ``dz_nm`` has no
displacement along z. Displacements may also be in micrometres or pixels: ``dx_um``, ``dx (px)``.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from lls_decode.config import PixelSize
from lls_decode.documents import parse_json, read_head
from lls_decode.drift.curve.curve import QUANTUM_NM, DriftCurve, Floats
from lls_decode.errors import ConfigError, TableError
from lls_decode.outputs import note_read
from lls_decode.table import software_versions, written_aside
from lls_decode.table.csv_layouts import read_header, text_file
from lls_decode.table.positions import Coords

KEY: Final = b"lls_decode_drift"
_VERSION: Final = 1
_SHIFTS: Final = ("dx_nm", "dy_nm", "dz_nm")
_SIGMAS: Final = ("dx_sig", "dy_sig", "dz_sig")
_SUPPORTED: Final = "supported"
_TEXT: Final = (".csv", ".txt", ".tsv")
_HEAD_LINES: Final = 200
_UNITS: Final = {"nm": 1.0, "um": 1e3, "\u00b5m": 1e3, "\u03bcm": 1e3}
_PIXELS: Final = ("px", "pix", "pixel", "pixels")
_WITH_UNIT: Final = re.compile(r"(d[xyz])(?:_|\s*[(\[]\s*)([^\W\d_]+)\s*[)\]]?")


def write_curve(out: str | Path, curve: DriftCurve) -> Path:
    """Write ``volume dx_nm dy_nm dz_nm dx_sig dy_sig dz_sig supported`` as Parquet, one row per volume.

    Raises
    ------
    OutputError
        Full disk, read-only folder.
    """
    out = Path(out)
    columns = {"volume": pa.array(curve.volume, pa.uint32())}
    columns |= {name: pa.array(curve.shift_nm[:, axis]) for axis, name in enumerate(_SHIFTS)}
    columns |= {name: pa.array(curve.sigma_nm[:, axis]) for axis, name in enumerate(_SIGMAS)}
    if curve.supported is not None:
        columns[_SUPPORTED] = pa.array(curve.supported)
    about = {
        "version": _VERSION,
        "coords": curve.coords,
        "method": curve.method,
        "details": curve.details,
        "software": software_versions(),
    }
    table = pa.table(columns).replace_schema_metadata({KEY: json.dumps(about).encode()})
    with written_aside(out) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return out


def read_curve(
    path: str | Path, *, coords: Coords, planes_per_volume: int | None = None, pixel_size: PixelSize | None = None
) -> DriftCurve:
    """Read a curve of `write_curve`, or any Parquet file or csv with the columns ``volume dx_nm dy_nm dz_nm``.

    Parameters
    ----------
    coords
        Coordinates of the displacements, for files that do not state them.
    planes_per_volume
        Frames per volume, for files with a column ``frame`` instead of ``volume``; displacements are averaged over
        them.
    pixel_size
        Size of a camera pixel, for displacements in pixels.

    Raises
    ------
    TableError
        The file cannot be read, lacks a column, has gaps between volumes, or has values that are not numbers.
    ConfigError
        The file was written by a newer version.
    """
    note_read(path)
    table = _read(Path(path))
    about = parse_json((table.schema.metadata or {}).get(KEY, b"{}"))
    if about.get("version", _VERSION) != _VERSION:
        raise ConfigError(
            f"{path} is a drift curve of version {about['version']}, but this program reads version {_VERSION}; use an "
            f"lls-decode that knows version {about['version']}."
        )
    volume, values = _values(path, _in_nm(path, table, pixel_size), planes_per_volume or 1)
    shift = np.stack([values[name] for name in _SHIFTS], axis=1)
    if not np.isfinite(shift).all():
        raise TableError(f"{path} has displacements that are not numbers; fill or remove them.")
    unknown = np.full(len(volume), np.nan)
    return DriftCurve(
        first_volume=int(volume[0]),
        shift_nm=np.rint(shift / QUANTUM_NM) * QUANTUM_NM,
        sigma_nm=np.stack([values.get(name, unknown) for name in _SIGMAS], axis=1),
        coords=about.get("coords", coords),
        method=about.get("method", "given"),
        details=about.get("details", {}),
        supported=values[_SUPPORTED] == 1.0 if _SUPPORTED in values else None,
    )


def _read(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() not in _TEXT:
            return pq.read_table(path)
        head = read_header(read_head(path).splitlines()[:_HEAD_LINES])
        if not head.names:
            raise ValueError("no line of column names")
        return pyarrow.csv.read_csv(
            text_file(path, head.dialect),
            read_options=pyarrow.csv.ReadOptions(column_names=head.names, skip_rows=head.num_lines),
            parse_options=pyarrow.csv.ParseOptions(delimiter=head.dialect.separator),
            convert_options=pyarrow.csv.ConvertOptions(decimal_point=head.dialect.decimal_mark),
        )
    except (OSError, ValueError, pa.ArrowException) as error:
        raise TableError(f"{path} cannot be read as a drift curve ({' '.join(str(error).split())}).") from error


def _in_nm(path: str | Path, table: pa.Table, pixel_size: PixelSize | None) -> pa.Table:
    """Return a table with the displacements that are in other units added in nm."""
    names = table.column_names
    for name in names:
        if names.count(name) > 1 and name:
            raise TableError(f"{path} has {names.count(name)} columns {name!r}, expected one; rename the others.")
    for name in names:
        found = _WITH_UNIT.fullmatch(name)
        if found is None or f"{found[1]}_nm" in table.column_names:
            continue
        factor = _UNITS.get(found[2].lower())
        if factor is None and found[2].lower() in _PIXELS:
            factor = _pixel_nm(path, name, pixel_size)
        if factor is not None:
            table = table.append_column(f"{found[1]}_nm", pa.array(factor * _numbers(path, table, name)))
    return table


def _pixel_nm(path: str | Path, name: str, pixel_size: PixelSize | None) -> float:
    if name.startswith("dz"):
        raise TableError(f"{path} has displacements along z in pixels ({name!r}); convert them to nm (dz_nm).")
    if pixel_size is None:
        raise TableError(
            f"{path} has displacements in pixels ({name!r}), but the table to correct does not state its pixel size; "
            "convert them to nm (dx_nm, dy_nm)."
        )
    return pixel_size.y_nm if name.startswith("dy") else pixel_size.x_nm


def _values(path: str | Path, table: pa.Table, planes_per_volume: int) -> tuple[Floats, dict[str, Floats]]:
    """Return the volumes, which must be consecutive, and the columns by name."""
    names = set(table.column_names)
    when = "volume" if "volume" in names or "frame" not in names else "frame"
    for name in (when, "dx_nm", "dy_nm", *(() if Path(path).suffix.lower() in _TEXT else ("dz_nm",))):
        if name not in names:
            raise TableError(
                f"{path} has no column {name!r}; a drift curve has volume (or frame), {', '.join(_SHIFTS)} (or _um, "
                f"_px). It has {', '.join(table.column_names)[:300]}; rename its columns."
            )
    values = {name: _numbers(path, table, name) for name in (when, *_SHIFTS, *_SIGMAS, _SUPPORTED) if name in names}
    number = values.pop(when)
    values.setdefault("dz_nm", np.zeros(len(number)))
    _check_numbers(path, when, number)
    if when == "frame" and planes_per_volume > 1:
        number, values = _means(number, values, planes_per_volume)
    return number, values


def _check_numbers(path: str | Path, when: str, number: Floats) -> None:
    expected = f"expected one row for each {when}, in order and without gaps"
    if not len(number):
        raise TableError(f"{path} has no rows; {expected}.")
    bad = ~((number == np.trunc(number)) & (number >= 0))
    if bad.any():
        raise TableError(f"{path} has {when} {number[bad][0]:g}; expected whole numbers of 0 or more.")
    if (np.diff(number) != 1).any():
        place = int(np.argmax(np.diff(number) != 1))
        raise TableError(
            f"{path} has {when} {number[place + 1]:.0f} after {when} {number[place]:.0f}; {expected}: sort its rows, "
            "or interpolate those that are missing."
        )


def _means(frame: Floats, values: dict[str, Floats], planes_per_volume: int) -> tuple[Floats, dict[str, Floats]]:
    """Return the means over the frames of each volume."""
    volume, start = np.unique(frame // planes_per_volume, return_index=True)
    count = np.diff(np.append(start, len(frame)))
    return volume, {name: np.add.reduceat(column, start) / count for name, column in values.items()}


def _numbers(path: str | Path, table: pa.Table, name: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(table[name].cast(pa.float64()).to_numpy(), dtype=np.float64)
    except pa.ArrowException as error:
        raise TableError(f"{path} has values in the column {name!r} that are not numbers; correct them.") from error
