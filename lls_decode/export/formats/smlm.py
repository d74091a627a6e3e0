"""The ``.smlm`` format 0.2: a zip of ``manifest.json`` and one table of packed little-endian numbers.

Positions are in nm with our origin, and frames count from 0, since the format specifies neither.
"""

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from lls_decode import __version__
from lls_decode.documents import read_archived_json
from lls_decode.errors import TableError
from lls_decode.export.foreign.foreign_table import Columns, FileHead, ForeignTable, slices
from lls_decode.export.rows import ExportTable, Rows
from lls_decode.export.written import Written
from lls_decode.table import written_aside
from lls_decode.table.csv_layouts import CsvLayout

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
"""Our column, type and unit by the format's name. The format has no signed integers, so cluster is a float."""

_ALIASES: Final = {
    "position_z": "z_nm",
    "local_background": "bg",
    "uncertainty_x": "x_sig",
    "uncertainty_y": "y_sig",
    "uncertainty_z": "z_sig",
    "plane": "plane",
    "cluster_label": "group",
}
"""Our columns by locan's names."""


def write(table: ExportTable, out: Path) -> Written:
    """Write manifest and table, with rows in the table's order; columns without any known value are omitted."""
    names = [name for name, (ours, _, _) in _NAMES.items() if table.knows(ours)]
    if not table.has_groups:
        names = [name for name in names if name != "cluster"]
    dtype = np.dtype([(name, np.dtype(_NAMES[name][1]).newbyteorder("<")) for name in names])
    with (
        written_aside(out) as temporary,
        zipfile.ZipFile(temporary, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        # a ZipInfo without a date, so that the same table gives the same bytes
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
    """Return whether a file is a zip that begins with a manifest."""
    return head.start.startswith(b"PK\x03\x04") and b"manifest.json" in head.start


LAYOUT: Final = CsvLayout(
    "smlm",
    required={"frame": "frame", "x": "x_nm", "y": "y_nm"},
    optional={name: ours for name, (ours, _, _) in _NAMES.items()} | _ALIASES,
    first_frame=0,
    origin_px=None,
    notes=("the format does not specify its origin; x and y are kept as in the file",),
)


@dataclass(frozen=True)
class _Part:
    """One of the tables of an archive."""

    member: str
    channel: str
    num_rows: int
    dtype: np.dtype[Any]
    units: Mapping[str, str]
    offsets: Mapping[str, float]


def read(path: Path) -> ForeignTable:
    """Read the tables of an archive, with the format's or locan's names; they are channels or files if several."""
    with _opened(path) as archive:
        manifest = read_archived_json(archive, "manifest.json")
        parts = [_part(path, manifest, entry) for entry in manifest["files"] if entry["type"] == "table"]
        sizes = {part.member: archive.getinfo(part.member).file_size for part in parts}
    for part in parts:
        if sizes[part.member] != part.num_rows * part.dtype.itemsize:
            raise TableError(
                f"{path} has a table of {sizes[part.member]} bytes, expected {part.num_rows} rows of "
                f"{part.dtype.itemsize} bytes; it is damaged."
            )
    if not parts:
        raise TableError(f"{path} holds no table; expected one with columns x and y.")
    if any((part.dtype, part.units) != (parts[0].dtype, parts[0].units) for part in parts):
        raise TableError(f"{path} holds {len(parts)} tables of different columns; unpack it, and pack each by itself.")
    names = tuple(parts[0].dtype.names or ())
    given = {alias: name for alias, name in (("position_x", "x"), ("position_y", "y")) if alias in names}
    added = _added(names, parts)
    notes = [f"there are {len(parts)} tables, distinguished by {' and '.join(added)}"] if len(parts) > 1 else []
    if "frame" in added:
        notes.append("there is no frame column; all rows are in frame 0")
    return ForeignTable(
        (*(given.get(name, name) for name in names), *added),
        lambda wanted, texts, rows_at_once: _read_parts(path, parts, given, wanted, rows_at_once),
        layout=LAYOUT,
        units={given.get(name, name): unit for name, unit in parts[0].units.items()},
        notes=tuple(notes),
        details={"name": manifest.get("name"), "description": manifest.get("description")},
    )


def _added(names: Sequence[str], parts: Sequence[_Part]) -> list[str]:
    """Return the columns that rows lack but the archive states."""
    added = [] if "frame" in names else ["frame"]
    if len(parts) > 1:
        channels = {part.channel for part in parts}
        added += ["channel"] if len(channels) > 1 and "channel" not in names else []
        added += ["file"] if len(channels) < len(parts) else []
    return added


def _read_parts(
    path: Path, parts: Sequence[_Part], given: Mapping[str, str], wanted: Sequence[str], rows_at_once: int
) -> Iterator[Columns]:
    theirs = {ours: name for name, ours in given.items()}
    with _opened(path) as archive:
        for part in parts:
            with archive.open(part.member) as content:
                for piece in slices(part.num_rows, rows_at_once):
                    length = piece.stop - piece.start
                    rows = np.frombuffer(content.read(length * part.dtype.itemsize), part.dtype)
                    yield {name: _values(part, rows, theirs.get(name, name)) for name in wanted}


def _values(part: _Part, rows: Any, name: str) -> Any:
    if name in (part.dtype.names or ()):
        return rows[name] + part.offsets.get(name, 0)
    added = {"channel": part.channel, "file": part.member}
    return np.full(len(rows), added[name], dtype=object) if name in added else np.zeros(len(rows), dtype=np.int64)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive for reading; damage is raised as `TableError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, TypeError, ValueError) as error:
        raise TableError(f"{path} cannot be read as a .smlm file ({type(error).__name__}: {error}).") from error


def _part(path: Path, manifest: Mapping[str, Any], entry: Mapping[str, Any]) -> _Part:
    layout = manifest["formats"][entry["format"]]
    dtype = _dtype(path, layout)
    names = dtype.names or ()
    for wanted in ("x", "y"):
        if wanted not in names and f"position_{wanted}" not in names:
            raise TableError(f"{path} has columns {', '.join(names)}; expected x and y among them.")
    units = {name: unit for name, unit in zip(names, layout["units"], strict=True) if _is_length(name)}
    offsets = {name: float(value) for name, value in (entry.get("offset") or {}).items()}
    return _Part(str(entry["name"]), str(entry.get("channel", "")), int(entry["rows"]), dtype, units, offsets)


def _is_length(name: str) -> bool:
    ours = _NAMES[name][0] if name in _NAMES else _ALIASES.get(name, "")
    return ours.endswith("_nm") or ours in ("x_sig", "y_sig", "z_sig")


def _dtype(path: Path, layout: dict[str, Any]) -> np.dtype[Any]:
    """Return the type of a packed row."""
    if layout.get("mode") != "binary":
        raise TableError(f"{path} holds its table as {layout.get('mode')!r}; expected 'binary'.")
    kinds = list(zip(layout["headers"], layout["dtype"], layout["shape"], strict=True))
    for name, kind, shape in kinds:
        if kind not in _READABLE or int(shape) != 1:
            raise TableError(f"{path} has column {name!r} of type {kind!r} and shape {shape}; expected single numbers.")
    return np.dtype([(name, np.dtype(kind).newbyteorder("<")) for name, kind, _ in kinds])
