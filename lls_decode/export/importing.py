"""Import of other programs' files as tables of ours. Each reader is one module and one entry in `READERS`.

If a file lacks a column of ours, it is filled in by these rules, and the metadata list it under ``input``:

* ``z_nm`` is 0: in a two-dimensional table everything is in focus;
* ``prob`` is 1: the program that wrote the row accepted it;
* ``group`` is -1, ``volume`` and ``plane`` follow from ``frame`` and the number of planes in a volume;
* columns that must be measured (photons, background, sigmas) are NaN, as in `lls_decode.emitters.Emitters`.

Columns of the file that are not imported are listed there, too. A row without frame or position is not a localization;
a file with such rows is refused instead of being imported without them.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from lls_decode.config import PixelSize
from lls_decode.errors import ConfigError, TableError, read_from
from lls_decode.export import parquet
from lls_decode.export.foreign.column_map import read_column_map
from lls_decode.export.foreign.foreign_table import Columns, FileHead, ForeignTable
from lls_decode.export.foreign.kinds import UNUSED, Kind, find_kind
from lls_decode.export.foreign.meaning import Given, Meaning, find_meaning, without
from lls_decode.export.foreign.origin import Origin, read_origin
from lls_decode.export.foreign.recognition import recognize
from lls_decode.export.foreign.rows import write_rows
from lls_decode.export.foreign.units import in_units_of
from lls_decode.export.formats import decode, hdf5_records, picasso, plain, rapidstorm, smap, smlm
from lls_decode.export.formats.other_csv import LAYOUTS
from lls_decode.export.text import read_text
from lls_decode.outputs import guarded
from lls_decode.table.csv_layouts import SEPARATORS, THUNDERSTORM, CsvDialect, CsvHead, CsvLayout, read_header
from lls_decode.table.reading import is_described

_logger = logging.getLogger(__name__)

_ROWS_AT_ONCE: Final = 2**16
_ADVICE: Final = "restore it, or export it again"
CSV_LAYOUTS: Final = {"ours": plain.LAYOUT, "thunderstorm": THUNDERSTORM, **LAYOUTS}
"""Text or Parquet tables that are recognized by their column names, in the order in which they are tried."""


_PACKED: Final = {
    b"\x1f\x8b": ("a compressed file (gzip)", "unpack it"),
    b"PK\x03\x04": ("a zip archive or a workbook of a spreadsheet", "unpack it, or save it as csv"),
}


@dataclass(frozen=True)
class Reader:
    """A file format that can be read."""

    recognizes: Callable[[FileHead], bool]
    read: Callable[[Path], ForeignTable]


READERS: Final = {
    "smap": Reader(smap.recognizes, smap.read),
    "picasso": Reader(picasso.recognizes, picasso.read),
    "decode": Reader(decode.recognizes_h5, decode.read_h5),
    "decode-csv": Reader(decode.recognizes_csv, decode.read_csv_file),
    "smlm": Reader(smlm.recognizes, smlm.read),
    "rapidstorm": Reader(rapidstorm.recognizes, rapidstorm.read),
    "parquet": Reader(parquet.recognizes, parquet.read_columns),
}
"""Readers in the order in which they are tried; a file that none recognizes is a csv."""
FORMATS: Final = (*READERS, "csv", *CSV_LAYOUTS)


@dataclass(frozen=True)
class _Choice:
    """The user's statements about the file as a whole."""

    given: Given
    format: str | None
    separator: str | None


@guarded
def import_table(
    path: str | Path,
    out: str | Path,
    *,
    pixel_size: PixelSize | None = None,
    format: str | None = None,
    columns: str | Path | Mapping[str, Any] | None = None,
    first_frame: int | None = None,
    origin: str | Sequence[float] | Origin | None = None,
    channel: str | int | None = None,
    file: str | int | None = None,
    kind: Kind | None = None,
    planes_per_volume: int | None = None,
    separator: str | None = None,
    rows_at_once: int = _ROWS_AT_ONCE,
) -> Path:
    """Read the table of another program and write it as ours, in bounded memory. Rows may be in any order.

    Rows are sorted by way of a temporary file beside ``out``, of about 60 bytes per row. If a Parquet file is a table
    of ours that another program has rewritten, its types, row order and metadata are restored.

    Parameters
    ----------
    out
        Path of a Parquet file, which is written aside and renamed.
    pixel_size
        None: taken from the file. Needed by formats in pixels and by formats with another origin.
    format
        Name in `FORMATS`; None: recognized by the content, a csv by its whole header.
    columns
        Which column of the file is which of ours: ``x_nm=Xpos,y_nm=Ypos (px)``, the path of a YAML file, or a mapping.
        Takes precedence over the format. ``NAME=`` leaves a column out.
    first_frame
        Number of the first frame in the file. None: defined by the format.
    origin
        Where x and y of the file are 0: ``centre`` or ``corner`` of the first pixel; or the coordinates of its centre
        in nm. None: defined by the format.
    channel
        Import only the rows of this channel. None: all rows, with a column ``channel`` if the file has one.
    file
        Import only the rows of this source file. None: all rows, which must come from one file.
    kind
        What the rows are. None: molecules if the file counts several detections in a row.
    planes_per_volume
        Frames per volume. None: taken from the file, else 1 (a movie).
    separator
        Separator of a csv: a name in `lls_decode.table.csv_layouts.SEPARATORS`; None: detected from the header.
    rows_at_once
        Number of rows in memory; it does not affect the table.

    Raises
    ------
    TableError
        The file is unknown, damaged or of several source files, or has rows without position or frame.
    ConfigError
        Unknown format or column, or the pixel size is needed but not known.
    OutputError
        Full disk, read-only folder.
    """
    path, out = Path(path), Path(out)
    if planes_per_volume is not None and planes_per_volume < 1:
        raise ConfigError(f"{planes_per_volume} planes per volume were given; expected 1 or more.")
    if kind not in (None, "localizations", "molecules"):
        raise ConfigError(f"kind (--kind) is {kind!r}; expected localizations or molecules.")
    given = Given(
        read_column_map(columns), first_frame, None if origin is None else read_origin(origin), pixel_size
    )  # fmt: skip
    name = _check_format(format, separator, path)
    if name == "parquet" and is_described(path):
        if given.columns or first_frame is not None or origin is not None or channel is not None or file is not None:
            raise ConfigError(
                f"{path} is a table of ours, so its columns and origin are known; omit --columns, "
                "--first-frame, --origin, --channel and --file (filter takes rows of one channel)."
            )
        parquet.restore(path, out, pixel_size=pixel_size, planes_per_volume=planes_per_volume)
        return out
    meaning, layout = _find_meaning(path, name, _Choice(given, format, separator))
    for note in meaning.notes:
        _logger.info("%s: %s", path.name, note)
    found_kind = find_kind(meaning, rows_at_once, given=kind, source=path)
    meaning = without(meaning, UNUSED[found_kind])
    write_rows(
        meaning, path, out, kind=found_kind, layout=layout, format=name, channel=channel, file=file,
        planes_per_volume=planes_per_volume, rows_at_once=rows_at_once,
    )  # fmt: skip
    return out


