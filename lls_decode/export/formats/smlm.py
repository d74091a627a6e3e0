"""The ``.smlm`` format 0.2: a zip of ``manifest.json`` and one table, packed rows of little-endian numbers.

nm, with our origin and frames from 0, on which the format says nothing.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from lls_decode import __version__
from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.export.foreign_table import Columns, FileHead, ForeignTable, slices
from lls_decode.export.rows import ExportTable, Rows
from lls_decode.export.written import Written
from lls_decode.table import written_aside

_FORMAT_NAME = "smlm-table(binary)"
_TABLE_NAME = "table-0.bin"
_READABLE = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")

_NAMES: Final = {
    "frame": ("frame", "uint32", "frame"),
    "x": ("x_nm", "float32", "nm"),
    "y": ("y_nm", "float32", "nm"),
    "z": ("z_nm", "float32", "nm"),
    "intensity": ("photons", "float32", "photon"),
    "background": ("bg", "float32", "photon"),
    "x_precision": ("x_sig", "float32", "nm"),
    "y_precision": ("y_sig", "float32", "nm"),
    "z_precision": ("z_sig", "float32", "nm"),
    "intensity_precision": ("phot_sig", "float32", "photon"),
    "prob": ("prob", "float32", ""),
    "slice": ("plane", "uint16", ""),
    "volume": ("volume", "uint32", ""),
    "cluster": ("group", "float64", ""),
    "channel": ("channel", "uint16", ""),
    "last_frame": ("last_frame", "uint32", "frame"),
    "num_frames": ("num_frames", "uint32", ""),
    "num_planes": ("num_planes", "uint16", ""),
    "num_volumes": ("num_volumes", "uint32", ""),
    "prob_any": ("prob_any", "float32", ""),
}
"""Our column, type and unit by name of the format; the format has no signed integers, hence the type of cluster."""

_ALIASES: Final = {
    "position_x": "x_nm",
    "position_y": "y_nm",
    "position_z": "z_nm",
    "local_background": "bg",
    "uncertainty_x": "x_sig",
    "uncertainty_y": "y_sig",
    "uncertainty_z": "z_sig",
    "plane": "plane",
    "cluster_label": "group",
}
"""locan's names."""

_NM: Final[dict[str, float]] = {"": 1, "nm": 1, "um": 1000.0, "angstrom": 0.1}


