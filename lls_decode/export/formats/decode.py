"""DECODE's own HDF5 and csv files. Their x is the row axis, frames count from 0, the first pixel's centre is at 0.

The layout is reproduced exactly, since other readers rely on it: SMAP takes the three root groups in their order, and
the first attribute of ``meta`` as the unit. Unknown values are empty datasets or empty cells.
"""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lls_decode import __version__
from lls_decode.config import PixelSize, stated_pixel_size
from lls_decode.documents import parse_json
from lls_decode.errors import TableError
from lls_decode.export.foreign.foreign_table import Columns as ForeignColumns
from lls_decode.export.foreign.foreign_table import FileHead, ForeignTable, slices
from lls_decode.export.hdf5 import created, h5py_module, opened
from lls_decode.export.rows import ExportTable, Rows
from lls_decode.export.text import Columns, read_text, write_csv
from lls_decode.export.written import Written
from lls_decode.table import written_aside
from lls_decode.table.csv_layouts import CsvLayout, read_header

_FIRST_LINE: Final = "# DECODE EmitterSet"
_AXES: Final = ("y", "x", "z")
"""Our axes in DECODE's order."""
_TRIPLES: Final = {"xyz": "{}_nm", "xyz_sig": "{}_sig"}
_SINGLES: Final = {"phot": "photons", "phot_sig": "phot_sig", "bg": "bg", "prob": "prob"}
_INTEGERS: Final = {"frame_ix": "frame", "id": "group"}
_NEVER_KNOWN: Final = ("xyz_cr", "phot_cr", "bg_sig", "bg_cr")
_CSV_NAMES: Final = (
    "x", "y", "z", "phot", "frame_ix", "id", "prob", "bg", "phot_cr", "bg_cr", "phot_sig", "bg_sig", "x_cr", "y_cr",
    "z_cr", "x_sig", "y_sig", "z_sig",
)  # fmt: skip
_CSV_OURS: Final = {
    "x": "y_nm", "y": "x_nm", "z": "z_nm", "phot": "photons", "frame_ix": "frame", "id": "group", "prob": "prob",
    "bg": "bg", "phot_sig": "phot_sig", "x_sig": "y_sig", "y_sig": "x_sig", "z_sig": "z_sig",
}  # fmt: skip


def write_h5(table: ExportTable, out: Path) -> Written:
    """Write an HDF5 file with the groups ``data``, ``decode`` and ``meta``, in nm."""
    h5py, num_rows = h5py_module(), table.survey.num_rows
    with written_aside(out) as temporary, table.by_frame(out) as pieces, created(temporary) as file:
        data = file.create_group("data")
        for name in _NEVER_KNOWN:
            data.create_dataset(name, data=h5py.Empty("f"))
        triples = {name: [pattern.format(axis) for axis in _AXES] for name, pattern in _TRIPLES.items()}
        for name, ours in triples.items():
            _create(data, name, (num_rows, 3), np.float32, known=name == "xyz" or any(map(table.knows, ours)))
        for name, our in _SINGLES.items():
            _create(data, name, (num_rows,), np.float32, known=not name.endswith("_sig") or table.knows(our))
        for name in _INTEGERS:
            _create(data, name, (num_rows,), np.int64, known=True)
        start = 0
        for rows in pieces:
            stop = start + len(rows["frame"])
            unknown = np.full(stop - start, np.nan)
            for name, ours in triples.items():
                if data[name].shape is not None:
                    data[name][start:stop] = np.stack([rows.get(our, unknown) for our in ours], axis=1)
            for name, our in {**_SINGLES, **_INTEGERS}.items():
                if data[name].shape is not None:
                    data[name][start:stop] = rows.get(our, unknown if name in _SINGLES else -1)
            start = stop
        file.create_group("decode").attrs["version"] = f"lls_decode {__version__}"
        meta = file.create_group("meta")
        meta.attrs["xy_unit"] = "nm"  # before px_size: SMAP takes the first attribute for the unit
        meta.attrs["px_size"] = np.asarray(_pixel_rows_columns(table.pixel_size), dtype=np.float32)
    return _written(table)


def write_csv_file(table: ExportTable, out: Path) -> Written:
    """Write a csv: three comment lines, column names, and rows in nm."""
    header = [
        _FIRST_LINE,
        "# " + json.dumps({"version": f"lls_decode {__version__}"}),
        "# " + json.dumps({"xy_unit": "nm", "px_size": _pixel_rows_columns(table.pixel_size)}),
        ",".join(_CSV_NAMES),
    ]

    def columns(rows: Rows, first_row: int) -> Columns:
        ours = {name: rows.get(_CSV_OURS.get(name, "")) for name in _CSV_NAMES}
        return {**ours, "id": rows.get("group", np.full(len(rows["frame"]), -1))}

    write_csv(table, out, header, columns)
    return _written(table)


