"""Other programs' files as our table, so that old results can be compared. A reader is one module and one line here.

A file that lacks a column of ours gets it by these rules, and the table's metadata say so under ``input``:

* ``z_nm`` is 0: a two-dimensional table has everything in focus;
* ``prob`` is 1: the program that wrote the row had accepted it;
* ``group`` is -1, ``volume`` and ``plane`` follow from ``frame`` and the number of planes in a volume;
* what would have to be measured (photons, background, the sigmas) is NaN, here as in `lls_decode.emitters.Emitters`.

A row without frame or position is no localization: such a file is refused, not thinned out.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError
from lls_decode.export import parquet
from lls_decode.export.column_completion import ColumnCompletion
from lls_decode.export.foreign_table import FileHead, ForeignTable
from lls_decode.export.formats import decode, picasso, plain, smap, smlm
from lls_decode.export.formats.other_csv import LAYOUTS
from lls_decode.export.text import read_csv, read_layout
from lls_decode.outputs import guarded
from lls_decode.table import TableMetadata, schema, software_versions, sorted_aside, table_writer
from lls_decode.table.csv_layouts import SEPARATORS, THUNDERSTORM, CsvLayout, read_header
from lls_decode.table.reading import is_described

_logger = logging.getLogger(__name__)

_ROWS_AT_ONCE: Final = 2**16
CSV_LAYOUTS: Final = (plain.LAYOUT, THUNDERSTORM, *LAYOUTS)


@dataclass(frozen=True)
class Reader:
    """One kind of file that is read."""

    recognizes: Callable[[FileHead], bool]
    read: Callable[[Path, PixelSize | None], ForeignTable]


def _layout_of(header: Sequence[str]) -> CsvLayout | None:
    return next((layout for layout in CSV_LAYOUTS if layout.fits(header)), None)


def _read_csv(path: Path, pixel_size: PixelSize | None, separator: str | None = None) -> ForeignTable:
    head = read_header(FileHead.of(path).lines, separator)
    if not any(name[:1].isalpha() for name in head.names):
        raise TableError(f"{path} is a text without a line of column names; write one on top of it.")
    layout = _need_layout(path, head.names)
    found = read_csv(path, head, layout, pixel_size)
    return replace(found, details={**found.details, "layout": layout.name})


def _read_parquet(path: Path, pixel_size: PixelSize | None) -> ForeignTable:
    names = parquet.column_names(path)
    layout = _need_layout(path, names)
    found = read_layout(path, names, layout, pixel_size, partial(parquet.iter_numbers, path))
    return replace(found, details={**found.details, "layout": layout.name})


def _need_layout(path: Path, header: Sequence[str]) -> CsvLayout:
    layout = _layout_of(header)
    if layout is None:
        raise TableError(
            f"{path} has the columns {', '.join(header)[:300] or '(none)'}, which are those of no csv that is known; "
            f"expected {', '.join(plain.LAYOUT.required)}, ..., or those of "
            f"{', '.join(dict.fromkeys(layout.name for layout in CSV_LAYOUTS[1:]))}; rename the columns."
        )
    return layout


READERS: Final = {
    "smap": Reader(smap.recognizes, smap.read),
    "picasso": Reader(picasso.recognizes, picasso.read),
    "decode": Reader(decode.recognizes_h5, decode.read_h5),
    "decode-csv": Reader(decode.recognizes_csv, decode.read_csv_file),
    "smlm": Reader(smlm.recognizes, smlm.read),
    "parquet": Reader(parquet.recognizes, _read_parquet),
    "csv": Reader(lambda head: _layout_of(read_header(head.lines).names) is not None, _read_csv),
}
"""In the order in which they are tried; ``csv`` is ours, SMAPpy's, ThunderSTORM's, SMAP's and those of `layouts`."""


@guarded
def import_table(
    path: str | Path,
    out: str | Path,
    *,
    pixel_size: PixelSize | None = None,
    format: str | None = None,
    planes_per_volume: int | None = None,
    separator: str | None = None,
    rows_at_once: int = _ROWS_AT_ONCE,
) -> Path:
    """Read the table of another program and write it as ours, in bounded memory; its rows may be in any order.

    They are sorted by way of a temporary file beside ``out``, of 56 bytes a row. A Parquet file that is a table of
    ours, rewritten by another program, gets back its types, its order and what it says of itself.

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
    separator
        Between the cells of a csv: a name of `lls_decode.table.csv_layouts.SEPARATORS`; None: by its header.
    rows_at_once
        Rows in memory; the table does not depend on it.

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
    name = format or ("csv" if separator is not None else _recognize(path))
    if name not in READERS:
        raise ConfigError(f"{name!r} is not a format that can be read; choose one of {', '.join(READERS)}.")
    if planes_per_volume is not None and planes_per_volume < 1:
        raise ConfigError(f"{planes_per_volume} planes per volume were given; expected 1 or more.")
    if separator is not None and (name != "csv" or separator not in SEPARATORS):
        raise ConfigError(
            f"separator (--separator) is {separator!r} for a file of format {name}; expected one of "
            f"{', '.join(SEPARATORS)}, for a csv."
        )
    if name == "parquet" and is_described(path):
        parquet.restore(path, out, pixel_size=pixel_size, planes_per_volume=planes_per_volume)
        return out
    if separator is None:
        found = READERS[name].read(path, pixel_size)
    else:
        found = _read_csv(path, pixel_size, SEPARATORS[separator])
    completion, columns = ColumnCompletion(path, planes_per_volume), schema(with_sample=False)
    with sorted_aside(out, columns) as sorter:
        for piece in found.pieces(rows_at_once):
            sorter.add(completion.add(piece))
        completion.check()
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
                "filled": {column: _FILLS.get(column, "NaN: not known") for column in completion.absent},
            },
        ).with_step("import", format=name, source=path.name)
        with table_writer(out, columns, metadata) as writer:
            for rows in sorter.pieces():
                writer.write(completion.with_depth(rows))
    return out


_FILLS: Final = {
    "z_nm": "0: two-dimensional",
    "prob": "1: accepted by the program that wrote it",
    "group": "-1: not linked",
    "volume": "from frame",
    "plane": "from frame",
}


def _recognize(path: Path) -> str:
    head = FileHead.of(path)
    for name, reader in READERS.items():
        if reader.recognizes(head):
            return name
    if head.hdf5_names:
        raise TableError(
            f"{path} is an HDF5 file with {', '.join(head.hdf5_names)} at its root; expected saveloc (SMAP), locs "
            "(Picasso) or data (DECODE); export it as csv from the program that wrote it."
        )
    if head.lines:
        _read_csv(path, None)  # says what is wrong with it
    raise TableError(f"{path} is of no kind that is known; expected a file of {', '.join(READERS)}.")