def write(table: ExportTable, out: Path) -> Written:
    """Write manifest and table, rows in its order; columns of which nothing is known are left out."""
    names = [name for name, (ours, _, _) in _NAMES.items() if table.knows(ours)]
    if not table.has_groups:
        names = [name for name in names if name != "cluster"]
    dtype = np.dtype([(name, np.dtype(_NAMES[name][1]).newbyteorder("<")) for name in names])
    with (
        written_aside(out) as temporary,
        zipfile.ZipFile(temporary, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        # a ZipInfo without a date: the same table gives the same bytes
        manifest = zipfile.ZipInfo("manifest.json")
        manifest.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(manifest, json.dumps(_manifest(table, names), indent=1))
        entry = zipfile.ZipInfo(_TABLE_NAME)
        entry.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(entry, "w", force_zip64=table.survey.num_rows * dtype.itemsize > 2**31) as file:
            for rows in table.pieces():
                file.write(_packed(rows, dtype))
    return Written(frozenset(_NAMES[name][0] for name in names))


def _packed(rows: Rows, dtype: np.dtype[Any]) -> bytes:
    found = np.empty(len(rows["frame"]), dtype)
    for name in dtype.names or ():
        found[name] = rows[_NAMES[name][0]]
    return found.tobytes()


def _manifest(table: ExportTable, names: list[str]) -> dict[str, Any]:
    survey = table.survey
    return {
        "format_version": "0.2",
        "formats": {
            _FORMAT_NAME: {
                "name": _FORMAT_NAME,
                "type": "table",
                "mode": "binary",
                "extension": ".bin",
                "columns": len(names),
                "headers": names,
                "dtype": [_NAMES[name][1] for name in names],
                "shape": [1] * len(names),
                "units": [_NAMES[name][2] for name in names],
                "description": "localization table",
            }
        },
        "files": [
            {
                "name": _TABLE_NAME,
                "type": "table",
                "format": _FORMAT_NAME,
                "channel": "default",
                "rows": survey.num_rows,
                "offset": {},
                "min": {name: survey.low[_NAMES[name][0]] for name in names},
                "max": {name: survey.high[_NAMES[name][0]] for name in names},
            }
        ],
        "name": table.path.stem,
        "description": f"written by lls_decode {__version__} in {table.coords} coordinates",
        "tags": [],
        "thumbnail": "",
        "sample": "",
        "labeling": "",
        "date": "",
    }


# --- reading ---------------------------------------------------------------------------------------------------------


def recognizes(head: FileHead) -> bool:
    """A zip with a manifest at its beginning."""
    return head.start.startswith(b"PK\x03\x04") and b"manifest.json" in head.start


def read(path: Path, pixel_size: PixelSize | None) -> ForeignTable:
    """Read the one table of an archive, by the format's names or locan's."""
    with _opened(path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        files = [file for file in manifest["files"] if file["type"] == "table"]
        if len(files) != 1:
            raise TableError(f"{path} holds {len(files)} tables; unpack it and pack the one that is meant.")
        layout, member = manifest["formats"][files[0]["format"]], str(files[0]["name"])
        dtype, num_rows = _dtype(path, layout), int(files[0]["rows"])
        num_bytes = archive.getinfo(member).file_size
        scales = _scales(path, dtype, layout["units"], files[0].get("offset") or {}, pixel_size)
    if num_bytes != num_rows * dtype.itemsize:
        raise TableError(
            f"{path} has a table of {num_bytes} bytes, expected {num_rows} rows of {dtype.itemsize} bytes; it is "
            "damaged."
        )

    def pieces(rows_at_once: int) -> Iterator[Columns]:
        with _opened(path) as archive, archive.open(member) as content:
            for part in slices(num_rows, rows_at_once):
                length = part.stop - part.start
                rows = np.frombuffer(content.read(length * dtype.itemsize), dtype)
                columns = {ours: (rows[name] + offset) * factor for ours, (name, offset, factor) in scales.items()}
                yield {"frame": np.zeros(length, dtype=np.int64), **columns}

    notes = ["the format does not say where its origin and its first frame are; as in the file"]
    if "frame" not in scales:
        notes.append("there is no column of frames; all rows are in frame 0")
    details = {"name": manifest.get("name"), "description": manifest.get("description")}
    return ForeignTable(pieces, pixel_size=pixel_size, notes=tuple(notes), details=details)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive for reading; damage becomes a `TableError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, TypeError, ValueError) as error:
        raise TableError(f"{path} cannot be read as a .smlm file ({type(error).__name__}: {error}).") from error


def _scales(
    path: Path, dtype: np.dtype[Any], units: Sequence[str], offsets: Mapping[str, float], pixel_size: PixelSize | None
) -> dict[str, tuple[str, float, float]]:
    """Their name, what is added and what it is multiplied with, by our name."""
    scales = {}
    for name, unit in zip(dtype.names or (), units, strict=True):
        ours = _NAMES[name][0] if name in _NAMES else _ALIASES.get(name)
        if ours is not None:
            scales[ours] = (name, offsets.get(name, 0), _factor(path, name, ours, unit, pixel_size))
    for ours in ("x_nm", "y_nm"):
        if ours not in scales:
            raise TableError(f"{path} has columns {', '.join(dtype.names or ())}; expected x and y among them.")
    return scales


def _dtype(path: Path, layout: dict[str, Any]) -> np.dtype[Any]:
    """Type of a packed row."""
    if layout.get("mode") != "binary":
        raise TableError(f"{path} holds its table as {layout.get('mode')!r}; expected 'binary'.")
    kinds = list(zip(layout["headers"], layout["dtype"], layout["shape"], strict=True))
    for name, kind, shape in kinds:
        if kind not in _READABLE or int(shape) != 1:
            raise TableError(f"{path} has column {name!r} of type {kind!r} and shape {shape}; expected single numbers.")
    return np.dtype([(name, np.dtype(kind).newbyteorder("<")) for name, kind, _ in kinds])


def _factor(path: Path, name: str, ours: str, unit: str, pixel_size: PixelSize | None) -> float:
    """By which a column becomes nm."""
    if not (ours.endswith("_nm") or ours in ("x_sig", "y_sig", "z_sig")):
        return 1
    if unit in _NM:
        return _NM[unit]
    if unit in ("px", "pixel", "pixels") and ours[0] in "xy":
        if pixel_size is None:
            raise ConfigError(f"{path} has column {name!r} in pixels; give pixel_size (--pixel-nm).")
        return pixel_size.x_nm if ours[0] == "x" else pixel_size.y_nm
    raise TableError(f"{path} has column {name!r} in {unit!r}; expected nm, um or pixels.")