def _check_format(format: str | None, separator: str | None, path: Path) -> str:
    """Return the file format: a name of `READERS`, csv, or hdf5."""
    if format is not None and format not in FORMATS:
        raise ConfigError(f"{format!r} is not a format that can be read; choose one of {', '.join(FORMATS)}.")
    if format in CSV_LAYOUTS or format is None:
        name = "csv" if separator is not None else _kind_of_file(FileHead.of(path), path)
    else:
        name = format
    if format in CSV_LAYOUTS and name not in ("csv", "parquet"):
        raise ConfigError(f"{path} is a file of {name}, not a csv or Parquet table of {format}; omit --format.")
    if separator is not None and (name != "csv" or separator not in SEPARATORS):
        raise ConfigError(
            f"separator (--separator) is {separator!r} for a file of format {name}; expected one of "
            f"{', '.join(SEPARATORS)}, for a csv."
        )
    return name


def _kind_of_file(head: FileHead, path: Path) -> str:
    for name, reader in READERS.items():
        if reader.recognizes(head):
            return name
    if head.hdf5_names:
        return "hdf5"
    if not head.start.strip():
        raise TableError(f"{path} is empty; expected a table of another program.")
    for start, (kind, advice) in _PACKED.items():
        if head.start.startswith(start):
            raise TableError(f"{path} is {kind}, expected a table of another program; {advice}.")
    if not head.lines:
        raise TableError(f"{path} is of unknown kind; expected a file of {', '.join(READERS)}, or csv.")
    return "csv"


def _find_meaning(path: Path, name: str, choice: _Choice) -> tuple[Meaning, CsvLayout | None]:
    """Read the head of a file, and decide what its columns mean."""
    with read_from(path, TableError, _ADVICE):
        table, layout = _find_table(path, name, choice)
    return find_meaning(
        replace(table, read=_guarded(path, table.read)), choice.given, layout=layout, source=path
    ), layout


def _guarded(path: Path, read: Callable[..., Iterator[Columns]]) -> Callable[..., Iterator[Columns]]:
    """Return a reader of rows whose errors name the file, since each format's parser raises its own."""

    def go(wanted: Sequence[str], texts: Collection[str], rows_at_once: int) -> Iterator[Columns]:
        with read_from(path, TableError, _ADVICE):
            for columns in read(wanted, texts, rows_at_once):
                _check_columns(path, columns, texts)
                yield columns

    return go


def _check_columns(path: Path, columns: Columns, texts: Collection[str]) -> None:
    """Refuse columns that are not one number, or one text, in each row."""
    for name, values in columns.items():
        if values.ndim != 1 or not (values.dtype.kind in "biuf" or name in texts):
            kind = f"{values.dtype} in {values.shape[1:]}" if values.ndim > 1 else f"{values.dtype}"
            raise TableError(
                f"{path} has a column {name!r} of type {kind}, expected one number in each row; {_ADVICE}."
            )


def _find_table(path: Path, name: str, choice: _Choice) -> tuple[ForeignTable, CsvLayout | None]:
    if name == "hdf5":
        return hdf5_records.read(path, has_map=bool(choice.given.columns)), None
    if name == "csv":
        file = FileHead.of(path)
        head = read_header(file.lines, None if choice.separator is None else SEPARATORS[choice.separator])
        head = replace(head, encoding=file.encoding.removesuffix("-sig"))
        if not any(cell[:1].isalpha() for cell in head.names):
            raise TableError(f"{path} is a text without a line of column names; add one at its beginning.")
        layout = _layout(path, head, choice)
        table = read_text(path, head, footer=layout.footer if layout else "")
    else:
        table = READERS[name].read(path)
        layout = table.layout
        if layout is None:
            layout = _layout(path, CsvHead(list(table.names), 0, CsvDialect(), quoted=None), choice)
    return table, layout


def _layout(path: Path, head: CsvHead, choice: _Choice) -> CsvLayout | None:
    if choice.format in CSV_LAYOUTS:
        return in_units_of(CSV_LAYOUTS[choice.format], head.names)
    layouts = {name: in_units_of(layout, head.names) for name, layout in CSV_LAYOUTS.items()}
    return recognize(head, layouts, choice.given, source=path, ours=tuple(plain.LAYOUT.required))
