"""Other programs' files as our table, so that old results can be compared. A reader is one module and one line here.

A file that lacks a column of ours gets it by these rules, and the table's metadata say so under ``input``:

* ``z_nm`` is 0: a two-dimensional table has everything in focus;
* ``prob`` is 1: the program that wrote the row had accepted it;
* ``group`` is -1, ``volume`` and ``plane`` follow from ``frame`` and the number of planes in a volume;
* what would have to be measured (photons, background, the sigmas) is NaN, here as in `lls_decode.emitters.Emitters`.

A row without frame or position is no localization: such a file is refused, not thinned out.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.export import decode, picasso, plain, smap, smlm
from lls_decode.export.foreign import Foreign, Head
from lls_decode.export.layouts import LAYOUTS
from lls_decode.export.rows import MEASURED
from lls_decode.export.text import read_csv
from lls_decode.table import SORT_COLUMNS, TableMetadata, schema, software_versions, table_writer
from lls_decode.table.csv_layouts import THUNDERSTORM, CsvLayout, read_header

_logger = logging.getLogger(__name__)

CSV_LAYOUTS: Final = (plain.LAYOUT, THUNDERSTORM, *LAYOUTS)


@dataclass(frozen=True)
class Reader:
    """One kind of file that is read."""

    recognizes: Callable[[Head], bool]
    read: Callable[[Path, PixelSize | None], Foreign]


def _layout_of(head: Head) -> CsvLayout | None:
    header, _, _ = read_header(head.lines)
    return next((layout for layout in CSV_LAYOUTS if layout.fits(header)), None)


def _read_csv(path: Path, pixel_size: PixelSize | None) -> Foreign:
    head = Head.of(path)
    layout = _layout_of(head)
    if layout is None:
        header, _, _ = read_header(head.lines)
        if not any(name[:1].isalpha() for name in header):
            raise TableError(f"{path} is a text without a line of column names; write one on top of it.")
        raise TableError(
            f"{path} has the columns {', '.join(header)[:300] or '(none)'}, which are those of no csv that is known; "
            f"expected {', '.join(plain.LAYOUT.required)}, ..., or those of "
            f"{', '.join(dict.fromkeys(layout.name for layout in CSV_LAYOUTS[1:]))}; rename the columns."
        )
    found = read_csv(path, head.lines, layout, pixel_size)
    return Foreign(found.columns, found.pixel_size, found.notes, {**found.details, "layout": layout.name})


READERS: Final = {
    "smap": Reader(smap.recognizes, smap.read),
    "picasso": Reader(picasso.recognizes, picasso.read),
    "decode": Reader(decode.recognizes_h5, decode.read_h5),
    "decode-csv": Reader(decode.recognizes_csv, decode.read_csv_file),
    "smlm": Reader(smlm.recognizes, smlm.read),
    "csv": Reader(lambda head: _layout_of(head) is not None, _read_csv),
}
"""In the order in which they are tried; ``csv`` is ours, SMAPpy's, ThunderSTORM's, SMAP's and those of `layouts`."""


def import_table(
    path: str | Path,
    out: str | Path,
    *,
    pixel_size: PixelSize | None = None,
    format: str | None = None,
    planes_per_volume: int | None = None,
) -> Path:
    """Read the table of another program and write it as ours; the rows are held in memory, about 150 bytes each.

    Parameters
    ----------
    out
        A Parquet file; written aside and renamed.
    pixel_size
        None: what the file says. Needed by formats in pixels and by those that put the origin elsewhere.
    format
        A name of `READERS`; None: recognized by its content.
    planes_per_volume
        Frames of a volume. None: what the file says, else 1: a classical movie.

    Raises
    ------
    TableError
        Unknown, damaged, or with rows that have no position or no frame.
    ConfigError
        Unknown format, or the pixel size is needed and not known.
    OutputError
        Full disk, read-only folder.
    """
    path, out = Path(path), Path(out)
    name = format or _recognize(path)
    if name not in READERS:
        raise ConfigError(f"{name!r} is not a format that can be read; choose one of {', '.join(READERS)}.")
    if planes_per_volume is not None and planes_per_volume < 1:
        raise ConfigError(f"{planes_per_volume} planes per volume were given; expected 1 or more.")
    found = READERS[name].read(path, pixel_size)
    columns, absent = _complete(path, found.columns, planes_per_volume)
    for note in found.notes:
        _logger.info("%s: %s", path.name, note)
    metadata = TableMetadata(
        pixel_size=found.pixel_size,
        planes_per_volume=planes_per_volume,
        software=software_versions(),
        input={
            "path": str(path),
            "format": name,
            **found.details,
            "notes": list(found.notes),
            "filled": {column: _FILLS.get(column, "NaN: not known") for column in absent},
        },
    ).with_step("import", format=name, source=path.name)
    with table_writer(out, schema(with_sample=False), metadata) as writer:
        writer.write(_sorted_table(columns))
    return out