def _written(table: ExportTable) -> Written:
    return Written(frozenset(name for name in _CSV_OURS.values() if name in table.columns and table.knows(name)))


def _create(data: Any, name: str, shape: tuple[int, ...], dtype: type, *, known: bool) -> None:
    if known:
        data.create_dataset(name, shape=shape, dtype=dtype)
    else:
        data.create_dataset(name, data=h5py_module().Empty("f"))


def _pixel_rows_columns(pixel: PixelSize) -> list[float]:
    return [pixel.y_nm, pixel.x_nm]


# --- reading ---------------------------------------------------------------------------------------------------------


def recognizes_h5(head: FileHead) -> bool:
    """Return whether a file has the group ``data``, the only one in older files."""
    return "data" in head.hdf5_names


def recognizes_csv(head: FileHead) -> bool:
    """Return whether a file starts with DECODE's first comment line."""
    return head.start.startswith(_FIRST_LINE.encode())


_OURS_BY_THEIRS: Final = {
    "x": "y_nm", "y": "x_nm", "frame_ix": "frame", "z": "z_nm", "phot": "photons", "id": "group", "prob": "prob",
    "bg": "bg", "phot_sig": "phot_sig", "x_sig": "y_sig", "y_sig": "x_sig", "z_sig": "z_sig",
}  # fmt: skip


def read_h5(path: Path) -> ForeignTable:
    """Read ``data`` in px or nm, with columns named as in DECODE's csv."""
    with opened(path) as file:
        known = {name for name, item in file["data"].items() if getattr(item, "shape", None) is not None}
        meta = dict(file["meta"].attrs) if "meta" in file else {}
        version = str(file["decode"].attrs.get("version", "")) if "decode" in file else ""
    for name in ("xyz", "frame_ix"):
        if name not in known:
            raise TableError(f"{path} has no data/{name}; expected a file of DECODE.")
    places = {name: (name, None) for name in known} | {
        name.replace("xyz", axis): (name, number)
        for name in known
        if name.startswith("xyz")
        for number, axis in enumerate("xyz")
    }
    names = [name for name in places if not name.startswith("xyz")]

    def read(wanted: Sequence[str], texts: Collection[str], rows_at_once: int) -> Iterator[ForeignColumns]:
        with opened(path) as file:
            data = file["data"]
            for part in slices(len(data["frame_ix"]), rows_at_once):
                whole = {name: data[name][part] for name in {places[name][0] for name in wanted}}
                yield {name: _column(whole[places[name][0]], places[name][1]) for name in wanted}

    return _with_units(path, tuple(sorted(names)), read, meta, version)


def _column(values: npt.NDArray[Any], number: int | None) -> npt.NDArray[Any]:
    return values if number is None else values[:, number]


def read_csv_file(path: Path) -> ForeignTable:
    """Read a csv with its comment lines."""
    head = FileHead.of(path)
    try:
        version = str(parse_json(head.lines[1].lstrip("# ")).get("version", ""))
        meta = parse_json(head.lines[2].lstrip("# "))
    except (ValueError, IndexError, AttributeError) as error:
        raise TableError(
            f"{path} has damaged comment lines ({error}); expected three, the second and third JSON."
        ) from error
    table = read_text(path, read_header(head.lines))
    return _with_units(path, table.names, table.read, meta, version)


def _with_units(
    path: Path,
    names: tuple[str, ...],
    read: Callable[[Sequence[str], Collection[str], int], Iterator[ForeignColumns]],
    meta: dict[str, Any],
    version: str,
) -> ForeignTable:
    unit, size = meta.get("xy_unit"), meta.get("px_size")
    pixel_size = None
    if size is not None and len(size) == 2:
        pixel_size = stated_pixel_size(float(size[1]), float(size[0]))
    if unit not in ("px", "nm"):
        raise TableError(f"{path} has positions in {unit!r}; expected 'px' or 'nm' in its metadata.")
    layout = CsvLayout(
        "DECODE",
        required={"x": "y_nm", "y": "x_nm", "frame_ix": "frame"},
        optional=_OURS_BY_THEIRS,
        first_frame=0,
        origin_px=0.0,
        notes=(
            "x and y exchanged",
            "DECODE crops frames to multiples of 8 px without saying so: x and y may be off by that",
        ),
        units=dict.fromkeys(("x", "y", "x_sig", "y_sig"), unit),
    )
    return ForeignTable(names, read, layout=layout, pixel_size=pixel_size, details={"version": version})