_FILLS: Final = {
    "z_nm": "0: two-dimensional",
    "prob": "1: accepted by the program that wrote it",
    "group": "-1: not linked",
    "volume": "from frame",
    "plane": "from frame",
}


def _recognize(path: Path) -> str:
    head = Head.of(path)
    for name, reader in READERS.items():
        if reader.recognizes(head):
            return name
    if head.start.startswith(b"PAR1"):
        raise TableError(f"{path} is a Parquet file already; open it as it is.")
    if head.hdf5_names:
        raise TableError(
            f"{path} is an HDF5 file with {', '.join(head.hdf5_names)} at its root; expected saveloc (SMAP), locs "
            "(Picasso) or data (DECODE); export it as csv from the program that wrote it."
        )
    if head.lines:
        _read_csv(path, None)  # says what is wrong with it
    raise TableError(f"{path} is of no kind that is known; expected a file of {', '.join(READERS)}.")


def _complete(
    path: Path, given: Mapping[str, npt.NDArray[Any]], planes_per_volume: int | None
) -> tuple[dict[str, npt.NDArray[Any]], list[str]]:
    """All canonical columns, in no order of rows; and which of them the file lacks."""
    columns = dict(given)
    both = columns.pop("xy_sig", None)
    if both is not None:
        columns.setdefault("x_sig", both)
        columns.setdefault("y_sig", both)
    absent = [name for name in (*MEASURED, "volume", "plane", "group") if name not in columns]
    frame = _whole(path, "frame", columns["frame"], lowest=0, highest=2**32 - 1)
    for name in ("x_nm", "y_nm"):
        _refuse_unknown(path, name, columns[name])
    if "z_nm" in columns and not np.isfinite(columns["z_nm"]).any():
        absent.insert(0, "z_nm")  # a column that is there and says nothing
        del columns["z_nm"]
    if "z_nm" in columns:
        _refuse_unknown(path, "z_nm", columns["z_nm"])
    nothing = np.full(len(frame), np.nan)
    fills: dict[str, npt.NDArray[Any]] = {"z_nm": np.zeros(len(frame)), "prob": np.ones(len(frame))}
    complete = {name: columns.get(name, fills.get(name, nothing)) for name in MEASURED}
    complete["frame"] = frame
    if planes_per_volume is None and "volume" in columns and "plane" in columns:
        complete["volume"] = _whole(path, "volume", columns["volume"], lowest=0, highest=2**32 - 1)
        complete["plane"] = _whole(path, "plane", columns["plane"], lowest=0, highest=2**16 - 1)
    else:
        complete["volume"], complete["plane"] = np.divmod(frame, planes_per_volume or 1)
        absent += [name for name in ("volume", "plane") if name not in absent]
    group = columns.get("group", np.full(len(frame), -1))
    complete["group"] = _whole(path, "group", np.where(np.isfinite(group), group, -1), lowest=-1, highest=2**62)
    return complete, absent


def _refuse_unknown(path: Path, name: str, values: npt.NDArray[Any]) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        raise TableError(
            f"{path} has {int(bad.sum())} of {len(values)} rows without {name} (the first is row "
            f"{int(np.argmax(bad)) + 1}); remove them."
        )


def _whole(path: Path, name: str, values: npt.NDArray[Any], *, lowest: int, highest: int) -> npt.NDArray[np.int64]:
    bad = ~(np.isfinite(values) & (values == np.trunc(values)) & (values >= lowest) & (values <= highest))
    if bad.any():
        row = int(np.argmax(bad))
        raise TableError(
            f"{path} has {name} {values[row]} in row {row + 1} when counted as here; expected whole numbers from "
            f"{lowest} to {highest} ({int(bad.sum())} rows are not)."
        )
    return values.astype(np.int64)


def _sorted_table(columns: Mapping[str, npt.NDArray[Any]]) -> pa.Table:
    """In the canonical order of rows and types of columns."""
    canonical = schema(with_sample=False)
    order = np.lexsort([columns[name] for name in reversed(SORT_COLUMNS)])
    arrays = [
        pa.array(columns[field.name][order].astype(field.type.to_pandas_dtype()), type=field.type)
        for field in canonical
    ]
    return pa.table(arrays, schema=canonical)
